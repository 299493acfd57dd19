//! The spine: open, put, get, close, reopen; crash, reopen.

use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Store};
use std::sync::Arc;

fn sim(disk: &SimDisk) -> pagebox::StoreOptions {
    Store::options().disk(Arc::new(disk.clone())).page_size(4096).memory(1 << 20).max_log_bytes(4 << 20)
}

#[test]
fn a_new_store_keeps_what_was_put_into_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b/store");
    let store = Store::open(&dir).unwrap();
    let tree = store.tree("words").unwrap();
    assert!(tree.insert("hello", "world").unwrap());
    assert!(!tree.insert("hello", "there").unwrap());
    assert_eq!(tree.get("hello").unwrap().as_deref(), Some(&b"there"[..]));
    store.check().unwrap();
    drop(tree);
    store.close().unwrap();

    let store = Store::open(&dir).unwrap();
    assert_eq!(store.stats().recovered_records, 0, "closed cleanly");
    let tree = store.existing_tree("words").unwrap().unwrap();
    assert_eq!(tree.get("hello").unwrap().as_deref(), Some(&b"there"[..]));
    assert_eq!(store.tree_names().unwrap(), ["words"]);
    assert!(store.existing_tree("other").unwrap().is_none());
}

#[test]
fn an_acknowledged_put_survives_a_crash_of_a_fresh_store() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let store = sim(&disk).open("/db").unwrap();
        store.tree("t").unwrap().insert("k", "v").unwrap();
        let after = disk.crash(seed);
        drop(store);
        let store = sim(&after).open("/db").unwrap();
        assert_eq!(store.tree("t").unwrap().get("k").unwrap().as_deref(), Some(&b"v"[..]), "seed {seed}");
        store.check().unwrap();
    }
}

#[test]
fn splits_without_a_checkpoint_survive_a_crash() {
    for seed in 0..4 {
        let disk = SimDisk::new(seed);
        let store = sim(&disk).durability(Durability::Manual).open("/db").unwrap();
        let tree = store.tree("t").unwrap();
        for i in 0..5000u32 {
            tree.insert(i.to_be_bytes(), [7; 100]).unwrap();
        }
        store.sync().unwrap();
        let after = disk.crash(seed);
        drop((store, tree));
        let store = sim(&after).open("/db").unwrap();
        assert!(store.stats().recovered_records > 0);
        let tree = store.tree("t").unwrap();
        assert_eq!(tree.len().unwrap(), 5000);
        let report = store.check().unwrap();
        assert_eq!(report.records, 5000);
    }
}

#[test]
fn closing_says_closed_to_all_other_handles() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("a", "b").unwrap();
    let mut range = tree.iter();
    let other = store.clone();
    store.close().unwrap();
    assert!(matches!(tree.get("a"), Err(Error::Closed)));
    assert!(matches!(tree.insert("a", "c"), Err(Error::Closed)));
    assert!(matches!(range.next(), Some(Err(Error::Closed))));
    assert!(range.next().is_none());
    assert!(matches!(other.clone().sync(), Err(Error::Closed)));
    assert!(matches!(other.close(), Err(Error::Closed)));
    // The lock is free though handles are left.
    Store::open(temp.path()).unwrap();
}
