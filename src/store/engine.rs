//! What is open: page file, pool, log, and the state that the next superblock is made from. Handles and background threads
//! share it; it knows nothing of either.

use super::files::Files;
use super::options::Durability;
use super::report::Stats;
use super::running::{InCallback, Running};
use super::superblock::Superblock;
use crate::error::{Error, Result};
use crate::io::DiskFile;
use crate::pool::{BufferPool, DurableLog, FilePageStore};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::telemetry::Counter;
use crate::threading::StopSignal;
use crate::types::Lsn;
use crate::wal::Wal;
use std::time::Duration;

/// The open files and memory of a store.
pub(crate) struct Engine {
    pub(crate) files: Files,
    /// The page store's, behind the gate of its syncs (P9).
    pub(crate) page_file: Arc<dyn DiskFile>,
    pub(crate) page_store: Arc<FilePageStore>,
    pub(crate) pool: Arc<BufferPool>,
    /// `None` in a store that is only read.
    pub(crate) wal: Option<Arc<Wal>>,
    /// The end of the log when the store was opened.
    pub(crate) end_at_open: Lsn,
    pub(crate) durability: Durability,
    pub(crate) deterministic: bool,
    /// What the superblocks say; held for the whole of a checkpoint.
    pub(crate) head: Mutex<Head>,
    /// Both superblocks' redo LSN.
    pub(crate) redo: AtomicU64,
    pub(crate) next_tree: AtomicU32,
    pub(crate) running: Running,
    /// Wakes the checkpointer; ends all background threads.
    pub(crate) stop: Arc<StopSignal>,
    /// The log wants a checkpoint made in the background.
    pub(crate) log_wants: AtomicBool,
    /// Pending space does.
    pub(crate) space_wants: AtomicBool,
    /// Threads that wait for `head`, and so for the end of a checkpoint, perhaps.
    pub(crate) awaited: AtomicU32,
    /// Checkpoints made since the store was opened.
    pub(crate) checkpoints: AtomicU64,
    /// Dropped trees of which only damaged pages are left, and what leads to them.
    pub(crate) dropped_damaged: AtomicU64,
    pub(crate) recovered: u64,
    pub(crate) reads: Counter,
    pub(crate) writes: Counter,
    pub(crate) batches: Counter,
}

/// The state of the superblocks.
pub(crate) struct Head {
    /// What both copies say, or would say if the last writing of one had not failed.
    pub(crate) superblock: Superblock,
    /// The copy that is written first: the older one.
    pub(crate) next_copy: usize,
}

/// Why a checkpoint is made in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The log is half full.
    Log,
    /// Much space is pending.
    Space,
}

/// Pending space below this is not worth a checkpoint, in bytes.
const PENDING_WORTH: u64 = 1 << 20;

impl Engine {
    /// An identity for callbacks: see [`super::running`].
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The log of a store that may be written.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub(crate) fn log(&self) -> Result<&Arc<Wal>> {
        self.wal.as_ref().ok_or(Error::ReadOnly)
    }

    /// The store-wide poison: that of log or pool, whichever came first. That of the pool is the log's at once; that of the
    /// log is given to the pool here, if not before.
    ///
    /// # Errors
    /// `Poisoned`.
    #[inline(always)]
    pub(crate) fn check_poison(&self) -> Result<()> {
        let sound = !self.pool.is_poisoned() && self.wal.as_ref().is_none_or(|wal| !wal.is_poisoned());
        if sound { Ok(()) } else { self.poisoned() }
    }

    #[cold]
    fn poisoned(&self) -> Result<()> {
        let pool = self.pool.check_poison();
        let log = self.wal.as_ref().and_then(|wal| wal.poisoned());
        match (pool, log) {
            (Ok(()), None) => Ok(()),
            (Err(error), None) => {
                self.poison(&error);
                Err(error)
            }
            (_, Some(error)) => {
                self.poison(&error);
                Err(error)
            }
        }
    }

