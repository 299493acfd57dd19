//! YCSB's core workloads A to F. Writes are visible, not synced; reads are of the present state. Keys are the random ones
//! of the other workloads. After each measurement that inserts, what it inserted is removed again.

use super::{Group, engines_and_map, read_now};
use crate::data::Data;
use crate::engine::{Commit, Engine, Fail, Op, Result, Session, Walk};
use crate::lab::{Lab, Records};
use crate::measure::{self, Measured, Pace};
use crate::random::{Choice, Ids, Ring};
use std::sync::atomic::{AtomicU64, Ordering};

pub const GROUP: Group = Group {
    name: "ycsb",
    about: "YCSB A to F; Zipf 0.99 (D: latest), A and C also uniform; writes unsynced",
    rows: &["ycsb_a", "ycsb_b", "ycsb_c", "ycsb_d", "ycsb_e", "ycsb_f", "ycsb_a_uniform", "ycsb_c_uniform"],
    loads: true,
    takes: engines_and_map,
    run,
};

/// Shares of a hundred.
struct Mix {
    name: &'static str,
    choice: Choice,
    reads: u64,
    updates: u64,
    inserts: u64,
    scans: u64,
    // What is left reads, changes and writes.
}

const fn mix(name: &'static str, choice: Choice, [reads, updates, inserts, scans]: [u64; 4]) -> Mix {
    Mix { name, choice, reads, updates, inserts, scans }
}

const MIXES: &[Mix] = &[
    mix("ycsb_a", Choice::Zipf, [50, 50, 0, 0]),
    mix("ycsb_b", Choice::Zipf, [95, 5, 0, 0]),
    mix("ycsb_c", Choice::Zipf, [100, 0, 0, 0]),
    mix("ycsb_d", Choice::Latest, [95, 0, 5, 0]),
    mix("ycsb_e", Choice::Zipf, [0, 0, 5, 95]),
    mix("ycsb_f", Choice::Zipf, [50, 0, 0, 0]),
    mix("ycsb_a_uniform", Choice::Uniform, [50, 50, 0, 0]),
    mix("ycsb_c_uniform", Choice::Uniform, [100, 0, 0, 0]),
];

fn run(lab: &Lab) -> Result<()> {
    let Some(engine) = lab.prepared("ycsb", Commit::Buffered)? else { return Ok(()) };
    let (records, data) = (lab.p().records, *lab.data());
    lab.warm(&*engine, records)?;
    for mix in MIXES {
        if !lab.wants(mix.name) {
            continue;
        }
        let ring = Ring::new(mix.choice, records, 11);
        for &threads in &lab.p().threads {
            let lanes = Lanes::new(records, threads);
            lab.measure(mix.name, threads, records, || one(&*engine, lab, mix, &ring, &lanes));
            engine.unload(&mut Records::new(&data, lanes.ids(), 0))?;
        }
    }
    engine.close()
}

/// What was inserted: each thread has numbers of its own (every so-many-th), so that the youngest record that is surely
/// there is known without asking.
struct Lanes {
    base: u64,
    done: Vec<AtomicU64>,
}

impl Lanes {
    fn new(base: u64, threads: usize) -> Lanes {
        Lanes { base, done: (0..threads).map(|_| AtomicU64::new(0)).collect() }
    }

    fn id(&self, lane: usize, n: u64) -> u64 {
        self.base + lane as u64 + n * self.done.len() as u64
    }

    /// The record of that rank, 0 for the youngest of a lane.
    fn latest(&self, rank: u64) -> u64 {
        let lanes = self.done.len() as u64;
        let (lane, back) = ((rank % lanes) as usize, rank / lanes);
        let done = self.done[lane].load(Ordering::Acquire);
        match done.checked_sub(back + 1) {
            Some(n) => self.id(lane, n),
            // Before the measurement's own: as far back from the last of the base.
            None => self.base - 1 - ((back - done) * lanes + lane as u64).min(self.base - 1),
        }
    }

    fn ids(&self) -> impl Iterator<Item = u64> {
        let all = self.done.iter().enumerate();
        all.flat_map(move |(lane, done)| (0..done.load(Ordering::Acquire)).map(move |n| self.id(lane, n)))
    }
}

