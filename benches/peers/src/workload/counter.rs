//! Counters: threads read, add one and write, as one step, sixteen records that all want. In the end the sum must be right.

use super::{Group, engines_and_map};
use crate::data::Keys;
use crate::engine::{Commit, Fail, Op, Result, Session};
use crate::lab::Lab;
use crate::measure::{self, Pace};
use crate::random::Rng;

pub const GROUP: Group = Group {
    name: "counter",
    about: "read-modify-write of 16 hot keys; unsynced",
    rows: &["counter"],
    loads: false,
    takes: engines_and_map,
    run,
};

const COUNTERS: u64 = 16;

fn number(value: Option<&[u8]>) -> Option<u64> {
    Some(u64::from_le_bytes(value?.try_into().ok()?))
}

fn run(lab: &Lab) -> Result<()> {
    let mut setup = lab.setup(&lab.fresh("counter")?, Commit::Buffered);
    setup.longest = (24, 8);
    let engine = lab.open(&setup)?;
    for &threads in &lab.p().threads {
        lab.measure("counter", threads, COUNTERS, || {
            let mut session = engine.session()?;
            for id in 0..COUNTERS {
                session.write(&[Op::Put(&Keys::Random24.key(id), &[0; 8])], Commit::Buffered)?;
            }
            let m = measure::sessions(&*engine, &Pace::time(threads, lab.p().seconds), |thread| {
                let mut rng = Rng::new(thread as u64);
                Ok(move |session: &mut dyn Session| {
                    let mut lost = false;
                    let mut add = |old: Option<&[u8]>| {
                        lost |= number(old).is_none();
                        (number(old).unwrap_or(0) + 1).to_le_bytes().to_vec()
                    };
                    session.update(&Keys::Random24.key(rng.below(COUNTERS)), &mut add, Commit::Buffered)?;
                    if lost { Err(Fail::wrong("a counter that is not there")) } else { Ok(1) }
                })
            })?;
            let mut sum = 0;
            for id in 0..COUNTERS {
                session.get(&Keys::Random24.key(id), &mut |value| sum += number(Some(value)).unwrap_or(0))?;
            }
            if sum == m.ops { Ok(m) } else { Err(Fail::wrong(format!("counted to {sum} in {} steps", m.ops))) }
        });
    }
    engine.close()
}
