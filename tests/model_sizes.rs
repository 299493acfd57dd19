//! Keys and values of lengths at and around every limit, through every call that takes them, against `BTreeMap`.

#![cfg(feature = "btree")]

mod support;

use pagebox::{Batch, Durability, Error, Result, Store, Tree};
use std::collections::BTreeMap;

fn store(page_size: usize) -> (tempfile::TempDir, Store, Tree) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Store::options().page_size(page_size).durability(Durability::Manual).memory(page_size * 256);
    let store = options.open(dir.path()).expect("a store");
    let tree = store.tree("t").expect("a tree");
    (dir, store, tree)
}

/// The longest key; and the longest value, if it is less than some pages.
fn limits(tree: &Tree, page_size: usize) -> (usize, Option<usize>) {
    let key = match tree.insert(vec![0; 1 << 20], b"") {
        Err(Error::KeyTooLarge { max, .. }) => max,
        other => panic!("a key of 1 MiB: {other:?}"),
    };
    let value = match tree.insert(b"v", vec![0; page_size * 3]) {
        Err(Error::ValueTooLarge { max, .. }) => Some(max as usize),
        Ok(true) => {
            tree.remove(b"v").expect("remove");
            None
        }
        other => panic!("a value of three pages: {other:?}"),
    };
    (key, value)
}

fn key(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + (i % 3) as u8).collect()
}

/// Lengths about those at which something changes: heads are 4 bytes, keys end at their limit, values at theirs, and where
/// values leave their page, about a quarter of it.
fn lengths(page_size: usize, key: usize, value: Option<usize>) -> (Vec<usize>, Vec<usize>) {
    let around = |n: usize| n.saturating_sub(2)..=n + 2;
    let mut keys: Vec<usize> = (0..10).chain([key / 2, key - 2, key - 1, key]).collect();
    let mut values: Vec<usize> = (0..6).chain([16, 100]).collect();
    for n in [page_size / 8, page_size / 4, page_size / 2] {
        values.extend(around(n));
    }
    match value {
        Some(max) => {
            values.retain(|n| *n <= max);
            values.extend([max - 2, max - 1, max]);
        }
        None => values.extend(around(page_size).chain(around(page_size * 2))),
    }
    keys.dedup();
    (keys, values)
}

#[test]
fn every_length_is_kept() {
    for page_size in [4096, 16384, 65536] {
        let (_dir, store, tree) = store(page_size);
        let (max_key, max_value) = limits(&tree, page_size);
        let (keys, values) = lengths(page_size, max_key, max_value);
        let mut model = BTreeMap::new();
        let value = |len: usize, by: usize| vec![(len + by) as u8; len];
        for (i, &len) in values.iter().enumerate() {
            // Every key with another length each time: it grows, shrinks, and moves between leaves.
            for (j, &key_len) in keys.iter().enumerate() {
                let (key, len) = (key(key_len), values[(i + j) % values.len()]);
                let new = tree.insert(&key, value(len, j)).expect("insert");
                assert_eq!(new, model.insert(key.clone(), value(len, j)).is_none(), "key {key_len}, value {len}");
                assert_eq!(tree.get(&key).expect("get").as_ref(), model.get(&key), "key {key_len}, value {len}");
            }
            let key = key(keys[i % keys.len()]);
            let before = model.insert(key.clone(), value(len, 7));
            assert_eq!(tree.replace(&key, value(len, 7)).expect("replace"), before);
            let found = tree.compare_and_swap(&key, model.get(&key).map(Vec::as_slice), Some(&value(len, 9)));
            assert_eq!(found.expect("compare_and_swap"), Ok(()));
            model.insert(key.clone(), value(len, 9));
            let mut batch = Batch::new();
            batch.require(&tree, &key, model.get(&key).map(Vec::as_slice)).insert(&tree, &key, value(len, 11));
            store.apply(&batch).expect("apply");
            assert_eq!(tree.take(&key).expect("take"), Some(value(len, 11)));
            model.remove(&key);
        }
        let found: BTreeMap<_, _> = tree.iter().collect::<Result<_>>().expect("iteration");
        assert!(found == model, "page size {page_size}");
        store.check().expect("check");
    }
}

