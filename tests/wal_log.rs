//! The log from outside: append, commit, reopen; groups, space, poison, readers.

#[path = "support/hooked.rs"]
mod hooked;
mod wal_support;

use hooked::{Hook, HookedDisk, Target};
use pagebox::io::{Disk, FileDisk, WriteObserver};
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::wal::{LogPressure, SyncMethod, Wal};
use pagebox::{Error, Lsn, Result};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use wal_support::*;

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    (disk, shared)
}

#[test]
fn what_is_committed_is_there_after_reopening() {
    let (_, disk) = sim();
    let dir = Path::new(DIR);
    let options = small().max_log_bytes(4 << 20);
    let mut log = create(&disk, options).unwrap();
    assert_eq!((log.position(), log.durable_lsn()), (Lsn::FIRST, Lsn::FIRST));
    let mut point = first_point();
    let mut expected = Vec::new();
    for session in 0..5 {
        for i in 0..100 {
            let n = session * 100 + i;
            let lsn = append(&log, n, (n % 300) as usize).unwrap();
            assert_eq!(log.position(), lsn);
            expected.push((n, lsn));
            if n % 3 == 0 {
                log.commit(lsn).unwrap();
                assert_eq!(log.durable_lsn(), lsn);
            }
        }
        log.commit(Lsn::MAX).unwrap();
        drop(log);
        let (tail, found) = scan(&*disk, dir, &point).unwrap();
        assert_eq!(found, expected);
        (point.incarnation, point.accepted_end) = (point.incarnation + 1, tail.end().lsn);
        log = Wal::open_at(Arc::clone(&disk), dir, STORE, tail, point.incarnation, options).unwrap();
        assert_eq!(log.durable_lsn(), expected.last().unwrap().1);
    }
}

#[test]
fn sixteen_threads_share_groups_and_lose_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new());
    let options = small().max_log_bytes(64 << 20);
    let log = Wal::create(Arc::clone(&disk), &dir, STORE, 1, options).unwrap();
    let acknowledged = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let (log, acknowledged) = (&log, &acknowledged);
            scope.spawn(move || {
                for i in 0..60 {
                    let n = thread * 1000 + i;
                    let lsn = append(log, n, 150).unwrap();
                    log.commit(lsn).unwrap();
                    assert!(log.durable_lsn() >= lsn);
                    acknowledged.lock().unwrap().insert(n);
                }
            });
        }
    });
    let stats = log.stats();
    assert_eq!(stats.records, 960);
    assert!(stats.groups < 960, "{} groups for 960 commits of 16 threads: nothing was shared", stats.groups);
    let (_, found) = scan(&*disk, &dir, &first_point()).unwrap();
    let found: BTreeSet<u64> = found.into_iter().map(|(n, _)| n).collect();
    assert_eq!(found, acknowledged.into_inner().unwrap());
}

#[test]
fn a_full_disk_fails_the_reservation_and_heals() {
    let (raw, disk) = sim();
    let log = create(&disk, small()).unwrap();
    raw.set_space_limit(Some(raw.used_bytes()));
    let (mut n, mut failed) = (0, None);
    while failed.is_none() {
        match append(&log, n, 3000) {
            Ok(lsn) => log.commit(lsn).unwrap(),
            Err(error) => failed = Some(error),
        }
        n += 1;
    }
    assert!(matches!(failed, Some(Error::NoSpace { needed: 65536, .. })), "{failed:?}");
    assert!(log.poisoned().is_none());
    log.commit(Lsn::MAX).unwrap();
    assert!(append(&log, n, 3000).is_err(), "still full");
    let names = disk.list(Path::new(DIR)).unwrap();
    assert_eq!(names.len(), 1, "nothing half-made is left: {names:?}");
    raw.set_space_limit(None);
    let lsn = append(&log, n - 1, 3000).unwrap();
    log.commit(lsn).unwrap();
    assert_eq!(scan(&*disk, Path::new(DIR), &first_point()).unwrap().1.len() as u64, n);
}

