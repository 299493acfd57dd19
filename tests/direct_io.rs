//! Past the system's page cache: a store whose pages, log and double-write area all go around it keeps what it is told to keep,
//! with more data than memory, and is the same store for whoever opens it through the cache.

use pagebox::io::Disk;
use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Store, StoreOptions, SyncMethod};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
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
        let store = options.clone().open(&path).unwrap();
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
        assert_eq!(store.check().unwrap().records, model.len() as u64, "round {round}");
        // What a crash leaves of it, if the system stays: the log is what the copy has to go by. Little enough after the checkpoint
        // for no other to be made while it is copied.
        store.checkpoint().unwrap();
        for key in 0..50 {
            tree.insert(u64::to_be_bytes(key), value(key, round + 100)).unwrap();
            model.insert(key, round + 100);
        }
        store.sync().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let copy = dir.path().join(format!("copy{round}"));
        copy_files(&path, &copy);
        drop(tree);
        store.close().unwrap();
        let store = options.open(&copy).unwrap();
        assert_eq!(store.check().unwrap().records, model.len() as u64, "the copy of round {round}");
        let tree = store.tree("t").unwrap();
        for (&key, &written) in &model {
            assert!(tree.get(u64::to_be_bytes(key)).unwrap() == Some(value(key, written)), "{key}, copy of {round}");
        }
    }
}

/// A medium that cannot be written past a cache says so to whoever insists, and serves everybody else.
#[test]
fn what_a_medium_lacks_is_refused_only_to_who_insists() {
    let disk = Arc::new(SimDisk::new(1));
    let options = || Store::options().memory(16 << 20).disk(disk.clone());
    let wanted =
        [("sync_method", options().sync_method(SyncMethod::DirectDsync)), ("direct_io", options().direct_io(true))];
    let refused = |when: &str| {
        for (name, options) in &wanted {
            match options.clone().open("/store") {
                Err(Error::InvalidOption { option, .. }) => assert_eq!(option, *name, "{when}"),
                other => panic!("{name}, {when}: {other:?}"),
            }
        }
    };
    refused("a store to be created");
    assert!(
        disk.list(Path::new("/store")).unwrap().iter().all(|name| name.as_os_str() == "lock"),
        "nothing is left of it"
    );
    options().open("/store").unwrap().tree("t").unwrap().insert("k", "v").unwrap();
    refused("a store that is there");
    let value = options().open("/store").unwrap().tree("t").unwrap().get("k").unwrap();
    assert_eq!(value.as_deref(), Some(&b"v"[..]));
}
