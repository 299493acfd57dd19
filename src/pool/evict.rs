//! Claiming a frame: free, never used, or evicted by second chance; and the provider that keeps free frames ahead.
//!
//! The clock hand passes over all frames of a class. A frame it finds warm loses one round of warmth; a cold clean one is
//! evicted; cold dirty ones are collected, written as one batch, and evicted then. Touching a frame warms it only if it
//! was cold, so the hot set costs no shared writes.

use super::BufferPool;
use super::frame::{ClaimedFrame, DIRTY, Frames, WARM_INNER, WRITING};
use crate::error::{Error, Result};
use crate::sync::Ordering;
use crate::types::{FrameId, PageId, SizeClass};
use std::time::{Duration, Instant};

/// Rounds without any victim before a deterministic run gives up; others go by the clock.
const DETERMINISTIC_ROUNDS: u32 = 64;

/// The longest wait for the end of a turn before frames are looked at again.
const LOOKS_AGAIN: Duration = Duration::from_millis(5);

/// What one pass of the hand found.
struct Sweep<'p> {
    victim: Option<ClaimedFrame<'p>>,
    dirty: Vec<FrameId>,
}

impl BufferPool {
    /// A frame that holds no page, for the caller alone. May evict, write and wait: called with no latch held.
    pub(super) fn acquire_frame(&self, class: SizeClass) -> Result<ClaimedFrame<'_>> {
        self.check_poison()?;
        match self.free_frame(class) {
            Some(frame) => Ok(frame),
            None => self.evict_for(class),
        }
    }

    /// A frame that can be had without evicting.
    pub(super) fn free_frame(&self, class: SizeClass) -> Option<ClaimedFrame<'_>> {
        let frames = self.frames.get(class.get() as usize)?;
        let resident = frames.take_resident();
        // Relaxed: a snapshot that steers, nothing more.
        let full = self.resident.load(Ordering::Relaxed) + frames.bytes as u64 > self.capacity;
        if !full && frames.wants_preparing() {
            self.demand.ask();
        }
        if resident.is_some() {
            return resident;
        }
        if !self.commit_bytes(frames.bytes as u64) {
            self.demand.ask();
            return None;
        }
        let frame = frames.take_uncommitted();
        if frame.is_none() {
            self.uncommit_bytes(frames.bytes as u64);
        }
        frame
    }

    /// Accounts for memory about to be touched; false if the budget has no room.
    pub(super) fn commit_bytes(&self, bytes: u64) -> bool {
        // Relaxed: only the sum matters, and the compare-exchange keeps it within the budget.
        self.resident
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used + bytes <= self.capacity).then_some(used + bytes)
            })
            .is_ok()
    }

    pub(super) fn uncommit_bytes(&self, bytes: u64) {
        // Relaxed: see `commit_bytes`.
        self.resident.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cold]
    fn evict_for(&self, class: SizeClass) -> Result<ClaimedFrame<'_>> {
        let started = Instant::now();
        let mut rounds = 0u32;
        loop {
            self.check_poison()?;
            let seen = self.flushers.ended();
            if let Some(frame) = self.evict_round(class)? {
                return Ok(frame);
            }
            if let Some(frame) = self.free_frame(class) {
                return Ok(frame);
            }
            rounds += 1;
            let waited = started.elapsed();
            let over =
                if self.options.deterministic { rounds > DETERMINISTIC_ROUNDS } else { waited > self.options.wait };
            if over {
                return Err(Error::PoolExhausted { waited });
            }
            // Not for long: what was latched may be free by now, of which nobody tells.
            let left = self.options.wait.saturating_sub(waited).min(LOOKS_AGAIN);
            if !self.flushers.wait_for_turn(seen, left) && !self.options.deterministic {
                crate::sync::thread::sleep(Duration::from_micros(u64::from(rounds.min(20)) * 50));
            }
        }
    }

    /// One attempt: a clean victim, or a batch of dirty ones written and evicted, or memory taken from other classes.
    pub(super) fn evict_round(&self, class: SizeClass) -> Result<Option<ClaimedFrame<'_>>> {
        let frames = &self.frames[class.get() as usize];
        if let Some(donor) = self.donor(class) {
            self.shrink(donor, frames.bytes as u64)?;
            return Ok(None);
        }
        let sweep = self.sweep(frames);
        if sweep.victim.is_some() {
            return Ok(sweep.victim);
        }
        if !sweep.dirty.is_empty() {
            self.write_victims(class, &sweep.dirty)?;
            // All of them: what is claimed beyond the first becomes free.
            let evicted = sweep.dirty.iter().filter_map(|&frame| self.try_evict(frames, frame));
            let first = evicted.reduce(|first, _| first);
            if first.is_some() {
                return Ok(first);
            }
        }
        self.shrink_others(class)?;
        Ok(None)
    }

    /// Moves the hand until a clean cold frame is evicted, or enough dirty ones are found, or everything was seen.
    fn sweep<'p>(&self, frames: &'p Frames) -> Sweep<'p> {
        let used = frames.used();
        let enough = (used / 4).clamp(1, 256);
        let mut sweep = Sweep { victim: None, dirty: Vec::new() };
        for _ in 0..used * (usize::from(WARM_INNER) + 2) {
            // Relaxed: the hand is advice; two threads at one frame are settled by its latch.
            let at = frames.hand.fetch_add(1, Ordering::Relaxed) as usize % used;
            let frame = FrameId::new(at as u32);
            let Some(header) = frames.header(frame) else { continue };
            if header.page().is_none() || header.has(WRITING) || header.cool() > 0 {
                continue;
            }
            if header.has(DIRTY) {
                if !sweep.dirty.contains(&frame) {
                    sweep.dirty.push(frame);
                    if sweep.dirty.len() >= enough {
                        return sweep;
                    }
                }
            } else if let Some(victim) = self.try_evict(frames, frame) {
                sweep.victim = Some(victim);
                return sweep;
            }
        }
        sweep
    }

    /// Takes a clean page out of its frame; the frame is the caller's if so.
    pub(super) fn try_evict<'p>(&self, frames: &'p Frames, frame: FrameId) -> Option<ClaimedFrame<'p>> {
        let header = frames.header(frame)?;
        // Before the latch is taken: that would raise the version of a page that is being written, and keep it dirty.
        if header.has(DIRTY) || header.has(WRITING) {
            return None;
        }
        let guard = header.latch.try_exclusive()?;
        let id = header.page();
        // Under the exclusive latch nobody sets these (P4, P6).
        if id.is_none() || header.has(DIRTY) || header.has(WRITING) {
            return None;
        }
        self.table.remove(id, frame);
        header.set_page(PageId::NONE);
        drop(guard);
        // Relaxed: a statistic.
        self.counters.evictions.fetch_add(1, Ordering::Relaxed);
        Some(frames.claimed(frame))
    }

    /// Gives committed memory of other classes back to the system, so that this class can commit some.
    fn shrink_others(&self, class: SizeClass) -> Result<()> {
        let wanted = self.frames[class.get() as usize].bytes as u64;
        let mut freed = 0;
        for other in self.frames.iter().filter(|other| other.class != class) {
            if freed < wanted {
                freed += self.shrink(other, wanted - freed)?;
            }
        }
        Ok(())
    }

    /// Gives at least `wanted` bytes of a class's committed memory back to the system, if that many can be had without
    /// waiting; returns how many it were.
    fn shrink(&self, other: &Frames, wanted: u64) -> Result<u64> {
        let mut freed = 0;
        while freed < wanted {
            let Some(frame) = self.frame_of(other)? else { break };
            frame.discard();
            self.uncommit_bytes(other.bytes as u64);
            freed += other.bytes as u64;
        }
        Ok(freed)
    }

    /// A frame of another class: free, or clean, or one of a batch that is written for it.
    fn frame_of<'p>(&self, other: &'p Frames) -> Result<Option<ClaimedFrame<'p>>> {
        if let Some(frame) = other.take_resident() {
            return Ok(Some(frame));
        }
        let sweep = self.sweep(other);
        if sweep.victim.is_none() && !sweep.dirty.is_empty() {
            self.write_victims(other.class, &sweep.dirty)?;
            return Ok(sweep.dirty.iter().find_map(|&frame| self.try_evict(other, frame)));
        }
        Ok(sweep.victim)
    }
}

