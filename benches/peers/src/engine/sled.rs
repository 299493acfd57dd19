//! sled 0.34, the newest release that is no alpha: one tree, high-throughput mode as by default.
//!
//! A durable write is followed by `flush`. On Linux that ends in `sync_file_range`, which sled's authors know not to be
//! enough for a loss of power, so the data file is synced here as well, as redb's benchmark does. A buffered write leaves
//! flushing to sled's thread (every 500 ms).

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use sled::{Batch, Db};
use std::fs::File;
use std::path::PathBuf;

pub struct Sled {
    db: Db,
    dir: PathBuf,
    settings: String,
}

pub fn open(setup: &Setup) -> Result<Sled> {
    if setup.direct {
        return Fail::unsupported("sled has no direct I/O");
    }
    let db = sled::Config::new().path(&setup.dir).cache_capacity(setup.cache_bytes).open()?;
    let settings = format!(
        "cache_capacity {} MiB; mode HighThroughput; durable: flush and fsync of the data file; buffered: flushed every 500 ms; \
         page cache",
        setup.cache_bytes >> 20
    );
    Ok(Sled { db, dir: setup.dir.clone(), settings })
}

impl Engine for Sled {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(self)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        while let Some((key, value)) = items.next() {
            self.db.insert(key, value)?;
        }
        self.sync()
    }
    fn len(&self) -> Result<u64> {
        Ok(self.db.len() as u64)
    }
    fn sync(&self) -> Result<()> {
        self.db.flush()?;
        Ok(File::open(self.dir.join("db"))?.sync_all()?)
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}

struct Thread<'a>(&'a Sled);

impl Thread<'_> {
    fn settle(&self, commit: Commit) -> Result<()> {
        match commit {
            Commit::Durable => self.0.sync(),
            Commit::Buffered => Ok(()),
        }
    }
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        View::get(self, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Thread(self.0)))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        match *ops {
            [Op::Put(key, value)] => drop(self.0.db.insert(key, value)?),
            [Op::Del(key)] => drop(self.0.db.remove(key)?),
            ref ops => {
                let mut batch = Batch::default();
                for op in ops {
                    match *op {
                        Op::Put(key, value) => batch.insert(key, value),
                        Op::Del(key) => batch.remove(key),
                    }
                }
                self.0.db.apply_batch(batch)?;
            }
        }
        self.settle(commit)
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        self.0.db.update_and_fetch(key, |old| Some(change(old)))?;
        self.settle(commit)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        let Some((key, value)) = self.0.db.pop_min()? else { return Ok(false) };
        self.settle(commit)?;
        taken(&key, &value);
        Ok(true)
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.db.get(key)?.map(|value| found(&value)).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        let mut records = self.0.db.range(from..);
        while seen < limit {
            let Some(record) = records.next() else { break };
            let (key, value) = record?;
            each(&key, &value);
            seen += 1;
        }
        Ok(seen)
    }
}
