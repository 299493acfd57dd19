//! Syncs of the page file: one at a time, each for all who wait, and none after one that failed (P9).

use super::super::sync_gate::GatedFile;
use super::*;
use crate::io::DiskFile;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A file of nothing but syncs, which notes what they cover.
#[derive(Debug, Default)]
struct Gauge {
    /// Writes made.
    written: StdU64,
    /// Those that a successful sync has covered.
    covered: StdU64,
    running: StdU64,
    /// Syncs begun, and those of the whole length.
    syncs: StdU64,
    lengths: StdU64,
    /// The sync that fails, from 1; and whether by a panic.
    fails: StdU64,
    panics: AtomicBool,
}

impl Gauge {
    fn sync(&self) -> io::Result<()> {
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0, "P9: two syncs at a time");
        let number = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = self.written.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        self.running.fetch_sub(1, Ordering::SeqCst);
        if number == self.fails.load(Ordering::SeqCst) {
            assert!(!self.panics.load(Ordering::SeqCst), "the medium's own bug");
            return Err(io::Error::other("broken"));
        }
        self.covered.fetch_max(seen, Ordering::SeqCst);
        Ok(())
    }
}

impl DiskFile for Gauge {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.lengths.fetch_add(1, Ordering::SeqCst);
        self.sync()
    }
    fn write_at_sync(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("P9: a sync beside the gate");
    }
}

/// Eight threads that write and sync `times` times each, or until a sync is refused; how many syncs returned `Ok`.
fn write_and_sync(gauge: &Arc<Gauge>, file: &GatedFile, times: u64) -> u64 {
    let good = StdU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let good = &good;
            scope.spawn(move || {
                for i in 0..times {
                    let mine = gauge.written.fetch_add(1, Ordering::SeqCst) + 1;
                    let synced = catch_unwind(AssertUnwindSafe(|| match (thread + i) % 3 {
                        0 => file.sync_all(),
                        1 => file.sync_data(),
                        _ => file.write_at_sync(&[1], 0),
                    }));
                    let Ok(Ok(())) = synced else { return };
                    assert!(gauge.covered.load(Ordering::SeqCst) >= mine, "a sync that began too early");
                    good.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    good.into_inner()
}

#[test]
fn one_sync_at_a_time_serves_all_who_wait() {
    let gauge = Arc::new(Gauge::default());
    let file = GatedFile::new(gauge.clone());
    assert_eq!(write_and_sync(&gauge, &file, 15), 120);
    let syncs = gauge.syncs.load(Ordering::SeqCst);
    assert!(syncs < 90, "{syncs} syncs for 120 callers");
    // Alone, each makes its own, and of the kind it asked for.
    let lengths = gauge.lengths.load(Ordering::SeqCst);
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    assert_eq!(gauge.syncs.load(Ordering::SeqCst), syncs + 2);
    assert_eq!(gauge.lengths.load(Ordering::SeqCst), lengths + 1);
}

#[test]
fn who_needs_the_length_gets_it_from_whoever_leads() {
    let gauge = Arc::new(Gauge::default());
    let file = GatedFile::new(gauge.clone());
    for _ in 0..20 {
        let lengths = gauge.lengths.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| file.sync_data().unwrap());
            }
            file.sync_all().unwrap();
            assert!(gauge.lengths.load(Ordering::SeqCst) > lengths);
        });
    }
}

#[test]
fn after_a_sync_that_failed_none_is_made() {
    for panics in [false, true] {
        let gauge = Arc::new(Gauge::default());
        gauge.fails.store(5, Ordering::SeqCst);
        gauge.panics.store(panics, Ordering::SeqCst);
        let file = GatedFile::new(gauge.clone());
        // Nobody is left waiting, and nobody succeeds behind the one that failed.
        write_and_sync(&gauge, &file, 1000);
        assert_eq!(gauge.syncs.load(Ordering::SeqCst), 5, "P9");
        let refused = file.sync_all().unwrap_err().to_string();
        assert!(refused.contains(if panics { "panicked" } else { "broken" }), "{refused}");
        assert!(file.write_at_sync(&[1], 0).is_err());
        assert_eq!(gauge.syncs.load(Ordering::SeqCst), 5, "P9");
    }
}

