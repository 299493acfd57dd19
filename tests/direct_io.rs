//! Past the system's page cache: a store whose pages, log and double-write area all go around it keeps what it is told to keep,
//! with more data than memory, and is the same store for whoever opens it through the cache.

use pagebox::{Durability, Error, Store, StoreOptions, SyncMethod};
use std::collections::BTreeMap;
use std::path::Path;

const KEYS: u64 = 20_000;

fn direct() -> StoreOptions {
    options().direct_io(true).sync_method(SyncMethod::DirectDsync)
}

fn options() -> StoreOptions {
    Store::options().memory(4 << 20).durability(Durability::Manual)
}

/// Whether the temporary directory's file system can be passed by; said if not, for then nothing is shown here.
fn can(dir: &Path) -> bool {
    match direct().open(dir.join("probe")) {
        Err(Error::InvalidOption { option, reason, .. }) => {
            eprintln!("not run: {option}: {reason}");
            false
        }
        other => other.map(|_| true).unwrap(),
    }
}

fn value(key: u64, round: u64) -> Vec<u8> {
    let len = match key % 1000 {
        0 => 300_000,
        1 => 20_000,
        _ => 200 + (key % 900) as usize,
    };
    (0..len as u64).map(|i| (i ^ key.wrapping_mul(31) ^ round) as u8).collect()
}

#[test]
fn a_store_around_the_page_cache_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    if !can(dir.path()) {
        return;
    }
    let path = dir.path().join("store");
    let mut model = BTreeMap::new();
    // By turns around the cache and through it: the files are the same.
    for (round, options) in [direct(), options(), direct(), options(), direct()].into_iter().enumerate() {
        let store = options.open(&path).unwrap();
        let tree = store.tree("t").unwrap();
        assert_eq!(tree.len().unwrap(), model.len() as u64, "round {round}");
        for (&key, &written) in &model {
            assert!(tree.get(u64::to_be_bytes(key)).unwrap() == Some(value(key, written)), "{key} in round {round}");
        }
        let round = round as u64;
        std::thread::scope(|scope| {
            for part in 0..2 {
                let tree = tree.clone();
                scope.spawn(move || {
                    for key in (0..KEYS).filter(|key| key % 2 == part && (key * 7 + round).is_multiple_of(3)) {
                        // Scattered: the tree's pages leave memory and come back all the time.
                        let key = key.wrapping_mul(7919) % KEYS;
                        tree.insert(key.to_be_bytes(), value(key, round)).unwrap();
                    }
                });
            }
        });
        model.extend(
            (0..KEYS)
                .filter(|key| (key * 7 + round).is_multiple_of(3))
                .map(|key| (key.wrapping_mul(7919) % KEYS, round)),
        );
        // Half of the time without the checkpoint of a close: the log is what the next round has to go by.
        store.sync().unwrap();
        if round.is_multiple_of(2) {
            assert_eq!(store.check().unwrap().records, model.len() as u64, "round {round}");
            drop(tree);
            store.close().unwrap();
        }
    }
}
