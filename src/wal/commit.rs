//! Making appends durable: leader and followers.
//!
//! Whoever needs durability and finds no flush running becomes the leader: it swaps the append buffer for the spare one,
//! writes what it took as one group, syncs, publishes the new durable LSN and wakes the others. Those who came meanwhile
//! wait, and one of them leads the next group, which holds all that they appended. A lone writer so pays one write and
//! one sync, without a hand-over between threads.
//!
//! One flush at a time means that each group is durable before the next is written: the durable log is a prefix (W1).

use super::append::{Taken, new_buffer};
use super::group::{GroupHeader, HEADER, seal};
use super::log::Wal;
use crate::error::{Error, Result, Site};
use crate::io::AlignedBuf;
use crate::sync::{Arc, Ordering};
use crate::types::Lsn;
use std::time::Duration;

/// Who flushes, under the flush lock.
#[derive(Debug)]
pub(crate) struct Flush {
    /// Whether a leader is at work; it has the spare buffer then.
    running: bool,
    /// An empty group buffer.
    spare: AlignedBuf,
    /// The greatest LSN asked for by [`Wal::request_flush`].
    requested: Lsn,
    /// Whether a waiting background flusher is to come back though nothing was asked for.
    nudged: bool,
    groups: u64,
    group_bytes: u64,
}

impl Flush {
    pub(crate) fn new(capacity: usize) -> Flush {
        let spare = new_buffer(capacity);
        Flush { running: false, spare, requested: Lsn::NONE, nudged: false, groups: 0, group_bytes: 0 }
    }

    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.groups, self.group_bytes)
    }
}

/// Who makes a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Somebody who holds nothing: wakers, which are foreign code, may run here.
    Free,
    /// Somebody who may hold latches, or locks that foreign code could want: it is left to others.
    Holding,
}

/// Ends a leader's turn, also when the disk panics below it: then the log is poisoned and nobody waits for ever.
struct Turn<'a> {
    wal: &'a Wal,
    caller: Caller,
    buf: AlignedBuf,
    written: Option<u64>,
    finished: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.wal.poison.set("a thread panicked while it wrote the log".into());
        }
        self.buf.truncate(HEADER);
        let mut flush = self.wal.flush.lock();
        flush.running = false;
        flush.spare = std::mem::take(&mut self.buf);
        if let Some(bytes) = self.written {
            flush.groups += 1;
            flush.group_bytes += bytes;
        }
        self.wal.flushed.notify_all();
        drop(flush);
        self.wal.wake_wakers(self.caller);
    }
}

impl Wal {
    /// Returns when every record up to `lsn` is durable. The caller may write and sync the log for all meanwhile.
    /// Positions beyond the last append count as the last append, so [`Lsn::MAX`] is everything. Costs one atomic load
    /// if `lsn` is durable already, otherwise up to two syncs.
    ///
    /// # Errors
    /// [`Error::Poisoned`] if a write or sync failed, now or earlier: whether the record survives is unknown until the
    /// log is opened again.
    pub fn commit(&self, lsn: Lsn) -> Result<()> {
        self.commit_by(lsn, Caller::Free)
    }

    /// As [`Wal::commit`], for somebody who may hold what foreign code could want, a checkpoint's lock, say: the wakers are left
    /// to the background flusher and to who next holds nothing.
    #[cfg(feature = "btree")]
    pub(crate) fn commit_holding(&self, lsn: Lsn) -> Result<()> {
        self.commit_by(lsn, Caller::Holding)
    }

    fn commit_by(&self, lsn: Lsn, caller: Caller) -> Result<()> {
        if caller == Caller::Free {
            // What is durable already may be so by a flush that left its wakers.
            self.wake_due();
        }
        let lsn = lsn.min(self.position());
        loop {
            if self.durable_lsn() >= lsn {
                return Ok(());
            }
            self.poison.check()?;
            self.flush_or_wait(caller);
        }
    }