impl BufferPool {
    /// One step of the page provider: commits memory that will be touched soon, then evicts, and writes if it must, until a
    /// sixty-fourth of the class 0 frames (at least four) are free, or nothing more can be freed. Returns how many it freed.
    ///
    /// # Errors
    /// What writing pages can give: `Io`, `NoSpace`, `Poisoned`.
    pub fn provide(&self) -> Result<usize> {
        self.frames[0].prepare_ahead(|bytes| self.commit_bytes(bytes), |bytes| self.uncommit_bytes(bytes));
        let target = (self.frames[0].count() / 64).max(4);
        let mut freed = 0;
        while self.free_frames() < target {
            let before = self.free_frames();
            match self.evict_round(SizeClass::ZERO)? {
                Some(frame) => {
                    drop(frame);
                    freed += 1;
                }
                // Another class may have given memory up.
                None if self.free_frames() > before => freed += self.free_frames() - before,
                None => break,
            }
        }
        Ok(freed)
    }

    /// Class 0 frames that can be had without evicting.
    fn free_frames(&self) -> usize {
        // Relaxed: a snapshot that steers, nothing more.
        let uncommitted = self.capacity.saturating_sub(self.resident.load(Ordering::Relaxed)) as usize / self.page_size;
        self.frames[0].free_resident() + uncommitted
    }

    /// Waits until free frames run low or `timeout` has passed: what a provider thread does between its steps.
    pub fn wait_for_demand(&self, timeout: Duration) {
        self.demand.wait(timeout);
    }

    /// Wakes the thread in [`BufferPool::wait_for_demand`], so that it can see that it is to end.
    pub fn wake_provider(&self) {
        self.demand.wake();
    }
}
