//! What the log costs: an append without a disk, and a durable commit beside the bare system calls it is made of.
//!
//! `cargo bench --no-default-features --features wal --bench wal`. Files go under Cargo's target directory, so on the
//! disk that the build is on.

use divan::Bencher;
use divan::counter::ItemsCount;
use pagebox::io::{Disk, DiskFile, DiskLock, FileDisk, FileKind, LockKind, OpenMode};
use pagebox::wal::{LogPressure, RecordBuilder, SyncMethod, Wal, WalOptions};
use pagebox::{PageId, PageKind, Result, SizeClass};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

fn main() {
    divan::main();
}

/// A record of 190 bytes, about one insert of 24 + 150 bytes.
fn record() -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut record = RecordBuilder::new(&mut buffer);
    record.begin_part(PageKind::FIRST_USER, 1, SizeClass::ZERO, false, PageId::new(77));
    record.extend_from_slice(&[0x5A; 190 - 16]);
    assert_eq!(record.finish().len(), 190);
    buffer
}

/// Keeps the log short, in place of a checkpoint.
struct Forget(Weak<Wal>);

impl LogPressure for Forget {
    fn relieve(&self, _needed: bool) -> Result<()> {
        if let Some(log) = self.0.upgrade() {
            log.commit(log.position())?;
            log.release_below(log.durable_lsn())?;
        }
        Ok(())
    }
}

fn open(disk: Arc<dyn Disk>, dir: &Path, method: SyncMethod) -> Arc<Wal> {
    let log = Wal::create(disk, dir, 1, 1, WalOptions::default().sync_method(method)).expect("a fresh log");
    let log = Arc::new(log);
    log.set_pressure(Arc::new(Forget(Arc::downgrade(&log))));
    log
}

fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Reserve and append, with groups written to a disk that forgets them: what a writer pays before it commits. Header,
/// checksum and hand-over of full buffers are in it.
#[divan::bench(threads = [1, 2], sample_size = 10_000)]
fn append_190(bencher: Bencher) {
    let log = open(Arc::new(Forgetful), Path::new("/log"), SyncMethod::Auto);
    let record = record();
    bencher.counter(ItemsCount::new(1u32)).bench(|| {
        let permit = log.reserve(record.len()).expect("room");
        log.append(permit, &record)
    });
}

/// Append and wait until durable; the last method is what `Auto` takes, where the disk has it.
#[divan::bench(
    threads = [1, 16],
    args = [SyncMethod::Fdatasync, SyncMethod::Dsync, SyncMethod::DirectDsync],
    sample_size = 20
)]
fn durable_commit(bencher: Bencher, method: SyncMethod) {
    let temp = temp_dir();
    let log = open(Arc::new(FileDisk::new()), &temp.path().join("wal"), method);
    let record = record();
    bencher.counter(ItemsCount::new(1u32)).bench(|| {
        let permit = log.reserve(record.len()).expect("room");
        let lsn = log.append(permit, &record);
        log.commit(lsn).expect("durable");
    });
}

/// The floor: 4 KiB written over a zero-filled file, then fdatasync; or the same as one synced write.
#[divan::bench(args = [SyncMethod::Fdatasync, SyncMethod::Dsync], sample_size = 20)]
fn bare_4k_write_and_sync(bencher: Bencher, method: SyncMethod) {
    const LEN: u64 = 16 << 20;
    let temp = temp_dir();
    let file = FileDisk::new().open(&temp.path().join("bare"), OpenMode::CreateNew).expect("a file");
    file.write_at(&vec![0; LEN as usize], 0).expect("filled");
    file.sync_all().expect("synced");
    let block = [0xA5; 4096];
    let mut at = 0;
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        if method == SyncMethod::Dsync {
            file.write_at_sync(&block, at).expect("written");
        } else {
            file.write_at(&block, at).expect("written");
            file.sync_data().expect("synced");
        }
        at = (at + 4096) % LEN;
    });
}

/// A disk that keeps nothing.
#[derive(Debug)]
struct Forgetful;

impl DiskFile for Forgetful {
    fn read_at(&self, _buf: &mut [u8], _offset: u64) -> io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(16 << 20)
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Forgetful {
    fn open(&self, _path: &Path, _mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Forgetful))
    }
    fn kind(&self, _path: &Path) -> io::Result<Option<FileKind>> {
        Ok(None)
    }
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, _dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _path: &Path, _kind: LockKind, _create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        Ok(None)
    }
}
