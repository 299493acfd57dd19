//! Frames of pages that were freed as they were.

use super::BufferPool;
use super::frame::{DIRTY, WRITING};
use crate::types::PageId;

impl BufferPool {
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
        self.release_frame(place.class, place.frame);
    }
}
