//! Writing a whole node: how pages come into being, are compacted, cut and merged.
//!
//! All of them go the same way: the new content is encoded into private memory, then the page is written from it. The
//! result depends on the content alone, so redo leaves the bytes that the live path left.

use super::content::Encoder;
use super::edit::{EditError, SlottedPageMut};
use super::repack::Beside;
use super::*;
use crate::page::header::{self, set_swip_array};
use crate::types::{PageId, PageKind, SizeClass, TreeId};

/// The capacity a rebuilt inner node gets: a multiple of the step with room to grow, or just what it needs.
fn capacity_for(count: usize, spare: usize) -> usize {
    let wanted = (count / CAPACITY_STEP + 1) * CAPACITY_STEP;
    if (wanted - count) * (SLOT_BYTES + WORD_BYTES) <= spare / 2 { wanted } else { count }
}

/// What a node is, beside its fences and what it holds.
pub(super) struct Shape {
    pub(super) tree: TreeId,
    pub(super) level: u8,
    pub(super) count: usize,
    pub(super) prefix: usize,
    pub(super) capacity: usize,
}

impl SlottedPageMut<'_> {
    /// Makes the page a node with `content`. Only page id and LSN of the former page header stay.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if the content is out of order, outside of its fences or larger than the page; the page is
    /// unchanged then.
    pub fn build(&mut self, content: &Content<'_>) -> Result<(), EditError> {
        self.build_keeping(content, 0)
    }

    /// [`SlottedPageMut::build`], with `keep` bytes of the free room not to be spent on capacity.
    fn build_keeping(&mut self, content: &Content<'_>, keep: usize) -> Result<(), EditError> {
        let size = self.page.len();
        let spare =
            size.checked_sub(content.page_bytes()).ok_or(EditError::Damaged("the content outgrows the page"))?;
        check_order(content)?;
        let prefix = content.prefix_len();
        let capacity = if content.level == 0 { 0 } else { capacity_for(content.count, spare.saturating_sub(keep)) };
        let shape = Shape { tree: content.tree, level: content.level, count: content.count, prefix, capacity };
        let mut heap = self.write_shape(shape, content.lower, content.upper);
        let page = &mut self.page;
        for (i, entry) in content.entries().enumerate() {
            if content.level == 0 {
                heap -= entry.value.len();
                page.write(heap, entry.value);
            }
            heap -= entry.key.len();
            page.write(heap, entry.key);
            if content.level == 0 {
                heap -= VALUE_LENGTH_BYTES;
                page.set_u16(heap, entry.value.len() as u16);
            }
            let slot = Slot { head: head_of(entry.key), offset: heap, key_len: entry.key.len(), flags: entry.flags };
            page.set_u64(SLOTS + i * SLOT_BYTES, slot.to_word());
        }
        page.set_u32(HEAP_START, heap as u32);
        // What was written is not written twice: zeros are for what lies between.
        let (slots_end, references) = (SLOTS + content.count * SLOT_BYTES, SLOTS + capacity * SLOT_BYTES);
        page.fill(slots_end, heap - slots_end, 0);
        for (i, child) in content.children().enumerate() {
            page.set_word(references + i * WORD_BYTES, inner::child_word(child));
        }
        match content.level {
            0 => set_swip_array(page, 0, 0),
            _ => set_swip_array(page, references, content.count + 1),
        }
        self.refresh_hints(0)
    }

    /// Writes everything in front of the slots, and the fences; returns the heap's start below them.
    pub(super) fn write_shape(&mut self, shape: Shape, lower: &[u8], upper: Option<&[u8]>) -> usize {
        let page = &mut self.page;
        page.set_u8(header::KIND, PageKind::BTREE.get());
        page.set_u8(header::CLASS, SizeClass::ZERO.get());
        page.set_u32(header::TREE, shape.tree.get());
        page.fill(NODE, SLOTS - NODE, 0);
        page.set_u8(LEVEL, shape.level);
        page.set_u8(LEVEL + 1, if upper.is_some() { HAS_UPPER } else { 0 });
        page.set_u16(COUNT, shape.count as u16);
        page.set_u16(PREFIX, shape.prefix as u16);
        page.set_u16(CAPACITY, shape.capacity as u16);
        page.set_u64(FENCE_HEADS, fence_heads(lower, upper));
        let mut heap = page.len();
        for (at, fence) in [(LOWER, lower), (UPPER, upper.unwrap_or_default())] {
            heap -= fence.len();
            page.write(heap, fence);
            page.set_u16(at, if fence.is_empty() { 0 } else { heap as u16 });
            page.set_u16(at + 2, fence.len() as u16);
        }
        heap
    }

    /// Writes the page header of a page that is new or gets a new life, then [`SlottedPageMut::build`]s it.
    ///
    /// # Errors
    /// As [`SlottedPageMut::build`].
    pub fn init(&mut self, id: PageId, content: &Content<'_>) -> Result<(), EditError> {
        self.page.set_u32(header::CHECKSUM, 0);
        self.page.set_u16(6, 0);
        self.page.set_u64(header::PAGE_ID, id.get());
        self.build(content)
    }

    pub(super) fn rebuild(
        &mut self,
        keep: usize,
        encode: impl FnOnce(&SlottedPage<'_>, &mut Vec<u8>) -> Result<(), EditError>,
    ) -> Result<(), EditError> {
        scratch::with(|bytes| {
            encode(&self.node()?, bytes)?;
            let content = Content::parse(bytes).ok_or(EditError::Damaged("entries do not fit their node"))?;
            self.build_keeping(&content, keep)
        })
    }

    /// Wins back the dead bytes, and the capacity of an inner node that is not needed to the last `keep` free bytes.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if the page is not a sound node.
    pub fn compact(&mut self, keep: usize) -> Result<(), EditError> {
        if self.node()?.is_leaf() {
            return self.repack(None, None, |node| Ok(0..node.count()), Beside::Nothing);
        }
        self.rebuild(keep, |node, out| Ok(node.encode_all(out)?))
    }

    /// Makes `separator` the upper fence and drops what lies beyond it: the left half of a split. In an inner node
    /// `separator` must be one of its own; it goes up, and the child on its left becomes the last.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if `separator` does not lie between the fences or is none, or the page is not a sound node.
    pub fn truncate(&mut self, separator: &[u8]) -> Result<(), EditError> {
        if self.node()?.is_leaf() {
            let kept = |node: &SlottedPage<'_>| Ok(0..node.search(separator)?.slot());
            return self.repack(None, Some(separator), kept, Beside::Nothing);
        }
        self.rebuild(0, |node, out| {
            scratch::with(|lower| {
                node.lower_fence(lower)?;
                if lower.as_slice() >= separator || !node.covers(separator)? {
                    return Err(EditError::Damaged("a node is cut outside of its fences"));
                }
                let keep = match node.search(separator)? {
                    Search::Insert(_) if !node.is_leaf() => {
                        return Err(EditError::Damaged("an inner node is cut between its separators"));
                    }
                    found => found.slot(),
                };
                Ok(node.encode(0..keep, lower, Some(separator), out)?)
            })
        })
    }

    /// Appends the content of the right neighbour, whose lower fence is this node's upper fence, and takes over its upper
    /// fence. Between inner nodes that fence becomes a separator again.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if they are not neighbours of one level or do not fit one page.
    pub fn absorb(&mut self, right: &Content<'_>) -> Result<(), EditError> {
        if self.node()?.is_leaf() {
            return self.repack(None, None, |node| Ok(0..node.count()), Beside::Right(right));
        }
        self.rebuild(0, |node, out| {
            scratch::with(|lower| {
                scratch::with(|upper| {
                    node.lower_fence(lower)?;
                    if !node.upper_fence(upper)? || upper.as_slice() != right.lower || node.level() != right.level {
                        return Err(EditError::Damaged("a node takes over what is not its neighbour"));
                    }
                    let prefix = &lower[..node.prefix_len().min(lower.len())];
                    let mut encoder = Encoder::new(out, node.tree()?, node.level(), lower, right.upper);
                    encoder.entries_of(node, prefix, 0..node.count())?;
                    if right.level > 0 {
                        encoder.entry((&[], right.lower), 0, &[]);
                    }
                    let right_prefix = &right.lower[..right.prefix_len()];
                    for entry in right.entries() {
                        encoder.entry((right_prefix, entry.key), entry.flags, entry.value);
                    }
                    if right.level > 0 {
                        encoder.children_of(node, 0..node.count() + 1)?;
                        right.children().for_each(|child| encoder.child(child));
                    }
                    encoder.finish();
                    Ok(())
                })
            })
        })
    }
}

