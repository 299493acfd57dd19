//! New trees.

use super::mini::Part;
use super::{BTree, RedoLog};
use crate::error::Result;
use crate::page::slotted::{Content, ops};
use crate::pool::BufferPool;
use crate::sync::Arc;
use crate::types::{Lsn, SizeClass, TreeId};

impl BTree {
    /// Makes an empty tree: one record that allocates its root and makes it a leaf. Returns the record's LSN too.
    ///
    /// # Errors
    /// `NoSpace`, `PoolExhausted`, `Poisoned`, `Io`; nothing was made then.
    pub fn create(pool: Arc<BufferPool>, log: Option<Arc<dyn RedoLog>>, tree: TreeId) -> Result<(BTree, Lsn)> {
        pool.check_poison()?;
        let content = Content::empty_leaf(tree);
        let room = log.as_ref().map(|log| log.reserve(256)).transpose()?;
        let new = pool.reserve(SizeClass::ZERO)?;
        let made = BTree::open(pool.clone(), log.clone(), tree, new.id());
        let lsn = made.inner.commit(room, vec![Part { page: new.into_page(), op: ops::INIT, payload: &content }])?;
        Ok((made, lsn))
    }
}
