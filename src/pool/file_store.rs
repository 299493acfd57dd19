//! Pages in a file.

use super::double_write::{self, DOUBLE_WRITE_BYTES, DOUBLE_WRITE_START};
use super::page_store::{PageImage, PageStore};
use super::sync_gate::GatedFile;
use crate::error::{Error, Result, Site};
use crate::io::DiskFile;
use crate::page::bytes::PageWriter;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::types::PageId;
use std::path::PathBuf;

/// The page file of a store: superblocks (not its business), the double-write area, pages. After a sync of it that failed,
/// none succeeds (P9).
#[derive(Debug)]
pub struct FilePageStore {
    /// Behind its gate: all syncs go through this, whoever makes them.
    file: Arc<dyn DiskFile>,
    /// The same file, for what goes past the system's cache.
    past: Option<Arc<dyn DiskFile>>,
    /// Whether pages go past it too.
    direct: bool,
    path: PathBuf,
    page_size: usize,
    store_id: u64,
    /// The number of the last batch begun; held while a batch is under way, so that the area has one user (P7).
    begun: Mutex<u64>,
    /// The number of the last batch whose pages are all synced in place.
    completed: AtomicU64,
}

impl FilePageStore {
    /// Over an open page file, which nobody else may sync from here on. `retired` is the batch number in the superblock;
    /// pages of a later batch are made whole and durable first, unless `read_only`.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        page_size: usize,
        store_id: u64,
        retired: u64,
        read_only: bool,
    ) -> Result<FilePageStore> {
        let file: Arc<dyn DiskFile> = Arc::new(GatedFile::new(file));
        if !read_only {
            double_write::restore(&*file, page_size, store_id, retired)?;
        }
        let last = double_write::last_number(&*file, store_id)?.max(retired);
        let (begun, completed) = (Mutex::new(last), AtomicU64::new(last));
        Ok(FilePageStore { file, past: None, direct: false, path, page_size, store_id, begun, completed })
    }

    /// With the same file opened by [`Disk::open_direct`](crate::io::Disk::open_direct): the double-write area, which is only
    /// read after a crash, goes past the system's cache. With `pages` so do reads of pages into frames, and parts of large values
    /// that are written as whole pages; pages that are written in place, many at a time and anywhere, go through
    /// the cache, which has the disk work on all of them at once, and leave it when they are synced.
    #[must_use]
    pub fn with_direct(mut self, file: Arc<dyn DiskFile>, pages: bool) -> FilePageStore {
        self.direct = pages && file.is_direct();
        self.past = file.is_direct().then_some(file);
        self
    }

    /// The first page id behind superblocks and double-write area.
    #[must_use]
    pub fn first_page_of(page_size: usize) -> PageId {
        PageId::new((DOUBLE_WRITE_START + DOUBLE_WRITE_BYTES).div_ceil(page_size as u64))
    }

    /// The page file, for those who write other parts of it: its syncs are the ones that all others go by (P9).
    #[cfg(feature = "btree")]
    pub(crate) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// The number of the last batch that is wholly in place: what a superblock may call retired.
    #[must_use]
    pub fn completed_batch(&self) -> u64 {
        // Acquire: pairs with the Release in `write_batch`, so that the batch's sync lies before.
        self.completed.load(Ordering::Acquire)
    }

    /// Through which pages are read, and written where nobody refers to them yet.
    fn plain(&self) -> &dyn DiskFile {
        match &self.past {
            Some(past) if self.direct => &**past,
            _ => &*self.file,
        }
    }

    fn offset(&self, id: PageId) -> u64 {
        id.get().saturating_mul(self.page_size as u64)
    }

    /// Writes the header and the images of a batch to the area and makes them durable.
    fn write_area(&self, buffer: &[u8], begun: &mut u64) -> Result<()> {
        // Not a synced write of its own: where there is no such call, that is a sync of the whole file beside the gate (P9).
        let written = self.past.as_ref().unwrap_or(&self.file).write_at(buffer, DOUBLE_WRITE_START);
        written.map_err(|e| self.fail("write the double-write area", e))?;
        *begun += 1;
        self.file.sync_data().map_err(|e| self.fail_for_good("sync the double-write area", e))
    }

    /// Neighbours in the file that are neighbours in the buffer go out in one write.
    fn write_in_place(&self, buffer: &[u8], images: &[PageImage]) -> Result<()> {
        self.runs(images).try_for_each(|(at, bytes)| {
            let written = self.file.write_at(&buffer[bytes], at);
            written.map_err(|e| self.fail_for_good("write a page", e))
        })
    }

    /// Where in the file runs of neighbours lie, and where in the buffer.
    fn runs(&self, images: &[PageImage]) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
        let follows = |a: &PageImage, b: &PageImage| {
            a.offset + a.len == b.offset && self.offset(a.id) + a.len as u64 == self.offset(b.id)
        };
        images.chunk_by(follows).map(|run| {
            let (first, last) = (run[0], run[run.len() - 1]);
            (self.offset(first.id), first.offset..last.offset + last.len)
        })
    }

    /// Pages written in place are synced; a cache that is to be passed by lets them go.
    fn sync_in_place(&self, images: &[PageImage]) -> Result<()> {
        self.file.sync_data().map_err(|e| self.fail_for_good("sync pages", e))?;
        if self.direct {
            self.runs(images).for_each(|(at, bytes)| self.file.forget(at, bytes.len() as u64));
        }
        Ok(())
    }

    fn fail(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::io(op, Some(&self.path), error)
    }

    /// As `fail`, but never `NoSpace`: pages were touched, so the caller must not try again.
    fn fail_for_good(&self, op: &'static str, error: std::io::Error) -> Error {
        Error::Io { op, path: Some(self.path.clone()), source: std::sync::Arc::new(error) }
    }
}

