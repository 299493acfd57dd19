//! The store against `BTreeMap`: random sequences of calls, with key and value lengths at and around every limit, in the
//! smallest budget that is legal, closed and opened again in the middle.

#![cfg(feature = "btree")]

mod support;

use pagebox::{Batch, Durability, Error, Store, StoreOptions, Tree};
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::OnceLock;
use support::budget::smallest_on_files;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Outcome = Result<(), String>;

/// What the store of a page size accepts, asked from it once.
#[derive(Clone, Copy, Debug)]
struct Limits {
    page_size: usize,
    memory: usize,
    key: usize,
    /// `None`: values far larger than a page are accepted.
    value: Option<usize>,
}

fn options(page_size: usize) -> StoreOptions {
    let log = 64 << 10;
    Store::options()
        .page_size(page_size)
        .durability(Durability::Manual)
        .log_segment_bytes(log * 4)
        .max_log_bytes(log * 32)
}

fn limits(page_size: usize) -> Limits {
    static FOUND: [OnceLock<Limits>; 2] = [OnceLock::new(), OnceLock::new()];
    *FOUND[usize::from(page_size > 4096)].get_or_init(|| {
        let memory = smallest_on_files(&options(page_size));
        let dir = tempfile::tempdir().expect("a directory");
        let store = options(page_size).memory(memory).open(dir.path()).expect("a store");
        let tree = store.tree("t").expect("a tree");
        let key = match tree.insert(vec![b'k'; 1 << 20], b"") {
            Err(Error::KeyTooLarge { max, len, .. }) => {
                assert_eq!(len, 1 << 20);
                max
            }
            other => panic!("a key of 1 MiB: {other:?}"),
        };
        let value = match tree.insert(b"k", vec![0; page_size * 3]) {
            Err(Error::ValueTooLarge { max, len, .. }) => {
                assert_eq!(len, page_size as u64 * 3);
                Some(max as usize)
            }
            Ok(true) => None,
            other => panic!("a value of three pages: {other:?}"),
        };
        Limits { page_size, memory, key, value }
    })
}

/// A key: one of a few short ones, or of a length that is named by its distance from a limit.
#[derive(Clone, Debug)]
enum Key {
    Short(u8),
    /// One of the keys with which the tree was filled before.
    Filled(u8),
    Empty,
    /// The longest legal length and so many bytes less; the last byte tells two such keys apart.
    Long(u8, u8),
    TooLong,
}

/// A value, by its length and its byte; from about half a page on it lies in pages of its own.
#[derive(Clone, Debug)]
enum Value {
    Empty,
    Short(u8),
    /// A part of a page, in sixty-fourths.
    Part(u8),
    /// So many class 0 pages of content and their header, and a few bytes more or less.
    Pages(u8, i8),
    /// The longest that a leaf keeps, and a few bytes more or less.
    Edge(i8),
    /// The longest legal length and so many bytes less.
    Long(u8),
    TooLong,
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Key, Value),
    Replace(Key, Value),
    Remove(Key),
    Take(Key),
    Get(Key),
    Swap(Key, bool, Option<Value>),
    Update(Key, Option<Value>),
    Batch(Vec<(Key, Option<Value>)>, Option<(Key, bool)>),
    Range(Key, u8, Key, u8, bool),
    BothEnds(Vec<bool>),
    Prefix(Key, u8),
    GetMany(Vec<Key>),
    Ends,
    Pop(bool),
    RemoveRange(Key, Key),
    Len,
    Checkpoint,
    Reopen,
}

const FILLED: u32 = 256;

impl Key {
    fn bytes(&self, limits: Limits) -> Vec<u8> {
        let long = |len: usize, last: u8| {
            let mut key = vec![b'l'; len];
            *key.last_mut().expect("limits are above zero") = last;
            key
        };
        match self {
            Key::Short(n) => format!("s{:02}", n % 40).into_bytes(),
            Key::Filled(n) => filled(u32::from(*n)).0,
            Key::Empty => Vec::new(),
            Key::Long(less, last) => long(limits.key - usize::from(less % 3), last % 4),
            Key::TooLong => long(limits.key + 1, 0),
        }
    }
}

