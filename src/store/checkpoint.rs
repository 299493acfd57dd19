//! Checkpoints: fuzzy, no writer is stopped.
//!
//! | step | why then |
//! |---|---|
//! | T = append position | before the frames are looked at: what is appended later starts at T or later |
//! | pages dirtied before T are written, at leisure if nobody waits ([`Pace`]) | each after the log is durable to its LSN (P5) |
//! | least recovery LSN of what is dirty now | a page that was dirtied again meanwhile counts with its copy's LSN |
//! | the allocator's snapshot, with its own LSN S | taken under the gate (A2) |
//! | log durable to T and S | the superblock speaks of both |
//! | redo LSN = min(T, S, recovery LSNs) (C2); no page that is written from here on relies on an older copy (P11) | before the sync, which covers those that did |
//! | snapshot to a place kept for it (A5); page file synced, its length too | what was written in place so far is covered, and redo need not go back for it; before anything refers to the snapshot |
//! | the redo LSN as a place in the log | |
//! | whether log or pool was poisoned meanwhile | by a sync of somebody else's that failed, say (P9) |
//! | superblock copies, the older first, each synced | one is valid at any time (C1) |
//! | log segments, freed extents and the former snapshot's place are given up | nothing refers to them any more (A1, A4, C1) |
//!
//! **Both copies are written each time**, one after the other. Alternating, one a checkpoint, would save a sync but let
//! the older copy hold back log and space for a whole checkpoint more, and fall back by as much when the newer one is
//! damaged. A crash between the two leaves the new one and the old one, and what either needs is still there.

use super::engine::{Engine, Head};
use super::pace::Pace;
use super::superblock::Superblock;
use crate::error::{Error, Result, Site};
use crate::pool::{Extent, PageStore};
use crate::sync::{MutexGuard, Ordering};
use crate::types::Lsn;
use crate::wal::{LogPressure, Wal};
use std::sync::Weak;

/// How often the last checkpoint writes again what readers kept it from finishing with.
const LAST_ROUNDS: usize = 100;

/// How a checkpoint is made.
enum Manner {
    /// Somebody waits for it.
    AtOnce,
    /// Nobody does.
    AtLeisure(Pace),
    /// Nothing is appended any more.
    Last,
}

/// A checkpoint under way. Dropped by a panic only: which of the writes and syncs were made is unknown then.
struct Begun<'a>(&'a Engine);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.poison(&Error::Poisoned { cause: "a thread panicked in the middle of a checkpoint".into() });
    }
}

