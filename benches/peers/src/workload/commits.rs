//! Durable commits from many threads, of one record each and of a hundred, into a store that holds some already.

use super::{Group, engines_and_device, put, read_back};
use crate::engine::{Commit, Result};
use crate::lab::Lab;
use crate::measure::{self, Pace};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub const GROUP: Group = Group {
    name: "commits",
    about: "durable commits of new records, one and a hundred at a time",
    rows: &["commit_single", "commit_batch_100"],
    loads: true,
    takes: engines_and_device,
    run,
};

fn run(lab: &Lab) -> Result<()> {
    let Some(engine) = lab.prepared("commits", Commit::Durable)? else { return Ok(()) };
    let (records, data) = (lab.p().records, *lab.data());
    // The same numbers in every round: the first inserts them, later rounds overwrite.
    let next = AtomicU64::new(records);
    let nonce = u64::from(lab.spec.round);
    for (name, batch) in [("commit_single", 1), ("commit_batch_100", 100)] {
        for &threads in &lab.p().threads {
            let first = next.load(Relaxed);
            lab.measure(name, threads, records, || {
                measure::sessions(&*engine, &Pace::time(threads, lab.p().seconds), |_| {
                    let next = &next;
                    Ok(put(data, batch, nonce, Commit::Durable, move || Some(next.fetch_add(1, Relaxed))))
                })
                // Not measured: what was acknowledged is there as it was written last.
                .and_then(|m| read_back(&*engine, data, first..next.load(Relaxed), nonce).map(|()| m))
            });
        }
    }
    engine.close()
}
