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
pub(super) fn sound<T>(view: &PageView<'_>, value: Result<T, OutOfBounds>) -> Result<T, Interrupt> {
    match value {
        Ok(value) => Ok(value),
        Err(OutOfBounds) => {
            view.validate()?;
            Err(Interrupt::Failed(damaged(view.id(), "an offset leads outside of the page")))
        }
    }
}

impl Inner {
    /// Goes down to the node of `level` on the way of `seek`, or to the root if that is lower. Nothing is held; what the
    /// caller reads from the view counts once the view is validated.
    pub(super) fn descend(&self, seek: Seek<'_>, level: u8) -> Result<Reached<'_>, Interrupt> {
        let mut view = self.pool.view(&self.root_swip)?;
        let mut parent = None;
        if !self.is_own(view.reader()) {
            view.validate()?;
            return Err(Interrupt::Failed(self.gone()));
        }
        let mut node = sound(&view, SlottedPage::open(view.reader()))?;
        while node.level() > level {
            view.prefer();
            let index = sound(&view, seek.child(&node))?;
            let at = sound(&view, node.child_at(index))?;
            let child = self.pool.try_child(&view, at)?;
            let below = sound(&child, SlottedPage::open(child.reader()))?;
            // A damaged tree could lead in circles: levels must fall by one.
            if below.level().checked_add(1) != Some(node.level()) {
                child.validate()?;
                return Err(Interrupt::Failed(damaged(child.id(), "a child of the wrong level")));
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
