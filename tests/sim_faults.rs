//! The simulated disk's errors on demand, space limit, damage, locks, observer, history and counters.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use pagebox::io::{Disk, DiskFile, FileKind, LockKind, OpenMode, WriteObserver};
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};

fn p(name: &str) -> &Path {
    Path::new(name)
}

fn create(disk: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    disk.open(p(name), OpenMode::CreateNew).unwrap()
}

type Call = fn(&SimDisk, &dyn DiskFile) -> io::Result<()>;

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"new";

/// A call, the fault that hits it, and what the file reads afterwards.
const CALLS: &[(FaultOp, &[u8], Call)] = &[
    (FaultOp::Read, OLD, |_, file| file.read_at(&mut [0; 4], 0).map(|_| ())),
    (FaultOp::Write, OLD, |_, file| file.write_at(NEW, 0)),
    (FaultOp::Write, OLD, |_, file| file.write_at_sync(NEW, 0)),
    (FaultOp::SetLen, OLD, |_, file| file.set_len(2)),
    (FaultOp::Allocate, OLD, |_, file| file.allocate(0, 9000)),
    (FaultOp::Sync, OLD, |_, file| file.sync_data()),
    (FaultOp::Sync, OLD, |_, file| file.sync_all()),
    (FaultOp::Sync, NEW, |_, file| file.write_at_sync(NEW, 0)),
    (FaultOp::Create, OLD, |disk, _| disk.open(p("b"), OpenMode::Create).map(|_| ())),
    (FaultOp::Create, OLD, |disk, _| disk.create_dir(p("dir"))),
    (FaultOp::Create, OLD, |disk, _| disk.lock(p("lock"), LockKind::Exclusive, true).map(|_| ())),
    (FaultOp::Rename, OLD, |disk, _| disk.rename(p("a"), p("c"))),
    (FaultOp::Remove, OLD, |disk, _| disk.remove(p("a"))),
    (FaultOp::SyncDir, OLD, |disk, _| disk.sync_dir(p("/"))),
];

#[test]
fn each_kind_of_call_can_fail() {
    for (i, (op, reads, call)) in CALLS.iter().enumerate() {
        let disk = SimDisk::new(1);
        let file = create(&disk, "a");
        file.write_at_sync(OLD, 0).unwrap();
        disk.set_faults(FaultPlan::new().fail(*op, 1, ErrorKind::TimedOut));
        let error = call(&disk, &*file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "call {i}: {op:?}");
        assert_eq!(disk.faults_hit(), 1);
        assert_eq!(disk.contents(), [(PathBuf::from("/a"), reads.to_vec())].into(), "call {i}: {op:?}");
        assert_eq!(disk.list(p("/")).unwrap(), [PathBuf::from("a")], "call {i}: {op:?}");
        call(&disk, &*file).unwrap_or_else(|error| panic!("only the first time, call {i}: {error}"));
    }
}

#[test]
fn faults_count_calls_and_can_last_or_be_of_one_file() {
    let disk = SimDisk::new(1);
    let (a, b) = (create(&disk, "a"), create(&disk, "b"));
    let plan = FaultPlan::new().fail(FaultOp::Write, 2, ErrorKind::Other).only_in("a");
    disk.set_faults(plan.fail_from(FaultOp::Sync, 3, ErrorKind::Other));
    let writes = [&a, &b, &b, &a, &a].map(|file| file.write_at(b"x", 0).is_ok());
    assert_eq!(writes, [true, true, true, false, true]);
    let syncs = [&a, &b, &b, &a, &a].map(|file| file.sync_data().is_ok());
    assert_eq!(syncs, [true, true, false, false, false]);
    disk.set_faults(FaultPlan::new());
    a.sync_data().unwrap();
}

