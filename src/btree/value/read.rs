//! Reading large values: whole, in part, compared, or passed on where they lie. The caller is registered as a reader (V3)
//! and holds no latch.

use super::Inner;
use super::reference::{Piece, Reference};
use crate::btree::redo::damaged;
use crate::error::{Error, Result};
use crate::page::slotted::scratch;
use crate::pool::with_mapped;
use crate::types::PageId;
use std::ops::Range;

/// How a page that is not in memory is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Miss {
    /// Into a frame, if one can be had: it may be wanted again soon.
    Load,
    /// Past the frames: a long value that is read once would only drive others out.
    Stream,
}

/// The longest buffer, in bytes, that allocators keep for the next who asks, rather than give it back to the system.
const KEPT: usize = 32 << 20;

impl Inner {
    /// The reference that a leaf holds.
    ///
    /// # Errors
    /// `Corrupted` if the bytes are none.
    pub(crate) fn reference(&self, bytes: &[u8]) -> Result<Reference> {
        Reference::parse(bytes, self.pool.page_size())
            .ok_or_else(|| damaged(PageId::NONE, "a leaf's reference to a large value is none"))
    }

    /// Appends the bytes `range` of a value, which must lie inside of it, to `out`; on failure `out` is as before. Memory
    /// beside `out`: 64 KiB at most, of a buffer that the thread keeps.
    ///
    /// # Errors
    /// `Corrupted` naming the page, `Io` (also if there is no memory for `out`), `Poisoned`.
    pub(crate) fn read_value(&self, value: &Reference, range: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        // Whole, and in many pages: each is read once, in order.
        let stream = range.end - range.start == value.len() && !self.is_one_page(value);
        self.read_parts(value, range, if stream { Miss::Stream } else { Miss::Load }, out)
    }

    fn read_parts(&self, value: &Reference, range: Range<u64>, miss: Miss, out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        let wanted = usize::try_from(range.end - range.start).ok();
        if wanted.is_none_or(|n| out.try_reserve_exact(n).is_err()) {
            return Err(Error::io("hold a large value", None, std::io::ErrorKind::OutOfMemory.into()));
        }
        self.each_part(value, range, miss, |bytes| {
            out.extend_from_slice(bytes);
            true
        })
        .inspect_err(|_| out.truncate(before))
    }

    /// Whether the value is `other`: compared as it is read, page by page.
    ///
    /// # Errors
    /// As [`Inner::read_value`].
    pub(crate) fn value_equals(&self, value: &Reference, other: &[u8]) -> Result<bool> {
        if value.len() != other.len() as u64 {
            return Ok(false);
        }
        let (mut rest, mut equal) = (other, true);
        let miss = if self.is_one_page(value) { Miss::Load } else { Miss::Stream };
        self.each_part(value, 0..value.len(), miss, |bytes| {
            let (front, back) = rest.split_at(bytes.len().min(rest.len()));
            equal &= front == bytes;
            rest = back;
            equal
        })?;
        Ok(equal)
    }

    /// Calls `f` once with the value: where it lies, if it is one page that has or gets a frame (`f` then runs under that
    /// frame's shared latch, which nobody waits for, V2), otherwise in a buffer: one that the thread keeps, if that is long enough.
    ///
    /// # Errors
    /// As [`Inner::read_value`]; `f` was not called then.
    pub(crate) fn with_value<R>(&self, value: &Reference, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        if self.is_one_page(value)
            && let Some(piece) = self.pieces(value).next()
        {
            if let Some(content) = self.pool.content(&piece.page, true)? {
                return Ok(f(&content[..piece.len]));
            }
            if self.pool.is_read_whole(&piece.page) {
                return self.pool.with_content(&piece.page, |content| f(&content[..piece.len]));
            }
        }
        if let Some(len) = usize::try_from(value.len()).ok().filter(|len| *len > KEPT) {
            return with_mapped(len, |bytes| {
                let mut at = 0;
                self.each_part(value, 0..value.len(), Miss::Stream, |part| {
                    bytes[at..at + part.len()].copy_from_slice(part);
                    at += part.len();
                    true
                })?;
                Ok(f(&bytes[..at]))
            })?;
        }
        scratch::with(|bytes| {
            // If it is to have a frame, that was found out above.
            self.read_parts(value, 0..value.len(), Miss::Stream, bytes)?;
            Ok(f(bytes))
        })
    }

    /// Reads a value's pages as they lie on disk and verifies them: what a check does.
    ///
    /// # Errors
    /// Those of all damaged pages in the list; `Io`, `Poisoned` otherwise.
    pub(crate) fn verify_value(&self, value: &Reference, damages: &mut Vec<Error>) -> Result<()> {
        for piece in self.pieces(value) {
            match self.pool.stream_content(&piece.page, |_, _| {}) {
                Err(damage @ Error::Corrupted { .. }) => damages.push(damage),
                other => other?,
            }
        }
        Ok(())
    }

    /// After a free: the frames of its pages are of no more use. Best effort.
    pub(crate) fn forget_value(&self, value: &Reference) {
        self.pieces(value).for_each(|piece| self.pool.drop_frame(piece.page.id));
    }

    fn is_one_page(&self, value: &Reference) -> bool {
        self.pieces(value).next().is_some_and(|piece| piece.len as u64 == value.len())
    }

    pub(super) fn pieces(&self, value: &Reference) -> impl Iterator<Item = Piece> + use<> {
        value.pieces(self.pool.page_size(), self.tree)
    }

    /// Calls `f` with the bytes of `range`, in order, in parts, until it says that that is enough.
    fn each_part(
        &self,
        value: &Reference,
        range: Range<u64>,
        miss: Miss,
        mut f: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let mut go_on = true;
        for piece in self.pieces(value) {
            if !go_on || piece.at >= range.end {
                return Ok(());
            }
            // What of the page's content is wanted.
            let from = range.start.saturating_sub(piece.at).min(piece.len as u64) as usize;
            let to = (range.end - piece.at).min(piece.len as u64) as usize;
            if from >= to {
                continue;
            }
            if let Some(content) = self.pool.content(&piece.page, miss == Miss::Load)? {
                go_on = f(&content[from..to]);
                continue;
            }
            self.pool.stream_content(&piece.page, |at, bytes| {
                let (first, last) = (from.saturating_sub(at), to.saturating_sub(at).min(bytes.len()));
                if go_on && first < last {
                    go_on = f(&bytes[first..last]);
                }
            })?;
        }
        Ok(())
    }
}
