//! What was learnt of a large value outside of latches.

use super::Inner;
use super::reference::{MAX_REFERENCE, Reference};
use super::space::SPACE_PART;
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::SlottedPage;
use crate::pool::Reader;
use core::ops::Range;

/// A large value that was looked at. As long as this lives its place is not reused (V3): a leaf that holds this reference
/// holds this value.
pub(crate) struct Known {
    pub(crate) reference: Reference,
    /// Whether it is the value it was compared with.
    pub(crate) equal: bool,
    _reader: Reader,
}

impl Inner {
    /// Compares a value with `expected`, if that is given and as long, and copies it to `before` if wanted. Waits for the
    /// disk; no latch is held.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `Poisoned`.
    pub(crate) fn learn(
        &self,
        reference: Reference,
        reader: Reader,
        expected: Option<&[u8]>,
        before: Option<&mut Vec<u8>>,
    ) -> Result<Known> {
        let equal = match expected {
            Some(expected) => self.value_equals(&reference, expected)?,
            None => false,
        };
        if let Some(out) = before {
            out.clear();
            match expected {
                Some(expected) if equal => out.extend_from_slice(expected),
                _ => self.read_value(&reference, 0..reference.len(), out)?,
            }
        }
        Ok(Known { reference, equal, _reader: reader })
    }
}

/// The reference in a slot with the flag [`super::LARGE`].
///
/// # Errors
/// [`OutOfBounds`] if it is none: a torn or damaged page.
pub(crate) fn reference_in(node: &SlottedPage<'_>, slot: usize) -> Result<Reference, OutOfBounds> {
    let (at, n) = node.value_range(slot)?;
    let mut bytes = [0; MAX_REFERENCE];
    let bytes = bytes.get_mut(..n).ok_or(OutOfBounds)?;
    node.reader().copy_to(at, bytes)?;
    Reference::parse(bytes, node.page_size()).ok_or(OutOfBounds)
}

/// The large value in a slot, if it is one.
#[inline]
pub(crate) fn large_in(node: &SlottedPage<'_>, slot: usize) -> Result<Option<Box<Reference>>, OutOfBounds> {
    if node.slot(slot)?.flags & super::LARGE == 0 {
        return Ok(None);
    }
    large_there(node, slot)
}

#[cold]
fn large_there(node: &SlottedPage<'_>, slot: usize) -> Result<Option<Box<Reference>>, OutOfBounds> {
    reference_in(node, slot).map(|reference| Some(Box::new(reference)))
}

/// Appends the large values in `slots` of a leaf to `gone`; the bytes that their frees take in a record.
///
/// # Errors
/// As [`reference_in`].
pub(crate) fn large_among(
    node: &SlottedPage<'_>,
    slots: Range<usize>,
    gone: &mut Vec<Reference>,
) -> Result<usize, OutOfBounds> {
    let mut bytes = 0;
    for slot in slots {
        if let Some(value) = large_in(node, slot)? {
            bytes += free_bytes(&value);
            gone.push(*value);
        }
    }
    Ok(bytes)
}

/// The bytes that its frees take in a record.
pub(crate) fn free_bytes(reference: &Reference) -> usize {
    reference.runs().len() * SPACE_PART
}
