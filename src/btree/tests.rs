//! What an operation meets that was held up in the middle of its way.

use super::batch::{Group, Step, carry_out};
use super::descend::{Reached, Seek};
use super::latched::{Leaf, Side};
use super::*;
use crate::page::slotted::SlottedPage;
use crate::pool::{Interrupt, MemPageStore, NoLog, PoolOptions};
use crate::sync::{AtomicU64, Ordering};

const PAGE: usize = 4096;

fn catalog() -> BTree {
    // So few frames that a step frees fewer leaves than an inner node has.
    let options = PoolOptions::default().memory(PoolOptions::floor(PAGE));
    let pool = Arc::new(BufferPool::new(Arc::new(MemPageStore::new(PAGE)), Arc::new(NoLog), options).unwrap());
    BTree::create(pool, None, TreeId::CATALOG).unwrap().0
}

/// Long keys whose separators are long too, so that few records make a deep tree.
fn key(n: u64) -> Vec<u8> {
    let mut key = format!("{:06}", n / 4).into_bytes();
    key.resize(600, b'-');
    key.push(b'0' + (n % 4) as u8);
    key
}

/// A tree of at least four levels, listed in `catalog`.
fn deep(catalog: &BTree, records: u64) -> BTree {
    let (tree, _) = catalog.create_in(b"deep", TreeId::new(7), |_| vec![1]).unwrap();
    (0..records).for_each(|n| {
        tree.insert(&key(n * 7919 % records), &[b'v'; 300]).unwrap();
    });
    assert!(tree.inner.descend(Seek::Last, u8::MAX).map(|r| level(&r)).ok() >= Some(3));
    tree
}

fn level(reached: &Reached<'_>) -> u8 {
    SlottedPage::open(reached.view.reader()).unwrap().level()
}

/// D1: whoever passed the root before the drop, and stands at any node of the path, cannot go on from there once a step has
/// come by; nor change a leaf that was freed.
#[test]
fn a_descent_held_up_anywhere_meets_no_node_that_a_step_changed() {
    for stop in 0..=2u8 {
        let catalog = catalog();
        let tree = deep(&catalog, 400);
        let held = tree.inner.descend(Seek::Last, stop).unwrap();
        let node = SlottedPage::open(held.view.reader()).unwrap();
        assert_eq!(node.level(), stop);
        catalog.drop_in(b"deep", &[2], &tree).unwrap();
        held.view.validate().expect("the drop itself touches only the root");
        assert!(tree.reclaim_step().unwrap() > 0);
        if stop == 0 {
            assert!(held.view.try_exclusive().is_err(), "a freed leaf was changed");
        } else {
            let at = node.child_at(node.count()).unwrap_or(0);
            let below = tree.inner.pool.try_child(&held.view, at);
            assert!(matches!(below, Err(Interrupt::Restart)), "went on below level {stop}");
        }
        assert!(matches!(tree.get(&key(0)), Err(Error::NotFound { .. })));
    }
}

/// D2: a batch whose leaves are all latched when a drop begins happens as a whole or not at all.
#[test]
fn a_batch_over_a_tree_that_is_dropped_meanwhile_does_nothing() {
    let catalog = catalog();
    let tree = deep(&catalog, 400);
    let (other, _) = catalog.create_in(b"other", TreeId::new(8), |_| vec![1]).unwrap();
    let keys = [key(5), b"x".to_vec()];
    let groups: Vec<Vec<Group<'_>>> = [&tree, &other]
        .iter()
        .zip(&keys)
        .map(|(t, key)| vec![Group { inner: &t.inner, key, requires: Vec::new(), write: Some(Some(b"new")) }])
        .collect();
    let mut leaves = Vec::new();
    for (first, group) in groups.iter().enumerate() {
        let leaf = group[0].inner.descend(Seek::Key(group[0].key), 0).unwrap().view;
        leaves.push(Leaf { page: leaf.try_exclusive().unwrap(), groups: group, first });
    }
    catalog.drop_in(b"deep", &[2], &tree).unwrap();
    assert!(matches!(carry_out(leaves, &Side::default(), &mut None, None), Err(Error::NotFound { .. })));
    assert_eq!(other.get(b"x").unwrap(), None);
    // Without the drop it would have happened.
    let leaf = other.inner.descend(Seek::Key(b"x"), 0).unwrap().view.try_exclusive().unwrap();
    let leaves = vec![Leaf { page: leaf, groups: &groups[1], first: 0 }];
    assert!(matches!(carry_out(leaves, &Side::default(), &mut None, None), Ok(Step::Done(..))));
    assert_eq!(other.get(b"x").unwrap().as_deref(), Some(&b"new"[..]));
}

/// A log without room for long records, that keeps none.
struct ShortLog(AtomicU64);

