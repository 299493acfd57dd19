//! Changing a leaf: insert, update, remove; and the hint array that inner nodes share.

use super::*;
use crate::page::bytes::PageWriter;

/// Why a change was not made. The page is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// There is no room: split first. Never the answer after [`SlottedPage::fits_record`] said yes.
    Full,
    /// The page is not a sound node, or the change does not fit what it holds.
    Damaged(&'static str),
}

impl From<OutOfBounds> for EditError {
    fn from(_: OutOfBounds) -> EditError {
        EditError::Damaged("an offset leads outside of the page")
    }
}

/// A node to change, under its exclusive latch or in private memory.
#[derive(Debug)]
pub struct SlottedPageMut<'a> {
    pub(super) page: PageWriter<'a>,
}

impl SlottedPage<'_> {
    /// Whether a record of a key (its whole length) and a value still fits, compaction included; `found` is the slot whose
    /// record it would replace, if any.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn fits_record(&self, found: Option<usize>, key_len: usize, value_len: usize) -> Result<bool, OutOfBounds> {
        let suffix = key_len.checked_sub(self.prefix_len()).ok_or(OutOfBounds)?;
        let need = VALUE_LENGTH_BYTES + suffix + value_len;
        let free = self.free_bytes()?;
        match found {
            Some(i) => Ok(need <= free + self.entry_bytes(i)?),
            None => Ok(need + SLOT_BYTES <= free),
        }
    }
}

impl SlottedPage<'_> {
    /// The bytes a new record would take, slot included.
    #[must_use]
    pub fn new_record_bytes(&self, key_len: usize, value_len: usize) -> usize {
        SLOT_BYTES + VALUE_LENGTH_BYTES + key_len.saturating_sub(self.prefix_len()) + value_len
    }

    /// The bytes the record in slot `i` takes, slot included.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn record_bytes(&self, i: usize) -> Result<usize, OutOfBounds> {
        Ok(SLOT_BYTES + self.entry_bytes(i)?)
    }
}

impl<'a> SlottedPageMut<'a> {
    /// Wraps a page; its content need not be a node yet.
    #[must_use]
    pub fn new(page: PageWriter<'a>) -> SlottedPageMut<'a> {
        SlottedPageMut { page }
    }

    /// The node for reading.
    ///
    /// # Errors
    /// [`OutOfBounds`] if its arrays do not fit the page.
    pub fn node(&self) -> Result<SlottedPage<'_>, OutOfBounds> {
        SlottedPage::open(self.page.reader())
    }

    /// Inserts a record in front of slot `at`, where [`SlottedPage::search`] did not find `key`. Cost: moves the slots
    /// behind it, rarely a compaction.
    ///
    /// # Errors
    /// [`EditError::Full`] if it does not fit.
    pub fn insert_at(&mut self, at: usize, key: &[u8], flags: u8, value: &[u8]) -> Result<(), EditError> {
        let node = self.node()?;
        let (count, prefix) = (node.count(), node.prefix_len());
        let suffix = key.get(prefix..).ok_or(OutOfBounds)?;
        if !node.is_leaf() || at > count || value.len() > usize::from(u16::MAX) {
            return Err(EditError::Damaged("a record for a place that is none"));
        }
        if !node.fits_record(None, key.len(), value.len())? {
            return Err(EditError::Full);
        }
        let need = VALUE_LENGTH_BYTES + suffix.len() + value.len();
        let (mut heap, _) = node.heap()?;
        if heap - node.arrays_end() < need + SLOT_BYTES {
            self.compact(0)?;
            heap = self.room_for(need + SLOT_BYTES)?;
        }
        let offset = self.write_entry(heap, suffix, value);
        self.open_slot(at, count);
        let slot = Slot { head: head_of(suffix), offset, key_len: suffix.len(), flags };
        self.page.set_u64(SLOTS + at * SLOT_BYTES, slot.to_word());
        self.page.set_u16(COUNT, (count + 1) as u16);
        self.refresh_hints(at)
    }

    /// The heap start, if `need` contiguous bytes lie in front of it.
    pub(super) fn room_for(&self, need: usize) -> Result<usize, EditError> {
        let node = self.node()?;
        let (heap, _) = node.heap()?;
        if heap - node.arrays_end() < need { Err(EditError::Damaged("dead bytes miscounted")) } else { Ok(heap) }
    }

