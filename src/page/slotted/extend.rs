//! Growing a node at its right end: children for the last inner node of a level.
//!
//! The payload of [`ops::EXTEND`]: `1 if there is an upper fence: u8, its length: u16, upper fence`, then for each child
//! `length of the separator: u16, page id: u64, separator`.

use super::content::Encoder;
use super::*;
use crate::types::PageId;

impl SlottedPageMut<'_> {
    /// Adds children behind the last one of an inner node without an upper fence, and gives it one, or not.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if the payload is nonsense, the node has an upper fence or is a leaf, or they do not fit.
    pub fn extend(&mut self, payload: &[u8]) -> Result<(), EditError> {
        let (upper, mut rest) = decode_upper(payload).ok_or(SHORT)?;
        let mut children = Vec::new();
        while !rest.is_empty() {
            children.push(decode_child(&mut rest).ok_or(SHORT)?);
        }
        self.rebuild(0, |node, out| {
            if node.is_leaf() || !node.is_last()? {
                return Err(EditError::Damaged("children added to a node that is not the last of its level"));
            }
            scratch::with(|lower| {
                scratch::with(|prefix| {
                    node.lower_fence(lower)?;
                    node.prefix(prefix)?;
                    let mut encoder = Encoder::new(out, node.tree()?, node.level(), lower, upper);
                    encoder.entries_of(node, prefix, 0..node.count())?;
                    children.iter().for_each(|(separator, _)| encoder.entry((&[], separator), 0, &[]));
                    encoder.children_of(node, 0..node.count() + 1)?;
                    children.iter().for_each(|&(_, page)| encoder.child(page));
                    encoder.finish();
                    Ok(())
                })
            })
        })
    }
}

const SHORT: EditError = EditError::Damaged("a payload that ends early");

/// The upper fence, if there is one, and the bytes behind it.
fn decode_upper(payload: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (&[has_upper, a, b], rest) = payload.split_first_chunk::<3>()?;
    let (upper, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([a, b])))?;
    Some(((has_upper != 0).then_some(upper), rest))
}

fn decode_child<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], PageId)> {
    let (len, after) = rest.split_first_chunk::<2>()?;
    let (page, after) = after.split_first_chunk::<8>()?;
    let (separator, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *rest = after;
    Some((separator, PageId::new(u64::from_le_bytes(*page))))
}