impl RedoLog for ShortLog {
    fn reserve(&self, bytes: usize) -> Result<LogRoom<'_>> {
        // A split's record is never too long.
        assert!(bytes <= self.max_record_bytes() || bytes == 2 * PAGE + 1024);
        Ok(LogRoom::unbounded())
    }

    fn append(&self, _room: LogRoom<'_>, record: &[u8]) -> Lsn {
        // Relaxed: one thread.
        Lsn::new(self.0.fetch_add(record.len() as u64, Ordering::Relaxed) + record.len() as u64)
    }

    fn position(&self) -> Lsn {
        Lsn::new(self.0.load(Ordering::Relaxed))
    }

    fn max_record_bytes(&self) -> usize {
        2048
    }
}

/// A log that has room for short records only, until it has none for one; from then on for long ones too.
struct FitfulLog {
    inner: ShortLog,
    left: AtomicU64,
    long: AtomicBool,
}

impl RedoLog for FitfulLog {
    fn reserve(&self, bytes: usize) -> Result<LogRoom<'_>> {
        // Relaxed, here and below: one thread.
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.long.store(true, Ordering::Relaxed);
            return Err(Error::NoSpace { what: "log", needed: bytes as u64 });
        }
        Ok(LogRoom::unbounded())
    }

    fn append(&self, room: LogRoom<'_>, record: &[u8]) -> Lsn {
        self.inner.append(room, record)
    }

    fn position(&self) -> Lsn {
        self.inner.position()
    }

    fn max_record_bytes(&self) -> usize {
        if self.long.load(Ordering::Relaxed) { 1 << 20 } else { self.inner.max_record_bytes() }
    }
}

/// A portion some of whose records went the ordinary way before an error is not linked as a whole afterwards.
#[test]
fn a_portion_that_is_inserted_goes_on_so_after_an_error() {
    for fails in 1..420 {
        let options = PoolOptions::default().memory(PoolOptions::floor(PAGE));
        let pool = Arc::new(BufferPool::new(Arc::new(MemPageStore::new(PAGE)), Arc::new(NoLog), options).unwrap());
        let inner = ShortLog(AtomicU64::new(1));
        let log = Arc::new(FitfulLog { inner, left: AtomicU64::new(fails + 1), long: AtomicBool::new(false) });
        let tree = BTree::create(pool, Some(log), TreeId::new(7)).unwrap().0.counted(true);
        let mut load = tree.bulk_load();
        for n in 0..200 {
            load.put(&key(n), &[b'v'; 300]).unwrap();
            if let Err(error) = load.advance() {
                assert!(matches!(error, Error::NoSpace { .. }), "{fails}: {error}");
                load.advance().unwrap_or_else(|error| panic!("{fails}: {error}"));
            }
        }
        let loaded = load.finish().or_else(|_| load.finish()).unwrap().0;
        let check = tree.check().unwrap();
        assert_eq!((loaded, tree.len().unwrap(), check.records), (200, 200, 200), "{fails}");
        assert!(check.errors.is_empty(), "{fails}: {:?}", check.errors);
        let map = tree.inner.pool.allocator().map();
        let units = |extents: &[crate::pool::Extent]| extents.iter().map(|extent| extent.units).sum::<u64>();
        let used = map.end.get() - map.first.get() - units(&map.free) - units(&map.pending);
        assert_eq!((used, units(&map.reserved)), (check.pages.len() as u64, 0), "{fails}: lost pages");
    }
}

/// Where the record that links a portion would be too long, its records go the ordinary way.
#[test]
fn a_portion_that_cannot_be_linked_is_inserted() {
    let options = PoolOptions::default().memory(PoolOptions::floor(PAGE));
    let pool = Arc::new(BufferPool::new(Arc::new(MemPageStore::new(PAGE)), Arc::new(NoLog), options).unwrap());
    let log = Arc::new(ShortLog(AtomicU64::new(1)));
    let tree = BTree::create(pool, Some(log), TreeId::new(7)).unwrap().0;
    let mut load = tree.bulk_load();
    for n in 0..400 {
        load.put(&key(n), &[b'v'; 300]).unwrap();
        load.advance().unwrap();
    }
    assert_eq!(load.finish().unwrap().0, 400);
    assert!(tree.iter().map(|pair| pair.unwrap().0).eq((0..400).map(key)));
    let check = tree.check().unwrap();
    assert!(check.errors.is_empty(), "{:?}", check.errors);
    let map = tree.inner.pool.allocator().map();
    let units = |extents: &[crate::pool::Extent]| extents.iter().map(|extent| extent.units).sum::<u64>();
    let used = map.end.get() - map.first.get() - units(&map.free) - units(&map.pending);
    assert_eq!((used, units(&map.reserved)), (check.pages.len() as u64, 0), "the portions' places are free again");
}
