//! Nodes that lose records or children by the run, and right nodes that take over their left neighbour.

use super::content::Encoder;
use super::repack::Beside;
use super::*;
use crate::page::header::set_swip_array;

const SHORT: EditError = EditError::Damaged("a payload that ends early");

/// Appends the payload of [`ops::CUT`]: `length of low: u16, low, high`; `high` is left out for no bound.
#[cfg(feature = "btree")]
pub(crate) fn encode_cut(low: &[u8], high: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(low.len() as u16).to_le_bytes());
    out.extend_from_slice(low);
    if let Some(high) = high {
        out.push(1);
        out.extend_from_slice(high);
    }
}

/// Appends the payload of [`ops::REMOVE_RUN`] and [`ops::MOVE_SEPARATOR`]: `length of first: u16, first, last`.
#[cfg(feature = "btree")]
pub(crate) fn encode_run(first: &[u8], last: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(first.len() as u16).to_le_bytes());
    out.extend_from_slice(first);
    out.extend_from_slice(last);
}

fn decode_pair(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = payload.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))
}

impl SlottedPage<'_> {
    /// Whether an inner node has room for `new` in place of its separator `old`.
    pub(crate) fn fits_moved(&self, old: &[u8], new: &[u8]) -> Result<bool, OutOfBounds> {
        let old = old.len().checked_sub(self.prefix_len()).ok_or(OutOfBounds)?;
        let new = new.len().checked_sub(self.prefix_len()).ok_or(OutOfBounds)?;
        Ok(new <= old || new <= self.free_bytes()?)
    }

    /// Whether the lower fence is empty: nothing lies in front.
    #[cfg(feature = "btree")]
    pub(crate) fn is_first(&self) -> Result<bool, OutOfBounds> {
        Ok(self.lower_range()?.1 == 0)
    }

    /// The slots of a leaf's records from `low` on and below `high`.
    pub(crate) fn slots_between(
        &self,
        low: &[u8],
        high: Option<&[u8]>,
    ) -> Result<core::ops::Range<usize>, OutOfBounds> {
        let from = self.first_not_below(low)?;
        let to = high.map_or(Ok(self.count()), |high| self.first_not_below(high))?;
        Ok(from..to.max(from))
    }
}

