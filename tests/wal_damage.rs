//! Damage to the log, and what is no damage: torn tails, lost timelines, other logs, bytes that only the cache had.

mod wal_support;

use pagebox::io::Disk;
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::wal::{Wal, WalPosition};
use pagebox::{Error, Lsn};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use wal_support::*;

fn sim() -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(1);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    (disk, shared)
}

/// The places and lengths of the groups in a log of one group a commit: record `i` is in group `i`.
fn five_groups(disk: &Arc<dyn Disk>) -> (Vec<WalPosition>, Vec<Lsn>) {
    let log = create(disk, small()).unwrap();
    let (mut places, mut ends) = (Vec::new(), Vec::new());
    for n in 0..5 {
        places.push(log.locate(Lsn::MAX).unwrap());
        ends.push(append(&log, n, 100 + 3000 * (n as usize % 2)).unwrap());
        log.commit(Lsn::MAX).unwrap();
    }
    (places, ends)
}

#[test]
fn a_flipped_bit_is_damage_in_the_middle_and_a_torn_tail_at_the_end() {
    let segment = "/log/0000000000000001.log";
    for group in 0..5usize {
        // In the magic, each header field, the records and, where it must not matter, the padding.
        for byte in [0, 4, 9, 17, 25, 33, 41, 45, 50, 64, 70, 150, 4000] {
            let (raw, disk) = sim();
            let (places, ends) = five_groups(&disk);
            raw.flip_bit(segment, places[group].offset + byte, (byte % 8) as u32).unwrap();
            let padding = byte == 4000;
            let mut point = first_point();
            let result = scan(&*disk, Path::new(DIR), &point);
            match (padding, group) {
                (true, _) => assert_eq!(result.unwrap().1.len(), 5, "padding counts for nothing"),
                (false, 4) => {
                    let (tail, found) = result.unwrap();
                    assert_eq!((found.len(), tail.end()), (4, places[4]));
                    // The same hole, but something knows better: what a page proved, and the accepted end.
                    point.proven = ends[4];
                    let error = scan(&*disk, Path::new(DIR), &point).unwrap_err();
                    assert!(is_damage_at(&error, places[4].lsn), "{error}");
                    (point.proven, point.accepted_end) = (Lsn::NONE, ends[4]);
                    assert!(scan(&*disk, Path::new(DIR), &point).is_err());
                }
                (false, _) => {
                    let error = result.unwrap_err();
                    assert!(is_damage_at(&error, places[group].lsn), "group {group}, byte {byte}: {error}");
                }
            }
        }
    }
}

fn is_damage_at(error: &Error, at: Lsn) -> bool {
    matches!(error, Error::Corrupted { site: pagebox::Site::Log(lsn), .. } if *lsn == at)
}

#[test]
fn a_missing_segment_is_damage() {
    let (raw, disk) = sim();
    let log = create(&disk, small()).unwrap();
    while log.locate(Lsn::MAX).unwrap().segment < 4 {
        append(&log, 1, 7000).unwrap();
        log.commit(Lsn::MAX).unwrap();
    }
    append(&log, 1, 7000).unwrap();
    log.commit(Lsn::MAX).unwrap();
    let end = log.durable_lsn();
    drop(log);
    for (gone, damage) in [(1, true), (2, true), (3, true), (4, false)] {
        let copy = raw.crash(1);
        copy.erase(format!("/log/{gone:016x}.log")).unwrap();
        let result = scan(&copy, Path::new(DIR), &first_point());
        assert_eq!(result.is_err(), damage, "segment {gone}: nothing proves that the last one was ever there");
        let point = pagebox::wal::RecoveryPoint { end_known: true, ..first_point() };
        assert!(scan(&copy, Path::new(DIR), &point).is_ok() || gone == 1, "searched though nothing can be there");
        let point = pagebox::wal::RecoveryPoint { proven: end, ..first_point() };
        let error = scan(&copy, Path::new(DIR), &point).unwrap_err();
        assert!(matches!(error, Error::Corrupted { .. }), "{error}");
        // Shortened, it is as good as gone.
        let copy = raw.crash(2);
        copy.truncate(format!("/log/{gone:016x}.log"), 10).unwrap();
        assert_eq!(scan(&copy, Path::new(DIR), &first_point()).is_err(), damage);
    }
}

