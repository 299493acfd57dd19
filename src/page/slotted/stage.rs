//! Filling leaves from sorted records: they are gathered until a leaf is full, then its page is written at once, prefix cut,
//! hints and checksum included. For pages that no log record makes.

use super::*;
use crate::page::bytes::PageWriter;
use crate::page::header::{self, PageHeader};
use crate::types::{Lsn, PageId, PageKind, SizeClass, TreeId};

/// Records in ascending order that are in no page yet.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// Keys and values, back to back.
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// The lower fence of the next leaf.
    lower: Vec<u8>,
    /// What the records take in a leaf that cuts no prefix, slots included.
    sum: usize,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    at: u32,
    key: u16,
    value: u16,
    flags: u8,
}

impl Item {
    fn page_bytes(self) -> usize {
        SLOT_BYTES + VALUE_LENGTH_BYTES + usize::from(self.key) + usize::from(self.value)
    }
}

impl Stage {
    /// Adds a record behind the others, with the flags of its slot. The caller has checked sizes and order.
    pub(crate) fn push(&mut self, key: &[u8], flags: u8, value: &[u8]) {
        let item = Item { at: self.bytes.len() as u32, key: key.len() as u16, value: value.len() as u16, flags };
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.sum += item.page_bytes();
        self.items.push(item);
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn key(&self, i: usize) -> &[u8] {
        let item = self.items[i];
        &self.bytes[item.at as usize..][..usize::from(item.key)]
    }

    pub(crate) fn value(&self, i: usize) -> &[u8] {
        let item = self.items[i];
        &self.bytes[item.at as usize + usize::from(item.key)..][..usize::from(item.value)]
    }

    pub(crate) fn lower(&self) -> &[u8] {
        &self.lower
    }

    pub(crate) fn set_lower(&mut self, lower: &[u8]) {
        self.lower.clear();
        self.lower.extend_from_slice(lower);
    }

    /// The separator in front of record `i`, which is not the first: as short as can be.
    pub(crate) fn separator(&self, i: usize) -> &[u8] {
        let key = self.key(i);
        &key[..shortest_separator(self.key(i - 1), key)]
    }

    fn sum_of(&self, n: usize) -> usize {
        if n < self.len() / 2 {
            return self.items[..n].iter().map(|item| item.page_bytes()).sum();
        }
        self.sum - self.items[n..].iter().map(|item| item.page_bytes()).sum::<usize>()
    }

    /// How many records fill a leaf with an upper fence; `None` as long as more may fit.
    pub(crate) fn fill_closed(&self, page_size: usize) -> Option<usize> {
        let n = self.len();
        if n < 2 {
            return None;
        }
        // No leaf with all of them has a longer prefix than this, nor a shorter upper fence.
        let prefix = common_prefix(&self.lower, self.key(n - 1));
        if SLOTS + self.lower.len() + prefix + self.sum - n * prefix <= page_size {
            return None;
        }
        self.most_closed(page_size)
    }

    /// The most records, but not all of them, that fit a leaf with an upper fence: one at least.
    pub(crate) fn most_closed(&self, page_size: usize) -> Option<usize> {
        (1..self.len()).rev().find(|&n| self.fits_closed(n, page_size))
    }

    /// Whether the first record, which others follow, fits a leaf of its own with an upper fence.
    pub(crate) fn first_fits(&self, page_size: usize) -> bool {
        self.fits_closed(1, page_size)
    }

    fn fits_closed(&self, n: usize, page_size: usize) -> bool {
        let separator = self.separator(n);
        let prefix = common_prefix(&self.lower, separator);
        SLOTS + self.lower.len() + separator.len() + self.sum_of(n) - n * prefix <= page_size
    }

    /// Whether all records fit one leaf without an upper fence.
    pub(crate) fn fits_open(&self, page_size: usize) -> bool {
        SLOTS + self.lower.len() + self.sum <= page_size
    }

    /// How many records fill a leaf without an upper fence, so that it has room for one later; `None` as long as more may
    /// fit.
    pub(crate) fn fill_open(&self, page_size: usize) -> Option<usize> {
        if self.fits_open(page_size) {
            return None;
        }
        let open = |n| SLOTS + self.lower.len() + self.sum_of(n) <= page_size;
        (1..self.len()).rev().find(|&n| open(n) && self.fits_closed(n, page_size))
    }

    /// Writes the first `n` records as the leaf `id` of `tree`, with an upper fence in front of the next one if `closed`.
    /// They must fit. The page is ready for the disk: LSN 0, with its checksum.
    pub(crate) fn build(&self, n: usize, closed: bool, tree: TreeId, id: PageId, out: &mut [u8]) {
        let size = out.len();
        let upper = if closed { self.separator(n) } else { &[] };
        let prefix = if closed { common_prefix(&self.lower, upper) } else { 0 };
        out[..SLOTS].fill(0);
        let mut heap = size;
        let mut page = PageWriter::from_slice(out);
        let head = PageHeader {
            checksum: 0,
            kind: PageKind::BTREE,
            class: SizeClass::ZERO,
            id,
            lsn: Lsn::NONE,
            tree,
            swip_offset: 0,
            swip_count: 0,
        };
        head.write(&mut page);
        page.set_u8(LEVEL + 1, if closed { HAS_UPPER } else { 0 });
        page.set_u16(COUNT, n as u16);
        page.set_u16(PREFIX, prefix as u16);
        page.set_u64(FENCE_HEADS, fence_heads(&self.lower, closed.then_some(upper)));
        for (at, fence) in [(LOWER, &self.lower[..]), (UPPER, upper)] {
            heap -= fence.len();
            page.write(heap, fence);
            page.set_u16(at, if fence.is_empty() { 0 } else { heap as u16 });
            page.set_u16(at + 2, fence.len() as u16);
        }
        for (i, item) in self.items[..n].iter().enumerate() {
            // Key and value lie together here as they do there.
            let from = item.at as usize + prefix;
            let entry = &self.bytes[from..item.at as usize + usize::from(item.key) + usize::from(item.value)];
            let key_len = usize::from(item.key) - prefix;
            heap -= VALUE_LENGTH_BYTES + entry.len();
            page.set_u16(heap, item.value);
            page.write(heap + VALUE_LENGTH_BYTES, entry);
            let slot = Slot { head: head_of(&entry[..key_len]), offset: heap, key_len, flags: item.flags };
            page.set_u64(SLOTS + i * SLOT_BYTES, slot.to_word());
        }
        page.set_u32(HEAP_START, heap as u32);
        let arrays = SLOTS + n * SLOT_BYTES;
        page.fill(arrays, heap - arrays, 0);
        // It cannot fail on a node whose slots are all there.
        let _ = SlottedPageMut::new(page.reborrow()).refresh_hints(0);
        let sum = header::checksum(out);
        out[header::CHECKSUM..header::CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
    }

    /// Drops the first `n` records; if others follow, the next leaf begins in front of them.
    pub(crate) fn drop_first(&mut self, n: usize) {
        if n < self.len() {
            let lower = shortest_separator(self.key(n - 1), self.key(n));
            let item = self.items[n];
            self.lower.clear();
            self.lower.extend_from_slice(&self.bytes[item.at as usize..][..lower]);
        }
        self.sum -= self.items[..n].iter().map(|item| item.page_bytes()).sum::<usize>();
        let from = self.items.get(n).map_or(self.bytes.len(), |item| item.at as usize);
        self.bytes.copy_within(from.., 0);
        self.bytes.truncate(self.bytes.len() - from);
        self.items.drain(..n);
        self.items.iter_mut().for_each(|item| item.at -= from as u32);
    }
}