#[test]
fn whatever_fails_while_a_segment_is_made_leaves_the_log_sound() {
    for op in [FaultOp::Create, FaultOp::Allocate, FaultOp::Write, FaultOp::Sync, FaultOp::Rename, FaultOp::SyncDir] {
        let (raw, disk) = sim();
        let log = create(&disk, small()).unwrap();
        let mut failures = 0;
        for n in 0..40 {
            raw.set_faults(FaultPlan::new().fail(op, 1, ErrorKind::Other));
            let reserved = log.reserve(3100);
            raw.set_faults(FaultPlan::new());
            match reserved {
                Ok(permit) => drop(permit),
                Err(error) => {
                    assert!(matches!(error, Error::Io { .. }), "{error}");
                    failures += 1;
                }
            }
            append(&log, n, 3000).unwrap();
            log.commit(Lsn::MAX).unwrap();
        }
        assert!(failures > 0, "{op:?} was never met");
        assert_eq!(scan(&*disk, Path::new(DIR), &first_point()).unwrap().1.len(), 40);
    }
}

#[test]
fn a_failed_write_or_sync_poisons_for_good() {
    for op in [FaultOp::Sync, FaultOp::Write] {
        for method in [SyncMethod::Fdatasync, SyncMethod::Dsync] {
            let (raw, disk) = sim();
            let log = create(&disk, small().sync_method(method)).unwrap();
            let safe = append(&log, 1, 10).unwrap();
            log.commit(safe).unwrap();
            raw.set_faults(FaultPlan::new().fail(op, 1, ErrorKind::Other));
            let lost = append(&log, 2, 10).unwrap();
            let permit = log.reserve(40).unwrap();
            assert!(matches!(log.commit(lost), Err(Error::Poisoned { .. })));
            assert_eq!(raw.faults_hit(), 1);
            // The fault is over, but the log does not try again.
            let written = raw.stats().writes;
            assert!(matches!(log.commit(lost), Err(Error::Poisoned { .. })));
            assert!(matches!(log.reserve(10), Err(Error::Poisoned { .. })));
            log.commit(safe).unwrap();
            // A change that is under way ends; its record never becomes durable. Room is no matter any more.
            let mut buffer = Vec::new();
            let after = log.append(permit, build(&mut buffer, 3, 10));
            assert!(after > lost && log.position() == after);
            assert!(log.commit(after).is_err());
            assert_eq!((raw.stats().writes, log.durable_lsn()), (written, safe));
        }
    }
}

/// Poisons the log while it writes a group.
struct Poisons(Mutex<Option<Arc<Wal>>>);

impl WriteObserver for Poisons {
    fn on_write(&self, _: &Path, _: u64, _: &[u8]) -> std::result::Result<(), String> {
        let log = self.0.lock().unwrap().take();
        if let Some(log) = log {
            log.poison("what the records rely on is lost");
        }
        Ok(())
    }
}

#[test]
fn what_is_written_while_the_log_is_poisoned_does_not_become_durable() {
    let (raw, disk) = sim();
    let log = Arc::new(create(&disk, small()).unwrap());
    let safe = append(&log, 1, 10).unwrap();
    log.commit(safe).unwrap();
    let lsn = append(&log, 2, 10).unwrap();
    raw.observe(Arc::new(Poisons(Mutex::new(Some(log.clone())))));
    assert!(matches!(log.commit(lsn), Err(Error::Poisoned { .. })));
    assert_eq!(log.durable_lsn(), safe);
}

#[test]
fn appends_to_a_poisoned_log_neither_hang_nor_panic() {
    let (_, disk) = sim();
    let log = create(&disk, small()).unwrap();
    let mut buffer = Vec::new();
    let record = build(&mut buffer, 1, 1000);
    let permits: Vec<_> = (0..8).map(|_| log.reserve(record.len()).unwrap()).collect();
    log.poison("a test");
    let before = log.position();
    // More than both buffers hold.
    for permit in permits {
        log.append(permit, record);
    }
    assert_eq!(log.position().get(), before.get() + 8 * record.len() as u64);
    assert!(log.commit(Lsn::MAX).unwrap_err().to_string().contains("a test"));
}

