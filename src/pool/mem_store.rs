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
}

impl PageStore for MemPageStore {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn first_page(&self) -> PageId {
        PageId::new(1)
    }

    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        match self.pages.lock().get(&id) {
            Some(bytes) if bytes.len() == out.len() => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            Some(_) => Err(Error::corrupted(Site::Page(id), "stored with another size")),
            None => Err(Error::corrupted(Site::Page(id), "never written")),
        }
    }

    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        let mut pages = self.pages.lock();
        for image in images {
            pages.insert(image.id, buffer[image.offset..image.offset + image.len].into());
        }
        Ok(())
    }

    fn grow(&self, _from: PageId, _end: PageId) -> Result<()> {
        Ok(())
    }

    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.pages.lock().insert(start, bytes.into());
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }
}
