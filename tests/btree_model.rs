//! The tree against `BTreeMap`, in a pool of 32 frames, with keys and values at and around every limit; every run also
//! through redo of its log, and with the pages of the tree against the pages that the log allocated.

mod btree_support;

use btree_support::{Bed, PAGE_SIZE, redo};
use pagebox::btree::{BTree, BatchAction, BatchOp};
use pagebox::{Error, PageKind, wal::Record};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
struct Key {
    stem: Vec<u8>,
    pad: usize,
}

impl Arbitrary for Key {
    fn arbitrary(g: &mut Gen) -> Key {
        let letters = [0u8, 1, b'a', b'b', b'c', 0xff];
        let n = usize::arbitrary(g) % 5;
        let stem = (0..n).map(|_| *g.choose(&letters).unwrap()).collect();
        Key { stem, pad: *g.choose(&[0, 0, 0, 0, 1, 3, 4, 5, 17, 100, usize::MAX - 1, usize::MAX]).unwrap() }
    }
}

impl Key {
    fn bytes(&self, max: usize) -> Vec<u8> {
        let mut key = self.stem.clone();
        let pad = match self.pad {
            usize::MAX => max - key.len(),
            p if p == usize::MAX - 1 => max - key.len() - 1,
            p => p,
        };
        key.extend(std::iter::repeat_n(b'p', pad));
        key
    }
}

#[derive(Clone, Debug)]
struct Value(usize, u8);

impl Arbitrary for Value {
    fn arbitrary(g: &mut Gen) -> Value {
        let sizes = [0, 1, 8, 50, 150, 150, 300, 700, 1500, usize::MAX - 1, usize::MAX];
        Value(*g.choose(&sizes).unwrap(), u8::arbitrary(g))
    }
}

impl Value {
    fn bytes(&self, max: usize) -> Vec<u8> {
        let n = match self.0 {
            usize::MAX => max,
            n if n == usize::MAX - 1 => max - 1,
            n => n.min(max),
        };
        vec![self.1; n]
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Key, Value),
    Replace(Key, Value),
    Remove(Key),
    Take(Key),
    Cas(Key, bool, Option<Value>),
    Get(Key),
    Range(Key, Key, bool),
    RemoveRun(Key, u8),
    Batch(Vec<(Key, Option<Value>)>, bool),
    /// That many records behind all others, with values and the lengths of the keys in turn; one too many out of order?
    Load(u16, Vec<Value>, Vec<u8>, bool),
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Op {
        match u8::arbitrary(g) % 17 {
            16 => {
                Op::Load(u16::arbitrary(g) % 200, Arbitrary::arbitrary(g), Arbitrary::arbitrary(g), bool::arbitrary(g))
            }
            0..=6 => Op::Insert(Key::arbitrary(g), Value::arbitrary(g)),
            7 => Op::Replace(Key::arbitrary(g), Value::arbitrary(g)),
            8 | 9 => Op::Remove(Key::arbitrary(g)),
            10 => Op::Take(Key::arbitrary(g)),
            11 => Op::Cas(Key::arbitrary(g), bool::arbitrary(g), Option::arbitrary(g)),
            12 => Op::Get(Key::arbitrary(g)),
            13 => Op::Range(Key::arbitrary(g), Key::arbitrary(g), bool::arbitrary(g)),
            14 => Op::RemoveRun(Key::arbitrary(g), u8::arbitrary(g)),
            _ => {
                let n = usize::arbitrary(g) % 12;
                Op::Batch((0..n).map(|_| Arbitrary::arbitrary(g)).collect(), bool::arbitrary(g))
            }
        }
    }
}

/// Values up to a few pages: those from half a page on lie outside of the leaves.
fn longest(tree: &BTree) -> usize {
    3 * tree.pool().page_size()
}