fn one(engine: &dyn Engine, lab: &Lab, mix: &Mix, ring: &Ring, lanes: &Lanes) -> Result<Measured> {
    let (records, data) = (lab.p().records, *lab.data());
    let mut pace = Pace::time(lanes.done.len(), lab.p().seconds);
    if mix.reads >= 95 {
        pace = pace.fast();
    }
    measure::sessions(engine, &pace, |thread| {
        let mut ids = Ids::new(ring, records, u64::from(lab.spec.round), thread);
        let mut value = Vec::new();
        let mut nonce = 1 + thread as u64;
        let (mut scans, mut short) = (0u64, 0u64);
        Ok(move |session: &mut dyn Session| {
            let dice = ids.rng().below(100);
            let id = match (ids.next(), mix.choice) {
                (rank, Choice::Latest) => lanes.latest(rank),
                (id, _) => id,
            };
            nonce += lanes.done.len() as u64;
            if dice < mix.reads {
                read_now(session, data, id)?;
            } else if dice < mix.reads + mix.updates {
                data.value(id, nonce, &mut value);
                session.write(&[Op::Put(&data.keys.key(id), &value)], Commit::Buffered)?;
            } else if dice < mix.reads + mix.updates + mix.inserts {
                let done = &lanes.done[thread];
                let id = lanes.id(thread, done.load(Ordering::Relaxed));
                data.value(id, nonce, &mut value);
                session.write(&[Op::Put(&data.keys.key(id), &value)], Commit::Buffered)?;
                done.fetch_add(1, Ordering::Release);
            } else if dice < mix.reads + mix.updates + mix.inserts + mix.scans {
                let len = 1 + ids.rng().below(100);
                scans += 1;
                // Near the end there are fewer; that many scans do not begin there.
                short += u64::from(scan(session, data, id, len)? < len);
                if short > 16 + scans / 50 && records >= 10_000 {
                    return Err(Fail::wrong(format!("{short} of {scans} scans ended early")));
                }
            } else {
                change(session, data, id, nonce)?;
            }
            Ok(1)
        })
    })
}

/// Up to `len` records from record `id` on: it must be the first, and the others behind it in their order; how many there were.
fn scan(session: &mut dyn Session, data: Data, id: u64, len: u64) -> Result<u64> {
    let from = data.keys.key(id);
    let (mut n, mut checked) = (0, Ok(0));
    let (mut before, mut ordered) = (0, true);
    session.view()?.walk(&from, len, Walk::Scan, &mut |key, value| {
        if n == 0 {
            checked =
                if *key == *from { data.check(id, value) } else { Err(Fail::wrong("a scan that begins elsewhere")) };
        }
        // The first eight bytes differ from record to record.
        let head = key.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        ordered &= n == 0 || head > before;
        before = head;
        n += 1;
    })?;
    if n == 0 || n > len || !ordered {
        return Err(Fail::wrong(format!("a scan of {n} records where up to {len} were asked for")));
    }
    checked.map(|_| n)
}

/// Reads, checks and writes the record anew as one step.
fn change(session: &mut dyn Session, data: Data, id: u64, nonce: u64) -> Result<()> {
    let mut checked = Ok(0);
    let mut write = |old: Option<&[u8]>| {
        checked = old.map_or_else(|| Err(Fail::wrong(format!("record {id} was not found"))), |old| data.check(id, old));
        let mut value = Vec::new();
        data.value(id, nonce, &mut value);
        value
    };
    session.update(&data.keys.key(id), &mut write, Commit::Buffered)?;
    checked.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_all_there() {
        let lanes = Lanes::new(100, 3);
        lanes.done[1].store(5, Ordering::Relaxed);
        let there: Vec<u64> = (0..100).chain(lanes.ids()).collect();
        for rank in 0..1000 {
            assert!(there.contains(&lanes.latest(rank)), "rank {rank} is {}", lanes.latest(rank));
        }
        assert_eq!(lanes.latest(1), lanes.id(1, 4));
    }
}
