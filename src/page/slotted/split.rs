//! Where to split a full node.
//!
//! The choice counts bytes, not records, and counts the new record as if it were there. Its guarantee: both halves are
//! legal pages whatever the sizes, and after finitely many splits the new record has its room. For a leaf: take the
//! largest left part that fits its page with its separator as fence; if one record more does not fit, then what is
//! right of that record, upper fence included, is shorter than a separator, so the right half, that record and less than
//! two fences and a separator's worth beside it, fits as well (a record and two maximal fences always fit, by
//! [`max_inline_value`]).
//!
//! Inserts at either end of a leaf split at that end: a sorted load leaves full pages behind.

use super::*;
use core::ops::Range;

/// A leaf's split: the right page takes the slots from `slot` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafSplit {
    /// The first slot of the right page; 0 and `count` are possible, empty leaves are legal.
    pub slot: usize,
}

/// An inner node's split: separator `slot` moves up, the right page takes those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerSplit {
    /// The slot of the separator that moves up.
    pub slot: usize,
}

/// The records of a leaf with the new one among them.
struct Virtual<'v> {
    node: SlottedPage<'v>,
    key: &'v [u8],
    /// The new record's place and whether it replaces the one there; `None`: the leaf as it is.
    new: Option<Search>,
    /// `sums[i]`: bytes of the first `i` records, slots included.
    sums: Vec<usize>,
    fences: (usize, usize),
}

impl<'v> Virtual<'v> {
    fn new(
        node: SlottedPage<'v>,
        key: &'v [u8],
        value_len: usize,
        new: Option<Search>,
    ) -> Result<Virtual<'v>, OutOfBounds> {
        let record = VALUE_LENGTH_BYTES + key.len().saturating_sub(node.prefix_len()) + value_len + SLOT_BYTES;
        let mut sums = Vec::with_capacity(node.count() + 2);
        let mut sum = 0;
        sums.push(0);
        for i in 0..node.count() {
            if new == Some(Search::Insert(i)) {
                sum += record;
                sums.push(sum);
            }
            let own = node.entry_bytes(i)? + SLOT_BYTES;
            sum += if new == Some(Search::Found(i)) { record } else { own };
            sums.push(sum);
        }
        if new == Some(Search::Insert(node.count())) {
            sums.push(sum + record);
        }
        let fences = (node.lower_range()?.1, node.upper_range()?.map_or(0, |(_, n)| n));
        Ok(Virtual { node, key, new, sums, fences })
    }

    fn len(&self) -> usize {
        self.sums.len() - 1
    }

    fn key_of(&self, i: usize, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        match self.new {
            Some(Search::Insert(at)) if i == at => {
                out.extend_from_slice(self.key);
                Ok(())
            }
            Some(Search::Insert(at)) if i > at => self.node.key(i - 1, out),
            _ => self.node.key(i, out),
        }
    }

    /// The separator in front of record `boundary`, if both halves are legal pages with it.
    fn try_boundary(&self, boundary: usize, separator: &mut Vec<u8>) -> Result<bool, OutOfBounds> {
        separator.clear();
        self.key_of(boundary, separator)?;
        let len = scratch::with(|left| {
            self.key_of(boundary - 1, left)?;
            Ok(shortest_separator(left, separator))
        })?;
        separator.truncate(len);
        let (left, all) = (self.sums[boundary], self.sums[self.len()]);
        let size = self.node.page_size();
        Ok(SLOTS + self.fences.0 + len + left <= size && SLOTS + self.fences.1 + len + all - left <= size)
    }

    /// The slot of the page in front of which `boundary` lies.
    fn slot(&self, boundary: usize) -> usize {
        match self.new {
            Some(Search::Insert(at)) if boundary > at => boundary - 1,
            _ => boundary,
        }
    }

    /// The boundary whose halves differ least, then its neighbours, further and further away.
    fn nearest(&self, start: usize, separator: &mut Vec<u8>) -> Result<Option<usize>, OutOfBounds> {
        outward(start, 1..self.len(), |boundary| self.try_boundary(boundary, separator))
    }

    fn middle(&self) -> usize {
        let half = self.sums[self.len()] / 2;
        let above = self.sums.partition_point(|&sum| sum < half);
        let closer = above > 1 && half - self.sums[above - 1] < self.sums[above] - half;
        if closer { above - 1 } else { above }
    }
}

