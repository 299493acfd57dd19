//! The spine: open, put, get, close, reopen; crash, reopen.

use pagebox::sim::SimDisk;
use pagebox::{Batch, Durability, Error, Site, Store, Tree};
use std::collections::BTreeMap;
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

#[test]
fn a_batch_with_many_keys_in_one_leaf_is_redone_whole() {
    for seed in 0..10 {
        let disk = SimDisk::new(seed);
        let store = sim(&disk).open("/db").unwrap();
        let tree = store.tree("t").unwrap();
        let mut batch = Batch::new();
        for i in 0..20u8 {
            batch.insert(&tree, [i], [i; 10]);
        }
        store.apply(&batch).unwrap();
        let store = sim(&disk.crash(seed)).open("/db").unwrap();
        assert_eq!(store.tree("t").unwrap().len().unwrap(), 20, "seed {seed}");
    }
}

/// A session with splits, removals, checkpoints and a reopen; tags the disk's history with how many changes were
/// acknowledged.
fn session(disk: &SimDisk, from: u32, to: u32) {
    let store = sim(disk).memory(300 << 10).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in from..to {
        change(&tree, i);
        disk.mark(u64::from(i) + 1);
        if i % 60 == 59 {
            store.checkpoint().unwrap();
        }
    }
}

/// Change `i`: an insertion, or from time to time a removal of an earlier key.
fn change(tree: &Tree, i: u32) {
    if i % 3 == 2 {
        assert!(tree.remove((i - 2).to_be_bytes()).unwrap());
    } else {
        assert!(tree.insert(i.to_be_bytes(), vec![i as u8; 700]).unwrap());
    }
}

/// The state after the first `n` changes.
fn expected(n: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut model = BTreeMap::new();
    for i in 0..n {
        if i % 3 == 2 {
            model.remove(&(i - 2).to_be_bytes()[..]);
        } else {
            model.insert(i.to_be_bytes().to_vec(), vec![i as u8; 700]);
        }
    }
    model
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let disk = SimDisk::new(21);
    session(&disk, 0, 150);
    session(&disk, 150, 240);
    let first = disk.history_len();
    assert!(first > 500, "{first}");
    for at in 0..first {
        let after = disk.crash_at(at, at);
        let acknowledged = disk.last_mark_before(at).unwrap_or(0) as u32;
        let store = sim(&after).memory(300 << 10).open("/db").unwrap_or_else(|e| panic!("operation {at}: {e}"));
        let tree = store.tree("t").unwrap();
        let there: BTreeMap<_, _> = tree.iter().map(|pair| pair.unwrap()).collect();
        let fits = there == expected(acknowledged) || there == expected(acknowledged + 1);
        assert!(fits, "operation {at}: neither {acknowledged} changes nor one more");
        store.check().unwrap_or_else(|e| panic!("operation {at}: {e}"));
    }
}

#[test]
fn a_crash_at_any_operation_of_a_recovery_and_a_second_life_lose_nothing() {
    let disk = SimDisk::new(22);
    session(&disk, 0, 130);
    let crashed = disk.crash(22);
    drop(sim(&crashed).memory(300 << 10).open("/db").unwrap());
    for at in 0..crashed.history_len() {
        let after = crashed.crash_at(at, at);
        session(&after, 130, 140);
        let again = after.crash(at);
        let store = sim(&again).memory(300 << 10).open("/db").unwrap_or_else(|e| panic!("operation {at}: {e}"));
        let there: BTreeMap<_, _> = store.tree("t").unwrap().iter().map(|pair| pair.unwrap()).collect();
        assert!(there == expected(140), "operation {at}");
        store.check().unwrap_or_else(|e| panic!("operation {at}: {e}"));
    }
}

#[test]
fn a_page_that_proves_that_the_log_lost_its_end() {
    let disk = SimDisk::new(23);
    let store = sim(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    // A page that the log makes from nothing is not read by redo; after a checkpoint it is.
    store.checkpoint().unwrap();
    tree.insert("a", "1").unwrap();
    tree.insert("b", "2").unwrap();
    // Writes out every changed page.
    store.check().unwrap();
    let after = disk.crash(23);
    let path = "/db/wal/0000000000000001.log";
    let groups = after.read_file(path).unwrap().chunks(4096).take_while(|block| block[..4] == *b"PBXG").count();
    after.flip_bit(path, (groups as u64 - 1) * 4096 + 70, 1).unwrap();
    match sim(&after).open("/db") {
        Err(Error::Corrupted { site: Site::Page(_), .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// Where the two superblock copies of a disk say that the log is needed from: segment numbers.
fn places(disk: &SimDisk) -> Option<[u64; 2]> {
    let pages = disk.read_file("/db/pages").ok()?;
    let at = |copy: usize| Some(u64::from_le_bytes(pages.get(copy + 56..copy + 64)?.try_into().ok()?));
    Some([at(0)?, at(64 << 10)?])
}

#[test]
fn a_recovery_between_two_superblocks_can_itself_be_cut_off() {
    let options = |disk: &SimDisk| sim(disk).log_segment_bytes(64 << 10).max_log_bytes(1 << 20);
    let disk = SimDisk::new(24);
    let store = options(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..120 {
        change(&tree, i);
        disk.mark(u64::from(i) + 1);
        if i % 40 == 39 {
            store.checkpoint().unwrap();
        }
    }
    let mut met = 0;
    for at in 0..disk.history_len() {
        let crashed = disk.crash_at(at, at);
        if places(&crashed).is_none_or(|[a, b]| a == b || a == 0 || b == 0) {
            continue;
        }
        met += 1;
        let acknowledged = disk.last_mark_before(at).unwrap_or(0) as u32;
        drop(options(&crashed).open("/db").unwrap());
        for again in 0..crashed.history_len() {
            let after = crashed.crash_at(again, again);
            let store = options(&after).open("/db").unwrap_or_else(|e| panic!("operations {at}, {again}: {e}"));
            let there: BTreeMap<_, _> = store.tree("t").unwrap().iter().map(|pair| pair.unwrap()).collect();
            assert!(there == expected(acknowledged) || there == expected(acknowledged + 1), "operations {at}, {again}");
        }
    }
    assert!(met > 0, "no state between two superblocks was met");
}

#[test]
fn a_page_that_leaves_memory_takes_its_log_along() {
    let disk = SimDisk::new(25);
    // Nobody syncs: only full buffers, eviction and checkpoints do. The disk checks the WAL rule on every write.
    let options = |disk: &SimDisk| sim(disk).memory(300 << 10).durability(Durability::Manual);
    let store = options(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..1000u32 {
        tree.insert(i.to_be_bytes(), [0; 300]).unwrap();
    }
    store.sync().unwrap();
    let from = disk.history_len();
    // Small changes all over the tree: pages leave long before a buffer of the log is full.
    let key = |i: u32| [&(i * 37 % 1000).to_be_bytes()[..], &i.to_be_bytes()].concat();
    for i in 0..1500u32 {
        tree.insert(key(i), "").unwrap();
    }
    let stats = store.stats();
    assert!(stats.evictions > 100 && stats.pages_written > 100, "{stats:?}");
    for at in (from..disk.history_len()).step_by(41) {
        let store = options(&disk.crash_at(at, at)).open("/db").unwrap_or_else(|e| panic!("operation {at}: {e}"));
        let tree = store.tree("t").unwrap();
        let n = tree.len().unwrap() as u32 - 1000;
        assert!((0..n).all(|i| tree.contains_key(key(i)).unwrap()), "operation {at}: {n} keys that are no prefix");
    }
}
