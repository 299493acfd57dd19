//! Short histories of four threads on a store in the smallest budget, recorded and checked for linearizability.
//!
//! The keys of a history are few, so that the threads meet; between them other records come and go, so that leaves split
//! and merge; and beside them lie more records than memory holds, so that leaves are evicted. Everything drawn follows from
//! (seed, number of the store); what the threads make of each other does not.

use super::linear::{self, Left, Op, Saw, Touch, Value};
use super::rng::{Rng, mix};
use super::unsteady::unsteady;
use super::watchdog::Watchdog;
use pagebox::{Batch, Durability, Error, Store, StoreOptions, Tree};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};

pub const THREADS: usize = 4;
/// Records beside the keys: more than the smallest budget holds.
const FILLERS: u64 = 120;
/// Records that come and go behind each key.
const NOISE: u64 = 4;
const DIR: &str = "/store";

/// What a campaign has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub stores: u64,
    pub histories: u64,
    pub operations: u64,
    /// Of these, how many overlapped another one on the same object.
    pub overlapping: u64,
    pub configurations: u64,
    pub batches: u64,
    pub batch_conflicts: u64,
    pub cas_conflicts: u64,
    pub pages_allocated: u64,
    pub pages_freed: u64,
    pub evictions: u64,
}

impl Counts {
    /// Adds another count.
    pub fn add(&mut self, other: &Counts) {
        self.stores += other.stores;
        self.histories += other.histories;
        self.operations += other.operations;
        self.overlapping += other.overlapping;
        self.configurations += other.configurations;
        self.batches += other.batches;
        self.batch_conflicts += other.batch_conflicts;
        self.cas_conflicts += other.cas_conflicts;
        self.pages_allocated += other.pages_allocated;
        self.pages_freed += other.pages_freed;
        self.evictions += other.evictions;
    }
}

/// What the histories of one store look like.
#[derive(Clone, Debug)]
struct Shape {
    keys: usize,
    /// Keys are so long, and differ in front of the padding or behind it.
    pad: usize,
    differ_in_front: bool,
    /// Values are shorter than this.
    value: u64,
    ops: u64,
    /// Shares in percent.
    batches: u64,
    noise: u64,
    yields: u64,
}

impl Shape {
    fn draw(rng: &mut Rng) -> Shape {
        let batches = *rng.pick(&[0, 0, 20, 40]);
        Shape {
            keys: *rng.pick(if batches == 0 { &[1, 3, 8, 12] } else { &[2, 3, 5, 6] }),
            pad: *rng.pick(&[0, 40, 300, 620]),
            differ_in_front: rng.percent(50),
            value: *rng.pick(&[8, 100, 600, 1200]),
            ops: rng.between(6, 40),
            batches,
            noise: *rng.pick(&[0, 40, 60]),
            yields: *rng.pick(&[5, 20, 50]),
        }
    }

    fn key(&self, name: String) -> Vec<u8> {
        let pad = "p".repeat(self.pad);
        if self.differ_in_front { format!("h{name}{pad}") } else { format!("h{pad}{name}") }.into_bytes()
    }

    /// Four bytes that say which value it is, again and again.
    fn bytes(&self, value: Value) -> Vec<u8> {
        let len = 4 + mix(u64::from(value)) % self.value;
        value.to_le_bytes().into_iter().cycle().take(len as usize).collect()
    }

    fn value(&self, bytes: &[u8]) -> Result<Value, String> {
        let value = bytes.first_chunk().map_or(0, |head| Value::from_le_bytes(*head));
        if self.bytes(value) == bytes { Ok(value) } else { Err(format!("a value that nobody wrote: {bytes:?}")) }
    }
}

/// The smallest options that work.
pub fn options() -> StoreOptions {
    Store::options().page_size(4096).durability(Durability::Manual).log_segment_bytes(1 << 20).max_log_bytes(8 << 20)
}

/// The smallest budget on such a disk, in bytes.
pub fn floor() -> usize {
    super::budget::smallest(|bytes| options().memory(bytes).disk(Arc::new(unsteady(0))).open(DIR))
}

