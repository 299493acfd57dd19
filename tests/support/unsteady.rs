//! A disk in memory for many threads: the simulated disk without a history, which gives the processor away at random, so
//! that other threads run in the middle of loads, evictions and flushes.

use super::hooked::{Hook, HookedDisk, Target};
use super::rng::mix;
use pagebox::sim::SimDisk;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What happens in the middle of its calls, and what is known of the page file.
pub struct Unrest {
    turn: AtomicU64,
    /// Milliseconds that the page file takes to grow.
    slow: AtomicU64,
    /// How often it did, or began to.
    growths: AtomicU64,
    reads: AtomicU64,
}

pub type Unsteady = HookedDisk<Unrest>;

/// A new one.
pub fn unsteady(seed: u64) -> Unsteady {
    let disk = SimDisk::new(seed);
    disk.set_history(false);
    let (turn, slow, growths, reads) =
        (AtomicU64::new(mix(seed)), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    HookedDisk::over(disk, Arc::new(Unrest { turn, slow, growths, reads }))
}

impl Unrest {
    fn rest(&self) {
        // Relaxed: any sequence will do.
        for _ in 0..mix(self.turn.fetch_add(1, Ordering::Relaxed)) % 4 {
            std::thread::yield_now();
        }
    }

    /// From here on, the page file takes so long to grow.
    pub fn slow_growth(&self, millis: u64) {
        self.slow.store(millis, Ordering::Relaxed);
    }

    /// How often the page file began to grow.
    pub fn growths(&self) -> u64 {
        self.growths.load(Ordering::Relaxed)
    }

    /// How often it was read from.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl Hook for Unrest {
    fn read(&self, to: &Target, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.rest();
        if to.is_pages() {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }
        to.file.read_at(buf, offset)
    }

    fn write(&self, to: &Target, buf: &[u8], offset: u64) -> io::Result<()> {
        self.rest();
        to.file.write_at(buf, offset)
    }

    fn allocate(&self, to: &Target, offset: u64, len: u64) -> io::Result<()> {
        if to.is_pages() {
            self.growths.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(self.slow.load(Ordering::Relaxed)));
        }
        to.file.allocate(offset, len)
    }

    fn sync_data(&self, to: &Target) -> io::Result<()> {
        self.rest();
        to.file.sync_data()
    }

    fn sync_all(&self, to: &Target) -> io::Result<()> {
        self.rest();
        to.file.sync_all()
    }
}
