//! The slow lane: for an operation that was restarted too often, or that found no frame.
//!
//! One operation at a time, with frames of its own taken beforehand: so it never waits for a frame while it holds a latch,
//! and a latched path, a split and one miss always go through (64 threads on 64 frames make progress).

use super::BufferPool;
use super::frame::ClaimedFrame;
use super::view::{PageMut, PageRef};
use crate::error::{Error, Result};
use crate::sync::MutexGuard;
use crate::types::{PageId, SizeClass};

/// Exclusive use of the slow lane and of the frames reserved for it.
pub struct SlowLane<'p> {
    pool: &'p BufferPool,
    /// Given back before the next one gets its turn.
    pub(super) frames: Vec<ClaimedFrame<'p>>,
    _turn: MutexGuard<'p, ()>,
}

impl BufferPool {
    /// Waits for the slow lane and takes `frames` class 0 frames. Call it with no latch held.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`] if that many frames cannot be freed in the bounded wait.
    pub fn slow_lane(&self, frames: usize) -> Result<SlowLane<'_>> {
        let turn = self.lane.lock();
        let mut lane = SlowLane { pool: self, frames: Vec::with_capacity(frames), _turn: turn };
        while lane.frames.len() < frames {
            lane.frames.push(self.acquire_frame(SizeClass::ZERO)?);
        }
        Ok(lane)
    }
}

impl<'p> SlowLane<'p> {
    /// One of the lane's frames; of a greater class, one that is free. Waits for none: latches may be held, and who writes
    /// pages out could be waiting for them (L5).
    pub(super) fn take(&mut self, class: SizeClass) -> Result<ClaimedFrame<'p>> {
        let frame = if class == SizeClass::ZERO { self.frames.pop() } else { self.pool.free_frame(class) };
        frame.ok_or(Error::PoolExhausted { waited: std::time::Duration::ZERO })
    }

    /// A frame that was taken and not used after all: the lane has as many as before.
    pub(super) fn put_back(&mut self, frame: ClaimedFrame<'p>) {
        if frame.class() == SizeClass::ZERO {
            self.frames.push(frame);
        }
    }

    /// The page under its shared latch. Uses one of the lane's frames on a miss, so it may be called while shared latches
    /// of its ancestors are held: it then waits for no more than a page read and a writer of that page.
    ///
    /// # Errors
    /// As [`BufferPool::shared`]; `PoolExhausted` when the lane's frames are used up, or if no frame of a greater class is
    /// free.
    pub fn shared(&mut self, id: PageId, class: SizeClass) -> Result<PageRef<'p>> {
        let pool = self.pool;
        loop {
            let (frame, _) = pool.find_or_load(id, class, Some(self))?;
            let (header, data) = pool.frame_parts(class, frame);
            let guard = header.latch.shared();
            if header.page() == id {
                return Ok(PageRef { pool, data, id, class, guard });
            }
        }
    }

    /// The page under its exclusive latch; otherwise as [`SlowLane::shared`].
    ///
    /// # Errors
    /// As [`BufferPool::exclusive`]; `PoolExhausted` when the lane's frames are used up.
    pub fn exclusive(&mut self, id: PageId, class: SizeClass) -> Result<PageMut<'p>> {
        let pool = self.pool;
        loop {
            let (frame, _) = pool.find_or_load(id, class, Some(self))?;
            let (header, data) = pool.frame_parts(class, frame);
            let guard = header.latch.exclusive();
            if header.page() == id {
                return Ok(PageMut::new(pool, header, data, id, class, guard));
            }
        }
    }
}
