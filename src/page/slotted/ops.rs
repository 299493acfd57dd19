//! The logged operations on nodes: their payloads, and applying them.
//!
//! Live changes and redo call the same functions with the same payload, so a page recovered from the log is the page that
//! was, byte for byte (but for reference hints, which are in no record).
//!
//! | op | payload |
//! |---|---|
//! | [`INSERT`] | `key length: u16 (2 flag bits on top), key, value` |
//! | [`UPDATE`] | as `INSERT` |
//! | [`REMOVE`] | key |
//! | [`INIT`] | a [`Content`]: the page becomes that node; applied without reading what was there |
//! | [`TRUNCATE`] | separator: the new upper fence |
//! | [`ABSORB`] | the [`Content`] of the right neighbour |
//! | [`INSERT_SEPARATOR`] | `page id of the child on its right: u64, separator` |
//! | [`REMOVE_SEPARATOR`] | separator; the child on its right goes with it |
//! | [`FREE`] | nothing: the page is no node any more |
//! | [`REBUILD`] | a [`Content`]: a node becomes another, keeping its page: roots that grow and shrink |
//! | [`EXTEND`] | an upper fence or none, and children: they come behind those of the last inner node of a level |
//! | [`ABSORB_LEFT`] | the [`Content`] of the left neighbour |
//! | [`REMOVE_LEFT`] | separator; the child on its left goes with it |
//! | [`REMOVE_RUN`] | two separators: they and all between them go, each with the child on its right |
//! | [`RAISE`] | separator: the new lower fence |
//! | [`INSERT_LEFT`] | as `INSERT_SEPARATOR`, but the child comes on the separator's left |
//! | [`MOVE_SEPARATOR`] | two separators: the second replaces the first |
//! | [`CUT`] | two keys: a leaf's records from one on and below the other go |
//! | [`ENTOMB`] | nothing: the root of a dropped tree becomes a tombstone, its content stays |
//! | [`DETACH`] | `first children to keep: u16`, and `last ones: u16` if there are any: the others go, from a node of a dropped tree |

use super::*;
use crate::page::bytes::PageWriter;
use crate::page::header::{self, set_swip_array};
use crate::types::{PageId, PageKind, TreeId};

/// Inserts a record into a leaf.
pub const INSERT: u8 = 1;
/// Replaces a record's value.
pub const UPDATE: u8 = 2;
/// Removes a record.
pub const REMOVE: u8 = 3;
/// Makes a page a node; the part carries the flag that it initializes the page.
pub const INIT: u8 = 4;
/// Cuts a node at a separator: the left page of a split.
pub const TRUNCATE: u8 = 5;
/// Takes over the right neighbour: the left page of a merge.
pub const ABSORB: u8 = 6;
/// Adds a separator and a child to an inner node.
pub const INSERT_SEPARATOR: u8 = 7;
/// Removes a separator and a child from an inner node.
pub const REMOVE_SEPARATOR: u8 = 8;
/// Ends a page's life as a node.
pub const FREE: u8 = 9;
/// Rewrites a node in its page.
pub const REBUILD: u8 = 10;
/// Adds children behind the last one, and an upper fence.
pub const EXTEND: u8 = 22;
/// Takes over the left neighbour: the right page of a merge.
pub const ABSORB_LEFT: u8 = 23;
/// Removes a separator and the child on its left from an inner node.
pub const REMOVE_LEFT: u8 = 24;
/// Removes a run of separators and children from an inner node.
pub const REMOVE_RUN: u8 = 25;
/// Removes a run of records from a leaf.
pub const CUT: u8 = 26;
/// Cuts off what lies in front of a separator: the right page of a split.
pub const RAISE: u8 = 27;
/// Adds a separator, and a child on its left.
pub const INSERT_LEFT: u8 = 28;
/// Replaces a separator by another one between the same children.
pub const MOVE_SEPARATOR: u8 = 29;
/// Makes a root a tombstone: no node any more, but its content still leads to the pages of the tree.
pub const ENTOMB: u8 = 20;
/// Takes the last children off an inner node of a dropped tree.
pub const DETACH: u8 = 21;

/// The bytes an `INSERT` or `UPDATE` payload takes beside key and value.
pub const RECORD_OVERHEAD: usize = 2;

/// The first two bytes of an [`INSERT`] or [`UPDATE`] payload, as an integer: the key's length and the slot's flags.
#[must_use]
#[inline]
pub fn record_word(key_len: usize, flags: u8) -> u16 {
    key_len as u16 & KEY_LENGTH_MASK | u16::from(flags & 3) << 14
}

