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
use std::time::{Duration, Instant};

/// The bounce buffer of write-back: room for the double-write header, then page copies back to back.
#[derive(Default)]
pub(super) struct FlushBuffer {
    pub(super) bytes: AlignedBuf,
    pub(super) images: Vec<PageImage>,
    pub(super) copies: Vec<Copy>,
    pub(super) used: usize,
    /// Whether pages were marked as being written in this turn.
    pub(super) marked: bool,
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
    /// Turns that have ended, of those with pages that nobody could evict meanwhile.
    ended: u64,
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
        Flushers { state: Mutex::new(State { free, ended: 0, all_wanted: 0 }), freed: Condvar::new(), count }
    }

    /// One of them, as soon as it can be had.
    pub(super) fn take(&self) -> Flusher<'_> {
        let mut state = self.state.lock();
        loop {
            if let Some(flusher) = self.pop(&mut state) {
                return flusher;
            }
            self.freed.wait(&mut state);
        }
    }

    /// As `take`, but at most for about `timeout`.
    pub(super) fn take_within(&self, timeout: Duration) -> Option<Flusher<'_>> {
        let started = Instant::now();
        let mut state = self.state.lock();
        loop {
            if let Some(flusher) = self.pop(&mut state) {
                return Some(flusher);
            }
            let left = timeout.checked_sub(started.elapsed())?;
            self.freed.wait_for(&mut state, left);
        }
    }

    /// One of them, if there is one now.
    pub(super) fn try_take(&self) -> Option<Flusher<'_>> {
        self.pop(&mut self.state.lock())
    }

    fn pop(&self, state: &mut State) -> Option<Flusher<'_>> {
        if state.all_wanted > 0 {
            return None;
        }
        state.free.pop().map(|buffer| Flusher { of: self, buffer })
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

    /// How many turns have ended that others may wait for.
    pub(super) fn ended(&self) -> u64 {
        self.state.lock().ended
    }

    /// Waits, at most for about `timeout`, until more turns have ended than the `seen` ones, whosever: their frames can be evicted
    /// then; or until nobody has a turn. False if there is nothing to wait for.
    pub(super) fn wait_for_turn(&self, seen: u64, timeout: Duration) -> bool {
        let started = Instant::now();
        let mut state = self.state.lock();
        let mut waited = state.ended != seen;
        while state.ended == seen && state.free.len() < self.count {
            let Some(left) = timeout.checked_sub(started.elapsed()) else { break };
            self.freed.wait_for(&mut state, left);
            waited = true;
        }
        waited
    }

    pub(super) fn are_many(&self) -> bool {
        self.count > 1
    }
}

impl Drop for Flusher<'_> {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let marked = std::mem::take(&mut buffer.marked);
        let mut state = self.of.state.lock();
        state.free.push(buffer);
        state.ended += u64::from(marked);
        drop(state);
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