    /// As [`commit`](Wal::commit), and returns the durable LSN, which may be greater.
    ///
    /// # Errors
    /// As [`commit`](Wal::commit).
    pub fn wait_durable(&self, lsn: Lsn) -> Result<Lsn> {
        self.commit(lsn)?;
        Ok(self.durable_lsn())
    }

    /// Asks whoever sits in [`wait_flush_request`](Wal::wait_flush_request) to make `lsn` durable; does not wait.
    pub fn request_flush(&self, lsn: Lsn) {
        if self.durable_lsn() >= lsn {
            return;
        }
        let mut flush = self.flush.lock();
        flush.requested = flush.requested.max(lsn);
        drop(flush);
        self.work.notify_one();
    }

    /// For a background flusher: returns the LSN to commit when someone called [`request_flush`](Wal::request_flush), or
    /// `None` after `timeout`, after [`nudge_flusher`](Wal::nudge_flusher), or when the log is poisoned.
    #[must_use]
    pub fn wait_flush_request(&self, timeout: Duration) -> Option<Lsn> {
        let mut flush = self.flush.lock();
        let open = |requested: Lsn| requested > self.durable_lsn();
        // Relaxed: set under the lock, or before a notification that needs it.
        let idle = !open(flush.requested) && !flush.nudged && !self.wakers_due.load(Ordering::Relaxed);
        if idle && !self.poison.is_set() {
            self.work.wait_for(&mut flush, timeout);
        }
        flush.nudged = false;
        let wanted = (open(flush.requested) && !self.poison.is_set()).then_some(flush.requested);
        drop(flush);
        self.wake_due();
        wanted
    }

    /// Makes [`wait_flush_request`](Wal::wait_flush_request) return, so that the flusher sees what else changed (that
    /// the store closes, say).
    pub fn nudge_flusher(&self) {
        self.flush.lock().nudged = true;
        self.work.notify_all();
    }

    /// Declares what is on disk unknown: from here on nothing becomes durable, and every waiter gets
    /// [`Error::Poisoned`] with the first cause given.
    pub fn poison(&self, cause: impl Into<Arc<str>>) {
        self.poison.set(cause.into());
        self.wake_all(Caller::Free);
    }

    /// As [`Wal::poison`], for somebody who may hold latches: the wakers, which are foreign code, are left to the
    /// background flusher and to who next holds nothing.
    #[cfg(feature = "btree")]
    pub(crate) fn poison_latched(&self, cause: impl Into<Arc<str>>) {
        self.poison.set(cause.into());
        self.wake_all(Caller::Holding);
    }

    /// Whether the log is poisoned. Cost: one atomic load.
    #[must_use]
    #[inline(always)]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// The error that a poisoned log answers with; `None` if it is sound. One atomic load then.
    #[must_use]
    pub fn poisoned(&self) -> Option<Error> {
        self.poison.error()
    }

    /// Wakes all who wait, after the poison was set.
    pub(crate) fn wake_all(&self, caller: Caller) {
        // Under the lock, so that nobody is between having looked and starting to wait.
        let flush = self.flush.lock();
        self.flushed.notify_all();
        self.work.notify_all();
        drop(flush);
        self.wake_wakers(caller);
    }

    /// Waits for the flush under way. After the poison was set none begins.
    #[cfg(feature = "btree")]
    pub(crate) fn wait_for_flush(&self) {
        let mut flush = self.flush.lock();
        while flush.running {
            self.flushed.wait(&mut flush);
        }
    }

    /// Runs the wakers that are due, or leaves that to the background flusher and to who next holds nothing.
    fn wake_wakers(&self, caller: Caller) {
        if caller == Caller::Free {
            return self.wake_ready();
        }
        let flush = self.flush.lock();
        // Release: pairs with the Acquire in `wake_due`, so that who takes it sees what has become durable, or the poison.
        self.wakers_due.store(true, Ordering::Release);
        self.work.notify_one();
        drop(flush);
    }