/// Appends the payload of [`INSERT`] and [`UPDATE`].
pub fn encode_record(key: &[u8], flags: u8, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&record_word(key.len(), flags).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Takes a record's payload apart: key, flags, value. `None` if it is too short.
#[must_use]
pub fn decode_record(payload: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (word, rest) = payload.split_first_chunk::<2>()?;
    let word = u16::from_le_bytes(*word);
    let (key, value) = rest.split_at_checked(usize::from(word & KEY_LENGTH_MASK))?;
    Some((key, (word >> 14) as u8, value))
}

/// Appends the payload of [`INSERT_SEPARATOR`].
pub fn encode_separator(separator: &[u8], child: PageId, out: &mut Vec<u8>) {
    out.extend_from_slice(&child.get().to_le_bytes());
    out.extend_from_slice(separator);
}

/// Takes the payload of [`INSERT_SEPARATOR`] apart.
#[must_use]
pub fn decode_separator(payload: &[u8]) -> Option<(&[u8], PageId)> {
    let (child, separator) = payload.split_first_chunk::<8>()?;
    Some((separator, PageId::new(u64::from_le_bytes(*child))))
}

/// Applies one operation to page `id`. The live path calls it with payloads it has just made and checked, redo with what
/// the log holds.
///
/// # Errors
/// [`EditError`] if the operation does not fit the page or the payload is nonsense; the page is unchanged or, if it was
/// damaged itself, worthless as before. Never panics on account of either.
pub fn apply(op: u8, page: PageWriter<'_>, id: PageId, payload: &[u8]) -> Result<(), EditError> {
    let mut node = SlottedPageMut::new(page);
    let kind = PageKind::new(node.page.reader().u8(header::KIND)?);
    if !matches!(op, INIT | FREE) && kind != PageKind::BTREE && !(op == DETACH && kind == PageKind::TOMBSTONE) {
        return Err(EditError::Damaged("a node operation on a page that is none"));
    }
    match op {
        INSERT | UPDATE => {
            let (key, flags, value) = decode_record(payload).ok_or(SHORT)?;
            let at = place(&node, key)?;
            match (op, at) {
                (INSERT, Search::Insert(at)) => node.insert_at(at, key, flags, value),
                (UPDATE, Search::Found(at)) => node.update_at(at, flags, value),
                _ => Err(EditError::Damaged("a record inserted twice, or updated without being there")),
            }
        }
        REMOVE => match place(&node, payload)? {
            Search::Found(at) => node.remove_at(at),
            Search::Insert(_) => Err(EditError::Damaged("a record removed without being there")),
        },
        INIT => node.init(id, &Content::parse(payload).ok_or(SHORT)?),
        REBUILD => node.build(&Content::parse(payload).ok_or(SHORT)?),
        TRUNCATE => node.truncate(payload),
        ABSORB => node.absorb(&Content::parse(payload).ok_or(SHORT)?),
        INSERT_SEPARATOR => {
            let (separator, child) = decode_separator(payload).ok_or(SHORT)?;
            node.insert_separator(separator, child)
        }
        INSERT_LEFT => {
            let (separator, child) = decode_separator(payload).ok_or(SHORT)?;
            node.insert_left(separator, child)
        }
        MOVE_SEPARATOR => node.move_separator(payload),
        RAISE => node.raise(payload),
        ABSORB_LEFT => node.absorb_left(&Content::parse(payload).ok_or(SHORT)?),
        REMOVE_LEFT => node.remove_left(payload),
        REMOVE_RUN => node.remove_run(payload),
        CUT => node.cut(payload),
        EXTEND => node.extend(payload),
        REMOVE_SEPARATOR => node.remove_separator(payload),
        FREE => {
            free(&mut node.page, id);
            Ok(())
        }
        ENTOMB => {
            node.page.set_u8(header::KIND, PageKind::TOMBSTONE.get());
            Ok(())
        }
        DETACH => {
            let (keep, behind) = payload.split_at_checked(2).ok_or(SHORT)?;
            let number = |bytes: &[u8]| bytes.try_into().map(u16::from_le_bytes).map_err(|_| SHORT);
            let behind = if behind.is_empty() { 0 } else { number(behind)? };
            node.detach(usize::from(number(keep)?), usize::from(behind))
        }
        _ => Err(EditError::Damaged("an unknown operation")),
    }
}

const SHORT: EditError = EditError::Damaged("a payload that ends early");

fn place(node: &SlottedPageMut<'_>, key: &[u8]) -> Result<Search, EditError> {
    let node = node.node()?;
    if !node.is_leaf() || !node.covers(key)? {
        return Err(EditError::Damaged("a record for another leaf"));
    }
    Ok(node.search(key)?)
}

/// Makes the page a free one: nothing of the node stays.
fn free(page: &mut PageWriter<'_>, id: PageId) {
    set_swip_array(page, 0, 0);
    page.set_u8(header::KIND, PageKind::FREE.get());
    page.set_u64(header::PAGE_ID, id.get());
    page.set_u32(header::TREE, TreeId::NONE.get());
    let size = page.len();
    page.fill(NODE, size - NODE, 0);
}