impl Value {
    fn bytes(&self, limits: Limits) -> Vec<u8> {
        match self {
            Value::Empty => Vec::new(),
            Value::Short(n) => vec![*n; 1 + usize::from(n % 90)],
            Value::Part(n) => vec![*n; (usize::from(n % 64) * limits.page_size / 64).min(limits.longest_value())],
            Value::Pages(n, more) => {
                let pages = [1, 2, 3, 4, 5, 8, 16, 17, 40][usize::from(n % 9)];
                let len = (pages * limits.page_size - 32).saturating_add_signed(isize::from(more % 3));
                (0..len).map(|i| *n ^ (i % 251) as u8).collect()
            }
            Value::Edge(more) => {
                let edge = limits.page_size - 138 - 3 * limits.key;
                vec![b'e'; edge.saturating_add_signed(isize::from(more % 40))]
            }
            Value::Long(less) => vec![b'v'; limits.longest_value() - usize::from(less % 3)],
            Value::TooLong => vec![b'v'; limits.value.map_or(0, |max| max + 1)],
        }
    }
}

impl Limits {
    fn longest_value(&self) -> usize {
        self.value.unwrap_or(self.page_size * 3)
    }
}

fn filled(n: u32) -> (Vec<u8>, Vec<u8>) {
    let mut value = format!("filled {n} ").into_bytes();
    value.resize(100 + n as usize * 7 % 700, b'.');
    (format!("f{:03}", n % FILLED).into_bytes(), value)
}

impl Arbitrary for Key {
    fn arbitrary(g: &mut Gen) -> Key {
        match u8::arbitrary(g) % 20 {
            0 => Key::Empty,
            1 | 2 => Key::Long(u8::arbitrary(g), u8::arbitrary(g)),
            3 => Key::TooLong,
            4..=10 => Key::Filled(u8::arbitrary(g)),
            _ => Key::Short(u8::arbitrary(g)),
        }
    }
}

