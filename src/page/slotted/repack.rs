//! A leaf written anew from a copy of itself: compacted, cut, or with a neighbour's records in front or behind.
//!
//! What most of a split, a shift and a merge consists of. Entries go over in one piece, with their slots' heads, unless the
//! prefix changes; nothing is encoded and parsed on the way. The bytes that come out are those that
//! [`SlottedPageMut::build`] makes of the same content.

use super::build::{Shape, check_order};
use super::content::Entry;
use super::*;
use crate::page::bytes::PageWriter;
use crate::page::header::set_swip_array;
use core::ops::Range;

/// A neighbour whose records are taken over.
pub(super) enum Beside<'c> {
    Nothing,
    Left(&'c Content<'c>),
    Right(&'c Content<'c>),
}

impl SlottedPageMut<'_> {
    /// Rewrites a leaf: of its own records those in `slots`, and all of `beside`, whose outer fence it takes over. `lower` and
    /// `upper` are new fences between its own ones; without them, those stay.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if the fences are not where they have to be, the page or the content is not sound, or the result
    /// outgrows the page; the page is unchanged then.
    pub(super) fn repack(
        &mut self,
        lower: Option<&[u8]>,
        upper: Option<&[u8]>,
        slots: impl FnOnce(&SlottedPage<'_>) -> Result<Range<usize>, OutOfBounds>,
        beside: Beside<'_>,
    ) -> Result<(), EditError> {
        scratch::with(|copy| {
            self.page.reader().append_to(0, self.page.len(), copy)?;
            let old = SlottedPage::open(PageReader::from_slice(copy))?;
            let (old_lower, old_upper) = (old.lower_slice(copy)?, old.upper_slice(copy)?);
            for fence in lower.iter().chain(&upper) {
                if *fence <= old_lower || old_upper.is_some_and(|old| *fence >= old) {
                    return Err(EditError::Damaged("a node is cut outside of its fences"));
                }
            }
            let (mut lower, mut upper) = (lower.unwrap_or(old_lower), upper.or(old_upper));
            let neighbour = match beside {
                Beside::Nothing => None,
                Beside::Left(left) if left.level == 0 && left.upper == Some(old_lower) => {
                    lower = left.lower;
                    Some(left)
                }
                Beside::Right(right) if right.level == 0 && old_upper == Some(right.lower) => {
                    upper = right.upper;
                    Some(right)
                }
                _ => return Err(EditError::Damaged("a node takes over what is not its neighbour")),
            };
            if let Some(content) = neighbour {
                check_order(content)?;
            }
            let prefix = upper.map_or(0, |upper| common_prefix(lower, upper));
            let own = Own::new(&old, copy, slots(&old)?, prefix)?;
            let theirs = |content: &Content<'_>| content.prefix_len().saturating_sub(prefix);
            let added = neighbour.map_or(0, |content| {
                let bytes = |entry: Entry<'_>| {
                    SLOT_BYTES + VALUE_LENGTH_BYTES + theirs(content) + entry.key.len() + entry.value.len()
                };
                content.entries().map(bytes).sum()
            });
            let fences = lower.len() + upper.map_or(0, <[u8]>::len);
            if SLOTS + fences + own.bytes + added > copy.len() {
                return Err(EditError::Damaged("the content outgrows the page"));
            }
            let count = own.slots.len() + neighbour.map_or(0, |content| content.count);
            let shape = Shape { tree: old.tree()?, level: 0, count, prefix, capacity: 0 };
            let heap = self.write_shape(shape, lower, upper);
            let mut out = Out { page: &mut self.page, heap, slot: SLOTS };
            match beside {
                Beside::Nothing => own.write(&mut out)?,
                Beside::Left(left) => {
                    out.content(left, prefix);
                    own.write(&mut out)?;
                }
                Beside::Right(right) => {
                    own.write(&mut out)?;
                    out.content(right, prefix);
                }
            }
            let Out { heap, slot, .. } = out;
            self.page.set_u32(HEAP_START, heap as u32);
            self.page.fill(slot, heap - slot, 0);
            set_swip_array(&mut self.page, 0, 0);
            self.refresh_hints(0)
        })
    }
}

