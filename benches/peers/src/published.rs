//! redb's own benchmark as redb publishes it, run with redb's own program on a machine of the kind pagebox is developed
//! on (2 cores of an AMD EPYC, 23 GiB, ext4 on a virtio disk): what this harness has to agree with, as ratios.

/// A step of the table: our workload, threads, and operations a second of redb, LMDB, RocksDB, fjall and SQLite.
pub struct Step {
    /// The workload here.
    pub workload: &'static str,
    /// Threads.
    pub threads: usize,
    /// The figures, in the order of [`ENGINES`].
    pub ops_per_s: [f64; 5],
}

/// The engines of the table.
pub const ENGINES: [&str; 5] = ["redb", "heed", "rocksdb", "fjall", "sqlite"];

const fn step(workload: &'static str, threads: usize, ops_per_s: [f64; 5]) -> Step {
    Step { workload, threads, ops_per_s }
}

/// The table.
pub const TABLE: &[Step] = &[
    step("redb/bulk_load", 1, [276e3, 372e3, 232e3, 226e3, 197e3]),
    step("redb/single_commits", 1, [4.39e3, 3.44e3, 6.68e3, 10.3e3, 1.38e3]),
    step("redb/batch_commits", 1, [32.3e3, 20.6e3, 336e3, 676e3, 30.3e3]),
    step("redb/sorted_inserts", 1, [2.19e6, 4.98e6, 261e3, 407e3, 473e3]),
    step("redb/commits_no_sync", 1, [30.3e3, 48.6e3, 231e3, 326e3, 16.6e3]),
    step("redb/random_reads", 1, [582e3, 949e3, 279e3, 187e3, 131e3]),
    step("redb/seek_10", 1, [271e3, 556e3, 100e3, 75.9e3, 38.7e3]),
    step("redb/random_reads", 4, [1.25e6, 2.01e6, 514e3, 347e3, 226e3]),
    step("redb/remove_half", 1, [132e3, 205e3, 277e3, 308e3, 75.9e3]),
];
