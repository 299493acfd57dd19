//! A node's content as a string of bytes: what log records carry, and the form in which nodes are rebuilt.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | tree id |
//! | 4 | 1 | level |
//! | 5 | 1 | flags: bit 0, there is an upper fence |
//! | 6 | 2 | length of the lower fence |
//! | 8 | 2 | length of the upper fence |
//! | 10 | 2 | count |
//! | 12 | | lower fence, upper fence |
//! | | | leaf: `count` times `key length (14 bits, 2 flag bits): u16, value length: u16, key, value` |
//! | | | inner node: `count` times `key length: u16, key`, then `count + 1` page ids of 8 bytes |
//!
//! Keys come without the prefix that the fences have in common. References go without hints: those mean nothing elsewhere.

use super::*;
use crate::types::{PageId, TreeId};
use core::ops::Range;

const FIXED: usize = 12;
const COUNT_AT: usize = 10;

/// A parsed content: all lengths are checked, order and fences are not (building a page checks those).
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The tree it belongs to.
    pub tree: TreeId,
    /// 0 for a leaf.
    pub level: u8,
    /// The lower fence (inclusive).
    pub lower: &'a [u8],
    /// The upper fence (exclusive); `None` for infinity.
    pub upper: Option<&'a [u8]>,
    /// How many records or separators.
    pub count: usize,
    entries: &'a [u8],
    children: &'a [u8],
}

/// One record or separator of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) flags: u8,
    pub(crate) value: &'a [u8],
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n)?;
    *bytes = tail;
    Some(head)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes, 2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}

impl<'a> Content<'a> {
    /// Parses a content. `None` if a length leads beyond its end, or bytes are left over.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Content<'a>> {
        let mut rest = bytes;
        let fixed = take(&mut rest, FIXED)?;
        let u16_at = |i: usize| usize::from(u16::from_le_bytes([fixed[i], fixed[i + 1]]));
        let (level, has_upper, count) = (fixed[4], fixed[5] & HAS_UPPER != 0, u16_at(COUNT_AT));
        let lower = take(&mut rest, u16_at(6))?;
        let upper = take(&mut rest, u16_at(8))?;
        let mut content = Content {
            tree: TreeId::new(u32::from_le_bytes([fixed[0], fixed[1], fixed[2], fixed[3]])),
            level,
            lower,
            upper: has_upper.then_some(upper),
            count,
            entries: rest,
            children: &[],
        };
        let mut after = rest;
        for _ in 0..count {
            content.take_entry(&mut after)?;
        }
        content.entries = &rest[..rest.len() - after.len()];
        if level > 0 {
            content.children = take(&mut after, (count + 1) * 8)?;
        }
        after.is_empty().then_some(content)
    }

    /// The content of a tree's root when nothing is in it: an empty leaf without fences.
    #[must_use]
    pub fn empty_leaf(tree: TreeId) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new(&mut out, tree, 0, &[], None).finish();
        out
    }

    /// Appends the content of a root over two children.
    pub fn encode_root(tree: TreeId, level: u8, separator: &[u8], children: [PageId; 2], out: &mut Vec<u8>) {
        let mut encoder = Encoder::new(out, tree, level, &[], None);
        encoder.entry((&[], separator), 0, &[]);
        children.into_iter().for_each(|child| encoder.child(child));
        encoder.finish();
    }

    fn take_entry(&self, rest: &mut &'a [u8]) -> Option<Entry<'a>> {
        let len = take_u16(rest)?;
        let value_len = if self.level == 0 { take_u16(rest)? } else { 0 };
        let key = take(rest, usize::from(len & KEY_LENGTH_MASK))?;
        let value = take(rest, usize::from(value_len))?;
        Some(Entry { key, flags: (len >> 14) as u8, value })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let (content, mut rest) = (*self, self.entries);
        std::iter::from_fn(move || if rest.is_empty() { None } else { content.take_entry(&mut rest) })
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = PageId> + use<'a> {
        self.children.chunks_exact(8).map(|c| {
            let mut word = [0; 8];
            word.copy_from_slice(c);
            PageId::new(u64::from_le_bytes(word))
        })
    }

    /// The length of the prefix that all its keys share.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        self.upper.map_or(0, |upper| common_prefix(self.lower, upper))
    }

    /// The bytes a page needs for it, header included, with no capacity to spare.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        let per_entry = if self.level == 0 { SLOT_BYTES - 2 } else { SLOT_BYTES - 2 + WORD_BYTES };
        let child = if self.level == 0 { 0 } else { WORD_BYTES };
        SLOTS
            + self.lower.len()
            + self.upper.map_or(0, <[u8]>::len)
            + self.entries.len()
            + self.count * per_entry
            + child
    }
}

/// Writes a content to the end of a buffer.
pub(crate) struct Encoder<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    level: u8,
    prefix: usize,
    count: u16,
}

