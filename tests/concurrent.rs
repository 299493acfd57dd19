//! Many threads on one store that does not fit its memory: what each call answers must be explained by some order of the
//! calls that respects which of them were over before others began.

#![cfg(feature = "btree")]

mod support;

use pagebox::{Batch, Durability, Error, Store, Tree};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::budget::smallest_on_files;
use support::rng::Rng;
use tempfile::TempDir;

const THREADS: usize = 4;
const TIME: Duration = Duration::from_secs(3);

/// A store in the smallest budget, so that nearly every call meets an eviction.
fn store() -> (TempDir, Store, Tree) {
    static FLOOR: OnceLock<usize> = OnceLock::new();
    let options = Store::options().page_size(4096).durability(Durability::Manual);
    let options = options.log_segment_bytes(1 << 20).max_log_bytes(8 << 20);
    let memory = *FLOOR.get_or_init(|| smallest_on_files(&options));
    let dir = tempfile::tempdir().expect("a directory");
    let store = options.memory(memory).open(dir.path()).expect("a store");
    let tree = store.tree("t").expect("a tree");
    (dir, store, tree)
}

/// Runs `work(thread)` on all threads and passes a panic on.
fn on_threads(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

fn key(n: u64, owner: usize) -> Vec<u8> {
    // Owners lie between each other, so that the threads meet in every leaf.
    format!("{n:06}/{owner}").into_bytes()
}

#[test]
fn disjoint_keys_are_exact() {
    let (_dir, store, tree) = store();
    let until = Instant::now() + TIME;
    let models: Vec<std::sync::Mutex<BTreeMap<Vec<u8>, Vec<u8>>>> = (0..THREADS).map(|_| Default::default()).collect();
    on_threads(|thread| {
        let mut rng = Rng::of(7, &[thread as u64]);
        let mut model = BTreeMap::new();
        let mut n = 0u64;
        while Instant::now() < until {
            n += 1;
            let key = key(rng.below(3000), thread);
            // Growing and shrinking by turns: splits and merges.
            let removals = if (n / 4000).is_multiple_of(2) { 10 } else { 60 };
            if rng.percent(25) {
                assert_eq!(tree.get(&key).expect("get"), model.get(&key).cloned(), "thread {thread}, step {n}");
            } else if rng.percent(removals) {
                assert_eq!(tree.take(&key).expect("take"), model.remove(&key), "thread {thread}, step {n}");
            } else {
                let value = rng.bytes(20 + n as usize % 300);
                assert_eq!(
                    tree.replace(&key, &value).expect("replace"),
                    model.insert(key, value),
                    "thread {thread}, {n}"
                );
            }
        }
        *models[thread].lock().expect("no panic before") = model;
    });
    let mut all = BTreeMap::new();
    models.iter().for_each(|model| all.extend(std::mem::take(&mut *model.lock().expect("no panic"))));
    let found: Vec<_> = tree.iter().collect::<Result<_, _>>().expect("iteration");
    assert!(found.into_iter().eq(all), "the contents are not the sum of what the threads wrote");
    store.check().expect("check");
}

#[test]
fn scans_meet_every_key_that_stays() {
    let (_dir, store, tree) = store();
    // Every eighth key stays; those between come and go.
    let stays = |n: u64| n.is_multiple_of(8);
    let all = 4000;
    for n in 0..all {
        tree.insert(key(n, 0), vec![b'x'; 120]).expect("insert");
    }
    let until = Instant::now() + TIME;
    on_threads(|thread| {
        let mut rng = Rng::of(8, &[thread as u64]);
        while Instant::now() < until {
            if thread >= 2 {
                for _ in 0..200 {
                    let n = rng.below(all);
                    match (stays(n), rng.percent(50)) {
                        (true, _) => drop(tree.insert(key(n, 0), rng.bytes(100)).expect("update")),
                        (_, true) => drop(tree.insert(key(n, 0), rng.bytes(200)).expect("insert")),
                        (_, false) => drop(tree.remove(key(n, 0)).expect("remove")),
                    }
                }
                continue;
            }
            let mut met: Vec<Vec<u8>> = Vec::new();
            let visit = |key: &[u8], _: &[u8]| {
                met.push(key.to_vec());
                ControlFlow::Continue(())
            };
            if thread == 0 {
                tree.scan(.., visit).expect("scan");
            } else {
                tree.scan_rev(.., visit).expect("scan_rev");
                met.reverse();
            }
            assert!(met.is_sorted_by(|a, b| a < b), "a key came twice or out of order");
            let staying = met.iter().filter(|k| stays(String::from_utf8_lossy(&k[..6]).parse().unwrap_or(1)));
            assert!(
                staying.cloned().eq((0..all).filter(|n| stays(*n)).map(|n| key(n, 0))),
                "a key that stays was missed"
            );
        }
    });
    store.check().expect("check");
}

/// What is known of the writes of one key; all times are ticks of one clock.
#[derive(Default)]
struct Known {
    /// The latest start among the writes that are over.
    last_start: AtomicU64,
    removals_under_way: AtomicU64,
    /// The latest end among the removals that are over.
    last_removal: AtomicU64,
}

#[test]
fn shared_keys_have_a_history() {
    const KEYS: u64 = 400;
    const WRITES: usize = 1 << 20;
    let (_dir, store, tree) = store();
    let clock = AtomicU64::new(1);
    let known: Vec<Known> = (0..KEYS).map(|_| Known::default()).collect();
    // For each writer and number of write, its end, or 0 while it is under way.
    let ends: Vec<Vec<AtomicU64>> = (0..THREADS).map(|_| (0..WRITES).map(|_| AtomicU64::new(0)).collect()).collect();
    let issued: Vec<AtomicU64> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    let tick = || clock.fetch_add(1, SeqCst);
    let until = Instant::now() + TIME;
    on_threads(|thread| {
        let mut rng = Rng::of(9, &[thread as u64]);
        // The last value seen of each writer for each key: no reader goes back.
        let mut seen = vec![[0u64; THREADS]; KEYS as usize];
        while Instant::now() < until {
            let n = rng.below(KEYS);
            let (key, known) = (key(n, 9), &known[n as usize]);
            if rng.percent(50) {
                let number = issued[thread].load(SeqCst) + 1;
                if number as usize >= WRITES {
                    return;
                }
                issued[thread].store(number, SeqCst);
                let removal = rng.percent(25);
                if removal {
                    known.removals_under_way.fetch_add(1, SeqCst);
                }
                let start = tick();
                if removal {
                    tree.remove(&key).expect("remove");
                } else {
                    let mut value = [thread as u64, number].map(u64::to_le_bytes).concat();
                    value.resize(16 + rng.below(400) as usize, number as u8);
                    tree.insert(&key, &value).expect("insert");
                }
                let end = tick();
                ends[thread][number as usize].store(end, SeqCst);
                known.last_start.fetch_max(start, SeqCst);
                if removal {
                    known.last_removal.fetch_max(end, SeqCst);
                    known.removals_under_way.fetch_sub(1, SeqCst);
                }
                continue;
            }
            let (over, removing) = (known.last_start.load(SeqCst), known.removals_under_way.load(SeqCst));
            let Some(value) = tree.get(&key).expect("get") else {
                let removing = removing + known.removals_under_way.load(SeqCst);
                let removed = known.last_removal.load(SeqCst) >= over;
                assert!(removing > 0 || removed, "key {n} is gone, and no removal explains it");
                continue;
            };
            let word = |i: usize| u64::from_le_bytes(value[i..i + 8].try_into().expect("eight bytes"));
            let (writer, number) = (word(0) as usize, word(8));
            assert!(writer < THREADS && number <= issued[writer].load(SeqCst), "key {n}: a value that nobody wrote");
            assert!(value[16..].iter().all(|b| *b == number as u8), "key {n}: a torn value");
            let end = ends[writer][number as usize].load(SeqCst);
            assert!(
                end == 0 || end > over,
                "key {n}: the value of a write that another had followed before the read began"
            );
            let last = &mut seen[n as usize][writer];
            assert!(*last <= number, "key {n}: write {number} of thread {writer} after write {last}");
            *last = number;
        }
    });
    store.check().expect("check");
}

#[test]
fn updates_are_not_lost() {
    const KEYS: u64 = 50;
    let (_dir, store, tree) = store();
    let padding = |n: u64| [&n.to_le_bytes()[..], &[b'.'; 200]].concat();
    let number = |value: &[u8]| u64::from_le_bytes(value[..8].try_into().expect("eight bytes"));
    // Others fill the memory, so that the counters are evicted between two updates.
    for n in 0..2000 {
        tree.insert(key(n, 5), [b'-'; 300]).expect("insert");
    }
    let added = AtomicU64::new(0);
    let until = Instant::now() + TIME / 2;
    on_threads(|thread| {
        let mut rng = Rng::of(10, &[thread as u64]);
        while Instant::now() < until {
            let key = key(rng.below(KEYS) * 40, 7);
            if rng.percent(50) {
                tree.fetch_update(&key, |old| Some(padding(old.map_or(0, number) + 1))).expect("fetch_update");
            } else {
                let mut old = tree.get(&key).expect("get");
                while let Err(conflict) = tree
                    .compare_and_swap(&key, old.as_deref(), Some(&padding(old.as_deref().map_or(0, number) + 1)))
                    .expect("compare_and_swap")
                {
                    old = conflict.current;
                }
            }
            added.fetch_add(1, SeqCst);
            drop(tree.get(super_key(&mut rng)).expect("get"));
        }
    });
    let sum: u64 = (0..KEYS).filter_map(|n| tree.get(key(n * 40, 7)).expect("get")).map(|v| number(&v)).sum();
    assert_eq!(sum, added.load(SeqCst));
    store.check().expect("check");
}

fn super_key(rng: &mut Rng) -> Vec<u8> {
    key(rng.below(2000), 5)
}

#[test]
fn batches_are_whole() {
    const ACCOUNTS: u64 = 60;
    const TOTAL: u64 = ACCOUNTS * 1000;
    let (_dir, store, tree) = store();
    let other = store.tree("other").expect("a second tree");
    let account = |n: u64| (if n.is_multiple_of(2) { &tree } else { &other }, key(n * 31, 1));
    let money = |value: Option<Vec<u8>>| u64::from_le_bytes(value.expect("an account")[..8].try_into().expect("eight"));
    let purse = |n: u64| [&n.to_le_bytes()[..], &[b'$'; 150]].concat();
    for n in 0..3000 {
        tree.insert(key(n, 5), [b'-'; 300]).expect("insert");
    }
    for n in 0..ACCOUNTS {
        let (tree, key) = account(n);
        tree.insert(key, purse(1000)).expect("insert");
    }
    let (until, over) = (Instant::now() + TIME / 2, AtomicBool::new(false));
    let done = AtomicU64::new(0);
    on_threads(|thread| {
        let mut rng = Rng::of(11, &[thread as u64]);
        while !over.load(SeqCst) {
            if Instant::now() > until {
                over.store(true, SeqCst);
            }
            let (a, b) = (rng.below(ACCOUNTS), rng.below(ACCOUNTS));
            if a == b {
                continue;
            }
            let ((from, from_key), (to, to_key)) = (account(a), account(b));
            let (had, has) = (from.get(&from_key).expect("get"), to.get(&to_key).expect("get"));
            let (left, right) = (money(had.clone()), money(has.clone()));
            let sum = rng.below(left + 1);
            let mut batch = Batch::new();
            batch.require(from, &from_key, had.as_deref()).require(to, &to_key, has.as_deref());
            batch.insert(from, &from_key, purse(left - sum)).insert(to, &to_key, purse(right + sum));
            match store.apply(&batch) {
                Ok(()) => drop(done.fetch_add(1, SeqCst)),
                Err(Error::Conflict { .. }) => {}
                Err(other) => panic!("apply: {other}"),
            }
        }
    });
    let sum: u64 = (0..ACCOUNTS).map(account).map(|(tree, key)| money(tree.get(key).expect("get"))).sum();
    assert_eq!(sum, TOTAL, "after {} transfers", done.load(SeqCst));
    assert!(done.load(SeqCst) > 0);
    store.check().expect("check");
}

/// Pairs that are there all along are counted once each, whatever else comes, goes, splits, merges and is evicted.
#[test]
fn len_counts_what_stays_once() {
    const STAY: u64 = 4000;
    const COME_AND_GO: u64 = 3000;
    let (_dir, store, tree) = store();
    for n in 0..STAY {
        tree.insert(key(n, 9), [7; 40]).expect("insert");
    }
    let (until, counted) = (Instant::now() + TIME, AtomicU64::new(0));
    on_threads(|thread| {
        let mut rng = Rng::of(17, &[thread as u64]);
        while Instant::now() < until {
            if thread < 2 {
                let n = tree.len().expect("len");
                assert!((STAY..=STAY + 2 * COME_AND_GO).contains(&n), "{n} of {STAY} and what came");
                counted.fetch_add(1, SeqCst);
                continue;
            }
            // Many in a row, and gone again: leaves and what is above them come and go.
            let (from, insert) = (rng.below(COME_AND_GO - 500), rng.percent(50));
            for n in from..from + 500 {
                if insert {
                    tree.insert(key(n, thread), [8; 60]).expect("insert");
                } else {
                    tree.remove(key(n, thread)).expect("remove");
                }
            }
        }
    });
    assert!(counted.into_inner() > 10, "nobody counted");
    let scanned = tree.iter().inspect(|pair| assert!(pair.is_ok())).count() as u64;
    assert_eq!(tree.len().expect("len"), scanned);
    drop(store);
}

/// However many leaves a node has, and however few pages memory holds, each leaf is read once.
#[test]
fn len_reads_each_leaf_once() {
    let (_dir, store, tree) = store();
    let mut n = 0u64;
    // Short keys: one node over more leaves than there are frames.
    while store.stats().pages_allocated < 200 {
        tree.insert(n.to_be_bytes(), [7; 100]).expect("insert");
        n += 1;
    }
    let frames = store.stats().capacity_bytes / store.stats().page_size;
    assert!(frames < 100, "{frames} frames are no little memory");
    store.checkpoint().expect("checkpoint");
    for _ in 0..3 {
        let before = store.stats().misses;
        assert_eq!(tree.len().expect("len"), n);
        let misses = store.stats().misses - before;
        assert!(misses <= 300, "{misses} pages read for a tree of 200");
    }
}

/// A check holds the latches of a path while it brings in what is below; a checkpoint waits for latches; a split wants one alone.
/// None of them may wait for the other in a ring.
#[test]
fn a_check_beside_splits_and_checkpoints_ends() {
    let (_dir, store, tree) = store();
    let (over, checks) = (AtomicBool::new(false), AtomicU64::new(0));
    let (done, ended) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(TIME * 20) {
            eprintln!("they wait for each other");
            std::process::abort();
        }
    });
    on_threads(|thread| {
        let mut rng = Rng::new(thread as u64);
        let started = Instant::now();
        while !over.load(SeqCst) {
            match thread {
                0 => {
                    // It is meant for a store that nothing writes to: what it finds is of no one moment. But it ends.
                    let found = store.check();
                    assert!(matches!(found, Ok(_) | Err(Error::Corrupted { .. })), "{found:?}");
                    checks.fetch_add(1, SeqCst);
                }
                1 => store.checkpoint().expect("a checkpoint"),
                _ => {
                    // Splits and merges all the time.
                    let first = rng.below(4000);
                    for n in first..first + 200 {
                        tree.insert(key(n, 0), [7; 500]).expect("an insertion");
                    }
                    tree.remove_range(key(first, 0)..key(first + 200, 0)).expect("a removal");
                }
            }
            if started.elapsed() > TIME {
                over.store(true, SeqCst);
            }
        }
    });
    assert!(checks.load(SeqCst) > 3, "{checks:?} checks");
    drop(done);
}
