//! Dropping a tree: the tombstone, the way its pages come back, and its root at last.
//!
//! A drop is one record: the root becomes a **tombstone** and the tree's entry in the catalog says so. The tombstone is no
//! node, so every descent that begins after it answers `NotFound`; but it keeps its content, which leads to all other
//! pages, at any time and after any crash. They go in **steps** from the last child on, bottom up, each one record: the
//! lowest inner node on the rightmost path loses some leaves; with its last ones it goes itself, and inner nodes above it
//! that would have no child left. When the tombstone stands alone, and no handle knows its page any more, one record frees
//! it and removes the entry. What cannot be read is gone past: `src/btree/cut.rs`.
//!
//! # Who is still on the way
//!
//! An operation that passed the root before the tombstone may go on in the nodes below, and even change a leaf: it
//! overlaps the drop, and takes effect before it. It must not meet a node that a step has changed, nor change a page that a
//! step has freed. Therefore a step latches all of its path from the root to what it frees, exclusively (D1): a node's
//! version, read before the node above it was validated, is older than any step that came by there; so whoever meets a
//! path that a step has used fails to validate it, starts again at the root, and finds the tombstone. In the slow lane the
//! shared latches that are coupled down the path do the same.
//!
//! A batch holds leaves of several trees, and what it does to one must not get lost while it does the rest: with all its
//! leaves latched it asks once more whether a drop has begun (D2).

use super::cut::Aside;
use super::descend::{Seek, rest};
use super::mini::{Beside, LET_GO, Part};
use super::redo::damaged;
use super::value::{Reference, large_among};
use super::{BTree, Inner};
use crate::error::{Error, Result};
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::header;
use crate::page::slotted::{Search, SlottedPage, ops};
use crate::pool::{Extent, Interrupt, PageMut, PageView};
use crate::sync::{Arc, Ordering};
use crate::types::{Lsn, PageId, PageKind, SizeClass};
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD};
use std::collections::HashSet;

/// Leaves freed by one step at most.
const STEP: usize = 64;
/// Levels a path may have: far beyond what 2^34 pages need.
const MAX_LEVELS: usize = 64;
/// Restarts of one step before it is given up for the time being.
const RESTARTS: usize = 256;

/// The two pages of a record that ends a tree, or begins to: the leaf that lists it, and its root.
struct Ends<'p> {
    leaf: PageMut<'p>,
    root: PageMut<'p>,
}

impl BTree {
    /// Drops `tree`, which this one lists under `key`: by one record its root becomes a tombstone, and `entry` the value
    /// of `key`. `entry` must be as long as the value it replaces. All handles to `tree` must be clones of this one; they
    /// answer `NotFound` from then on. Nothing is freed yet: see [`BTree::reclaim_step`]. Returns the record's LSN.
    ///
    /// # Errors
    /// Those of [`BTree::insert`]; nothing was changed then.
    pub fn drop_in(&self, key: &[u8], entry: &[u8], tree: &BTree) -> Result<Lsn> {
        let mut payload = Vec::with_capacity(key.len() + entry.len() + ops::RECORD_OVERHEAD);
        ops::encode_record(key, 0, entry, &mut payload);
        let dropped = &tree.inner.dropped;
        self.inner.end(key, (ops::UPDATE, &payload), &tree.inner, ops::ENTOMB, |root, own| {
            // Under the root's latch, and nothing can fail from here to the record (W5): whoever sees the flag sees the
            // drop. Release: pairs with the Acquire in `check_dropped`.
            if own.is_own(root) {
                dropped.store(true, Ordering::Release);
                Ok(())
            } else {
                Err(own.gone())
            }
        })
    }

    /// Frees the tombstone of `tree`, of which nothing else is left, and removes the entry `key` for it from this tree, by
    /// one record. No other handle to `tree` may be in use. Returns the record's LSN.
    ///
    /// # Errors
    /// Those of [`BTree::insert`]; nothing was changed then.
    pub fn forget_in(&self, key: &[u8], tree: &BTree) -> Result<Lsn> {
        self.inner.end(key, (ops::REMOVE, key), &tree.inner, LET_GO, |root, own| {
            let alone = root.u8(crate::page::slotted::LEVEL) == Ok(0);
            if own.is_tombstone(root) && alone { Ok(()) } else { Err(own.not_buried()) }
        })
    }

