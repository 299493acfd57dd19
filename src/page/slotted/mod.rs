//! The slotted page: the layout of B+tree nodes, after "B-Trees Are Back" (SIGMOD 2025).
//!
//! # What a node holds
//!
//! A **leaf** (level 0) holds records, an **inner node** `count` separators and `count + 1` references to children. Every
//! node carries its two **fences**: lower (inclusive) and upper (exclusive, or none: infinity); its keys lie between them
//! (invariant B2). What the fences have in common, all keys between them have in common too: that **prefix** is cut from
//! every stored key and lives once, in the lower fence. The first four bytes after the prefix are the key's **head**; it
//! is kept in the slot as an integer, so that most comparisons touch no key. Sixteen of the heads, evenly spaced, are
//! repeated in the **hint array**: one cache line that narrows a search to a seventeenth of the slots.
//!
//! # Layout
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 32 | page header ([`super::header`]); it declares where the references are |
//! | 32 | 1 | level: 0 for a leaf |
//! | 33 | 1 | flags: bit 0, there is an upper fence |
//! | 34 | 2 | count: slots in use |
//! | 36 | 2 | length of the prefix |
//! | 38 | 2 | capacity of the slot array (inner nodes; 0 in leaves) |
//! | 40 | 4 | heap start: the lowest byte of the heap, which grows down from the page's end |
//! | 44 | 4 | dead bytes in the heap |
//! | 48 | 4 | lower fence: offset, length |
//! | 52 | 4 | upper fence: offset, length |
//! | 56 | 4 | head of the lower fence: its first four bytes, as an integer |
//! | 60 | 4 | head of the upper fence; 0 if there is none |
//! | 64 | 64 | hints: 16 heads |
//! | 128 | 8 * count | leaf: slots |
//! | 128 | 8 * capacity | inner node: slots, and behind them `capacity + 1` reference words, `count + 1` in use |
//!
//! A slot is one 8-byte word: head (4 bytes, compared as an integer), offset of the entry (2), length of the key without
//! the prefix (14 bits) and 2 flag bits (bit 0: the value is a reference to a large one). A leaf's entry is `value length: u16, key, value`, an inner node's just the key.
//! Bytes of removed entries are counted as dead and won back by compaction when room is needed.
//!
//! # Who may call what
//!
//! [`SlottedPage`] reads through [`PageReader`], so it serves optimistic readers: every offset is checked, loops are
//! bounded, and damaged or torn bytes give [`OutOfBounds`], or nonsense that validation of the latch discards.
//! [`SlottedPageMut`] changes a page under its exclusive latch. Each change that is logged is also an operation of
//! [`ops`]: the live path and redo run the same function on the same payload, so both leave the same bytes.

pub mod ops;

#[cfg(feature = "btree")]
mod aimed;
mod build;
#[cfg(feature = "btree")]
pub(crate) mod children;
mod content;
mod detach;
mod edit;
mod extend;
mod inner;
mod read;
mod repack;
pub(crate) mod scratch;
mod search;
mod separator;
pub(crate) mod shrink;
mod split;
#[cfg(feature = "btree")]
mod stage;
#[cfg(test)]
mod tests;
mod verify;

#[cfg(feature = "btree")]
pub(crate) use aimed::Aim;
pub use content::Content;
pub use edit::{EditError, SlottedPageMut};
pub use read::{Slot, SlottedPage};
pub use search::Search;
pub use separator::{common_prefix, shortest_separator};
pub use split::{InnerSplit, LeafSplit};
#[cfg(feature = "btree")]
pub(crate) use stage::Stage;

use super::bytes::{OutOfBounds, PageReader};

pub(crate) const NODE: usize = 32;
pub(crate) const LEVEL: usize = 32;
pub(crate) const COUNT: usize = 34;
pub(crate) const PREFIX: usize = 36;
pub(crate) const CAPACITY: usize = 38;
pub(crate) const HEAP_START: usize = 40;
pub(crate) const DEAD: usize = 44;
pub(crate) const LOWER: usize = 48;
pub(crate) const UPPER: usize = 52;
/// The heads of both fences, as one word.
pub(crate) const FENCE_HEADS: usize = 56;
pub(crate) const HINTS: usize = 64;
pub(crate) const SLOTS: usize = 128;

pub(crate) const SLOT_BYTES: usize = 8;
pub(crate) const WORD_BYTES: usize = 8;
pub(crate) const HINT_COUNT: usize = 16;
/// Below this many slots the hints are neither kept nor used.
pub(crate) const HINT_MIN: usize = 2 * HINT_COUNT;
/// Slots by which the capacity of an inner node grows where there is room.
pub(crate) const CAPACITY_STEP: usize = 16;
/// Bytes in front of the key in a leaf's entry.
pub(crate) const VALUE_LENGTH_BYTES: usize = 2;

pub(crate) const HAS_UPPER: u8 = 1;
/// The bits of a slot's key length that are the length.
pub(crate) const KEY_LENGTH_MASK: u16 = (1 << 14) - 1;

/// The smallest page size this layout serves, in bytes.
pub const MIN_PAGE_BYTES: usize = 4096;
/// The greatest page size this layout serves, in bytes.
pub const MAX_PAGE_BYTES: usize = 65536;

/// The longest key, in bytes: a sixth of the page, so that two fences and three separators of that length, and the slots
/// and references that go with them, fit an inner node, and a split always makes room.
#[must_use]
pub const fn max_key(page_size: usize) -> usize {
    page_size / 6
}

/// The longest value, in bytes, that is kept in a leaf beside a key of `key_len` bytes: a leaf with two maximal fences and
/// that one record fits the page.
#[must_use]
pub const fn max_inline_value(page_size: usize, key_len: usize) -> usize {
    let fixed = SLOTS + SLOT_BYTES + VALUE_LENGTH_BYTES + 2 * max_key(page_size);
    let left = page_size.saturating_sub(fixed).saturating_sub(key_len);
    if left > u16::MAX as usize { u16::MAX as usize } else { left }
}

/// The heads of both fences as they lie in the page: whole keys' heads, not those of what follows the prefix.
pub(crate) fn fence_heads(lower: &[u8], upper: Option<&[u8]>) -> u64 {
    u64::from(head_of(lower)) | u64::from(upper.map_or(0, head_of)) << 32
}

/// The first four bytes of a key without its prefix as an integer that sorts as they do; zeros stand in for missing ones.
#[inline(always)]
pub(crate) fn head_of(suffix: &[u8]) -> u32 {
    if let Some(first) = suffix.first_chunk::<4>() {
        return u32::from_be_bytes(*first);
    }
    let mut bytes = [0u8; 4];
    bytes[..suffix.len()].copy_from_slice(suffix);
    u32::from_be_bytes(bytes)
}
