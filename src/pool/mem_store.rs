//! Pages kept in memory: for tests, and for engines whose pages live elsewhere.

use super::page_store::{PageImage, PageStore};
use crate::error::{Error, Result, Site};
use crate::sync::Mutex;
use crate::types::PageId;
use std::collections::HashMap;

/// A [`PageStore`] in memory. Not durable; nothing in it counts towards the pool's budget.
#[derive(Debug)]
pub struct MemPageStore {
    page_size: usize,
    pages: Mutex<HashMap<PageId, Box<[u8]>>>,
}

impl MemPageStore {
    /// An empty store of pages of `page_size` bytes.
    #[must_use]
    pub fn new(page_size: usize) -> MemPageStore {
        MemPageStore { page_size, pages: Mutex::new(HashMap::new()) }
    }

    /// Keeps bytes class 0 page by class 0 page, as a file would.
    fn put(&self, start: PageId, bytes: &[u8]) {
        let mut pages = self.pages.lock();
        for (i, bytes) in bytes.chunks(self.page_size).enumerate() {
            pages.insert(PageId::new(start.get() + i as u64), bytes.into());
        }
    }
}

impl PageStore for MemPageStore {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn first_page(&self) -> PageId {
        PageId::new(1)
    }

    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        let pages = self.pages.lock();
        for (i, out) in out.chunks_mut(self.page_size).enumerate() {
            let unit = PageId::new(id.get() + i as u64);
            match pages.get(&unit) {
                Some(bytes) if bytes.len() >= out.len() => out.copy_from_slice(&bytes[..out.len()]),
                _ => return Err(Error::corrupted(Site::Page(id), "never written")),
            }
        }
        Ok(())
    }

    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        for image in images {
            self.put(image.id, &buffer[image.offset..image.offset + image.len]);
        }
        Ok(())
    }

    fn grow(&self, _from: PageId, _end: PageId) -> Result<()> {
        Ok(())
    }

    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.put(start, bytes);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