#[test]
fn what_is_longer_is_refused_by_every_call_and_changes_nothing() {
    for page_size in [4096, 65536] {
        let (_dir, store, tree) = store(page_size);
        let (max_key, max_value) = limits(&tree, page_size);
        let (longest, long) = (key(max_key), key(max_key + 1));
        tree.insert(&longest, b"there").expect("insert");
        let too_long = |what: &str, error: Option<Error>| match error {
            Some(Error::KeyTooLarge { len, max, .. }) => assert_eq!((len, max), (max_key + 1, max_key), "{what}"),
            other => panic!("{what} of a key of {} bytes: {other:?}", max_key + 1),
        };
        too_long("insert", tree.insert(&long, b"").err());
        too_long("replace", tree.replace(&long, b"").err());
        too_long("remove", tree.remove(&long).err());
        too_long("take", tree.take(&long).err());
        too_long("compare_and_swap", tree.compare_and_swap(&long, None, Some(b"")).err());
        too_long("fetch_update", tree.fetch_update(&long, |_| Some(Vec::new())).err());
        too_long("batch", store.apply(Batch::new().insert(&tree, b"other", b"").insert(&tree, &long, b"")).err());
        too_long("batch", store.apply(Batch::new().insert(&tree, b"other", b"").remove(&tree, &long)).err());
        too_long("batch", store.apply(Batch::new().insert(&tree, b"other", b"").require(&tree, &long, None)).err());
        // Reads, and bounds of ranges, may be of any length.
        assert_eq!(tree.get(&long).expect("get"), None);
        assert!(!tree.contains_key(&long).expect("contains_key"));
        assert_eq!(tree.get_with(&long, <[u8]>::len).expect("get_with"), None);
        tree.get_many(&[&long, &longest], |i, value| assert_eq!(value.is_some(), i == 1)).expect("get_many");
        assert_eq!(tree.range(&long..).count(), 0);
        assert_eq!(tree.range(..&long).count(), 1);
        assert_eq!(tree.range(..&long).rev().count(), 1);
        assert_eq!(tree.range(&longest..=&long).count(), 1);
        assert_eq!(tree.prefix(&long).count(), 0);
        assert_eq!(tree.remove_range(&long..).expect("remove_range"), 0);
        if let Some(max) = max_value {
            let value = vec![0; max + 1];
            let too_large = |what: &str, error: Option<Error>| match error {
                Some(Error::ValueTooLarge { len, max: m, .. }) => {
                    assert_eq!((len, m), (max as u64 + 1, max as u64), "{what}")
                }
                other => panic!("{what} of a value of {} bytes: {other:?}", max + 1),
            };
            too_large("insert", tree.insert(&longest, &value).err());
            too_large("replace", tree.replace(&longest, &value).err());
            too_large("compare_and_swap", tree.compare_and_swap(&longest, Some(b"there"), Some(&value)).err());
            too_large("fetch_update", tree.fetch_update(&longest, |_| Some(value.clone())).err());
            too_large("batch", store.apply(Batch::new().remove(&tree, &longest).insert(&tree, b"v", &value)).err());
            // An expectation that long never holds, and is no mistake.
            let conflict = tree.compare_and_swap(&longest, Some(&value), None).expect("compare_and_swap");
            assert_eq!(conflict.expect_err("a conflict").current.as_deref(), Some(b"there".as_slice()));
            let outcome = store.apply(Batch::new().require(&tree, &longest, Some(&value)));
            assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        }
        assert_eq!(tree.iter().collect::<Result<Vec<_>>>().expect("iteration"), [(longest, b"there".to_vec())]);
        store.check().expect("check");
    }
}
