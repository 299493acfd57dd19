//! Cold start: opening a store and reading one record, after a clean close with the page cache dropped, and after the
//! process was killed in the midst of writing. After the kill, everything acknowledged as durable must be there.

use super::{Group, expect_len, read, read_now};
use crate::engine::{Commit, Engine, Fail, Kind, Op, Result};
use crate::lab::Lab;
use crate::machine;
use crate::measure::{self, Pace};
use crate::random::{Choice, Ids, Ring};
use std::process::{Command, Stdio};

pub const GROUP: Group = Group {
    name: "cold",
    about: "open and read one record: after a clean close, after a kill",
    rows: &["cold_open_clean", "cold_open_killed"],
    loads: true,
    takes: |entry| entry.kind == Kind::Engine && entry.reopens,
    run,
};

/// Records to a durable batch of the process that is killed, and to the unsynced part behind them.
const BATCH: u64 = 100;

fn run(lab: &Lab) -> Result<()> {
    if lab.spec.round == 0 {
        return lab.prepared("cold", Commit::Buffered).map(|_| ());
    }
    let dir = lab.spec.dir.join("cold");
    let records = lab.p().records;
    for (name, kill) in [("cold_open_clean", false), ("cold_open_killed", true)] {
        if !lab.wants(name) {
            continue;
        }
        let durable = if kill { killed(lab)? } else { records };
        machine::drop_page_cache(&dir)?;
        let mut opened = None;
        lab.measure(name, 1, records, || {
            measure::once(1, || {
                let engine = lab.open(&lab.setup(&dir, Commit::Buffered))?;
                read_now(&mut *engine.session()?, *lab.data(), records / 2)?;
                opened = Some(engine);
                Ok(())
            })
        });
        let Some(engine) = opened else { continue };
        check(lab, &*engine, durable, kill)?;
        engine.close()?;
    }
    Ok(())
}

/// Everything that was acknowledged as durable is there, and right.
fn check(lab: &Lab, engine: &dyn Engine, durable: u64, kill: bool) -> Result<()> {
    let data = *lab.data();
    let first = lab.p().records;
    measure::views(engine, &Pace::steps(1, durable - first), |_| {
        let mut next = first..durable;
        Ok(read(data, move || next.next().unwrap_or(0)))
    })?;
    let ring = Ring::new(Choice::Uniform, lab.p().records, 3);
    measure::views(engine, &Pace::steps(1, 10_000), |thread| {
        let mut ids = Ids::new(&ring, lab.p().records, 3, thread);
        Ok(read(data, move || ids.next()))
    })?;
    if !kill && lab.spec.round == 1 {
        expect_len(engine, durable)?;
    }
    Ok(())
}

/// Lets a process of its own write until it kills itself; up to which record it had word that all is durable.
fn killed(lab: &Lab) -> Result<u64> {
    let mut spec = lab.spec.clone();
    spec.params.only = vec!["victim".to_owned()];
    let child = Command::new(std::env::current_exe()?)
        .args(["child", &serde_json::to_string(&spec)?])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&child.stdout);
    let durable = said.lines().filter_map(|line| line.strip_prefix("durable ")).next_back();
    let durable = durable.and_then(|n| n.parse().ok());
    match (std::os::unix::process::ExitStatusExt::signal(&child.status), durable) {
        (Some(libc::SIGKILL), Some(durable)) => Ok(durable),
        _ => Err(Fail::failed(format!("the process to be killed ended otherwise: {}; {}", child.status, said.trim()))),
    }
}

/// The process that is killed: durable batches, then unsynced writes, then SIGKILL by its own hand.
pub fn victim(lab: &Lab) -> Result<()> {
    let (dir, data, records) = (lab.spec.dir.join("cold"), *lab.data(), lab.p().records);
    let engine = (lab.entry.open)(&lab.setup(&dir, Commit::Buffered))?;
    let mut session = engine.session()?;
    let mut write = |first: u64, batch: u64, commit| {
        let ids = first..first + batch;
        let records: Vec<_> = ids
            .map(|id| {
                let mut value = Vec::new();
                data.value(id, u64::from(lab.spec.round), &mut value);
                (data.keys.key(id), value)
            })
            .collect();
        let ops: Vec<Op<'_>> = records.iter().map(|(key, value)| Op::Put(key, value)).collect();
        session.write(&ops, commit)
    };
    let more = (records / 20).next_multiple_of(BATCH);
    for first in (records..records + more).step_by(BATCH as usize) {
        write(first, BATCH, if first % (BATCH * 100) == 0 { Commit::Durable } else { Commit::Buffered })?;
    }
    engine.sync()?;
    println!("durable {}", records + more);
    for id in records + more..records + 2 * more {
        write(id, 1, Commit::Buffered)?;
    }
    // SAFETY: a plain call; it ends this process, which is the point.
    unsafe { libc::raise(libc::SIGKILL) };
    Ok(())
}
