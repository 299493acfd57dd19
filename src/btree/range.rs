//! Iteration over a range of a tree, from both ends.

use super::cursor::{Take, Window};
use super::ends::{End, EndRead};
use super::leaf_copy::{Keep, Kept, Taken};
use super::{BTree, Inner};
use crate::error::Result;
use std::iter::FusedIterator;

/// An iterator over the pairs of a range, from both ends, in key order.
///
/// Consistent leaf by leaf, not a snapshot: a key that is there throughout is met exactly once, whatever splits and merges
/// go on around it; what comes or goes meanwhile may be met or not. Holds no latch between calls, only copies of at most
/// two leaves. The first error ends it. As long as large values of those leaves are still to come, freed space is not
/// reused: do not keep an iterator where many are overwritten.
pub struct Range {
    tree: BTree,
    cursor: Cursor,
}

/// Where an iteration from both ends stands; the tree is its user's business.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// What no leaf was read of yet.
    rest: Option<Window>,
    front: Side,
    back: Side,
}

/// What was copied at one end and not taken yet, and how many pairs were copied there in all.
#[derive(Debug, Default)]
struct Side {
    copy: Option<Kept>,
    copied: usize,
}

type Pair = (Vec<u8>, Vec<u8>);

impl BTree {
    /// The pairs from `low` (inclusive) to `high` (exclusive; `None`: to the end). Reads nothing yet.
    #[must_use]
    pub fn range(&self, low: &[u8], high: Option<&[u8]>) -> Range {
        Range { tree: self.clone(), cursor: Cursor::new(Window::new(low.to_vec(), high.map(<[u8]>::to_vec))) }
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

    /// The least key. Cost: as [`BTree::first`], without the value.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn first_key(&self) -> Result<Option<Vec<u8>>> {
        let (mut window, mut copy) = (Window::new(Vec::new(), None), Kept::new(Keep::Keys));
        while window.is_some() {
            self.inner.fetch(&mut window, Take::Front(1), &mut copy)?;
            if let Some(pair) = copy.pop_front() {
                return Ok(Some(pair.key.to_vec()));
            }
        }
        Ok(None)
    }

    fn end(&self, end: End, take: Take) -> Result<Option<Pair>> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        match self.inner.read_end(end, &mut key, &mut value)? {
            Some(EndRead::Empty) => return Ok(None),
            Some(EndRead::Inline) => return Ok(Some((key, value))),
            Some(EndRead::Large(reader)) => {
                self.large_into(reader, &mut value, None)?;
                return Ok(Some((key, value)));
            }
            // Nobody can make what follows restart; what it passes is empty when it is passed.
            None => {}
        }
        let (mut window, mut copy) = (Window::new(Vec::new(), None), Kept::new(Keep::Pairs));
        while window.is_some() {
            self.inner.fetch(&mut window, take, &mut copy)?;
            if let Some(pair) = copy.pop_front() {
                return self.inner.owned(pair).map(Some);
            }
        }
        Ok(None)
    }
}

impl Inner {
    /// A pair of the caller's own; a large value is read for it.
    fn owned(&self, pair: Taken<'_>) -> Result<Pair> {
        let mut value = Vec::new();
        if pair.large {
            let reference = self.reference(pair.value)?;
            self.read_value(&reference, 0..reference.len(), &mut value)?;
        } else {
            value.extend_from_slice(pair.value);
        }
        Ok((pair.key.to_vec(), value))
    }
}

impl Cursor {
    pub(crate) fn new(rest: Option<Window>) -> Cursor {
        Cursor { rest, front: Side::default(), back: Side::default() }
    }

    /// The next pair from the front; `None` at the end, and after a failure.
    pub(crate) fn next(&mut self, tree: &BTree) -> Option<Result<Pair>> {
        loop {
            if let Some(pair) = self.front.copy.as_mut().and_then(|copy| copy.pop_front()) {
                let pair = tree.inner.owned(pair);
                return self.settle(pair);
            }
            if self.rest.is_none() {
                let pair = tree.inner.owned(self.back.copy.as_mut()?.pop_front()?);
                return self.settle(pair);
            }
            let take = Take::front(self.front.copied);
            if let Err(error) = self.front.fetch(tree, &mut self.rest, take) {
                return self.settle(Err(error));
            }
        }
    }

    /// The next pair from the back; as [`Cursor::next`].
    pub(crate) fn next_back(&mut self, tree: &BTree) -> Option<Result<Pair>> {
        loop {
            if let Some(pair) = self.back.copy.as_mut().and_then(|copy| copy.pop_back()) {
                let pair = tree.inner.owned(pair);
                return self.settle(pair);
            }
            if self.rest.is_none() {
                let pair = tree.inner.owned(self.front.copy.as_mut()?.pop_back()?);
                return self.settle(pair);
            }
            let take = Take::back(self.back.copied);
            if let Err(error) = self.back.fetch(tree, &mut self.rest, take) {
                return self.settle(Err(error));
            }
        }
    }

    /// Ends the iteration at a failure.
    #[inline]
    fn settle(&mut self, pair: Result<Pair>) -> Option<Result<Pair>> {
        if pair.is_err() {
            *self = Cursor::new(None);
        }
        Some(pair)
    }
}

impl Side {
    fn fetch(&mut self, tree: &BTree, rest: &mut Option<Window>, take: Take) -> Result<()> {
        let copy = self.copy.get_or_insert_with(|| Kept::new(Keep::Pairs));
        tree.inner.fetch(rest, take, copy)?;
        self.copied += copy.len();
        Ok(())
    }
}

impl Iterator for Range {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Result<Pair>> {
        self.cursor.next(&self.tree)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Result<Pair>> {
        self.cursor.next_back(&self.tree)
    }
}

impl FusedIterator for Range {}

impl std::fmt::Debug for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("tree", &self.tree).finish_non_exhaustive()
    }
}
