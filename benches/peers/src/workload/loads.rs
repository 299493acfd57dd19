//! Loading an empty store, in random and in sorted order, and how large it is then, after a clean close.

use super::{Group, everybody, expect_len};
use crate::engine::{Commit, Order, Result};
use crate::lab::{Lab, Records};
use crate::machine;
use crate::measure;

pub const GROUP: Group = Group {
    name: "loads",
    about: "loading an empty store by the engine's bulk path, and its size after a clean close",
    rows: &["load_random", "load_sorted"],
    loads: false,
    takes: everybody,
    run,
};

fn run(lab: &Lab) -> Result<()> {
    let (records, data) = (lab.p().records, *lab.data());
    for (name, order) in [("load_random", Order::Random), ("load_sorted", Order::Sorted)] {
        if !lab.wants(name) {
            continue;
        }
        let dir = lab.fresh(name)?;
        let engine = lab.open(&lab.setup(&dir, Commit::Buffered))?;
        let ids: Box<dyn Iterator<Item = u64>> = match order {
            Order::Random => Box::new(0..records),
            Order::Sorted => Box::new(data.keys.sorted(records).into_iter()),
        };
        lab.measure(name, 1, records, || {
            let m = measure::once(records, || engine.load(order, &mut Records::new(&data, ids, 0)))?;
            expect_len(&*engine, records)?;
            Ok(m)
        });
        engine.close()?;
        let raw = (records * data.record_len()) as f64;
        let disk = machine::disk_bytes(&dir);
        if disk > 0 {
            lab.figure(name, "bytes on disk / raw bytes, closed", disk as f64 / raw);
        }
        // Where the pages have a file of their own, that file alone: the log beside it is bounded and used again.
        let pages = dir.join("pages");
        if pages.is_file() {
            let blocks = std::os::unix::fs::MetadataExt::blocks(&pages.metadata()?);
            lab.figure(name, "bytes of the page file / raw bytes, closed", (blocks * 512) as f64 / raw);
        }
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}