fn step(tree: &BTree, model: &mut Model, op: &Op) {
    let max = tree.max_key();
    let bytes = |key: &Key, value: &Value| {
        let key = key.bytes(max);
        let value = value.bytes(longest(tree));
        (key, value)
    };
    match op {
        Op::Insert(key, value) => {
            let (key, value) = bytes(key, value);
            let changed = tree.insert(&key, &value).unwrap();
            assert_eq!(changed.existed, model.insert(key, value).is_some());
        }
        Op::Replace(key, value) => {
            let ((key, value), mut before) = (bytes(key, value), Vec::new());
            let changed = tree.replace(&key, &value, &mut before).unwrap();
            assert_eq!(changed.existed.then_some(before), model.insert(key, value));
        }
        Op::Remove(key) => {
            let key = key.bytes(max);
            assert_eq!(tree.remove(&key).unwrap().existed, model.remove(&key).is_some());
        }
        Op::Take(key) => {
            let (key, mut before) = (key.bytes(max), Vec::new());
            let changed = tree.take(&key, &mut before).unwrap();
            assert_eq!(changed.existed.then_some(before), model.remove(&key));
        }
        Op::Cas(key, right, new) => {
            let key = key.bytes(max);
            let new = new.as_ref().map(|value| value.bytes(longest(tree)));
            let current = model.get(&key).cloned();
            let wrong = if current.is_some() { None } else { Some(b"no such value".to_vec()) };
            let old = if *right { current.clone() } else { wrong };
            let outcome = tree.compare_and_swap(&key, old.as_deref(), new.as_deref()).unwrap();
            assert_eq!((outcome.swapped, outcome.current), (*right, current));
            if *right {
                match new {
                    Some(new) => model.insert(key, new),
                    None => model.remove(&key),
                };
            }
        }
        Op::Get(key) => {
            let key = key.bytes(max);
            assert_eq!(tree.get(&key).unwrap(), model.get(&key).cloned());
            assert_eq!(tree.contains_key(&key).unwrap(), model.contains_key(&key));
        }
        Op::Range(low, high, down) => ranges(tree, model, &low.bytes(max), &high.bytes(max), *down),
        Op::RemoveRun(key, n) => {
            let low = key.bytes(max);
            let keys: Vec<Vec<u8>> = model.range(low..).take(usize::from(*n)).map(|(key, _)| key.clone()).collect();
            for key in keys {
                assert!(tree.remove(&key).unwrap().existed);
                model.remove(&key);
            }
        }
        Op::Batch(changes, fails) => batch(tree, model, changes, *fails),
        Op::Load(n, values, lens, fails) => load(tree, model, *n, values, lens, *fails),
    }
}

/// Above every key that is made otherwise.
const LOADED: [u8; 5] = [0xff; 5];

fn load(tree: &BTree, model: &mut Model, n: u16, values: &[Value], lens: &[u8], fails: bool) {
    let last = model.keys().next_back().and_then(|key| key.strip_prefix(&LOADED));
    let next = last.map_or(0, |rest| u32::from_be_bytes(rest[..4].try_into().unwrap()) + 1);
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for i in 0..u32::from(n) {
        let mut key = [&LOADED[..], &(next + i).to_be_bytes()].concat();
        let len = lens.get(i as usize % lens.len().max(1)).copied().unwrap_or(0);
        key.resize(key.len() + usize::from(len) * usize::from(len) / 128, b'l');
        let value = values.get(i as usize % values.len().max(1)).map_or(Vec::new(), |v| v.bytes(longest(tree)));
        records.push((key, value));
    }
    let wrong = fails.then(|| match records.last() {
        Some((key, _)) => key.clone(),
        None => model.keys().next_back().cloned().unwrap_or_default(),
    });
    let mut bulk = tree.bulk_load();
    for (key, value) in &records {
        bulk.put(key, value).unwrap();
        if bulk.is_due() {
            bulk.advance().unwrap();
        }
    }
    if let Some(wrong) = wrong.filter(|_| !records.is_empty() || !model.is_empty()) {
        assert!(matches!(bulk.put(&wrong, b""), Err(Error::Unsorted { index, .. }) if index == u64::from(n)));
    }
    assert_eq!(bulk.finish().unwrap().0, u64::from(n));
    model.extend(records);
}

