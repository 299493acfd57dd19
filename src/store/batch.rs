//! Batches: several changes, in several trees, that happen together or not at all.

use super::engine::Engine;
use super::options::Durability;
use super::tree::Tree;
use crate::btree::{BTree, BatchAction, BatchOp as TreeOp};
use crate::error::{Error, Result};
use crate::sync::Arc;

/// One entry of a batch, as the caller put it.
#[derive(Clone, Debug)]
pub(crate) enum BatchOp {
    Insert { key: Vec<u8>, value: Vec<u8> },
    Remove { key: Vec<u8> },
    Require { key: Vec<u8>, value: Option<Vec<u8>> },
}

/// Insertions, removals and requirements that [`Store::apply`](crate::Store::apply) carries out as one.
///
/// A later operation on a key wins. Requirements see the state before the batch. Building one does no I/O; it holds its
/// keys and values in memory. Trees of another store are found out when the batch is applied.
#[derive(Clone, Default)]
pub struct Batch {
    pub(crate) ops: Vec<(Tree, BatchOp)>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets `key` of `tree` to `value`.
    pub fn insert(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        let op = BatchOp::Insert { key: key.as_ref().to_vec(), value: value.as_ref().to_vec() };
        self.ops.push((tree.clone(), op));
        self
    }

    /// Removes `key` of `tree`, if it is there.
    pub fn remove(&mut self, tree: &Tree, key: impl AsRef<[u8]>) -> &mut Self {
        self.ops.push((tree.clone(), BatchOp::Remove { key: key.as_ref().to_vec() }));
        self
    }

    /// Requires that `key` of `tree` has this value (`None`: that it is absent) just before the batch; otherwise the
    /// batch changes nothing and is [`Error::Conflict`](crate::Error::Conflict).
    pub fn require(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: Option<&[u8]>) -> &mut Self {
        let op = BatchOp::Require { key: key.as_ref().to_vec(), value: value.map(<[u8]>::to_vec) };
        self.ops.push((tree.clone(), op));
        self
    }

    /// How many operations and requirements were put in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was put in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Takes everything out, to use the memory again.
    pub fn clear(&mut self) {
        self.ops.clear();
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish()
    }
}

/// Carries out `batch` and waits as `durability` says.
///
/// # Errors
/// See [`Store::apply`](crate::Store::apply).
pub(crate) fn apply(engine: &Arc<Engine>, batch: &Batch, durability: Durability) -> Result<()> {
    let _call = engine.running.enter()?;
    engine.log()?;
    engine.check_poison()?;
    if batch.ops.iter().any(|(tree, _)| !Arc::ptr_eq(&tree.handle.inner.engine, engine)) {
        return Err(Error::InvalidOption { option: "batch", reason: "it names a tree of another store".into() });
    }
    let ops: Vec<TreeOp<'_>> = batch.ops.iter().map(|(tree, op)| op.of(&tree.handle.tree)).collect();
    engine.make_way(batch.ops.iter().map(|(_, op)| op.value_len()).sum());
    let outcome = engine.with_space(|| BTree::apply(&ops))?;
    engine.batches.add_one();
    engine.after_write();
    engine.acknowledge(outcome.lsn, durability)?;
    match outcome.conflict.and_then(|at| batch.ops.get(at)) {
        None => Ok(()),
        Some((tree, op)) => Err(Error::Conflict { tree: tree.name().into(), key: op.key().to_vec() }),
    }
}

impl BatchOp {
    fn key(&self) -> &[u8] {
        match self {
            BatchOp::Insert { key, .. } | BatchOp::Remove { key } | BatchOp::Require { key, .. } => key,
        }
    }

    /// Bytes that it writes as a value.
    fn value_len(&self) -> usize {
        if let BatchOp::Insert { value, .. } = self { value.len() } else { 0 }
    }

    fn of<'a>(&'a self, tree: &'a BTree) -> TreeOp<'a> {
        let action = match self {
            BatchOp::Insert { value, .. } => BatchAction::Insert(value),
            BatchOp::Remove { .. } => BatchAction::Remove,
            BatchOp::Require { value, .. } => BatchAction::Require(value.as_deref()),
        };
        TreeOp { tree, key: self.key(), action }
    }
}