#[test]
fn a_record_beyond_its_permit_poisons_instead_of_breaking_the_account() {
    let (_, disk) = sim();
    for broken in [0usize, 1] {
        let fresh = SimDisk::new(3);
        let log = create(&(Arc::new(fresh) as Arc<dyn Disk>), small()).unwrap();
        let mut buffer = Vec::new();
        let record = build(&mut buffer, 1, 1000);
        let (room, record) = if broken == 0 { (500, record) } else { (2000, &record[..record.len() - 1]) };
        log.append(log.reserve(room).unwrap(), record);
        assert!(matches!(log.commit(Lsn::MAX), Err(Error::Poisoned { .. })));
    }
    let log = create(&disk, small()).unwrap();
    let max = small().max_record_bytes();
    assert!(matches!(log.reserve(max + 1), Err(Error::BatchTooLarge { .. })));
    assert!(matches!(log.reserve(usize::MAX), Err(Error::BatchTooLarge { .. })));
    assert!(matches!(log.reserve_for_checkpoint(usize::MAX), Err(Error::BatchTooLarge { .. })));
    drop(log.reserve(max).unwrap());
}

#[test]
fn a_failed_sync_poisons_every_waiter() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    let slow = SlowSync::failing_from(20);
    let disk = Arc::new(HookedDisk::over(FileDisk::new(), slow.clone()));
    let log = Wal::create(disk.clone(), &dir, STORE, 1, small()).unwrap();
    slow.syncs.store(0, Ordering::SeqCst);
    let (acknowledged, refused) = (Mutex::new(BTreeSet::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (log, acknowledged, refused) = (&log, &acknowledged, &refused);
            scope.spawn(move || {
                for i in 0.. {
                    let n = thread * 10_000 + i;
                    let done = append(log, n, 10).and_then(|lsn| log.commit(lsn));
                    match done {
                        Ok(()) => acknowledged.lock().unwrap().insert(n),
                        Err(Error::Poisoned { .. }) => break,
                        Err(other) => panic!("{other}"),
                    };
                }
                refused.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(refused.load(Ordering::SeqCst), 8, "nobody is left waiting");
    assert_eq!(slow.syncs.load(Ordering::SeqCst), 20, "a failed sync is not tried again");
    drop(log);
    let (_, found) = scan(&*disk, &dir, &first_point()).unwrap();
    let found: BTreeSet<u64> = found.into_iter().map(|(n, _)| n).collect();
    assert!(acknowledged.into_inner().unwrap().is_subset(&found));
}

#[test]
fn a_disk_that_panics_leaves_no_waiter() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    let slow = SlowSync::failing_from(u64::MAX);
    let disk = Arc::new(HookedDisk::over(FileDisk::new(), slow.clone()));
    let log = Wal::create(disk, &dir, STORE, 1, small()).unwrap();
    slow.syncs.store(u64::MAX - 2, Ordering::SeqCst);
    let outcomes = Mutex::new((0, 0));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (log, outcomes) = (&log, &outcomes);
            scope.spawn(move || {
                let work = || append(log, n, 10).and_then(|lsn| log.commit(lsn));
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                let mut outcomes = outcomes.lock().unwrap();
                match done {
                    Err(_) => outcomes.0 += 1,
                    Ok(result) => outcomes.1 += usize::from(matches!(result, Err(Error::Poisoned { .. }))),
                }
            });
        }
    });
    assert_eq!(*outcomes.lock().unwrap(), (1, 3));
}

/// Syncs take a while, and from the `fail_from`-th on they fail; the very last one there can be panics.
struct SlowSync {
    syncs: AtomicU64,
    fail_from: u64,
}

impl SlowSync {
    fn failing_from(fail_from: u64) -> Arc<SlowSync> {
        Arc::new(SlowSync { syncs: AtomicU64::new(0), fail_from })
    }
}

