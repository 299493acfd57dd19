//! Records: one mini-transaction each, a length and parts back to back, one part a page.
//!
//! A record is whole or not there: what it changes on several pages (a split) becomes durable in one piece. Redo is
//! physiological after ARIES: a part names one page and says what to do inside it, in its handler's own terms.

use crate::error::{Error, Result, Site};
use crate::types::{Lsn, PageId, PageKind, SizeClass};

/// Bytes a record adds to its parts: its length field.
pub const RECORD_OVERHEAD: usize = 4;
/// Bytes a part adds to its payload.
pub const PART_OVERHEAD: usize = 12;

/// The flag of the class byte: the part initializes the page.
const INIT: u8 = 0x80;

/// Builds one record at a time in a buffer that the caller keeps: no allocation once it has grown.
///
/// ```
/// # use pagebox::{PageId, PageKind, SizeClass, wal::RecordBuilder};
/// let mut buffer = Vec::new();
/// let mut record = RecordBuilder::new(&mut buffer);
/// record.begin_part(PageKind::FIRST_USER, 1, SizeClass::ZERO, false, PageId::new(7));
/// record.extend_from_slice(b"payload");
/// record.end_part();
/// assert_eq!(record.finish().len(), 4 + 12 + 7);
/// ```
#[derive(Debug)]
pub struct RecordBuilder<'a> {
    buf: &'a mut Vec<u8>,
    /// Where the open part starts.
    part: Option<usize>,
}

impl<'a> RecordBuilder<'a> {
    /// Starts a record in `buf`, whose old content is dropped.
    pub fn new(buf: &'a mut Vec<u8>) -> RecordBuilder<'a> {
        buf.clear();
        buf.extend_from_slice(&[0; RECORD_OVERHEAD]);
        RecordBuilder { buf, part: None }
    }

    /// Drops what was built and starts again.
    pub fn clear(&mut self) {
        self.buf.truncate(RECORD_OVERHEAD);
        self.part = None;
    }

    /// Starts the part of `page`, a page of `kind` and `class`; `op` is the handler's own. `init` says that the part
    /// makes the page from nothing: redo applies it to zeroed bytes and never skips it. An open part is ended first.
    /// Page ids above 2^40 do not fit the format; [`PageId::MAX`] is far below.
    pub fn begin_part(&mut self, kind: PageKind, op: u8, class: SizeClass, init: bool, page: PageId) {
        self.end_part();
        self.part = Some(self.buf.len());
        debug_assert!(page <= PageId::MAX, "{page:?} is beyond the format");
        let flags = class.get() | if init { INIT } else { 0 };
        self.buf.extend_from_slice(&[kind.get(), op, flags]);
        self.buf.extend_from_slice(&page.get().to_le_bytes()[..5]);
        self.buf.extend_from_slice(&[0; 4]);
    }

    /// Appends to the open part's payload.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        debug_assert!(self.part.is_some(), "payload outside of a part");
        self.buf.extend_from_slice(bytes);
    }

    /// Appends a byte to the payload.
    #[inline]
    pub fn put_u8(&mut self, value: u8) {
        self.extend_from_slice(&[value]);
    }

    /// Appends a little-endian 16-bit integer to the payload.
    #[inline]
    pub fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a little-endian 32-bit integer to the payload.
    #[inline]
    pub fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends a little-endian 64-bit integer to the payload.
    #[inline]
    pub fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    /// Ends the open part, if there is one.
    pub fn end_part(&mut self) {
        if let Some(at) = self.part.take() {
            let len = (self.buf.len() - at - PART_OVERHEAD) as u32;
            self.buf[at + 8..at + PART_OVERHEAD].copy_from_slice(&len.to_le_bytes());
        }
    }

    /// The record's length so far, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether there is no part yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buf.len() == RECORD_OVERHEAD
    }

    /// Ends the record and returns its bytes, ready for [`append`](super::Wal::append).
    pub fn finish(mut self) -> &'a [u8] {
        self.end_part();
        let len = self.buf.len() as u32;
        self.buf[..RECORD_OVERHEAD].copy_from_slice(&len.to_le_bytes());
        self.buf
    }
}

