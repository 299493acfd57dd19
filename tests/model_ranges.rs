//! Ranges and callbacks against `BTreeMap`: bounds of every kind, both ends of one `Range` until they meet, changes on the
//! way, and callbacks that use the tree they are called from.

#![cfg(feature = "btree")]

mod support;

use pagebox::{Batch, Durability, KeyRange, Store, Tree};
use quickcheck::{Arbitrary, Gen, QuickCheck, TestResult};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::OnceLock;
use support::budget::smallest_on_files;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Pair = (Vec<u8>, Vec<u8>);
type Outcome = Result<(), String>;

/// Keys that are neighbours of each other's bounds: `k`, and `k` with a zero byte behind it.
#[derive(Clone, Debug)]
struct Key {
    stem: u8,
    zeros: u8,
    /// As long as a key may be.
    longest: bool,
}

impl Arbitrary for Key {
    fn arbitrary(g: &mut Gen) -> Key {
        let zeros = *g.choose(&[0, 0, 0, 1, 2]).unwrap_or(&0);
        Key { stem: u8::arbitrary(g), zeros, longest: u8::arbitrary(g) % 12 == 0 }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Key>> {
        let plain = Key { stem: self.stem, zeros: 0, longest: false };
        let smaller = self.stem.shrink().map({
            let key = self.clone();
            move |stem| Key { stem, ..key }
        });
        if self.zeros > 0 || self.longest { Box::new(std::iter::once(plain).chain(smaller)) } else { Box::new(smaller) }
    }
}

impl Key {
    fn bytes(&self, max: usize) -> Vec<u8> {
        let mut key = match self.stem {
            0 => Vec::new(),
            1 => vec![0xff],
            2 => vec![0xff, 0xff],
            stem => format!("key {:02}", stem % 60).into_bytes(),
        };
        key.resize(key.len() + usize::from(self.zeros), 0);
        if self.longest {
            key.resize(max, if self.zeros == 0 { 0 } else { 0xff });
        }
        key
    }
}

#[derive(Clone, Debug)]
enum End {
    Open,
    Including(Key),
    Excluding(Key),
}

impl Arbitrary for End {
    fn arbitrary(g: &mut Gen) -> End {
        match u8::arbitrary(g) % 5 {
            0 => End::Open,
            1 | 2 => End::Including(Key::arbitrary(g)),
            _ => End::Excluding(Key::arbitrary(g)),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = End>> {
        match self {
            End::Open => quickcheck::empty_shrinker(),
            End::Including(key) => Box::new(std::iter::once(End::Open).chain(key.shrink().map(End::Including))),
            End::Excluding(key) => Box::new(std::iter::once(End::Open).chain(key.shrink().map(End::Excluding))),
        }
    }
}

impl End {
    fn bound(&self, max: usize) -> Bound<Vec<u8>> {
        match self {
            End::Open => Bound::Unbounded,
            End::Including(key) => Bound::Included(key.bytes(max)),
            End::Excluding(key) => Bound::Excluded(key.bytes(max)),
        }
    }
}

/// A change on the way: a key, and the length of its new value or none.
type Change = (Key, Option<u16>);

#[derive(Clone, Debug)]
enum Op {
    Put(Key, u16),
    Cut(Key),
    /// Reads the range by turns from the front (true) and the back, changing something after each.
    Walk(End, End, Vec<bool>, Vec<Change>),
    /// As `Walk`, in the callback of a scan, or of a scan backwards (true).
    Scan(End, End, bool, Vec<Change>),
    RemoveRange(End, End),
    /// Every type a range may be of.
    Types(Key, Key),
    /// The ends, and whether to pop the first, or the last (true).
    Ends(Option<bool>),
    /// `get_with`, `get_many` and `fetch_update` with functions that change the tree.
    GetWith(Key, Vec<Change>),
    GetMany(Vec<Key>, Vec<Change>),
    Update(Key, Option<u16>, Vec<Change>),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Op {
        let changes = |g: &mut Gen| {
            let n = u8::arbitrary(g) % 6;
            (0..n).map(|_| (Key::arbitrary(g), Option::arbitrary(g))).collect()
        };
        match u8::arbitrary(g) % 24 {
            0..=7 => Op::Put(Key::arbitrary(g), u16::arbitrary(g)),
            8 => Op::Cut(Key::arbitrary(g)),
            9..=12 => Op::Walk(End::arbitrary(g), End::arbitrary(g), Vec::arbitrary(g), changes(g)),
            13 | 14 => Op::Scan(End::arbitrary(g), End::arbitrary(g), bool::arbitrary(g), changes(g)),
            15 => Op::RemoveRange(End::arbitrary(g), End::arbitrary(g)),
            16 | 17 => Op::Types(Key::arbitrary(g), Key::arbitrary(g)),
            18 => Op::Ends(Option::arbitrary(g)),
            19 | 20 => Op::GetWith(Key::arbitrary(g), changes(g)),
            21 => Op::GetMany(Vec::arbitrary(g), changes(g)),
            _ => Op::Update(Key::arbitrary(g), Option::arbitrary(g), changes(g)),
        }
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Op>> {
        match self.clone() {
            Op::Put(key, n) => Box::new((key, n).shrink().map(|(key, n)| Op::Put(key, n))),
            Op::Cut(key) => Box::new(key.shrink().map(Op::Cut)),
            Op::Walk(a, b, turns, changes) => {
                Box::new((a, b, turns, changes).shrink().map(|(a, b, t, c)| Op::Walk(a, b, t, c)))
            }
            Op::Scan(a, b, down, changes) => {
                Box::new((a, b, changes).shrink().map(move |(a, b, c)| Op::Scan(a, b, down, c)))
            }
            Op::RemoveRange(a, b) => Box::new((a, b).shrink().map(|(a, b)| Op::RemoveRange(a, b))),
            Op::Types(a, b) => Box::new((a, b).shrink().map(|(a, b)| Op::Types(a, b))),
            Op::Ends(_) => quickcheck::empty_shrinker(),
            Op::GetWith(key, changes) => Box::new((key, changes).shrink().map(|(k, c)| Op::GetWith(k, c))),
            Op::GetMany(keys, changes) => Box::new((keys, changes).shrink().map(|(k, c)| Op::GetMany(k, c))),
            Op::Update(key, n, changes) => Box::new((key, n, changes).shrink().map(|(k, n, c)| Op::Update(k, n, c))),
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    let cut = |value: &T| format!("{value:?}").chars().take(400).collect::<String>();
    Err(format!("{what}: found {}, expected {}", cut(&found), cut(&expected)))
}

fn text(error: pagebox::Error) -> String {
    error.to_string()
}

fn within(key: &[u8], low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> bool {
    let above = match low {
        Bound::Included(low) => key >= &low[..],
        Bound::Excluded(low) => key > &low[..],
        Bound::Unbounded => true,
    };
    above
        && match high {
            Bound::Included(high) => key <= &high[..],
            Bound::Excluded(high) => key < &high[..],
            Bound::Unbounded => true,
        }
}

/// A tree, its model, and the longest key.
struct Bed {
    store: Store,
    tree: Tree,
    model: Model,
    max: usize,
    /// Makes every value another.
    count: u32,
}

/// The model before a walk, and what was changed on the way.
struct Before {
    model: Model,
    /// Every value a key had since.
    since: BTreeMap<Vec<u8>, BTreeSet<Option<Vec<u8>>>>,
}

impl Bed {
    fn new(dir: &std::path::Path) -> Result<Bed, String> {
        static FOUND: OnceLock<(usize, usize)> = OnceLock::new();
        let options = Store::options().page_size(4096).durability(Durability::Manual);
        let options = options.log_segment_bytes(256 << 10).max_log_bytes(2 << 20);
        let (memory, max) = *FOUND.get_or_init(|| {
            let memory = smallest_on_files(&options);
            let other = tempfile::tempdir().expect("a directory");
            let store = options.clone().memory(memory).open(other.path()).expect("a store");
            match store.tree("t").and_then(|tree| tree.insert(vec![0; 1 << 20], b"")) {
                Err(pagebox::Error::KeyTooLarge { max, .. }) => (memory, max),
                other => panic!("a key of 1 MiB: {other:?}"),
            }
        });
        let store = options.memory(memory).open(dir).map_err(text)?;
        let tree = store.tree("t").map_err(text)?;
        let mut bed = Bed { store, tree, model: Model::new(), max, count: 0 };
        // Some forty leaves to begin with.
        for stem in 3..60 {
            bed.put(&Key { stem, zeros: stem % 2, longest: false }, 900)?;
        }
        Ok(bed)
    }

    fn value(&mut self, n: u16) -> Vec<u8> {
        self.count += 1;
        let mut value = self.count.to_le_bytes().to_vec();
        value.resize(4 + usize::from(n) % 1000, b'.');
        value
    }

    fn put(&mut self, key: &Key, n: u16) -> Outcome {
        let (key, value) = (key.bytes(self.max), self.value(n));
        let new = self.tree.insert(&key, &value).map_err(text)?;
        same("insert", new, self.model.insert(key, value).is_none())
    }

    /// Makes a change in tree and model, of a kind that the number of changes so far decides.
    fn change(&mut self, change: &Change, before: &mut Before) -> Outcome {
        let (key, value) = (change.0.bytes(self.max), change.1.map(|n| self.value(n)));
        match &value {
            Some(value) if self.count.is_multiple_of(3) => {
                self.store.apply(Batch::new().insert(&self.tree, &key, value)).map_err(text)?;
            }
            Some(value) => drop(self.tree.insert(&key, value).map_err(text)?),
            None if self.count.is_multiple_of(3) => drop(self.tree.remove_range(&key..=&key).map_err(text)?),
            None => drop(self.tree.remove(&key).map_err(text)?),
        }
        before.since.entry(key.clone()).or_default().insert(value.clone());
        match value {
            Some(value) => drop(self.model.insert(key, value)),
            None => drop(self.model.remove(&key)),
        }
        Ok(())
    }

    fn before(&self) -> Before {
        Before { model: self.model.clone(), since: BTreeMap::new() }
    }

    fn step(&mut self, op: &Op) -> Outcome {
        let max = self.max;
        match op {
            Op::Put(key, n) => self.put(key, *n),
            Op::Cut(key) => {
                let key = key.bytes(max);
                same("remove", self.tree.remove(&key).map_err(text)?, self.model.remove(&key).is_some())
            }
            Op::Walk(low, high, turns, changes) => self.walk(low.bound(max), high.bound(max), turns, changes),
            Op::Scan(low, high, down, changes) => self.scan(low.bound(max), high.bound(max), *down, changes),
            Op::RemoveRange(low, high) => {
                let (low, high) = (low.bound(max), high.bound(max));
                let removed = self.tree.remove_range((low.clone(), high.clone())).map_err(text)?;
                let there = self.model.len();
                self.model.retain(|key, _| !within(key, &low, &high));
                same("remove_range", removed, (there - self.model.len()) as u64)
            }
            Op::Types(a, b) => self.types(&a.bytes(max), &b.bytes(max)),
            Op::Ends(pop) => self.ends(*pop),
            Op::GetWith(key, changes) => self.get_with(&key.bytes(max), changes),
            Op::GetMany(keys, changes) => self.get_many(keys, changes),
            Op::Update(key, n, changes) => self.update(&key.bytes(max), *n, changes),
        }
    }

    fn walk(&mut self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>, turns: &[bool], changes: &[Change]) -> Outcome {
        let mut range = self.tree.range((low.clone(), high.clone()));
        let (mut before, mut front, mut back) = (self.before(), Vec::new(), Vec::new());
        let turns = if turns.is_empty() { &[true] } else { turns };
        let mut changes = changes.iter();
        for turn in turns.iter().cycle() {
            let next = if *turn { range.next() } else { range.next_back() };
            let Some(pair) = next else { break };
            if *turn { &mut front } else { &mut back }.push(pair.map_err(text)?);
            if let Some(change) = changes.next() {
                self.change(change, &mut before)?;
            }
        }
        // At its end it stays there, at both.
        same("a range behind its end", (range.next().is_none(), range.next_back().is_none()), (true, true))?;
        same("a range behind its end, again", (range.next_back().is_none(), range.next().is_none()), (true, true))?;
        front.extend(back.into_iter().rev());
        judge("range", &before, front, &low, &high)
    }

    fn scan(&mut self, low: Bound<Vec<u8>>, high: Bound<Vec<u8>>, down: bool, changes: &[Change]) -> Outcome {
        let (mut before, mut met, mut outcome) = (self.before(), Vec::new(), Ok(()));
        let (tree, range, mut changes) = (self.tree.clone(), (low.clone(), high.clone()), changes.iter());
        let visit = |key: &[u8], value: &[u8]| {
            met.push((key.to_vec(), value.to_vec()));
            if let Some(change) = changes.next() {
                outcome = self.change(change, &mut before);
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        if down { tree.scan_rev(range, visit) } else { tree.scan(range, visit) }.map_err(text)?;
        outcome?;
        if down {
            met.reverse();
        }
        judge("scan", &before, met, &low, &high)?;
        // Breaking off ends it at once.
        let mut calls = 0;
        let stop = |_: &[u8], _: &[u8]| {
            calls += 1;
            if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let range = (low.clone(), high.clone());
        if down { tree.scan_rev(range, stop) } else { tree.scan(range, stop) }.map_err(text)?;
        same("calls of a scan that breaks", calls, self.model.keys().filter(|k| within(k, &low, &high)).count().min(2))
    }

    fn types(&self, a: &[u8], b: &[u8]) -> Outcome {
        fn one(bed: &Bed, what: &str, range: impl KeyRange, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Outcome {
            let (low, high) = (low.map(<[u8]>::to_vec), high.map(<[u8]>::to_vec));
            let found = bed.tree.range(range).collect::<Result<Vec<_>, _>>().map_err(text)?;
            let expected = bed.model.iter().filter(|(key, _)| within(key, &low, &high));
            same(what, found, expected.map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        use Bound::{Excluded, Included, Unbounded};
        one(self, "a..b", a..b, Included(a), Excluded(b))?;
        one(self, "b..a", b.to_vec()..a.to_vec(), Included(b), Excluded(a))?;
        one(self, "a..=b", a..=b, Included(a), Included(b))?;
        one(self, "a..", a.., Included(a), Unbounded)?;
        one(self, "..b", ..b, Unbounded, Excluded(b))?;
        one(self, "..=b", ..=b, Unbounded, Included(b))?;
        one(self, "..", .., Unbounded, Unbounded)?;
        one(self, "a..a", a..a, Included(a), Excluded(a))?;
        one(self, "a..=a", a..=a, Included(a), Included(a))?;
        one(self, "above a, below a", (Excluded(a), Excluded(a)), Excluded(a), Excluded(a))?;
        one(self, "above a, to a", (Excluded(a), Included(a)), Excluded(a), Included(a))?;
        one(self, "above a, to b", (Excluded(a), Included(b)), Excluded(a), Included(b))?;
        let prefix = &a[..a.len().min(5)];
        let found = self.tree.prefix(prefix).collect::<Result<Vec<_>, _>>().map_err(text)?;
        let expected = self.model.iter().filter(|(key, _)| key.starts_with(prefix));
        same("prefix", found, expected.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn ends(&mut self, pop: Option<bool>) -> Outcome {
        let own = |pair: Option<(&Vec<u8>, &Vec<u8>)>| pair.map(|(k, v)| (k.clone(), v.clone()));
        same("first", self.tree.first().map_err(text)?, own(self.model.first_key_value()))?;
        same("last", self.tree.last().map_err(text)?, own(self.model.last_key_value()))?;
        match pop {
            None => Ok(()),
            Some(false) => same("pop_first", self.tree.pop_first().map_err(text)?, self.model.pop_first()),
            Some(true) => same("pop_last", self.tree.pop_last().map_err(text)?, self.model.pop_last()),
        }
    }

    /// What it is called with stays as it was, whatever it does to the tree.
    fn get_with(&mut self, key: &[u8], changes: &[Change]) -> Outcome {
        let (tree, mut before, mut calls, mut outcome) = (self.tree.clone(), self.before(), 0, Ok(()));
        let found = tree.get_with(key, |value| {
            calls += 1;
            outcome = changes.iter().try_for_each(|change| self.change(change, &mut before));
            // One within the other: the inner one sees what is there now.
            let inner = tree.get_with(key, <[u8]>::to_vec).map_err(text);
            let now = self.model.get(key).cloned();
            outcome = std::mem::replace(&mut outcome, Ok(())).and_then(|()| same("get_with within", inner?, now));
            value.to_vec()
        });
        same("get_with", found.map_err(text)?, before.model.get(key).cloned())?;
        same("calls of get_with", calls, usize::from(before.model.contains_key(key)))?;
        outcome
    }

    fn get_many(&mut self, keys: &[Key], changes: &[Change]) -> Outcome {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.bytes(self.max)).collect();
        let (tree, mut before, mut found, mut outcome) = (self.tree.clone(), self.before(), Vec::new(), Ok(()));
        let mut changes = changes.iter();
        tree.get_many(&keys, |i, value| {
            found.push((i, value.map(<[u8]>::to_vec)));
            if let Some(change) = changes.next() {
                outcome = std::mem::replace(&mut outcome, Ok(())).and_then(|()| self.change(change, &mut before));
            }
        })
        .map_err(text)?;
        outcome?;
        found.sort();
        same("indices of get_many", found.iter().map(|(i, _)| *i).collect(), (0..keys.len()).collect::<Vec<_>>())?;
        for (i, value) in found {
            if !before.allows(&keys[i], &value) {
                return Err(format!("get_many: key {i} never had {value:?}"));
            }
        }
        Ok(())
    }

    /// The function changes the very key, so that it has to run again, and what it saw last is what counts.
    fn update(&mut self, key: &[u8], n: Option<u16>, changes: &[Change]) -> Outcome {
        let (tree, mut before, mut outcome) = (self.tree.clone(), self.before(), Ok(()));
        let (mut seen, mut changes) = (Vec::new(), changes.iter());
        let new = n.map(|n| self.value(n));
        let old = tree.fetch_update(key, |old| {
            seen.push(old.map(<[u8]>::to_vec));
            if let Some(change) = changes.next() {
                outcome = std::mem::replace(&mut outcome, Ok(())).and_then(|()| self.change(change, &mut before));
            }
            new.clone()
        });
        outcome?;
        let old = old.map_err(text)?;
        same("what fetch_update found", &old, &self.model.get(key).cloned())?;
        same("what its function saw last", seen.last(), Some(&old))?;
        match new {
            Some(value) => drop(self.model.insert(key.to_vec(), value)),
            None => drop(self.model.remove(key)),
        }
        Ok(())
    }
}

impl Before {
    /// Whether the key had this value at some moment.
    fn allows(&self, key: &[u8], value: &Option<Vec<u8>>) -> bool {
        self.model.get(key) == value.as_ref() || self.since.get(key).is_some_and(|since| since.contains(value))
    }
}

/// What a walk met, in ascending order: what stayed as it was exactly, of the rest only what was there at some moment.
fn judge(what: &str, before: &Before, met: Vec<Pair>, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) -> Outcome {
    if !met.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(format!("{what}: out of order or twice: {:?}", met.iter().map(|(key, _)| key).collect::<Vec<_>>()));
    }
    for (key, value) in &met {
        if !within(key, low, high) || !before.allows(key, &Some(value.clone())) {
            return Err(format!("{what}: {key:?} is out of bounds, or never had {value:?}"));
        }
    }
    let stayed = |key: &[u8]| within(key, low, high) && !before.since.contains_key(key);
    let found: Vec<_> = met.into_iter().filter(|(key, _)| stayed(key)).collect();
    let expected = before.model.iter().filter(|(key, _)| stayed(key));
    same(what, found, expected.map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn sequence(ops: &[Op]) -> Outcome {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut bed = Bed::new(dir.path())?;
    for (n, op) in ops.iter().enumerate() {
        bed.step(op).map_err(|e| format!("step {n}, {op:?}: {e}"))?;
    }
    bed.store.check().map_err(text)?;
    bed.types(b"", b"")
}

#[test]
fn ranges_and_callbacks_behave_as_a_map() {
    fn property(ops: Vec<Op>) -> TestResult {
        sequence(&ops).map_or_else(TestResult::error, |()| TestResult::passed())
    }
    QuickCheck::new().tests(60).max_tests(120).rng(Gen::new(120)).quickcheck(property as fn(Vec<Op>) -> TestResult);
}
