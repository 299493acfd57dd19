//! The tree and its pool under shuttle: the engine's own code, with every atomic, lock and access to a page's bytes a point
//! where the checker may go on with another thread. Small trees in six frames; what the threads' calls answer is checked for
//! linearizability, and the tree for soundness afterwards.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --release --no-default-features --features btree,sim \
//!     --test shuttle_tree
//! ```
//!
//! `MODEL_ROUNDS` and `MODEL_SEED` in the environment make it longer and other. A failure prints the scheduler's seed, and a
//! schedule for `shuttle::replay`.

#![cfg(shuttle)]

#[path = "support/linear.rs"]
#[allow(dead_code)]
mod linear;

use linear::{Left, Op, Saw, Touch, Value};
use pagebox::btree::{BTree, BatchAction, BatchOp};
use pagebox::pool::{BufferPool, MemPageStore, NoLog, PageImage, PageStore, PoolOptions};
use pagebox::{Lsn, PageId, TreeId};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

const PAGE: usize = 4096;
/// Keys below this may be named.
const KEYS: usize = 16;
/// Rounds of each scheduler of each model.
const ROUNDS: usize = 300;

/// What a thread of a model does, by numbers of keys and values.
#[derive(Clone, Copy, Debug)]
enum Call {
    Get(usize),
    Put(usize, Value),
    Cut(usize),
    Swap(usize, Option<Value>, Option<Value>),
    /// Sets two keys, in this order.
    Both([usize; 2], Value),
    Scan,
    ScanBack,
    First,
    Last,
    PopFirst,
    PopLast,
    /// What a pop must not be: a look for the first pair, and its removal.
    PopInTwo,
    /// Loads these keys, greater than all others: each second value is a large one.
    Load(usize, usize),
    /// Removes one that was loaded, if it is there by now.
    Take(usize),
    /// Makes the pool free frames.
    Provide,
    /// Makes it write whatever is dirty.
    Flush,
    /// Asks how many pairs there are, which nobody knows yet.
    Len,
    /// Claims to have read what nobody wrote.
    Lie(usize),
}
use Call::*;

/// What a model's threads are there for; in some of its rounds they must do it.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Split,
    Merge,
    Evict,
    Nothing,
}

#[derive(Clone, Copy)]
struct Model {
    name: &'static str,
    does: Does,
    /// Keys that are there at first, with value 1.
    first: &'static [usize],
    /// The length of values in bytes.
    value: usize,
    threads: &'static [&'static [Call]],
}

fn key(n: usize) -> Vec<u8> {
    format!("key {n:02}").into_bytes()
}

fn loaded(n: usize) -> Vec<u8> {
    vec![n as u8; if n.is_multiple_of(2) { 900 } else { 2 * PAGE }]
}

/// A page store where writes take their time, and no two of one page may meet (P4). Pages that were written once have a copy.
struct Slow {
    pages: MemPageStore,
    // Not the checker's.
    under_way: Mutex<HashSet<PageId>>,
    written: Mutex<HashSet<PageId>>,
}

impl Slow {
    fn write(&self, buffer: &mut [u8], images: &[PageImage]) -> pagebox::Result<()> {
        for image in images {
            assert!(self.under_way.lock().unwrap().insert(image.id), "P4: two writes of {:?} at a time", image.id);
        }
        for image in images {
            shuttle::thread::yield_now();
            self.pages.write_batch(buffer, std::slice::from_ref(image))?;
        }
        shuttle::thread::yield_now();
        for image in images {
            self.under_way.lock().unwrap().remove(&image.id);
            self.written.lock().unwrap().insert(image.id);
        }
        Ok(())
    }
}

impl PageStore for Slow {
    fn page_size(&self) -> usize {
        self.pages.page_size()
    }
    fn first_page(&self) -> PageId {
        self.pages.first_page()
    }
    fn read(&self, id: PageId, out: &mut [u8]) -> pagebox::Result<()> {
        assert!(!self.under_way.lock().unwrap().contains(&id), "P4: {id:?} is read while it is being written");
        self.pages.read(id, out)
    }
    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> pagebox::Result<()> {
        self.write(buffer, images)
    }
    fn has_copy(&self, id: PageId) -> bool {
        self.written.lock().unwrap().contains(&id)
    }
    fn write_again(&self, buffer: &mut [u8], images: &[PageImage]) -> pagebox::Result<()> {
        self.write(buffer, images)
    }
    fn grow(&self, from: PageId, end: PageId) -> pagebox::Result<()> {
        self.pages.grow(from, end)
    }
    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> pagebox::Result<()> {
        self.pages.write_unlogged(start, bytes)
    }
    fn sync(&self) -> pagebox::Result<()> {
        shuttle::thread::yield_now();
        Ok(())
    }
}

