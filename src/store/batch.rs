//! Batches: several changes, in several trees, that happen together or not at all.

use super::engine::Engine;
use super::options::Durability;
use super::tree::Tree;
use crate::btree::{BTree, BatchAction, BatchOp as TreeOp};
use crate::error::{Error, Result};
use crate::sync::Arc;

/// One entry of a batch. Tree, key and value lie in the batch.
#[derive(Clone, Copy)]
struct Entry {
    what: What,
    /// The place of its tree.
    tree: u32,
    /// Where its key starts; the value lies behind it, up to the next entry's key.
    at: usize,
    key_len: usize,
}

#[derive(Clone, Copy)]
enum What {
    Insert,
    Remove,
    Require,
    RequireAbsent,
}

/// For values from this length on, in bytes, a batch grows by an eighth at least, not by as much again.
const LONG: usize = 1 << 20;

/// So many of a batch's trees are compared with the next operation's, from the last one back.
const RECENT: usize = 8;

/// Insertions, removals and requirements that [`Store::apply`](crate::Store::apply) carries out as one.
///
/// A later operation on a key wins. Requirements see the state before the batch. Building one does no I/O; it holds its
/// keys and values in memory. Trees of another store are found out when the batch is applied.
#[derive(Clone, Default)]
#[doc(alias("WriteBatch", "Transaction"))]
pub struct Batch {
    trees: Vec<Tree>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets `key` of `tree` to `value`.
    pub fn insert(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.push(tree, What::Insert, key.as_ref(), value.as_ref())
    }

    /// Removes `key` of `tree`, if it is there.
    pub fn remove(&mut self, tree: &Tree, key: impl AsRef<[u8]>) -> &mut Self {
        self.push(tree, What::Remove, key.as_ref(), &[])
    }

    /// Requires that `key` of `tree` has this value (`None`: that it is absent) just before the batch; otherwise the
    /// batch changes nothing and is [`Error::Conflict`](crate::Error::Conflict).
    #[doc(alias("check", "assert"))]
    pub fn require(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: Option<&[u8]>) -> &mut Self {
        let what = if value.is_some() { What::Require } else { What::RequireAbsent };
        self.push(tree, what, key.as_ref(), value.unwrap_or_default())
    }

    /// How many operations and requirements were put in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was put in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes everything out, to use the memory again.
    pub fn clear(&mut self) {
        self.trees.clear();
        self.entries.clear();
        self.bytes.clear();
    }

    fn push(&mut self, tree: &Tree, what: What, key: &[u8], value: &[u8]) -> &mut Self {
        let tree = self.place_of(tree);
        self.entries.push(Entry { what, tree, at: self.bytes.len(), key_len: key.len() });
        if value.len() >= LONG {
            self.bytes.reserve_exact((key.len() + value.len()).max(self.bytes.len() / 8));
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self
    }

    /// The place of `tree` among the batch's, where it is put if it is not among the last ones.
    fn place_of(&mut self, tree: &Tree) -> u32 {
        let same = |other: &Tree| {
            other.handle.tree.id() == tree.handle.tree.id() && Arc::ptr_eq(&other.handle.inner, &tree.handle.inner)
        };
        let recent = self.trees.len().saturating_sub(RECENT);
        let place = self.trees[recent..].iter().rposition(same).map_or(self.trees.len(), |at| recent + at);
        if place == self.trees.len() {
            self.trees.push(tree.clone());
        }
        place as u32
    }

    fn tree(&self, entry: &Entry) -> &Tree {
        &self.trees[entry.tree as usize]
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.at..entry.at + entry.key_len]
    }

    /// The operations as the tree takes them.
    fn ops(&self) -> Vec<TreeOp<'_>> {
        let ends = self.entries.iter().skip(1).map(|next| next.at).chain([self.bytes.len()]);
        let op = |(entry, end): (&Entry, usize)| {
            let value = &self.bytes[entry.at + entry.key_len..end];
            let action = match entry.what {
                What::Insert => BatchAction::Insert(value),
                What::Remove => BatchAction::Remove,
                What::Require => BatchAction::Require(Some(value)),
                What::RequireAbsent => BatchAction::Require(None),
            };
            TreeOp { tree: &self.tree(entry).handle.tree, key: self.key(entry), action }
        };
        self.entries.iter().zip(ends).map(op).collect()
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
    if batch.trees.iter().any(|tree| !Arc::ptr_eq(&tree.handle.inner.engine, engine)) {
        return Err(Error::InvalidOption { option: "batch", reason: "it names a tree of another store".into() });
    }
    let ops = batch.ops();
    engine
        .make_way(ops.iter().map(|op| if let BatchAction::Insert(value) = op.action { value.len() } else { 0 }).sum());
    let outcome = engine.with_space(|| BTree::apply(&ops))?;
    engine.batches.add_one();
    engine.after_write();
    engine.acknowledge(outcome.lsn, durability)?;
    match outcome.conflict.and_then(|at| batch.entries.get(at)) {
        None => Ok(()),
        Some(entry) => Err(Error::Conflict { tree: batch.tree(entry).name().into(), key: batch.key(entry).to_vec() }),
    }
}