fn beyond_end(id: PageId) -> Error {
    Error::corrupted(Site::Page(id), "lies beyond the end of the page file")
}

impl PageStore for FilePageStore {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn first_page(&self) -> PageId {
        Self::first_page_of(self.page_size)
    }

    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        let n = self.plain().read_at(out, self.offset(id)).map_err(|e| self.fail("read a page", e))?;
        if n < out.len() { Err(beyond_end(id)) } else { Ok(()) }
    }

    fn read_page(&self, id: PageId, page: &mut PageWriter<'_>) -> Result<()> {
        let n = self.plain().read_page(page, self.offset(id)).map_err(|e| self.fail("read a page", e))?;
        if n < page.len() { Err(beyond_end(id)) } else { Ok(()) }
    }

    fn prefetch(&self, id: PageId, len: usize) {
        self.plain().prefetch(self.offset(id), len as u64);
    }

    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        let mut begun = self.begun.lock();
        let number = *begun + 1;
        double_write::encode(buffer, self.store_id, number, images);
        // Nothing in place is touched before it is durable: an error up to here leaves every page whole.
        self.write_area(buffer, &mut begun)?;
        self.write_in_place(buffer, images)?;
        if !cfg!(pagebox_break = "double_write") {
            self.sync_in_place(images)?;
        }
        // Release: pairs with the Acquire in `completed_batch`.
        self.completed.store(number, Ordering::Release);
        Ok(())
    }

    fn write_fresh(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        self.write_in_place(buffer, images)?;
        self.sync_in_place(images)
    }

    fn grow(&self, from: PageId, end: PageId) -> Result<()> {
        let start = self.offset(from);
        self.file
            .allocate(start, self.offset(end).saturating_sub(start))
            .map_err(|e| self.fail("extend the page file", e))
    }

    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.plain().write_at(bytes, self.offset(start)).map_err(|e| self.fail("write unlogged pages", e))
    }

    fn write_past(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        let file = self.past.as_ref().unwrap_or(&self.file);
        file.write_at(bytes, self.offset(start)).map_err(|e| self.fail("write unlogged pages", e))
    }

    fn write_run(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.plain().write_at(bytes, self.offset(start)).map_err(|e| self.fail("write a run of pages", e))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| self.fail_for_good("sync the page file", e))
    }
}