/// The full key of an entry in two pieces: what its node cut off, and what it stores.
type KeyParts<'k> = (&'k [u8], &'k [u8]);

impl<'o> Encoder<'o> {
    pub(crate) fn new(
        out: &'o mut Vec<u8>,
        tree: TreeId,
        level: u8,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> Encoder<'o> {
        let start = out.len();
        let prefix = upper.map_or(0, |upper| common_prefix(lower, upper));
        out.extend_from_slice(&tree.get().to_le_bytes());
        out.push(level);
        out.push(if upper.is_some() { HAS_UPPER } else { 0 });
        out.extend_from_slice(&(lower.len() as u16).to_le_bytes());
        out.extend_from_slice(&(upper.map_or(0, <[u8]>::len) as u16).to_le_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(lower);
        out.extend_from_slice(upper.unwrap_or_default());
        Encoder { out, start, level, prefix, count: 0 }
    }

    fn lengths(&mut self, key_len: usize, flags: u8, value_len: Option<usize>) {
        let word = key_len as u16 & KEY_LENGTH_MASK | u16::from(flags & 3) << 14;
        self.out.extend_from_slice(&word.to_le_bytes());
        if let Some(n) = value_len {
            self.out.extend_from_slice(&(n as u16).to_le_bytes());
        }
        self.count += 1;
    }

    /// Adds an entry; the pieces of its key are cut or kept as the new prefix wants it.
    pub(crate) fn entry(&mut self, (cut_off, stored): KeyParts<'_>, flags: u8, value: &[u8]) {
        let front = cut_off.get(self.prefix..).unwrap_or_default();
        let back = stored.get(self.prefix.saturating_sub(cut_off.len())..).unwrap_or_default();
        self.lengths(front.len() + back.len(), flags, (self.level == 0).then_some(value.len()));
        self.out.extend_from_slice(front);
        self.out.extend_from_slice(back);
        if self.level == 0 {
            self.out.extend_from_slice(value);
        }
    }

    /// Adds the entries of `node` in `slots`. `prefix` are the bytes that `node` cuts from its keys.
    pub(crate) fn entries_of(
        &mut self,
        node: &SlottedPage<'_>,
        prefix: &[u8],
        slots: Range<usize>,
    ) -> Result<(), OutOfBounds> {
        let front = prefix.get(self.prefix..).unwrap_or_default();
        let cut = self.prefix.saturating_sub(prefix.len());
        for i in slots {
            let slot = node.slot(i)?;
            let value = if self.level == 0 { Some(node.value_range(i)?) } else { None };
            let kept = slot.key_len.checked_sub(cut).ok_or(OutOfBounds)?;
            self.lengths(front.len() + kept, slot.flags, value.map(|(_, n)| n));
            self.out.extend_from_slice(front);
            node.page.append_to(node.key_at(slot) + cut, kept, self.out)?;
            if let Some((at, n)) = value {
                node.page.append_to(at, n, self.out)?;
            }
        }
        Ok(())
    }

    /// Adds a reference: after all entries, `count + 1` times, in an inner node.
    pub(crate) fn child(&mut self, id: PageId) {
        self.out.extend_from_slice(&id.get().to_le_bytes());
    }

    pub(crate) fn children_of(&mut self, node: &SlottedPage<'_>, children: Range<usize>) -> Result<(), OutOfBounds> {
        for i in children {
            self.child(node.child(i)?);
        }
        Ok(())
    }

    pub(crate) fn finish(self) {
        let at = self.start + COUNT_AT;
        self.out[at..at + 2].copy_from_slice(&self.count.to_le_bytes());
    }
}

impl SlottedPage<'_> {
    /// Appends the content of the entries in `slots`, with the references that go with them, under new fences: the whole
    /// node for a move, one half for a split. The fences must lie within the node's own.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page.
    pub fn encode(
        &self,
        slots: Range<usize>,
        lower: &[u8],
        upper: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), OutOfBounds> {
        scratch::with(|prefix| {
            self.prefix(prefix)?;
            let mut encoder = Encoder::new(out, self.tree()?, self.level(), lower, upper);
            encoder.entries_of(self, prefix, slots.clone())?;
            if !self.is_leaf() {
                encoder.children_of(self, slots.start..slots.end + 1)?;
            }
            encoder.finish();
            Ok(())
        })
    }

    /// Appends the content of the whole node.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged page.
    pub fn encode_all(&self, out: &mut Vec<u8>) -> Result<(), OutOfBounds> {
        scratch::with(|lower| {
            scratch::with(|upper| {
                self.lower_fence(lower)?;
                let bounded = self.upper_fence(upper)?;
                self.encode(0..self.count(), lower, bounded.then_some(upper.as_slice()), out)
            })
        })
    }
}
