//! Large values: what does not fit a leaf well lies in pages of its own, and the leaf has a reference.
//!
//! # The life of a large value
//!
//! | step | what holds |
//! |---|---|
//! | space is reserved ([`draft`]) | it counts as free in every snapshot (A3) |
//! | its pages are written, each once, and synced, under no latch | nothing refers to them; a crash leaves free space |
//! | one record allocates the space and puts the reference into the leaf | content is durable before the reference can be (V1) |
//! | readers register, find the reference, and read with no latch on the leaf ([`read`]) | its space is not reused meanwhile (V3) |
//! | one record takes the reference out of the leaf, or replaces it, and frees the space | pending, as every freed extent (A1) |
//!
//! A comparison or a copy of a large value is made outside of latches: what was learnt of it is remembered with its
//! reference, and the leaf is asked, under its latch, whether it still holds that one ([`known`]). As long as the
//! reader is registered, no other value can have the same reference.

mod draft;
mod known;
mod read;
mod reference;
mod space;
#[cfg(test)]
mod tests;

pub(crate) use draft::{Draft, Residence};
pub(crate) use known::{Known, free_bytes, large_among, large_in};
pub(crate) use reference::MAX_REFERENCE;
pub use reference::Reference;
pub(crate) use space::{extent_of, free_part};

use super::Inner;
use crate::page::slotted::{max_inline_value, max_key};
use crate::pool::{GateGuard, Reader};
use crate::types::Lsn;
use std::borrow::Borrow;

/// The flag of a leaf's slot that says that its value is a reference.
pub(crate) const LARGE: u8 = 1;
/// The longest value, in bytes: 4 GiB.
pub(crate) const MAX_VALUE: u64 = 1 << 32;

/// The longest value, in bytes, that stays in the leaf beside a key of `key_len` bytes: two such records, and two fences no
/// longer than their keys, fit a page. That is nearly half a page for short keys and a sixth for the longest. One record
/// fits with two fences of any length, so a split always makes room.
pub(crate) fn max_inline(page_size: usize, key_len: usize) -> usize {
    let two = (page_size - crate::page::slotted::SLOTS) / 2 - crate::page::slotted::SLOT_BYTES - 2;
    two.saturating_sub(2 * key_len).min(max_inline_value(page_size, max_key(page_size)))
}

/// The bytes that the allocation of one takes in a record at most.
pub(crate) const MAX_ALLOCATION: usize = reference::MAX_RUNS * space::SPACE_PART;

impl Inner {
    /// Bytes of log room in which the frees of all large values of one leaf fit: what a run takes there, twice.
    pub(crate) fn frees_of_a_leaf(&self) -> usize {
        2 * self.pool.page_size()
    }

    /// Whether a value is to lie in pages of its own.
    #[inline]
    pub(crate) fn is_large(&self, key_len: usize, value_len: usize) -> bool {
        value_len > max_inline(self.pool.page_size(), key_len)
    }

    /// Tells the allocator what a record did that ends at `lsn`; `gate` was taken before the append (A2).
    pub(crate) fn settle_space<R: Borrow<Reference>>(
        &self,
        gate: &GateGuard<'_>,
        drafts: &[&Draft<'_>],
        gone: &[R],
        lsn: Lsn,
    ) {
        drafts.iter().for_each(|draft| draft.settle(gate));
        for run in gone.iter().flat_map(|gone| gone.borrow().runs()) {
            self.pool.allocator().apply_free_of(gate, *run, lsn);
        }
    }

    /// Registers a reader of large values. What the leaf said before counts if it is validated after this, or stays latched
    /// meanwhile (V3).
    pub(crate) fn reader(&self) -> Reader {
        self.pool.allocator().readers().enter(self.position())
    }
}
