//! The buffer pool: a bounded set of frames in memory over a page file of any size.
//!
//! # How a page is reached
//!
//! A reference to a page is a [`Swip`](crate::swip::Swip): the page id, and the number of the frame that held it last.
//! The frame number is a hint. [`BufferPool::try_child`] reads the hint, looks at that frame's header (one cache line,
//! which is read anyway for the latch), and if the header carries the page id, that is the page: no table, no counter,
//! nothing shared is written. Otherwise the **page table** (`table`) knows whether and where the page is resident, and
//! if it is not, a frame is claimed (`evict`), the page is read and verified (`load`), published in the table, and the
//! hint in the parent repaired.
//!
//! # How a page leaves
//!
//! Frames cool: the clock hand (`evict`) takes warmth from frames it passes; a frame that is touched while cold becomes
//! warm again; one that is still cold when the hand comes back is evicted if clean, or collected into a write batch if
//! dirty. Dirty pages are written by `flush`: copied under the shared latch, checksummed, the log made durable up to
//! their LSN (P5), written to the double-write area unless a copy there still serves (P7, P11), then in place; only then are they
//! clean (P6). What was written in place is synced later, many batches at once (`unsynced`). All syncs of the page file pass one
//! gate (`sync_gate`), which lets none succeed after one that failed (P9).
//!
//! # Pages that are not there yet
//!
//! [`BufferPool::reserve`] takes a place in the page file and a frame before any latch is taken, so that nothing can
//! fail between a log append and the unlatch (W5); [`NewPage::into_page`] turns both into a latched page.
//!
//! The design follows LeanStore (ICDE 2018) and Umbra (CIDR 2020), with verified hints instead of swizzled pointers as in
//! Predictive Translation (SIGMOD 2026) and Calico.

#![allow(unsafe_code)]

mod balance;
mod content;
mod demand;
mod double_write;
mod evict;
mod file_store;
mod fix;
mod flush;
mod flushers;
mod frame;
mod headers;
mod lane;
#[cfg(feature = "btree")]
mod let_go;
mod load;
mod mem_store;
mod missed;
mod new_page;
mod options;
mod page_store;
mod readers;
mod region;
mod space;
mod sync_gate;
mod table;
#[cfg(test)]
mod tests;
#[cfg(feature = "btree")]
mod unlogged;
mod unsynced;
mod view;
mod written;

#[cfg(feature = "btree")]
pub(crate) use content::with_mapped;
pub use content::{ContentPage, ContentRef};
pub use double_write::{DOUBLE_WRITE_BYTES, DOUBLE_WRITE_START};
#[cfg(feature = "btree")]
pub(crate) use file_store::Copies;
pub use file_store::FilePageStore;
#[cfg(feature = "btree")]
pub(crate) use fix::Ahead;
pub use lane::SlowLane;
pub use mem_store::MemPageStore;
pub use new_page::NewPage;
pub use options::PoolOptions;
pub use page_store::{PageImage, PageStore};
pub use readers::{Reader, Readers};
pub use space::{Allocator, Extent, GateGuard, Snapshot, SpaceMap};
#[cfg(feature = "btree")]
pub(crate) use unlogged::Loan;
pub use view::{Interrupt, PageMut, PageRef, PageView};
pub use written::WrittenContent;

pub use crate::page::slotted::{SlottedPage, SlottedPageMut};

use crate::error::{Error, Result};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::types::{Lsn, SizeClass};
use frame::Frames;
use table::PageTable;

/// What the pool asks of a log: the WAL rule (P5) in one method.
pub trait DurableLog: Send + Sync {
    /// Returns once the log is durable up to `lsn` (a record's end). Called with no page latched.
    ///
    /// # Errors
    /// The log's own failure; the pool then writes none of the pages that needed it.
    fn make_durable(&self, lsn: Lsn) -> Result<()>;

    /// The pool is poisoned: nothing may become durable any more that is not by now, for what it relies on may be lost (P9).
    /// Called perhaps with pages latched, and more than once: no foreign code may run in it.
    fn poison(&self, cause: &str) {
        let _ = cause;
    }
}

/// No log at all: for pools of unlogged pages.
#[derive(Debug, Default)]
pub struct NoLog;

impl DurableLog for NoLog {
    fn make_durable(&self, _lsn: Lsn) -> Result<()> {
        Ok(())
    }
}

/// A bounded set of frames over a [`PageStore`]. Share it in an `Arc`; every method takes `&self`.
pub struct BufferPool {
    pub(crate) frames: Vec<Frames>,
    pub(crate) table: PageTable,
    pub(crate) store: Arc<dyn PageStore>,
    pub(crate) log: Arc<dyn DurableLog>,
    pub(crate) allocator: Allocator,
    pub(crate) options: PoolOptions,
    pub(crate) page_size: usize,
    /// Bytes of frame memory that have been touched and not given back; never above `capacity`.
    pub(crate) resident: AtomicU64,
    /// Bytes of frame memory the budget leaves after tables and buffers.
    pub(crate) capacity: u64,
    /// Bytes of page images that write-back takes at once.
    batch_bytes: usize,
    flushers: flushers::Flushers,
    pub(crate) lane: Mutex<()>,
    missed: missed::Missed,
    unsynced: unsynced::Unsynced,
    pub(crate) demand: demand::Demand,
    pub(crate) balance: balance::Balance,
    pub(crate) counters: PoolCounters,
    poisoned: AtomicBool,
    poison_cause: Mutex<Option<Arc<str>>>,
}

