//! The optimistic way down, and how often it is tried.

use super::Inner;
use super::redo::damaged;
use crate::error::{Error, Result};
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::header;
use crate::page::slotted::SlottedPage;
use crate::pool::{Interrupt, PageView};
use crate::types::PageKind;

/// Restarts before an operation takes the slow lane.
const RESTARTS: usize = 64;
/// Restarts before it yields its processor between them.
const SPINS: usize = 4;

/// Where to go at each node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seek<'k> {
    /// To the leaf that covers the key.
    Key(&'k [u8]),
    /// To the last leaf with room for keys below this one, which may be any leaf's upper fence.
    Before(&'k [u8]),
    /// To the last leaf.
    Last,
}

impl Seek<'_> {
    pub(super) fn child(&self, node: &SlottedPage<'_>) -> Result<usize, OutOfBounds> {
        match self {
            Seek::Key(key) => node.child_for(key),
            Seek::Before(key) => node.child_before(key),
            Seek::Last => Ok(node.count()),
        }
    }
}

/// A node reached, and the inner node it was reached from with the place of its reference there.
pub(super) struct Reached<'p> {
    pub(super) view: PageView<'p>,
    pub(super) parent: Option<(PageView<'p>, usize)>,
}

/// A value read from an unlatched page: out of bounds is damage if the page held still, else a restart.
#[inline(always)]
pub(super) fn sound<T>(view: &PageView<'_>, value: Result<T, OutOfBounds>) -> Result<T, Interrupt> {
    match value {
        Ok(value) => Ok(value),
        Err(OutOfBounds) => Err(unsound(view)),
    }
}

#[cold]
fn unsound(view: &PageView<'_>) -> Interrupt {
    match view.validate() {
        Ok(()) => Interrupt::Failed(damaged(view.id(), "an offset leads outside of the page")),
        Err(restart) => restart.into(),
    }
}

impl Inner {
    /// The root: the page that is always there, unless the tree was dropped.
    #[inline(always)]
    pub(super) fn root_node(&self) -> Result<(PageView<'_>, SlottedPage<'_>), Interrupt> {
        let view = self.pool.view(&self.root_swip)?;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        if !self.is_own(view.reader()) {
            return Err(self.not_own(&view));
        }
        Ok((view, node))
    }

    /// Goes down to the leaf that covers `key`: [`Inner::descend`] for whoever needs no parent, which is every lookup. The
    /// steps are the same, and nothing is kept that they do not need.
    #[inline(always)]
    pub(super) fn leaf(&self, key: &[u8]) -> Result<(PageView<'_>, SlottedPage<'_>), Interrupt> {
        let (mut view, mut node) = self.root_node()?;
        while !node.is_leaf() {
            view.prefer();
            let at = sound(&view, node.child_for(key).and_then(|index| node.child_at(index)))?;
            let child = self.pool.try_child(&view, at)?;
            let below = sound(&child, SlottedPage::open(child.reader()))?;
            if below.level().wrapping_add(1) != node.level() {
                return Err(wrong_level(&child));
            }
            (view, node) = (child, below);
        }
        Ok((view, node))
    }

    /// Goes down to the node of `level` on the way of `seek`, or to the root if that is lower. Nothing is held; what the
    /// caller reads from the view counts once the view is validated.
    pub(super) fn descend(&self, seek: Seek<'_>, level: u8) -> Result<Reached<'_>, Interrupt> {
        let (mut view, mut node) = self.root_node()?;
        let mut parent = None;
        while node.level() > level {
            view.prefer();
            let index = sound(&view, seek.child(&node))?;
            let at = sound(&view, node.child_at(index))?;
            let child = self.pool.try_child(&view, at)?;
            let below = sound(&child, SlottedPage::open(child.reader()))?;
            // A damaged tree could lead in circles: levels must fall by one.
            if below.level().checked_add(1) != Some(node.level()) {
                return Err(wrong_level(&child));
            }
            parent = Some((view, index));
            (view, node) = (child, below);
        }
        Ok(Reached { view, parent })
    }

    /// Whether the page is a node of this tree: asked of the root, since handles may outlive their tree.
    pub(super) fn is_own(&self, page: PageReader<'_>) -> bool {
        page.u8(header::KIND) == Ok(PageKind::BTREE.get()) && page.u32(header::TREE) == Ok(self.tree.get())
    }

    #[cold]
    fn not_own(&self, view: &PageView<'_>) -> Interrupt {
        match view.validate() {
            Ok(()) => Interrupt::Failed(self.gone()),
            Err(restart) => restart.into(),
        }
    }

    #[cold]
    pub(super) fn gone(&self) -> Error {
        Error::NotFound { what: format!("tree {} at page {}", self.tree.get(), self.root) }
    }

    /// Runs `attempt` until it is not interrupted, at most a bounded number of times; `None` then: take the slow lane.
    #[inline]
    pub(super) fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T, Interrupt>) -> Result<Option<T>> {
        for n in 0..RESTARTS {
            match attempt() {
                Ok(value) => return Ok(Some(value)),
                Err(Interrupt::Failed(error)) => return Err(error),
                Err(Interrupt::Restart) => rest(n),
            }
        }
        Ok(None)
    }
}

#[cold]
pub(super) fn wrong_level(child: &PageView<'_>) -> Interrupt {
    match child.validate() {
        Ok(()) => Interrupt::Failed(damaged(child.id(), "a child of the wrong level")),
        Err(restart) => restart.into(),
    }
}

/// A short pause that grows with the number of restarts.
pub(super) fn rest(restarts: usize) {
    if restarts < SPINS {
        for _ in 0..1 << restarts {
            crate::sync::spin_loop();
        }
    } else {
        crate::sync::thread::yield_now();
    }
}
