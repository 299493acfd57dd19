//! The 32 bytes every page starts with, and its checksum.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | checksum: CRC-32 of bytes 4.. with the hint bits of every swip masked (the page id is among them) |
//! | 4 | 1 | kind ([`PageKind`]) |
//! | 5 | 1 | size class |
//! | 6 | 2 | pages of large values: class 0 pages that the image on disk takes; otherwise zero |
//! | 8 | 8 | page id |
//! | 16 | 8 | LSN: the end of the last record applied; 0 if unlogged |
//! | 24 | 4 | tree id |
//! | 28 | 2 | swip array: offset / 8 (0: none) |
//! | 30 | 2 | swip array: number of 8-byte swips |

use super::bytes::{OutOfBounds, PageReader, PageWriter};
use crate::types::{Lsn, PageId, PageKind, SizeClass, TreeId};
use core::ops::Range;

/// The header's length in bytes.
pub const HEADER_BYTES: usize = 32;

pub(crate) const CHECKSUM: usize = 0;
pub(crate) const KIND: usize = 4;
pub(crate) const CLASS: usize = 5;
pub(crate) const PAGE_ID: usize = 8;
pub(crate) const LSN: usize = 16;
pub(crate) const TREE: usize = 24;
pub(crate) const SWIP_OFFSET: usize = 28;
pub(crate) const SWIP_COUNT: usize = 30;

/// The header's fields as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// CRC-32 as stored; only meaningful in the copy that was read from or goes to disk.
    pub checksum: u32,
    /// What the page's bytes mean.
    pub kind: PageKind,
    /// The page's size class.
    pub class: SizeClass,
    /// The page's own id.
    pub id: PageId,
    /// The end of the last record applied.
    pub lsn: Lsn,
    /// The tree it belongs to.
    pub tree: TreeId,
    /// Byte offset of the swip array, 0 if there is none.
    pub swip_offset: usize,
    /// Number of swips.
    pub swip_count: usize,
}

impl PageHeader {
    /// Reads all fields. Untrusted under an optimistic guard.
    pub fn read(page: PageReader<'_>) -> Result<PageHeader, OutOfBounds> {
        Ok(PageHeader {
            checksum: page.u32(CHECKSUM)?,
            kind: PageKind::new(page.u8(KIND)?),
            class: SizeClass::new(page.u8(CLASS)?).ok_or(OutOfBounds)?,
            id: PageId::new(page.u64(PAGE_ID)?),
            lsn: Lsn::new(page.u64(LSN)?),
            tree: TreeId::new(page.u32(TREE)?),
            swip_offset: usize::from(page.u16(SWIP_OFFSET)?) * 8,
            swip_count: usize::from(page.u16(SWIP_COUNT)?),
        })
    }

    /// The bytes of the swip array in a page of `len` bytes; empty if there is none. Behind the header, inside of the page,
    /// and aligned for access by whole words, as the field's unit makes every offset.
    pub fn swips(&self, len: usize) -> Result<Range<usize>, OutOfBounds> {
        let (start, bytes) = (self.swip_offset, self.swip_count * 8);
        if bytes == 0 {
            return Ok(HEADER_BYTES..HEADER_BYTES);
        }
        if !start.is_multiple_of(8) || start < HEADER_BYTES || bytes > len.saturating_sub(start) {
            return Err(OutOfBounds);
        }
        Ok(start..start + bytes)
    }

    /// Writes all fields but the checksum, which only copies on their way to disk carry.
    pub fn write(&self, page: &mut PageWriter<'_>) {
        page.set_u32(CHECKSUM, 0);
        page.set_u8(KIND, self.kind.get());
        page.set_u8(CLASS, self.class.get());
        page.set_u16(6, 0);
        page.set_u64(PAGE_ID, self.id.get());
        page.set_u64(LSN, self.lsn.get());
        page.set_u32(TREE, self.tree.get());
        set_swip_array(page, self.swip_offset, self.swip_count);
    }
}

/// Declares where the page's swips are: `offset` a multiple of 8 (0 for none), `count` of them.
pub fn set_swip_array(page: &mut PageWriter<'_>, offset: usize, count: usize) {
    let behind = count == 0 || offset >= HEADER_BYTES;
    assert!(offset.is_multiple_of(8) && behind && offset + count * 8 <= page.len(), "swip array outside of the page");
    let words = u16::try_from(offset / 8).expect("a page is at most 512 KiB before its swips end");
    page.set_u16(SWIP_OFFSET, words);
    page.set_u16(SWIP_COUNT, u16::try_from(count).expect("a page holds fewer than 65,536 swips"));
}

/// The checksum of a private copy of a page whose swip hints are already masked. Cost: about 0.3 µs for 4 KiB.
#[cfg(feature = "pool")]
#[must_use]
pub fn checksum(copy: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(copy.get(4..).unwrap_or_default());
    hasher.finalize()
}