/// Runs `histories` histories on the store with a number; an error names what repeats it.
pub fn run(seed: u64, number: u64, histories: u64, floor: usize, watchdog: &Watchdog) -> Result<Counts, String> {
    let mut rng = Rng::of(seed, &[number]);
    let shape = Shape::draw(&mut rng);
    watchdog.says(format!("seed {seed}, store {number}, {shape:?}"));
    let place = |e: String| format!("seed {seed}, store {number}, {shape:?}: {e}");
    let text = |e: Error| place(e.to_string());
    // Two threads that can write pages at once need a second buffer: eight pages, at twice the smallest budget.
    let wide = rng.percent(50);
    let (memory, fillers) = if wide { (floor * 3 / 2, FILLERS * 3 / 2) } else { (floor, FILLERS) };
    let store = options()
        .memory(memory)
        .flushers(1 + usize::from(wide))
        .disk(Arc::new(unsteady(rng.next())))
        .open(DIR)
        .map_err(text)?;
    let trees = [store.tree("a").map_err(text)?, store.tree("b").map_err(text)?];
    for n in 0..fillers {
        trees[0].insert(filler(n), vec![n as u8; 1000]).map_err(text)?;
    }
    let names: Vec<Vec<u8>> = (0..shape.keys).map(|n| shape.key(format!("{n:02}"))).collect();
    let bed = Bed {
        hints: names.iter().map(|_| AtomicU32::new(0)).collect(),
        seed: rng.next(),
        shape: shape.clone(),
        fillers,
        store,
        trees,
        names,
        clock: AtomicU64::new(0),
        counts: Mutex::default(),
    };
    bed.all(histories, watchdog).map_err(place)?;
    bed.store.check().map_err(text)?;
    let stats = bed.store.stats();
    let mut counts = *bed.counts.lock().unwrap_or_else(|e| e.into_inner());
    counts.stores = 1;
    counts.pages_allocated = stats.pages_allocated;
    counts.pages_freed = stats.pages_freed;
    counts.evictions = stats.evictions;
    Ok(counts)
}

fn filler(n: u64) -> Vec<u8> {
    format!("f{n:04}").into_bytes()
}

struct Bed {
    seed: u64,
    shape: Shape,
    /// Records beside the keys.
    fillers: u64,
    store: Store,
    /// A key's tree is that of its number.
    trees: [Tree; 2],
    names: Vec<Vec<u8>>,
    clock: AtomicU64,
    /// What a thread last saw or left of a key, 0 for nothing: what expectations are drawn from.
    hints: Vec<AtomicU32>,
    counts: Mutex<Counts>,
}

impl Bed {
    fn all(&self, histories: u64, watchdog: &Watchdog) -> Result<(), String> {
        let (start, end, ready) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1), AtomicUsize::new(0));
        let (records, failure) = (Mutex::new(Vec::new()), Mutex::new(None::<String>));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (start, end, ready, records, failure) = (&start, &end, &ready, &records, &failure);
                scope.spawn(move || {
                    for history in 0..histories {
                        start.wait();
                        // The last steps together: a barrier lets its threads go one after the other.
                        ready.fetch_add(1, SeqCst);
                        while ready.load(SeqCst) < THREADS * (history as usize + 1) {
                            std::thread::yield_now();
                        }
                        let mut worker = Worker::new(self, history, thread);
                        let work = catch_unwind(AssertUnwindSafe(|| worker.work()));
                        let outcome = work.unwrap_or_else(|_| Err("a panic, see above".to_owned()));
                        records.lock().unwrap_or_else(|e| e.into_inner()).append(&mut worker.record);
                        if let Err(error) = outcome {
                            failure.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                        }
                        end.wait();
                    }
                });
            }
            let mut initial = vec![None; self.names.len()];
            let mut outcome = Ok(());
            for history in 0..histories {
                start.wait();
                end.wait();
                watchdog.feed();
                if outcome.is_ok() {
                    let mut ops = std::mem::take(&mut *records.lock().unwrap_or_else(|e| e.into_inner()));
                    let failed = failure.lock().unwrap_or_else(|e| e.into_inner()).take();
                    outcome = failed.map_or(Ok(()), Err).and_then(|()| self.judge(&mut initial, &mut ops));
                    outcome = outcome.map_err(|e| format!("history {history}: {e}"));
                }
            }
            outcome
        })
    }

    /// Adds what is there in the end to the history, and checks it; that is what the next one begins with.
    fn judge(&self, initial: &mut [Option<Value>], ops: &mut Vec<Op>) -> Result<(), String> {
        let mut now = Vec::new();
        for key in 0..self.names.len() {
            let began = self.clock.fetch_add(1, SeqCst);
            let found = self.trees[key % 2].get(&self.names[key]).map_err(|e| format!("the last get: {e}"))?;
            let value = found.map(|bytes| self.shape.value(&bytes)).transpose()?;
            let touches = vec![Touch { key, saw: Saw::Is(value), left: Left::Same }];
            let ended = self.clock.fetch_add(1, SeqCst);
            ops.push(Op { name: "last get", thread: THREADS, began, ended, touches });
            now.push(value);
        }
        let effort = linear::check(initial, ops)?;
        initial.copy_from_slice(&now);
        let mut counts = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        counts.histories += 1;
        counts.operations += ops.len() as u64;
        counts.overlapping += effort.overlapping;
        counts.configurations += effort.configurations;
        Ok(())
    }
}

