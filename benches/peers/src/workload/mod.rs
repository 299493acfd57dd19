//! The workloads, in groups that share a store: a group's measurements run one after the other in one process.

use crate::data::Data;
use crate::engine::{Commit, Engine, Entry, Fail, Kind, Op, Result, Session, View, Walk};
use crate::lab::Lab;
use crate::random::Ids;

mod beyond;
mod cold;
mod commits;
mod counter;
mod large;
mod leanstore;
mod loads;
mod queue;
mod redb_table;
mod resident;
mod writes;
mod ycsb;

/// A group of workloads.
pub struct Group {
    /// Its name; rows are `name/what`.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its workloads, in the order in which they are run.
    pub rows: &'static [&'static str],
    /// Whether a round 0 loads the store that rounds open.
    pub loads: bool,
    /// Who takes part.
    pub takes: fn(&Entry) -> bool,
    /// Runs one round (or round 0) of one engine.
    pub run: fn(&Lab) -> Result<()>,
}

impl Group {
    /// Which of the `wanted` workloads this group has; all of them if it is wanted as a whole or nothing is wanted. With
    /// what distinguishes this piece from another of the group, if it has a suffix.
    pub fn wanted(&self, suffix: &str, wanted: &[String]) -> Option<Vec<String>> {
        let whole = |name: &String| *name == self.name || *name == format!("{}{suffix}", self.name);
        if wanted.is_empty() || wanted.iter().any(whole) {
            return Some(Vec::new());
        }
        let has = |row: &&&str| wanted.iter().any(|name| name == **row || *name == format!("{row}{suffix}"));
        let rows: Vec<String> = self.rows.iter().filter(has).map(|row| (*row).to_owned()).collect();
        (!rows.is_empty()).then_some(rows)
    }
}

fn everybody(_: &Entry) -> bool {
    true
}

/// Engines, and what shows what the disk gives.
fn engines_and_device(entry: &Entry) -> bool {
    entry.kind == Kind::Engine || entry.name == "device"
}

/// Engines, and the map that everybody has.
fn engines_and_map(entry: &Entry) -> bool {
    entry.kind == Kind::Engine || entry.name == "btreemap"
}

/// All groups, in the order of a suite.
pub const GROUPS: &[Group] = &[
    redb_table::GROUP,
    resident::GROUP,
    leanstore::GROUP,
    writes::GROUP,
    loads::GROUP,
    ycsb::GROUP,
    commits::GROUP,
    beyond::GROUP,
    queue::GROUP,
    counter::GROUP,
    large::GROUP,
    cold::GROUP,
];

/// The group of that name.
pub fn find(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// What the process that is killed does; see [`cold`].
pub use cold::victim;

/// A step that reads the record `next` gives and checks every byte of it.
fn read(data: Data, mut next: impl FnMut() -> u64) -> impl FnMut(&mut dyn View) -> Result<u64> {
    move |view| {
        let id = next();
        let mut checked = Ok(0);
        if !view.get(&data.keys.key(id), &mut |value| checked = data.check(id, value))? {
            return Err(Fail::wrong(format!("record {id} was not found")));
        }
        checked.map(|_| 1)
    }
}

/// The same through a session: the present state, not a snapshot.
fn read_now(session: &mut dyn Session, data: Data, id: u64) -> Result<u64> {
    let mut checked = Ok(0);
    if !session.get(&data.keys.key(id), &mut |value| checked = data.check(id, value))? {
        return Err(Fail::wrong(format!("record {id} was not found")));
    }
    checked
}

/// Records, at most some thousands of them, spread evenly, are there as they were written with `nonce`.
fn read_back(engine: &dyn Engine, data: Data, ids: std::ops::Range<u64>, nonce: u64) -> Result<()> {
    let mut session = engine.session()?;
    let mut wanted = Vec::new();
    let step = (ids.end - ids.start).div_ceil(5000).max(1);
    for id in ids.step_by(step as usize) {
        data.value(id, nonce, &mut wanted);
        let mut same = false;
        if !session.get(&data.keys.key(id), &mut |value| same = value == wanted)? || !same {
            return Err(Fail::wrong(format!("record {id} is not there as it was written")));
        }
    }
    Ok(())
}

/// A step that walks `len` records from a random place on: keys must ascend from there, the last value is checked.
fn walk(data: Data, records: u64, len: u64, how: Walk, mut ids: Ids) -> impl FnMut(&mut dyn View) -> Result<u64> {
    let mut last = Vec::new();
    let (mut walks, mut short) = (0u64, 0u64);
    move |view| {
        let from = crate::lab::somewhere(data.keys, ids.rng().word(), records);
        let (mut n, mut before, mut wrong) = (0, u64::from_be_bytes(*from.first_chunk().unwrap_or(&[0; 8])), false);
        let mut key_of_last = from;
        let walked = view.walk(&from, len, how, &mut |key, value| {
            let head = key.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
            // The first eight bytes differ from record to record in both forms of keys.
            wrong |= head < before || (n > 0 && head == before);
            before = head;
            n += 1;
            if n == len {
                last.clear();
                last.extend_from_slice(value);
                if let Some(id) = data.keys.id(key) {
                    key_of_last = data.keys.key(id);
                } else {
                    wrong = true;
                }
            }
        })?;
        if wrong || walked != n || n > len {
            return Err(Fail::wrong("a walk out of order"));
        }
        walks += 1;
        if n == len {
            if let Some(id) = data.keys.id(&key_of_last) {
                data.check(id, &last)?;
            }
        } else {
            // Near the end there are fewer; that many walks do not begin there.
            short += 1;
            if short > 16 + walks / 50 {
                return Err(Fail::wrong(format!("{short} of {walks} walks ended early")));
            }
        }
        Ok(1)
    }
}

/// A step that writes records, `batch` of them at a time, each at the writing `nonce`; stops when `next` has no more.
fn put(
    data: Data,
    batch: usize,
    nonce: u64,
    commit: Commit,
    mut next: impl FnMut() -> Option<u64>,
) -> impl FnMut(&mut dyn Session) -> Result<u64> {
    let mut keys = Vec::new();
    let mut values = vec![Vec::new(); batch];
    move |session| {
        keys.clear();
        for value in &mut values {
            let Some(id) = next() else { break };
            keys.push(data.keys.key(id));
            data.value(id, nonce, value);
        }
        match (keys.as_slice(), values.as_slice()) {
            ([], _) => return Ok(0),
            ([key], [value, ..]) => session.write(&[Op::Put(key, value)], commit)?,
            (keys, values) => {
                let ops: Vec<Op<'_>> = keys.iter().zip(values).map(|(key, value)| Op::Put(key, value)).collect();
                session.write(&ops, commit)?;
            }
        }
        Ok(keys.len() as u64)
    }
}

/// The number of records must be `records`, where an engine can count.
fn expect_len(engine: &dyn crate::engine::Engine, records: u64) -> Result<()> {
    match engine.len() {
        Ok(n) if n == records => Ok(()),
        Ok(n) => Err(Fail::wrong(format!("{n} records where there must be {records}"))),
        Err(Fail::Unsupported(_)) => Ok(()),
        Err(e) => Err(e),
    }
}