/// The first of `range` that `fits`, looking from `start` outward.
fn outward(
    start: usize,
    range: Range<usize>,
    mut fits: impl FnMut(usize) -> Result<bool, OutOfBounds>,
) -> Result<Option<usize>, OutOfBounds> {
    if range.is_empty() {
        return Ok(None);
    }
    let start = start.clamp(range.start, range.end - 1);
    for distance in 0..range.len() {
        let after = start + distance;
        if after < range.end && fits(after)? {
            return Ok(Some(after));
        }
        if distance > 0 && start >= range.start + distance && fits(start - distance)? {
            return Ok(Some(start - distance));
        }
    }
    Ok(None)
}

impl SlottedPage<'_> {
    /// Where to split this leaf so that a record of `key` and `value_len` bytes, which `at` is the place of, gets room; the
    /// separator is left in `separator`. The record may need another split still, if its neighbours are large.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page, or one that a record of legal size would fit.
    pub fn choose_leaf_split(
        &self,
        key: &[u8],
        value_len: usize,
        at: Search,
        separator: &mut Vec<u8>,
    ) -> Result<LeafSplit, OutOfBounds> {
        let with_new = Virtual::new(*self, key, value_len, Some(at))?;
        let count = self.count();
        let edge = match at {
            Search::Insert(p) if p == count && count > 0 => Some(count),
            Search::Insert(0) if count > 0 => Some(1),
            _ => None,
        };
        if edge.is_some()
            && let Some(slot) = self.bound_sorted_load(&with_new, at, separator)?
        {
            return Ok(LeafSplit { slot });
        }
        if let Some(boundary) = edge
            && with_new.try_boundary(boundary, separator)?
        {
            return Ok(LeafSplit { slot: with_new.slot(boundary) });
        }
        if let Some(boundary) = with_new.nearest(with_new.middle(), separator)? {
            return Ok(LeafSplit { slot: with_new.slot(boundary) });
        }
        // No one split makes the room: part the records that are there, as near to the new one as possible.
        let as_is = Virtual::new(*self, key, value_len, None)?;
        let boundary = as_is.nearest(at.slot().max(1), separator)?.ok_or(OutOfBounds)?;
        Ok(LeafSplit { slot: boundary })
    }

    /// The first or last leaf of a tree has no fence on its outer side, hence no prefix to cut. When a sorted load has
    /// filled it, it gets such a fence first, a guess some way ahead of the new key, with an empty leaf beyond: then it
    /// goes on filling with its prefix cut. `None` where that would win less than the new record needs.
    fn bound_sorted_load(
        &self,
        records: &Virtual<'_>,
        at: Search,
        separator: &mut Vec<u8>,
    ) -> Result<Option<usize>, OutOfBounds> {
        /// Trailing bytes of what the leaf's keys share that the guess leaves open: room for a thousand decimal keys.
        const AHEAD: usize = 2;
        let (count, key) = (self.count(), records.key);
        let ascending = at == Search::Insert(count);
        let open = if ascending { records.fences.1 == 0 } else { records.fences.0 == 0 };
        if !open || self.prefix_len() > 0 {
            return Ok(None);
        }
        scratch::with(|far| {
            self.key(if ascending { 0 } else { count - 1 }, far)?;
            let Some(len) = common_prefix(far, key).checked_sub(AHEAD).filter(|&n| n > 0) else { return Ok(None) };
            separator.clear();
            separator.extend_from_slice(&key[..len]);
            if ascending {
                while separator.last() == Some(&u8::MAX) {
                    separator.pop();
                }
                let Some(last) = separator.last_mut() else { return Ok(None) };
                *last += 1;
            }
            far.clear();
            let fenced = if ascending { self.lower_fence(far).map(|()| true)? } else { self.upper_fence(far)? };
            let prefix = if fenced { common_prefix(far, separator) } else { 0 };
            let record = records.sums[records.len()] + SLOTS + far.len() + separator.len();
            let wins = record <= self.page_size() + prefix * (count + 1);
            Ok(wins.then_some(if ascending { count } else { 0 }))
        })
    }

    /// Where to split this leaf in front of `key`, whatever the sizes: what batches use to make room. `None` if the
    /// separator `key` would not fit as a fence of either half or is the lower fence.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page.
    pub fn split_leaf_at(&self, key: &[u8]) -> Result<Option<LeafSplit>, OutOfBounds> {
        let (at, n) = self.lower_range()?;
        if !self.covers(key)? || self.page.compare(at, n, key)?.is_eq() {
            return Ok(None);
        }
        let slot = self.search(key)?.slot();
        let all = Virtual::new(*self, key, 0, None)?;
        let (left, total, size) = (all.sums[slot], all.sums[all.len()], self.page_size());
        let fits =
            SLOTS + all.fences.0 + key.len() + left <= size && SLOTS + all.fences.1 + key.len() + total - left <= size;
        Ok(fits.then_some(LeafSplit { slot }))
    }

    /// Where to split this inner node so that `new` gets room; the separator that moves up is left in `separator`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page, or one that a separator of legal size would fit.
    pub fn choose_inner_split(&self, new: &[u8], separator: &mut Vec<u8>) -> Result<InnerSplit, OutOfBounds> {
        let count = self.count();
        if self.is_leaf() || count == 0 {
            return Err(OutOfBounds);
        }
        let at = self.search(new)?.slot();
        let (lower, upper) = (self.lower_range()?.1, self.upper_range()?.map_or(0, |(_, n)| n));
        let mut sums = Vec::with_capacity(count + 1);
        sums.push(0);
        let mut sum = 0;
        for i in 0..count {
            sum += self.slot(i)?.key_len + SLOT_BYTES + WORD_BYTES;
            sums.push(sum);
        }
        let more = new.len().saturating_sub(self.prefix_len()) + SLOT_BYTES + WORD_BYTES;
        let fits = |k: usize| {
            let up = self.slot(k)?.key_len + self.prefix_len();
            let (left, right) = (sums[k], sum - sums[k + 1]);
            let fixed = SLOTS + up + WORD_BYTES;
            let (more_left, more_right) = if at <= k { (more, 0) } else { (0, more) };
            let size = self.page_size();
            Ok(fixed + lower + left + more_left <= size && fixed + upper + right + more_right <= size)
        };
        let start = if at == count {
            count - 1
        } else if at == 0 {
            0
        } else {
            sums.partition_point(|&s| s < sum / 2).saturating_sub(1)
        };
        let slot = outward(start, 0..count, fits)?.ok_or(OutOfBounds)?;
        separator.clear();
        self.key(slot, separator)?;
        Ok(InnerSplit { slot })
    }

    /// Appends the content of the right half of a leaf's split.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page.
    pub fn encode_right(&self, from: usize, separator: &[u8], out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        scratch::with(|upper| {
            let bounded = self.upper_fence(upper)?;
            self.encode(from..self.count(), separator, bounded.then_some(upper.as_slice()), out)
        })
    }

    /// Appends the content of the left half of a split: `slots` in front of the separator.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page.
    pub fn encode_left(&self, slots: usize, separator: &[u8], out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        scratch::with(|lower| {
            self.lower_fence(lower)?;
            self.encode(0..slots, lower, Some(separator), out)
        })
    }
}
