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
    /// Pages (of the store's page size) that large values take.
    pub value_pages: u64,
    /// Pages of dropped trees that are still to be freed.
    pub dropped_pages: u64,
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
    /// Bytes of page memory in use, or committed ahead of it.
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
    /// Pages (of the store's page size) allocated since the store was opened: one a split, two when a root grows.
    pub pages_allocated: u64,
    /// Pages freed since the store was opened: one a merge.
    pub pages_freed: u64,
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
    /// Dropped trees that are freed but for what is damaged, and for the nodes that lead there:
    /// [`Store::check_all`](crate::Store::check_all) says what. Tried again about once a minute.
    pub dropped_damaged: u64,
    /// Records redone when the store was opened.
    pub recovered_records: u64,
}

#[cfg(feature = "metrics")]
impl Stats {
    /// Hands the numbers to the recorder of the `metrics` facade, labelled with the store's directory: counters for what
    /// only rises while a store is open, gauges for the rest. Called from the background, never by an operation.
    pub(crate) fn publish(&self, store: &str) {
        let count = |name: &'static str, n: u64| metrics::counter!(name, "store" => store.to_owned()).absolute(n);
        let gauge = |name: &'static str, n: u64| metrics::gauge!(name, "store" => store.to_owned()).set(n as f64);
        count("pagebox_misses", self.misses);
        count("pagebox_evictions", self.evictions);
        count("pagebox_pages_written", self.pages_written);
        count("pagebox_write_batches", self.write_batches);
        count("pagebox_reads", self.reads);
        count("pagebox_writes", self.writes);
        count("pagebox_batches", self.batches);
        count("pagebox_checkpoints", self.checkpoints);
        count("pagebox_log_end_bytes", self.end_lsn.get());
        count("pagebox_log_durable_bytes", self.durable_lsn.get());
        count("pagebox_pages_allocated", self.pages_allocated);
        count("pagebox_pages_freed", self.pages_freed);
        gauge("pagebox_resident_bytes", self.resident_bytes);
        gauge("pagebox_capacity_bytes", self.capacity_bytes);
        gauge("pagebox_log_file_bytes", self.log_bytes);
        gauge("pagebox_file_pages", self.file_pages);
        gauge("pagebox_free_pages", self.free_pages);
        gauge("pagebox_pending_pages", self.pending_pages);
        gauge("pagebox_dropped_damaged", self.dropped_damaged);
    }
}