/// A record's bytes, checked to be whole: every part lies inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8],
}

/// What a record does to one page (or, of kind [`PageKind::SPACE`], to the free space).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The page's kind: selects the handler.
    pub kind: PageKind,
    /// What to do, in the handler's own numbering.
    pub op: u8,
    /// The page's size class.
    pub class: SizeClass,
    /// Whether the part makes the page from nothing.
    pub init: bool,
    /// The page.
    pub page: PageId,
    /// The handler's own bytes.
    pub payload: &'a [u8],
}

impl<'a> Part<'a> {
    /// Takes one part off the front of `bytes`, or says what does not fit.
    fn split(bytes: &'a [u8]) -> std::result::Result<(Part<'a>, &'a [u8]), &'static str> {
        let Some((head, rest)) = bytes.split_first_chunk::<PART_OVERHEAD>() else {
            return Err("a part's header is cut off");
        };
        let [kind, op, flags, p0, p1, p2, p3, p4, l0, l1, l2, l3] = *head;
        if flags & 0x70 != 0 {
            return Err("a part has unknown flags");
        }
        let class = SizeClass::new(flags & 0x0F).ok_or("a part has an unknown size class")?;
        let page = PageId::new(u64::from_le_bytes([p0, p1, p2, p3, p4, 0, 0, 0]));
        if page > PageId::MAX {
            return Err("a part names a page beyond the greatest");
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > rest.len() {
            return Err("a part's payload is cut off");
        }
        let (payload, rest) = rest.split_at(len);
        Ok((Part { kind: PageKind::new(kind), op, class, init: flags & INIT != 0, page, payload }, rest))
    }
}

impl<'a> Record<'a> {
    /// Takes the record off the front of `bytes`, which lie at `start` in the stream, and returns the rest.
    ///
    /// # Errors
    /// [`Error::Corrupted`] at `start` for bytes that are not a whole record with whole parts; never a panic.
    pub fn decode(bytes: &'a [u8], start: Lsn) -> Result<(Record<'a>, &'a [u8])> {
        let damaged = |detail| Error::corrupted(Site::Log(start), detail);
        let (head, _) = bytes.split_first_chunk::<RECORD_OVERHEAD>().ok_or_else(|| damaged("a record is cut off"))?;
        let len = u32::from_le_bytes(*head) as usize;
        if len < RECORD_OVERHEAD || len > bytes.len() {
            return Err(damaged("a record's length does not fit"));
        }
        let (bytes, rest) = bytes.split_at(len);
        let mut parts = &bytes[RECORD_OVERHEAD..];
        while !parts.is_empty() {
            (_, parts) = Part::split(parts).map_err(damaged)?;
        }
        Ok((Record { bytes }, rest))
    }

    /// The whole record, as appended.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The record's parts, in order.
    #[must_use]
    pub fn parts(&self) -> Parts<'a> {
        Parts { rest: &self.bytes[RECORD_OVERHEAD..] }
    }
}

impl<'a> IntoIterator for &Record<'a> {
    type Item = Part<'a>;
    type IntoIter = Parts<'a>;

    fn into_iter(self) -> Parts<'a> {
        self.parts()
    }
}

/// The parts of a record.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        // `decode` walked the same bytes, so an `Err` is only their end.
        let (part, rest) = Part::split(self.rest).ok()?;
        self.rest = rest;
        Some(part)
    }
}

impl std::iter::FusedIterator for Parts<'_> {}

/// Applies the parts of one page kind to their pages, at recovery.
///
/// Called for each part whose record is newer than the page, in log order for any one page, possibly from several
/// threads for different pages. Applying must depend on nothing but the page's bytes and the part.
pub trait RedoHandler: Send + Sync {
    /// Applies `part`, of the record that ends at `lsn`, to `page`: zeroed bytes for a part that initializes, otherwise
    /// the page as the records before left it. The caller sets the page's LSN.
    ///
    /// # Errors
    /// [`Error::Corrupted`] for a part that does not fit the page; never a panic, whatever the bytes.
    fn redo(&self, page: &mut [u8], lsn: Lsn, part: &Part<'_>) -> Result<()>;
}