    /// Frees some of the pages of a dropped tree by one record; how many, 0 once only the tombstone is left. Cost: reads
    /// what it frees; the record takes some 15 bytes a page. What is already in memory and unchanged leaves it. By one
    /// thread at a time.
    ///
    /// # Errors
    /// `Corrupted` if there is more, but it cannot be read, or not be freed, and all else was: the next step tries it again.
    /// `PoolExhausted` if others are too often in the way; `NotFound` if the tree was not dropped; those of
    /// [`BTree::insert`]. Nothing was changed then, and the step can be tried again at any time.
    pub fn reclaim_step(&self) -> Result<usize> {
        let inner = &*self.inner;
        let mut aside = inner.aside.lock();
        aside.begin();
        let mut alone = false;
        for n in 0..RESTARTS {
            inner.pool.check_poison()?;
            // Fewer where there are few frames, or much is going on.
            let most = if alone { 1 } else { STEP.min(inner.pool.capacity_pages() / 8) >> (n / 8).min(8) };
            let nodes = (most + MAX_LEVELS) * (2 * PART_OVERHEAD + 2);
            let room = inner.reserve(RECORD_OVERHEAD + nodes + inner.frees_of_a_leaf())?;
            match inner.try_reclaim(most.max(1), &mut aside) {
                Ok(None) => return aside.end(),
                Ok(Some(Step { parts, keeps, leaves, gone })) => {
                    let freed: Vec<PageId> =
                        parts.iter().filter(|(_, op)| *op == LET_GO).map(|(page, _)| page.id()).collect();
                    let parts = parts.into_iter().map(|(page, op)| {
                        let payload: &[u8] = if op == ops::DETACH { &keeps } else { &[] };
                        Part { page, op, payload }
                    });
                    match inner.commit_with(room, Beside { gone: &gone, ..Beside::default() }, parts.collect()) {
                        Ok(_) => {
                            freed.iter().for_each(|&id| inner.pool.let_go(id));
                            return Ok(freed.len());
                        }
                        // Something in it is not allocated: which one shows when they go one by one.
                        Err(error @ Error::Corrupted { .. }) => match leaves.as_slice() {
                            [leaf] => aside.put(*leaf, error),
                            _ => alone = true,
                        },
                        Err(error) => return Err(error),
                    }
                }
                Err(Interrupt::Failed(error)) => return Err(error),
                Err(Interrupt::Restart) => {
                    drop(room);
                    rest(n);
                }
            }
        }
        Err(Error::PoolExhausted { waited: std::time::Duration::ZERO })
    }

    /// Whether no clone of this handle is left, nor a [`super::Range`] made from one.
    #[must_use]
    pub fn is_only_handle(&mut self) -> bool {
        Arc::get_mut(&mut self.inner).is_some()
    }

    /// What a dropped tree still has, its tombstone first among the pages; and what is damaged there. Nothing may free any
    /// of it meanwhile. Large values are not read.
    ///
    /// # Errors
    /// What hinders the walk itself: `Io`, `PoolExhausted`, `Poisoned`.
    pub fn check_dropped(&self) -> Result<Dropped> {
        let mut walk = Remains { inner: &self.inner, seen: HashSet::new(), found: Dropped::default() };
        walk.node(self.inner.root, None)?;
        Ok(walk.found)
    }
}

/// A page that a step latched, and what becomes of it.
type Latched<'p> = (PageMut<'p>, u8);

/// A step, latched.
struct Step<'p> {
    parts: Vec<Latched<'p>>,
    /// Which children the node that stays keeps: the payload of a [`ops::DETACH`].
    keeps: Vec<u8>,
    /// The leaves among the pages.
    leaves: Vec<PageId>,
    gone: Vec<Reference>,
}

impl Inner {
    /// `NotFound` once the tree is being dropped: asked where all latches of a change are held (D2).
    pub(super) fn check_dropped(&self) -> Result<()> {
        // Acquire: pairs with the Release in `drop_in`.
        if self.dropped.load(Ordering::Acquire) { Err(self.gone()) } else { Ok(()) }
    }

    pub(super) fn is_tombstone(&self, page: PageReader<'_>) -> bool {
        page.u8(header::KIND) == Ok(PageKind::TOMBSTONE.get()) && page.u32(header::TREE) == Ok(self.tree.get())
    }

    #[cold]
    pub(super) fn not_buried(&self) -> Error {
        Error::NotFound { what: format!("a tombstone of tree {} at page {}", self.tree.get(), self.root) }
    }

