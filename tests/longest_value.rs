//! The longest value there may be, in a store with the smallest memory that will do. Not among the tests that always run: it
//! writes 8 GiB. `cargo test --release --test longest_value -- --ignored`.

#![cfg(feature = "btree")]

use pagebox::{Durability, Error, Store};

/// The longest value, in bytes.
const LONGEST: u64 = 1 << 32;
/// A byte in each of so many is not zero, so that the rest costs no memory.
const STRIDE: usize = 1 << 20;

/// The byte at a multiple of [`STRIDE`].
fn mark(at: usize, turn: u8) -> u8 {
    (at / STRIDE % 251) as u8 + turn + 1
}

#[test]
#[ignore = "writes 8 GiB; run it by name"]
fn a_value_of_four_gib() {
    let temp = tempfile::tempdir().expect("a directory");
    let options = Store::options().memory(16 << 20).durability(Durability::Manual);
    let store = options.clone().open(temp.path()).expect("a store");
    let tree = store.tree("t").expect("a tree");
    let longest = usize::try_from(LONGEST).expect("a machine of 64 bits");
    let mut value = vec![0u8; longest + 1];
    assert!(matches!(tree.insert("long", &value), Err(Error::ValueTooLarge { .. })), "a byte too long");
    value.pop();
    for turn in 0..2u8 {
        (0..longest).step_by(STRIDE).for_each(|at| value[at] = mark(at, turn));
        value[longest - 1] = 99;
        tree.insert("long", &value).expect("insert");
        tree.insert("short", [turn]).expect("insert");
        store.sync().expect("sync");
        // The former one's space, four thousand extents of it, goes back.
        store.checkpoint().expect("checkpoint");
    }
    drop(value);
    drop(tree);
    store.close().expect("close");

    let store = options.open(temp.path()).expect("a store");
    let tree = store.tree("t").expect("a tree");
    let mut part = Vec::new();
    for at in (0..longest).step_by(STRIDE) {
        let range = at as u64..(at + STRIDE) as u64;
        assert!(tree.get_range("long", range, &mut part).expect("get_range"));
        let last = if at + STRIDE == longest { 99 } else { 0 };
        assert_eq!((part.len(), part[0], part[STRIDE - 1]), (STRIDE, mark(at, 1), last), "at {at}");
        assert!(part[1..STRIDE - 1].iter().all(|&byte| byte == 0), "at {at}");
    }
    assert_eq!(tree.get("short").expect("get"), Some(vec![1]));
    let stats = store.stats();
    let bytes = stats.file_pages * stats.page_size;
    assert!(bytes < 2 * LONGEST + (64 << 20), "{bytes} bytes of file for two of them");
    assert!(tree.remove("long").expect("remove"));
    store.checkpoint().expect("checkpoint");
    store.check().expect("check");
    assert!(store.stats().free_pages * stats.page_size >= LONGEST, "its space is free again");
}
