//! Large values on their way into a tree: space reserved and content written, before the record that makes it count.

use super::Inner;
use super::reference::{MAX_RUNS, Piece, Reference, units_for};
use super::space::{SPACE_PART, allocation_part};
use crate::error::{Error, Result};
use crate::pool::{Extent, GateGuard, WrittenContent};
use crate::types::SizeClass;
use crate::wal::RecordBuilder;
use std::cell::Cell;

/// By how many classes the pages of a long value may be smaller where the free space is cut up.
const LESSER: u8 = 4;

/// A value whose content is on disk and that no record names yet. Dropping it gives its space back.
///
/// The way of one: [`Inner::write_values`] with no latch held; the reference ([`Draft::bytes`]) goes into a leaf with
/// the flag [`super::LARGE`], by a record to which [`Draft::add_to`] has added the allocation, with the allocator's gate
/// taken before the append; then [`Draft::settle`] under the same gate (A2).
pub(crate) struct Draft<'p> {
    inner: &'p Inner,
    reference: Reference,
    bytes: Vec<u8>,
    settled: Cell<bool>,
    /// Its pages that were written from frames, until those hold them.
    frames: Vec<WrittenContent<'p>>,
}

/// What is to become of a value's content in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residence {
    /// It stays where frames are free: what was just written is often read soon.
    IfRoom,
    /// Only readers bring it there: much is written at once.
    None,
}

impl Inner {
    /// Writes `values`, each at most 4 GiB and not empty, to space of their own and makes them durable, with one sync for
    /// all (V1). Waits for the disk: called with no latch held.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Poisoned`; nothing was changed.
    pub(crate) fn write_values(&self, values: &[&[u8]]) -> Result<Vec<Draft<'_>>> {
        let drafts = values.iter().map(|value| self.draft_value(value, Residence::IfRoom));
        let mut drafts = drafts.collect::<Result<Vec<_>>>()?;
        if !cfg!(pagebox_break = "value_sync") {
            self.pool.sync_content()?;
        }
        drafts.iter_mut().for_each(Draft::take_frames);
        Ok(drafts)
    }

    /// Writes `value` to space of its own. It counts as durable only after [`BufferPool::sync_content`] and then
    /// [`Draft::take_frames`] (V1). Waits for the disk: called with no latch held.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Poisoned`; nothing was changed.
    pub(crate) fn draft_value(&self, value: &[u8], residence: Residence) -> Result<Draft<'_>> {
        let mut draft = self.reserve_value(value.len() as u64)?;
        // Before the first byte is written: a node that lived here may be dirty still.
        draft.reference.runs().iter().for_each(|&run| self.pool.clear_frames(run));
        for piece in draft.pieces() {
            let content = &value[piece.at as usize..][..piece.len];
            let written = match residence {
                Residence::IfRoom => self.pool.write_from_frame(&piece.page, content)?,
                Residence::None => None,
            };
            match written {
                Some(written) => draft.frames.push(written),
                None => self.pool.write_content(&piece.page, content)?,
            }
        }
        Ok(draft)
    }

    /// Space for a value, in full pages of the greatest class and one shorter one. A value of several pages takes lesser ones
    /// rather than have the file grow while its free space is cut up; any value does if the file cannot grow.
    fn reserve_value(&self, len: u64) -> Result<Draft<'_>> {
        let greatest = self.pool.content_class();
        let several = units_for(len, greatest, self.pool.page_size()) > greatest.units();
        let lesser = |by: u8| greatest.get().checked_sub(by).and_then(SizeClass::new);
        let as_is = (0..LESSER).filter(|_| several).map(|by| (by, false));
        let mut last = None;
        for (by, grow) in as_is.chain((0..=greatest.get()).map(|by| (by, true))) {
            let Some(class) = lesser(by) else { continue };
            match self.reserve_in(len, class, grow) {
                Err(error @ Error::NoSpace { .. }) => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or(Error::NoSpace { what: "page file", needed: len }))
    }

    fn reserve_in(&self, len: u64, class: SizeClass, grow: bool) -> Result<Draft<'_>> {
        let page_size = self.pool.page_size();
        let units = units_for(len, class, page_size);
        let runs = self.pool.allocator().reserve_runs(units, class.units(), MAX_RUNS, grow)?;
        let Some(reference) = Reference::new(len, class, &runs, page_size) else {
            unreachable!("what was reserved is what the value takes")
        };
        let mut bytes = Vec::with_capacity(8 + 8 * runs.len());
        reference.encode(&mut bytes);
        Ok(Draft { inner: self, reference, bytes, settled: Cell::new(false), frames: Vec::new() })
    }
}

impl Draft<'_> {
    /// What the leaf is to hold.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// After the sync of its content. A reader that was held up since before the places' former pages were freed may have
    /// loaded one once more before it was written over; from here on, what is loaded from there is the new content, and the
    /// frames that it was written from hold it.
    pub(crate) fn take_frames(&mut self) {
        for piece in self.pieces() {
            self.inner.pool.clear_frames(Extent::new(piece.page.id, 1));
        }
        self.frames.drain(..).for_each(|written| self.inner.pool.keep(written));
    }

    /// Adds the allocation of its space to a record.
    pub(crate) fn add_to(&self, record: &mut RecordBuilder<'_>) {
        self.reference.runs().iter().for_each(|&run| allocation_part(record, run));
    }

    /// The bytes that its allocation takes in a record.
    pub(crate) fn record_bytes(&self) -> usize {
        self.reference.runs().len() * SPACE_PART
    }

    /// The record was appended; `gate` was taken before (A2).
    pub(crate) fn settle(&self, gate: &GateGuard<'_>) {
        self.settled.set(true);
        self.reference.runs().iter().for_each(|&run| self.inner.pool.allocator().apply_allocation_of(gate, run));
    }

    fn pieces(&self) -> impl Iterator<Item = Piece> + use<> {
        self.inner.pieces(&self.reference)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.settled.get() {
            // Those that hold its pages are of no use; whoever uses the place next takes away what stays.
            self.inner.forget_value(&self.reference);
            self.reference.runs().iter().for_each(|&run| self.inner.pool.allocator().unreserve_extent(run));
        }
    }
}
