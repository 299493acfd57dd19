//! What a store tells about itself.

use crate::types::Lsn;

/// What [`Store::check`](crate::Store::check) went through, all of it sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Trees, the catalog included.
    pub trees: u64,
    /// Pages that belong to a tree.
    pub tree_pages: u64,
    /// Key-value pairs in all trees but the catalog.
    pub records: u64,
    /// Pages (of the store's page size) that are free.
    pub free_pages: u64,
    /// Pages freed and waiting until no superblock can need them.
    pub pending_pages: u64,
    /// Pages that hold the record of free space.
    pub snapshot_pages: u64,
}

/// Plain numbers about a store, gathered without stopping anybody: each is exact, together they are a blur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The store's page size in bytes.
    pub page_size: u64,
    /// Bytes of page memory in use.
    pub resident_bytes: u64,
    /// Bytes of page memory the budget allows.
    pub capacity_bytes: u64,
    /// Pages read because they were not in memory.
    pub misses: u64,
    /// Pages that had to leave memory.
    pub evictions: u64,
    /// Pages written in place.
    pub pages_written: u64,
    /// Batches those pages went out in, two syncs each.
    pub write_batches: u64,
    /// Pages (of the store's page size) the page file has.
    pub file_pages: u64,
    /// Of these, free.
    pub free_pages: u64,
    /// Of these, freed and waiting until no superblock can need them.
    pub pending_pages: u64,
    /// The end of the log: what was appended.
    pub end_lsn: Lsn,
    /// How much of it is on disk.
    pub durable_lsn: Lsn,
    /// Where a recovery would start to read.
    pub redo_lsn: Lsn,
    /// File bytes the log takes.
    pub log_bytes: u64,
    /// Single-key reads so far.
    pub reads: u64,
    /// Single-key writes so far.
    pub writes: u64,
    /// Batches applied so far.
    pub batches: u64,
    /// Checkpoints taken since the store was opened.
    pub checkpoints: u64,
    /// Records redone when the store was opened.
    pub recovered_records: u64,
}
