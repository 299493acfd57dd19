//! Frames of pages that were freed as they were, and of those that have changed.

use super::BufferPool;
use super::frame::{DIRTY, WRITING};
use super::view::PageView;
use crate::types::{FrameId, PageId, SizeClass};

impl BufferPool {
    /// Shows `look` the class 0 pages that differ from their image on disk, until it returns false. What it reads counts
    /// once it has validated the view. Cost: a look at every frame's header.
    pub(crate) fn look_at_dirty(&self, mut look: impl FnMut(&PageView<'_>) -> bool) {
        let frames = &self.frames[0];
        for frame in (0..frames.used() as u32).map(FrameId::new) {
            let Some(header) = frames.header(frame).filter(|header| header.has(DIRTY)) else { continue };
            let id = header.page();
            if let Some(view) = self.view_of(id, SizeClass::ZERO, frame).filter(|_| !id.is_none())
                && !look(&view)
            {
                return;
            }
        }
    }

    /// The page `id` was freed: its frame, if it is unchanged and nobody is looking at it, is of more use to others. A
    /// changed one stays until it is written, for the log before the free may still be redone (C2).
    pub(crate) fn let_go(&self, id: PageId) {
        let Some(place) = self.table.get(id) else { return };
        let (header, _) = self.frame_parts(place.class, place.frame);
        let Some(guard) = header.latch.try_exclusive() else { return };
        if header.page() != id || header.has(DIRTY) || header.has(WRITING) {
            return;
        }
        self.table.remove(id, place.frame);
        header.set_page(PageId::NONE);
        drop(guard);
        // Back to the free ones.
        drop(self.frames[place.class.get() as usize].claimed(place.frame));
    }
}
