//! Winning pages back: merging sparse nodes with a neighbour, and shrinking the root. Best effort: a merge that cannot have
//! its latches is put off, remembered, and tried again by a later removal; a walk that meets an empty leaf remembers it too;
//! and what none of them gets at is found when a checkpoint looks over the leaves that have changed since the last one
//! ([`sparse_leaves`]).

use super::descend::{Seek, rest, sound};
use super::mini::{LET_GO, Part};
use super::redo::damaged;
use super::write::is_sparse;
use super::{BTree, Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::header;
use crate::page::slotted::{SlottedPage, ops, scratch};
use crate::pool::{BufferPool, Interrupt, PageMut, PageView};
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::types::{PageKind, TreeId};

/// Attempts at one merge before it is put off.
const ATTEMPTS: usize = 4;
/// Merges remembered at most.
const PUT_OFF: usize = 64;

/// Keys in whose leaves a merge was wanted and not had.
#[derive(Default)]
pub(crate) struct Untidy {
    any: AtomicBool,
    keys: Mutex<Vec<Vec<u8>>>,
}

impl Untidy {
    /// Remembers a key, unless others are at it, or enough are remembered.
    pub(super) fn put(&self, key: &[u8]) {
        let Some(mut keys) = self.keys.try_lock() else { return };
        if keys.len() < PUT_OFF && !keys.iter().any(|there| there == key) {
            keys.push(key.to_vec());
        }
        // Relaxed: a hint; the mutex orders the keys.
        self.any.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> Option<Vec<u8>> {
        // Relaxed: a hint that saves the mutex.
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut keys = self.keys.try_lock()?;
        let key = keys.pop();
        self.any.store(!keys.is_empty(), Ordering::Relaxed);
        key
    }
}

enum Step {
    /// Nothing (more) to do at this level.
    Done,
    /// Merged, or nothing to merge with: look at the level above.
    Above,
}

impl Inner {
    /// After a removal of `key`: merges its leaf if that is sparse, and one that was put off. Never fails: a removal that
    /// was made stays made, and what could not be merged is merged another time.
    pub(super) fn tidy(&self, key: &[u8], sparse: bool) {
        if sparse {
            self.tidy_up(key);
        }
        if let Some(key) = self.untidy.take() {
            self.tidy_up(&key);
        }
    }

    pub(super) fn tidy_up(&self, key: &[u8]) {
        for level in 0..=u8::MAX {
            match self.merge_level(key, level) {
                Ok(Some(Step::Above)) => {}
                Ok(Some(Step::Done)) => return,
                // Latches not to be had, no log space, no frame: another time.
                Ok(None) | Err(_) => return self.untidy.put(key),
            }
        }
    }

    fn merge_level(&self, key: &[u8], level: u8) -> Result<Option<Step>> {
        for n in 0..ATTEMPTS {
            match self.try_merge(key, level) {
                Ok(step) => return Ok(Some(step)),
                Err(Interrupt::Failed(error)) => return Err(error),
                Err(Interrupt::Restart) => rest(n),
            }
        }
        Ok(None)
    }

    fn try_merge(&self, key: &[u8], level: u8) -> Result<Step, Interrupt> {
        let reached = self.descend(Seek::Key(key), level)?;
        let view = reached.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        let Some((parent, index)) = reached.parent else {
            let lonely = node.level() > 0 && node.level() == level && node.count() == 0;
            view.validate()?;
            return if lonely { self.shrink_root(&view) } else { Ok(Step::Done) };
        };
        let sparse = sound(&view, is_sparse(&node))?;
        view.validate()?;
        if !sparse {
            return Ok(Step::Done);
        }
        let above = sound(&parent, SlottedPage::open(parent.reader()))?;
        let last = above.count();
        parent.validate()?;
        if index < last && self.merge_pair(&parent, index, None, Some(&view))? {
            return Ok(Step::Above);
        }
        if index > 0 && self.merge_pair(&parent, index - 1, Some(&view), None)? {
            return Ok(Step::Above);
        }
        Ok(if last == 0 { Step::Above } else { Step::Done })
    }

    /// Merges child `at` of `parent` with the one on its right, if both fit one page with some room to spare. One of the
    /// two views is there already.
    fn merge_pair(
        &self,
        parent: &PageView<'_>,
        at: usize,
        right_view: Option<&PageView<'_>>,
        left_view: Option<&PageView<'_>>,
    ) -> Result<bool, Interrupt> {
        let above = sound(parent, SlottedPage::open(parent.reader()))?;
        let child = |i: usize, there: Option<&PageView<'_>>| match there {
            Some(_) => Ok(None),
            None => self.pool.try_child(parent, sound(parent, above.child_at(i))?).map(Some),
        };
        let (new_left, new_right) = (child(at, left_view)?, child(at + 1, right_view)?);
        let (Some(left), Some(right)) = (new_left.as_ref().or(left_view), new_right.as_ref().or(right_view)) else {
            return Err(Interrupt::Restart);
        };
        if !fit_together(left, right)? {
            return Ok(false);
        }
        // Log space comes before latches; the views tell if the wait for it was too long.
        let room = self.reserve(self.structure_bytes())?;
        let parent = parent.try_exclusive()?;
        let left = left.try_exclusive()?;
        let right = right.try_exclusive()?;
        scratch::with(|content| {
            scratch::with(|separator| self.merge_latched((parent, at), left, right, room, (content, separator)))
        })?;
        Ok(true)
    }

    fn merge_latched<'l>(
        &'l self,
        (parent, at): (PageMut<'l>, usize),
        left: PageMut<'l>,
        right: PageMut<'l>,
        room: Option<LogRoom<'l>>,
        (content, separator): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<()> {
        let id = right.id();
        let out = |_| damaged(id, "an offset leads outside of the page");
        let (a, b) = (SlottedPage::open(left.reader()).map_err(out)?, SlottedPage::open(right.reader()).map_err(out)?);
        // The one with less in it goes, and only that is logged: of an empty one, no more than its fences.
        let left_goes = a.used_bytes().map_err(out)? < b.used_bytes().map_err(out)?;
        b.lower_fence(separator).map_err(out)?;
        if !adjoin(&parent, at, &left, separator).map_err(out)? {
            return Err(damaged(id, "its fences are not those that its parent says"));
        }
        if left_goes { &a } else { &b }.encode_all(content).map_err(out)?;
        let (above, op, stays, goes) = if left_goes {
            (ops::REMOVE_LEFT, ops::ABSORB_LEFT, right, left)
        } else {
            (ops::REMOVE_SEPARATOR, ops::ABSORB, left, right)
        };
        let freed = goes.id();
        let parts = vec![
            Part { page: parent, op: above, payload: separator },
            Part { page: stays, op, payload: content },
            Part { page: goes, op: LET_GO, payload: &[] },
        ];
        self.commit(room, parts)?;
        self.pool.let_go(freed);
        Ok(())
    }

    /// A root with one child takes over that child's content (B1).
    fn shrink_root(&self, root: &PageView<'_>) -> Result<Step, Interrupt> {
        let node = sound(root, SlottedPage::open(root.reader()))?;
        let child = self.pool.try_child(root, sound(root, node.child_at(0))?)?;
        let room = self.reserve(self.structure_bytes())?;
        let root: PageMut<'_> = root.try_exclusive()?;
        let child = child.try_exclusive()?;
        let id = child.id();
        scratch::with(|content| {
            let node = SlottedPage::open(child.reader());
            node.and_then(|node| node.encode_all(content))
                .map_err(|_| damaged(id, "an offset leads outside of the page"))?;
            let parts = vec![
                Part { page: root, op: ops::REBUILD, payload: content },
                Part { page: child, op: LET_GO, payload: &[] },
            ];
            self.commit(room, parts)?;
            Ok(Step::Done)
        })
    }
}

impl BTree {
    /// Merges the leaf over `key` with a neighbour, if it is sparse and can be; and all merges that were put off. Never
    /// fails.
    pub(crate) fn tidy(&self, key: Option<&[u8]>) {
        if let Some(key) = key {
            self.inner.tidy_up(key);
        }
        for _ in 0..PUT_OFF {
            let Some(key) = self.inner.untidy.take() else { return };
            self.inner.tidy_up(&key);
        }
    }
}

/// The sparse ones, at most so many, among the leaves in `pool` that have changed since they were last written: their
/// trees, and their least keys.
pub(crate) fn sparse_leaves(pool: &BufferPool, most: usize) -> Vec<(TreeId, Vec<u8>)> {
    let mut found = Vec::new();
    pool.look_at_dirty(|view| {
        let mut key = Vec::new();
        let mut look = || -> Result<Option<TreeId>, OutOfBounds> {
            let node = SlottedPage::open(view.reader())?;
            let is_leaf = view.reader().u8(header::KIND)? == PageKind::BTREE.get() && node.is_leaf();
            // One without fences is a root, and alone.
            let alone = node.is_first()? && node.is_last()?;
            if !is_leaf || alone || !is_sparse(&node)? {
                return Ok(None);
            }
            node.lower_fence(&mut key)?;
            node.tree().map(Some)
        };
        if let Ok(Some(tree)) = look()
            && view.validate().is_ok()
        {
            found.push((tree, key));
        }
        found.len() < most
    });
    found
}

/// Whether `separator`, the right node's lower fence, is what parts children `at` and `at + 1` of `parent`, and the upper
/// fence of `left` (B2). Redo asks the same: nothing is logged for pages that a damaged reference led to.
fn adjoin(parent: &PageMut<'_>, at: usize, left: &PageMut<'_>, separator: &[u8]) -> Result<bool, OutOfBounds> {
    let (above, node) = (SlottedPage::open(parent.reader())?, SlottedPage::open(left.reader())?);
    scratch::with(|fence| {
        above.key(at, fence)?;
        if fence != separator {
            return Ok(false);
        }
        fence.clear();
        Ok(node.upper_fence(fence)? && fence == separator)
    })
}

/// Whether a merged node would leave a quarter of its page free; an empty one only has to fit.
fn fit_together(left: &PageView<'_>, right: &PageView<'_>) -> Result<bool, Interrupt> {
    let (a, b) = (sound(left, SlottedPage::open(left.reader()))?, sound(right, SlottedPage::open(right.reader()))?);
    let bytes = sound(left, a.merged_bytes(&b));
    right.validate()?;
    left.validate()?;
    let size = a.page_size();
    let most = if a.count() == 0 || b.count() == 0 { size } else { size / 4 * 3 };
    Ok(bytes? <= most)
}