impl Hook for SlowSync {
    fn sync_data(&self, _: &Target) -> io::Result<()> {
        let before = self.syncs.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(before != u64::MAX - 2, "a disk that panics");
        if before + 1 >= self.fail_from { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

#[test]
fn a_full_log_asks_for_relief_and_keeps_the_checkpoint_its_segment() {
    struct Relief {
        log: std::sync::Weak<Wal>,
        soft: AtomicUsize,
        hard: AtomicUsize,
        helps: bool,
    }
    impl LogPressure for Relief {
        fn relieve(&self, needed: bool) -> Result<()> {
            let counter = if needed { &self.hard } else { &self.soft };
            counter.fetch_add(1, Ordering::SeqCst);
            let log = self.log.upgrade().expect("alive");
            if needed {
                // A checkpoint appends a record of its own, even now.
                let mut buffer = Vec::new();
                let record = build(&mut buffer, 7, 2000);
                if let Ok(permit) = log.reserve_for_checkpoint(record.len()) {
                    log.append(permit, record);
                } else {
                    assert!(!self.helps, "the checkpoint found no room");
                }
                log.commit(Lsn::MAX)?;
                if self.helps {
                    log.release_below(log.durable_lsn())?;
                }
            }
            Ok(())
        }
    }
    for helps in [true, false] {
        let (raw, disk) = sim();
        let log = Arc::new(create(&disk, small()).unwrap());
        let relief =
            Arc::new(Relief { log: Arc::downgrade(&log), soft: AtomicUsize::new(0), hard: AtomicUsize::new(0), helps });
        log.set_pressure(relief.clone());
        let mut result = Ok(());
        for n in 0..1000 {
            result = append(&log, n, 3000).and_then(|lsn| log.commit(lsn));
            if result.is_err() {
                break;
            }
            // Once it is full, what is left is the checkpoint's, not the writers'.
            assert!(helps || relief.hard.load(Ordering::SeqCst) == 0);
            let files = disk.list(Path::new(DIR)).unwrap().len() as u64;
            assert!(files <= 8, "{files} segments");
        }
        assert!(relief.soft.load(Ordering::SeqCst) > 0 && relief.hard.load(Ordering::SeqCst) > 0);
        assert_eq!(result.is_ok(), helps, "{result:?}");
        if !helps {
            assert!(matches!(result, Err(Error::NoSpace { .. })));
            log.release_below(log.durable_lsn()).unwrap();
            append(&log, 1, 3000).unwrap();
            log.commit(Lsn::MAX).unwrap();
        }
        assert!(raw.used_bytes() <= 8 * (64 << 10));
    }
}

#[test]
fn readers_follow_and_hold_back_recycling() {
    let (_, disk) = sim();
    let log = create(&disk, small()).unwrap();
    let mut tail = log.tail(Lsn::FIRST).unwrap();
    assert!(tail.next_record().unwrap().is_none());
    let mut lsns = Vec::new();
    for n in 0..60 {
        lsns.push(append(&log, n, 3000).unwrap());
        if n % 4 == 3 {
            assert_eq!(tail.by_ref().count(), 0, "only what is durable");
            log.commit(Lsn::MAX).unwrap();
            for expected in n - 3..=n {
                let found = tail.next_record().unwrap().unwrap();
                assert_eq!((number(&found.record().unwrap()), found.lsn()), (expected, lsns[expected as usize]));
            }
        }
    }
    let middle = log.replay(lsns[29]).unwrap();
    let numbers: Vec<u64> = middle.map(|found| number(&found.unwrap().record().unwrap())).collect();
    assert_eq!(numbers, (30..60).collect::<Vec<_>>());

    let early = log.tail(Lsn::FIRST).unwrap();
    assert_eq!(log.release_below(log.durable_lsn()).unwrap(), 0, "held");
    assert_eq!(early.count(), 60);
    assert!(log.release_below(log.durable_lsn()).unwrap() > 0);
    assert!(matches!(log.replay(Lsn::FIRST), Err(Error::NotFound { .. })));
    assert_eq!(log.oldest().segment, log.locate(Lsn::MAX).unwrap().segment);
}

#[test]
fn wakers_are_woken_by_durability_and_by_poison() {
    use std::task::{Context, Poll, Wake, Waker};
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (_, disk) = sim();
    let log = create(&disk, small()).unwrap();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    let context = Context::from_waker(&waker);
    let (a, b) = (append(&log, 1, 0).unwrap(), append(&log, 2, 0).unwrap());
    let (mut first, mut second, mut gone) = (None, None, None);
    assert!(log.poll_durable(a, &mut first, &context).is_pending());
    assert!(log.poll_durable(a, &mut first, &context).is_pending());
    assert!(log.poll_durable(b, &mut gone, &context).is_pending());
    log.forget_waker(&mut gone);
    log.request_flush(b);
    assert_eq!(log.wait_flush_request(std::time::Duration::ZERO), Some(b));
    assert_eq!(log.wait_durable(a).unwrap(), b);
    assert_eq!(log.wait_flush_request(std::time::Duration::ZERO), None);
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(matches!(log.poll_durable(a, &mut first, &context), Poll::Ready(Ok(lsn)) if lsn == b));
    let c = append(&log, 3, 0).unwrap();
    assert!(log.poll_durable(c, &mut second, &context).is_pending());
    log.poison("a test");
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(matches!(log.poll_durable(c, &mut second, &context), Poll::Ready(Err(Error::Poisoned { .. }))));
}

#[test]
fn the_age_of_the_oldest_unsynced_append_is_known() {
    let temp = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new());
    let log = Wal::create(disk, &temp.path().join("wal"), STORE, 1, small()).unwrap();
    assert_eq!(log.oldest_unsynced_age(), None);
    append(&log, 1, 0).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3));
    append(&log, 2, 0).unwrap();
    assert!(log.oldest_unsynced_age().unwrap() >= std::time::Duration::from_millis(3));
    log.commit(Lsn::MAX).unwrap();
    assert_eq!(log.oldest_unsynced_age(), None);
    let (_, sim) = sim();
    let log = create(&sim, small()).unwrap();
    append(&log, 1, 0).unwrap();
    assert_eq!(log.oldest_unsynced_age(), None, "no clock where a seed decides everything");
}

