//! A queue: records are inserted at one end and removed at the other, in order, while its length stays what it was.

use super::{Group, engines_and_map, expect_len};
use crate::data::{Data, Keys};
use crate::engine::{Commit, Fail, Op, Order, Result, Session};
use crate::lab::{Lab, Records};
use crate::measure::{self, Pace};

pub const GROUP: Group = Group {
    name: "queue",
    about: "insert at one end, remove at the other; unsynced",
    rows: &["queue"],
    loads: false,
    takes: engines_and_map,
    run,
};

fn run(lab: &Lab) -> Result<()> {
    // Numbers ascend as the keys do.
    let data = Data { keys: Keys::Dense8, ..*lab.data() };
    let depth = lab.p().records;
    let mut setup = lab.setup(&lab.fresh("queue")?, Commit::Buffered);
    setup.longest.0 = data.keys.len();
    let engine = lab.open(&setup)?;
    engine.load(Order::Sorted, &mut Records::new(&data, 0..depth, 0))?;
    let mut pushed = 0;
    lab.measure("queue", 1, depth, || {
        let m = measure::sessions(&*engine, &Pace::time(1, lab.p().seconds), |_| {
            let (mut tail, mut value) = (depth, Vec::new());
            Ok(move |session: &mut dyn Session| {
                data.value(tail, 0, &mut value);
                session.write(&[Op::Put(&data.keys.key(tail), &value)], Commit::Buffered)?;
                let head = tail - depth;
                tail += 1;
                let mut checked = Ok(0);
                let there = session.pop_first(Commit::Buffered, &mut |key, value| {
                    checked = match data.keys.id(key) {
                        Some(id) if id == head => data.check(id, value),
                        id => Err(Fail::wrong(format!("{id:?} was first, not {head}"))),
                    };
                })?;
                checked?;
                if there { Ok(2) } else { Err(Fail::wrong("an empty queue")) }
            })
        })?;
        pushed = m.ops / 2;
        expect_len(&*engine, depth)?;
        Ok(m)
    });
    let disk = crate::machine::disk_bytes(&lab.spec.dir) as f64;
    if pushed > 0 && disk > 0.0 {
        let raw = (depth * data.record_len()) as f64;
        lab.figure("queue", "bytes on disk / raw bytes of its length", disk / raw);
        lab.figure("queue", "times its length that went through", pushed as f64 / depth as f64);
    }
    engine.close()
}
