//! Batches that get in each other's way: they never wait for each other in a circle, and money moved by them is neither made
//! nor lost.

mod support;

use pagebox::{Batch, Durability, Error, Store, Tree};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::rng::Rng;
use support::unsteady::unsteady;
use support::watchdog::Watchdog;

/// Two trees in the smallest budget, with more records beside those of the test than memory holds.
fn store() -> (Store, [Tree; 2]) {
    let disk = Arc::new(unsteady(5));
    let options = Store::options().page_size(4096).durability(Durability::Manual).memory(support::histories::floor());
    let store = options.log_segment_bytes(1 << 20).max_log_bytes(8 << 20).disk(disk).open("/store").expect("a store");
    let trees = [store.tree("a").expect("a tree"), store.tree("b").expect("a tree")];
    for n in 0..400u64 {
        trees[n as usize % 2].insert(format!("{n:04}"), [b'-'; 600]).expect("insert");
    }
    (store, trees)
}

/// Key `n` of a test, in one of the two trees; leaves apart, by the records of `store` between them.
fn place(trees: &[Tree; 2], n: u64) -> (&Tree, Vec<u8>) {
    (&trees[n as usize % 2], format!("{:04}/", n * 23 % 400).into_bytes())
}

/// Threads that name the same keys in opposite order, and in any order, with splits and removals on the way.
#[test]
fn batches_in_opposite_order_never_deadlock() {
    // Each in a leaf of its own: as many as the smallest pool lets a batch latch.
    const KEYS: u64 = 5;
    let watchdog = Watchdog::new("batches in opposite order", Duration::from_secs(60));
    let (store, trees) = store();
    let (until, applied) = (Instant::now() + Duration::from_secs(3), [const { AtomicU64::new(0) }; 4]);
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let (store, trees, applied, watchdog) = (&store, &trees, &applied, &watchdog);
            scope.spawn(move || {
                let mut rng = Rng::of(12, &[thread as u64]);
                while Instant::now() < until {
                    let mut keys: Vec<u64> = (0..KEYS).collect();
                    match thread {
                        0 => {}
                        1 => keys.reverse(),
                        // A part of them, from anywhere.
                        _ => keys.rotate_left(rng.below(KEYS) as usize),
                    }
                    if thread == 3 {
                        keys.truncate(1 + rng.below(KEYS) as usize);
                    }
                    let mut batch = Batch::new();
                    for n in keys {
                        let (tree, key) = place(trees, n);
                        // Lengths change: leaves fill up, so that batches must make room for themselves.
                        if rng.percent(20) {
                            batch.remove(tree, key);
                        } else {
                            batch.insert(tree, key, vec![thread as u8; rng.below(900) as usize]);
                        }
                    }
                    store.apply(&batch).expect("apply");
                    applied[thread].fetch_add(1, SeqCst);
                    watchdog.feed();
                }
            });
        }
    });
    let applied = applied.map(AtomicU64::into_inner);
    assert!(applied.iter().all(|n| *n > 0), "somebody did not get through: {applied:?}");
    store.check().expect("check");
}

/// Batches of hundreds of keys in nearly as many leaves, of which some have no room each time, while other threads change,
/// split and merge the same leaves between their attempts. Each thread owns its keys, so that what must be there is known.
#[test]
fn large_batches_beside_other_writers_are_whole() {
    beside_other_writers(64 << 20, 400, 0);
}

/// The same in less memory than the records need, so that leaves leave it between attempts, and with values that have pages of
/// their own, which come and go.
#[test]
fn large_batches_in_little_memory_are_whole() {
    beside_other_writers(2 << 20, 60, 4);
}

