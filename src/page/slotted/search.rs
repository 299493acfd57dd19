//! Finding a key in a node.
//!
//! The hint array narrows the range (sixteen comparisons that compile to vector instructions), then a binary search over
//! the heads with a three-way comparison: it leaves as soon as a head equals, and only then looks at the key itself, and
//! only if both keys are longer than their heads.

use super::*;
use core::cmp::Ordering;

/// Where a key is, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// In this slot.
    Found(usize),
    /// Nowhere; it belongs in front of this slot.
    Insert(usize),
}

impl Search {
    /// The slot, either way.
    #[must_use]
    pub fn slot(self) -> usize {
        match self {
            Search::Found(i) | Search::Insert(i) => i,
        }
    }
}

impl SlottedPage<'_> {
    /// Finds `key`, which must lie between the fences (the descent made sure of it). Cost: 4 to 6 cache lines.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or for a key shorter than the prefix.
    #[inline]
    pub fn search(&self, key: &[u8]) -> Result<Search, OutOfBounds> {
        let suffix = key.get(self.prefix_len()..).ok_or(OutOfBounds)?;
        let head = head_of(suffix);
        let (mut low, mut high) = self.narrow(head)?;
        while low < high {
            let middle = (low + high) / 2;
            let slot = self.slot(middle)?;
            match slot.head.cmp(&head) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => match self.compare_rest(slot, suffix)? {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => return Ok(Search::Found(middle)),
                },
            }
        }
        Ok(Search::Insert(low))
    }

    /// The slots between which a key with `head` lies, by the hints.
    #[inline(always)]
    fn narrow(&self, head: u32) -> Result<(usize, usize), OutOfBounds> {
        let count = self.count();
        if count < HINT_MIN {
            return Ok((0, count));
        }
        let hints = self.page.u32s::<HINT_COUNT>(HINTS)?;
        let (mut below, mut not_above) = (0, 0);
        for hint in hints {
            below += usize::from(hint < head);
            not_above += usize::from(hint <= head);
        }
        let distance = count / (HINT_COUNT + 1);
        let low = if below == 0 { 0 } else { below * distance + 1 };
        let high = if not_above == HINT_COUNT { count } else { (not_above + 1) * distance };
        Ok((low, high))
    }

    /// Compares the key of `slot` with `suffix`, their heads being equal.
    #[inline]
    fn compare_rest(&self, slot: Slot, suffix: &[u8]) -> Result<Ordering, OutOfBounds> {
        // With equal heads, a key of at most four bytes is a prefix of the other one.
        if slot.key_len <= 4 || suffix.len() <= 4 {
            return Ok(slot.key_len.cmp(&suffix.len()));
        }
        self.page.compare(self.key_at(slot) + 4, slot.key_len - 4, &suffix[4..])
    }

    /// The child whose range covers `key`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or a leaf.
    #[inline]
    pub fn child_for(&self, key: &[u8]) -> Result<usize, OutOfBounds> {
        if self.is_leaf() {
            return Err(OutOfBounds);
        }
        Ok(match self.search(key)? {
            Search::Found(i) => i + 1,
            Search::Insert(i) => i,
        })
    }

    /// The last child whose range holds keys below `key`: the way down for a descending cursor. `key` may equal the
    /// node's upper fence.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or a leaf.
    pub fn child_before(&self, key: &[u8]) -> Result<usize, OutOfBounds> {
        if self.is_leaf() {
            return Err(OutOfBounds);
        }
        self.first_not_below(key)
    }

    /// The number of keys below `key`, which may be any key: this one compares the prefix too.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn first_not_below(&self, key: &[u8]) -> Result<usize, OutOfBounds> {
        let (at, n) = self.lower_range()?;
        let prefix = self.prefix_len();
        if prefix > n {
            return Err(OutOfBounds);
        }
        let shared = &key[..key.len().min(prefix)];
        match self.page.compare(at, prefix, shared)? {
            Ordering::Less => Ok(self.count()),
            Ordering::Greater => Ok(0),
            Ordering::Equal => Ok(self.search(key)?.slot()),
        }
    }
}