fn ranges(tree: &BTree, model: &Model, low: &[u8], high: &[u8], down: bool) {
    let expected: Vec<(Vec<u8>, Vec<u8>)> = if low < high {
        model.range(low.to_vec()..high.to_vec()).map(|(k, v)| (k.clone(), v.clone())).collect()
    } else {
        Vec::new()
    };
    let mut met: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    if down {
        met.extend(tree.range(low, Some(high)).rev().map(Result::unwrap));
        met.reverse();
    } else {
        // From both ends in turns.
        let (mut range, mut back) = (tree.range(low, Some(high)), Vec::new());
        while let Some(pair) = range.next() {
            met.push(pair.unwrap());
            back.extend(range.next_back().map(Result::unwrap));
        }
        assert!(range.next_back().is_none());
        met.extend(back.into_iter().rev());
    }
    assert_eq!(met, expected);
    let mut scanned = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        scanned.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    if down {
        tree.scan_rev(low, Some(high), &mut visit).unwrap();
        scanned.reverse();
    } else {
        tree.scan(low, Some(high), &mut visit).unwrap();
    }
    assert_eq!(scanned, expected);
}

fn batch(tree: &BTree, model: &mut Model, changes: &[(Key, Option<Value>)], fails: bool) {
    let changes: Vec<(Vec<u8>, Option<Vec<u8>>)> = changes
        .iter()
        .map(|(key, value)| {
            let key = key.bytes(tree.max_key());
            let value = value.as_ref().map(|value| value.bytes(longest(tree)));
            (key, value)
        })
        .collect();
    let mut ops = Vec::new();
    for (key, _) in &changes {
        ops.push(BatchOp { tree, key, action: BatchAction::Require(model.get(key).map(Vec::as_slice)) });
    }
    for (key, value) in &changes {
        let action = value.as_deref().map_or(BatchAction::Remove, BatchAction::Insert);
        ops.push(BatchOp { tree, key, action });
    }
    if fails {
        ops.push(BatchOp { tree, key: b"ab", action: BatchAction::Require(Some(b"what nobody ever wrote")) });
    }
    match BTree::apply(&ops) {
        Ok(outcome) if fails => assert_eq!(outcome.conflict, Some(ops.len() - 1)),
        Ok(outcome) => {
            assert_eq!(outcome.conflict, None);
            for (key, value) in changes {
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
        }
        Err(Error::BatchTooLarge { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn agree(bed: &Bed, model: &Model) {
    let all: Vec<_> = bed.tree.iter().map(Result::unwrap).collect();
    let expected: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    assert!(all == expected, "{} pairs, {} expected", all.len(), expected.len());
    assert_eq!(bed.tree.len().unwrap(), model.len() as u64);
    assert_eq!(bed.tree.first().unwrap(), expected.first().cloned());
    assert_eq!(bed.tree.last().unwrap(), expected.last().cloned());
}

#[test]
fn behaves_as_a_map() {
    fn property(ops: Vec<Op>) -> bool {
        let bed = Bed::new(4096, 32);
        let mut model = Model::new();
        for op in &ops {
            step(&bed.tree, &mut model, op);
        }
        agree(&bed, &model);
        bed.check(&[&bed.tree]);
        bed.check_redo(&[&bed.tree]);
        true
    }
    QuickCheck::new().rng(Gen::new(600)).tests(100).quickcheck(property as fn(Vec<Op>) -> bool);
}

#[test]
fn behaves_as_a_map_on_large_pages() {
    fn property(ops: Vec<Op>) -> bool {
        PAGE_SIZE.set(65536);
        let bed = Bed::new(65536, 32);
        let mut model = Model::new();
        for op in &ops {
            step(&bed.tree, &mut model, op);
        }
        agree(&bed, &model);
        bed.check(&[&bed.tree]);
        bed.check_redo(&[&bed.tree]);
        true
    }
    QuickCheck::new().rng(Gen::new(400)).tests(20).quickcheck(property as fn(Vec<Op>) -> bool);
}

fn numbered(i: u64) -> Vec<u8> {
    format!("key{:013}", i).into_bytes()
}

/// Twenty times what the pool holds, in a scattered order.
#[test]
fn more_than_memory_comes_and_goes() {
    let bed = Bed::new(4096, 32);
    let n = 15_000u64;
    let scattered = |i: u64| numbered(i * 7919 % n);
    for i in 0..n {
        assert!(!bed.tree.insert(&scattered(i), &[i as u8; 150]).unwrap().existed);
    }
    bed.check(&[&bed.tree]);
    let pages = bed.tree.check().unwrap().pages.len();
    assert!(pages > 20 * 32, "{pages}");
    for i in (0..n).step_by(7) {
        assert_eq!(bed.tree.get(&scattered(i)).unwrap(), Some(vec![i as u8; 150]));
    }
    for i in 0..n {
        assert!(bed.tree.remove(&scattered(i)).unwrap().existed);
    }
    bed.check(&[&bed.tree]);
    assert!(bed.tree.is_empty().unwrap());
    let left = bed.tree.check().unwrap().pages.len();
    assert!(left < 4, "{left} pages are left of an empty tree of {pages}");
}

/// A queue: the front is removed, the back grows. Its pages must not pile up.
#[test]
fn a_queue_stays_small() {
    let bed = Bed::new(4096, 32);
    for i in 0..6_000u64 {
        bed.tree.insert(&numbered(i), &[1; 100]).unwrap();
        if i >= 200 {
            assert!(bed.tree.remove(&numbered(i - 200)).unwrap().existed);
        }
    }
    bed.check(&[&bed.tree]);
    let pages = bed.tree.check().unwrap().pages.len();
    assert!(pages <= 24, "{pages} pages for 200 records");
}

#[test]
fn sorted_loads_fill_their_pages() {
    for descending in [false, true] {
        let bed = Bed::new(4096, 64);
        let n = 8_000u64;
        for i in 0..n {
            let i = if descending { n - i } else { i };
            bed.tree.insert(&numbered(i), &[1; 100]).unwrap();
        }
        bed.check(&[&bed.tree]);
        let check = bed.tree.check().unwrap();
        let per_page = check.used_bytes as f64 / check.pages.len() as f64 / (4096.0 - 128.0);
        assert!(per_page > 0.95, "descending {descending}: {per_page}");
    }
}

#[test]
fn limits_are_errors_and_what_is_below_them_works() {
    for size in [4096, 8192, 16384, 32768, 65536] {
        let bed = Bed::new(size, 32);
        let max = bed.tree.max_key();
        let longest = vec![b'k'; max];
        assert!(matches!(
            bed.tree.insert(&vec![b'k'; max + 1], b""),
            Err(Error::KeyTooLarge { len, max: m, .. }) if len == max + 1 && m == max
        ));
        for (key, more) in [(&longest[..], 0), (&longest[..], 1), (b"", 0), (b"", 1)] {
            let value = vec![1; bed.tree.max_inline_value(key.len()) + more];
            bed.tree.insert(key, &value).unwrap();
            assert_eq!(bed.tree.get(key).unwrap(), Some(value));
            let check = bed.tree.check().unwrap();
            assert_eq!(check.values.len(), more, "only what is longer has pages of its own");
            assert!(bed.tree.remove(key).unwrap().existed);
        }
        assert_eq!(bed.tree.get(&vec![b'k'; max + 1]).unwrap(), None);
        bed.check(&[&bed.tree]);
    }
}

/// An insert that splits nothing costs at most 32 bytes of log beside its key and value.
#[test]
fn an_insert_logs_little_beside_its_record() {
    let bed = Bed::new(16384, 32);
    bed.tree.insert(&[1; 24], &[2; 150]).unwrap();
    let bytes = bed.log.records().last().unwrap().1.len();
    assert!(bytes <= 24 + 150 + 32, "{bytes}");
}

/// B3: a split that lost the second of its pages must be found out, by the check and by the comparison with redo.
#[test]
fn a_split_record_without_its_new_page_is_noticed() {
    let bed = Bed::new(4096, 32);
    for i in 0..500 {
        bed.tree.insert(&numbered(i), &[3; 100]).unwrap();
    }
    bed.check_redo(&[&bed.tree]);
    let mut records = bed.log.records();
    let inits = |bytes: &[u8]| {
        let (record, _) = Record::decode(bytes, pagebox::Lsn::NONE).unwrap();
        let made: Vec<_> = record.parts().filter(|part| part.kind == PageKind::BTREE && part.init).collect();
        made.first().map(|part| part.page)
    };
    let (at, lost) = records.iter().enumerate().skip(20).find_map(|(i, (_, r))| inits(r).map(|id| (i, id))).unwrap();
    let (lsn, bytes) = &records[at];
    let (record, _) = Record::decode(bytes, *lsn).unwrap();
    let mut shorter = Vec::new();
    let mut builder = pagebox::wal::RecordBuilder::new(&mut shorter);
    for part in record.parts().filter(|part| part.kind != PageKind::SPACE && part.page != lost) {
        builder.begin_part(part.kind, part.op, part.class, part.init, part.page);
        builder.extend_from_slice(part.payload);
    }
    builder.finish();
    records[at].1 = shorter;
    let noticed = std::panic::catch_unwind(|| {
        let pages = redo(&records, &[]);
        assert!(pages.contains_key(&lost));
    });
    assert!(noticed.is_err(), "redo went on without a page that a split made");
}

#[test]
fn batches_span_trees_and_make_their_own_room() {
    let bed = Bed::new(4096, 64);
    let other = bed.second_tree(8);
    let keys: Vec<Vec<u8>> = (0..150).map(numbered).collect();
    let value = [9u8; 120];
    let mut ops = Vec::new();
    for key in &keys {
        for tree in [&other, &bed.tree] {
            ops.push(BatchOp { tree, key, action: BatchAction::Insert(b"overruled") });
            ops.push(BatchOp { tree, key, action: BatchAction::Insert(&value) });
        }
    }
    assert_eq!(BTree::apply(&ops).unwrap().conflict, None);
    for tree in [&bed.tree, &other] {
        assert_eq!(tree.len().unwrap(), 150);
        assert_eq!(tree.get(&keys[77]).unwrap(), Some(value.to_vec()));
    }
    bed.check(&[&bed.tree, &other]);
    bed.check_redo(&[&bed.tree, &other]);
    // One record for all of it, whatever splits came before.
    let (lsn, last) = bed.log.records().pop().unwrap();
    assert_eq!(Record::decode(&last, lsn).unwrap().0.parts().count(), 300);
    // One requirement that does not hold: nothing happens.
    let ops = [
        BatchOp { tree: &bed.tree, key: b"new", action: BatchAction::Insert(b"1") },
        BatchOp { tree: &other, key: &keys[0], action: BatchAction::Require(None) },
    ];
    assert_eq!(BTree::apply(&ops).unwrap().conflict, Some(1));
    assert_eq!(bed.tree.get(b"new").unwrap(), None);
    let foreign = Bed::new(4096, 32);
    let ops = [
        BatchOp { tree: &bed.tree, key: b"new", action: BatchAction::Remove },
        BatchOp { tree: &foreign.tree, key: b"new", action: BatchAction::Remove },
    ];
    assert!(matches!(BTree::apply(&ops), Err(Error::InvalidOption { .. })));
}

#[test]
fn batches_beyond_the_bounds_are_refused_and_change_nothing() {
    let bed = Bed::new(4096, 32);
    for i in 0..3_000 {
        bed.tree.insert(&numbered(i), &[1; 100]).unwrap();
    }
    let keys: Vec<Vec<u8>> = (0..3_000).step_by(30).map(numbered).collect();
    let ops: Vec<_> =
        keys.iter().map(|key| BatchOp { tree: &bed.tree, key, action: BatchAction::Insert(b"x") }).collect();
    assert!(matches!(BTree::apply(&ops), Err(Error::BatchTooLarge { .. })));
    let large = vec![1; 1000];
    let keys: Vec<Vec<u8>> = (0..1_100).map(numbered).collect();
    let ops: Vec<_> =
        keys.iter().map(|key| BatchOp { tree: &bed.tree, key, action: BatchAction::Insert(&large) }).collect();
    assert!(matches!(BTree::apply(&ops), Err(Error::BatchTooLarge { .. })));
    assert_eq!(bed.tree.get(&numbered(0)).unwrap(), Some(vec![1; 100]));
    bed.check(&[&bed.tree]);
}

/// The same queue, emptied by batches.
#[test]
fn a_queue_emptied_by_batches_stays_small() {
    let bed = Bed::new(4096, 32);
    for i in 0..6_000u64 {
        bed.tree.insert(&numbered(i), &[1; 100]).unwrap();
        if i > 200 && i % 10 == 9 {
            let keys: Vec<Vec<u8>> = (i - 209..i - 199).map(numbered).collect();
            let ops: Vec<_> =
                keys.iter().map(|key| BatchOp { tree: &bed.tree, key, action: BatchAction::Remove }).collect();
            assert_eq!(BTree::apply(&ops).unwrap().conflict, None);
        }
    }
    bed.check(&[&bed.tree]);
    assert_eq!(bed.tree.len().unwrap(), 200);
    let pages = bed.tree.check().unwrap().pages.len();
    assert!(pages <= 24, "{pages} pages for 200 records");
}
