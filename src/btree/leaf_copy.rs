//! What a cursor takes out of one leaf: a few pairs, or the whole page.
//!
//! | form | when | cost |
//! |---|---|---|
//! | packed | a cursor's first step, which may be its last | the pairs' own bytes, their cache lines asked for together |
//! | page | from the second step on | one straight copy of the page, whatever order its entries lie in; nothing per pair |
//! | none | counting | nothing |
//!
//! A copied page is private memory: pairs are read out of it one by one, where they lie, and only a key whose node cuts off a
//! prefix is put together first. What is copied from a page that others may change is checked here, and trusted once the
//! leaf was validated.

use super::Inner;
use super::value::LARGE;
use crate::page::bytes::{OutOfBounds, PageReader};
use crate::page::slotted::SlottedPage;
use crate::pool::Reader;
use core::ops::Range;

/// Pairs that the packed form takes at most: a short scan ends within its first step, a long one hardly notices it.
pub(super) const FEW: usize = 12;

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Packed,
    Page,
}

/// Pairs copied out of one leaf, taken from either end. As long as large values are among those left, it is registered as a
/// reader of what they refer to (V3).
#[derive(Debug, Default)]
pub(super) struct LeafCopy {
    keep: Keep,
    form: Form,
    /// The pairs one behind the other, or the whole page.
    bytes: Vec<u8>,
    /// Packed: where each pair is.
    items: [Item; FEW],
    /// What is left: places in `items`, or slots of the page.
    left: Range<usize>,
    /// Page: a key put together.
    key: Vec<u8>,
    /// Large values that were not taken yet.
    large: usize,
    reader: Option<Reader>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Item {
    at: usize,
    key_len: usize,
    value_len: usize,
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

const CHECKED: &str = "pairs were checked when they were copied";

impl LeafCopy {
    pub(super) fn keeping(keep: Keep) -> LeafCopy {
        LeafCopy { keep, ..LeafCopy::default() }
    }

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

    #[inline]
    fn taken(&mut self, i: usize) -> Taken<'_> {
        if self.large == 0 && self.reader.is_some() {
            self.reader = None;
        }
        if self.form == Form::Packed {
            let item = self.items[i];
            let large = item.flags & LARGE != 0;
            self.large -= usize::from(large);
            let (key, value) = self.bytes[item.at..item.at + item.key_len + item.value_len].split_at(item.key_len);
            return Taken { key, value, large };
        }
        let pair = pair_at(&self.bytes, i, self.keep).unwrap_or_else(|_| unreachable!("{CHECKED}"));
        self.large -= usize::from(pair.large);
        let suffix = &self.bytes[pair.suffix];
        let value = &self.bytes[pair.value];
        if pair.prefix.is_empty() {
            return Taken { key: suffix, value, large: pair.large };
        }
        self.key.clear();
        self.key.extend_from_slice(&self.bytes[pair.prefix]);
        self.key.extend_from_slice(suffix);
        Taken { key: &self.key, value, large: pair.large }
    }

    /// Copies the whole page; what of it counts is said by [`LeafCopy::keep_slots`].
    pub(super) fn copy_page(&mut self, page: PageReader<'_>) -> Result<(), OutOfBounds> {
        self.clear();
        self.form = Form::Page;
        if self.bytes.len() != page.len() {
            self.bytes.clear();
            self.bytes.resize(page.len(), 0);
        }
        page.copy_to(0, &mut self.bytes)
    }

    /// The page copied last.
    pub(super) fn page(&self) -> PageReader<'_> {
        PageReader::from_slice(&self.bytes)
    }

    /// Of the page copied last, the pairs in `slots` count. Checks them.
    pub(super) fn keep_slots(&mut self, slots: Range<usize>) -> Result<(), OutOfBounds> {
        let mut large = 0;
        for i in slots.clone() {
            let pair = pair_at(&self.bytes, i, self.keep)?;
            large += usize::from(pair.large);
        }
        self.large = large;
        self.left = slots;
        Ok(())
    }

    /// Nothing but their number.
    pub(super) fn count_slots(&mut self, slots: Range<usize>) {
        self.clear();
        self.left = slots;
    }

    /// Copies the pairs in `slots` of a page that others may change, at most [`FEW`]. On a torn page it may fail, or copy
    /// nonsense of bounded size.
    pub(super) fn pack(&mut self, node: &SlottedPage<'_>, slots: Range<usize>) -> Result<(), OutOfBounds> {
        self.clear();
        self.form = Form::Packed;
        self.bytes.clear();
        slots.clone().for_each(|i| node.prefetch_slot(i));
        let count = slots.len().min(FEW);
        for (i, item) in slots.zip(self.items.iter_mut()) {
            let at = self.bytes.len();
            node.key(i, &mut self.bytes)?;
            let key_len = self.bytes.len() - at;
            let flags = match self.keep {
                Keep::Pairs => node.value_and_flags(i, &mut self.bytes)?,
                Keep::Keys | Keep::Count => 0,
            };
            *item = Item { at, key_len, value_len: self.bytes.len() - at - key_len, flags };
            self.large += usize::from(flags & LARGE != 0);
        }
        self.left = 0..count;
        Ok(())
    }

    /// Registers as a reader if there are large values: before the leaf is validated, or while it is latched (V3).
    pub(super) fn register(&mut self, inner: &Inner) {
        if self.large > 0 {
            self.reader = Some(inner.reader());
        }
    }
}

/// Where the parts of a pair lie in a page.
struct Pair {
    prefix: Range<usize>,
    suffix: Range<usize>,
    value: Range<usize>,
    large: bool,
}

#[inline(always)]
fn pair_at(page: &[u8], i: usize, keep: Keep) -> Result<Pair, OutOfBounds> {
    let node = SlottedPage::open(PageReader::from_slice(page))?;
    let (prefix, suffix) = node.key_ranges(i)?;
    if keep != Keep::Pairs {
        return Ok(Pair { prefix, suffix, value: 0..0, large: false });
    }
    let (at, n) = node.value_range(i)?;
    Ok(Pair { prefix, suffix, value: at..at + n, large: node.slot(i)?.flags & LARGE != 0 })
}
