//! Pages that come into being beside the log: written in runs straight to the page file, with LSN 0, and synced before the
//! record that refers to them is appended (D4). Nothing of them is in memory until somebody reads them.

use super::BufferPool;
use super::space::Extent;
use crate::error::{Error, Result};
use crate::types::{PageId, SizeClass};
use std::time::{Duration, Instant};

/// Memory taken out of the budget for a while; dropping it gives it back.
pub(crate) struct Loan<'p> {
    pool: &'p BufferPool,
    bytes: u64,
}

impl BufferPool {
    /// Takes `bytes` of frame memory out of the budget, for a buffer of the caller's own. May evict and wait, as long as the
    /// pool waits for a frame: called with no latch held.
    ///
    /// # Errors
    /// `PoolExhausted`, and what writing pages can give.
    pub(crate) fn lend(&self, bytes: usize) -> Result<Loan<'_>> {
        let (bytes, started) = (bytes as u64, Instant::now());
        let frames = &self.frames[0];
        let mut rounds = 0;
        while !self.commit_bytes(bytes) {
            self.check_poison()?;
            // In every round: somebody else may take each frame that this frees.
            let over = if self.options.deterministic { rounds > 64 } else { started.elapsed() > self.options.wait };
            if over {
                return Err(Error::PoolExhausted { waited: started.elapsed() });
            }
            let frame = match frames.take_resident() {
                Some(frame) => Some(frame),
                None => self.evict_round(SizeClass::ZERO)?,
            };
            if let Some(frame) = frame {
                frame.discard();
                self.uncommit_bytes(frames.bytes as u64);
                continue;
            }
            rounds += 1;
            if !self.options.deterministic {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        Ok(Loan { pool: self, bytes })
    }

    /// Writes the pages from `start` on; `bytes` are their images, as they are to lie on disk. The place is reserved.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub(crate) fn write_run(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.store.write_run(start, bytes)
    }

    /// Makes what [`BufferPool::write_run`] wrote durable. A failure poisons the pool: what is on disk is unknown (P9).
    ///
    /// # Errors
    /// `Io`, `Poisoned`.
    pub(crate) fn sync_runs(&self) -> Result<()> {
        self.check_poison()?;
        self.store.sync().inspect_err(|error| self.poison(&format!("syncing pages failed: {error}")))?;
        self.check_poison()
    }

    /// Throws away what memory still holds of former lives of a run that was just written: a reader that was held up may
    /// have loaded a page of it once more. Whoever loads one from here on loads what was written.
    pub(crate) fn forget_run(&self, run: Extent) {
        (run.start.get()..run.end().get()).for_each(|id| self.discard(PageId::new(id)));
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.pool.uncommit_bytes(self.bytes);
    }
}
