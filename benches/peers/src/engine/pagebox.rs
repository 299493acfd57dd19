//! pagebox itself: one tree of a store, page cache, log on.
//!
//! Single writes are `Tree::insert` with the store's durability; batches, and writes of the other durability, are
//! `Store::apply_with`. Reads are `get_into` a buffer that the thread keeps, of values from 4 KiB `get_with`, which lends
//! them where it can.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use crate::data::Key;
use pagebox::{Batch, Durability, Store, Tree};
use std::ops::ControlFlow;

pub struct Pagebox {
    store: Store,
    tree: Tree,
    commit: Commit,
    /// Values are large.
    lend: bool,
    settings: String,
}

/// The two contracts in the store's words.
fn durability(commit: Commit) -> Durability {
    match commit {
        Commit::Durable => Durability::Sync,
        Commit::Buffered => Durability::Manual,
    }
}

/// What this version cannot do yet is no failure of the run.
fn missing(e: pagebox::Error) -> Fail {
    match e {
        pagebox::Error::ValueTooLarge { .. } | pagebox::Error::InvalidOption { .. } => Fail::Unsupported(e.to_string()),
        e => Fail::from(e),
    }
}

/// As the documentation of `StoreOptions::page_size` recommends: the default where the records fit the memory; where they do not,
/// 4 KiB for short ones, 8 KiB for those of which 4 do not hold two.
fn page_size(setup: &Setup) -> usize {
    let (key, value) = setup.longest;
    match key + value {
        _ if setup.records * (key + value) as u64 <= setup.cache_bytes => 16 << 10,
        ..=1500 => 4 << 10,
        1501..=3000 => 8 << 10,
        _ => 16 << 10,
    }
}

pub fn open(setup: &Setup) -> Result<Pagebox> {
    // As long as memory, so that writes that wait for nothing do not wait for a checkpoint of all of it.
    let log = setup.cache_bytes.clamp(64 << 20, 4 << 30);
    let memory = usize::try_from(setup.cache_bytes)?;
    let options = Store::options()
        .page_size(page_size(setup))
        .memory(memory)
        .durability(durability(setup.commit))
        .direct_io(setup.direct)
        .max_log_bytes(log);
    let store = options.open(&setup.dir).map_err(missing)?;
    let tree = store.tree("records")?;
    let lend = setup.longest.1 >= 4096;
    let settings = format!(
        "commit {}; memory {} MiB; {:?}; {}; max_log_bytes {} MiB; page size {} B; sync method Auto; reads {}; sorted loads by {}",
        env!("PAGEBOX_COMMIT"),
        setup.cache_bytes >> 20,
        durability(setup.commit),
        if setup.direct { "direct I/O" } else { "page cache" },
        log >> 20,
        store.stats().page_size,
        if lend { "get_with" } else { "get_into" },
        SORTED_LOAD,
    );
    Ok(Pagebox { store, tree, commit: setup.commit, lend, settings })
}

/// How [`sorted_load`] does it, for the settings line.
const SORTED_LOAD: &str = "bulk_load";

/// Loads records whose keys ascend and lie behind all others.
fn sorted_load(engine: &Pagebox, items: &mut dyn Items) -> Result<()> {
    let records = std::iter::from_fn(|| items.next().map(|(key, value)| (Copied::of(key), Copied::of(value))));
    engine.tree.bulk_load(records)?;
    Ok(())
}

/// A copy of a few bytes in place, of more on the heap: the harness lends its records, a bulk load wants to hold them.
enum Copied {
    Short([u8; 160], u8),
    Long(Vec<u8>),
}

impl Copied {
    fn of(bytes: &[u8]) -> Copied {
        if bytes.len() > 160 {
            return Copied::Long(bytes.to_vec());
        }
        let mut short = [0; 160];
        short[..bytes.len()].copy_from_slice(bytes);
        Copied::Short(short, bytes.len() as u8)
    }
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        match self {
            Copied::Short(bytes, len) => &bytes[..usize::from(*len)],
            Copied::Long(bytes) => bytes,
        }
    }
}

/// Loads records in any order: single inserts that wait for nothing.
fn random_load(engine: &Pagebox, items: &mut dyn Items) -> Result<()> {
    let mut session = engine.writer();
    while let Some((key, value)) = items.next() {
        session.write(&[Op::Put(key, value)], Commit::Buffered)?;
    }
    Ok(())
}

/// Looks up many keys in one call. The one place to change when the tree has a better way.
fn lookup_many(tree: &Tree, keys: &[Key], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
    Ok(tree.get_many(keys, found)?)
}

impl Pagebox {
    fn writer(&self) -> Thread<'_> {
        Thread { engine: self, value: Vec::new(), batch: Batch::new() }
    }
}

impl Engine for Pagebox {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(self.writer()))
    }
    fn load(&self, order: Order, items: &mut dyn Items) -> Result<()> {
        match order {
            Order::Random => random_load(self, items)?,
            Order::Sorted => sorted_load(self, items)?,
        }
        self.sync()
    }
    fn len(&self) -> Result<u64> {
        Ok(self.tree.len()?)
    }
    fn sync(&self) -> Result<()> {
        self.store.sync()?;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        let Pagebox { store, tree, .. } = *self;
        drop(tree);
        Ok(store.close()?)
    }
}

struct Thread<'a> {
    engine: &'a Pagebox,
    value: Vec<u8>,
    batch: Batch,
}

impl Thread<'_> {
    /// Makes what the store did in its own durability durable, if it was asked for more.
    fn settle(&self, commit: Commit) -> Result<()> {
        if commit == Commit::Durable && self.engine.commit == Commit::Buffered {
            self.engine.store.sync()?;
        }
        Ok(())
    }
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        View::get(self, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Thread { engine: self.engine, value: Vec::new(), batch: Batch::new() }))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        let tree = &self.engine.tree;
        match ops {
            [Op::Put(key, value)] if commit == self.engine.commit => {
                tree.insert(key, value).map_err(missing)?;
            }
            [Op::Del(key)] if commit == self.engine.commit => {
                tree.remove(key)?;
            }
            ops => {
                self.batch.clear();
                for op in ops {
                    match op {
                        Op::Put(key, value) => self.batch.insert(tree, key, value),
                        Op::Del(key) => self.batch.remove(tree, key),
                    };
                }
                self.engine.store.apply_with(&self.batch, durability(commit)).map_err(missing)?;
            }
        }
        Ok(())
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        self.engine.tree.fetch_update(key, |old| Some(change(old)))?;
        self.settle(commit)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        let Some((key, value)) = self.engine.tree.pop_first()? else { return Ok(false) };
        self.settle(commit)?;
        taken(&key, &value);
        Ok(true)
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        if self.engine.lend {
            return Ok(self.engine.tree.get_with(key, found)?.is_some());
        }
        let there = self.engine.tree.get_into(key, &mut self.value)?;
        if there {
            found(&self.value);
        }
        Ok(there)
    }
    fn get_many(&mut self, keys: &[Key], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        lookup_many(&self.engine.tree, keys, found)
    }
    fn walk(&mut self, from: &[u8], limit: u64, how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        match how {
            _ if limit == 0 => {}
            Walk::Scan => self.engine.tree.scan(from.., |key, value| {
                each(key, value);
                seen += 1;
                if seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?,
            Walk::Cursor => {
                for record in self.engine.tree.range(from..) {
                    let (key, value) = record?;
                    each(&key, &value);
                    seen += 1;
                    if seen == limit {
                        break;
                    }
                }
            }
        }
        Ok(seen)
    }
}
