//! Where large values lie in memory: in the frames they were written from, in those that readers ask for, in buffers.

#![cfg(all(feature = "btree", feature = "sim"))]

mod large_support;

use large_support::{all_ways, options, value};
use pagebox::Error;
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use std::sync::Arc;

/// What is read once takes no memory from what is read often.
#[test]
fn a_value_gets_a_frame_when_it_is_missed_again() {
    let disk = Arc::new(SimDisk::new(3));
    let store = options(4096).disk(disk.clone()).open("/store").expect("a store");
    let tree = store.tree("t").expect("a tree");
    let long = value(5, 60_000);
    for n in 0..20u8 {
        tree.insert([n], &long).expect("insert");
    }
    // In a store opened anew nothing lies in memory because it was written.
    store.close().expect("close");
    let store = options(4096).disk(disk).open("/store").expect("a store");
    let tree = store.tree("t").expect("a tree");
    assert!(tree.contains_key([0]).expect("contains_key"));
    let mut misses = vec![store.stats().misses];
    let before = store.stats().resident_bytes;
    for round in 0..4 {
        for n in 0..20u8 {
            let read = if n % 2 == 0 { tree.get([n]) } else { tree.get_with([n], <[u8]>::to_vec) };
            assert_eq!(read.expect("get").as_ref(), Some(&long), "round {round}");
        }
        misses.push(store.stats().misses);
        if round == 0 {
            assert_eq!(store.stats().resident_bytes, before, "read once, and kept");
        }
    }
    assert_eq!(misses, [0, 0, 20, 20, 20].map(|n| misses[0] + n));
}

/// What was just written lies in memory, where memory is free: it is read without the disk, which fails every read here.
#[test]
fn what_was_just_written_is_read_from_memory() {
    for direct in [false, true] {
        let disk = Arc::new(SimDisk::new(4));
        disk.set_direct(direct);
        let store = options(4096).disk(disk.clone()).open("/store").expect("a store");
        let tree = store.tree("t").expect("a tree");
        let lengths = [60_000, 300_000, 1_300_000];
        for (n, len) in lengths.into_iter().enumerate() {
            tree.insert([n as u8], value(90 + n as u64, len)).expect("insert");
            tree.insert([n as u8], value(n as u64, len)).expect("overwrite");
        }
        disk.set_faults(FaultPlan::new().fail_from(FaultOp::Read, 1, std::io::ErrorKind::Other).only_in("pages"));
        for (n, len) in lengths.into_iter().enumerate() {
            all_ways(&tree, &[n as u8], &value(n as u64, len));
        }
        disk.set_faults(FaultPlan::new());
        store.check().expect("check");
        // Memory is the budget's: half of it at most, and what does not fit is read from the disk.
        for n in 10..40u8 {
            tree.insert([n], value(u64::from(n), 300_000)).expect("insert");
            assert!(store.stats().resident_bytes <= 8 << 20);
        }
        for n in 10..40u8 {
            all_ways(&tree, &[n], &value(u64::from(n), 300_000));
        }
        // What is removed leaves the memory; what failed never keeps it.
        for n in (0..3).chain(10..40) {
            assert!(tree.remove([n]).expect("remove"));
        }
        let resident = store.stats().resident_bytes;
        for _ in 0..100 {
            let outcome = tree.compare_and_swap("absent", Some(b"other"), Some(&value(7, 300_000)));
            assert!(outcome.expect("compare_and_swap").is_err());
            // It is tried once more, if copies of pages could make room.
            let full = std::io::ErrorKind::StorageFull;
            let plan = FaultPlan::new().fail(FaultOp::Write, 1, full).fail(FaultOp::Write, 2, full);
            disk.set_faults(plan.only_in("pages"));
            assert!(matches!(tree.insert("full", value(8, 300_000)), Err(Error::NoSpace { .. })));
        }
        disk.set_faults(FaultPlan::new());
        assert!(store.stats().resident_bytes <= resident, "{} after {resident}", store.stats().resident_bytes);
        // Had they kept their frames, none would be free.
        tree.insert("full", value(9, 300_000)).expect("insert");
        disk.set_faults(FaultPlan::new().fail_from(FaultOp::Read, 1, std::io::ErrorKind::Other).only_in("pages"));
        all_ways(&tree, b"full", &value(9, 300_000));
        disk.set_faults(FaultPlan::new());
        store.check().expect("check");
    }
}

/// Longer than what allocators keep: the buffer is mapped for the one read.
#[test]
fn a_very_long_value_is_passed_whole() {
    let disk = Arc::new(SimDisk::new(5));
    let store = options(4096).disk(disk).open("/store").expect("a store");
    let tree = store.tree("t").expect("a tree");
    let long = value(6, (33 << 20) + 12_345);
    tree.insert("long", &long).expect("insert");
    for _ in 0..2 {
        assert_eq!(tree.get_with("long", |v| v == long).expect("get_with"), Some(true));
    }
    assert!(tree.get("long").expect("get").is_some_and(|v| v == long));
}