/// The leaf's own records that stay, in the copy.
struct Own<'c> {
    old: SlottedPage<'c>,
    copy: &'c [u8],
    slots: Range<usize>,
    /// What of the old prefix the keys get back.
    front: &'c [u8],
    /// Bytes that the keys lose to a longer prefix.
    cut: usize,
    /// What they take, slots included.
    bytes: usize,
}

impl<'c> Own<'c> {
    /// Checks all of them.
    fn new(old: &SlottedPage<'c>, copy: &'c [u8], slots: Range<usize>, prefix: usize) -> Result<Own<'c>, EditError> {
        let old_prefix = old.lower_slice(copy)?.get(..old.prefix_len()).ok_or(OutOfBounds)?;
        let front = old_prefix.get(prefix..).unwrap_or_default();
        let mut own = Own { old: *old, copy, slots, front, cut: prefix.saturating_sub(old_prefix.len()), bytes: 0 };
        for i in own.slots.clone() {
            let (slot, at, value_len) = old.pair(i)?;
            if slot.key_len < own.cut || at + slot.key_len + value_len > copy.len() {
                return Err(OutOfBounds.into());
            }
            own.bytes += SLOT_BYTES + VALUE_LENGTH_BYTES + front.len() + slot.key_len - own.cut + value_len;
        }
        Ok(own)
    }

    fn write(&self, out: &mut Out<'_, '_>) -> Result<(), EditError> {
        for i in self.slots.clone() {
            let (slot, at, value_len) = self.old.pair(i)?;
            let (suffix, value) = self.copy[at..at + slot.key_len + value_len].split_at(slot.key_len);
            if self.front.is_empty() && self.cut == 0 {
                out.heap -= VALUE_LENGTH_BYTES + suffix.len() + value.len();
                out.page.write(out.heap, &self.copy[slot.offset..at + suffix.len() + value.len()]);
                out.slot(Slot { offset: out.heap, ..slot });
            } else {
                out.entry([self.front, &suffix[self.cut..]], slot.flags, value);
            }
        }
        Ok(())
    }
}

/// The page being written: slots upwards, entries downwards.
struct Out<'o, 'p> {
    page: &'o mut PageWriter<'p>,
    heap: usize,
    slot: usize,
}

impl Out<'_, '_> {
    fn slot(&mut self, slot: Slot) {
        self.page.set_u64(self.slot, slot.to_word());
        self.slot += SLOT_BYTES;
    }

    /// An entry whose key is in two pieces.
    fn entry(&mut self, key: [&[u8]; 2], flags: u8, value: &[u8]) {
        let key_len = key[0].len() + key[1].len();
        self.heap -= VALUE_LENGTH_BYTES + key_len + value.len();
        let at = self.heap + VALUE_LENGTH_BYTES;
        self.page.set_u16(self.heap, value.len() as u16);
        self.page.write(at, key[0]);
        self.page.write(at + key[0].len(), key[1]);
        self.page.write(at + key_len, value);
        let mut first = [0; 4];
        let bytes = key[0].iter().chain(key[1]);
        first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.slot(Slot { head: u32::from_be_bytes(first), offset: self.heap, key_len, flags });
    }

    fn content(&mut self, content: &Content<'_>, prefix: usize) {
        let cut_off = &content.lower[..content.prefix_len()];
        let (front, cut) = (cut_off.get(prefix..).unwrap_or_default(), prefix.saturating_sub(cut_off.len()));
        for entry in content.entries() {
            self.entry([front, entry.key.get(cut..).unwrap_or_default()], entry.flags, entry.value);
        }
    }
}

impl SlottedPage<'_> {
    /// The lower fence in `copy`, the private memory that this node is read from.
    fn lower_slice<'c>(&self, copy: &'c [u8]) -> Result<&'c [u8], OutOfBounds> {
        let (at, n) = self.lower_range()?;
        copy.get(at..at + n).ok_or(OutOfBounds)
    }

    fn upper_slice<'c>(&self, copy: &'c [u8]) -> Result<Option<&'c [u8]>, OutOfBounds> {
        self.upper_range()?.map(|(at, n)| copy.get(at..at + n).ok_or(OutOfBounds)).transpose()
    }
}
