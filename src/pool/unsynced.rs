//! What was written in place and not yet synced, as far as redo must know of it.
//!
//! A page that was written is clean, but its image may still be lost; so it holds redo back until a sync that began after the write
//! has succeeded (C2). The pool only knows of the syncs that it makes itself: others come too, for other reasons, and make what
//! is noted here older than need be, never newer.

use super::BufferPool;
use crate::error::Result;
use crate::sync::Mutex;
use crate::types::Lsn;

/// Least recovery LSNs of pages written: since the last sync began, and those that it is to cover.
pub(super) struct Unsynced {
    since: Mutex<Least>,
    /// Held through a sync.
    turn: Mutex<()>,
}

struct Least {
    now: Lsn,
    under_way: Lsn,
}

impl Unsynced {
    pub(super) fn new() -> Unsynced {
        Unsynced { since: Mutex::new(Least { now: Lsn::MAX, under_way: Lsn::MAX }), turn: Mutex::new(()) }
    }

    /// A page with this recovery LSN was written in place. Called before it can be found clean.
    pub(super) fn note(&self, recovery: Lsn) {
        let mut since = self.since.lock();
        since.now = since.now.min(recovery);
    }

    pub(super) fn least(&self) -> Lsn {
        let since = self.since.lock();
        since.now.min(since.under_way)
    }
}

impl BufferPool {
    /// Makes all that was written in place durable.
    pub(super) fn sync_written(&self) -> Result<()> {
        let _turn = self.unsynced.turn.lock();
        {
            let mut since = self.unsynced.since.lock();
            since.under_way = since.under_way.min(since.now);
            since.now = Lsn::MAX;
        }
        self.store.sync().inspect_err(|error| self.poison(&format!("syncing pages failed: {error}")))?;
        // Poisoned meanwhile: what is on disk is unknown.
        self.check_poison()?;
        self.unsynced.since.lock().under_way = Lsn::MAX;
        Ok(())
    }
}
