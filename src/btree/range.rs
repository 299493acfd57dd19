//! Iteration over a range of a tree, from both ends.

use super::BTree;
use super::cursor::{LeafCopy, Take, Window};
use super::ends::End;
use crate::error::Result;
use std::iter::FusedIterator;

/// An iterator over the pairs of a range, from both ends, in key order.
///
/// Consistent leaf by leaf, not a snapshot: a key that is there throughout is met exactly once, whatever splits and merges
/// go on around it; what comes or goes meanwhile may be met or not. Holds no latch between calls, only copies of at most
/// two leaves. The first error ends it.
pub struct Range {
    tree: BTree,
    /// What no leaf was read of yet.
    rest: Option<Window>,
    front: LeafCopy,
    back: LeafCopy,
}

type Pair = (Vec<u8>, Vec<u8>);

impl BTree {
    /// The pairs from `low` (inclusive) to `high` (exclusive; `None`: to the end). Reads nothing yet.
    #[must_use]
    pub fn range(&self, low: &[u8], high: Option<&[u8]>) -> Range {
        let rest = Window::new(low, high);
        Range { tree: self.clone(), rest, front: LeafCopy::default(), back: LeafCopy::default() }
    }

    /// The pairs whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> Range {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return self.range(prefix, Some(&end));
            }
        }
        self.range(prefix, None)
    }

    /// All pairs.
    #[must_use]
    pub fn iter(&self) -> Range {
        self.range(&[], None)
    }

    /// The pair with the least key. Cost: one descent, more if leaves at that end are empty.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn first(&self) -> Result<Option<Pair>> {
        self.end(End::First, Take::Front(1))
    }

    /// The pair with the greatest key. Cost: as [`BTree::first`].
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn last(&self) -> Result<Option<Pair>> {
        self.end(End::Last, Take::Back(1))
    }

    fn end(&self, end: End, take: Take) -> Result<Option<Pair>> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        if let Some(there) = self.inner.read_end(end, &mut key, &mut value)? {
            return Ok(there.then_some((key, value)));
        }
        // Nobody can make this restart; what it passes is empty when it is passed.
        let (mut window, mut copy) = (Window::new(&[], None), LeafCopy::default());
        while window.is_some() {
            self.inner.fetch(&mut window, take, &mut copy)?;
            if let Some((key, value)) = copy.pop_front() {
                return Ok(Some((key.to_vec(), value.to_vec())));
            }
        }
        Ok(None)
    }
}

fn owned((key, value): (&[u8], &[u8])) -> Result<Pair> {
    Ok((key.to_vec(), value.to_vec()))
}

impl Range {
    fn fail(&mut self, error: crate::Error) -> Option<Result<Pair>> {
        self.rest = None;
        self.front.clear();
        self.back.clear();
        Some(Err(error))
    }
}

impl Iterator for Range {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Result<Pair>> {
        loop {
            if let Some(pair) = self.front.pop_front() {
                return Some(owned(pair));
            }
            if self.rest.is_none() {
                return self.back.pop_front().map(owned);
            }
            if let Err(error) = self.tree.inner.fetch(&mut self.rest, Take::Front(usize::MAX), &mut self.front) {
                return self.fail(error);
            }
        }
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Result<Pair>> {
        loop {
            if let Some(pair) = self.back.pop_back() {
                return Some(owned(pair));
            }
            if self.rest.is_none() {
                return self.front.pop_back().map(owned);
            }
            if let Err(error) = self.tree.inner.fetch(&mut self.rest, Take::Back(usize::MAX), &mut self.back) {
                return self.fail(error);
            }
        }
    }
}

impl FusedIterator for Range {}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("tree", &self.tree).finish_non_exhaustive()
    }
}
