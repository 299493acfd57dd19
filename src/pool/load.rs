//! The miss: page table, claim a frame, read, verify, publish.

use super::BufferPool;
use super::lane::SlowLane;
use super::view::PageView;
use crate::error::{Error, Result, Site};
use crate::page::bytes::{PageReader, PageWriter};
use crate::page::header::{self, PageHeader};
use crate::sync::Ordering;
use crate::types::{FrameId, PageId, SizeClass};

use super::table::Place;

/// Read buffers kept for reuse; more threads than that missing at once allocate for the moment.
const KEPT_BUFFERS: usize = 4;

impl BufferPool {
    /// Where `id` is resident, after loading it if need be, and a view of it unless it left again at once.
    ///
    /// Concurrent loads of one page merge: the first enters its latched frame into the table, the others wait on its
    /// latch. `lane` provides frames where waiting for one is not allowed. Held by the caller: no latch that somebody
    /// who loads or evicts could need (L5).
    pub(super) fn find_or_load(
        &self,
        id: PageId,
        class: SizeClass,
        mut lane: Option<&mut SlowLane<'_>>,
    ) -> Result<(FrameId, Option<PageView<'_>>)> {
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
            if self.load_into(id, class, frame)? {
                return Ok((frame, self.view_of(id, class, frame)));
            }
        }
    }

    /// Loads `id` into `frame`; false if somebody else was first (the frame is given back then, as on errors).
    fn load_into(&self, id: PageId, class: SizeClass, frame: FrameId) -> Result<bool> {
        let frames = &self.frames[class.get() as usize];
        let (header, data) = self.frame_parts(class, frame);
        // The latch is taken before the table names the frame: who finds it there waits until the bytes are verified.
        let guard = header.latch.exclusive();
        if self.table.insert(id, Place { class, frame }).is_some() {
            drop(guard);
            frames.give_back(frame);
            return Ok(false);
        }
        header.set_page(id);
        let mut buffer = self.take_buffer(frames.bytes);
        let loaded = self.store.read(id, &mut buffer).and_then(|()| verify(id, class, &buffer));
        match loaded {
            Ok(()) => {
                // SAFETY: the exclusive latch is held (L3) and the frame is mapped (P3).
                let mut page = unsafe { PageWriter::new(data, frames.bytes) };
                page.write(0, &buffer);
                header.set_warmth(super::frame::WARM);
                // Relaxed: a statistic.
                self.counters.misses.fetch_add(1, Ordering::Relaxed);
                drop(guard);
                self.keep_buffer(buffer);
                Ok(true)
            }
            Err(error) => {
                self.table.remove(id, frame);
                header.set_page(PageId::NONE);
                drop(guard);
                frames.give_back(frame);
                self.keep_buffer(buffer);
                Err(error)
            }
        }
    }

    /// Verifies the image on disk of a page: for checks, with nothing held and no frame used.
    ///
    /// # Errors
    /// `Io` or `Corrupted`.
    pub fn verify_stored(&self, id: PageId, class: SizeClass) -> Result<()> {
        let mut buffer = self.take_buffer(self.page_bytes(class));
        let result = self.store.read(id, &mut buffer).and_then(|()| verify(id, class, &buffer));
        self.keep_buffer(buffer);
        result
    }

    fn take_buffer(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.read_buffers.lock().pop().unwrap_or_default();
        buffer.resize(bytes, 0);
        buffer
    }

    fn keep_buffer(&self, buffer: Vec<u8>) {
        let mut kept = self.read_buffers.lock();
        if kept.len() < KEPT_BUFFERS && buffer.capacity() <= 2 * self.page_size {
            kept.push(buffer);
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
    if found.swip_offset + found.swip_count * 8 > bytes.len() {
        return Err(damaged("swip array out of range".into()));
    }
    Ok(())
}
