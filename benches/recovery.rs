//! Opening a store: after a clean close, and after a crash that left so many records in the log to redo. The crash is a
//! copy of the directory, taken while the store was open and synced.
//!
//! ```text
//! cargo bench --bench recovery
//! ```

use divan::{Bencher, counter::ItemsCount};
use pagebox::{Durability, Store};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

#[path = "../tests/support/rng.rs"]
#[allow(dead_code)]
mod rng;

const COUNTS: [u64; 3] = [0, 10_000, 100_000];

fn main() {
    divan::main();
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn temp_dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn write(store: &Store, first: u64, count: u64) {
    let tree = store.tree("records").expect("a tree");
    for n in first..first + count {
        tree.insert(rng::mix(n).to_be_bytes(), [n as u8; 150]).expect("insert");
    }
}

/// A store of 100,000 records that a checkpoint covers, and `count` in the log behind it.
fn image(count: u64) -> &'static TempDir {
    static IMAGES: [OnceLock<TempDir>; 3] = [const { OnceLock::new() }; 3];
    let i = COUNTS.iter().position(|&n| n == count).expect("a count of the list");
    IMAGES[i].get_or_init(|| {
        let (dir, image) = (temp_dir(), temp_dir());
        let store = Store::options().durability(Durability::Manual).open(dir.path()).expect("a store");
        write(&store, 0, 100_000);
        store.checkpoint().expect("checkpoint");
        write(&store, 100_000, count);
        store.sync().expect("sync");
        copy(dir.path(), image.path()).expect("copied");
        image
    })
}

/// What was not closed: the log is read twice and redone, then both superblocks are written.
#[divan::bench(args = COUNTS, sample_count = 10, sample_size = 1)]
fn after_a_crash(bencher: Bencher, records: u64) {
    let image = image(records);
    let crashed = || {
        let dir = temp_dir();
        copy(image.path(), dir.path()).expect("copied");
        dir
    };
    bencher.counter(ItemsCount::new(records)).with_inputs(crashed).bench_local_values(|dir| {
        let store = Store::open(dir.path()).expect("recovered");
        assert!(store.stats().recovered_records >= records);
        // Closing and removing are not part of it: divan drops what is returned afterwards.
        (store, dir)
    });
}

/// What was closed: nothing to redo.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn after_a_close(bencher: Bencher) {
    let dir = temp_dir();
    let store = Store::options().durability(Durability::Manual).open(dir.path()).expect("a store");
    write(&store, 0, 100_000);
    store.close().expect("closed");
    bencher.bench_local(|| Store::open(dir.path()).expect("opened"));
}