    /// Runs what others have left. Called with no latch and no lock held.
    #[inline]
    pub(crate) fn wake_due(&self) {
        // Acquire: pairs with the Release in `wake_wakers`.
        if self.has_due_wakers() && self.wakers_due.swap(false, Ordering::Acquire) {
            self.wake_ready();
        }
    }

    /// Whether others have left wakers. One load.
    #[inline]
    pub(crate) fn has_due_wakers(&self) -> bool {
        // Relaxed: a hint; whoever takes the wakers asks again.
        self.wakers_due.load(Ordering::Relaxed)
    }

    /// One round: waits for the flush that runs, or makes one. False if the log is poisoned.
    pub(crate) fn flush_or_wait(&self, caller: Caller) -> bool {
        let mut flush = self.flush.lock();
        if self.poison.is_set() {
            return false;
        }
        if flush.running {
            self.flushed.wait(&mut flush);
            return !self.poison.is_set();
        }
        flush.running = true;
        let buf = std::mem::take(&mut flush.spare);
        drop(flush);
        let mut turn = Turn { wal: self, caller, buf, written: None, finished: false };
        match self.lead(&mut turn.buf) {
            Ok(written) => turn.written = written,
            // Before any waiter wakes, which happens as `turn` ends.
            Err(error) => self.poison.set(cause_of(&error)),
        }
        turn.finished = true;
        drop(turn);
        !self.poison.is_set()
    }

    /// Writes what was appended as one group and syncs it; returns its file bytes, `None` if there was nothing.
    fn lead(&self, buf: &mut AlignedBuf) -> Result<Option<u64>> {
        let Some(taken) = self.tail.appender.lock().take(buf) else { return Ok(None) };
        // A poisoned log may lack bytes of what was appended.
        self.poison.check()?;
        let Taken { start, end, account } = taken;
        let records = (buf.len() - HEADER) as u64;
        if end.get().checked_sub(start.get()) != Some(records) {
            return Err(Error::corrupted(Site::Log(start), "the append buffer does not match its positions"));
        }
        let bytes = (buf.len() as u64).next_multiple_of(super::group::BLOCK);
        let slot = self.segments.place(bytes, start, &self.space)?;
        let header = GroupHeader {
            crc: 0,
            store_id: self.store_id,
            incarnation: self.incarnation,
            start,
            durable: self.durable_lsn(),
            len: 0,
            prev_crc: slot.at.prev_crc,
        };
        let crc = seal(buf, &header);
        debug_assert_eq!(buf.len() as u64, bytes, "a group is as long as its place");
        let failed = |e| Error::io("write log", None, e);
        if self.options().sync_method.in_one_call(&*slot.file) {
            slot.file.write_at_sync(buf, slot.at.offset).map_err(failed)?;
        } else {
            slot.file.write_at(buf, slot.at.offset).map_err(failed)?;
            if !cfg!(pagebox_break = "early_ack") {
                slot.file.sync_data().map_err(|e| Error::io("sync log", None, e))?;
            }
        }
        // Poisoned meanwhile, by others than this log: what the records rely on may be lost (P9).
        self.poison.check()?;
        if self.segments.written(slot.at, bytes, end, crc, account, &self.space) {
            // Relaxed: a hint that the next reservation takes.
            self.pressure_due.store(true, Ordering::Relaxed);
        }
        self.publish(end);
        Ok(Some(bytes))
    }

    /// The last step of a flush: what ends at or below `end` is durable.
    fn publish(&self, end: Lsn) {
        debug_assert!(end > self.durable_lsn(), "the durable prefix grows");
        // Release: pairs with the Acquire in `durable_lsn`.
        self.durable.store(end.get(), Ordering::Release);
        if self.clock.is_some() {
            let app = self.tail.appender.lock();
            self.unsynced_since.store(app.opened(), Ordering::Relaxed);
        }
    }
}

/// The text a failure leaves behind.
fn cause_of(error: &Error) -> Arc<str> {
    match error {
        Error::Poisoned { cause } => Arc::clone(cause),
        other => other.to_string().into(),
    }
}
