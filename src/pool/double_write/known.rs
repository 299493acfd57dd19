//! Which pages have a copy in the ring, and where: a table of fixed size, which may forget.
//!
//! Forgetting costs a copy more, nothing else. So there is no probing and no growing: a page's entry is in one cache line of
//! eight, or nowhere. An entry names its slot and the low bits of its batch's number; it is **stale** when the slot belongs to
//! another batch by now. Stale entries are not looked for when a slot is claimed: the table is swept piece by piece, a claim each,
//! once in half a lap, long before a number's low bits come back.
//!
//! An entry is a word: page id (34 bits), slot (8), number (22). Page 0 has none.

use crate::types::PageId;

/// Entries of a cache line.
const WAYS: usize = 8;
const ID_BITS: u32 = 34;
const SLOT_BITS: u32 = 8;
const NUMBER_BITS: u32 = 64 - ID_BITS - SLOT_BITS;

/// Slots that an entry can name.
pub(super) const MAX_SLOTS: usize = 1 << SLOT_BITS;

/// A copy: its slot, and its batch's number as far as an entry knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) slot: usize,
    number: u64,
}

impl At {
    /// In `slot`, of the batch of this number.
    pub(super) fn new(slot: usize, number: u64) -> At {
        At { slot, number: number & ((1 << NUMBER_BITS) - 1) }
    }
}

#[derive(Debug)]
pub(super) struct Known {
    words: Box<[u64]>,
    swept: usize,
}

impl Known {
    /// For so many copies.
    pub(super) fn new(copies: usize) -> Known {
        // Two thirds full, so that few lines are full before their oldest entries are stale.
        let words = (copies + copies / 2).next_multiple_of(WAYS).max(WAYS);
        Known { words: vec![0; words].into(), swept: 0 }
    }

    fn line(&self, id: PageId) -> std::ops::Range<usize> {
        // Fibonacci hashing, and the high bits scaled to the number of lines.
        let hash = u128::from(id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let line = ((hash * (self.words.len() / WAYS) as u128) >> 64) as usize;
        line * WAYS..(line + 1) * WAYS
    }

    /// The page's copy, stale or not.
    pub(super) fn get(&self, id: PageId) -> Option<At> {
        let word = self.words[self.line(id)].iter().find(|&&word| id_of(word) == id.get() && word != 0)?;
        Some(at_of(*word))
    }

    /// The page's newest copy is `at`. If the line is full, whichever entry `rank` gives least is forgotten; 0 is for stale ones.
    pub(super) fn set(&mut self, id: PageId, at: At, rank: impl Fn(At) -> usize) {
        if id.is_none() || id > PageId::MAX {
            return;
        }
        let line = self.line(id);
        let line = &mut self.words[line];
        let rank = |word: u64| match word {
            0 => 0,
            word if id_of(word) == id.get() => 0,
            word => 1 + rank(at_of(word)),
        };
        // The page's own entry, wherever it is, so that there is one at most.
        let own = line.iter().position(|&word| word != 0 && id_of(word) == id.get());
        let Some(way) = own.or_else(|| (0..WAYS).min_by_key(|&way| rank(line[way]))) else { return };
        line[way] = id.get() | (at.slot as u64) << ID_BITS | at.number << (ID_BITS + SLOT_BITS);
    }

    /// Takes stale entries out of the next of `pieces` pieces of the table.
    pub(super) fn sweep(&mut self, pieces: usize, is_stale: impl Fn(At) -> bool) {
        let piece = self.words.len().div_ceil(pieces.max(1));
        let end = (self.swept + piece).min(self.words.len());
        for word in &mut self.words[self.swept..end] {
            if *word != 0 && is_stale(at_of(*word)) {
                *word = 0;
            }
        }
        self.swept = if end == self.words.len() { 0 } else { end };
    }
}

fn id_of(word: u64) -> u64 {
    word & ((1 << ID_BITS) - 1)
}

fn at_of(word: u64) -> At {
    let slot = word >> ID_BITS & (MAX_SLOTS as u64 - 1);
    At { slot: slot as usize, number: word >> (ID_BITS + SLOT_BITS) }
}
