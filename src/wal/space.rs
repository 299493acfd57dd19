//! The account of log space, in file bytes: what is free to reserve, and the permits that hold it.
//!
//! The invariant: the bytes reserved never exceed what the prepared segments can take, whatever groups the records end
//! up in. So a flush always finds its place, and the log can only run out of room in [`reserve`](super::Wal::reserve),
//! before any latch. A permit holds one group's header and padding besides its record; a record that joins an open group
//! gives that back, many together.

use super::group::GROUP_OVERHEAD;
use crate::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

#[derive(Debug)]
pub(crate) struct Space {
    /// Capacity less reservations.
    free: CachePadded<AtomicU64>,
    /// What must stay free of all but the checkpoint.
    floor: AtomicU64,
    /// All that was ever added.
    grown: AtomicU64,
}

// Every access is relaxed: the counters order nothing. That a segment is ready is published by the segments' mutex, which
// the flush takes; the account only has to be exact, which read-modify-write operations are in any order.
impl Space {
    pub(crate) fn new() -> Space {
        Space { free: CachePadded::new(AtomicU64::new(0)), floor: AtomicU64::new(0), grown: AtomicU64::new(0) }
    }

    /// Takes what a record of `bytes` can need at most, if it is free.
    #[inline]
    pub(crate) fn take(&self, bytes: usize, checkpoint: bool) -> Option<LogPermit<'_>> {
        let need = bytes as u64 + GROUP_OVERHEAD;
        let floor = if checkpoint { 0 } else { self.floor.load(Ordering::Relaxed) };
        let fits = |free: u64| free.checked_sub(need).filter(|rest| *rest >= floor);
        let taken = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.ok().map(|_| LogPermit { space: self, bytes: bytes as u64, held: need })
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.free.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn grow(&self, bytes: u64) {
        self.grown.fetch_add(bytes, Ordering::Relaxed);
        self.give_back(bytes);
    }

    /// All that was ever added, whoever took it.
    pub(crate) fn grown(&self) -> u64 {
        self.grown.load(Ordering::Relaxed)
    }

    pub(crate) fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }
}

/// Room in the log for one record, held until it is appended or the permit is dropped.
#[must_use = "dropping a permit gives its room back"]
#[derive(Debug)]
pub struct LogPermit<'a> {
    space: &'a Space,
    /// The record it was taken for.
    bytes: u64,
    /// File bytes it holds.
    held: u64,
}

impl LogPermit<'_> {
    /// The greatest record this permit admits, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Takes the bytes of `record` for its group, and the overhead if it opens one; returns the rest, which the caller gives
    /// back. The record is no longer than [`LogPermit::bytes`].
    #[inline]
    pub(crate) fn spend(mut self, record: usize, opens_group: bool) -> u64 {
        let used = record as u64 + if opens_group { GROUP_OVERHEAD } else { 0 };
        debug_assert!(used <= self.held, "a record fits its permit");
        let rest = self.held.saturating_sub(used);
        self.held = 0;
        rest
    }
}

impl Drop for LogPermit<'_> {
    fn drop(&mut self) {
        self.space.give_back(self.held);
    }
}
