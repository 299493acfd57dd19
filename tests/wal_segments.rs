//! The log's files: recycled, kept ready, and made in other sizes.

mod wal_support;

use pagebox::io::Disk;
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::wal::{RecoveryPoint, Wal};
use pagebox::{Error, Lsn};
use std::path::Path;
use std::sync::Arc;
use wal_support::*;

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    (disk, shared)
}

#[test]
fn recycling_that_failed_halfway_goes_on() {
    let (raw, disk) = sim();
    let log = create(&disk, small()).unwrap();
    for n in 0..60 {
        append(&log, n, 3000).unwrap();
        log.commit(Lsn::MAX).unwrap();
    }
    let before = log.stats();
    // The first segment has its new name, but that is not durable: it counts as gone, not as ready.
    raw.set_faults(FaultPlan::new().fail(FaultOp::SyncDir, 1, std::io::ErrorKind::Other));
    assert!(matches!(log.release_below(log.durable_lsn()), Err(Error::Io { .. })));
    assert_eq!(log.release_below(log.durable_lsn()).unwrap(), before.retained_segments);
    assert_eq!(log.stats().retained_segments, 0);
    for n in 60..200 {
        append(&log, n, 3000).unwrap();
        log.commit(Lsn::MAX).unwrap();
        if n % 20 == 0 {
            log.release_below(log.durable_lsn()).unwrap();
        }
    }
}

/// What recycling keeps ready is kept by the next open too: a removal there was 20 ms of each opening.
#[test]
fn an_open_keeps_the_segments_that_recycling_kept() {
    let (_, disk) = sim();
    let dir = Path::new(DIR);
    let options = small();
    let log = create(&disk, options).unwrap();
    while log.stats().retained_segments < 6 {
        append(&log, 1, 4000).unwrap();
        log.commit(Lsn::MAX).unwrap();
    }
    log.release_below(log.durable_lsn()).unwrap();
    let ready = log.stats().ready_segments;
    assert_eq!(ready, 4, "half of the log");
    let from = log.oldest();
    drop(log);
    let names = disk.list(dir).unwrap();
    let point = RecoveryPoint { from, accepted_end: from.lsn, ..first_point() };
    let (tail, _) = scan(&*disk, dir, &point).unwrap();
    let log = Wal::open_at(Arc::clone(&disk), dir, STORE, tail, 2, options).unwrap();
    assert_eq!(log.stats().ready_segments, ready);
    assert_eq!(disk.list(dir).unwrap(), names);
}

#[test]
fn another_segment_size_at_the_next_open() {
    let (_, disk) = sim();
    let mut options = small();
    let mut log = create(&disk, options).unwrap();
    let mut point = first_point();
    let mut n = 0;
    for size in [32u64, 128, 64] {
        for _ in 0..20 {
            append(&log, n, 2000).unwrap();
            log.commit(Lsn::MAX).unwrap();
            n += 1;
        }
        drop(log);
        options = options.segment_bytes(size << 10).max_log_bytes(2 << 20);
        let (tail, found) = scan(&*disk, Path::new(DIR), &point).unwrap();
        assert_eq!(found.len() as u64, n);
        (point.incarnation, point.accepted_end) = (point.incarnation + 1, tail.end().lsn);
        log = Wal::open_at(Arc::clone(&disk), Path::new(DIR), STORE, tail, point.incarnation, options).unwrap();
    }
    append(&log, n, 2000).unwrap();
    log.commit(Lsn::MAX).unwrap();
    assert_eq!(scan(&*disk, Path::new(DIR), &point).unwrap().1.len() as u64, n + 1);
}
