//! Reserving log space, before any latch: where the log grows, asks for a checkpoint, or says that there is no room.

use super::group::GROUP_OVERHEAD;
use super::log::{LogPressure, Wal};
use super::segments::Grown;
use super::space::LogPermit;
use crate::error::{Error, Result};
use crate::sync::{Arc, Ordering};
use std::time::Duration;

/// How often a reservation asks for a checkpoint that frees nothing before it gives up.
const FRUITLESS_ROUNDS: usize = 8;
/// How often it asks at all: others may take what each checkpoint frees.
const ROUNDS: usize = 1_000;
/// How long it rests after a fruitless round at most, where time passes.
const REST: Duration = Duration::from_millis(10);

impl Wal {
    /// Reserves room for one record of at most `bytes`. Call it before the first latch: it may make a segment, and wait
    /// for a checkpoint. Usually one atomic operation; no allocation. The room is file bytes, and enough for a group of
    /// its own; dropping the permit gives it back.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] beyond [`max_record_bytes`](super::WalOptions::max_record_bytes); [`Error::NoSpace`] if
    /// the disk is full or the log has its full length and checkpoints do not free any (it heals when there is room);
    /// [`Error::Poisoned`]; what [`LogPressure::relieve`] answered.
    pub fn reserve(&self, bytes: usize) -> Result<LogPermit<'_>> {
        self.wake_due();
        self.reserve_holding(bytes)
    }

    /// As [`Wal::reserve`], for somebody who may hold locks that foreign code could want: no waker runs here.
    #[inline]
    pub(crate) fn reserve_holding(&self, bytes: usize) -> Result<LogPermit<'_>> {
        self.poison.check()?;
        if self.pressure_due.load(Ordering::Relaxed) && self.pressure_due.swap(false, Ordering::Relaxed) {
            self.press_softly();
        }
        if bytes <= self.options().max_record_bytes()
            && let Some(permit) = self.space.take(bytes, false)
        {
            return Ok(permit);
        }
        self.reserve_slow(bytes, false)
    }

    /// As [`reserve`](Wal::reserve), for the checkpoint's own records: the last segment that the log may have is open to
    /// it alone, so that a full log can always be emptied. Never calls the pressure hook.
    ///
    /// # Errors
    /// As [`reserve`](Wal::reserve).
    pub fn reserve_for_checkpoint(&self, bytes: usize) -> Result<LogPermit<'_>> {
        self.poison.check()?;
        self.reserve_slow(bytes, true)
    }

    /// Installs what is asked when the log fills up; see [`LogPressure`].
    pub fn set_pressure(&self, pressure: Arc<dyn LogPressure>) {
        *self.pressure.write() = Some(pressure);
    }

    /// Takes the pressure hook out: whoever it refers to goes away.
    pub fn clear_pressure(&self) {
        let hook = self.pressure.write().take();
        drop(hook);
    }

    /// For a background thread: makes one segment ready if none is and the log may have one more, so that no writer has
    /// to. Returns whether it did. Costs zero-filling and syncing it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; nothing has changed then.
    pub fn prepare_ahead(&self) -> Result<bool> {
        self.poison.check()?;
        if !self.segments.wants_more() {
            return Ok(false);
        }
        let grown = self.segments.grow(false, &self.space, || !self.segments.wants_more())?;
        Ok(grown == Grown::Added)
    }

    /// For the same thread: waits until [`prepare_ahead`](Wal::prepare_ahead) has something to do, `timeout` has passed, or
    /// [`nudge_preparer`](Wal::nudge_preparer) is called.
    pub fn wait_segment_demand(&self, timeout: Duration) {
        self.segments.wait_for_want(timeout);
    }

    /// Makes [`wait_segment_demand`](Wal::wait_segment_demand) return, so that its caller sees what else changed.
    pub fn nudge_preparer(&self) {
        self.segments.nudge();
    }

    fn pressure_hook(&self) -> Option<Arc<dyn LogPressure>> {
        self.pressure.read().clone()
    }

    #[cold]
    fn press_softly(&self) {
        if let Some(hook) = self.pressure_hook() {
            // Half full is no reason to fail a write: if the checkpoint cannot be made, the full log will say so.
            let _ = hook.relieve(false);
        }
    }

    #[cold]
    fn reserve_slow(&self, bytes: usize, checkpoint: bool) -> Result<LogPermit<'_>> {
        let max = self.options().max_record_bytes();
        if bytes > max {
            return Err(Error::BatchTooLarge { bytes: bytes as u64, max: max as u64 });
        }
        let full = || Error::NoSpace { what: "the log has its full length", needed: bytes as u64 + GROUP_OVERHEAD };
        let mut fruitless = 0;
        for _ in 0..ROUNDS {
            self.poison.check()?;
            self.take_back_surplus();
            if let Some(permit) = self.grow_until_taken(bytes, checkpoint)? {
                return Ok(permit);
            }
            let hook = if checkpoint { None } else { self.pressure_hook() };
            let Some(hook) = hook else { return Err(full()) };
            let before = self.space.grown();
            hook.relieve(true)?;
            if self.space.grown() == before {
                fruitless += 1;
                if fruitless == FRUITLESS_ROUNDS {
                    break;
                }
                self.rest();
            }
        }
        // What the last round freed counts too.
        self.take_back_surplus();
        self.space.take(bytes, checkpoint).ok_or_else(full)
    }

    fn take_back_surplus(&self) {
        let surplus = self.tail.appender.lock().take_surplus();
        self.space.give_back(surplus);
    }

    /// Takes the room, making segments as long as the log may have more.
    fn grow_until_taken(&self, bytes: usize, checkpoint: bool) -> Result<Option<LogPermit<'_>>> {
        loop {
            if let Some(permit) = self.space.take(bytes, checkpoint) {
                return Ok(Some(permit));
            }
            // Asked again under the lock: of many who come at once, one makes the segment.
            let enough = || self.space.take(bytes, checkpoint).is_some();
            if self.segments.grow(checkpoint, &self.space, enough)? == Grown::Full {
                return Ok(self.space.take(bytes, checkpoint));
            }
        }
    }

    /// Lets those who hold room finish; not where a seed decides everything, since nobody else runs there.
    fn rest(&self) {
        if self.clock.is_some() {
            let mut flush = self.flush.lock();
            self.flushed.wait_for(&mut flush, REST);
        }
    }
}