impl Arbitrary for Value {
    fn arbitrary(g: &mut Gen) -> Value {
        match u8::arbitrary(g) % 16 {
            12 | 13 => Value::Pages(u8::arbitrary(g), i8::arbitrary(g)),
            14 => Value::Edge(i8::arbitrary(g)),
            0 => Value::Empty,
            1 => Value::Long(u8::arbitrary(g)),
            2 => Value::TooLong,
            3..=5 => Value::Part(u8::arbitrary(g)),
            _ => Value::Short(u8::arbitrary(g)),
        }
    }
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Op {
        let a = |g: &mut Gen| (Key::arbitrary(g), Value::arbitrary(g));
        let some = |g: &mut Gen| if u8::arbitrary(g) % 4 == 0 { None } else { Some(Value::arbitrary(g)) };
        match u8::arbitrary(g) % 40 {
            0..=11 => {
                let (key, value) = a(g);
                Op::Insert(key, value)
            }
            12 | 13 => {
                let (key, value) = a(g);
                Op::Replace(key, value)
            }
            14..=17 => Op::Remove(Key::arbitrary(g)),
            18 => Op::Take(Key::arbitrary(g)),
            19..=21 => Op::Get(Key::arbitrary(g)),
            22 => Op::Swap(Key::arbitrary(g), bool::arbitrary(g), some(g)),
            23 => Op::Update(Key::arbitrary(g), some(g)),
            24..=26 => {
                let n = u8::arbitrary(g) % 12;
                let writes = (0..n).map(|_| (Key::arbitrary(g), some(g))).collect();
                let require = bool::arbitrary(g).then(|| (Key::arbitrary(g), bool::arbitrary(g)));
                Op::Batch(writes, require)
            }
            27..=29 => {
                let (from, to) = (Key::arbitrary(g), Key::arbitrary(g));
                Op::Range(from, u8::arbitrary(g), to, u8::arbitrary(g), bool::arbitrary(g))
            }
            30 => Op::BothEnds(Vec::arbitrary(g)),
            31 => Op::Prefix(Key::arbitrary(g), u8::arbitrary(g)),
            32 => Op::GetMany(Vec::arbitrary(g)),
            33 => Op::Ends,
            34 => Op::Pop(bool::arbitrary(g)),
            35 => Op::RemoveRange(Key::arbitrary(g), Key::arbitrary(g)),
            36 => Op::Len,
            37 => Op::Checkpoint,
            38 => Op::Reopen,
            _ => Op::Reopen,
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    let cut = |value: &T| format!("{value:?}").chars().take(300).collect::<String>();
    Err(format!("{what}: found {}, expected {}", cut(&found), cut(&expected)))
}

fn text(error: Error) -> String {
    error.to_string()
}

/// A store, its only tree, and the model of it.
struct Pair<'a> {
    limits: Limits,
    dir: &'a Path,
    store: Option<Store>,
    tree: Tree,
    model: Model,
}

impl Pair<'_> {
    /// A new store, filled so that the smallest budget does not hold it.
    fn new(limits: Limits, dir: &Path) -> Result<Pair<'_>, String> {
        let store = options(limits.page_size).memory(limits.memory).open(dir).map_err(text)?;
        let tree = store.tree("t").map_err(text)?;
        let mut model = Model::new();
        for n in 0..FILLED {
            let (key, value) = filled(n);
            tree.insert(&key, &value).map_err(text)?;
            model.insert(key, value);
        }
        Ok(Pair { limits, dir, store: Some(store), tree, model })
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open between the steps")
    }

    /// What a change of this key to this value must answer with, if not with success.
    fn refusal(&self, key: &[u8], value: Option<&[u8]>) -> Option<&'static str> {
        if key.len() > self.limits.key {
            return Some("KeyTooLarge");
        }
        let longest = self.limits.value?;
        value.filter(|v| v.len() > longest).map(|_| "ValueTooLarge")
    }

    /// Whether `result` is an error exactly if there must be one, and that one; `Ok(None)` when it was refused rightly.
    fn accepted<T: std::fmt::Debug>(
        &self,
        result: pagebox::Result<T>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Option<T>, String> {
        match (result, self.refusal(key, value)) {
            (Ok(answer), None) => Ok(Some(answer)),
            (Err(Error::KeyTooLarge { len, max, .. }), Some("KeyTooLarge")) => {
                same("KeyTooLarge", (len, max), (key.len(), self.limits.key)).map(|()| None)
            }
            (Err(Error::ValueTooLarge { len, .. }), Some("ValueTooLarge")) => {
                same("ValueTooLarge", len, value.map_or(0, <[u8]>::len) as u64).map(|()| None)
            }
            (result, refusal) => Err(format!("{result:?}, expected refusal: {refusal:?}")),
        }
    }

    fn step(&mut self, op: &Op) -> Outcome {
        let limits = self.limits;
        match op {
            Op::Insert(key, value) => {
                let (key, value) = (key.bytes(limits), value.bytes(limits));
                match self.accepted(self.tree.insert(&key, &value), &key, Some(&value))? {
                    Some(fresh) => same("insert", fresh, self.model.insert(key, value).is_none()),
                    None => Ok(()),
                }
            }
            Op::Replace(key, value) => {
                let (key, value) = (key.bytes(limits), value.bytes(limits));
                match self.accepted(self.tree.replace(&key, &value), &key, Some(&value))? {
                    Some(old) => same("replace", old, self.model.insert(key, value)),
                    None => Ok(()),
                }
            }
            Op::Remove(key) => match key.bytes(limits) {
                key if key.len() > limits.key => Ok(()),
                key => same("remove", self.tree.remove(&key).map_err(text)?, self.model.remove(&key).is_some()),
            },
            Op::Take(key) => match key.bytes(limits) {
                key if key.len() > limits.key => Ok(()),
                key => same("take", self.tree.take(&key).map_err(text)?, self.model.remove(&key)),
            },
            Op::Get(key) => self.get(&key.bytes(limits)),
            Op::Swap(key, right, value) => {
                self.swap(&key.bytes(limits), *right, value.as_ref().map(|v| v.bytes(limits)))
            }
            Op::Update(key, value) => {
                let (key, value) = (key.bytes(limits), value.as_ref().map(|v| v.bytes(limits)));
                let result = self.tree.fetch_update(&key, |_| value.clone());
                let Some(old) = self.accepted(result, &key, value.as_deref())? else { return Ok(()) };
                let expected = match value {
                    Some(value) => self.model.insert(key, value),
                    None => self.model.remove(&key),
                };
                same("fetch_update", old, expected)
            }
            Op::Batch(writes, require) => self.batch(writes, require.as_ref()),
            Op::Range(from, a, to, b, down) => {
                let (from, to) = (bound(from.bytes(limits), *a), bound(to.bytes(limits), *b));
                self.range(from, to, *down)
            }
            Op::BothEnds(turns) => self.both_ends(turns),
            Op::Prefix(key, cut) => {
                let key = key.bytes(limits);
                let prefix = &key[..usize::from(*cut) % (key.len() + 1)];
                let found = self.tree.prefix(prefix).collect::<Result<Vec<_>, _>>().map_err(text)?;
                let expected = self.model.iter().filter(|(k, _)| k.starts_with(prefix));
                same("prefix", found, expected.map(|(k, v)| (k.clone(), v.clone())).collect())
            }
            Op::GetMany(keys) => self.get_many(&keys.iter().map(|k| k.bytes(limits)).collect::<Vec<_>>()),
            Op::Ends => {
                let own = |kv: Option<(&Vec<u8>, &Vec<u8>)>| kv.map(|(k, v)| (k.clone(), v.clone()));
                same("first", self.tree.first().map_err(text)?, own(self.model.first_key_value()))?;
                same("last", self.tree.last().map_err(text)?, own(self.model.last_key_value()))
            }
            Op::Pop(true) => same("pop_first", self.tree.pop_first().map_err(text)?, self.model.pop_first()),
            Op::Pop(false) => same("pop_last", self.tree.pop_last().map_err(text)?, self.model.pop_last()),
            Op::RemoveRange(from, to) => {
                let (from, to) = (from.bytes(limits), to.bytes(limits));
                let gone = self.tree.remove_range(from.clone()..to.clone()).map_err(text)?;
                let before = self.model.len();
                self.model.retain(|key, _| !(from <= *key && *key < to));
                same("remove_range", gone, (before - self.model.len()) as u64)
            }
            Op::Len => {
                same("len", self.tree.len().map_err(text)?, self.model.len() as u64)?;
                same("is_empty", self.tree.is_empty().map_err(text)?, self.model.is_empty())
            }
            Op::Checkpoint => self.store().checkpoint().map_err(text),
            Op::Reopen => self.reopen(),
        }
    }

    fn get(&mut self, key: &[u8]) -> Outcome {
        if key.len() > self.limits.key {
            // Too long to be stored: an answer or an error, but no panic and no value.
            return same("get", self.tree.get(key).unwrap_or(None), None);
        }
        let expected = self.model.get(key);
        same("get", self.tree.get(key).map_err(text)?.as_ref(), expected)?;
        same("contains_key", self.tree.contains_key(key).map_err(text)?, expected.is_some())?;
        same("get_with", self.tree.get_with(key, <[u8]>::to_vec).map_err(text)?.as_ref(), expected)?;
        let mut out = b"old".to_vec();
        let there = self.tree.get_into(key, &mut out).map_err(text)?;
        same("get_into", there, expected.is_some())?;
        same("get_into", if there { Some(&out) } else { None }, expected)
    }

    fn swap(&mut self, key: &[u8], right: bool, new: Option<Vec<u8>>) -> Outcome {
        let current = self.model.get(key).cloned();
        let old = if right { current.clone() } else { Some(b"not the value".to_vec()) };
        let result = self.tree.compare_and_swap(key, old.as_deref(), new.as_deref());
        let Some(done) = self.accepted(result, key, new.as_deref())? else { return Ok(()) };
        match done {
            Ok(()) => {
                same("compare_and_swap went through", right, true)?;
                match new {
                    Some(value) => self.model.insert(key.to_vec(), value),
                    None => self.model.remove(key),
                };
                Ok(())
            }
            Err(conflict) => {
                same("compare_and_swap was refused", right, false)?;
                same("the conflict's value", conflict.current, current)
            }
        }
    }

    fn batch(&mut self, writes: &[(Key, Option<Value>)], require: Option<&(Key, bool)>) -> Outcome {
        let mut batch = Batch::new();
        let mut refused = false;
        let mut after = self.model.clone();
        for (key, value) in writes {
            let (key, value) = (key.bytes(self.limits), value.as_ref().map(|v| v.bytes(self.limits)));
            refused |= self.refusal(&key, value.as_deref()).is_some();
            match value {
                Some(value) => {
                    batch.insert(&self.tree, &key, &value);
                    after.insert(key, value);
                }
                None => {
                    batch.remove(&self.tree, &key);
                    after.remove(&key);
                }
            }
        }
        let mut holds = true;
        if let Some((key, right)) = require {
            let key = key.bytes(self.limits);
            if key.len() <= self.limits.key {
                let value = self.model.get(&key).cloned();
                let value = if *right { value } else { Some(b"not the value".to_vec()) };
                batch.require(&self.tree, &key, value.as_deref());
                holds = *right;
            }
        }
        match self.store().apply(&batch) {
            Ok(()) if holds && !refused => self.model = after,
            Err(Error::KeyTooLarge { .. } | Error::ValueTooLarge { .. }) if refused => {}
            Err(Error::Conflict { .. }) if !holds => {}
            // What it takes and what there is must at least be said.
            Err(Error::BatchTooLarge { bytes, max, .. }) if bytes > max => {}
            other => return Err(format!("apply: {other:?}, refused: {refused}, requirement holds: {holds}")),
        }
        Ok(())
    }

    fn range(&mut self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, down: bool) -> Outcome {
        let within = |key: &Vec<u8>| {
            let above = match &from {
                Bound::Included(low) => key >= low,
                Bound::Excluded(low) => key > low,
                Bound::Unbounded => true,
            };
            above
                && match &to {
                    Bound::Included(high) => key <= high,
                    Bound::Excluded(high) => key < high,
                    Bound::Unbounded => true,
                }
        };
        let mut expected: Vec<_> =
            self.model.iter().filter(|(k, _)| within(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let range = (from.clone(), to.clone());
        let mut scanned = Vec::new();
        let visit = |k: &[u8], v: &[u8]| {
            scanned.push((k.to_vec(), v.to_vec()));
            ControlFlow::Continue(())
        };
        let found: Vec<_> = if down {
            expected.reverse();
            self.tree.scan_rev(range.clone(), visit).map_err(text)?;
            self.tree.range(range).rev().collect::<Result<_, _>>().map_err(text)?
        } else {
            self.tree.scan(range.clone(), visit).map_err(text)?;
            self.tree.range(range).collect::<Result<_, _>>().map_err(text)?
        };
        same("range", &found, &expected)?;
        same("scan", &scanned, &expected)
    }

    fn both_ends(&mut self, turns: &[bool]) -> Outcome {
        let mut records = self.tree.iter();
        let mut expected = self.model.iter();
        let own = |kv: Option<(&Vec<u8>, &Vec<u8>)>| kv.map(|(k, v)| (k.clone(), v.clone()));
        // The turns again and again, until both are used up.
        let turns = if turns.is_empty() { &[true, false] } else { turns };
        for front in turns.iter().cycle() {
            let (found, expected) =
                if *front { (records.next(), expected.next()) } else { (records.next_back(), expected.next_back()) };
            let found = found.transpose().map_err(text)?;
            same("iteration from both ends", &found, &own(expected))?;
            if found.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn get_many(&mut self, keys: &[Vec<u8>]) -> Outcome {
        let keys: Vec<_> = keys.iter().filter(|key| key.len() <= self.limits.key).collect();
        let mut found = vec![None; keys.len()];
        let mut calls = vec![0; keys.len()];
        self.tree
            .get_many(&keys, |i, value| {
                calls[i] += 1;
                found[i] = value.map(<[u8]>::to_vec);
            })
            .map_err(text)?;
        same("get_many: calls", calls, vec![1; keys.len()])?;
        same("get_many", found, keys.iter().map(|key| self.model.get(*key).cloned()).collect())
    }

    fn reopen(&mut self) -> Outcome {
        self.store.take().expect("open between the steps").close().map_err(text)?;
        same("a handle after close", matches!(self.tree.get(b"k"), Err(Error::Closed)), true)?;
        // The page size is the store's own at an open.
        let store = Store::options()
            .memory(self.limits.memory)
            .durability(Durability::Manual)
            .log_segment_bytes(256 << 10)
            .max_log_bytes(2 << 20)
            .create(false)
            .open(self.dir)
            .map_err(text)?;
        self.tree = store.tree("t").map_err(text)?;
        self.store = Some(store);
        Ok(())
    }

    /// The whole contents and `check()`.
    fn whole(&mut self) -> Outcome {
        self.store().check().map_err(text)?;
        self.range(Bound::Unbounded, Bound::Unbounded, false)
    }
}

fn bound(key: Vec<u8>, kind: u8) -> Bound<Vec<u8>> {
    match kind % 5 {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Excluded(key),
        _ => Bound::Included(key),
    }
}

fn sequence(page_size: usize, ops: &[Op]) -> Outcome {
    let limits = limits(page_size);
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut pair = Pair::new(limits, dir.path())?;
    for (n, op) in ops.iter().enumerate() {
        pair.step(op).map_err(|e| format!("step {n}, {op:?}: {e}"))?;
    }
    pair.whole()?;
    pair.reopen()?;
    pair.whole()
}

fn property(page_size: usize, tests: u64) {
    fn small(ops: Vec<Op>) -> TestResult {
        sequence(4096, &ops).map_or_else(TestResult::error, |()| TestResult::passed())
    }
    fn large(ops: Vec<Op>) -> TestResult {
        sequence(16384, &ops).map_or_else(TestResult::error, |()| TestResult::passed())
    }
    let property: fn(Vec<Op>) -> TestResult = if page_size == 4096 { small } else { large };
    QuickCheck::new().tests(tests).max_tests(tests * 2).rng(Gen::new(300)).quickcheck(property);
}

#[test]
fn model_with_pages_of_4_kib() {
    property(4096, 60);
}

#[test]
fn model_with_pages_of_16_kib() {
    property(16384, 40);
}

#[test]
fn limits_are_what_is_promised() {
    assert!(limits(4096).key >= 640, "{:?}", limits(4096));
    assert!(limits(16384).key >= 4 * 640, "{:?}", limits(16384));
}
