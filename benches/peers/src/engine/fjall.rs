//! fjall: one keyspace of a plain database (as fjall's page on durability and memory describes it), LZ4 as by default.
//!
//! A write goes to the system's buffers; a durable one is followed by `persist(SyncData)`, or is a batch with that
//! durability. Values of 4 KiB and more are separated from keys, as recommended for large ones. Sorted loads are
//! ingestions. Reading and writing as one step is guarded by a lock in here: the single-writer transactional form, which
//! would offer it, takes such a lock for every write.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use parking_lot::Mutex;

pub struct Fjall {
    db: Database,
    records: Keyspace,
    step: Mutex<()>,
    settings: String,
}

/// Records to a batch of a load.
const BATCH: usize = 1000;

pub fn open(setup: &Setup) -> Result<Fjall> {
    if setup.direct {
        return Fail::unsupported("fjall has no direct I/O");
    }
    // The default memtable is 64 MiB: fine for a large budget; of a small one it may have a quarter.
    let memtable = (setup.cache_bytes / 4).clamp(1 << 20, 64 << 20);
    let cache = setup.cache_bytes - memtable.min(setup.cache_bytes / 4);
    let db = Database::builder(&setup.dir).cache_size(cache).open()?;
    let separate = setup.longest.1 >= 4096;
    let records = db.keyspace("records", || {
        let options = KeyspaceCreateOptions::default().max_memtable_size(memtable);
        options.with_kv_separation(separate.then(KvSeparationOptions::default))
    })?;
    let settings = format!(
        "cache_size {} MiB, max_memtable_size {} MiB; key-value separation {}; durable: PersistMode::SyncData; buffered: \
         system's buffers; page cache",
        cache >> 20,
        memtable >> 20,
        if separate { "on" } else { "off" }
    );
    Ok(Fjall { db, records, step: Mutex::new(()), settings })
}

impl Engine for Fjall {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(self)))
    }
    fn load(&self, order: Order, items: &mut dyn Items) -> Result<()> {
        if order == Order::Sorted {
            let mut ingestion = self.records.start_ingestion()?;
            while let Some((key, value)) = items.next() {
                ingestion.write(key, value)?;
            }
            ingestion.finish()?;
            return self.sync();
        }
        let mut batch = self.db.batch();
        while let Some((key, value)) = items.next() {
            batch.insert(&self.records, key, value);
            if batch.len() == BATCH {
                std::mem::replace(&mut batch, self.db.batch()).commit()?;
            }
        }
        batch.commit()?;
        self.sync()
    }
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let mut batch = self.db.batch();
        while let Some((key, _)) = items.next() {
            batch.remove(&self.records, key);
            if batch.len() == BATCH {
                std::mem::replace(&mut batch, self.db.batch()).commit()?;
            }
        }
        batch.commit()?;
        self.sync()
    }
    fn len(&self) -> Result<u64> {
        Ok(self.records.len()? as u64)
    }
    fn sync(&self) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncData)?)
    }
    fn compact(&mut self) -> Result<()> {
        self.records.rotate_memtable_and_wait()?;
        Ok(self.records.major_compact()?)
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.db.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}

struct Thread<'a>(&'a Fjall);

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
            [Op::Put(key, value)] => self.0.records.insert(key, value)?,
            [Op::Del(key)] => self.0.records.remove(key)?,
            ref ops => {
                let mode = (commit == Commit::Durable).then_some(PersistMode::SyncData);
                let mut batch = self.0.db.batch().durability(mode);
                for op in ops {
                    match *op {
                        Op::Put(key, value) => batch.insert(&self.0.records, key, value),
                        Op::Del(key) => batch.remove(&self.0.records, key),
                    }
                }
                return Ok(batch.commit()?);
            }
        }
        self.settle(commit)
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        {
            let _one = self.0.step.lock();
            let value = change(self.0.records.get(key)?.as_deref());
            self.0.records.insert(key, value)?;
        }
        self.settle(commit)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        {
            let _one = self.0.step.lock();
            let Some(first) = self.0.records.first_key_value() else { return Ok(false) };
            let (key, value) = first.into_inner()?;
            taken(&key, &value);
            self.0.records.remove(key)?;
        }
        self.settle(commit)?;
        Ok(true)
    }
}

impl View for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.records.get(key)?.map(|value| found(&value)).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        let mut records = self.0.records.range(from..);
        while seen < limit {
            let Some(record) = records.next() else { break };
            let (key, value) = record.into_inner()?;
            each(&key, &value);
            seen += 1;
        }
        Ok(seen)
    }
}
