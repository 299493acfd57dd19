//! The allocator's state as bytes.
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

use super::extents::Extent;
use crate::error::{Error, Result, Site};
use crate::types::{Lsn, PageId};

const MAGIC: u64 = u64::from_le_bytes(*b"PBXspace");
const FIXED: usize = 40;

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
    /// As bytes, a multiple of 8 long.
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
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&u64::from(sum).to_le_bytes());
        out
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
        if word(0)? != MAGIC {
            return None;
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
}
