//! The miss: page table, claim a frame, read, verify, publish.

use super::BufferPool;
use super::frame::FrameHeader;
use super::lane::SlowLane;
use super::view::PageView;
use crate::error::{Error, Result, Site};
use crate::latch::ExclusiveGuard;
use crate::page::bytes::{PageReader, PageWriter};
use crate::page::header::{self, PageHeader};
use crate::sync::Ordering;
use crate::types::{FrameId, PageId, SizeClass};

use super::table::Place;

impl BufferPool {
    /// Where `id` is resident, after loading it if need be, and a view of it unless it left again at once.
    ///
    /// Concurrent loads of one page merge: the first enters its latched frame into the table, the others wait on its
    /// latch. `lane` provides frames where waiting for one is not allowed. Held by the caller: no latch that somebody
    /// who loads or evicts could need (L5).
    pub(super) fn find_or_load<'p>(
        &'p self,
        id: PageId,
        class: SizeClass,
        mut lane: Option<&mut SlowLane<'p>>,
    ) -> Result<(FrameId, Option<PageView<'p>>)> {
        if id.is_none() || id > PageId::MAX || class.get() as usize >= self.frames.len() {
            return Err(Error::corrupted(Site::Page(id), format!("no such page (class {})", class.get())));
        }
        loop {
            if let Some(place) = self.table.get(id) {
                if place.class != class {
                    return Err(Error::corrupted(Site::Page(id), "referred to with two size classes"));
                }
                // Waits for whoever is loading it.
                if let Some(view) = self.view_of(id, class, place.frame) {
                    return Ok((place.frame, Some(view)));
                }
                continue;
            }
            let frame = match lane.as_deref_mut() {
                Some(lane) => lane.take(class)?,
                None => self.acquire_frame(class)?,
            };
            let loaded = self.load_into(id, class, frame.id());
            if let Ok(true) = loaded {
                let frame = frame.hand_over();
                return Ok((frame, self.view_of(id, class, frame)));
            }
            if let Some(lane) = lane.as_deref_mut() {
                lane.put_back(frame);
            }
            loaded?;
        }
    }

    /// Loads `id` into `frame`, which is the caller's; false if somebody else was first. The frame holds the page if this
    /// is true, and none otherwise.
    fn load_into(&self, id: PageId, class: SizeClass, frame: FrameId) -> Result<bool> {
        let frames = &self.frames[class.get() as usize];
        let (header, data) = self.frame_parts(class, frame);
        // The latch is taken before the table names the frame: who finds it there waits until the bytes are verified.
        let guard = header.latch.exclusive();
        if self.table.insert(id, Place { class, frame }).is_some() {
            return Ok(false);
        }
        header.set_page(id);
        let mut loading = Loading { pool: self, header, id, frame, done: false, _guard: guard };
        // SAFETY: the exclusive latch is held (L3) and the frame is mapped (P3).
        let mut page = unsafe { PageWriter::new(data, frames.bytes) };
        let loaded = self.store.read_page(id, &mut page.reborrow()).and_then(|()| verify(id, class, page.as_slice()));
        if loaded.is_ok() {
            header.set_warmth(super::frame::WARM);
            // Relaxed: a statistic.
            self.counters.misses.fetch_add(1, Ordering::Relaxed);
            loading.done = true;
        }
        drop(loading);
        loaded.map(|()| true)
    }

    /// Verifies the image on disk of a page: for checks, with nothing held and no frame used.
    ///
    /// # Errors
    /// `Io` or `Corrupted`.
    pub fn verify_stored(&self, id: PageId, class: SizeClass) -> Result<()> {
        let mut buffer = vec![0; self.page_bytes(class)];
        self.store.read(id, &mut buffer).and_then(|()| verify(id, class, &buffer))
    }
}

/// A load under way. Unless it is done, nothing of it stays, also when the store panics: what is in the frame then
/// means nothing.
pub(super) struct Loading<'p> {
    pub(super) pool: &'p BufferPool,
    pub(super) header: &'p FrameHeader,
    pub(super) id: PageId,
    pub(super) frame: FrameId,
    pub(super) done: bool,
    /// Released after `Drop::drop` has run.
    pub(super) _guard: ExclusiveGuard<'p>,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.pool.table.remove(self.id, self.frame);
            self.header.set_page(PageId::NONE);
        }
    }
}

/// Checksum, id and class of an image as it lies on disk. Cost: one pass over the bytes.
pub(super) fn verify(id: PageId, class: SizeClass, bytes: &[u8]) -> Result<()> {
    let damaged = |detail: String| Error::corrupted(Site::Page(id), detail);
    let Ok(found) = PageHeader::read(PageReader::from_slice(bytes)) else {
        return Err(damaged("header out of range".into()));
    };
    let sum = header::checksum(bytes);
    if found.checksum != sum && !cfg!(pagebox_break = "page_checksum") {
        return Err(damaged(format!("checksum is {:08x}, header says {:08x}", sum, found.checksum)));
    }
    if found.id != id || found.class != class {
        return Err(damaged(format!("holds page {} of class {}", found.id, found.class.get())));
    }
    if found.swips(bytes.len()).is_err() {
        return Err(damaged("swip array out of range".into()));
    }
    Ok(())
}
