//! Reading a node: its shape, fences, slots, entries and references.

use super::*;
use crate::page::header;
use crate::types::{PageId, TreeId};

/// A node to read from: optimistically, under a latch, or in private memory. Opening it costs one load.
#[derive(Clone, Copy, Debug)]
pub struct SlottedPage<'a> {
    pub(super) page: PageReader<'a>,
    /// Level, flags, count, prefix and capacity as they lie in the page, taken apart where they are asked for: three words
    /// stay in registers where six fields would not.
    shape: u64,
}

/// One slot: where an entry is and what its key starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The first four bytes of the key after the prefix, big-endian, padded with zeros.
    pub head: u32,
    /// The byte offset of the entry in the page.
    pub offset: usize,
    /// The key's length without the prefix, in bytes.
    pub key_len: usize,
    /// Two bits kept for the tree (values that live elsewhere).
    pub flags: u8,
}

impl Slot {
    #[inline(always)]
    pub(super) fn from_word(word: u64) -> Slot {
        let len = (word >> 48) as u16;
        Slot {
            head: word as u32,
            offset: usize::from((word >> 32) as u16),
            key_len: usize::from(len & KEY_LENGTH_MASK),
            flags: (len >> 14) as u8,
        }
    }

    pub(super) fn to_word(self) -> u64 {
        let len = self.key_len as u64 & u64::from(KEY_LENGTH_MASK) | u64::from(self.flags & 3) << 14;
        u64::from(self.head) | (self.offset as u64 & 0xffff) << 32 | len << 48
    }
}

impl<'a> SlottedPage<'a> {
    /// Opens a node.
    ///
    /// # Errors
    /// [`OutOfBounds`] if its arrays do not fit the page.
    #[inline(always)]
    pub fn open(page: PageReader<'a>) -> Result<SlottedPage<'a>, OutOfBounds> {
        let node = SlottedPage { page, shape: page.u64(NODE)? };
        if node.arrays_end() > page.len() || node.count() > node.capacity() && !node.is_leaf() {
            return Err(OutOfBounds);
        }
        Ok(node)
    }

    /// The bytes underneath.
    #[must_use]
    pub fn reader(&self) -> PageReader<'a> {
        self.page
    }