struct Bed {
    pool: Arc<BufferPool>,
    tree: BTree,
    value: usize,
    // Not the checker's: the clock and the record are no part of what is checked.
    clock: AtomicU64,
    record: Mutex<Vec<Op>>,
}

impl Bed {
    fn new(model: &Model) -> Bed {
        // Room for a second write buffer: of eight pages and a header.
        let options = PoolOptions::default().memory(PoolOptions::floor(PAGE) + 10 * PAGE).flushers(2);
        let (pages, under_way, written) = (MemPageStore::new(PAGE), Mutex::default(), Mutex::default());
        let store = Arc::new(Slow { pages, under_way, written });
        let pool = BufferPool::new(store, Arc::new(NoLog), options).unwrap();
        let pool = Arc::new(pool);
        let (tree, _) = BTree::create(pool.clone(), None, TreeId::new(7)).unwrap();
        let bed = Bed { pool, tree, value: model.value, clock: AtomicU64::new(0), record: Mutex::default() };
        for &n in model.first {
            assert!(!bed.tree.insert(&key(n), &bed.bytes(1)).unwrap().existed);
        }
        // As after an opening: what is there was not counted as it came.
        let tree = BTree::open(bed.pool.clone(), None, bed.tree.id(), bed.tree.root()).counted(false);
        Bed { tree, ..bed }
    }

    /// How often the model has done what it is there for, since the tree was made.
    fn did(&self, what: Does) -> u64 {
        let (allocated, freed) = self.pool.allocator().counts();
        match what {
            Does::Split => allocated,
            Does::Merge => freed,
            Does::Evict => self.pool.stats().evictions,
            Does::Nothing => 0,
        }
    }

    fn bytes(&self, value: Value) -> Vec<u8> {
        // Lengths differ, so that records move.
        vec![value as u8; self.value - value as usize]
    }

    fn value(&self, bytes: Option<&[u8]>) -> Option<Value> {
        bytes.map(|bytes| {
            let value = Value::from(bytes[0]);
            assert!(bytes == self.bytes(value), "a value that nobody wrote");
            value
        })
    }

    fn run(&self, thread: usize, call: Call) {
        let began = self.clock.fetch_add(1, Relaxed);
        let touch = |key, saw, left| vec![Touch { key, saw, left }];
        let touches = match call {
            Get(n) => {
                let found = self.tree.get(&key(n)).unwrap();
                touch(n, Saw::Is(self.value(found.as_deref())), Left::Same)
            }
            Put(n, value) => {
                let existed = self.tree.insert(&key(n), &self.bytes(value)).unwrap().existed;
                touch(n, if existed { Saw::There } else { Saw::Absent }, Left::Now(Some(value)))
            }
            Cut(n) => {
                let existed = self.tree.remove(&key(n)).unwrap().existed;
                touch(n, if existed { Saw::There } else { Saw::Absent }, Left::Now(None))
            }
            Swap(n, old, new) => {
                let (before, after) = (old.map(|value| self.bytes(value)), new.map(|value| self.bytes(value)));
                let outcome = self.tree.compare_and_swap(&key(n), before.as_deref(), after.as_deref()).unwrap();
                let there = self.value(outcome.current.as_deref());
                assert_eq!(outcome.swapped, there == old);
                touch(n, Saw::Is(there), if outcome.swapped { Left::Now(new) } else { Left::Same })
            }
            Both(keys, value) => {
                let (names, bytes) = (keys.map(key), self.bytes(value));
                let op = |n: usize| BatchOp { tree: &self.tree, key: &names[n], action: BatchAction::Insert(&bytes) };
                BTree::apply(&[op(0), op(1)]).unwrap();
                keys.map(|key| Touch { key, saw: Saw::Any, left: Left::Now(Some(value)) }).to_vec()
            }
            First | Last | PopFirst | PopLast | PopInTwo => self.end(call),
            Lie(n) => touch(n, Saw::Is(Some(99)), Left::Same),
            Scan | ScanBack => return self.scan(thread, began, matches!(call, ScanBack)),
            Load(first, last) => {
                // The values lie in pages of their own; who finds one of the keys may take it away at once.
                let mut load = self.tree.bulk_load();
                for n in first..=last {
                    load.put(&key(n), &loaded(n)).unwrap();
                    load.advance().unwrap();
                }
                load.finish().unwrap();
                return;
            }
            Take(n) => {
                let mut there = Vec::new();
                if self.tree.take(&key(n), &mut there).unwrap().existed {
                    assert!(there == loaded(n), "not the value that was loaded");
                }
                return;
            }
            Len => {
                assert!(self.tree.len().unwrap() <= KEYS as u64);
                return;
            }
            Provide => {
                self.pool.provide().unwrap();
                return;
            }
            Flush => {
                self.pool.flush_before(Lsn::MAX).unwrap();
                return;
            }
        };
        self.write(thread, began, touches);
    }

