//! What a cursor takes out of one leaf: its pairs' own bytes, one behind the other, in the order of their keys.
//!
//! Copying is the price of holding no latch and no page while the caller looks at a pair. It is kept low: an entry's key
//! and value lie side by side in the leaf and are copied in one go, the cache lines of the next entries are asked for
//! meanwhile, the prefix that the leaf cuts off is kept once and put in front of a key only when that is taken, and the
//! memory stays with the thread from one cursor to the next.
//!
//! What is copied from a page that others may change is bounded here by the page's size, and trusted once the leaf was
//! validated.

use super::Inner;
use super::value::LARGE;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::SlottedPage;
use crate::pool::Reader;
use core::ops::{Deref, DerefMut, Range};
use std::cell::RefCell;

/// Pairs that a cursor copies at first: a short scan ends within them, a long one hardly notices.
pub(super) const FEW: usize = 12;
/// How many entries ahead of the one being copied are asked for.
const AHEAD: usize = 8;
/// Copies that a thread keeps for its next cursors.
const KEPT: usize = 4;
/// Copies that have grown beyond this, in bytes, are not kept.
const KEPT_BYTES: usize = 256 << 10;

/// What is copied of a leaf's pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keep {
    /// Keys and values; of large values the references.
    #[default]
    Pairs,
    /// Keys alone.
    Keys,
    /// Nothing: only how many there are.
    Count,
}

/// Pairs copied out of one leaf, taken from either end. As long as large values are among those left, it is registered as a
/// reader of what they refer to (V3).
#[derive(Debug, Default)]
pub(super) struct LeafCopy {
    keep: Keep,
    /// The keys without their common prefix, each with its value behind it.
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// What is left of `items`.
    left: Range<usize>,
    /// The common prefix, and behind it the rest of the key taken last.
    key: Vec<u8>,
    prefix: usize,
    /// Large values that were not taken yet.
    large: usize,
    reader: Option<Reader>,
}

/// Where a pair is.
#[derive(Clone, Copy, Debug)]
struct Item {
    at: u32,
    key_len: u16,
    value_len: u16,
    flags: u8,
}

/// A pair taken out of a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'c> {
    pub(super) key: &'c [u8],
    /// The value, or the reference to a large one; empty if values were not kept.
    pub(super) value: &'c [u8],
    pub(super) large: bool,
}

impl LeafCopy {
    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    /// Forgets what was not taken. Keeps its memory.
    pub(super) fn clear(&mut self) {
        self.left = 0..0;
        self.large = 0;
        self.reader = None;
    }

    /// How many pairs were not taken yet.
    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    /// The first pair left. What it refers to stays until the next one is taken.
    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Taken<'_>> {
        match self.left.next() {
            Some(i) => Some(self.taken(i)),
            None => self.exhausted(),
        }
    }

    /// The last pair left; as [`LeafCopy::pop_front`].
    #[inline]
    pub(super) fn pop_back(&mut self) -> Option<Taken<'_>> {
        match self.left.next_back() {
            Some(i) => Some(self.taken(i)),
            None => self.exhausted(),
        }
    }

    /// Nothing is left to read, so nothing is kept from being reused.
    #[cold]
    fn exhausted(&mut self) -> Option<Taken<'_>> {
        self.reader = None;
        None
    }

    #[inline(always)]
    fn taken(&mut self, i: usize) -> Taken<'_> {
        if self.large == 0 && self.reader.is_some() {
            self.reader = None;
        }
        let item = self.items[i];
        let large = item.flags & LARGE != 0;
        self.large -= usize::from(large);
        let (at, key_len) = (item.at as usize, usize::from(item.key_len));
        let (suffix, value) = self.bytes[at..at + key_len + usize::from(item.value_len)].split_at(key_len);
        if self.prefix == 0 {
            return Taken { key: suffix, value, large };
        }
        self.key.truncate(self.prefix);
        self.key.extend_from_slice(suffix);
        Taken { key: &self.key, value, large }
    }

    /// Appends the key of the first pair copied.
    pub(super) fn first_key(&self, out: &mut Vec<u8>) {
        self.append_key(self.items.first(), out);
    }

    /// Appends the key of the last pair copied.
    pub(super) fn last_key(&self, out: &mut Vec<u8>) {
        self.append_key(self.items.last(), out);
    }

    fn append_key(&self, item: Option<&Item>, out: &mut Vec<u8>) {
        let Some(item) = item else { return };
        out.extend_from_slice(&self.key[..self.prefix]);
        out.extend_from_slice(&self.bytes[item.at as usize..][..usize::from(item.key_len)]);
    }

    /// Nothing but their number.
    pub(super) fn count_slots(&mut self, slots: Range<usize>) {
        self.clear();
        self.left = slots;
    }

    /// Copies the pairs in `slots` of a page that others may change. On a torn page it may fail, or copy nonsense, of at most
    /// the page's size.
    pub(super) fn pack(&mut self, node: &SlottedPage<'_>, slots: Range<usize>) -> Result<(), OutOfBounds> {
        self.clear();
        self.bytes.clear();
        self.items.clear();
        self.key.clear();
        node.prefix(&mut self.key)?;
        self.prefix = self.key.len();
        let ahead = slots.end.min(slots.start + AHEAD);
        (slots.start..ahead).for_each(|i| node.prefetch_slot(i));
        self.items.reserve(slots.len());
        self.bytes.reserve(if slots.len() > FEW { node.page_size() } else { 0 });
        for i in slots.clone() {
            if i + AHEAD < slots.end {
                node.prefetch_slot(i + AHEAD);
            }
            let (slot, at, value_len) = node.pair(i)?;
            let value_len = if self.keep == Keep::Pairs { value_len } else { 0 };
            let item = Item {
                at: self.bytes.len() as u32,
                key_len: slot.key_len as u16,
                value_len: value_len as u16,
                flags: if self.keep == Keep::Pairs { slot.flags } else { 0 },
            };
            if self.bytes.len() + slot.key_len + value_len > node.page_size() {
                return Err(OutOfBounds);
            }
            node.reader().append_to(at, slot.key_len + value_len, &mut self.bytes)?;
            self.large += usize::from(item.flags & LARGE != 0);
            self.items.push(item);
        }
        self.left = 0..self.items.len();
        Ok(())
    }

    /// Registers as a reader if there are large values: before the leaf is validated, or while it is latched (V3).
    pub(super) fn register(&mut self, inner: &Inner) {
        if self.large > 0 {
            self.reader = Some(inner.reader());
        }
    }
}

thread_local! {
    static POOL: RefCell<Vec<LeafCopy>> = const { RefCell::new(Vec::new()) };
}

/// A cursor's copy, whose memory goes back to the thread that drops it.
#[derive(Debug)]
pub(super) struct Kept(LeafCopy);

impl Kept {
    pub(super) fn new(keep: Keep) -> Kept {
        let copy = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        Kept(LeafCopy { keep, ..copy })
    }
}

impl Deref for Kept {
    type Target = LeafCopy;

    #[inline(always)]
    fn deref(&self) -> &LeafCopy {
        &self.0
    }
}

impl DerefMut for Kept {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut LeafCopy {
        &mut self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut copy = std::mem::take(&mut self.0);
        copy.clear();
        if copy.bytes.capacity() + copy.key.capacity() > KEPT_BYTES {
            return;
        }
        // A thread that is ending keeps nothing.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < KEPT {
                pool.push(copy);
            }
        });
    }
}