#[test]
fn what_a_failed_sync_covered_can_be_lost_after_a_later_one() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a");
    disk.sync_dir(p("/")).unwrap();
    file.write_at_sync(&[1; 4096], 0).unwrap();
    file.write_at(&[2; 4096], 0).unwrap();
    disk.set_faults(FaultPlan::new().fail(FaultOp::Sync, 1, ErrorKind::Other));
    assert!(file.sync_data().is_err());
    file.write_at(&[3; 512], 4096).unwrap();
    file.sync_data().unwrap();
    let mut now = [0; 4608];
    file.read_at(&mut now, 0).unwrap();
    assert!(now[..4096] == [2; 4096], "reads show the new bytes");
    let left: Vec<Vec<u8>> = (0..500).map(|seed| disk.crash(seed).read_file(p("a")).unwrap()).collect();
    assert!(left.iter().all(|bytes| bytes[4096..] == [3; 512]), "what came after it is safe");
    assert!(left.iter().any(|bytes| bytes[..4096] == [1; 4096]), "lost");
    assert!(left.iter().any(|bytes| bytes[..4096] == [2; 4096]), "or not");
}

#[test]
fn a_full_disk_writes_what_fits_and_heals() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a");
    file.write_at(&[1; 4096], 0).unwrap();
    disk.set_space_limit(Some(3 * 4096));
    assert_eq!(file.allocate(4096, 3 * 4096).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!((file.len().unwrap(), disk.used_bytes()), (4096, 4096));
    assert_eq!(file.write_at(&[2; 4 * 4096], 4096).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 3 * 4096, "as much as fits");
    file.write_at(&[3; 3 * 4096], 0).unwrap();
    assert_eq!(create(&disk, "b").write_at_sync(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    file.set_len(4096).unwrap();
    file.allocate(4096, 4096).unwrap();
    disk.set_space_limit(None);
    file.write_at(&[2; 40 * 4096], 4096).unwrap();
    let removed = create(&disk, "c");
    removed.write_at(&[1; 4096], 0).unwrap();
    disk.remove(p("c")).unwrap();
    disk.sync_dir(p("/")).unwrap();
    assert_eq!(disk.used_bytes(), 42 * 4096, "open files take space");
    drop(removed);
    assert_eq!(disk.used_bytes(), 41 * 4096);
}

#[test]
fn damage_is_durable_and_not_part_of_the_past() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a");
    disk.sync_dir(p("/")).unwrap();
    file.write_at_sync(&[0; 1024], 0).unwrap();
    file.set_len(2000).unwrap();
    let before = disk.history_len();
    disk.create_dir(p("d")).unwrap();
    disk.flip_bit("a", 600, 3).unwrap();
    disk.write_file("/d/new", b"made up").unwrap();
    file.sync_data().unwrap();
    let flipped = |disk: &SimDisk| disk.read_file("a").unwrap()[600];
    for seed in 0..50 {
        assert_eq!(flipped(&disk.crash(seed)), 8);
        assert_eq!(flipped(&disk.crash_at(before + 1, seed)), 8);
        assert_eq!(flipped(&disk.crash_at(before, seed)), 0);
    }
    assert_eq!(disk.read_file("d/new").unwrap(), b"made up");
    disk.truncate("a", 100).unwrap();
    assert_eq!((file.len().unwrap(), disk.crash(0).read_file("a").unwrap().len()), (100, 100));
    assert_eq!(disk.flip_bit("a", 100, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    disk.write_file("a", b"other").unwrap();
    assert_eq!(disk.crash(1).read_file("a").unwrap(), b"other");
    disk.erase("a").unwrap();
    for missing in [disk.read_file("a").map(|_| ()), disk.erase("a"), disk.truncate("a", 0), disk.flip_bit("a", 0, 0)] {
        assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert!((0..50).all(|seed| disk.crash(seed).read_file("a").is_err()));
}

#[test]
fn locks_are_of_one_disk() {
    let disk = SimDisk::new(1);
    let take = |kind| disk.lock(p("lock"), kind, true).unwrap();
    let held = take(LockKind::Exclusive).unwrap();
    assert!(take(LockKind::Exclusive).is_none() && take(LockKind::Shared).is_none());
    disk.sync_dir(p("/")).unwrap();
    assert!(disk.crash(1).lock(p("lock"), LockKind::Exclusive, false).unwrap().is_some());
    drop(held);
    let (a, b) = (take(LockKind::Shared).unwrap(), take(LockKind::Shared).unwrap());
    drop(a);
    assert!(take(LockKind::Exclusive).is_none());
    drop(b);
    assert!(take(LockKind::Exclusive).is_some());
    assert_eq!(disk.lock(p("none"), LockKind::Shared, false).unwrap_err().kind(), ErrorKind::NotFound);
}

#[derive(Default)]
struct Watch(Mutex<Vec<(PathBuf, u64, usize)>>);

impl WriteObserver for Watch {
    fn on_write(&self, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.0.lock().unwrap().push((path.to_owned(), offset, bytes.len()));
        if bytes == b"bad" { Err("a broken rule".to_owned()) } else { Ok(()) }
    }
}

#[test]
fn the_observer_sees_every_write_under_the_name_the_file_has_now() {
    let disk = SimDisk::new(1);
    let watch = Arc::new(Watch::default());
    disk.observe(watch.clone());
    let file = create(&disk, "tmp");
    file.write_at(b"1", 7).unwrap();
    disk.rename(p("tmp"), p("pages")).unwrap();
    file.write_at_sync(b"22", 8).unwrap();
    let seen = watch.0.lock().unwrap().clone();
    assert_eq!(seen, [(PathBuf::from("/tmp"), 7, 1), (PathBuf::from("/pages"), 8, 2)]);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| file.write_at(b"bad", 0))).unwrap_err();
    assert_eq!(caught.downcast_ref::<String>().unwrap(), "a broken rule");
    assert_eq!(file.len().unwrap(), 10, "not written, and the disk still works");
    assert_eq!(disk.stats().writes, 2);
    disk.crash(0).open(p("other"), OpenMode::Create).unwrap().write_at(b"bad", 0).unwrap();
}

#[test]
fn marks_belong_to_the_operations_before_them() {
    let disk = SimDisk::new(1);
    assert_eq!((disk.history_len(), disk.last_mark_before(0)), (0, None));
    let file = create(&disk, "a");
    disk.mark(10);
    file.write_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    disk.mark(11);
    disk.mark(12);
    assert_eq!(disk.history_len(), 3);
    let before: Vec<Vec<u64>> = (0..4).map(|index| disk.marks_before(index)).collect();
    assert_eq!(before, [vec![], vec![10], vec![10], vec![10, 11, 12]]);
    assert_eq!(disk.last_mark_before(2), Some(10));
}

#[test]
fn a_disk_without_history_still_crashes_now() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a");
    disk.set_history(false);
    file.write_at_sync(b"x", 0).unwrap();
    disk.sync_dir(p("/")).unwrap();
    assert_eq!(disk.crash(5).read_file(p("a")).unwrap(), b"x");
    assert_eq!(disk.crash_at(disk.history_len(), 5).contents(), disk.crash(5).contents());
    disk.set_history(true);
    let base = disk.history_len();
    file.write_at_sync(b"y", 0).unwrap();
    assert_eq!(disk.crash_at(base, 0).read_file(p("a")).unwrap(), b"x");
    assert_eq!(disk.crash_at(base + 1, 0).read_file(p("a")).unwrap(), b"y");
    let too_early = std::panic::AssertUnwindSafe(|| disk.crash_at(base - 1, 0));
    assert!(std::panic::catch_unwind(too_early).is_err());
}

#[test]
fn answers_are_those_of_a_file_system() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a");
    disk.create_dir(p("/d")).unwrap();
    let kinds = [
        (disk.open(p("a"), OpenMode::CreateNew).map(|_| ()), ErrorKind::AlreadyExists),
        (disk.open(p("/d"), OpenMode::Create).map(|_| ()), ErrorKind::InvalidInput),
        (disk.open(p("none"), OpenMode::Read).map(|_| ()), ErrorKind::NotFound),
        (disk.open(p("none/x"), OpenMode::Create).map(|_| ()), ErrorKind::NotFound),
        (disk.open(p("a/x"), OpenMode::Create).map(|_| ()), ErrorKind::NotADirectory),
        (disk.create_dir(p("d")), ErrorKind::AlreadyExists),
        (disk.create_dir(p("/")), ErrorKind::AlreadyExists),
        (disk.create_dir(p("no/d")), ErrorKind::NotFound),
        (disk.remove(p("none")), ErrorKind::NotFound),
        (disk.remove(p("d")), ErrorKind::IsADirectory),
        (disk.rename(p("none"), p("x")), ErrorKind::NotFound),
        (disk.rename(p("a"), p("d")), ErrorKind::IsADirectory),
        (disk.sync_dir(p("a")), ErrorKind::NotADirectory),
        (disk.list(p("none")).map(|_| ()), ErrorKind::NotFound),
        (file.write_at(b"x", u64::MAX), ErrorKind::FileTooLarge),
        (file.set_len(1 << 60), ErrorKind::FileTooLarge),
        (disk.open(p("a"), OpenMode::Read).unwrap().write_at(b"x", 0), ErrorKind::PermissionDenied),
    ];
    for (i, (result, kind)) in kinds.into_iter().enumerate() {
        assert_eq!(result.unwrap_err().kind(), kind, "case {i}");
    }
    assert_eq!(disk.kind(p("d/../a")).unwrap(), Some(FileKind::File));
    assert_eq!(disk.kind(p("")).unwrap(), Some(FileKind::Directory));
    assert_eq!(disk.kind(p("none/x")).unwrap(), None);
    assert_eq!(disk.list(p("")).unwrap(), [PathBuf::from("a"), PathBuf::from("d")]);
    assert_eq!(file.read_at(&mut [0; 8], u64::MAX).unwrap(), 0);
    assert!(disk.deterministic());
}