    /// The page's size in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page.len()
    }

    /// The height above the leaves: 0 is a leaf.
    #[must_use]
    #[inline(always)]
    pub fn level(&self) -> u8 {
        self.shape as u8
    }

    /// Whether this is a leaf.
    #[must_use]
    #[inline(always)]
    pub fn is_leaf(&self) -> bool {
        self.shape as u8 == 0
    }

    /// How many records (leaf) or separators (inner node) there are.
    #[must_use]
    #[inline(always)]
    pub fn count(&self) -> usize {
        usize::from((self.shape >> 16) as u16)
    }

    /// The slots there is room for before the references of an inner node.
    #[must_use]
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        usize::from((self.shape >> 48) as u16)
    }

    /// The length of the prefix, in bytes.
    #[must_use]
    #[inline(always)]
    pub fn prefix_len(&self) -> usize {
        usize::from((self.shape >> 32) as u16)
    }

    /// The tree the page says it belongs to.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a page shorter than its header.
    #[inline(always)]
    pub fn tree(&self) -> Result<TreeId, OutOfBounds> {
        Ok(TreeId::new(self.page.u32(header::TREE)?))
    }

    /// The end of slots and references, in bytes from the page's start.
    #[inline(always)]
    pub(super) fn arrays_end(&self) -> usize {
        if self.is_leaf() {
            SLOTS + self.count() * SLOT_BYTES
        } else {
            self.references_at() + (self.capacity() + 1) * WORD_BYTES
        }
    }

    #[inline(always)]
    pub(super) fn references_at(&self) -> usize {
        SLOTS + self.capacity() * SLOT_BYTES
    }

    /// Slot `i`.
    ///
    /// # Errors
    /// [`OutOfBounds`] from `count` on.
    #[inline(always)]
    pub fn slot(&self, i: usize) -> Result<Slot, OutOfBounds> {
        if i >= self.count() {
            return Err(OutOfBounds);
        }
        Ok(Slot::from_word(self.page.u64(SLOTS + i * SLOT_BYTES)?))
    }

    /// The heap's lowest byte and the number of dead bytes in it, checked against the page and the arrays.
    pub(super) fn heap(&self) -> Result<(usize, usize), OutOfBounds> {
        let (start, dead) = (self.page.u32(HEAP_START)? as usize, self.page.u32(DEAD)? as usize);
        if start < self.arrays_end() || start > self.page.len() || dead > self.page.len() - start {
            return Err(OutOfBounds);
        }
        Ok((start, dead))
    }

    /// Bytes that compaction would make available for further slots, references and entries.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn free_bytes(&self) -> Result<usize, OutOfBounds> {
        let (start, dead) = self.heap()?;
        let spare = if self.is_leaf() { 0 } else { (self.capacity() - self.count()) * (SLOT_BYTES + WORD_BYTES) };
        Ok(start - self.arrays_end() + dead + spare)
    }

    /// Bytes taken by slots, references in use, entries and fences: what a copy of the node would need beside its header.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn used_bytes(&self) -> Result<usize, OutOfBounds> {
        let (start, dead) = self.heap()?;
        let references = if self.is_leaf() { 0 } else { (self.count() + 1) * WORD_BYTES };
        Ok(self.page.len() - start - dead + self.count() * SLOT_BYTES + references)
    }

    fn fence(&self, at: usize) -> Result<(usize, usize), OutOfBounds> {
        let word = self.page.u32(at)?;
        Ok((word as usize & 0xffff, (word >> 16) as usize))
    }

    fn has_upper(&self) -> bool {
        (self.shape >> 8) as u8 & HAS_UPPER != 0
    }

    /// Offset and length of the lower fence.
    pub(super) fn lower_range(&self) -> Result<(usize, usize), OutOfBounds> {
        self.fence(LOWER)
    }

    /// Offset and length of the upper fence; `None` for infinity.
    pub(super) fn upper_range(&self) -> Result<Option<(usize, usize)>, OutOfBounds> {
        if self.has_upper() { self.fence(UPPER).map(Some) } else { Ok(None) }
    }

    /// Appends the lower fence to `out`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn lower_fence(&self, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        let (at, n) = self.lower_range()?;
        self.page.append_to(at, n, out)
    }

    /// Appends the upper fence to `out`; `false` if there is none (infinity).
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn upper_fence(&self, out: &mut Vec<u8>) -> Result<bool, OutOfBounds> {
        match self.upper_range()? {
            Some((at, n)) => self.page.append_to(at, n, out).map(|()| true),
            None => Ok(false),
        }
    }

    /// Whether the fences' heads alone say that `key` lies between them. They lie in the page's first line; the fences
    /// themselves lie apart from all else that a search reads.
    #[inline(always)]
    pub(super) fn covers_by_heads(&self, key: &[u8]) -> Result<bool, OutOfBounds> {
        let (heads, head) = (self.page.u64(FENCE_HEADS)?, head_of(key));
        let fences = self.page.u64(LOWER)?;
        // What is logged for this page must be applicable to it: some changes copy the fences.
        let inside = |fence: u64| (fence & 0xffff) as usize + (fence >> 16 & 0xffff) as usize <= self.page.len();
        let between = head > heads as u32 && (head < (heads >> 32) as u32 || !self.has_upper());
        Ok(between && inside(fences) && inside(fences >> 32))
    }

    /// Whether `key` lies between the fences.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    #[inline(always)]
    pub fn covers(&self, key: &[u8]) -> Result<bool, OutOfBounds> {
        Ok(self.covers_by_heads(key)? || self.covers_by_fences(key)?)
    }

    fn covers_by_fences(&self, key: &[u8]) -> Result<bool, OutOfBounds> {
        let (at, n) = self.lower_range()?;
        if self.page.compare(at, n, key)?.is_gt() {
            return Ok(false);
        }
        match self.upper_range()? {
            Some((at, n)) => Ok(self.page.compare(at, n, key)?.is_gt()),
            None => Ok(true),
        }
    }

    /// Whether keys just below `key` lie between the fences: `key` may be the upper fence, but not the lower one.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn reaches(&self, key: &[u8]) -> Result<bool, OutOfBounds> {
        let (at, n) = self.lower_range()?;
        if !self.page.compare(at, n, key)?.is_lt() {
            return Ok(false);
        }
        match self.upper_range()? {
            Some((at, n)) => Ok(self.page.compare(at, n, key)?.is_ge()),
            None => Ok(true),
        }
    }

    /// Whether there is no upper fence.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn is_last(&self) -> Result<bool, OutOfBounds> {
        Ok(self.upper_range()?.is_none())
    }

    #[inline(always)]
    pub(super) fn key_at(&self, slot: Slot) -> usize {
        if self.is_leaf() { slot.offset + VALUE_LENGTH_BYTES } else { slot.offset }
    }

    /// Appends the whole key of slot `i`, prefix included, to `out`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn key(&self, i: usize, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        let slot = self.slot(i)?;
        let (at, n) = self.lower_range()?;
        if self.prefix_len() > n {
            return Err(OutOfBounds);
        }
        self.page.append_to(at, self.prefix_len(), out)?;
        self.page.append_to(self.key_at(slot), slot.key_len, out)
    }

    /// Appends the prefix that the node cuts off its keys to `out`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    #[inline]
    pub fn prefix(&self, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        if self.prefix_len() == 0 {
            return Ok(());
        }
        let (at, n) = self.lower_range()?;
        if self.prefix_len() > n {
            return Err(OutOfBounds);
        }
        self.page.append_to(at, self.prefix_len(), out)
    }

    /// Slot `i` of a leaf, where its key without the prefix lies in the page, and the length of the value that follows it
    /// there, in bytes.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    #[inline(always)]
    pub fn pair(&self, i: usize) -> Result<(Slot, usize, usize), OutOfBounds> {
        let slot = self.slot(i)?;
        let value_len = usize::from(self.page.u16(slot.offset)?);
        Ok((slot, slot.offset + VALUE_LENGTH_BYTES, value_len))
    }

    /// Asks for the cache lines of the entry in slot `i` ([`PageReader::prefetch`]).
    #[inline(always)]
    pub fn prefetch_slot(&self, i: usize) {
        if let Ok(slot) = self.slot(i) {
            self.prefetch_at(slot);
        }
    }

    /// Offset and length in bytes of the value in slot `i` of a leaf.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or an inner node.
    #[inline(always)]
    pub fn value_range(&self, i: usize) -> Result<(usize, usize), OutOfBounds> {
        if !self.is_leaf() {
            return Err(OutOfBounds);
        }
        let slot = self.slot(i)?;
        let len = usize::from(self.page.u16(slot.offset)?);
        let at = slot.offset + VALUE_LENGTH_BYTES + slot.key_len;
        if at + len > self.page.len() {
            return Err(OutOfBounds);
        }
        Ok((at, len))
    }

    /// Appends the value in slot `i` of a leaf to `out`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or an inner node.
    #[inline]
    pub fn value(&self, i: usize, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        let (at, n) = self.value_range(i)?;
        self.page.append_to(at, n, out)
    }

    /// As [`SlottedPage::value`]; returns the slot's flags.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn value_and_flags(&self, i: usize, out: &mut Vec<u8>) -> Result<u8, OutOfBounds> {
        self.value(i, out)?;
        Ok(self.slot(i)?.flags)
    }

    /// Whether the value in slot `i` of a leaf equals `value`.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or an inner node.
    pub fn value_is(&self, i: usize, value: &[u8]) -> Result<bool, OutOfBounds> {
        let (at, n) = self.value_range(i)?;
        Ok(n == value.len() && self.page.compare(at, n, value)?.is_eq())
    }

    /// The bytes the entry of slot `i` takes in the heap.
    pub(super) fn entry_bytes(&self, i: usize) -> Result<usize, OutOfBounds> {
        let slot = self.slot(i)?;
        if self.is_leaf() { Ok(VALUE_LENGTH_BYTES + slot.key_len + self.value_range(i)?.1) } else { Ok(slot.key_len) }
    }

    /// The byte offset of the reference to child `i`, for the pool to follow.
    ///
    /// # Errors
    /// [`OutOfBounds`] beyond `count`, or in a leaf.
    #[inline(always)]
    pub fn child_at(&self, i: usize) -> Result<usize, OutOfBounds> {
        if self.is_leaf() || i > self.count() {
            return Err(OutOfBounds);
        }
        Ok(self.references_at() + i * WORD_BYTES)
    }

    /// The page that child `i` is.
    ///
    /// # Errors
    /// [`OutOfBounds`] beyond `count`, or in a leaf.
    pub fn child(&self, i: usize) -> Result<PageId, OutOfBounds> {
        Ok(inner::child_page(self.page.u64(self.child_at(i)?)?))
    }
}
