//! Iteration over a range of a tree.

use super::key_range::{Bounds, half_open};
use super::tree::{Handle, Pair, Tree};
use crate::btree::{BTree, Cursor, Window};
use crate::error::Result;
use crate::sync::Arc;
use crossbeam_utils::CachePadded;
use std::iter::FusedIterator;

/// An iterator over the pairs of a range, from both ends.
///
/// Consistent leaf by leaf, not a snapshot: what was there throughout is met once, what came or went meanwhile may be
/// met or not. Holds no latch between calls. The first error ends it. It keeps the store open.
pub struct Range {
    handle: Arc<CachePadded<Handle>>,
    /// `None` when the range is empty or an error ended it.
    pairs: Option<Cursor>,
}

impl Range {
    pub(crate) fn new(tree: &Tree, bounds: Bounds) -> Range {
        let pairs = half_open(bounds).map(|(low, high)| Cursor::new(Window::new(low, high)));
        Range { handle: tree.handle.clone(), pairs }
    }

    /// One step, with the store open and sound before and after it.
    fn step(&mut self, take: impl FnOnce(&mut Cursor, &BTree) -> Option<Result<Pair>>) -> Option<Result<Pair>> {
        let pairs = self.pairs.as_mut()?;
        let taken = match self.handle.inner.check_open() {
            Ok(()) => take(pairs, &self.handle.tree),
            Err(error) => Some(Err(error)),
        };
        let taken = match self.handle.inner.check_open() {
            Ok(()) => taken,
            Err(error) => Some(Err(error)),
        };
        if !matches!(taken, Some(Ok(_))) {
            self.pairs = None;
        }
        taken
    }
}

impl Iterator for Range {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Result<Pair>> {
        self.step(Cursor::next)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Result<Pair>> {
        self.step(Cursor::next_back)
    }
}

impl FusedIterator for Range {}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("tree", &self.handle.name).finish_non_exhaustive()
    }
}
