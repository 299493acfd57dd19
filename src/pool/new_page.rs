//! Pages that come into being: place and frame are taken before any latch, so that nothing can fail after the append (W5).

use super::BufferPool;
use super::frame::ClaimedFrame;
use super::table::Place;
use super::view::PageMut;
use crate::error::Result;
use crate::page::bytes::PageWriter;
use crate::sync::Ordering;
use crate::types::{FrameId, PageId, SizeClass};

/// A place in the page file and a frame, reserved for a page. Dropping it gives both back.
pub struct NewPage<'p> {
    pool: &'p BufferPool,
    id: PageId,
    class: SizeClass,
    frame: Option<ClaimedFrame<'p>>,
}

impl BufferPool {
    /// Reserves a place in the page file and a frame for a new page. May extend the file, evict and wait: call it with no
    /// latch held.
    ///
    /// # Errors
    /// `NoSpace`, `PoolExhausted`, `Io`, `Poisoned`.
    pub fn reserve(&self, class: SizeClass) -> Result<NewPage<'_>> {
        let frame = self.acquire_frame(class)?;
        let new = NewPage { pool: self, id: self.allocator.reserve(class)?, class, frame: Some(frame) };
        self.discard(new.id);
        Ok(new)
    }

    /// Recovery only: the page that an initializing record names, in a zeroed frame, without reading it (the image on disk
    /// may be anything). If it is resident already, that frame is used and zeroed.
    ///
    /// # Errors
    /// `PoolExhausted`, `Corrupted` for an impossible id.
    pub fn redo_init(&self, id: PageId, class: SizeClass) -> Result<PageMut<'_>> {
        if id.is_none() || id > PageId::MAX || class.get() as usize >= self.frames.len() {
            return Err(crate::error::Error::corrupted(crate::error::Site::Page(id), "no such page"));
        }
        // A resident frame of another class is a former life of the place.
        if self.table.get(id).is_some_and(|place| place.class != class) {
            self.discard(id);
        }
        if self.table.get(id).is_some() {
            let page = self.exclusive(id, class)?;
            // SAFETY: the exclusive latch is held (L3) and the frame is mapped (P3).
            unsafe { PageWriter::new(page.data, self.page_bytes(class)) }.fill(0, self.page_bytes(class), 0);
            return Ok(page);
        }
        let frame = self.acquire_frame(class)?;
        Ok(NewPage { pool: self, id, class, frame: Some(frame) }.into_page())
    }

    /// Throws away the frame of a page that is no more, without writing it: its place is about to be used anew.
    pub(super) fn discard(&self, id: PageId) {
        while let Some(place) = self.table.get(id) {
            let (header, _) = self.frame_parts(place.class, place.frame);
            // Never waits for a frame: the caller may hold latches, and the frame may be another page's by now (L5).
            if let Some(guard) = header.latch.try_exclusive()
                && header.page() == id
                && !header.has(super::frame::WRITING)
            {
                header.clear(super::frame::DIRTY | super::frame::FRESH);
                self.table.remove(id, place.frame);
                header.set_page(PageId::NONE);
                drop(guard);
                drop(self.frames[place.class.get() as usize].claimed(place.frame));
                return;
            }
            crate::sync::thread::yield_now();
        }
    }
}

impl<'p> NewPage<'p> {
    /// The id the page will have.
    #[must_use]
    pub fn id(&self) -> PageId {
        self.id
    }

    /// Its size class.
    #[must_use]
    pub fn class(&self) -> SizeClass {
        self.class
    }

    /// The frame it will be in, as a hint for references to it.
    #[must_use]
    pub fn frame(&self) -> FrameId {
        self.frame.as_ref().map_or(FrameId::NONE, ClaimedFrame::id)
    }

    /// The page, zeroed and exclusively latched. Cannot fail. From here on the place belongs to the record that is about
    /// to be appended; whoever appends it tells the allocator ([`super::Allocator::apply_allocation`]).
    #[must_use]
    pub fn into_page(self) -> PageMut<'p> {
        self.take(true)
    }

    /// [`NewPage::into_page`] for whoever writes every byte of it: it holds what the frame held before.
    #[must_use]
    #[cfg(feature = "btree")]
    pub(crate) fn into_unwritten(self) -> PageMut<'p> {
        self.take(false)
    }

    fn take(mut self, zeroed: bool) -> PageMut<'p> {
        let claimed = self.frame.take().unwrap_or_else(|| unreachable!("a reservation has its frame until it is used"));
        let (pool, frame) = (self.pool, claimed.id());
        let frames = &pool.frames[self.class.get() as usize];
        let header = frames.header(frame).unwrap_or_else(|| unreachable!("P2: reserved frames exist"));
        let data = frames.data(frame);
        // Waits at most for a reader with a stale hint, who leaves when it sees that this is not its page.
        let guard = header.latch.exclusive();
        while pool.table.insert(self.id, Place { class: self.class, frame }).is_some() {
            // A reader that was held up since before the place's former page was freed has loaded that page once more.
            // It is clean and nobody refers to it; whoever loads it needs none of our latches (L5).
            pool.discard(self.id);
        }
        claimed.hand_over();
        header.set_page(self.id);
        header.set_warmth(super::frame::WARM);
        if zeroed {
            // SAFETY: the exclusive latch is held (L3) and the frame is mapped (P3).
            unsafe { PageWriter::new(data, frames.bytes) }.fill(0, frames.bytes, 0);
        }
        PageMut::new(pool, header, data, self.id, self.class, guard)
    }
}

impl Drop for NewPage<'_> {
    fn drop(&mut self) {
        if self.frame.is_some() {
            self.pool.allocator.unreserve(self.id, self.class);
        }
    }
}

impl BufferPool {
    /// Bytes of frame memory in use at this moment.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        // Relaxed: a statistic here; the bound is kept by the compare-exchange in `commit_bytes`.
        self.resident.load(Ordering::Relaxed)
    }
}
