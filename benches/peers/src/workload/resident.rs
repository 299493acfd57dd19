//! Reads of a store that fits in memory: points, many at once, seeks, ranges, the whole.

use super::{Group, everybody, read, walk};
use crate::engine::{Commit, Engine, Fail, Result, Walk};
use crate::lab::{Lab, checksum, expected_sum};
use crate::measure::{self, Measured, Pace};
use crate::random::{Choice, Ids, Ring};

pub const GROUP: Group = Group {
    name: "resident",
    about: "reads of a store that fits in memory",
    rows: &["point_read", "get_many_64", "seek_10_scan", "seek_10_range", "scan_100", "full_scan"],
    loads: true,
    takes: everybody,
    run,
};

/// Keys of one `get_many`.
const MANY: usize = 64;

fn run(lab: &Lab) -> Result<()> {
    let Some(engine) = lab.prepared("resident", Commit::Buffered)? else { return Ok(()) };
    let (records, data) = (lab.p().records, *lab.data());
    lab.warm(&*engine, records)?;
    let ring = Ring::new(Choice::Uniform, records, 7);
    let seed = u64::from(lab.spec.round);
    for &threads in &lab.p().threads {
        let pace = Pace::time(threads, lab.p().seconds).fast();
        let ids = |thread| Ids::new(&ring, records, seed, thread);
        lab.measure("point_read", threads, records, || {
            measure::views(&*engine, &pace, |thread| {
                let mut ids = ids(thread);
                Ok(read(data, move || ids.next()))
            })
        });
        lab.measure("get_many_64", threads, records, || many(&*engine, lab, &pace, &ids));
        for (name, len, how) in
            [("seek_10_scan", 10, Walk::Scan), ("seek_10_range", 10, Walk::Cursor), ("scan_100", 100, Walk::Scan)]
        {
            lab.measure(name, threads, records, || {
                measure::views(&*engine, &pace, |thread| Ok(walk(data, records, len, how, ids(thread))))
            });
        }
    }
    if lab.wants("full_scan") {
        let expected = expected_sum(&data, records);
        let mut rate = None;
        lab.measure("full_scan", 1, records, || {
            full_scan(&*engine, records, expected).inspect(|m| rate = Some(m.ops as f64 / m.seconds))
        });
        if let Some(rate) = rate {
            lab.figure("full_scan", "GB/s of keys and values", rate * data.record_len() as f64 / 1e9);
        }
    }
    engine.close()
}

/// Reads 64 random keys at a time; an operation is one key.
fn many(engine: &dyn Engine, lab: &Lab, pace: &Pace, ids: &(dyn Fn(usize) -> Ids + Sync)) -> Result<Measured> {
    let data = *lab.data();
    measure::views(engine, pace, |thread| {
        let mut ids = ids(thread);
        let mut wanted = [0; MANY];
        let mut keys = Vec::with_capacity(MANY);
        Ok(move |view: &mut dyn crate::engine::View| {
            keys.clear();
            for id in &mut wanted {
                *id = ids.next();
                keys.push(data.keys.key(*id));
            }
            let (mut wrong, mut answered) = (None, 0u64);
            view.get_many(&keys, &mut |i, value| {
                answered |= 1 << i;
                let checked = match value {
                    Some(value) => data.check(wanted[i], value).map(|_| ()),
                    None => Err(Fail::wrong(format!("record {} was not found", wanted[i]))),
                };
                if let Err(e) = checked {
                    wrong.get_or_insert(e);
                }
            })?;
            match wrong {
                Some(e) => Err(e),
                None if answered != u64::MAX => Err(Fail::wrong("not every key was answered")),
                None => Ok(MANY as u64),
            }
        })
    })
}

/// Walks over everything once, summing every byte.
fn full_scan(engine: &dyn Engine, records: u64, expected: u64) -> Result<Measured> {
    measure::views(engine, &Pace::steps(1, 1), |_| {
        Ok(move |view: &mut dyn crate::engine::View| {
            let mut sum = 0u64;
            let n = view.walk(&[], u64::MAX, Walk::Scan, &mut |key, value| {
                sum = sum.wrapping_add(checksum(key, value));
            })?;
            if (n, sum) != (records, expected) {
                return Err(Fail::wrong(format!("a scan of {n} records of {records}, or of other bytes")));
            }
            Ok(n)
        })
    })
}
