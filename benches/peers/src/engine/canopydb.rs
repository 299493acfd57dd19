//! canopydb: one tree of one database, log on, defaults but for the page cache.
//!
//! A durable write is a transaction committed with `sync`; a buffered one without. Reads of the present state open a read
//! transaction each; a view keeps one. Writers exclude each other, as its default does.

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use canopydb::{Database, DbOptions, EnvOptions, ReadTransaction, Tree};

const TREE: &[u8] = b"records";

pub struct Canopy {
    db: Database,
    settings: String,
}

pub fn open(setup: &Setup) -> Result<Canopy> {
    if setup.direct {
        return Fail::unsupported("canopydb has no direct I/O");
    }
    let mut options = EnvOptions::new(&setup.dir);
    options.page_cache_size = usize::try_from(setup.cache_bytes)?;
    let db = Database::with_options(options, DbOptions::default())?;
    let txn = db.begin_write()?;
    txn.get_or_create_tree(TREE)?;
    txn.commit()?;
    let settings = format!(
        "page_cache_size {} MiB; log on; durable: commit_with(sync); buffered: without; page cache",
        setup.cache_bytes >> 20
    );
    Ok(Canopy { db, settings })
}

fn tree(txn: &ReadTransaction) -> Result<Tree<'_>> {
    txn.get_tree(TREE)?.ok_or_else(|| Fail::failed("no tree"))
}

impl Engine for Canopy {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread { engine: self, reading: None }))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        let txn = self.db.begin_write()?;
        {
            let mut tree = txn.get_or_create_tree(TREE)?;
            while let Some((key, value)) = items.next() {
                tree.insert(key, value)?;
            }
        }
        txn.commit_with(true)?;
        Ok(())
    }
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let txn = self.db.begin_write()?;
        {
            let mut tree = txn.get_or_create_tree(TREE)?;
            while let Some((key, _)) = items.next() {
                tree.delete(key)?;
            }
        }
        txn.commit_with(true)?;
        Ok(())
    }
    fn len(&self) -> Result<u64> {
        Ok(tree(&self.db.begin_read()?)?.len())
    }
    fn sync(&self) -> Result<()> {
        Ok(self.db.sync()?)
    }
    fn compact(&mut self) -> Result<()> {
        Ok(self.db.compact()?)
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.db.sync()?;
        Ok(self.db.checkpoint()?)
    }
}

struct Thread<'a> {
    engine: &'a Canopy,
    /// The view's transaction.
    reading: Option<ReadTransaction>,
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let txn = self.engine.db.begin_read()?;
        Ok(tree(&txn)?.get(key)?.map(|value| found(&value)).is_some())
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        let txn = self.reading.insert(self.engine.db.begin_read()?);
        Ok(Box::new(Reader(tree(txn)?)))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        let txn = self.engine.db.begin_write()?;
        {
            let mut tree = txn.get_or_create_tree(TREE)?;
            for op in ops {
                match *op {
                    Op::Put(key, value) => tree.insert(key, value)?,
                    Op::Del(key) => drop(tree.delete(key)?),
                }
            }
        }
        txn.commit_with(commit == Commit::Durable)?;
        Ok(())
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        let txn = self.engine.db.begin_write()?;
        {
            let mut tree = txn.get_or_create_tree(TREE)?;
            let value = change(tree.get(key)?.as_deref());
            tree.insert(key, &value)?;
        }
        txn.commit_with(commit == Commit::Durable)?;
        Ok(())
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        let txn = self.engine.db.begin_write()?;
        {
            let mut tree = txn.get_or_create_tree(TREE)?;
            let Some((key, value)) = tree.first()? else { return Ok(false) };
            taken(&key, &value);
            tree.delete(&key)?;
        }
        txn.commit_with(commit == Commit::Durable)?;
        Ok(true)
    }
}

struct Reader<'a>(Tree<'a>);

impl View for Reader<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get(key)?.map(|value| found(&value)).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        let mut records = self.0.range(from..)?;
        while seen < limit {
            let Some(record) = records.next() else { break };
            let (key, value) = record?;
            each(&key, &value);
            seen += 1;
        }
        Ok(seen)
    }
}