impl Engine {
    /// Makes a checkpoint. Whoever comes while one is being made waits, and makes another. Called with no latch held.
    ///
    /// # Errors
    /// `ReadOnly`, `Poisoned`, `Io`, `NoSpace`; after `NoSpace` everything is as before.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.checkpoint_holding(self.lock_head(), Manner::AtOnce)
    }

    /// As [`Engine::checkpoint`], for the end: nothing is appended from here on, and the superblocks say so. False if they do not,
    /// because pages stayed dirty: readers had them latched each time.
    pub(crate) fn last_checkpoint(&self) -> Result<bool> {
        self.checkpoint_holding(self.lock_head(), Manner::Last)?;
        Ok(self.lock_head().superblock.closed)
    }

    /// As [`Engine::checkpoint`], for the background: takes its time, as [`Pace`] says, until somebody waits for it.
    pub(crate) fn checkpoint_at_leisure(&self) -> Result<()> {
        self.checkpoint_holding(self.lock_head(), Manner::AtLeisure(Pace::start(self)))
    }

    /// As [`Engine::checkpoint`], but content with one that somebody else began and ended while this waited.
    pub(crate) fn checkpoint_shared(&self) -> Result<()> {
        // Acquire: pairs with the Release at the end of a checkpoint.
        let before = self.checkpoints.load(Ordering::Acquire);
        let head = self.lock_head();
        // Two, for the first may have begun before what the caller wants to be rid of.
        if self.checkpoints.load(Ordering::Acquire) >= before + 2 {
            return Ok(());
        }
        self.checkpoint_holding(head, Manner::AtOnce)
    }

    /// Makes a checkpoint, or waits for the end of the one that is being made: for a full log, which either empties. If that was
    /// not enough, the caller comes again.
    pub(crate) fn checkpoint_or_wait(&self) -> Result<()> {
        if let Some(head) = self.head.try_lock() {
            return self.checkpoint_holding(head, Manner::AtOnce);
        }
        drop(self.lock_head());
        self.check_poison()
    }

    fn checkpoint_holding(&self, mut head: MutexGuard<'_, Head>, manner: Manner) -> Result<()> {
        // Dropped before the lock, so that who waits for it finds the poison.
        let begun = Begun(self);
        let made = self.make_checkpoint(&mut head, manner);
        std::mem::forget(begun);
        made
    }

    fn make_checkpoint(&self, head: &mut Head, mut manner: Manner) -> Result<()> {
        let wal = self.log()?;
        self.check_poison()?;
        self.forget_reasons();
        let position = wal.position();
        self.pool.flush_paced(position, |done| {
            if let Manner::AtLeisure(pace) = &mut manner {
                pace.keep(self, done);
            }
        })?;
        let recovery = self.write_rest(&manner)?;
        let allocator = self.pool.allocator();
        let mut next = self.write_snapshot(wal, &head.superblock, position.min(recovery))?;
        // And so that no page is left which somebody who still reads could have written.
        next.closed = matches!(manner, Manner::Last) && next.redo == wal.position() && recovery == Lsn::MAX;
        // A copy that could not be written or synced says nobody knows what: no further step may rely on either.
        self.write_superblocks(head, next).inspect_err(|error| self.poison(error))?;
        allocator.release_pending(next.redo);
        allocator.keep_places(next.snapshot());
        // A segment that could not be renamed stays: the log goes on, and the next checkpoint tries again.
        let _ = wal.release_below(next.place.lsn);
        // Release: pairs with the Acquire in `checkpoint_shared`.
        self.checkpoints.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The least recovery LSN of the pages that are dirty now. At the end there are to be none: what a reader had latched while it
    /// was written, and stayed dirty for that, is written again.
    fn write_rest(&self, manner: &Manner) -> Result<Lsn> {
        let mut recovery = self.pool.min_dirty_lsn();
        if matches!(manner, Manner::Last) {
            for _ in 0..LAST_ROUNDS {
                // Whatever was appended last: nobody appends any more.
                if recovery == Lsn::MAX {
                    break;
                }
                self.pool.flush_paced(Lsn::MAX, |_| {})?;
                recovery = self.pool.min_dirty_lsn();
            }
        }
        Ok(recovery)
    }

    /// Takes the allocator's snapshot and writes it to a place that is kept for it; the superblock that goes with it.
    fn write_snapshot(&self, wal: &Wal, former: &Superblock, redo: Lsn) -> Result<Superblock> {
        let allocator = self.pool.allocator();
        let snapshot = allocator.snapshot(|| wal.position());
        // Chosen when it is known what goes there: what others free or allocate meanwhile is in the log.
        let extent = allocator.place_for(&snapshot, former.snapshot())?;
        let redo = redo.min(snapshot.lsn);
        wal.commit_holding(snapshot.lsn)?;
        let mut bytes = snapshot.encode();
        let room = extent.units as usize * self.pool.page_size();
        if bytes.len() > room {
            bytes = snapshot.draw();
        }
        // What lies behind it in its place means nothing.
        bytes.resize(bytes.len().next_multiple_of(self.pool.page_size()), 0);
        self.page_store.write_unlogged(extent.start, &bytes)?;
        // Before the sync: what has this length now will have it then.
        let file_end = allocator.end();
        self.pool.raise_floor(redo);
        self.page_file.sync_all().map_err(|e| {
            let error = Error::Io { op: "sync the page file", path: Some(self.files.pages.clone()), source: e.into() };
            self.poison(&error);
            error
        })?;
        // Of all that the superblock will speak of.
        self.check_poison()?;
        let place = wal.locate(redo).ok_or_else(|| Error::corrupted(Site::Log(redo), "no such place in the log"))?;
        Ok(Superblock {
            sequence: former.sequence + 1,
            redo,
            place,
            durable: wal.durable_lsn(),
            snapshot_lsn: snapshot.lsn,
            snapshot_page: extent.start,
            snapshot_units: extent.units,
            retired_batch: self.page_store.completed_batch(),
            file_end,
            // Relaxed: a tree created after S is in the log.
            next_tree: self.next_tree.load(Ordering::Relaxed),
            ..*former
        })
    }

    /// Writes both copies, the older first.
    pub(crate) fn write_superblocks(&self, head: &mut Head, next: Superblock) -> Result<()> {
        for n in 0..2 {
            let copy = Superblock { sequence: next.sequence + n, ..next };
            copy.write(&*self.page_file, head.next_copy)?;
            head.next_copy ^= 1;
            head.superblock = copy;
        }
        // Relaxed: a statistic.
        self.redo.store(next.redo.get(), Ordering::Relaxed);
        Ok(())
    }
}

impl Superblock {
    /// The extent that holds the snapshot, if there is one.
    pub(crate) fn snapshot(&self) -> Option<Extent> {
        (self.snapshot_units > 0).then(|| Extent::new(self.snapshot_page, self.snapshot_units))
    }
}

/// What the log asks when it fills up. Holds nothing open.
pub(crate) struct Pressure(pub(crate) Weak<Engine>);

impl LogPressure for Pressure {
    fn relieve(&self, needed: bool) -> Result<()> {
        let Some(engine) = self.0.upgrade() else { return Ok(()) };
        if needed {
            engine.checkpoint_or_wait()
        } else {
            engine.want_checkpoint(&engine.log_wants);
            Ok(())
        }
    }
}
