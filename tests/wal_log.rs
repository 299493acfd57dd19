//! The log from outside: append, commit, reopen; groups, space, poison, readers.

mod wal_support;

use pagebox::io::{Disk, FileDisk};
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::wal::{LogPressure, SyncMethod, Wal, WalOptions, WalPosition};
use pagebox::{Error, Lsn, Result};
use std::collections::BTreeSet;
use std::io::ErrorKind;
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
