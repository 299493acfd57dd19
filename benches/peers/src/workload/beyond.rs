//! Data from a quarter of the memory an engine has to twenty times as much: uniform reads, and half reads half overwrites;
//! through the system's page cache, which holds all of it, and around it where an engine can. So `cached` shows what an
//! engine's own misses cost, `direct` what the device makes of them. The store is loaded in sorted order, which every
//! engine does fast in little memory.

use super::{Group, engines_and_device, read, read_now};
use crate::engine::{Commit, Engine, Kind, Op, Order, Result, Session};
use crate::lab::{Lab, Records};
use crate::machine;
use crate::measure::{self, Pace};
use crate::random::{Choice, Ids, Ring};

pub const GROUP: Group = Group {
    name: "beyond",
    about: "data larger than the engine's memory, page cache and direct",
    rows: &[
        "beyond_read_quarter_cached",
        "beyond_mixed_quarter_cached",
        "beyond_read_quarter_direct",
        "beyond_mixed_quarter_direct",
        "beyond_read_once_cached",
        "beyond_mixed_once_cached",
        "beyond_read_once_direct",
        "beyond_mixed_once_direct",
        "beyond_read_4x_cached",
        "beyond_mixed_4x_cached",
        "beyond_read_4x_direct",
        "beyond_mixed_4x_direct",
        "beyond_read_20x_cached",
        "beyond_mixed_20x_cached",
        "beyond_read_20x_direct",
        "beyond_mixed_20x_direct",
    ],
    loads: true,
    takes: engines_and_device,
    run,
};

/// Data as a share of the memory, and the words for it.
const SIZES: [(f64, &str); 4] = [(0.25, "quarter"), (1.0, "once"), (4.0, "4x"), (20.0, "20x")];

fn run(lab: &Lab) -> Result<()> {
    for (times, size) in SIZES {
        for direct in [false, true] {
            let way = if direct { "direct" } else { "cached" };
            let names = [format!("beyond_read_{size}_{way}"), format!("beyond_mixed_{size}_{way}")];
            if !names.iter().any(|name| lab.wants(name)) {
                continue;
            }
            let records = ((lab.p().cache_mib << 20) as f64 * times / lab.data().record_len() as f64) as u64;
            if let Err(e) = one(lab, &format!("{size}-{way}"), &names, direct, records) {
                lab.missing(&format!("{}{}", names[0], lab.p().suffix), 1, &e);
            }
        }
    }
    Ok(())
}

fn one(lab: &Lab, place: &str, names: &[String; 2], direct: bool, records: u64) -> Result<()> {
    let data = *lab.data();
    let dir = lab.spec.dir.join(place);
    let mark = lab.spec.dir.join(format!("{place}.loaded"));
    let mut setup = lab.setup(&dir, Commit::Buffered);
    (setup.direct, setup.records) = (direct, records);
    let fill = |engine: &dyn Engine| {
        lab.progress(format!("loading {records} records"));
        if lab.entry.kind == Kind::Bare {
            // Its order is that of numbers.
            return engine.load(Order::Random, &mut Records::new(&data, 0..records, 0));
        }
        engine.load(Order::Sorted, &mut Records::new(&data, data.keys.sorted(records).into_iter(), 0))
    };
    let engine = match (lab.spec.round, lab.entry.reopens) {
        (0, true) => {
            let engine = lab.open(&setup)?;
            fill(&*engine)?;
            engine.close()?;
            return Ok(std::fs::write(mark, "")?);
        }
        (0, false) => return Ok(()),
        (_, true) => {
            // What cannot be opened at all says so itself, again.
            if mark.exists() {
                if direct { machine::drop_page_cache(&dir)? } else { machine::fill_page_cache(&dir)? }
            }
            lab.open(&setup)?
        }
        (_, false) => {
            lab.fresh(place)?;
            let engine = lab.open(&setup)?;
            fill(&*engine)?;
            engine
        }
    };
    if lab.entry.reopens && !mark.exists() {
        return Err(crate::engine::Fail::failed("it was not loaded"));
    }
    let ring = Ring::new(Choice::Uniform, records, 5);
    let seconds = lab.p().seconds;
    for &threads in &lab.p().threads {
        let ids = |thread| Ids::new(&ring, records, u64::from(lab.spec.round), thread);
        // The caches fill first, for as long as is measured then.
        let warm = |engine: &dyn Engine| {
            measure::views(engine, &Pace::time(threads, seconds / 2.0), |thread| {
                let mut ids = Ids::new(&ring, records, 77, thread);
                Ok(read(data, move || ids.next()))
            })
        };
        lab.measure(&names[0], threads, records, || {
            warm(&*engine)?;
            measure::views(&*engine, &Pace::time(threads, seconds), |thread| {
                let mut ids = ids(thread);
                Ok(read(data, move || ids.next()))
            })
        });
        lab.measure(&names[1], threads, records, || {
            measure::sessions(&*engine, &Pace::time(threads, seconds), |thread| {
                let (mut ids, mut value, mut nonce) = (ids(thread), Vec::new(), thread as u64);
                Ok(move |session: &mut dyn Session| {
                    let (id, write) = (ids.next(), ids.rng().below(2) == 1);
                    if write {
                        nonce += threads as u64;
                        data.value(id, nonce, &mut value);
                        session.write(&[Op::Put(&data.keys.key(id), &value)], Commit::Buffered)?;
                    } else {
                        read_now(session, data, id)?;
                    }
                    Ok(1)
                })
            })
        });
    }
    engine.close()
}
