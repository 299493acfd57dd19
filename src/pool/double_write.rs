//! The double-write area: a copy of every page that is about to be overwritten in place, so that a torn page can be
//! restored. InnoDB's remedy, with batch numbers that tell recovery which copies may still be needed.
//!
//! | offset | bytes | header |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | CRC-32 of bytes 12.. up to the last entry |
//! | 12 | 4 | number of entries |
//! | 16 | 8 | store id |
//! | 24 | 8 | batch number, rising by one |
//! | 32 | 32 | zero |
//! | 64 | 16 n | entries: page id with the size class in the top 8 bits (8 bytes), checksum of the image (4), zero (4) |
//!
//! The images follow at [`HEADER_BYTES`], back to back in the order of the entries. Header and images are written at
//! once and synced before any page is touched in place: so a header that does not parse, or an image that is not the one
//! its entry names, belongs to a batch whose pages were never touched. The entry's checksum matters: behind the header of a
//! batch that was never synced may lie an older, intact image of the same page.

use super::load;
use crate::error::{Error, Result};
use crate::io::DiskFile;
use crate::page::header;
use crate::types::{PageId, SizeClass};

use super::page_store::PageImage;

/// Where the area starts in the page file, in bytes.
pub const DOUBLE_WRITE_START: u64 = 128 << 10;
/// The header's length in bytes.
pub const HEADER_BYTES: usize = 8 << 10;
/// The length of the whole area in bytes: its header, and 1 MiB of images.
pub const DOUBLE_WRITE_BYTES: u64 = HEADER_BYTES as u64 + (1 << 20);

const MAGIC: u64 = u64::from_le_bytes(*b"PBXdblwr");
const ENTRIES: usize = 64;
const ENTRY_BYTES: usize = 16;

/// Fills in the header for a batch.
pub(super) fn encode(buffer: &mut [u8], store_id: u64, number: u64, images: &[PageImage]) {
    let (header, copies) = buffer.split_at_mut(HEADER_BYTES);
    header.fill(0);
    header[0..8].copy_from_slice(&MAGIC.to_le_bytes());
    header[12..16].copy_from_slice(&(images.len() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&store_id.to_le_bytes());
    header[24..32].copy_from_slice(&number.to_le_bytes());
    for (i, image) in images.iter().enumerate() {
        let word = image.id.get() | u64::from(image.class.get()) << 56;
        let at = ENTRIES + i * ENTRY_BYTES;
        let sum = image.offset - HEADER_BYTES + header::CHECKSUM;
        header[at..at + 8].copy_from_slice(&word.to_le_bytes());
        header[at + 8..at + 12].copy_from_slice(&copies[sum..sum + 4]);
    }
    let sum = crc32fast::hash(&header[12..ENTRIES + images.len() * ENTRY_BYTES]);
    header[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// A batch as found in the area.
struct Batch {
    number: u64,
    pages: Vec<(PageId, SizeClass, u32)>,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn decode(header: &[u8], store_id: u64) -> Option<Batch> {
    if header.len() < HEADER_BYTES || word(header, 0) != MAGIC || word(header, 16) != store_id {
        return None;
    }
    let count = (word(header, 8) >> 32) as usize;
    let entries = header.get(ENTRIES..ENTRIES.checked_add(count.checked_mul(ENTRY_BYTES)?)?)?;
    if crc32fast::hash(&header[12..ENTRIES + count * ENTRY_BYTES]) != word(header, 8) as u32 {
        return None;
    }
    let pages = entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| {
            let word = word(entry, 0);
            Some((
                PageId::new(word & ((1 << 56) - 1)),
                SizeClass::new((word >> 56) as u8)?,
                self::word(entry, 8) as u32,
            ))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Batch { number: word(header, 24), pages })
}

/// The greatest batch number the area proves, 0 if none.
pub(super) fn last_number(file: &dyn DiskFile, store_id: u64) -> Result<u64> {
    Ok(read_header(file, store_id)?.map_or(0, |batch| batch.number))
}

fn read_header(file: &dyn DiskFile, store_id: u64) -> Result<Option<Batch>> {
    let mut header = vec![0; HEADER_BYTES];
    let n = file
        .read_at(&mut header, DOUBLE_WRITE_START)
        .map_err(|e| Error::io("read the double-write header", None, e))?;
    Ok(if n == HEADER_BYTES { decode(&header, store_id) } else { None })
}

/// Recovery: over each page of the batch in the area whose image in place does not verify, writes the copy, if that one
/// does. Batches up to `retired` are never looked at: their pages are known to be whole, and their places may belong to
/// others by now. Returns how many pages were restored.
///
/// An image in place that verifies is written again as it is. What reads show is no proof of being on disk: if the batch
/// ended with a failed sync and the system has not been down since, the image may be torn there, and the next batch would
/// take away the one intact copy (P7). One sync for all.
pub(super) fn restore(file: &dyn DiskFile, page_size: usize, store_id: u64, retired: u64) -> Result<usize> {
    let Some(batch) = read_header(file, store_id)? else { return Ok(0) };
    if batch.number <= retired {
        return Ok(0);
    }
    let (mut restored, mut written) = (0, 0);
    let mut offset = DOUBLE_WRITE_START + HEADER_BYTES as u64;
    for (id, class, sum) in batch.pages {
        let bytes = page_size << class.get();
        let place = id.get().saturating_mul(page_size as u64);
        let (whole, mut image) = verified(file, id, class, place, bytes)?;
        let mut known = whole;
        if !whole {
            let (intact, copy) = verified(file, id, class, offset, bytes)?;
            known = intact && copy[header::CHECKSUM..header::CHECKSUM + 4] == sum.to_le_bytes();
            restored += usize::from(known);
            image = copy;
        }
        if known {
            file.write_at(&image, place).map_err(|e| Error::io("restore a torn page", None, e))?;
            written += 1;
        }
        offset += bytes as u64;
    }
    if written > 0 {
        file.sync_data().map_err(|e| Error::io("sync restored pages", None, e))?;
    }
    Ok(restored)
}

fn verified(file: &dyn DiskFile, id: PageId, class: SizeClass, offset: u64, bytes: usize) -> Result<(bool, Vec<u8>)> {
    let mut image = vec![0; bytes];
    let n = file.read_at(&mut image, offset).map_err(|e| Error::io("read a page", None, e))?;
    Ok((n == bytes && load::verify(id, class, &image).is_ok(), image))
}
