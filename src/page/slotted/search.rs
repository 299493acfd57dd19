//! Finding a key in a node.
//!
//! The hint array narrows the range (sixteen comparisons that compile to vector instructions), then a binary search over
//! the heads with a three-way comparison: it leaves as soon as a head equals, and only then looks at the key itself, and
//! only if both keys are longer than their heads.

use super::*;
use crate::page::bytes::PageWords;
use core::cmp::Ordering;
use core::ops::Range;

/// Cache lines of an entry that are asked for ahead of reading it: a short key and value; what follows the hardware guesses.
const ENTRY_LINES: usize = 4;

/// With no more slots left than this, no entry is asked for ahead: they are looked at in no more than two steps.
const NEAR: usize = 3;

/// Up to here, in bytes, a descent has asked for the page's lines by itself; [`SlottedPage::prefetch_change`] goes on.
const LOOKED_AT: usize = 576;

/// Cache lines of slots that are asked for beyond that, at most: more of them the hardware sees coming.
const MOVED_LINES: usize = 8;

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
    pub fn search(&self, key: &[u8]) -> Result<Search, OutOfBounds> {
        self.search_inline(key)
    }

    /// [`SlottedPage::search`] in the caller's own code: for lookups.
    #[inline(always)]
    pub fn search_inline(&self, key: &[u8]) -> Result<Search, OutOfBounds> {
        let suffix = key.get(self.prefix_len()..).ok_or(OutOfBounds)?;
        let head = head_of(suffix);
        let (low, high) = self.narrow(head)?;
        self.prefetch_between(low, high);
        self.search_between(suffix, head, low, high)
    }

    #[inline(always)]
    pub(super) fn search_between(
        &self,
        suffix: &[u8],
        head: u32,
        mut low: usize,
        mut high: usize,
    ) -> Result<Search, OutOfBounds> {
        let slots = self.page.words(SLOTS, self.count())?;
        while low < high {
            let middle = (low + high) / 2;
            let word = slots.get(middle);
            let there = word as u32;
            if there < head {
                low = middle + 1;
            } else if there > head {
                high = middle;
            } else {
                // Where one neighbour's head is the same, so are others': each step to come waits for an entry.
                if high - low > NEAR && slots.get(middle + 1) as u32 == head {
                    self.prefetch_halves(slots, head, low..middle, middle + 1..high);
                }
                match self.compare_rest(Slot::from_word(word), suffix)? {
                    Ordering::Less => low = middle + 1,
                    Ordering::Greater => high = middle,
                    Ordering::Equal => return Ok(Search::Found(middle)),
                }
            }
        }
        Ok(Search::Insert(low))
    }

    /// Asks for the keys that the next step of the search may look at, one of which it will: among equal heads a search that
    /// waited for one at a time would wait as often as it compares.
    #[inline(always)]
    fn prefetch_halves(&self, slots: PageWords<'_>, head: u32, left: Range<usize>, right: Range<usize>) {
        for half in [left, right] {
            let slot = Slot::from_word(slots.get((half.start + half.end) / 2));
            if slot.head == head {
                self.page.prefetch(self.key_at(slot) + 4);
            }
        }
    }

    /// Asks for the first lines of the entry at byte `at`.
    #[inline(always)]
    pub(crate) fn prefetch_entry(&self, at: usize) {
        for line in 0..ENTRY_LINES {
            self.page.prefetch(at + line * 64);
        }
    }

    #[inline(always)]
    pub(super) fn prefetch_at(&self, slot: Slot) {
        self.prefetch_entry(slot.offset);
    }

    /// Asks for what a change of `key` in a leaf reads and writes beside what a lookup does: the last slots, which move; the lowest
    /// end of the heap, where the next entry goes; and the fences at the page's end, if they have to be looked at.
    #[inline(always)]
    pub fn prefetch_change(&self, key: &[u8]) {
        if self.covers_by_heads(key) != Ok(true) {
            self.page.prefetch(self.page.len().saturating_sub(1));
        }
        let mut at = LOOKED_AT;
        while at < (SLOTS + self.count() * SLOT_BYTES).min(LOOKED_AT + MOVED_LINES * 64) {
            self.page.prefetch(at);
            at += 64;
        }
        if let Ok(heap) = self.page.u32(HEAP_START) {
            for line in 1..=ENTRY_LINES {
                self.page.prefetch((heap as usize).saturating_sub(line * 64));
            }
        }
    }

    /// Asks for the fences' first lines.
    #[inline(always)]
    pub fn prefetch_fences(&self) {
        for at in [LOWER, UPPER] {
            if let Ok(word) = self.page.u32(at) {
                self.page.prefetch(word as usize & 0xffff);
            }
        }
    }

    /// Asks for what the rest of the search will read: in an inner node all slots that are left, and the references that go
    /// with them. A search that waited for one line at a time would wait four times.
    #[inline(always)]
    pub(super) fn prefetch_between(&self, low: usize, high: usize) {
        if self.is_leaf() {
            return;
        }
        let mut at = low;
        while at <= high {
            self.page.prefetch(SLOTS + at * SLOT_BYTES);
            self.page.prefetch(self.references_at() + at * WORD_BYTES);
            at += 8;
        }
    }

    /// The slots between which a key with `head` lies, by the hints.
    #[inline(always)]
    pub(super) fn narrow(&self, head: u32) -> Result<(usize, usize), OutOfBounds> {
        let count = self.count();
        if count < HINT_MIN {
            return Ok((0, count));
        }
        let (below, not_above) = self.page.rank16(HINTS, head)?;
        let distance = count / (HINT_COUNT + 1);
        let low = if below == 0 { 0 } else { below * distance + 1 };
        let high = if not_above >= HINT_COUNT { count } else { (not_above + 1) * distance };
        Ok((low, high))
    }

    /// Compares the key of `slot` with `suffix`, their heads being equal.
    #[inline]
    pub(super) fn compare_rest(&self, slot: Slot, suffix: &[u8]) -> Result<Ordering, OutOfBounds> {
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
        Ok(match self.search_inline(key)? {
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
