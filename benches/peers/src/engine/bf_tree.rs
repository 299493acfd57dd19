//! Bf-Tree: file backed, its circular buffer as large as the budget allows (a power of two), log off.
//!
//! Its log is not raced as a durable commit: it writes without syncing the file, so what it acknowledges may be lost with
//! power. A store is reopened only from a snapshot taken on demand; here each process loads it anew. Large pages are used
//! when records need them, up to its limit of 16 KiB values.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use bf_tree::{BfTree, Config, LeafInsertResult, LeafReadResult, ScanReturnField, StorageBackend};
use parking_lot::Mutex;

pub struct Bf {
    tree: BfTree,
    longest: usize,
    step: Mutex<()>,
    settings: String,
}

const NO_DURABILITY: &str = "Bf-Tree's log is written but not synced: no durable commit";

pub fn open(setup: &Setup) -> Result<Bf> {
    let longest = setup.longest.0 + setup.longest.1;
    if longest > 15 << 10 {
        return Fail::unsupported("Bf-Tree's records end at 16 KiB");
    }
    let page: usize = match longest {
        0..=1000 => 4 << 10,
        1001..=3000 => 8 << 10,
        3001..=7000 => 16 << 10,
        _ => 32 << 10,
    };
    let cache = usize::try_from(setup.cache_bytes)?;
    let cache = if cache.is_power_of_two() { cache } else { cache.next_power_of_two() / 2 };
    let mut config = Config::new(setup.dir.join("bf-tree"), cache);
    config
        .cb_max_key_len(setup.longest.0.max(16) + 8)
        .cb_max_record_size(longest.max(64) + 16)
        .cb_min_record_size((page / 1024).max(4))
        .leaf_page_size(page);
    if setup.direct {
        config.storage_backend(StorageBackend::StdDirect);
    }
    let tree = BfTree::with_config(config, None).map_err(|e| Fail::failed(format!("{e:?}")))?;
    let settings = format!(
        "circular buffer {} MiB; leaf page {page} B; log off; durable: none; {}",
        cache >> 20,
        if setup.direct { "direct I/O" } else { "page cache" }
    );
    Ok(Bf { tree, longest: longest + 64, step: Mutex::new(()), settings })
}

impl Bf {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        match self.tree.insert(key, value) {
            LeafInsertResult::Success => Ok(()),
            LeafInsertResult::InvalidKV(why) => Err(Fail::failed(why)),
        }
    }
}

impl Engine for Bf {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread { engine: self, buffer: vec![0; self.longest] }))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        while let Some((key, value)) = items.next() {
            self.put(key, value)?;
        }
        Ok(())
    }
    fn len(&self) -> Result<u64> {
        Thread { engine: self, buffer: vec![0; self.longest] }.walk(&[], u64::MAX, Walk::Scan, &mut |_, _| ())
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Thread<'a> {
    engine: &'a Bf,
    buffer: Vec<u8>,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        View::get(self, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Thread { engine: self.engine, buffer: vec![0; self.engine.longest] }))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        if commit == Commit::Durable {
            return Fail::unsupported(NO_DURABILITY);
        }
        for op in ops {
            match *op {
                Op::Put(key, value) => self.engine.put(key, value)?,
                Op::Del(key) => self.engine.tree.delete(key),
            }
        }
        Ok(())
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        if commit == Commit::Durable {
            return Fail::unsupported(NO_DURABILITY);
        }
        let _one = self.engine.step.lock();
        let value = match self.engine.tree.read(key, &mut self.buffer) {
            LeafReadResult::Found(n) => change(self.buffer.get(..n as usize)),
            _ => change(None),
        };
        self.engine.put(key, &value)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        if commit == Commit::Durable {
            return Fail::unsupported(NO_DURABILITY);
        }
        let _one = self.engine.step.lock();
        let mut first = None;
        self.walk(&[], 1, Walk::Scan, &mut |key, value| {
            taken(key, value);
            first = Some(key.to_vec());
        })?;
        Ok(first.inspect(|key| self.engine.tree.delete(key)).is_some())
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        match self.engine.tree.read(key, &mut self.buffer) {
            LeafReadResult::Found(n) => {
                found(&self.buffer[..n as usize]);
                Ok(true)
            }
            LeafReadResult::Deleted | LeafReadResult::NotFound => Ok(false),
            LeafReadResult::InvalidKey => Err(Fail::failed("Bf-Tree: invalid key")),
        }
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let count = usize::try_from(limit).unwrap_or(usize::MAX);
        // It takes no empty key, and none of ours starts below this one but by zero bytes, which compare equal or above.
        let from = if from.is_empty() { &[0] } else { from };
        let records = self.engine.tree.scan_with_count(from, count, ScanReturnField::KeyAndValue);
        let mut records = records.map_err(|e| Fail::failed(format!("{e:?}")))?;
        let mut seen = 0;
        while let Some((key, value)) = records.next(&mut self.buffer) {
            let (key, rest) = self.buffer.split_at(key);
            each(key, &rest[..value]);
            seen += 1;
        }
        Ok(seen)
    }
}
