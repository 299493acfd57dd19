//! A disk in memory for many threads: the simulated disk without a history, which gives the processor away at random, so
//! that other threads run in the middle of loads, evictions and flushes.

use super::rng::mix;
use pagebox::io::{Disk, DiskFile, DiskLock, FileKind, LockKind, OpenMode, WriteObserver};
use pagebox::sim::SimDisk;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Unsteady {
    disk: SimDisk,
    turn: Arc<AtomicU64>,
    pages: Arc<Pages>,
}

/// What is known of the page file.
#[derive(Debug, Default)]
struct Pages {
    /// Milliseconds that it takes to grow.
    slow: AtomicU64,
    /// How often it did, or began to.
    growths: AtomicU64,
    reads: AtomicU64,
}

impl Unsteady {
    pub fn new(seed: u64) -> Unsteady {
        let disk = SimDisk::new(seed);
        disk.set_history(false);
        Unsteady { disk, turn: Arc::new(AtomicU64::new(mix(seed))), pages: Arc::default() }
    }

    /// From here on, the page file takes so long to grow.
    pub fn slow_growth(&self, millis: u64) {
        self.pages.slow.store(millis, Ordering::Relaxed);
    }

    /// How often the page file began to grow.
    pub fn growths(&self) -> u64 {
        self.pages.growths.load(Ordering::Relaxed)
    }

    /// How often it was read from.
    pub fn reads(&self) -> u64 {
        self.pages.reads.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct File {
    file: Arc<dyn DiskFile>,
    turn: Arc<AtomicU64>,
    /// If it is the page file.
    pages: Option<Arc<Pages>>,
}

impl File {
    fn rest(&self) {
        // Relaxed: any sequence will do.
        for _ in 0..mix(self.turn.fetch_add(1, Ordering::Relaxed)) % 4 {
            std::thread::yield_now();
        }
    }
}

impl DiskFile for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.rest();
        if let Some(pages) = &self.pages {
            pages.reads.fetch_add(1, Ordering::Relaxed);
        }
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.rest();
        self.file.write_at(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        if let Some(pages) = &self.pages {
            pages.growths.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(pages.slow.load(Ordering::Relaxed)));
        }
        self.file.allocate(offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.rest();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.rest();
        self.file.sync_all()
    }
}

impl Disk for Unsteady {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let pages = path.ends_with("pages").then(|| self.pages.clone());
        Ok(Arc::new(File { file: self.disk.open(path, mode)?, turn: self.turn.clone(), pages }))
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.disk.kind(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path, kind: LockKind, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.disk.lock(path, kind, create)
    }

    fn observe(&self, observer: Arc<dyn WriteObserver>) {
        self.disk.observe(observer);
    }
}