#[test]
fn threads_share_a_small_log_that_is_recycled_under_them() {
    struct Forget(std::sync::Weak<Wal>);
    impl LogPressure for Forget {
        fn relieve(&self, needed: bool) -> Result<()> {
            let log = self.0.upgrade().expect("alive");
            if needed {
                log.commit(log.position())?;
            }
            log.release_below(log.durable_lsn()).map(|_| ())
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("wal");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new());
    let log = Arc::new(Wal::create(disk, &dir, STORE, 1, small()).unwrap());
    log.set_pressure(Arc::new(Forget(Arc::downgrade(&log))));
    let written = Mutex::new(std::collections::BTreeMap::new());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (log, written) = (&log, &written);
            scope.spawn(move || {
                for i in 0..400 {
                    let n = thread * 1000 + i;
                    let lsn = append(log, n, (n % 7 * 500) as usize).unwrap();
                    assert!(written.lock().unwrap().insert(lsn, n).is_none(), "an LSN given twice");
                    if i % 50 == 0 {
                        log.commit(lsn).unwrap();
                    }
                }
            });
        }
    });
    log.commit(Lsn::MAX).unwrap();
    let mut written = written.into_inner().unwrap();
    assert_eq!(written.last_key_value().map(|(lsn, _)| *lsn), Some(log.durable_lsn()));
    let oldest = log.oldest();
    assert!(oldest.segment > 8, "segments were recycled");
    let found: Vec<_> = log
        .replay(oldest.lsn)
        .unwrap()
        .map(|found| {
            let found = found.unwrap();
            (found.lsn(), number(&found.record().unwrap()))
        })
        .collect();
    assert!(!found.is_empty() || oldest.lsn == log.durable_lsn());
    let behind = written.split_off(&Lsn::new(oldest.lsn.get() + 1));
    assert_eq!(found, behind.into_iter().collect::<Vec<_>>());
}