impl SlottedPageMut<'_> {
    /// Puts the content of the left neighbour, whose upper fence is this node's lower fence, in front of this node's own,
    /// and takes over its lower fence: [`SlottedPageMut::absorb`] the other way round.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if they are not neighbours of one level or do not fit one page.
    pub fn absorb_left(&mut self, left: &Content<'_>) -> Result<(), EditError> {
        if self.node()?.is_leaf() {
            return self.repack(None, None, |node| Ok(0..node.count()), Beside::Left(left));
        }
        self.rebuild(0, |node, out| {
            scratch::with(|lower| {
                scratch::with(|upper| {
                    node.lower_fence(lower)?;
                    let bounded = node.upper_fence(upper)?;
                    if left.upper != Some(lower.as_slice()) || node.level() != left.level {
                        return Err(EditError::Damaged("a node takes over what is not its neighbour"));
                    }
                    let prefix = &lower[..node.prefix_len().min(lower.len())];
                    let upper = bounded.then_some(upper.as_slice());
                    let mut encoder = Encoder::new(out, node.tree()?, node.level(), left.lower, upper);
                    let left_prefix = &left.lower[..left.prefix_len()];
                    for entry in left.entries() {
                        encoder.entry((left_prefix, entry.key), entry.flags, entry.value);
                    }
                    if left.level > 0 {
                        encoder.entry((&[], lower), 0, &[]);
                    }
                    encoder.entries_of(node, prefix, 0..node.count())?;
                    if left.level > 0 {
                        left.children().for_each(|child| encoder.child(child));
                        encoder.children_of(node, 0..node.count() + 1)?;
                    }
                    encoder.finish();
                    Ok(())
                })
            })
        })
    }

    /// Makes `separator` the lower fence and drops what lies in front of it: the right half of a split whose left half is a
    /// new page. In an inner node it must be one of its own, and goes up.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if `separator` does not lie between the fences or is none, or the page is not a sound node.
    pub fn raise(&mut self, separator: &[u8]) -> Result<(), EditError> {
        if self.node()?.is_leaf() {
            let kept = |node: &SlottedPage<'_>| Ok(node.search(separator)?.slot()..node.count());
            return self.repack(Some(separator), None, kept, Beside::Nothing);
        }
        self.rebuild(0, |node, out| {
            scratch::with(|fence| {
                node.lower_fence(fence)?;
                if fence.as_slice() >= separator || !node.covers(separator)? {
                    return Err(EditError::Damaged("a node is cut outside of its fences"));
                }
                let from = match node.search(separator)? {
                    found if node.is_leaf() => found.slot(),
                    Search::Found(at) => at + 1,
                    Search::Insert(_) => return Err(EditError::Damaged("an inner node is cut between its separators")),
                };
                fence.clear();
                let bounded = node.upper_fence(fence)?;
                Ok(node.encode(from..node.count(), separator, bounded.then_some(fence.as_slice()), out)?)
            })
        })
    }

    /// Removes `separator` and the child on its left.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if it is not there.
    pub fn remove_left(&mut self, separator: &[u8]) -> Result<(), EditError> {
        let at = self.separator_at(separator)?;
        self.remove_children(at, at + 1, at)
    }

    /// Removes the separators from one to another, both included, each with the child on its right.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if either is not there.
    pub fn remove_run(&mut self, payload: &[u8]) -> Result<(), EditError> {
        let (first, last) = decode_pair(payload).ok_or(SHORT)?;
        let (from, to) = (self.separator_at(first)?, self.separator_at(last)?);
        if to < from {
            return Err(EditError::Damaged("separators out of order"));
        }
        self.remove_children(from, to + 1, from + 1)
    }

    /// Replaces a separator by another one, which lies between the same two others.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if it does not, or the first is not there; [`EditError::Full`].
    pub fn move_separator(&mut self, payload: &[u8]) -> Result<(), EditError> {
        let (old, new) = decode_pair(payload).ok_or(SHORT)?;
        let at = self.separator_at(old)?;
        let node = self.node()?;
        let beside = match node.search(new)? {
            Search::Insert(i) => i == at || i == at + 1,
            Search::Found(i) => i == at,
        };
        if !node.covers(new)? || !beside {
            return Err(EditError::Damaged("a separator moved past another"));
        }
        let suffix = new.get(node.prefix_len()..).ok_or(OutOfBounds)?;
        let (mut slot, (heap, dead)) = (node.slot(at)?, node.heap()?);
        if slot.offset < heap || slot.offset + slot.key_len > node.page_size() {
            return Err(EditError::Damaged("a separator outside of the heap"));
        }
        if suffix.len() <= slot.key_len {
            // The bytes that are left over lie behind it.
            self.page.set_u32(DEAD, (dead + slot.key_len - suffix.len()) as u32);
        } else {
            if !node.fits_moved(old, new)? {
                return Err(EditError::Full);
            }
            if heap - node.arrays_end() < suffix.len() {
                self.compact(suffix.len())?;
                slot = self.node()?.slot(at)?;
            }
            let dead = self.node()?.heap()?.1 + slot.key_len;
            slot.offset = self.room_for(suffix.len())? - suffix.len();
            self.page.set_u32(HEAP_START, slot.offset as u32);
            self.page.set_u32(DEAD, dead as u32);
        }
        self.page.write(slot.offset, suffix);
        let slot = Slot { head: head_of(suffix), key_len: suffix.len(), ..slot };
        self.page.set_u64(SLOTS + at * SLOT_BYTES, slot.to_word());
        self.refresh_hints(at)
    }

    fn separator_at(&self, separator: &[u8]) -> Result<usize, EditError> {
        let node = self.node()?;
        if node.is_leaf() || !node.covers(separator)? {
            return Err(EditError::Damaged("a separator outside of its node"));
        }
        match node.search(separator)? {
            Search::Found(at) => Ok(at),
            Search::Insert(_) => Err(EditError::Damaged("a separator that is not there")),
        }
    }

    /// Removes the separators in slots `from..to` and as many children from `child` on.
    pub(super) fn remove_children(&mut self, from: usize, to: usize, child: usize) -> Result<(), EditError> {
        let node = self.node()?;
        let (count, references, gone) = (node.count(), node.references_at(), to - from);
        for i in child..=count - gone {
            let word = self.page.reader().u64(references + (i + gone) * WORD_BYTES)?;
            self.page.set_word(references + i * WORD_BYTES, word);
        }
        set_swip_array(&mut self.page, references, count - gone + 1);
        self.remove_slots(from, to)
    }

    /// Removes a leaf's records from one key on and below another.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if the page is not a sound leaf.
    pub fn cut(&mut self, payload: &[u8]) -> Result<(), EditError> {
        let (low, rest) = decode_pair(payload).ok_or(SHORT)?;
        let node = self.node()?;
        if !node.is_leaf() {
            return Err(EditError::Damaged("records removed from an inner node"));
        }
        let slots = node.slots_between(low, rest.split_first().map(|(_, high)| high))?;
        self.remove_slots(slots.start, slots.end)
    }

    fn remove_slots(&mut self, from: usize, to: usize) -> Result<(), EditError> {
        let node = self.node()?;
        let (count, mut dead) = (node.count(), node.heap()?.1);
        for i in from..to {
            dead += node.entry_bytes(i)?;
        }
        let at = |i: usize| SLOTS + i * SLOT_BYTES;
        self.page.shift(at(to), at(from), (count - to) * SLOT_BYTES);
        self.page.set_u32(DEAD, dead as u32);
        self.page.set_u16(COUNT, (count - (to - from)) as u16);
        self.refresh_hints(0)
    }
}