#[test]
fn a_lost_timeline_never_comes_back() {
    // Session 1 writes groups that a crash makes unreadable; session 2 goes on where they began, with records of the
    // same lengths, so that positions agree; then the old bytes return behind the end.
    let (raw, disk) = sim();
    let (places, _) = five_groups(&disk);
    let segment = "/log/0000000000000001.log";
    let old = raw.read_file(segment).unwrap();
    for cut in 1..5usize {
        let mut bytes = old.clone();
        bytes[places[cut].offset as usize..].fill(0);
        let after = SimDisk::new(2);
        let shared: Arc<dyn Disk> = Arc::new(after.clone());
        drop(create(&shared, small()).unwrap());
        after.write_file(segment, &bytes).unwrap();
        let mut point = first_point();
        let (tail, found) = scan(&after, Path::new(DIR), &point).unwrap();
        assert_eq!(found.len(), cut);
        point.incarnation = 2;
        point.accepted_end = tail.end().lsn;
        let log = Wal::open_at(Arc::clone(&shared), Path::new(DIR), STORE, tail, 2, small()).unwrap();
        // Nothing written yet: the superblock alone keeps the old bytes out.
        after.write_file(segment, &old).unwrap();
        assert_eq!(scan(&after, Path::new(DIR), &point).unwrap().1.len(), cut);
        let n = cut as u64;
        append(&log, n, 100 + 3000 * (cut % 2)).unwrap();
        log.commit(Lsn::MAX).unwrap();
        drop(log);
        // With one group over the first of them, the others follow it by their positions, but not by their chain.
        assert_eq!(scan(&after, Path::new(DIR), &point).unwrap().1.len(), cut + 1);
    }
}

#[test]
fn another_stores_log_is_not_ours() {
    let (_, disk) = sim();
    five_groups(&disk);
    let point = pagebox::wal::RecoveryPoint { store_id: STORE + 1, ..first_point() };
    assert_eq!(scan(&*disk, Path::new(DIR), &point).unwrap().1.len(), 0);
}

#[test]
fn creation_refuses_a_log_and_clears_leftovers() {
    let (raw, disk) = sim();
    drop(create(&disk, small()).unwrap());
    raw.write_file("/log/new.tmp", b"half").unwrap();
    drop(create(&disk, small()).unwrap());
    assert!(raw.read_file("/log/new.tmp").is_err());
    five_groups(&disk);
    let before = raw.contents();
    assert!(matches!(create(&disk, small()), Err(Error::Corrupted { .. })));
    assert_eq!(raw.contents(), before);
}

#[test]
fn a_group_accepted_from_the_cache_is_rewritten() {
    // The sync fails, so the group is acknowledged to nobody; the file still shows it. A new session accepts it, builds
    // on it, and must make sure of it: the crash after that takes all that only the cache had.
    let (raw, disk) = sim();
    let log = create(&disk, small()).unwrap();
    let first = append(&log, 0, 50).unwrap();
    log.commit(first).unwrap();
    raw.set_faults(FaultPlan::new().fail(FaultOp::Sync, 1, ErrorKind::Other));
    let second = append(&log, 1, 50).unwrap();
    assert!(log.commit(second).is_err());
    drop(log);
    let (tail, found) = scan(&*disk, Path::new(DIR), &first_point()).unwrap();
    assert_eq!((found.len(), tail.proven_durable()), (2, first));
    let log = Wal::open_at(Arc::clone(&disk), Path::new(DIR), STORE, tail, 2, small()).unwrap();
    assert_eq!(log.durable_lsn(), second);
    for seed in 0..200 {
        let after = raw.crash(seed);
        assert_eq!(scan(&after, Path::new(DIR), &first_point()).unwrap().1.len(), 2, "seed {seed}");
    }
}

#[test]
fn arbitrary_bytes_in_the_log_give_an_answer() {
    let mut rng = wal_support::life::Rng(5);
    for round in 0..300 {
        let (raw, disk) = sim();
        five_groups(&disk);
        let path = "/log/0000000000000001.log";
        let mut bytes = raw.read_file(path).unwrap();
        for _ in 0..=rng.below(40) {
            let at = rng.below(28_672) as usize;
            bytes[at] = rng.next() as u8;
        }
        if round % 3 == 0 {
            bytes.truncate(rng.below(40_000) as usize);
        }
        raw.write_file(path, &bytes).unwrap();
        match scan(&*disk, Path::new(DIR), &first_point()) {
            // Several groups may be hit, the last ones included.
            Ok((_, found)) => assert!(found.len() <= 5),
            Err(error) => assert!(matches!(error, Error::Corrupted { .. }), "{error}"),
        }
    }
}
