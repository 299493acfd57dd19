//! The allocator's state as bytes: listed, or drawn.
//!
//! **Listed**, every extent with its numbers, which is short as long as free space is in few pieces:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 8 | the snapshot's own LSN: records from here on are not in it |
//! | 16 | 8 | end of the page file, in pages |
//! | 24 | 8 | number of free extents, f |
//! | 32 | 8 | number of pending extents, p |
//! | 40 | 16 f | free extents: first page, number of pages; ascending |
//! | ... | 24 p | pending extents: LSN that freed it, first page, number of pages |
//! | ... | 4 | CRC-32 of all before |
//! | ... | 4 | zero |
//!
//! **Drawn**, page by page, which takes the same whatever the pieces: so a place of that size is large enough for any state
//! of the file (A5).
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | another magic |
//! | 8 | 8 | the snapshot's own LSN |
//! | 16 | 8 | end of the page file, in pages |
//! | 24 | 8 | the greatest LSN that freed a pending page |
//! | 32 | 8 | zero |
//! | 40 | end / 4 | two bits a page, the first page lowest: 0 in use, 1 free, 2 pending; padded to a multiple of 8 |
//! | ... | 4 | CRC-32 of all before |
//! | ... | 4 | zero |
//!
//! All that is pending counts as freed by the last record that freed something: it is reused later than it could be, never
//! earlier (A1). That is only for a recovery to notice, and its first checkpoint ends it.

use super::extents::Extent;
use crate::error::{Error, Result, Site};
use crate::types::{Lsn, PageId};

const MAGIC: u64 = u64::from_le_bytes(*b"PBXspace");
const DRAWN: u64 = u64::from_le_bytes(*b"PBXdrawn");
const FIXED: usize = 40;
/// Around the drawing or the lists: the head, and the checksum.
const FRAME: u64 = FIXED as u64 + 8;
/// What two bits say of a page; 0: in use.
const FREE: u8 = 1;
const PENDING: u8 = 2;

/// Bytes of a drawn snapshot of a file that ends at `end`: a multiple of 8.
pub(super) fn drawn_bytes(end: u64) -> u64 {
    FRAME + end.div_ceil(32) * 8
}

/// The greatest end of a file whose drawn snapshot takes no more than `bytes`.
pub(super) fn drawn_end(bytes: u64) -> u64 {
    bytes.saturating_sub(FRAME) / 8 * 32
}

/// The state of an allocator at one LSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Allocations and frees of records that end beyond this LSN are not in the snapshot.
    pub lsn: Lsn,
    /// The end of the page file.
    pub end: PageId,
    /// Free extents, reserved ones included (A3).
    pub free: Vec<Extent>,
    /// Freed extents that may not be used yet, with the LSN of the record that freed them.
    pub pending: Vec<(Lsn, Extent)>,
}

