//! The double-write area: a copy of every page that is about to be overwritten in place, so that a torn page can be
//! restored. InnoDB's remedy; here copies stay for a while, and serve more than one write.
//!
//! The area is a ring of **slots**, a batch each. A slot's batch:
//!
//! | offset | bytes | header |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4 | CRC-32 of bytes 12.. up to the last entry |
//! | 12 | 4 | number of entries |
//! | 16 | 8 | store id |
//! | 24 | 8 | batch number, rising by one |
//! | 32 | 32 | zero |
//! | 64 | 24 n | entries: page id with the size class in the top 8 bits (8 bytes), the page's LSN (8), checksum of the image (4), zero (4) |
//!
//! The images follow at [`HEADER_BYTES`], back to back in the order of the entries. Header and images are written at
//! once and durable before any page is touched in place: so a header that does not parse, or an image that is not the one
//! its entry names, belongs to a batch whose pages were never touched. The entry's checksum matters: behind the header of a
//! batch that was never synced may lie an older, intact image of the same page.
//!
//! **A slot is overwritten only when nothing relies on its copies any more** (P7): a sync of the page file succeeded that began
//! after the last write in place that could be mended with one of them. So the writes in place of many batches are synced by one
//! sync, and meanwhile the system's cache may take several writes of a page as one.
//!
//! **A copy serves as long as the log goes back to it** (P11): a page that is written again needs no new copy while the one of LSN
//! *x* is in the ring and every redo LSN that a recovery may start from is less than *x*. If the later image is torn, recovery puts
//! the copy back, and the log from *x* on brings it forward. A checkpoint ends that: it raises the floor to its redo LSN before
//! it syncs the page file, and that before it writes a superblock. PostgreSQL's full-page images follow the same rule; there they
//! lie in the log, and are made at the first change behind a checkpoint.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | a batch's format |
//! | [`area`] | where the slots lie |
//! | [`known`] | which pages have a copy |
//! | [`ring`] | which slot is next, who relies on which, whose copies serve |
//! | [`restore`] | recovery |

pub(super) mod area;
mod known;
pub(super) mod restore;
pub(super) mod ring;

use super::page_store::PageImage;
use crate::page::header;
use crate::types::{Lsn, PageId, SizeClass};

/// Where the area of a page file that has no file for its copies starts, in bytes: a ring of one slot.
pub const DOUBLE_WRITE_START: u64 = 128 << 10;
/// The header's length in bytes.
pub const HEADER_BYTES: usize = 8 << 10;
/// The length of that slot in bytes, and of others at most: its header, and 1 MiB of images.
pub const DOUBLE_WRITE_BYTES: u64 = HEADER_BYTES as u64 + (1 << 20);

const MAGIC: u64 = u64::from_le_bytes(*b"PBXcopy2");
const ENTRIES: usize = 64;
const ENTRY_BYTES: usize = 24;

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
        let (at, page) = (ENTRIES + i * ENTRY_BYTES, &copies[image.offset - HEADER_BYTES..]);
        header[at..at + 8].copy_from_slice(&word.to_le_bytes());
        header[at + 8..at + 16].copy_from_slice(&page[header::LSN..header::LSN + 8]);
        header[at + 16..at + 20].copy_from_slice(&page[header::CHECKSUM..header::CHECKSUM + 4]);
    }
    let sum = crc32fast::hash(&header[12..ENTRIES + images.len() * ENTRY_BYTES]);
    header[8..12].copy_from_slice(&sum.to_le_bytes());
}

/// The LSN of a page image.
pub(super) fn lsn_of(image: &[u8]) -> Lsn {
    Lsn::new(word(image, header::LSN))
}

/// A batch as found in a slot.
#[derive(Debug)]
struct Batch {
    number: u64,
    entries: Vec<Entry>,
}

/// What a header says of one of its copies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: PageId,
    class: SizeClass,
    lsn: Lsn,
    sum: u32,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn decode(header: &[u8], store_id: u64, page_size: usize) -> Option<Batch> {
    if header.len() < HEADER_BYTES || word(header, 0) != MAGIC || word(header, 16) != store_id {
        return None;
    }
    let count = (word(header, 8) >> 32) as usize;
    let entries = header.get(ENTRIES..ENTRIES.checked_add(count.checked_mul(ENTRY_BYTES)?)?)?;
    if crc32fast::hash(&header[12..ENTRIES + count * ENTRY_BYTES]) != word(header, 8) as u32 {
        return None;
    }
    let entries = entries
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| {
            let page = word(entry, 0);
            let (id, class) = (PageId::new(page & ((1 << 56) - 1)), SizeClass::new((page >> 56) as u8)?);
            let sound = id <= PageId::MAX && (page_size << class.get()) as u64 <= DOUBLE_WRITE_BYTES;
            // In front of it lie the superblocks.
            let sound = sound && id.get().saturating_mul(page_size as u64) > DOUBLE_WRITE_START;
            sound.then(|| Entry { id, class, lsn: Lsn::new(word(entry, 8)), sum: word(entry, 16) as u32 })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Batch { number: word(header, 24), entries })
}
