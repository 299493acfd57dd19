//! The table redb publishes: a bulk load, commits of three kinds, reads, seeks, removals, sizes, sorted inserts, in redb's
//! order. Sizes are the `disk_bytes` of `remove_half` (before) and of `compact` (after).

use super::{Group, engines_and_device, expect_len, put, read, walk};
use crate::engine::{Commit, Fail, Items, Order, Result, Walk};
use crate::lab::{Lab, Records};
use crate::measure::{self, Pace};
use crate::random::{Choice, Ids, Ring};

pub const GROUP: Group = Group {
    name: "redb",
    about: "redb's published benchmark: random 24-byte keys, 150-byte values",
    rows: &[
        "redb/bulk_load",
        "redb/single_commits",
        "redb/batch_commits",
        "redb/commits_no_sync",
        "redb/len",
        "redb/random_reads",
        "redb/seek_10",
        "redb/remove_half",
        "redb/compact",
        "redb/sorted_inserts",
    ],
    loads: false,
    takes: engines_and_device,
    run,
};

/// Sorted records behind all others.
struct Behind<'a> {
    lab: &'a Lab,
    next: u64,
    end: u64,
    key: crate::data::Key,
    value: Vec<u8>,
}

impl Items for Behind<'_> {
    fn next(&mut self) -> Option<(&[u8], &[u8])> {
        if self.next == self.end {
            return None;
        }
        self.key = self.lab.data().keys.behind_all(self.next);
        self.lab.data().value(self.next, 1, &mut self.value);
        self.next += 1;
        Some((&self.key, &self.value))
    }
}

fn run(lab: &Lab) -> Result<()> {
    let (bulk, data) = (lab.p().records, *lab.data());
    // All counts are redb's at its five million records and shrink with them.
    let part = |n: u64, least: u64| (n as f64 * bulk as f64 / 5e6).ceil().max(least as f64) as u64;
    let (singles, batches, unsynced) = (part(1000, 50), part(100, 5), part(50_000, 500));
    let (reads, seeks, sorted) = (part(1_000_000, 10_000), part(500_000, 5_000), part(1_000_000, 10_000));
    let mut engine = lab.open(&lab.setup(&lab.fresh("redb")?, Commit::Buffered))?;
    let mut records = 0;

    // The other steps need the load, asked for or not.
    let load = || measure::once(bulk, || engine.load(Order::Random, &mut Records::new(&data, 0..bulk, 0)));
    if lab.wants("redb/bulk_load") {
        lab.measure("redb/bulk_load", 1, bulk, load);
    } else {
        load()?;
    }
    records += bulk;
    expect_len(&*engine, records)?;

    for (name, steps, batch, commit) in [
        ("redb/single_commits", singles, 1, Commit::Durable),
        ("redb/batch_commits", batches, 1000, Commit::Durable),
        ("redb/commits_no_sync", unsynced, 1, Commit::Buffered),
    ] {
        let end = records + steps * batch;
        let mut done = records;
        lab.measure(name, 1, records, || {
            measure::sessions(&*engine, &Pace::steps(1, steps), |_| {
                let mut ids = records..end;
                Ok(put(data, batch as usize, 0, commit, move || ids.next()))
            })
            .inspect(|_| done = end)
        });
        if done < end && lab.wants(name) {
            // An engine without this commit still gets the records, so that what follows is the same.
            engine.load(Order::Random, &mut Records::new(&data, records..end, 0))?;
            done = end;
        }
        records = done;
    }
    engine.sync()?;

    let mut counted = Ok(());
    lab.measure("redb/len", 1, records, || {
        measure::once(1, || {
            counted = expect_len(&*engine, records);
            counted.clone()
        })
    });
    counted?;

    let ring = Ring::new(Choice::Uniform, records, 1);
    lab.measure("redb/random_reads", 1, records, || {
        measure::views(&*engine, &Pace::steps(1, reads).fast(), |thread| {
            let mut ids = Ids::new(&ring, records, 1, thread);
            Ok(read(data, move || ids.next()))
        })
    });
    lab.measure("redb/seek_10", 1, records, || {
        measure::views(&*engine, &Pace::steps(1, seeks).fast(), |thread| {
            Ok(walk(data, records, 10, Walk::Scan, Ids::new(&ring, records, 2, thread)))
        })
    });
    for threads in [4, 8, 16, 32] {
        lab.measure("redb/random_reads", threads, records, || {
            measure::views(&*engine, &Pace::steps(threads, reads).fast(), |thread| {
                let mut ids = Ids::new(&ring, records, 3, thread);
                Ok(read(data, move || ids.next()))
            })
        });
    }

    let removed = records / 2;
    let mut removal = Ok(());
    lab.measure("redb/remove_half", 1, records, || {
        measure::once(removed, || {
            removal = engine.unload(&mut Records::new(&data, 0..removed, 0));
            removal.clone()
        })
    });
    match removal {
        Ok(()) if lab.wants("redb/remove_half") => {
            let there = records - removed;
            expect_len(&*engine, there)?;
            let raw = (there * data.record_len()) as f64;
            lab.measure("redb/compact", 1, there, || {
                let m = measure::once(there, || engine.compact())?;
                if m.seconds < 1e-3 { Fail::unsupported("it returned at once, nothing done") } else { Ok(m) }
            });
            lab.figure(
                "redb/compact",
                "bytes on disk / raw bytes",
                crate::machine::disk_bytes(&lab.spec.dir) as f64 / raw,
            );
            records = there;
        }
        Ok(()) | Err(Fail::Unsupported(_)) => {}
        Err(e) => return Err(e),
    }

    lab.measure("redb/sorted_inserts", 1, records, || {
        let mut items = Behind { lab, next: 0, end: sorted, key: data.keys.behind_all(0), value: Vec::new() };
        let m = measure::once(sorted, || engine.load(Order::Sorted, &mut items))?;
        expect_len(&*engine, records + sorted)?;
        Ok(m)
    });
    engine.close()
}