    /// Beyond the pair that was found there is none, at that moment.
    fn end(&self, call: Call) -> Vec<Touch> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let found = match call {
            First => self.tree.first().unwrap(),
            Last => self.tree.last().unwrap(),
            PopInTwo => self.tree.first().unwrap().filter(|(key, _)| self.tree.remove(key).unwrap().existed),
            PopFirst => self.tree.pop_first(&mut key, &mut value).unwrap().existed.then_some((key, value)),
            _ => self.tree.pop_last(&mut key, &mut value).unwrap().existed.then_some((key, value)),
        };
        let at = found.as_ref().map(|(key, _)| (0..KEYS).find(|n| self::key(*n) == *key).unwrap());
        let beyond = match (call, at) {
            (_, None) => 0..KEYS,
            (Last | PopLast, Some(at)) => at + 1..KEYS,
            (_, Some(at)) => 0..at,
        };
        let absent = beyond.map(|key| Touch { key, saw: Saw::Absent, left: Left::Same });
        let there = at.map(|key| {
            let left = if matches!(call, First | Last) { Left::Same } else { Left::Now(None) };
            Touch { key, saw: Saw::Is(self.value(found.as_ref().map(|(_, value)| &value[..]))), left }
        });
        absent.chain(there).collect()
    }

    fn write(&self, thread: usize, began: u64, touches: Vec<Touch>) {
        let ended = self.clock.fetch_add(1, Relaxed);
        self.record.lock().unwrap().push(Op { name: "call", thread, began, ended, touches });
    }

    /// A read of every key, each at a moment of its own.
    fn scan(&self, thread: usize, began: u64, back: bool) {
        let mut met: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let visit = |key: &[u8], value: &[u8]| {
            met.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        if back { self.tree.scan_rev(b"", None, visit) } else { self.tree.scan(b"", None, visit) }.unwrap();
        if back {
            met.reverse();
        }
        assert!(met.is_sorted_by(|a, b| a.0 < b.0), "a scan met a key twice or out of order");
        for n in 0..KEYS {
            let name = key(n);
            let found = met.iter().find(|(there, _)| *there == name);
            let saw = Saw::Is(self.value(found.map(|(_, value)| &value[..])));
            self.write(thread, began, vec![Touch { key: n, saw, left: Left::Same }]);
        }
    }
}