/// `large` percent of the values are large.
fn beside_other_writers(memory: usize, most: u64, large: u64) {
    const THREADS: usize = 3;
    const KEYS: u64 = 3000;
    let watchdog = Watchdog::new("large batches", Duration::from_secs(60));
    let options = Store::options().page_size(4096).durability(Durability::Manual).memory(memory);
    let store = options.disk(Arc::new(unsteady(6))).open("/store").expect("a store");
    let trees = [store.tree("a").expect("a tree"), store.tree("b").expect("a tree")];
    let until = Instant::now() + Duration::from_secs(3);
    let key = |n: u64, thread: usize| [&n.to_be_bytes()[..], &[thread as u8]].concat();
    let model = |thread: usize| {
        let mut rng = Rng::of(13, &[thread as u64]);
        let mut there = [const { std::collections::BTreeMap::new() }; 2];
        let (mut batch, mut applied) = (Batch::new(), 0u64);
        while Instant::now() < until {
            batch.clear();
            // The last thread changes one key at a time: whole leaves of the others' move under it.
            let size = if thread == THREADS - 1 { 1 } else { 1 + rng.below(most) };
            let growing = rng.percent(60);
            for _ in 0..size {
                let (which, n) = (rng.below(2) as usize, rng.below(KEYS));
                if rng.percent(if growing { 85 } else { 15 }) {
                    let len = if rng.percent(large) { 3000 + rng.below(20_000) } else { rng.below(300) };
                    let value = vec![n as u8; len as usize];
                    batch.insert(&trees[which], key(n, thread), &value);
                    there[which].insert(n, value);
                } else {
                    batch.remove(&trees[which], key(n, thread));
                    there[which].remove(&n);
                }
            }
            store.apply(&batch).expect("apply");
            applied += 1;
            watchdog.feed();
        }
        assert!(applied > 3, "thread {thread} did not get through");
        there
    };
    let there: Vec<_> = std::thread::scope(|scope| {
        let model = &model;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || model(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    for (which, tree) in trees.iter().enumerate() {
        let mut all = std::collections::BTreeMap::new();
        for (thread, there) in there.iter().enumerate() {
            all.extend(there[which].iter().map(|(n, value)| (key(*n, thread), value.clone())));
        }
        let found: Vec<_> = tree.iter().map(|pair| pair.expect("a record")).collect();
        assert!(found.into_iter().eq(all), "tree {which} is not what its writers left");
    }
    store.check().expect("check");
}

#[test]
fn transfers_keep_the_total_for_every_auditor() {
    // Money moves among the four accounts of a circle, so that each circle has a total of its own.
    const ACCOUNTS: u64 = 12;
    const TOTAL: u64 = 4 * 1000;
    let watchdog = Watchdog::new("transfers", Duration::from_secs(60));
    let (store, trees) = store();
    let purse = |money: u64| [&money.to_le_bytes()[..], &vec![b'$'; (money * 7 % 500) as usize]].concat();
    let money = |value: &[u8]| u64::from_le_bytes(value[..8].try_into().expect("eight bytes"));
    for n in 0..ACCOUNTS {
        let (tree, key) = place(&trees, n);
        tree.insert(key, purse(1000)).expect("insert");
    }
    let (over, began) = (AtomicBool::new(false), Instant::now());
    let (moved, conflicts, audits) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let get = |n: u64| {
        let (tree, key) = place(&trees, n);
        tree.get(key).expect("get").expect("an account")
    };
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (over, moved, conflicts, audits) = (&over, &moved, &conflicts, &audits);
            let (store, trees, watchdog, get) = (&store, &trees, &watchdog, &get);
            scope.spawn(move || {
                let mut rng = Rng::of(13, &[thread]);
                while !over.load(SeqCst) {
                    watchdog.feed();
                    // The last thread is an auditor at times: a batch of requirements alone is a read of many keys at once.
                    if thread == 3 && rng.percent(30) {
                        let four = rng.below(ACCOUNTS / 4) * 4;
                        let seen: Vec<_> = (four..four + 4).map(|n| (n, get(n))).collect();
                        let mut batch = Batch::new();
                        for (n, value) in &seen {
                            let (tree, key) = place(trees, *n);
                            batch.require(tree, key, Some(value));
                        }
                        match store.apply(&batch) {
                            Ok(()) => {
                                let total: u64 = seen.iter().map(|(_, value)| money(value)).sum();
                                assert_eq!(total, TOTAL, "a transfer was seen half done");
                                audits.fetch_add(1, SeqCst);
                            }
                            Err(Error::Conflict { .. }) => drop(conflicts.fetch_add(1, SeqCst)),
                            Err(other) => panic!("apply: {other}"),
                        }
                        continue;
                    }
                    let from = rng.below(ACCOUNTS);
                    let to = from / 4 * 4 + (from + 1 + rng.below(3)) % 4;
                    let (had, has) = (get(from), get(to));
                    let sum = rng.below(money(&had) + 1);
                    let ((tree, key), (other, other_key)) = (place(trees, from), place(trees, to));
                    let mut batch = Batch::new();
                    batch.require(tree, &key, Some(&had)).require(other, &other_key, Some(&has));
                    batch.insert(tree, &key, purse(money(&had) - sum));
                    batch.insert(other, &other_key, purse(money(&has) + sum));
                    match store.apply(&batch) {
                        Ok(()) => drop(moved.fetch_add(1, SeqCst)),
                        Err(Error::Conflict { .. }) => drop(conflicts.fetch_add(1, SeqCst)),
                        Err(other) => panic!("apply: {other}"),
                    }
                    let enough = moved.load(SeqCst) > 50 && audits.load(SeqCst) > 5;
                    let time = Duration::from_secs(if enough { 3 } else { 60 });
                    if began.elapsed() > time {
                        over.store(true, SeqCst);
                    }
                }
            });
        }
    });
    let (moved, audits) = (moved.load(SeqCst), audits.load(SeqCst));
    for four in (0..ACCOUNTS).step_by(4) {
        let total: u64 = (four..four + 4).map(|n| money(&get(n))).sum();
        assert_eq!(total, TOTAL, "after {moved} transfers and {} conflicts", conflicts.load(SeqCst));
    }
    assert!(moved > 50 && audits > 5, "{moved} transfers, {audits} audits");
    store.check().expect("check");
}

/// What `killtest --transfers` judges by.
#[test]
fn the_judge_of_transfers_knows_right_from_wrong() {
    support::transfers::test_the_judge();
}