    /// Nothing is written any more: what is on disk is unknown until the store is opened again.
    #[cold]
    pub(crate) fn poison(&self, cause: &Error) {
        let text = match cause {
            Error::Poisoned { cause } => cause.to_string(),
            other => other.to_string(),
        };
        self.pool.poison(&text);
        if let Some(wal) = &self.wal {
            // Called under locks: the wakers are left to the flusher and to `close`.
            wal.poison_latched(text.as_str());
        }
    }

    /// The end of the log.
    pub(crate) fn position(&self) -> Lsn {
        self.wal.as_ref().map_or(self.end_at_open, |wal| wal.position())
    }

    /// What [`crate::Store::stats`] answers.
    pub(crate) fn stats(&self) -> Stats {
        let (pool, allocator) = (self.pool.stats(), self.pool.allocator());
        let (pages_allocated, pages_freed) = allocator.counts();
        Stats {
            page_size: self.pool.page_size() as u64,
            resident_bytes: pool.resident_bytes,
            capacity_bytes: pool.capacity_bytes,
            misses: pool.misses,
            evictions: pool.evictions,
            pages_written: pool.pages_written,
            write_batches: pool.write_batches,
            file_pages: allocator.end().get(),
            free_pages: allocator.free_pages(),
            pending_pages: allocator.pending_pages(),
            pages_allocated,
            pages_freed,
            end_lsn: self.position(),
            durable_lsn: self.durable_lsn(),
            // Relaxed: statistics.
            redo_lsn: Lsn::new(self.redo.load(Ordering::Relaxed)),
            log_bytes: self.wal.as_ref().map_or(0, |wal| wal.used_bytes()),
            reads: self.reads.sum(),
            writes: self.writes.sum(),
            batches: self.batches.sum(),
            checkpoints: self.checkpoints.load(Ordering::Relaxed),
            dropped_damaged: self.dropped_damaged.load(Ordering::Relaxed),
            recovered_records: self.recovered,
        }
    }

