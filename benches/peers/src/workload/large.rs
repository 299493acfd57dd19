//! Large values: writing, durably, and reading records of 4 KiB to 64 MiB, sixteen times each size or as much as 256 MiB.

use super::{Group, engines_and_device, put, read};
use crate::data::Data;
use crate::engine::{Commit, Result};
use crate::lab::Lab;
use crate::measure::{self, Pace};

pub const GROUP: Group = Group {
    name: "large",
    about: "values of 4 KiB to 64 MiB, written durably one by one and read back",
    rows: &[
        "large_write_4k",
        "large_read_4k",
        "large_write_64k",
        "large_read_64k",
        "large_write_1m",
        "large_read_1m",
        "large_write_16m",
        "large_read_16m",
        "large_write_64m",
        "large_read_64m",
    ],
    loads: false,
    takes: engines_and_device,
    run,
};

const SIZES: [(usize, &str); 5] =
    [(4 << 10, "4k"), (64 << 10, "64k"), (1 << 20, "1m"), (16 << 20, "16m"), (64 << 20, "64m")];

fn run(lab: &Lab) -> Result<()> {
    // What all records of one size come to.
    let total = lab.p().records * lab.data().record_len();
    for (value_len, size) in SIZES {
        let names = [format!("large_write_{size}"), format!("large_read_{size}")];
        let count = (total / value_len as u64).min(256);
        if count == 0 || !names.iter().any(|name| lab.wants(name)) {
            continue;
        }
        if let Err(e) = one(lab, value_len, count, &names) {
            lab.missing(&format!("{}{}", names[0], lab.p().suffix), 1, &e);
        }
    }
    Ok(())
}

fn one(lab: &Lab, value_len: usize, count: u64, names: &[String; 2]) -> Result<()> {
    let data = Data { value_len, ..*lab.data() };
    let dir = lab.fresh("large")?;
    let mut setup = lab.setup(&dir, Commit::Durable);
    (setup.records, setup.longest.1) = (count * 2, value_len);
    let engine = lab.open(&setup)?;
    let mut written = 0;
    lab.measure(&names[0], 1, count, || {
        let m = measure::sessions(&*engine, &Pace::steps(1, count), |_| {
            let mut ids = 0..count;
            Ok(put(data, 1, 0, Commit::Durable, move || ids.next()))
        })?;
        written = m.ops;
        Ok(m)
    });
    if written == count {
        lab.measure(&names[1], 1, count, || {
            measure::views(&*engine, &Pace::steps(1, count), |_| {
                let mut ids = 0..count;
                Ok(read(data, move || ids.next().unwrap_or(0)))
            })
        });
        let raw = (count * data.record_len()) as f64;
        lab.figure(&names[0], "bytes on disk / raw bytes", crate::machine::disk_bytes(&dir) as f64 / raw);
    }
    engine.close()?;
    Ok(std::fs::remove_dir_all(&dir)?)
}