    /// Writes a leaf's entry below `heap`; returns its offset.
    fn write_entry(&mut self, heap: usize, suffix: &[u8], value: &[u8]) -> usize {
        let offset = heap - VALUE_LENGTH_BYTES - suffix.len() - value.len();
        self.page.set_u16(offset, value.len() as u16);
        self.page.write(offset + VALUE_LENGTH_BYTES, suffix);
        self.page.write(offset + VALUE_LENGTH_BYTES + suffix.len(), value);
        self.page.set_u32(HEAP_START, offset as u32);
        offset
    }

    pub(super) fn open_slot(&mut self, at: usize, count: usize) {
        let from = SLOTS + at * SLOT_BYTES;
        self.page.shift(from, from + SLOT_BYTES, (count - at) * SLOT_BYTES);
    }

    pub(super) fn close_slot(&mut self, at: usize, count: usize) {
        let to = SLOTS + at * SLOT_BYTES;
        self.page.shift(to + SLOT_BYTES, to, (count - 1 - at) * SLOT_BYTES);
    }

    /// Replaces the value in slot `at`, in place if it is no longer than the old one.
    ///
    /// # Errors
    /// [`EditError::Full`] if it does not fit.
    pub fn update_at(&mut self, at: usize, flags: u8, value: &[u8]) -> Result<(), EditError> {
        let node = self.node()?;
        let slot = node.slot(at)?;
        let (value_at, old) = node.value_range(at)?;
        let (heap, dead) = node.heap()?;
        if value.len() <= old {
            self.page.write(value_at, value);
            self.page.set_u16(slot.offset, value.len() as u16);
            self.page.set_u32(DEAD, (dead + old - value.len()) as u32);
            self.page.set_u64(SLOTS + at * SLOT_BYTES, Slot { flags, ..slot }.to_word());
            return Ok(());
        }
        if !node.fits_record(Some(at), node.prefix_len() + slot.key_len, value.len())? {
            return Err(EditError::Full);
        }
        let need = VALUE_LENGTH_BYTES + slot.key_len + value.len();
        let roomy = heap - node.arrays_end() >= need;
        scratch::with(|key| {
            let node = self.node()?;
            if !roomy {
                node.key(at, key)?;
                self.remove_at(at)?;
                return self.insert_at(at, key, flags, value);
            }
            node.page.append_to(node.key_at(slot), slot.key_len, key)?;
            self.page.set_u32(DEAD, (dead + VALUE_LENGTH_BYTES + slot.key_len + old) as u32);
            let offset = self.write_entry(heap, key, value);
            self.page.set_u64(SLOTS + at * SLOT_BYTES, Slot { offset, flags, ..slot }.to_word());
            Ok(())
        })
    }

    /// Removes the record in slot `at`.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if there is none.
    pub fn remove_at(&mut self, at: usize) -> Result<(), EditError> {
        let node = self.node()?;
        if !node.is_leaf() {
            return Err(EditError::Damaged("a record removed from an inner node"));
        }
        let (count, gone) = (node.count(), node.entry_bytes(at)?);
        let (_, dead) = node.heap()?;
        self.close_slot(at, count);
        self.page.set_u32(DEAD, (dead + gone) as u32);
        self.page.set_u16(COUNT, (count - 1) as u16);
        self.refresh_hints(at)
    }

    /// Brings the hints up to date after a change of the slots from `from` on.
    pub(super) fn refresh_hints(&mut self, from: usize) -> Result<(), EditError> {
        let node = self.node()?;
        let count = node.count();
        if count < HINT_MIN {
            return Ok(());
        }
        let distance = count / (HINT_COUNT + 1);
        // A change of the distance moves every hint; otherwise those in front of the change stay.
        let moved = count % (HINT_COUNT + 1) == 0 || count % (HINT_COUNT + 1) == HINT_COUNT;
        let first = if moved || count == HINT_MIN { 0 } else { (from / distance).saturating_sub(1) };
        let mut hints = [0; 4 * HINT_COUNT];
        let slots = node.page.words(SLOTS, count)?;
        for (i, hint) in hints.chunks_exact_mut(4).enumerate().skip(first) {
            hint.copy_from_slice(&(slots.get((i + 1) * distance) as u32).to_le_bytes());
        }
        if let Some(changed) = hints.get(4 * first..) {
            self.page.write(HINTS + 4 * first, changed);
        }
        Ok(())
    }
}
