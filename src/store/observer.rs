//! The WAL rule, checked at the disk itself (P5): on disks that show their writes, no page may be written whose LSN is not
//! durable. The simulated disk does; a broken rule is a panic there.

use crate::io::WriteObserver;
use crate::page::bytes::PageReader;
use crate::page::header::{self, HEADER_BYTES, PageHeader};
use crate::pool::{FilePageStore, Snapshot};
use crate::types::{Lsn, PageId};
use crate::wal::Wal;
use std::path::{Path, PathBuf};
use std::sync::Weak;

/// Watches the writes to one page file.
pub(crate) struct WalRule {
    pub(crate) pages: PathBuf,
    pub(crate) page_size: usize,
    pub(crate) wal: Weak<Wal>,
}

impl WriteObserver for WalRule {
    fn on_write(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let page_size = self.page_size as u64;
        let id = PageId::new(offset / page_size);
        let Some(wal) = self.wal.upgrade() else { return Ok(()) };
        if path != self.pages || id < FilePageStore::first_page_of(self.page_size) || bytes.len() < HEADER_BYTES {
            return Ok(());
        }
        // An allocator snapshot has its magic where a page has checksum, kind, class and two zero bytes.
        if Snapshot::begins(bytes) {
            return Ok(());
        }
        // A page, or a run of pages written at once.
        let (mut id, mut rest) = (id, bytes);
        while rest.len() >= HEADER_BYTES {
            let Ok(page) = PageHeader::read(PageReader::from_slice(rest)) else {
                return Err(format!("what is written to {id:?} has no page header"));
            };
            let (image, behind) = rest.split_at(rest.len().min(self.page_size << page.class.get()));
            check(id, &page, image, wal.durable_lsn())?;
            (id, rest) = (PageId::new(id.get() + page.class.units()), behind);
        }
        Ok(())
    }
}

fn check(id: PageId, page: &PageHeader, image: &[u8], durable: Lsn) -> Result<(), String> {
    if page.id != id {
        return Err(format!("what is written to {id:?} says that it is {:?}", page.id));
    }
    if page.checksum != header::checksum(image) {
        return Err(format!("{id:?} is written with a wrong checksum"));
    }
    if page.lsn > durable {
        return Err(format!("P5: {id:?} of {} is written, the log is durable to {durable}", page.lsn));
    }
    Ok(())
}