#[test]
fn many_threads_may_use_it_at_once() {
    let disk = SimDisk::new(1);
    let file = create(&disk, "a");
    disk.sync_dir(p("/")).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (file, disk) = (&file, &disk);
            scope.spawn(move || {
                for i in 0..200u64 {
                    file.write_at(&[thread as u8 + 1; 512], (i * 4 + thread) * 512).unwrap();
                    if i % 50 == 49 {
                        file.sync_data().unwrap();
                        let _ = disk.crash(i);
                    }
                }
            });
        }
    });
    let stats = disk.stats();
    assert_eq!((stats.writes, stats.written_bytes, stats.syncs, stats.dir_syncs), (800, 800 * 512, 16, 1));
    let bytes = disk.crash(0).read_file(p("a")).unwrap();
    assert!(bytes.chunks(512).enumerate().all(|(i, sector)| sector == [(i % 4) as u8 + 1; 512]));
}

/// The cost that campaigns live on: states from all over the history of a store of some MiB.
#[test]
fn a_state_costs_what_is_dirty() {
    let disk = SimDisk::new(1);
    let (pages, log) = (create(&disk, "pages"), create(&disk, "log"));
    disk.sync_dir(p("/")).unwrap();
    pages.write_at(&vec![1; 8 << 20], 0).unwrap();
    pages.sync_data().unwrap();
    log.write_at_sync(&vec![0; 4 << 20], 0).unwrap();
    for i in 0..2_000u64 {
        log.write_at_sync(&[i as u8; 4096], i % 1000 * 4096).unwrap();
        pages.write_at(&[i as u8; 4096], i * 7 % 2048 * 4096).unwrap();
        if i % 40 == 0 {
            pages.sync_data().unwrap();
        }
    }
    let start = std::time::Instant::now();
    let states = 2_000;
    for seed in 0..states {
        let left = disk.crash_at(seed * disk.history_len() / states, seed);
        assert!(left.used_bytes() <= 12 << 20);
    }
    let each = start.elapsed() / states as u32;
    assert!(each.as_millis() < 20, "a crash state took {each:?}");
    println!("a crash state took {each:?}");
}
