//! The superblock: where everything else is found. Two copies, 4,096 bytes each, at byte 0 and at 64 KiB of the page file.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `PBXstore` |
//! | 8 | 4 | format version |
//! | 12 | 4 | page size in bytes |
//! | 16 | 8 | store id, drawn at creation |
//! | 24 | 8 | sequence number of this writing: of two valid copies the greater counts |
//! | 32 | 8 | incarnation: rises with every open for writing (W4) |
//! | 40 | 8 | redo LSN: pages on disk lack nothing of records that end at or before it |
//! | 48 | 8 | its place: start LSN of a log group at or before it |
//! | 56 | 8 | that group's segment |
//! | 64 | 8 | that group's offset in the segment |
//! | 72 | 4 | CRC of the group before that one |
//! | 76 | 4 | zero |
//! | 80 | 8 | end of the log accepted when this incarnation began |
//! | 88 | 8 | LSN known to be durable when this copy was written |
//! | 96 | 8 | the allocator snapshot's own LSN |
//! | 104 | 8 | its first page (0: there is none yet, all space is free) |
//! | 112 | 8 | its length in pages |
//! | 120 | 8 | number of the last double-write batch whose pages are all in place |
//! | 128 | 8 | root page of the catalog |
//! | 136 | 8 | length of the page file in pages that was made durable |
//! | 144 | 4 | next tree id |
//! | 148 | 4 | 1 if the store was closed with this writing: the log ends at the redo LSN |
//! | 152 | | zero |
//! | 4092 | 4 | CRC-32 of bytes 0..4092 |
//!
//! Magic, version and checksum keep their places in every version, so that a later format is told apart from damage.
//!
//! Copies are written one after the other, each synced before the next is touched: one is valid at any time (C1).

use crate::error::{Error, Result, Site};
use crate::io::DiskFile;
use crate::types::{Lsn, PageId};
use crate::wal::WalPosition;

/// The format version this build reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 4;
/// Where the copies are, in bytes.
pub(crate) const COPIES: [u64; 2] = [0, 64 << 10];
/// The length of a copy in bytes.
pub(crate) const SUPERBLOCK_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"PBXstore";
const SUM: usize = SUPERBLOCK_BYTES - 4;

/// Everything a copy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) page_size: u32,
    pub(crate) store_id: u64,
    pub(crate) sequence: u64,
    pub(crate) incarnation: u64,
    pub(crate) redo: Lsn,
    pub(crate) place: WalPosition,
    pub(crate) accepted_end: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) snapshot_lsn: Lsn,
    pub(crate) snapshot_page: PageId,
    pub(crate) snapshot_units: u64,
    pub(crate) retired_batch: u64,
    pub(crate) catalog_root: PageId,
    pub(crate) file_end: PageId,
    pub(crate) next_tree: u32,
    /// The store was closed with this writing: the log ends at `redo`.
    pub(crate) closed: bool,
}

/// Why a copy cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unusable {
    /// Torn, flipped, never written, or not ours.
    Damaged,
    /// Sound, of another format version.
    Version(u32),
}

/// What the two copies say together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// The one that counts.
    pub(crate) newest: Superblock,
    /// The other one, if it is valid.
    pub(crate) older: Option<Superblock>,
    /// Which of [`COPIES`] the newest is.
    pub(crate) newest_at: usize,
}

