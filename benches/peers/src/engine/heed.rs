//! LMDB through heed: the unnamed database of one environment.
//!
//! As in redb's benchmark: no flags (`MDB_WRITEMAP` trades safety against stray writes for speed, so it is left off), so
//! a durable commit is LMDB's default; a buffered one runs under `MDB_NOSYNC`. LMDB has no cache of its own: it maps the
//! file, so its memory is the system's page cache, whatever the others were given.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use heed::types::Bytes;
use heed::{
    CommitOrAbort, CompactionOption, Env, EnvFlags, EnvOpenOptions, FlagSetMode, PutFlags, RoTxn, RwTxn, WithTls,
};
use std::fs::{self, File};
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

type Database = heed::Database<'static, Bytes, Bytes>;

pub struct Lmdb {
    /// There, except while `compact` replaces it.
    open: Option<(Env, Database)>,
    dir: PathBuf,
    map_bytes: usize,
    /// Whether `MDB_NOSYNC` is set.
    relaxed: AtomicBool,
    settings: String,
}

fn open_env(dir: &PathBuf, map_bytes: usize) -> Result<(Env, Database)> {
    let mut options = EnvOpenOptions::new();
    options.map_size(map_bytes).max_readers(256);
    // SAFETY: the directory is this process's own; nobody else changes the mapped file.
    let env = unsafe { options.open(dir) }?;
    let txn = env.write_txn()?;
    let db = env
        .create_databases_and_commit(txn, |create, txn| {
            let db = create.create_database::<Bytes, Bytes>(txn, None)?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(db))
        })?
        .unwrap_commit();
    Ok((env, db))
}

pub fn open(setup: &Setup) -> Result<Lmdb> {
    if setup.direct {
        return Fail::unsupported("LMDB reads through a memory map");
    }
    let bytes = setup.records * (setup.longest.0 + setup.longest.1 + 64) as u64;
    // Address space, not memory: room for half-full pages and for the copies that long readers keep.
    let map_bytes = usize::try_from((bytes * 4).max(4 << 30).next_multiple_of(1 << 20))?;
    let open = open_env(&setup.dir, map_bytes)?;
    let settings = format!(
        "memory map of {} MiB address space (memory: the system's page cache); durable: no flags; buffered: MDB_NOSYNC",
        map_bytes >> 20
    );
    Ok(Lmdb { open: Some(open), dir: setup.dir.clone(), map_bytes, relaxed: AtomicBool::new(false), settings })
}

impl Lmdb {
    fn env(&self) -> Result<&(Env, Database)> {
        self.open.as_ref().ok_or_else(|| Fail::failed("the environment was lost in a compaction that failed"))
    }

    /// A write transaction whose commit has the wanted contract. The flag is changed under the writer's lock.
    fn begin(&self, commit: Commit) -> Result<(RwTxn<'_>, Database)> {
        let (env, db) = self.env()?;
        let txn = env.write_txn()?;
        let relaxed = commit == Commit::Buffered;
        if self.relaxed.swap(relaxed, Ordering::Relaxed) != relaxed {
            let mode = if relaxed { FlagSetMode::Enable } else { FlagSetMode::Disable };
            // SAFETY: the flag changes only whether commits sync, and only the holder of the write lock commits.
            unsafe { env.set_flags(EnvFlags::NO_SYNC, mode) }?;
        }
        Ok((txn, *db))
    }

    fn read(&self) -> Result<(RoTxn<'_, WithTls>, Database)> {
        let (env, db) = self.env()?;
        let txn = env.read_txn()?;
        Ok((txn, *db))
    }
}

impl Engine for Lmdb {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(self)))
    }
    fn load(&self, order: Order, items: &mut dyn Items) -> Result<()> {
        let (mut txn, db) = self.begin(Commit::Durable)?;
        let flags = if order == Order::Sorted { PutFlags::APPEND } else { PutFlags::empty() };
        while let Some((key, value)) = items.next() {
            db.put_with_flags(&mut txn, flags, key, value)?;
        }
        Ok(txn.commit()?)
    }
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let (mut txn, db) = self.begin(Commit::Durable)?;
        while let Some((key, _)) = items.next() {
            db.delete(&mut txn, key)?;
        }
        Ok(txn.commit()?)
    }
    fn len(&self) -> Result<u64> {
        let (txn, db) = self.read()?;
        Ok(db.len(&txn)?)
    }
    fn sync(&self) -> Result<()> {
        Ok(self.env()?.0.force_sync()?)
    }
    fn compact(&mut self) -> Result<()> {
        let (env, _) = self.open.take().ok_or_else(|| Fail::failed("no environment"))?;
        let (old, new) = (self.dir.join("data.mdb"), self.dir.join("compacted.mdb"));
        let mut copy = File::create_new(&new)?;
        env.copy_to_file(&mut copy, CompactionOption::Enabled)?;
        copy.sync_all()?;
        env.prepare_for_closing().wait();
        fs::rename(new, old)?;
        self.open = Some(open_env(&self.dir, self.map_bytes)?);
        self.relaxed.store(false, Ordering::Relaxed);
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        if let Some((env, _)) = self.open {
            env.force_sync()?;
            env.prepare_for_closing().wait();
        }
        Ok(())
    }
}

struct Thread<'a>(&'a Lmdb);

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let (txn, db) = self.0.read()?;
        Ok(db.get(&txn, key)?.map(found).is_some())
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        let (txn, db) = self.0.read()?;
        Ok(Box::new(Reader { txn, db }))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        let (mut txn, db) = self.0.begin(commit)?;
        for op in ops {
            match *op {
                Op::Put(key, value) => db.put(&mut txn, key, value)?,
                Op::Del(key) => drop(db.delete(&mut txn, key)?),
            }
        }
        Ok(txn.commit()?)
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        let (mut txn, db) = self.0.begin(commit)?;
        let value = change(db.get(&txn, key)?);
        db.put(&mut txn, key, &value)?;
        Ok(txn.commit()?)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        let (mut txn, db) = self.0.begin(commit)?;
        let Some((key, value)) = db.first(&txn)? else { return Ok(false) };
        taken(key, value);
        let key = key.to_vec();
        db.delete(&mut txn, &key)?;
        txn.commit()?;
        Ok(true)
    }
}

struct Reader<'a> {
    txn: RoTxn<'a, WithTls>,
    db: Database,
}

impl View for Reader<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.db.get(&self.txn, key)?.map(found).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        // LMDB has no empty key, not even as a bound.
        let start = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        let mut records = self.db.range(&self.txn, &(start, Bound::Unbounded))?;
        while seen < limit {
            let Some(record) = records.next() else { break };
            let (key, value) = record?;
            each(key, value);
            seen += 1;
        }
        Ok(seen)
    }
}
