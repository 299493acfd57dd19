//! redb: one table in one file, as in its own benchmark: cache size set, all else default.
//!
//! A durable write is a transaction with `Durability::Immediate`, the default (one-phase with checksums); a buffered one
//! `Durability::None`. Reads of the present state open a read transaction each; a view keeps one.

use super::{Commit, Each, Engine, Items, Op, Order, Result, Session, Setup, View, Walk};
use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

pub struct Redb {
    db: Database,
    settings: String,
}

pub fn open(setup: &Setup) -> Result<Redb> {
    if setup.direct {
        return super::Fail::unsupported("redb has no direct I/O");
    }
    let mut builder = Database::builder();
    builder.set_cache_size(usize::try_from(setup.cache_bytes)?);
    let db = builder.create(setup.dir.join("redb"))?;
    let txn = db.begin_write()?;
    txn.open_table(TABLE)?;
    txn.commit()?;
    let settings = format!(
        "set_cache_size {} MiB; durable: Durability::Immediate; buffered: Durability::None; page cache",
        setup.cache_bytes >> 20
    );
    Ok(Redb { db, settings })
}

impl Redb {
    fn begin(&self, commit: Commit) -> Result<WriteTransaction> {
        let mut txn = self.db.begin_write()?;
        if commit == Commit::Buffered {
            txn.set_durability(Durability::None)?;
        }
        Ok(txn)
    }
}

impl Engine for Redb {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Thread(self)))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        let txn = self.begin(Commit::Durable)?;
        {
            let mut table = txn.open_table(TABLE)?;
            while let Some((key, value)) = items.next() {
                table.insert(key, value)?;
            }
        }
        Ok(txn.commit()?)
    }
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let txn = self.begin(Commit::Durable)?;
        {
            let mut table = txn.open_table(TABLE)?;
            while let Some((key, _)) = items.next() {
                table.remove(key)?;
            }
        }
        Ok(txn.commit()?)
    }
    fn len(&self) -> Result<u64> {
        Ok(self.db.begin_read()?.open_table(TABLE)?.len()?)
    }
    fn sync(&self) -> Result<()> {
        Ok(self.begin(Commit::Durable)?.commit()?)
    }
    fn compact(&mut self) -> Result<()> {
        self.db.compact()?;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        drop(self.db);
        Ok(())
    }
}

struct Thread<'a>(&'a Redb);

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let txn = self.0.db.begin_read()?;
        let value = txn.open_table(TABLE)?.get(key)?;
        Ok(value.inspect(|value| found(value.value())).is_some())
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        let txn = self.0.db.begin_read()?;
        let table = txn.open_table(TABLE)?;
        Ok(Box::new(Reader { table, _txn: txn }))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        let txn = self.0.begin(commit)?;
        {
            let mut table = txn.open_table(TABLE)?;
            for op in ops {
                match *op {
                    Op::Put(key, value) => drop(table.insert(key, value)?),
                    Op::Del(key) => drop(table.remove(key)?),
                }
            }
        }
        Ok(txn.commit()?)
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        use redb::ReadableTable;
        let txn = self.0.begin(commit)?;
        {
            let mut table = txn.open_table(TABLE)?;
            let value = change(table.get(key)?.as_ref().map(|value| value.value()));
            table.insert(key, value.as_slice())?;
        }
        Ok(txn.commit()?)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        let txn = self.0.begin(commit)?;
        let there = {
            let mut table = txn.open_table(TABLE)?;
            let first = table.pop_first()?;
            first.inspect(|(key, value)| taken(key.value(), value.value())).is_some()
        };
        txn.commit()?;
        Ok(there)
    }
}

struct Reader {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    _txn: ReadTransaction,
}

impl View for Reader {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.table.get(key)?;
        Ok(value.inspect(|value| found(value.value())).is_some())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut seen = 0;
        let mut records = self.table.range(from..)?;
        while seen < limit {
            let Some(record) = records.next() else { break };
            let (key, value) = record?;
            each(key.value(), value.value());
            seen += 1;
        }
        Ok(seen)
    }
}
