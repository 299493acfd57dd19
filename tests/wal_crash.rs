//! Crash states of the log: acknowledged ⊆ recovered, recovered is a prefix of appended, through segment switches,
//! recycling, crashes of the recovery and lives after it.

#[path = "wal_support/mod.rs"]
mod wal_support;

use pagebox::Lsn;
use pagebox::sim::SimDisk;
use wal_support::life::{Life, Rng};

fn acknowledged(disk: &SimDisk, index: u64) -> Lsn {
    Lsn::new(disk.last_mark_before(index).unwrap_or(0))
}

/// Runs one life, crashes it at some moments, lives on from each, and crashes those too, also within the recovery.
fn campaign(seed: u64, crashes: u64) -> u64 {
    let mut rng = Rng(seed);
    let disk = SimDisk::new(seed);
    disk.set_direct(seed % 2 == 1);
    let mut life = Life::begin(&disk).unwrap();
    let born = disk.history_len();
    let steps = 10 + rng.below(50);
    life.run(&mut rng, steps).unwrap();
    let mut states = 0;
    for _ in 0..crashes {
        let at = born + rng.below(disk.history_len() - born + 1);
        let second = disk.crash_at(at, rng.next());
        let promised = acknowledged(&disk, at);
        let Some(mut next) = Life::recover(&second, &life.appended, promised).unwrap() else { continue };
        let survived = next.log.durable_lsn();
        let recovered = second.history_len();
        next.run(&mut rng, 6).unwrap();
        states += 1;

        // What a recovery that was itself cut off accepted is promised to nobody yet.
        let at = rng.below(second.history_len() + 1);
        let third = second.crash_at(at, rng.next());
        let promised = if at >= recovered { survived.max(acknowledged(&second, at)) } else { promised };
        let mut all = next.appended.clone();
        if at < recovered {
            all = life.appended.clone();
        }
        let Some(mut last) = Life::recover(&third, &all, promised).unwrap() else { continue };
        last.run(&mut rng, 3).unwrap();
        states += 1;
    }
    states
}

#[test]
fn every_crash_keeps_what_was_acknowledged() {
    let mut states = 0;
    for seed in 0..200 {
        states += campaign(seed, 8);
    }
    assert!(states > 2_700, "only {states} states were reached");
}
