//! Changing an inner node: separators, and the references between them.
//!
//! Child `i` covers the keys from separator `i - 1` (inclusive) to separator `i` (exclusive); the node's own fences stand
//! in at both ends.

use super::*;
use crate::page::header::set_swip_array;
use crate::swip::Swip;
use crate::types::{PageId, SizeClass};

/// The reference word for a child whose frame is not known.
pub(super) fn child_word(id: PageId) -> u64 {
    Swip::evicted(id, SizeClass::ZERO).to_bits()
}

/// The page that a reference word names.
pub(super) fn child_page(word: u64) -> PageId {
    Swip::from_bits(word).page()
}

impl SlottedPage<'_> {
    /// Whether a separator (its whole length) with its child still fits, compaction included.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn fits_separator(&self, len: usize) -> Result<bool, OutOfBounds> {
        let suffix = len.checked_sub(self.prefix_len()).ok_or(OutOfBounds)?;
        Ok(suffix + SLOT_BYTES + WORD_BYTES <= self.free_bytes()?)
    }
}

impl SlottedPageMut<'_> {
    /// Inserts `separator` with `child` on its right: the parent's part of a split.
    ///
    /// # Errors
    /// [`EditError::Full`] if it does not fit; [`EditError::Damaged`] if it is there already or lies outside of the fences.
    pub fn insert_separator(&mut self, separator: &[u8], child: PageId) -> Result<(), EditError> {
        self.insert_beside(separator, child, false)
    }

    /// [`SlottedPageMut::insert_separator`] with `child` on the separator's left.
    ///
    /// # Errors
    /// As there.
    pub fn insert_left(&mut self, separator: &[u8], child: PageId) -> Result<(), EditError> {
        self.insert_beside(separator, child, true)
    }

    fn insert_beside(&mut self, separator: &[u8], child: PageId, left: bool) -> Result<(), EditError> {
        let node = self.node()?;
        if node.is_leaf() || !node.covers(separator)? {
            return Err(EditError::Damaged("a separator outside of its node"));
        }
        let Search::Insert(at) = node.search(separator)? else {
            return Err(EditError::Damaged("a separator that is there already"));
        };
        if !node.fits_separator(separator.len())? {
            return Err(EditError::Full);
        }
        let suffix = separator.get(node.prefix_len()..).ok_or(OutOfBounds)?;
        let step = if node.count() == node.capacity() { SLOT_BYTES + WORD_BYTES } else { 0 };
        if node.heap()?.0 - node.arrays_end() < suffix.len() + step {
            self.compact(suffix.len() + SLOT_BYTES + WORD_BYTES)?;
        }
        let node = self.node()?;
        if node.count() == node.capacity() {
            self.grow_capacity(suffix.len())?;
        }
        let heap = self.room_for(suffix.len())? - suffix.len();
        let count = self.node()?.count();
        self.page.write(heap, suffix);
        self.page.set_u32(HEAP_START, heap as u32);
        self.open_slot(at, count);
        let slot = Slot { head: head_of(suffix), offset: heap, key_len: suffix.len(), flags: 0 };
        self.page.set_u64(SLOTS + at * SLOT_BYTES, slot.to_word());
        let references = self.node()?.references_at();
        for i in (at + 1..=count).rev() {
            let word = self.page.reader().u64(references + i * WORD_BYTES)?;
            self.page.set_word(references + (i + 1) * WORD_BYTES, word);
        }
        if left {
            // The child that was there is on the right now.
            let word = self.page.reader().u64(references + at * WORD_BYTES)?;
            self.page.set_word(references + (at + 1) * WORD_BYTES, word);
            self.page.set_word(references + at * WORD_BYTES, child_word(child));
        } else {
            self.page.set_word(references + (at + 1) * WORD_BYTES, child_word(child));
        }
        self.page.set_u16(COUNT, (count + 1) as u16);
        set_swip_array(&mut self.page, references, count + 2);
        self.refresh_hints(at)
    }

    /// Moves the references up to make room for further slots in front of them, leaving `keep` bytes below the heap.
    fn grow_capacity(&mut self, keep: usize) -> Result<(), EditError> {
        let node = self.node()?;
        let (count, old) = (node.count(), node.capacity());
        let free = node.heap()?.0 - node.arrays_end();
        let step = SLOT_BYTES + WORD_BYTES;
        let by = if free >= CAPACITY_STEP * step + keep { CAPACITY_STEP } else { 1 };
        if free < by * step + keep {
            return Err(EditError::Full);
        }
        let (from, to) = (SLOTS + old * SLOT_BYTES, SLOTS + (old + by) * SLOT_BYTES);
        for i in (0..=count).rev() {
            let word = self.page.reader().u64(from + i * WORD_BYTES)?;
            self.page.set_word(to + i * WORD_BYTES, word);
        }
        self.page.set_u16(CAPACITY, (old + by) as u16);
        set_swip_array(&mut self.page, to, count + 1);
        Ok(())
    }

    /// Removes `separator` and the child on its right: the parent's part of a merge.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if it is not there.
    pub fn remove_separator(&mut self, separator: &[u8]) -> Result<(), EditError> {
        let node = self.node()?;
        if node.is_leaf() || !node.covers(separator)? {
            return Err(EditError::Damaged("a separator outside of its node"));
        }
        let Search::Found(at) = node.search(separator)? else {
            return Err(EditError::Damaged("a separator that is not there"));
        };
        let (count, references) = (node.count(), node.references_at());
        let dead = node.heap()?.1 + node.entry_bytes(at)?;
        self.close_slot(at, count);
        for i in at + 1..count {
            let word = self.page.reader().u64(references + (i + 1) * WORD_BYTES)?;
            self.page.set_word(references + i * WORD_BYTES, word);
        }
        self.page.set_u32(DEAD, dead as u32);
        self.page.set_u16(COUNT, (count - 1) as u16);
        set_swip_array(&mut self.page, references, count);
        self.refresh_hints(at)
    }
}