#[derive(Default)]
pub(crate) struct PoolCounters {
    pub(crate) misses: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) pages_written: AtomicU64,
    pub(crate) write_batches: AtomicU64,
}

/// What the pool has done and holds; plain numbers, read without stopping anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Bytes of frame memory in use, free frames that were used before and memory committed ahead included.
    pub resident_bytes: u64,
    /// Bytes of frame memory the budget allows.
    pub capacity_bytes: u64,
    /// Pages read from the store.
    pub misses: u64,
    /// Pages that had to leave their frame.
    pub evictions: u64,
    /// Page images written in place.
    pub pages_written: u64,
    /// Batches those images went out in.
    pub write_batches: u64,
}

impl BufferPool {
    /// A pool over `store` within the budget of `options`, writing nothing that `log` has not made durable.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the budget is below [`PoolOptions::floor`]; [`Error::Io`] if memory cannot be mapped.
    pub fn new(store: Arc<dyn PageStore>, log: Arc<dyn DurableLog>, options: PoolOptions) -> Result<BufferPool> {
        let page_size = store.page_size();
        let plan = options.plan(page_size)?;
        let mut frames = Vec::new();
        for class in 0..plan.classes {
            let Some(class) = SizeClass::new(class) else { break };
            frames.push(Frames::new(class, page_size, plan.frame_bytes, options.huge_pages)?);
        }
        let allocator = Allocator::new(store.clone());
        Ok(BufferPool {
            frames,
            table: PageTable::new(plan.frame_count),
            store,
            log,
            allocator,
            page_size,
            resident: AtomicU64::new(0),
            capacity: plan.frame_bytes as u64,
            batch_bytes: plan.batch_bytes - double_write::HEADER_BYTES,
            flushers: flushers::Flushers::new(plan.flushers, plan.batch_bytes),
            lane: Mutex::new(()),
            unsynced: unsynced::Unsynced::new(),
            missed: missed::Missed::new(plan.frame_count),
            demand: demand::Demand::default(),
            balance: balance::Balance::default(),
            counters: PoolCounters::default(),
            poisoned: AtomicBool::new(false),
            poison_cause: Mutex::new(None),
            options,
        })
    }

    /// The size of a class 0 page in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The size of a page of `class` in bytes.
    #[must_use]
    pub fn page_bytes(&self, class: SizeClass) -> usize {
        self.page_size << class.get()
    }

    /// How many class 0 pages the budget holds.
    #[must_use]
    pub fn capacity_pages(&self) -> usize {
        self.capacity as usize / self.page_size
    }

    /// The record of free space in the page file.
    #[must_use]
    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// The page store underneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn PageStore> {
        &self.store
    }

    /// What the pool has done and holds.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            resident_bytes: self.resident.load(Ordering::Relaxed),
            capacity_bytes: self.capacity,
            misses: self.counters.misses.load(Ordering::Relaxed),
            evictions: self.counters.evictions.load(Ordering::Relaxed),
            pages_written: self.counters.pages_written.load(Ordering::Relaxed),
            write_batches: self.counters.write_batches.load(Ordering::Relaxed),
        }
    }

    /// Makes every later call that could read or write a changed page fail with [`Error::Poisoned`], and tells the log.
    pub fn poison(&self, cause: &str) {
        let cause: Arc<str> = self.poison_cause.lock().get_or_insert_with(|| cause.into()).clone();
        // Before the flag: who finds the pool poisoned finds no log that still makes something durable.
        self.log.poison(&cause);
        // Release: pairs with the Acquire in `check_poison`, which then finds the cause.
        self.poisoned.store(true, Ordering::Release);
    }

    /// [`Error::Poisoned`] once [`BufferPool::poison`] was called. Cost: one load.
    ///
    /// # Errors
    /// [`Error::Poisoned`] with the first cause.
    #[inline]
    pub fn check_poison(&self) -> Result<()> {
        if self.is_poisoned() { Err(self.poison_error()) } else { Ok(()) }
    }

    /// Whether [`BufferPool::poison`] was called. Cost: one load.
    #[must_use]
    #[inline(always)]
    pub fn is_poisoned(&self) -> bool {
        // Acquire: pairs with the Release in `poison`.
        self.poisoned.load(Ordering::Acquire)
    }

    #[cold]
    fn poison_error(&self) -> Error {
        let cause = self.poison_cause.lock().clone().unwrap_or_else(|| "unknown".into());
        Error::Poisoned { cause }
    }
}

impl std::fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BufferPool").field("page_size", &self.page_size).field("stats", &self.stats()).finish()
    }
}