struct Worker<'b> {
    bed: &'b Bed,
    rng: Rng,
    thread: usize,
    /// The next value's number.
    fresh: Value,
    record: Vec<Op>,
}

type Bytes = Option<Vec<u8>>;

impl<'b> Worker<'b> {
    fn new(bed: &'b Bed, history: u64, thread: usize) -> Worker<'b> {
        let rng = Rng::of(bed.seed, &[history, thread as u64]);
        let fresh = (history as Value * THREADS as Value + thread as Value) * 1024 + 1;
        Worker { bed, rng, thread, fresh, record: Vec::new() }
    }

    fn work(&mut self) -> Result<(), String> {
        for n in 0..self.bed.shape.ops {
            if self.rng.percent(self.bed.shape.noise) {
                self.noise().map_err(|e| format!("thread {}: beside operation {n}: {e}", self.thread))?;
            }
            if self.rng.percent(self.bed.shape.yields) {
                std::thread::yield_now();
            }
            self.operation().map_err(|e| format!("thread {}, operation {n}: {e}", self.thread))?;
        }
        Ok(())
    }

    /// What makes leaves split, merge and leave memory.
    fn noise(&mut self) -> pagebox::Result<()> {
        let bed = self.bed;
        let key = self.rng.below(bed.names.len() as u64) as usize;
        let tree = &bed.trees[key % 2];
        let name = bed.shape.key(format!("{key:02}n{}", self.rng.below(NOISE)));
        match self.rng.below(10) {
            0..=2 => tree.insert(name, vec![7; self.rng.below(1200) as usize]).map(drop),
            3..=5 => tree.remove(name).map(drop),
            6 => bed.trees[0].insert(filler(self.rng.below(bed.fillers)), vec![8; 1000]).map(drop),
            _ => bed.trees[0].contains_key(filler(self.rng.below(bed.fillers))).map(drop),
        }
    }

    fn fresh(&mut self) -> Value {
        self.fresh += 1;
        self.fresh
    }

    /// A new value, or at times none.
    fn maybe_fresh(&mut self) -> Option<Value> {
        (!self.rng.percent(25)).then(|| self.fresh())
    }

    fn hint(&self, key: usize) -> Option<Value> {
        Some(self.bed.hints[key].load(Relaxed)).filter(|value| *value != 0)
    }

    fn value(&self, bytes: Option<&[u8]>) -> Result<Option<Value>, String> {
        bytes.map(|bytes| self.bed.shape.value(bytes)).transpose()
    }

    fn write(&mut self, name: &'static str, began: u64, touches: Vec<Touch>) {
        let ended = self.bed.clock.fetch_add(1, SeqCst);
        for touch in &touches {
            let known = match (touch.left, touch.saw) {
                (Left::Now(value), _) | (Left::Same, Saw::Is(value)) => value,
                _ => continue,
            };
            self.bed.hints[touch.key].store(known.unwrap_or(0), Relaxed);
        }
        self.record.push(Op { name, thread: self.thread, began, ended, touches });
    }

    fn operation(&mut self) -> Result<(), String> {
        if self.rng.percent(self.bed.shape.batches) {
            return self.batch();
        }
        let key = self.rng.below(self.bed.names.len() as u64) as usize;
        match self.rng.below(100) {
            0..=34 => self.read(key),
            35..=39 => self.scan(),
            _ => self.change(key).map_err(|e| format!("key {key}: {e}")),
        }
    }

    fn read(&mut self, key: usize) -> Result<(), String> {
        let bed = self.bed;
        let (tree, name) = (&bed.trees[key % 2], &bed.names[key]);
        let kind = self.rng.below(6);
        let began = bed.clock.fetch_add(1, SeqCst);
        let is = |value| Saw::Is(value);
        let (called, saw) = match kind {
            0 => ("contains_key", tree.contains_key(name).map(|there| if there { Saw::There } else { Saw::Absent })),
            1 => {
                let mut out = Vec::new();
                let found = tree.get_into(name, &mut out).map_err(|e| e.to_string())?;
                ("get_into", Ok(is(self.value(found.then_some(&out[..]))?)))
            }
            2 => {
                let found = tree.get_with(name, <[u8]>::to_vec).map_err(|e| e.to_string())?;
                ("get_with", Ok(is(self.value(found.as_deref())?)))
            }
            3 => {
                let mut found = None;
                tree.get_many(&[name], |_, value| found = value.map(<[u8]>::to_vec)).map_err(|e| e.to_string())?;
                ("get_many", Ok(is(self.value(found.as_deref())?)))
            }
            _ => {
                let found: Bytes = tree.get(name).map_err(|e| e.to_string())?;
                ("get", Ok(is(self.value(found.as_deref())?)))
            }
        };
        let saw = saw.map_err(|e: Error| e.to_string())?;
        self.write(called, began, vec![Touch { key, saw, left: Left::Same }]);
        Ok(())
    }

    /// A scan of one tree's keys counts as a read of each of them, somewhere between its beginning and its end.
    fn scan(&mut self) -> Result<(), String> {
        let (bed, which, way) = (self.bed, self.rng.below(2) as usize, self.rng.below(3));
        let tree = &bed.trees[which];
        let mut met: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let began = bed.clock.fetch_add(1, SeqCst);
        let visit = |key: &[u8], value: &[u8]| {
            met.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        let (name, done) = match way {
            0 => ("scan", tree.scan("h".., visit)),
            1 => ("scan_rev", tree.scan_rev("h".., visit)),
            _ => {
                let mut range = tree.prefix("h");
                loop {
                    let next = if self.rng.percent(50) { range.next() } else { range.next_back() };
                    let Some(pair) = next else { break ("range", Ok(())) };
                    match pair {
                        Ok(pair) => met.push(pair),
                        Err(error) => break ("range", Err(error)),
                    }
                }
            }
        };
        done.map_err(|e| format!("{name}: {e}"))?;
        let ended = bed.clock.fetch_add(1, SeqCst);
        for key in (0..bed.names.len()).filter(|key| key % 2 == which) {
            let mut there = met.iter().filter(|(name, _)| *name == bed.names[key]);
            let value = self.value(there.next().map(|(_, value)| &value[..]))?;
            if there.next().is_some() {
                return Err(format!("{name} met key {key} twice"));
            }
            let touches = vec![Touch { key, saw: Saw::Is(value), left: Left::Same }];
            self.record.push(Op { name, thread: self.thread, began, ended, touches });
        }
        Ok(())
    }

    fn change(&mut self, key: usize) -> Result<(), String> {
        let bed = self.bed;
        let (tree, name) = (&bed.trees[key % 2], &bed.names[key]);
        let kind = self.rng.below(60);
        let (value, hint) = (self.fresh(), self.hint(key));
        let (maybe, guess) = (self.maybe_fresh(), if self.rng.percent(85) { hint } else { Some(1) });
        let bytes = |value: Option<Value>| value.map(|value| bed.shape.bytes(value));
        let began = bed.clock.fetch_add(1, SeqCst);
        let text = |e: Error| e.to_string();
        let presence = |there| if there { Saw::There } else { Saw::Absent };
        let (called, saw, left) = match kind {
            0..=19 => {
                let new = tree.insert(name, bed.shape.bytes(value)).map_err(text)?;
                ("insert", presence(!new), Left::Now(Some(value)))
            }
            20..=26 => {
                let before = tree.replace(name, bed.shape.bytes(value)).map_err(text)?;
                ("replace", Saw::Is(self.value(before.as_deref())?), Left::Now(Some(value)))
            }
            27..=34 => ("remove", presence(tree.remove(name).map_err(text)?), Left::Now(None)),
            35..=39 => {
                let before = tree.take(name).map_err(text)?;
                ("take", Saw::Is(self.value(before.as_deref())?), Left::Now(None))
            }
            40..=49 => {
                let (old, new) = (bytes(guess), bytes(maybe));
                match tree.compare_and_swap(name, old.as_deref(), new.as_deref()).map_err(text)? {
                    Ok(()) => ("compare_and_swap", Saw::Is(guess), Left::Now(maybe)),
                    Err(conflict) => {
                        let current = self.value(conflict.current.as_deref())?;
                        if current == guess {
                            return Err("a compare_and_swap was refused for what it expected".to_owned());
                        }
                        bed.counts.lock().unwrap_or_else(|e| e.into_inner()).cas_conflicts += 1;
                        ("refused compare_and_swap", Saw::Is(current), Left::Same)
                    }
                }
            }
            50..=57 => {
                let mut last = None;
                let update = |old: Option<&[u8]>| {
                    last = Some(old.map(<[u8]>::to_vec));
                    bytes(maybe)
                };
                let before = tree.fetch_update(name, update).map_err(text)?;
                if last.as_ref() != Some(&before) {
                    return Err("fetch_update returned what its function did not see last".to_owned());
                }
                ("fetch_update", Saw::Is(self.value(before.as_deref())?), Left::Now(maybe))
            }
            _ => return self.end(key % 2),
        };
        self.write(called, began, vec![Touch { key, saw, left }]);
        Ok(())
    }

    /// The pair at an end of a tree: read or taken. None of the keys beyond it is there at that moment.
    fn end(&mut self, which: usize) -> Result<(), String> {
        let (bed, pops) = (self.bed, self.rng.percent(50));
        // What is first in the other tree is none of ours.
        let first = which == 1 && self.rng.percent(50);
        let tree = &bed.trees[which];
        let began = bed.clock.fetch_add(1, SeqCst);
        let (name, found) = match (first, pops) {
            (true, true) => ("pop_first", tree.pop_first()),
            (true, false) => ("first", tree.first()),
            (false, true) => ("pop_last", tree.pop_last()),
            (false, false) => ("last", tree.last()),
        };
        let found = found.map_err(|e| format!("{name}: {e}"))?;
        let mut touches = Vec::new();
        for key in (which..bed.names.len()).step_by(2) {
            let touch = match &found {
                Some((there, bytes)) if *there == bed.names[key] => {
                    let left = if pops { Left::Now(None) } else { Left::Same };
                    Touch { key, saw: Saw::Is(self.value(Some(bytes))?), left }
                }
                Some((there, _)) if first == (*there < bed.names[key]) => continue,
                _ => Touch { key, saw: Saw::Absent, left: Left::Same },
            };
            touches.push(touch);
        }
        if !touches.is_empty() {
            self.write(name, began, touches);
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<(), String> {
        let bed = self.bed;
        let mut batch = Batch::new();
        let mut touches = Vec::new();
        let only_requires = self.rng.percent(15);
        let mut keys: Vec<usize> = (0..bed.names.len()).collect();
        for _ in 0..self.rng.between(1, 4).min(keys.len() as u64) {
            let key = keys.swap_remove(self.rng.below(keys.len() as u64) as usize);
            let (tree, name) = (&bed.trees[key % 2], &bed.names[key]);
            let mut touch = Touch { key, saw: Saw::Any, left: Left::Same };
            if only_requires || self.rng.percent(40) {
                let wanted = if self.rng.percent(95) { self.hint(key) } else { Some(1) };
                batch.require(tree, name, wanted.map(|value| bed.shape.bytes(value)).as_deref());
                touch.saw = Saw::Is(wanted);
            }
            if !only_requires && self.rng.percent(20) {
                batch.insert(tree, name, "overruled");
            }
            // A key without either is a key overruled at once: each of a batch's keys is touched.
            if !only_requires {
                let value = self.maybe_fresh();
                match value {
                    Some(value) => batch.insert(tree, name, bed.shape.bytes(value)),
                    None => batch.remove(tree, name),
                };
                touch.left = Left::Now(value);
            }
            touches.push(touch);
        }
        let began = bed.clock.fetch_add(1, SeqCst);
        let outcome = bed.store.apply(&batch);
        let mut counts = bed.counts.lock().unwrap_or_else(|e| e.into_inner());
        counts.batches += 1;
        match outcome {
            Ok(()) => {
                drop(counts);
                self.write("batch", began, touches);
                Ok(())
            }
            Err(Error::Conflict { tree, key, .. }) => {
                counts.batch_conflicts += 1;
                drop(counts);
                let at = |touch: &&Touch| bed.names[touch.key] == key && bed.trees[touch.key % 2].name() == &*tree;
                let Some(Touch { key, saw: Saw::Is(wanted), .. }) = touches.iter().find(at) else {
                    return Err("a conflict at a key without a requirement".to_owned());
                };
                let touch = Touch { key: *key, saw: Saw::IsNot(*wanted), left: Left::Same };
                self.write("refused batch", began, vec![touch]);
                Ok(())
            }
            Err(error) => Err(format!("apply: {error}")),
        }
    }
}