impl Superblock {
    /// As bytes, checksum included.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; SUPERBLOCK_BYTES];
        out[0..8].copy_from_slice(MAGIC);
        let mut put4 = |at: usize, n: u32| out[at..at + 4].copy_from_slice(&n.to_le_bytes());
        put4(8, FORMAT_VERSION);
        put4(12, self.page_size);
        put4(72, self.place.prev_crc);
        put4(144, self.next_tree);
        put4(148, u32::from(self.closed));
        let mut put8 = |at: usize, n: u64| out[at..at + 8].copy_from_slice(&n.to_le_bytes());
        put8(16, self.store_id);
        put8(24, self.sequence);
        put8(32, self.incarnation);
        put8(40, self.redo.get());
        put8(48, self.place.lsn.get());
        put8(56, self.place.segment);
        put8(64, self.place.offset);
        put8(80, self.accepted_end.get());
        put8(88, self.durable.get());
        put8(96, self.snapshot_lsn.get());
        put8(104, self.snapshot_page.get());
        put8(112, self.snapshot_units);
        put8(120, self.retired_batch);
        put8(128, self.catalog_root.get());
        put8(136, self.file_end.get());
        let sum = crc32fast::hash(&out[..SUM]);
        out[SUM..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Superblock, Unusable> {
        let word4 = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(Unusable::Damaged)
        };
        let word8 = |at: usize| Ok(u64::from(word4(at)?) | u64::from(word4(at + 4)?) << 32);
        if !bytes.starts_with(MAGIC) || word4(SUM)? != crc32fast::hash(bytes.get(..SUM).unwrap_or_default()) {
            return Err(Unusable::Damaged);
        }
        let version = word4(8)?;
        if version != FORMAT_VERSION {
            return Err(Unusable::Version(version));
        }
        let place =
            WalPosition { lsn: Lsn::new(word8(48)?), segment: word8(56)?, offset: word8(64)?, prev_crc: word4(72)? };
        Ok(Superblock {
            page_size: word4(12)?,
            store_id: word8(16)?,
            sequence: word8(24)?,
            incarnation: word8(32)?,
            redo: Lsn::new(word8(40)?),
            place,
            accepted_end: Lsn::new(word8(80)?),
            durable: Lsn::new(word8(88)?),
            snapshot_lsn: Lsn::new(word8(96)?),
            snapshot_page: PageId::new(word8(104)?),
            snapshot_units: word8(112)?,
            retired_batch: word8(120)?,
            catalog_root: PageId::new(word8(128)?),
            file_end: PageId::new(word8(136)?),
            next_tree: word4(144)?,
            closed: word4(148)? == 1,
        })
    }

    /// Writes this as copy `index`, durable on return.
    ///
    /// # Errors
    /// `Io`: what that copy holds now is unknown; the other one is untouched.
    pub(crate) fn write(&self, file: &dyn DiskFile, index: usize) -> Result<()> {
        file.write_at(&self.encode(), COPIES[index]).map_err(|e| Error::io("write the superblock", None, e))?;
        file.sync_data().map_err(|e| Error::io("sync the superblock", None, e))
    }

    /// Reads both copies; the newest valid one counts.
    ///
    /// # Errors
    /// `Corrupted` if neither can be used or they contradict each other, `UnsupportedFormat` if one is of another
    /// version, `Io`.
    pub(crate) fn read(file: &dyn DiskFile) -> Result<Found> {
        let damaged = |detail: &str| Error::corrupted(Site::Superblock, detail);
        let copies = [Self::read_copy(file, 0)?, Self::read_copy(file, 1)?];
        for copy in &copies {
            if let Err(Unusable::Version(found)) = copy {
                return Err(Error::UnsupportedFormat { found: *found, supported: FORMAT_VERSION });
            }
        }
        let (newest, older, newest_at) = match copies {
            [Ok(a), Ok(b)] if a.sequence >= b.sequence => (a, Some(b), 0),
            [Ok(a), Ok(b)] => (b, Some(a), 1),
            [Ok(a), Err(_)] => (a, None, 0),
            [Err(_), Ok(b)] => (b, None, 1),
            [Err(_), Err(_)] => return Err(damaged("neither copy verifies")),
        };
        if older.is_some_and(|older| older.store_id != newest.store_id || older.page_size != newest.page_size) {
            return Err(damaged("the copies are of different stores"));
        }
        super::options::validate_page_size(newest.page_size as usize)
            .map_err(|_| damaged("the page size is not a possible one"))?;
        if newest.place.lsn > newest.redo || newest.redo > newest.durable || newest.incarnation == 0 {
            return Err(damaged("its positions contradict each other"));
        }
        Ok(Found { newest, older, newest_at })
    }

    fn read_copy(file: &dyn DiskFile, index: usize) -> Result<std::result::Result<Superblock, Unusable>> {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        let n = file.read_at(&mut bytes, COPIES[index]).map_err(|e| Error::io("read the superblock", None, e))?;
        Ok(Self::decode(&bytes[..n]))
    }
}
