//! The group: what one flush writes, 64 bytes of header and whole records, padded to 4,096 bytes.
//!
//! The layout is the table of section 3.3 in `docs/design.md`. Groups are chained by start LSN and by the CRC of the
//! group before, so that the bytes of a recycled segment or of a timeline that a crash cut off never pass for the
//! present.

use crate::io::AlignedBuf;
use crate::types::Lsn;

/// Groups start at multiples of this and are padded to it: the greatest physical block in common use.
pub(crate) const BLOCK: u64 = 4096;
/// Bytes of a group before its records.
pub(crate) const HEADER: usize = 64;
/// The longest group a reader accepts, in file bytes; bounds what damaged lengths can make it allocate.
pub(crate) const GROUP_MAX: u64 = 64 << 20;
/// The most that header and padding can add to the records of a group, in file bytes.
pub(crate) const GROUP_OVERHEAD: u64 = HEADER as u64 + BLOCK - 1;

const MAGIC: [u8; 4] = *b"PBXG";

/// A group header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) crc: u32,
    pub(crate) store_id: u64,
    pub(crate) incarnation: u64,
    /// Where the group's first record starts in the stream.
    pub(crate) start: Lsn,
    /// The LSN known durable when the group was written: the witness against a hole before it.
    pub(crate) durable: Lsn,
    /// Bytes of records.
    pub(crate) len: u32,
    pub(crate) prev_crc: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl GroupHeader {
    /// Reads the fields of the header that `bytes` start with, if magic and length make sense. The CRC is not checked.
    pub(crate) fn parse(bytes: &[u8]) -> Option<GroupHeader> {
        if bytes.get(..4)? != MAGIC {
            return None;
        }
        let header = GroupHeader {
            crc: u32_at(bytes, 4)?,
            store_id: u64_at(bytes, 8)?,
            incarnation: u64_at(bytes, 16)?,
            start: Lsn::new(u64_at(bytes, 24)?),
            durable: Lsn::new(u64_at(bytes, 32)?),
            len: u32_at(bytes, 40)?,
            prev_crc: u32_at(bytes, 44)?,
        };
        let fits = header.len > 0 && header.file_bytes() <= GROUP_MAX;
        (fits && header.start.checked_add(u64::from(header.len)).is_some()).then_some(header)
    }

    /// Whether the CRC of `group`, which starts with this header, is the one it carries.
    pub(crate) fn verify(&self, group: &[u8]) -> bool {
        group.get(..HEADER + self.len as usize).is_some_and(|bytes| checksum(bytes) == self.crc)
    }

    /// Where the group's last record ends in the stream.
    pub(crate) fn end(&self) -> Lsn {
        Lsn::new(self.start.get().saturating_add(u64::from(self.len)))
    }

    /// The group's length in its file, padding included.
    pub(crate) fn file_bytes(&self) -> u64 {
        (HEADER as u64 + u64::from(self.len)).next_multiple_of(BLOCK)
    }
}

/// CRC-32 of all that follows the CRC field.
fn checksum(group: &[u8]) -> u32 {
    crc32fast::hash(&group[8..])
}

/// Fills in the header of a group whose records already lie behind [`HEADER`] bytes in `group`, and pads it. `crc` and
/// `len` of `header` are ignored; the capacity is a multiple of [`BLOCK`]. Returns the CRC.
pub(crate) fn seal(group: &mut AlignedBuf, header: &GroupHeader) -> u32 {
    debug_assert!(group.len() > HEADER, "a group holds at least one record");
    let len = (group.len() - HEADER) as u32;
    group[..4].copy_from_slice(&MAGIC);
    group[8..16].copy_from_slice(&header.store_id.to_le_bytes());
    group[16..24].copy_from_slice(&header.incarnation.to_le_bytes());
    group[24..32].copy_from_slice(&header.start.get().to_le_bytes());
    group[32..40].copy_from_slice(&header.durable.get().to_le_bytes());
    group[40..44].copy_from_slice(&len.to_le_bytes());
    group[44..48].copy_from_slice(&header.prev_crc.to_le_bytes());
    group[48..HEADER].fill(0);
    let crc = checksum(group);
    group[4..8].copy_from_slice(&crc.to_le_bytes());
    group.resize(group.len().next_multiple_of(BLOCK as usize));
    crc
}