impl Snapshot {
    /// As listed bytes, a multiple of 8 long.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + 16 * self.free.len() + 24 * self.pending.len() + 8);
        let mut put = |n: u64| out.extend_from_slice(&n.to_le_bytes());
        put(MAGIC);
        put(self.lsn.get());
        put(self.end.get());
        put(self.free.len() as u64);
        put(self.pending.len() as u64);
        for extent in &self.free {
            put(extent.start.get());
            put(extent.units);
        }
        for (lsn, extent) in &self.pending {
            put(lsn.get());
            put(extent.start.get());
            put(extent.units);
        }
        seal(out)
    }

    /// As drawn bytes, a multiple of 8 long.
    #[must_use]
    pub fn draw(&self) -> Vec<u8> {
        let last = self.pending.iter().map(|(lsn, _)| lsn.get()).max().unwrap_or(0);
        let mut out: Vec<u8> =
            [DRAWN, self.lsn.get(), self.end.get(), last, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
        out.resize(drawn_bytes(self.end.get()) as usize - 8, 0);
        let mut paint = |extent: &Extent, state: u8| {
            for page in extent.start.get()..extent.end().get() {
                if let Some(byte) = out.get_mut(FIXED + (page / 4) as usize) {
                    *byte |= state << (page % 4 * 2);
                }
            }
        };
        self.free.iter().for_each(|extent| paint(extent, FREE));
        self.pending.iter().for_each(|(_, extent)| paint(extent, PENDING));
        seal(out)
    }

    /// The fewest bytes it can be had in.
    #[must_use]
    pub fn least_bytes(&self) -> u64 {
        let listed = FRAME + 16 * self.free.len() as u64 + 24 * self.pending.len() as u64;
        listed.min(drawn_bytes(self.end.get()))
    }

    /// Whether bytes begin as a snapshot does, of either kind.
    #[must_use]
    pub fn begins(bytes: &[u8]) -> bool {
        [MAGIC, DRAWN].iter().any(|magic| bytes.starts_with(&magic.to_le_bytes()))
    }

    /// From bytes, which may be followed by others.
    ///
    /// # Errors
    /// `Corrupted` if they are not a snapshot.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot> {
        Self::parse(bytes).ok_or_else(|| Error::corrupted(Site::FreeSpace, "the snapshot's bytes do not verify"))
    }

    fn parse(bytes: &[u8]) -> Option<Snapshot> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?));
        match word(0)? {
            MAGIC => {}
            DRAWN => return Self::parse_drawn(bytes),
            _ => return None,
        }
        let (free, pending) = (usize::try_from(word(24)?).ok()?, usize::try_from(word(32)?).ok()?);
        let pending_at = FIXED.checked_add(free.checked_mul(16)?)?;
        let sum_at = pending_at.checked_add(pending.checked_mul(24)?)?;
        if word(sum_at)? != u64::from(crc32fast::hash(bytes.get(..sum_at)?)) {
            return None;
        }
        let extent = |at: usize| Some(Extent::new(PageId::new(word(at)?), word(at + 8)?));
        Some(Snapshot {
            lsn: Lsn::new(word(8)?),
            end: PageId::new(word(16)?),
            free: (0..free).map(|i| extent(FIXED + i * 16)).collect::<Option<_>>()?,
            pending: (0..pending)
                .map(|i| Some((Lsn::new(word(pending_at + i * 24)?), extent(pending_at + i * 24 + 8)?)))
                .collect::<Option<_>>()?,
        })
    }

    fn parse_drawn(bytes: &[u8]) -> Option<Snapshot> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?));
        let end = word(16)?;
        if end > PageId::MAX.get() {
            return None;
        }
        let sum_at = usize::try_from(drawn_bytes(end)).ok()?.checked_sub(8)?;
        if word(sum_at)? != u64::from(crc32fast::hash(bytes.get(..sum_at)?)) {
            return None;
        }
        let mut runs: Vec<(u8, Extent)> = Vec::new();
        for (i, byte) in bytes.get(FIXED..sum_at)?.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for page in 0..4 {
                let (state, id) = (byte >> (page * 2) & 3, PageId::new(i as u64 * 4 + page));
                match runs.last_mut() {
                    _ if state == 0 => {}
                    Some((last, run)) if *last == state && run.end() == id => run.units += 1,
                    _ => runs.push((state, Extent::new(id, 1))),
                }
            }
        }
        if runs.iter().any(|(state, run)| !matches!(*state, FREE | PENDING) || run.end().get() > end) {
            return None;
        }
        let of = |wanted| runs.iter().filter(move |(state, _)| *state == wanted).map(|&(_, run)| run);
        let last = Lsn::new(word(24)?);
        Some(Snapshot {
            lsn: Lsn::new(word(8)?),
            end: PageId::new(end),
            free: of(FREE).collect(),
            pending: of(PENDING).map(|run| (last, run)).collect(),
        })
    }
}

/// Puts the checksum behind `bytes`.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&u64::from(sum).to_le_bytes());
    bytes
}
