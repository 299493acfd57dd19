//! What the pool asks of whatever keeps the pages.

use crate::error::Result;
use crate::page::bytes::PageWriter;
use crate::types::{Lsn, PageId, SizeClass};

/// One page image in a write batch.
#[derive(Clone, Copy, Debug)]
pub struct PageImage {
    /// The page.
    pub id: PageId,
    /// Its size class.
    pub class: SizeClass,
    /// Where the image starts in the batch's buffer, in bytes.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
}

/// A medium for pages: a file ([`super::FilePageStore`]), or memory ([`super::MemPageStore`]).
pub trait PageStore: Send + Sync {
    /// The size of a class 0 page in bytes.
    fn page_size(&self) -> usize;

    /// The first page an allocation may return.
    fn first_page(&self) -> PageId;

    /// Reads the image of `id` into all of `out`. The caller verifies it.
    ///
    /// # Errors
    /// `Io`; `Corrupted` if the store is too short to hold it.
    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()>;

    /// As [`PageStore::read`], into the memory of the page's frame, which others may be reading meanwhile.
    ///
    /// # Errors
    /// As there; what is in the frame then is unknown.
    fn read_page(&self, id: PageId, page: &mut PageWriter<'_>) -> Result<()> {
        let mut buffer = vec![0; page.len()];
        self.read(id, &mut buffer)?;
        page.write(0, &buffer);
        Ok(())
    }

    /// Says that the `len` bytes of page `id` will be read soon, so that the medium may fetch them meanwhile. A hint: does
    /// not wait, and fails in silence.
    fn prefetch(&self, id: PageId, len: usize) {
        let _ = (id, len);
    }

    /// Writes all images so that after a crash each page is whole, old or new. Durable after the next [`PageStore::sync`]. The
    /// first 8 KiB of `buffer` are the store's to use; images lie back to back behind them.
    ///
    /// # Errors
    /// [`crate::Error::NoSpace`] only if no page was touched: the caller may try again. After any other error it may not.
    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()>;

    /// As [`PageStore::write_batch`], for pages that redo makes from nothing if their images are torn (P10).
    ///
    /// # Errors
    /// As there.
    fn write_fresh(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        self.write_batch(buffer, images)
    }

    /// Whether the store has a copy of the page, from an earlier batch, from which redo can bring forward what
    /// [`PageStore::write_again`] may leave torn (P11). Asked for each page that is written; what it answers holds until a batch is
    /// written or the floor rises.
    fn has_copy(&self, id: PageId) -> bool {
        let _ = id;
        false
    }

    /// As [`PageStore::write_batch`], for pages that the store has copies of: after a crash each page is whole, old or new, or what
    /// it was when its copy was made.
    ///
    /// # Errors
    /// As there.
    fn write_again(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        self.write_batch(buffer, images)
    }

    /// Redo may begin at `redo` from now on: copies of pages up to that LSN are not enough any more. Called while no pages are
    /// written, and before the sync that ends with the superblock's.
    fn raise_floor(&self, redo: Lsn) {
        let _ = redo;
    }

    /// Makes room for all pages below `end`, where `from` is the present end.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn grow(&self, from: PageId, end: PageId) -> Result<()>;

    /// Writes unlogged bytes at the place of `start`, without syncing.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()>;

    /// As [`PageStore::write_unlogged`], for bytes that stay in memory: a store may pass the system's cache, which would only
    /// hold them once more. They start at a multiple of 4,096 in memory and are whole pages.
    ///
    /// # Errors
    /// As there.
    fn write_past(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.write_unlogged(start, bytes)
    }

    /// Writes the images of consecutive class 0 pages from `start` on, without syncing.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    fn write_run(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        let mut images = (start.get()..).zip(bytes.chunks(self.page_size()));
        images.try_for_each(|(id, page)| self.write_unlogged(PageId::new(id), page))
    }

    /// Makes all earlier writes durable. Called from many threads at once, beside `write_batch`, whose syncs count as well:
    /// after one that failed, none may succeed any more, whoever asks for it (P9).
    ///
    /// # Errors
    /// `Io`; nothing may be trusted after it.
    fn sync(&self) -> Result<()>;
}
