//! The concurrent B+tree over a [`BufferPool`] and an optional [`RedoLog`].
//!
//! # Going down
//!
//! Every operation starts at the root, whose page never changes (B1), and goes down by **optimistic lock coupling**: it
//! reads a node without latching it, looks up the child, reads the child's version, and only then validates the node it
//! came from (Leis et al., "Optimistic Lock Coupling", 2019). If anything moved, it starts again. A page that is not in
//! memory is loaded with nothing held. After a bounded number of restarts an operation takes the **slow lane**: one
//! mutex and shared latches coupled down the path, which nobody can starve.
//!
//! # Changing
//!
//! A writer goes down the same way, upgrades the leaf's optimistic view to its exclusive latch (which fails if the leaf
//! changed since it was searched), appends its record, applies it, unlatches (W5). What does not fit makes it let go and
//! **split** first: parent and node are latched by try, new pages are reserved before, and one record covers all pages
//! (B3). If the parent is full it is split first, from the top as far as needed. The root grows by moving its content
//! down into two new pages. A removal that leaves little behind **merges** the leaf with a neighbour under the same
//! parent, if their latches can be had; empty inner nodes go the same way, and a root with one child takes over that
//! child's content.
//!
//! There are no sibling pointers. A cursor copies one leaf at a time and goes on from the root at that leaf's fence: at
//! the upper fence, or at the last key before the lower one. It cannot get lost in a split or merge.
//!
//! Values that do not fit a leaf well lie in pages of their own; the leaf has a reference (`value`).
//!
//! # What holds
//!
//! Single-key operations are linearizable: each takes effect while its leaf is latched or at a validated read. Batches
//! are atomic and isolated from each other and from single-key operations. Cursors and scans see each leaf at one moment,
//! not the tree. User code never runs under a latch.

#![forbid(unsafe_code)]

mod batch;
mod bulk;
mod check;
mod count;
mod create;
mod create_in;
mod cursor;
mod cut;
mod descend;
mod drop;
mod ends;
mod get;
mod get_many;
mod lane;
mod latched;
mod leaf_copy;
mod len;
mod link;
mod log;
mod merge;
mod mini;
mod range;
mod redo;
mod remove_range;
mod scan;
mod shift;
mod split;
#[cfg(test)]
mod tests;
mod together;
mod value;
mod write;

pub use batch::{BatchAction, BatchOp, BatchOutcome};
pub use bulk::BulkLoad;
pub use check::TreeCheck;
pub(crate) use cursor::Window;
pub use drop::Dropped;
pub use log::{LogRoom, RedoLog};
pub(crate) use merge::sparse_leaves;
pub(crate) use range::Cursor;
pub use range::Range;
pub use redo::BTreeRedo;
pub(crate) use redo::redo_part;
pub use remove_range::RangeStep;
pub use value::Reference;
pub(crate) use value::extent_of;
pub use write::{CasOutcome, Changed};

use crate::error::{Error, Result};
use crate::page::slotted::max_key;
use crate::pool::BufferPool;
use crate::swip::{AtomicSwip, Swip};
use crate::sync::{Arc, AtomicBool, Mutex};
use crate::types::{Lsn, PageId, SizeClass, TreeId};

/// An ordered map of byte keys to byte values in pages of a pool. Cloning gives another handle to the same tree.
#[derive(Clone)]
pub struct BTree {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) log: Option<Arc<dyn RedoLog>>,
    pub(crate) tree: TreeId,
    pub(crate) root: PageId,
    /// The root's reference, with its frame as hint.
    pub(crate) root_swip: AtomicSwip,
    /// Merges that were put off.
    pub(crate) untidy: merge::Untidy,
    /// Set while the record that drops the tree is made, or after it (D2).
    pub(crate) dropped: AtomicBool,
    /// What the steps of a drop go past; held for a step.
    aside: Mutex<cut::Aside>,
    /// How many pairs there are, if all who change the tree share this.
    count: Option<Box<count::Count>>,
}

impl BTree {
    /// The tree whose root is the page `root`. Reads nothing: a root that is not there shows at the first operation.
    /// All handles to one tree, and all trees of one batch, must come with the same pool and log.
    #[must_use]
    pub fn open(pool: Arc<BufferPool>, log: Option<Arc<dyn RedoLog>>, tree: TreeId, root: PageId) -> BTree {
        let root_swip = AtomicSwip::new(Swip::evicted(root, SizeClass::ZERO));
        let (untidy, dropped) = (merge::Untidy::default(), AtomicBool::new(false));
        let (aside, count) = (Mutex::default(), None);
        BTree { inner: Arc::new(Inner { pool, log, tree, root, root_swip, untidy, dropped, aside, count }) }
    }

    /// With its pairs counted by those who change it, so that [`BTree::len`] is no work: for a handle that has no clones yet,
    /// if from here on every change to the tree is made through its clones. `empty`: it has no pair.
    #[must_use]
    pub fn counted(mut self, empty: bool) -> BTree {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            let count = Box::new(count::Count::new());
            if empty && let Some(mark) = count.mark() {
                count.settle(mark, 0);
            }
            inner.count = Some(count);
        }
        self
    }

    /// The tree's number.
    #[must_use]
    pub fn id(&self) -> TreeId {
        self.inner.tree
    }

    /// The root's page, which never changes (B1).
    #[must_use]
    pub fn root(&self) -> PageId {
        self.inner.root
    }

    /// The pool underneath.
    #[must_use]
    pub fn pool(&self) -> &Arc<BufferPool> {
        &self.inner.pool
    }

    /// The longest key, in bytes.
    #[must_use]
    pub fn max_key(&self) -> usize {
        max_key(self.inner.pool.page_size())
    }

    /// The longest value, in bytes: 4 GiB.
    #[must_use]
    pub fn max_value(&self) -> usize {
        usize::try_from(value::MAX_VALUE).unwrap_or(usize::MAX)
    }

    /// The longest value, in bytes, that lies in the leaf beside a key of `key_len` bytes. Longer ones have pages of their
    /// own.
    #[must_use]
    pub fn max_inline_value(&self, key_len: usize) -> usize {
        value::max_inline(self.inner.pool.page_size(), key_len)
    }
}

impl Inner {
    /// Keys and values are measured before anything else happens.
    pub(crate) fn check_sizes(&self, key: &[u8], value_len: usize) -> Result<()> {
        let page = self.pool.page_size();
        if key.len() > max_key(page) {
            return Err(Error::KeyTooLarge { len: key.len(), max: max_key(page) });
        }
        if value_len as u64 > value::MAX_VALUE {
            return Err(Error::ValueTooLarge { len: value_len as u64, max: value::MAX_VALUE });
        }
        Ok(())
    }

    /// Room for one record; none is needed without a log.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Option<LogRoom<'_>>> {
        self.log.as_ref().map(|log| log.reserve(bytes)).transpose()
    }

    /// The append position, [`Lsn::NONE`] without a log.
    pub(crate) fn position(&self) -> Lsn {
        self.log.as_ref().map_or(Lsn::NONE, |log| log.position())
    }

    /// Appends into the room taken before; [`Lsn::NONE`] without a log.
    pub(crate) fn append(&self, room: Option<LogRoom<'_>>, record: &[u8]) -> Lsn {
        match (&self.log, room) {
            (Some(log), Some(room)) => log.append(room, record),
            _ => Lsn::NONE,
        }
    }
}

impl std::fmt::Debug for BTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BTree").field("id", &self.inner.tree).field("root", &self.inner.root).finish_non_exhaustive()
    }
}