/// One round; how often it did what it is there for.
fn execute(model: Model) -> u64 {
    let bed = Arc::new(Bed::new(&model));
    let before = bed.did(model.does);
    let threads: Vec<_> = model
        .threads
        .iter()
        .enumerate()
        .map(|(thread, calls)| {
            let bed = bed.clone();
            shuttle::thread::spawn(move || calls.iter().for_each(|call| bed.run(thread, *call)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let did = bed.did(model.does) - before;
    (0..KEYS).for_each(|n| bed.run(model.threads.len(), Get(n)));
    let mut initial = vec![None; KEYS];
    model.first.iter().for_each(|&n| initial[n] = Some(1));
    if let Err(error) = linear::check(&initial, &bed.record.lock().unwrap()) {
        panic!("{}: {error}", model.name);
    }
    let check = bed.tree.check().unwrap();
    assert!(check.errors.is_empty(), "{}: {:?}", model.name, check.errors);
    assert_eq!(bed.tree.len().unwrap(), check.records, "{}: pairs counted", model.name);
    did
}

/// Under both schedulers: random ones find races of a few steps anywhere, PCT those that need a thread held up for long.
fn check(model: Model) {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number in the environment"))
    };
    let (rounds, seed) = (number("MODEL_ROUNDS", ROUNDS as u64) as usize, number("MODEL_SEED", 1));
    println!("{}: seed {seed}, {rounds} rounds of each scheduler", model.name);
    let mut did = run(model, RandomScheduler::new_from_seed(seed, rounds));
    for depth in [2, 4] {
        did += run(model, PctScheduler::new_from_seed(seed, depth, rounds));
    }
    println!("{}: {did} times what it is there for", model.name);
    assert!(did > 0 || model.does == Does::Nothing, "{} did not do what it is there for", model.name);
}

fn run(model: Model, scheduler: impl Scheduler + 'static) -> u64 {
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    config.max_steps = shuttle::MaxSteps::FailAfter(5_000_000);
    let did = Arc::new(AtomicU64::new(0));
    let sum = did.clone();
    shuttle::Runner::new(scheduler, config).run(move || {
        sum.fetch_add(execute(model), Relaxed);
    });
    did.load(Relaxed)
}

#[test]
fn a_split_beside_readers_and_a_writer() {
    check(Model {
        name: "split",
        does: Does::Split,
        // Two leaves; one of them splits.
        first: &[0, 1, 2, 3, 4, 6, 7],
        value: 900,
        threads: &[&[Put(5, 2), Put(8, 2)], &[Get(7), Get(3), Get(6)], &[Put(6, 3), Get(7)]],
    });
}

#[test]
fn the_root_grows_beside_readers() {
    check(Model {
        name: "root grows",
        does: Does::Split,
        first: &[0, 2, 4, 6],
        value: 900,
        threads: &[&[Put(1, 2), Put(3, 2)], &[Get(6), Get(0), Get(4)], &[Cut(2), Scan]],
    });
}

#[test]
fn the_root_shrinks_beside_readers() {
    check(Model {
        name: "root shrinks",
        does: Does::Merge,
        first: &[0, 1, 2, 3, 4, 5],
        value: 900,
        threads: &[&[Cut(0), Cut(1), Cut(2), Cut(3)], &[Get(5), Get(4), Put(5, 2), Get(5)], &[Get(4), ScanBack]],
    });
}

#[test]
fn a_merge_beside_readers_and_cursors() {
    check(Model {
        name: "merge",
        does: Does::Merge,
        // Three leaves; of the second one record is left, which the third one takes in.
        first: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
        value: 600,
        threads: &[
            &[Cut(7), Cut(8), Cut(9), Cut(10), Cut(11)],
            &[Get(6), Scan, Get(12)],
            &[ScanBack, Put(6, 2), Get(6)],
        ],
    });
}

#[test]
fn evictions_beside_descents() {
    check(Model {
        name: "eviction",
        does: Does::Evict,
        // More leaves than frames.
        first: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        value: 1200,
        threads: &[&[Get(1), Get(5), Get(1)], &[Put(9, 2), Get(13), Get(3)], &[Provide, Get(15), Provide]],
    });
}

/// Two write pages at once, and each comes upon what the other is at.
#[test]
fn turns_that_write_the_same_pages() {
    check(Model {
        name: "turns",
        does: Does::Evict,
        first: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        value: 1200,
        threads: &[&[Put(1, 2), Flush, Get(12), Put(1, 3)], &[Put(9, 2), Flush, Put(9, 3)], &[Provide, Get(1), Flush]],
    });
}

#[test]
fn batches_in_opposite_order() {
    check(Model {
        name: "batches",
        does: Does::Nothing,
        first: &[0, 1, 2, 3, 4, 5, 6, 7, 8],
        value: 900,
        threads: &[
            &[Both([0, 8], 2), Both([0, 8], 3)],
            &[Both([8, 0], 4), Both([8, 0], 5)],
            &[Get(0), Get(8), Swap(8, Some(4), Some(6)), Get(0)],
        ],
    });
}

#[test]
fn pops_at_both_ends() {
    check(Model {
        name: "pops",
        does: Does::Merge,
        // Two leaves, which the pops empty, and a third one.
        first: &[2, 3, 4, 5, 6, 7, 8, 9, 10],
        value: 900,
        threads: &[
            &[PopFirst, PopFirst, PopFirst, PopFirst, PopFirst],
            &[Put(0, 2), Get(2), First, Put(1, 3), Get(3)],
            &[PopLast, Last, Put(12, 2), Get(9), PopLast],
        ],
    });
}

/// The model would find a pop that is no one step.
#[test]
#[should_panic(expected = "no order explains")]
fn a_pop_in_two_steps_is_noticed() {
    let threads: &[&[Call]] = &[&[PopInTwo], &[Put(0, 2), Get(2)]];
    let model = Model { name: "pop in two", does: Does::Nothing, first: &[2, 3], value: 900, threads };
    run(model, RandomScheduler::new_from_seed(1, 1000));
}

/// The models' own judge: a model that goes wrong must be found to.
#[test]
#[should_panic(expected = "no order explains")]
fn a_wrong_answer_is_noticed() {
    let model = Model { name: "wrong", does: Does::Nothing, first: &[0], value: 900, threads: &[&[Get(0), Lie(0)]] };
    run(model, RandomScheduler::new_from_seed(1, 1));
}

/// Whoever counts first may do so amid changes: what is settled then must be right for ever.
#[test]
fn a_first_count_beside_changes() {
    check(Model {
        name: "count",
        does: Does::Nothing,
        first: &[2, 3, 4],
        value: 900,
        threads: &[&[Put(0, 2), Cut(2)], &[Put(7, 2), Both([9, 1], 2)], &[Len, Len]],
    });
}

#[test]
fn a_load_of_large_values_beside_removals() {
    check(Model {
        name: "load",
        does: Does::Split,
        first: &[0, 1, 2, 3],
        value: 900,
        threads: &[&[Load(20, 31)], &[Take(23), Take(25), Take(27), Take(29)], &[Take(31), Take(27)]],
    });
}