#[test]
fn a_pool_that_is_poisoned_during_a_sync_takes_no_success_from_it() {
    let rig = Rig::floor();
    let pool = rig.pool.clone();
    *rig.store.on_sync.lock() = Some(Arc::new(move |_| pool.poison("somebody else's sync failed")));
    assert!(matches!(rig.pool.sync_content(), Err(Error::Poisoned { .. })));
    assert!(rig.log.poisoned.load(Ordering::SeqCst), "the log hears of it at once");
}

#[test]
fn a_pool_that_is_poisoned_during_a_batch_marks_nothing_clean() {
    let rig = Rig::floor();
    rig.create(1);
    let pool = rig.pool.clone();
    *rig.store.on_write.lock() = Some(Arc::new(move |_| pool.poison("somebody else's sync failed")));
    assert!(matches!(rig.pool.flush_all(), Err(Error::Poisoned { .. })));
    assert_ne!(rig.pool.min_recovery_lsn(), Lsn::MAX, "P6: nothing counts as clean any more");
}

#[cfg(feature = "btree")]
#[test]
fn a_pool_that_is_poisoned_during_a_sync_of_runs_takes_no_success_from_it() {
    let rig = Rig::floor();
    let pool = rig.pool.clone();
    *rig.store.on_sync.lock() = Some(Arc::new(move |_| pool.poison("somebody else's sync failed")));
    assert!(matches!(rig.pool.sync_runs(), Err(Error::Poisoned { .. })));
}

#[cfg(feature = "sim")]
mod reopened {
    use super::*;
    use crate::io::{Disk, OpenMode};
    use crate::page::bytes::PageWriter;
    use crate::page::header;
    use crate::pool::double_write::HEADER_BYTES;
    use crate::sim::{FaultOp, FaultPlan, SimDisk};

    fn open(disk: &SimDisk) -> FilePageStore {
        let path = std::path::Path::new("/pages");
        let file = disk.open(path, OpenMode::Create).unwrap();
        FilePageStore::open(file, path.into(), PAGE, 7, 0, false).unwrap()
    }

    /// A batch of one page, full of `fill`.
    fn write(store: &FilePageStore, id: PageId, fill: u8) -> Result<()> {
        let mut buffer = vec![0; HEADER_BYTES + PAGE];
        let image = &mut buffer[HEADER_BYTES..];
        image.fill(fill);
        let class = SizeClass::ZERO;
        let (kind, lsn, tree) = (PageKind::FIRST_USER, Lsn::NONE, TreeId::NONE);
        let fields = PageHeader { checksum: 0, kind, class, id, lsn, tree, swip_offset: 0, swip_count: 0 };
        // SAFETY: the bytes are the caller's own for as long as the writer lives.
        fields.write(&mut unsafe { PageWriter::new(image.as_mut_ptr(), PAGE) });
        let sum = header::checksum(image);
        image[..4].copy_from_slice(&sum.to_le_bytes());
        store.write_batch(&mut buffer, &[PageImage { id, class, offset: HEADER_BYTES, len: PAGE }])
    }

    /// A batch's last sync fails, and the store is opened again while reads still show its pages whole. The next batch takes
    /// the place of their copies.
    #[test]
    fn pages_whose_sync_failed_are_made_durable_before_their_copies_go() {
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            let first = FilePageStore::first_page_of(PAGE);
            let other = PageId::new(first.get() + 1);
            let store = open(&disk);
            write(&store, first, 1).unwrap();
            disk.sync_dir(std::path::Path::new("/")).unwrap();
            disk.set_faults(FaultPlan::new().fail(FaultOp::Sync, 2, io::ErrorKind::Other));
            assert!(write(&store, first, 2).is_err());
            disk.set_faults(FaultPlan::new());
            drop(store);
            write(&open(&disk), other, 3).unwrap();
            let after = disk.crash(seed);
            let mut image = vec![0; PAGE];
            open(&after).read(first, &mut image).unwrap();
            let whole = super::super::super::load::verify(first, SizeClass::ZERO, &image);
            whole.unwrap_or_else(|error| panic!("P7, seed {seed}: {error}"));
        }
    }
}
