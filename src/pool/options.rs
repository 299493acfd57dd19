//! The budget and what it is spent on.

use super::double_write::ring::BYTES_PER_COPY;
use crate::error::{Error, Result};

/// How much memory a pool may use, and how it uses it.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub(crate) memory: usize,
    pub(crate) huge_pages: bool,
    pub(crate) wait: std::time::Duration,
    pub(crate) deterministic: bool,
    pub(crate) flushers: Option<usize>,
}

/// The budget split into its parts, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) classes: u8,
    pub(crate) frame_bytes: usize,
    pub(crate) frame_count: usize,
    pub(crate) batch_bytes: usize,
    /// Write buffers of `batch_bytes` each.
    pub(crate) flushers: usize,
    /// Slots of the double-write area.
    #[cfg(feature = "btree")]
    pub(crate) copy_slots: usize,
}

/// Slots of the double-write area at most: 256 MiB of copies.
const MAX_COPY_SLOTS: usize = 256;
/// How many times a write buffer the budget is for a second one. Where memory is short, a page more in it is worth more.
const PER_FLUSHER: usize = 50;
/// Write buffers at most.
const MAX_FLUSHERS: usize = 8;

/// The greatest page the pool holds, in bytes: 1 MiB.
pub(crate) const MAX_PAGE_BYTES: usize = 1 << 20;
/// Frames the pool needs at least: a few threads' paths, a split and a miss of the slow lane.
/// A model's trees are small, and must not fit.
const MIN_FRAMES: usize = if cfg!(shuttle) { 6 } else { 24 };
/// Per frame: its header (and as many again for the frames of all greater classes together), its entry in the page table
/// at the worst load, its place in the free lists, and its part of the names of pages missed lately.
const FRAME_OVERHEAD: usize = 64 + 64 + 40 + 8 + 1;

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            memory: 256 << 20,
            huge_pages: true,
            wait: std::time::Duration::from_secs(10),
            deterministic: false,
            flushers: None,
        }
    }
}

impl PoolOptions {
    /// Sets the budget in bytes: frames, headers, page table and write buffers together. Default 256 MiB.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> PoolOptions {
        self.memory = bytes;
        self
    }

    /// Whether to advise the kernel to use huge pages for budgets of 64 MiB and more, and to commit some of them ahead of their
    /// first use, within the budget. Default on.
    #[must_use]
    pub fn huge_pages(mut self, on: bool) -> PoolOptions {
        self.huge_pages = on;
        self
    }

    /// How long a call waits for a frame before it fails with [`Error::PoolExhausted`]. Default 10 s.
    #[must_use]
    pub fn wait(mut self, wait: std::time::Duration) -> PoolOptions {
        self.wait = wait;
        self
    }

    /// Whether nothing may depend on time or on other threads (simulation). Default off.
    #[must_use]
    pub fn deterministic(mut self, on: bool) -> PoolOptions {
        self.deterministic = on;
        self
    }

    /// How many threads may write pages back at once, from one to eight. Each has a buffer, a sixteenth of the budget or 1 MiB, whichever
    /// is less. Default: two where a second buffer takes no more than a fiftieth of the budget, else one.
    #[must_use]
    pub fn flushers(mut self, n: usize) -> PoolOptions {
        self.flushers = Some(n);
        self
    }

    /// The smallest budget that works with pages of `page_size` bytes, and one thread that writes them back.
    #[must_use]
    pub fn floor(page_size: usize) -> usize {
        let frames = MIN_FRAMES * (page_size + FRAME_OVERHEAD);
        let batch_bytes = Self::batch_bytes(0, page_size);
        frames + batch_bytes + Self::copy_slots(0, page_size, batch_bytes).1
    }

    /// Slots of the double-write area, and what it costs to know what is in them: a sixty-fourth of the budget at most, if that
    /// is enough for one.
    fn copy_slots(memory: usize, page_size: usize, batch_bytes: usize) -> (usize, usize) {
        let slot = (batch_bytes - super::double_write::HEADER_BYTES) / page_size * BYTES_PER_COPY;
        let slots = (memory / 64 / slot).clamp(1, MAX_COPY_SLOTS);
        (slots, slots * slot)
    }

    /// The write buffer: a sixteenth of the budget, between eight pages and 1 MiB, and its header.
    fn batch_bytes(memory: usize, page_size: usize) -> usize {
        super::double_write::HEADER_BYTES + (memory / 16 / page_size).clamp(8, MAX_PAGE_BYTES / page_size) * page_size
    }

    pub(crate) fn plan(&self, page_size: usize) -> Result<Plan> {
        let floor = Self::floor(page_size);
        if self.memory < floor {
            return Err(Error::InvalidOption {
                option: "memory",
                reason: format!("{} bytes; pages of {page_size} bytes need at least {floor}", self.memory),
            });
        }
        let batch_bytes = Self::batch_bytes(self.memory, page_size);
        let flushers = self.flushers.unwrap_or(if self.memory >= PER_FLUSHER * batch_bytes { 2 } else { 1 });
        if !(1..=MAX_FLUSHERS).contains(&flushers) {
            let reason = format!("{flushers}; from 1 to {MAX_FLUSHERS}");
            return Err(Error::InvalidOption { option: "flushers", reason });
        }
        // The first one's buffer is among what the floor counts.
        let more = (flushers - 1) * batch_bytes;
        if self.memory < floor + more {
            let least = floor + (flushers - 1) * Self::batch_bytes(2 * floor, page_size);
            return Err(Error::InvalidOption {
                option: "memory",
                reason: format!("{} bytes; with {flushers} flushers about {least} are needed", self.memory),
            });
        }
        let copies = Self::copy_slots(self.memory, page_size, batch_bytes);
        let frame_count =
            ((self.memory - flushers * batch_bytes - copies.1) / (page_size + FRAME_OVERHEAD)).min((1 << 24) - 1);
        let frame_bytes = frame_count * page_size;
        let mut classes = 1;
        // A page of a greater class has to fit eight times, and its copy into one write batch.
        while (page_size << classes) <= MAX_PAGE_BYTES
            && (page_size << classes) * 8 <= frame_bytes
            && (page_size << classes) + super::double_write::HEADER_BYTES <= batch_bytes
        {
            classes += 1;
        }
        Ok(Plan {
            classes,
            frame_bytes,
            frame_count,
            batch_bytes,
            flushers,
            #[cfg(feature = "btree")]
            copy_slots: copies.0,
        })
    }
}