/// Keys ascending, and between the fences (B2).
pub(super) fn check_order(content: &Content<'_>) -> Result<(), EditError> {
    let prefix = content.prefix_len();
    let lower = &content.lower[prefix..];
    let upper = content.upper.map(|upper| &upper[prefix..]);
    if upper.is_some_and(|upper| upper <= lower) {
        return Err(EditError::Damaged("fences out of order"));
    }
    let mut last: Option<&[u8]> = None;
    for entry in content.entries() {
        let above = match last {
            Some(last) => entry.key > last,
            None => entry.key > lower || entry.key == lower && content.level == 0,
        };
        if !above {
            return Err(EditError::Damaged("keys out of order"));
        }
        last = Some(entry.key);
    }
    if let (Some(last), Some(upper)) = (last, upper)
        && last >= upper
    {
        return Err(EditError::Damaged("a key beyond the upper fence"));
    }
    Ok(())
}

impl SlottedPage<'_> {
    /// The bytes a page would need for this node with all of `right`, its right neighbour, in it.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    pub fn merged_bytes(&self, right: &SlottedPage<'_>) -> Result<usize, OutOfBounds> {
        scratch::with(|lower| {
            scratch::with(|upper| {
                self.lower_fence(lower)?;
                let bounded = right.upper_fence(upper)?;
                let prefix = if bounded { common_prefix(lower, upper) } else { 0 };
                let grown = |node: &SlottedPage<'_>| node.count() * node.prefix_len().saturating_sub(prefix);
                let fences = lower.len() + upper.len();
                let mut bytes = SLOTS + fences + grown(self) + grown(right);
                for node in [self, right] {
                    let own = node.lower_range()?.1 + node.upper_range()?.map_or(0, |(_, n)| n);
                    bytes += node.used_bytes()?.checked_sub(own).ok_or(OutOfBounds)?;
                }
                if !self.is_leaf() {
                    bytes += right.lower_range()?.1.saturating_sub(prefix) + SLOT_BYTES;
                }
                Ok(bytes)
            })
        })
    }
}
