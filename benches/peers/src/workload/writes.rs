//! Single writes that wait for nothing, on a store that fits in memory: inserts of new keys at random places, overwrites,
//! removals. After each round the store is what it was.

use super::{Group, expect_len, put};
use crate::engine::{Commit, Engine, Kind, Op, Order, Result};
use crate::lab::{Lab, Records};
use crate::measure::{self, Pace};
use crate::random::{Choice, Ids, Ring};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const GROUP: Group = Group {
    name: "writes",
    about: "single writes without sync, random order, on a store that fits in memory",
    rows: &["overwrite_no_sync", "insert_no_sync", "remove_no_sync"],
    loads: true,
    takes: |entry| entry.kind != Kind::Bare && entry.name != "hashmap",
    run,
};

fn run(lab: &Lab) -> Result<()> {
    let Some(engine) = lab.prepared("writes", Commit::Buffered)? else { return Ok(()) };
    let (base, data) = (lab.p().records, *lab.data());
    lab.warm(&*engine, base)?;
    let most = base / 10;
    let ring = Ring::new(Choice::Uniform, base, 7);
    for &threads in &lab.p().threads {
        let pace = Pace::time(threads, lab.p().seconds).at_most(most);
        lab.measure("overwrite_no_sync", threads, base, || {
            measure::sessions(&*engine, &pace, |thread| {
                let mut ids = Ids::new(&ring, base, u64::from(lab.spec.round), thread);
                Ok(put(data, 1, 1, Commit::Buffered, move || Some(ids.next())))
            })
        });
        // Each thread has numbers of its own; how many of them it used.
        let lane = |thread: usize| base + thread as u64 * most;
        let used: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
        lab.measure("insert_no_sync", threads, base, || {
            measure::sessions(&*engine, &pace, |thread| {
                let (used, first) = (&used[thread], lane(thread));
                Ok(put(data, 1, 0, Commit::Buffered, move || Some(first + used.fetch_add(1, Relaxed))))
            })
        });
        let inserted = |thread: usize| lane(thread)..lane(thread) + used[thread].load(Relaxed);
        let all: u64 = used.iter().map(|n| n.load(Relaxed)).sum();
        expect_len(&*engine, base + all)?;
        remove(lab, &*engine, threads, base + all, base)?;
        expect_len(&*engine, base + all)?;
        engine.unload(&mut Records::new(&data, (0..threads).flat_map(inserted), 0))?;
        expect_len(&*engine, base)?;
    }
    engine.close()
}

/// Removes records of `0..base`, each thread in a part of its own, and puts them back.
fn remove(lab: &Lab, engine: &dyn Engine, threads: usize, records: u64, base: u64) -> Result<()> {
    let data = *lab.data();
    let part = base / threads as u64;
    let gone: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
    let pace = Pace::time(threads, lab.p().seconds).at_most(base / 10);
    lab.measure("remove_no_sync", threads, records, || {
        measure::sessions(engine, &pace, |thread| {
            let (gone, first) = (&gone[thread], thread as u64 * part);
            Ok(move |session: &mut dyn crate::engine::Session| {
                let id = first + gone.fetch_add(1, Relaxed);
                session.write(&[Op::Del(&data.keys.key(id))], Commit::Buffered)?;
                Ok(1)
            })
        })
    });
    let removed = |thread: usize| -> Range<u64> {
        let first = thread as u64 * part;
        first..first + gone[thread].load(Relaxed)
    };
    let n: u64 = gone.iter().map(|n| n.load(Relaxed)).sum();
    expect_len(engine, records - n)?;
    engine.load(Order::Random, &mut Records::new(&data, (0..threads).flat_map(removed), 0))
}
