//! LeanStore's read test in memory: 8-byte keys, 120-byte values, uniform.

use super::{Group, read};
use crate::engine::{Commit, Result};
use crate::lab::Lab;
use crate::measure::{self, Pace};
use crate::random::{Choice, Ids, Ring};

pub const GROUP: Group = Group {
    name: "leanstore",
    about: "LeanStore's in-memory read test: 8-byte keys, 120-byte values, uniform",
    rows: &["leanstore_read"],
    loads: true,
    // The two B+trees people compare with, and what memory gives: loading ten million records takes the others minutes.
    takes: |entry| ["pagebox", "redb", "heed", "btreemap", "hashmap", "treeindex", "memory"].contains(&entry.name),
    run,
};

fn run(lab: &Lab) -> Result<()> {
    let Some(engine) = lab.prepared("leanstore", Commit::Buffered)? else { return Ok(()) };
    let (records, data) = (lab.p().records, *lab.data());
    lab.warm(&*engine, records)?;
    let ring = Ring::new(Choice::Uniform, records, 7);
    for &threads in &lab.p().threads {
        lab.measure("leanstore_read", threads, records, || {
            measure::views(&*engine, &Pace::time(threads, lab.p().seconds).fast(), |thread| {
                let mut ids = Ids::new(&ring, records, u64::from(lab.spec.round), thread);
                Ok(read(data, move || ids.next()))
            })
        });
    }
    engine.close()
}