    /// One record for the entry `key` in the leaf of this tree and the root of `tree`, which `fits` must agree to.
    fn end(
        &self,
        key: &[u8],
        (entry_op, payload): (u8, &[u8]),
        tree: &Inner,
        root_op: u8,
        fits: impl Fn(PageReader<'_>, &Inner) -> Result<()>,
    ) -> Result<Lsn> {
        self.pool.check_poison()?;
        // Where the root goes too, so do the large values that it holds if it never was more than a leaf.
        let frees = if root_op == LET_GO { self.frees_of_a_leaf() } else { 0 };
        let room = self.reserve(RECORD_OVERHEAD + 3 * PART_OVERHEAD + payload.len() + frees)?;
        let ends = match self.retry(|| self.try_ends(key, tree))? {
            Some(ends) => ends,
            None => self.in_lane(2, |lane| {
                let leaf: PageMut<'_> = self.coupled(lane, Seek::Key(key), 0)?;
                // Who holds a root's latch waits for nothing but in the lane, which is ours.
                let root = lane.exclusive(tree.root, SizeClass::ZERO)?;
                Ok(Ends { leaf, root })
            })?,
        };
        let id = ends.leaf.id();
        let listed = SlottedPage::open(ends.leaf.reader())
            .and_then(|node| Ok(node.covers(key)? && matches!(node.search(key)?, Search::Found(_))));
        match listed {
            Ok(true) => {}
            Ok(false) => return Err(Error::NotFound { what: format!("an entry for tree {}", tree.tree.get()) }),
            Err(OutOfBounds) => return Err(damaged(id, "an offset leads outside of the page")),
        }
        fits(ends.root.reader(), tree)?;
        let mut gone = Vec::new();
        if root_op == LET_GO {
            SlottedPage::open(ends.root.reader())
                .and_then(|node| large_among(&node, 0..if node.is_leaf() { node.count() } else { 0 }, &mut gone))
                .map_err(|_| damaged(tree.root, "a reference to a large value that is none"))?;
        }
        let parts =
            vec![Part { page: ends.leaf, op: entry_op, payload }, Part { page: ends.root, op: root_op, payload: &[] }];
        let lsn = self.commit_with(room, Beside { gone: &gone, ..Beside::default() }, parts)?;
        if root_op == LET_GO {
            self.pool.let_go(tree.root);
        }
        Ok(lsn)
    }

    fn try_ends<'p>(&'p self, key: &[u8], tree: &'p Inner) -> Result<Ends<'p>, Interrupt> {
        let root = self.pool.view(&tree.root_swip)?;
        let leaf = self.descend(Seek::Key(key), 0)?.view;
        Ok(Ends { leaf: leaf.try_exclusive()?, root: root.try_exclusive()? })
    }

    /// Latches what a step of at most `most` leaves changes and frees; `None` if nothing is left but the tombstone, and what
    /// is kept aside.
    fn try_reclaim(&self, most: usize, aside: &mut Aside) -> Result<Option<Step<'_>>, Interrupt> {
        let Some(cut) = self.choose_cut(most, aside)? else { return Ok(None) };
        let mut parts = Vec::with_capacity(cut.path.len() + cut.leaves.len());
        let mut passed = Vec::with_capacity(cut.stays);
        // All of the path (D1), from the top down and by try (L5).
        for (i, view) in cut.path.iter().enumerate() {
            let page = view.try_exclusive()?;
            match i.cmp(&cut.stays) {
                std::cmp::Ordering::Less => passed.push(page),
                std::cmp::Ordering::Equal => parts.push((page, ops::DETACH)),
                std::cmp::Ordering::Greater => parts.push((page, LET_GO)),
            }
        }
        for leaf in &cut.leaves {
            // The large values in it, which were found in this view, go by the same record.
            parts.push((leaf.try_exclusive()?, LET_GO));
        }
        // The latches above may go: their versions have moved.
        drop(passed);
        let leaves = cut.leaves.iter().map(PageView::id).collect();
        Ok(Some(Step { parts, keeps: cut.keeps(), leaves, gone: cut.gone }))
    }
}

/// What is left of a dropped tree.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Dropped {
    /// Its nodes, the tombstone first.
    pub pages: Vec<PageId>,
    /// The extents of its large values.
    pub values: Vec<Extent>,
    /// What is not as it should be.
    pub errors: Vec<Error>,
}

/// Walks what is left of a dropped tree.
struct Remains<'w> {
    inner: &'w Inner,
    seen: HashSet<PageId>,
    found: Dropped,
}

impl Remains<'_> {
    fn node(&mut self, id: PageId, level: Option<u8>) -> Result<()> {
        if !self.seen.insert(id) {
            self.found.errors.push(damaged(id, "a page reached twice"));
            return Ok(());
        }
        let page = match self.inner.pool.shared(id, SizeClass::ZERO) {
            Ok(page) => page,
            Err(error @ Error::Corrupted { .. }) => {
                self.found.errors.push(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.found.pages.push(id);
        let reader = page.reader();
        let right = if level.is_none() { self.inner.is_tombstone(reader) } else { self.inner.is_own(reader) };
        let node = match SlottedPage::open(reader) {
            Ok(node) if right && level.is_none_or(|level| level == node.level()) => node,
            _ => {
                self.found.errors.push(damaged(id, "no page of this dropped tree"));
                return Ok(());
            }
        };
        if node.is_leaf() {
            let mut values = Vec::new();
            if large_among(&node, 0..node.count(), &mut values).is_err() {
                self.found.errors.push(damaged(id, "a reference to a large value that is none"));
            }
            self.found.values.extend(values.iter().flat_map(Reference::runs));
        }
        for i in 0..if node.is_leaf() { 0 } else { node.count() + 1 } {
            match node.child(i) {
                Ok(child) => self.node(child, Some(node.level() - 1))?,
                Err(OutOfBounds) => self.found.errors.push(damaged(id, "a reference outside of the page")),
            }
        }
        Ok(())
    }
}
