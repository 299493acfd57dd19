//! The buffers for writing pages: as many threads can at once.
//!
//! Whoever has one has a **turn**. No turn waits for a latch: it skips what is latched, and who must have that written waits for the
//! latch when his turn is over. So who holds latches may evict, and wait for a turn.

use super::double_write::HEADER_BYTES;
use super::flush::Copy;
use super::page_store::PageImage;
use crate::io::AlignedBuf;
use crate::sync::{Condvar, Mutex};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// The bounce buffer of write-back: room for the double-write header, then page copies back to back.
#[derive(Default)]
pub(super) struct FlushBuffer {
    pub(super) bytes: AlignedBuf,
    pub(super) images: Vec<PageImage>,
    pub(super) copies: Vec<Copy>,
    pub(super) used: usize,
}

impl FlushBuffer {
    fn new(bytes: usize) -> FlushBuffer {
        FlushBuffer { bytes: AlignedBuf::zeroed(bytes), used: HEADER_BYTES, ..FlushBuffer::default() }
    }

    /// Room for one page image of `len` bytes, which any class of the pool's is: for images that do not go out in a batch.
    pub(super) fn image(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[HEADER_BYTES..HEADER_BYTES + len]
    }

    pub(super) fn reset(&mut self) {
        self.images.clear();
        self.copies.clear();
        self.used = HEADER_BYTES;
    }
}

/// All buffers of a pool.
pub(crate) struct Flushers {
    state: Mutex<State>,
    /// Notified when one is given back.
    freed: Condvar,
    count: usize,
}

struct State {
    free: Vec<FlushBuffer>,
    /// Threads that want all of them: they come first.
    all_wanted: usize,
}

/// One of them, until it is dropped.
pub(super) struct Flusher<'p> {
    of: &'p Flushers,
    buffer: FlushBuffer,
}

impl Flushers {
    pub(super) fn new(n: usize, bytes: usize) -> Flushers {
        let free: Vec<FlushBuffer> = (0..n.max(1)).map(|_| FlushBuffer::new(bytes)).collect();
        let count = free.len();
        Flushers { state: Mutex::new(State { free, all_wanted: 0 }), freed: Condvar::new(), count }
    }

    /// One of them, as soon as it can be had.
    pub(super) fn take(&self) -> Flusher<'_> {
        let mut state = self.state.lock();
        loop {
            if state.all_wanted == 0
                && let Some(buffer) = state.free.pop()
            {
                return Flusher { of: self, buffer };
            }
            self.freed.wait(&mut state);
        }
    }

    /// All of them: nobody writes.
    pub(super) fn take_all(&self) -> Vec<Flusher<'_>> {
        let mut state = self.state.lock();
        state.all_wanted += 1;
        while state.free.len() < self.count {
            self.freed.wait(&mut state);
        }
        state.all_wanted -= 1;
        std::mem::take(&mut state.free).into_iter().map(|buffer| Flusher { of: self, buffer }).collect()
    }

    /// Waits for the end of a turn, whosever: its frames can be evicted then. At most for `timeout`. False if nobody has one.
    pub(super) fn wait_for_turn(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        let busy = state.free.len() < self.count;
        if busy {
            self.freed.wait_for(&mut state, timeout);
        }
        busy
    }

    pub(super) fn are_many(&self) -> bool {
        self.count > 1
    }
}

impl Drop for Flusher<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.of.state.lock().free.push(buffer);
        self.of.freed.notify_all();
    }
}

impl Deref for Flusher<'_> {
    type Target = FlushBuffer;

    fn deref(&self) -> &FlushBuffer {
        &self.buffer
    }
}

impl DerefMut for Flusher<'_> {
    fn deref_mut(&mut self) -> &mut FlushBuffer {
        &mut self.buffer
    }
}
