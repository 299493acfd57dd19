//! Recovery: pages that are torn in place get their copies back.

use super::area::Area;
use super::{Batch, Entry, HEADER_BYTES, decode};
use crate::error::{Error, Result};
use crate::io::{AlignedBuf, DiskFile};
use crate::page::header;
use crate::pool::load;
use crate::types::{Lsn, PageId, SizeClass};
use std::collections::HashSet;

/// What the areas hold.
pub(in crate::pool) struct Found<'a> {
    /// With the area and the place in it that each is at, the newest first.
    batches: Vec<(&'a Area, u64, Batch)>,
}

impl<'a> Found<'a> {
    /// Looks at the headers of all slots.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::pool) fn read(areas: &[&'a Area], store_id: u64, page_size: usize) -> Result<Found<'a>> {
        let mut batches = Vec::new();
        let mut header = AlignedBuf::zeroed(HEADER_BYTES);
        for area in areas {
            for slot in 0..area.slots()? {
                let n = area.file().read_at(&mut header, area.at(slot));
                let n = n.map_err(|e| Error::io("read the double-write header", None, e))?;
                if n == HEADER_BYTES
                    && let Some(batch) = decode(&header, store_id, page_size)
                {
                    batches.push((*area, area.at(slot), batch));
                }
            }
        }
        batches.sort_unstable_by_key(|(.., batch)| std::cmp::Reverse(batch.number));
        Ok(Found { batches })
    }

    /// The greatest batch number, 0 if there is none.
    pub(in crate::pool) fn last_number(&self) -> u64 {
        self.batches.first().map_or(0, |(.., batch)| batch.number)
    }

    /// Over each page whose image in place does not verify, writes the newest intact copy of it that may be needed: one of a batch
    /// behind `retired`, whose pages are not known to be in place, or one behind the redo LSN, which later writes may have relied
    /// on (P11). Older ones are never looked at: their pages are known to be whole, and their places may belong to others by now.
    ///
    /// An image in place that verifies is written again as it is. What reads show is no proof of being on disk: if the batch
    /// ended with a failed sync and the system has not been down since, the image may be torn there, and the next batch would
    /// take away the one intact copy (P7). One sync for all.
    ///
    /// # Errors
    /// `Io`.
    pub(in crate::pool) fn restore(
        &self,
        pages: &dyn DiskFile,
        page_size: usize,
        retired: u64,
        redo: Lsn,
    ) -> Result<()> {
        let mut settled = HashSet::new();
        for (area, at, batch) in &self.batches {
            let mut at = at + HEADER_BYTES as u64;
            for entry in &batch.entries {
                let copy = at;
                at += (page_size << entry.class.get()) as u64;
                let wanted = batch.number > retired || entry.lsn > redo;
                if wanted
                    && !settled.contains(&entry.id)
                    && let Some(image) = sound(area.file(), pages, page_size, entry, copy)?
                {
                    let place = entry.id.get().saturating_mul(page_size as u64);
                    pages.write_at(&image, place).map_err(|e| Error::io("restore a torn page", None, e))?;
                    settled.insert(entry.id);
                }
            }
        }
        if !settled.is_empty() {
            pages.sync_data().map_err(|e| Error::io("sync restored pages", None, e))?;
        }
        Ok(())
    }
}

/// The image in place, if it verifies; else the copy, if it is the one that its entry names.
fn sound(
    copies: &dyn DiskFile,
    pages: &dyn DiskFile,
    page_size: usize,
    entry: &Entry,
    copy: u64,
) -> Result<Option<Vec<u8>>> {
    let Entry { id, class, .. } = *entry;
    let bytes = page_size << class.get();
    let place = id.get().saturating_mul(page_size as u64);
    let (whole, image) = verified(pages, id, class, place, bytes)?;
    if whole {
        return Ok(Some(image));
    }
    let (intact, image) = verified(copies, id, class, copy, bytes)?;
    let named = intact && image[header::CHECKSUM..header::CHECKSUM + 4] == entry.sum.to_le_bytes();
    Ok(named.then_some(image))
}

fn verified(file: &dyn DiskFile, id: PageId, class: SizeClass, offset: u64, bytes: usize) -> Result<(bool, Vec<u8>)> {
    let mut image = vec![0; bytes];
    let n = file.read_at(&mut image, offset).map_err(|e| Error::io("read a page", None, e))?;
    Ok((n == bytes && load::verify(id, class, &image).is_ok(), image))
}
