//! Writing pages of large values: once, to reserved space, before anything refers to them.
//!
//! Where a frame can be had without taking one from others, the image is made in it and written from it, past the system's
//! cache if there is such a way: so it lies in memory once. The frame then holds the page: what was just written is often
//! read soon. It starts cold, so that a value nobody reads is the first to go. Elsewhere the image goes through the
//! buffer of write-back and the system's cache, and there is no frame until a reader wants one.

use super::BufferPool;
use super::content::ContentPage;
use super::frame::ClaimedFrame;
use super::space::Extent;
use super::table::Place;
use super::view::PageRef;
use crate::error::Result;
use crate::page::bytes::PageWriter;
use crate::types::{PageId, SizeClass};

/// A page of a large value that was written from a frame nobody else knows of. Dropping it gives the frame back.
#[must_use]
pub struct WrittenContent<'p> {
    page: ContentPage,
    frame: ClaimedFrame<'p>,
}

impl BufferPool {
    /// The greatest class in which this pool writes pages of large values: at most 1 MiB, and what the budget has frames for.
    #[must_use]
    pub fn content_class(&self) -> SizeClass {
        SizeClass::new(self.frames.len() as u8 - 1).unwrap_or(SizeClass::ZERO)
    }

    /// Writes a page of a large value to reserved space, unsynced; what `content` does not fill is zero. It must fit the
    /// image, which must be of at most [`BufferPool::content_class`]. Waits for a batch of pages that is being written.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Poisoned`; nothing refers to the space, so nothing was changed.
    pub fn write_content(&self, page: &ContentPage, content: &[u8]) -> Result<()> {
        self.check_poison()?;
        let mut buffer = self.flushers.take();
        let image = buffer.image(page.units as usize * self.page_size);
        page.header().seal(&mut PageWriter::from_slice(image), content);
        self.store.write_unlogged(page.id, image)
    }

    /// As [`BufferPool::write_content`], from a frame, for [`BufferPool::keep`] to call it a page once it is synced; `None`,
    /// and nothing was written, if no frame of its class is free within the share of the budget that such pages have.
    ///
    /// # Errors
    /// As there.
    pub fn write_from_frame(&self, page: &ContentPage, content: &[u8]) -> Result<Option<WrittenContent<'_>>> {
        self.check_poison()?;
        let class = page.class();
        let Some(frame) = self.free_content_frame(class) else { return Ok(None) };
        let (header, data) = self.frame_parts(class, frame.id());
        let len = page.units as usize * self.page_size;
        {
            let _guard = header.latch.exclusive();
            // SAFETY: the exclusive latch is held (L3), the frame is mapped and at least as long as the image (P3).
            page.header().seal(&mut unsafe { PageWriter::new(data, len) }, content);
        }
        // The frame is claimed, so nobody else changes it in between (V2).
        let image = PageRef { pool: self, data, id: page.id, class, guard: header.latch.shared() };
        self.store.write_past(page.id, image.content(0, len))?;
        drop(image);
        Ok(Some(WrittenContent { page: *page, frame }))
    }

    /// The frame that a page was written from holds it from here on. After the sync, and with frames of the place's former
    /// life taken away, while nothing refers to the page yet (V1).
    pub fn keep(&self, written: WrittenContent<'_>) {
        let WrittenContent { page, frame } = written;
        let place = Place { class: page.class(), frame: frame.id() };
        let (header, _) = self.frame_parts(place.class, place.frame);
        let _guard = header.latch.exclusive();
        // Otherwise a reader that was held up since the place's former life has just loaded what was written.
        if self.table.insert(page.id, place).is_none() {
            header.set_page(page.id);
            header.set_cold();
            frame.hand_over();
        }
    }

    /// Makes all content written before durable, and the length of the file that it needs. After a failure, of this sync
    /// or of another one meanwhile, nobody knows what is on disk: the pool is poisoned then (P9).
    ///
    /// # Errors
    /// `Io`, `Poisoned`.
    pub fn sync_content(&self) -> Result<()> {
        self.check_poison()?;
        self.store.sync().inspect_err(|error| self.poison(&format!("syncing a large value failed: {error}")))?;
        self.check_poison()
    }

    /// Takes away every frame that holds a page at a place in `extent`, which is reserved: a node that lived there may be
    /// dirty still, and must not be written over what comes (pitfall: a page freed and reused while an older image is in
    /// a write batch). Waits for a write of such a frame, so no latch may be held.
    pub fn clear_frames(&self, extent: Extent) {
        for id in extent.start.get()..extent.end().get() {
            self.discard(PageId::new(id));
        }
    }

    /// Takes away the frame of a page that was freed, if nobody uses it at this moment. Its memory is free then; otherwise
    /// the clock hand finds it.
    pub fn drop_frame(&self, id: PageId) {
        let Some(place) = self.table.get(id) else { return };
        let frames = &self.frames[place.class.get() as usize];
        if frames.header(place.frame).is_some_and(|header| header.page() == id) {
            // What is claimed goes back to the free ones.
            drop(self.try_evict(frames, place.frame));
        }
    }
}