    /// Up to where the log is on disk.
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.wal.as_ref().map_or(self.end_at_open, |wal| wal.durable_lsn())
    }

    /// Waits for what was done up to `lsn` as `durability` says. Called with no latch held.
    ///
    /// # Errors
    /// `Poisoned`: whether what was done is durable is unknown.
    pub(crate) fn acknowledge(&self, lsn: Lsn, durability: Durability) -> Result<()> {
        let wal = self.log()?;
        let wait = match durability {
            Durability::Sync => true,
            Durability::Relaxed { within } => wal.oldest_unsynced_age().is_some_and(|age| age >= within),
            Durability::Manual => false,
        };
        if wait || wal.has_due_wakers() {
            // Wakers may run here: a close that one of them calls for would wait for the call that this one is part of.
            let _callback = InCallback::of(self.id());
            if wait { wal.commit(lsn)? } else { wal.wake_due() }
        }
        // The log may have been durable up to there before the pool was poisoned, by a panic in the middle of a change, say.
        self.check_poison()
    }

    /// The superblocks' state, for the caller alone. A checkpoint under way makes haste from now on.
    pub(crate) fn lock_head(&self) -> MutexGuard<'_, Head> {
        if let Some(head) = self.head.try_lock() {
            return head;
        }
        // Relaxed: advice, as in `is_hurried`.
        self.awaited.fetch_add(1, Ordering::Relaxed);
        let head = self.head.lock();
        self.awaited.fetch_sub(1, Ordering::Relaxed);
        head
    }

    /// Looks after the space that frees have left pending: called after writes. Cost: a load, as long as there is little.
    pub(crate) fn after_write(&self) {
        self.writes.add_one();
        self.look_at_space();
    }

    /// Has a checkpoint made if much space is pending.
    #[inline]
    pub(crate) fn look_at_space(&self) {
        if self.is_space_worth_it() {
            self.want_checkpoint(&self.space_wants);
        }
    }

    #[inline]
    fn is_space_worth_it(&self) -> bool {
        let pending = self.pool.allocator().reclaimable_pages();
        pending * self.pool.page_size() as u64 >= PENDING_WORTH && self.is_pending_much(pending)
    }

    fn is_pending_much(&self, pages: u64) -> bool {
        pages >= self.pool.allocator().end().get() / 8
    }

    /// Before a value of `len` bytes is written: if the file would have to grow for it while as much and more is pending,
    /// makes a checkpoint, so that a value which is overwritten again and again does not outrun the background.
    pub(crate) fn make_way(&self, len: usize) {
        let (allocator, page) = (self.pool.allocator(), self.pool.page_size() as u64);
        let (needed, pending) = (len as u64 / page + 2, allocator.reclaimable_pages());
        let worth = pending * page >= PENDING_WORTH && pending >= needed && self.is_pending_much(pending);
        // One page of a value is in one piece; more of them need not be.
        if len as u64 >= page && worth && !allocator.has_room(needed, (1 << 20) / page) {
            // What keeps it from being made, the write itself will meet.
            let _ = self.checkpoint_shared();
        }
    }

    /// Has a checkpoint made soon, for the reason that `flag` stands for: by the background, or here and now where there is
    /// none.
    pub(crate) fn want_checkpoint(&self, flag: &AtomicBool) {
        if self.deterministic {
            // What keeps it from being made, the next write that needs it will meet.
            let _ = self.checkpoint();
        } else if !flag.load(Ordering::Relaxed) && !flag.swap(true, Ordering::Relaxed) {
            // Relaxed: advice; the checkpointer looks again by itself.
            self.stop.wake();
        }
    }

    /// Why a checkpoint is to be made in the background, if still so: what was wanted while one was made, it may have brought.
    pub(crate) fn take_reason(&self) -> Option<Reason> {
        // Relaxed: advice, together with the wake-up. Taken before the conditions are looked at: a wish that comes meanwhile
        // is kept for the next look.
        let log = self.log_wants.swap(false, Ordering::Relaxed);
        let space = self.space_wants.swap(false, Ordering::Relaxed);
        if space && self.is_space_worth_it() {
            Some(Reason::Space)
        } else {
            (log && self.wal.as_ref().is_some_and(|wal| wal.is_half_full())).then_some(Reason::Log)
        }
    }

    /// Forgets the reasons for a checkpoint: one begins. Who wants another from here on gets another.
    pub(crate) fn forget_reasons(&self) {
        // Relaxed: advice.
        self.log_wants.store(false, Ordering::Relaxed);
        self.space_wants.store(false, Ordering::Relaxed);
    }

    /// Runs `write`; if it finds no space, gives up what only saves writes, makes a checkpoint if some of the page file is pending,
    /// which frees that, and runs it again.
    ///
    /// # Errors
    /// What `write` answers.
    pub(crate) fn with_space<T>(&self, mut write: impl FnMut() -> Result<T>) -> Result<T> {
        match write() {
            Err(error @ Error::NoSpace { .. }) => {
                let given = self.page_store.give_room().inspect_err(|error| self.poison(error))?;
                if self.pool.allocator().pending_pages() > 0 {
                    if self.checkpoint().is_err() {
                        return Err(error);
                    }
                } else if !given {
                    return Err(error);
                }
                write()
            }
            result => result,
        }
    }
}

/// The pool's view of the log: the WAL rule (P5), and that a poisoned pool makes a poisoned log (P9).
pub(crate) struct LogForPool(pub(crate) Arc<Wal>);

impl DurableLog for LogForPool {
    fn make_durable(&self, lsn: Lsn) -> Result<()> {
        self.0.commit_holding(lsn)
    }

    fn poison(&self, cause: &str) {
        self.0.poison_latched(cause);
    }
}

/// How long the checkpointer sleeps when nobody wakes it.
pub(crate) const IDLE: Duration = Duration::from_millis(250);
