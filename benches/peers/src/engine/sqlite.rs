//! SQLite through rusqlite, bundled: one table in WAL mode, statements prepared once.
//!
//! `WITHOUT ROWID` where rows are small, as its documentation recommends for keys that are not integers; a rowid table
//! where they are large. Each thread has a connection with a page cache of its own; what they share is the memory map.
//! Durable is `synchronous = FULL`, buffered `NORMAL` (in WAL mode: no sync at commit).

use super::{Commit, Each, Engine, Fail, Items, Op, Order, Result, Session, Setup, View, Walk};
use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior, params};
use std::path::PathBuf;
use std::time::Duration;

pub struct Sqlite {
    path: PathBuf,
    cache_bytes: u64,
    settings: String,
    /// Keeps the log from being folded away while threads come and go.
    keeper: parking_lot::Mutex<Connection>,
}

const GET: &str = "SELECT value FROM records WHERE key = ?1";
const PUT: &str = "INSERT INTO records VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const DEL: &str = "DELETE FROM records WHERE key = ?1";
const WALK: &str = "SELECT key, value FROM records WHERE key >= ?1 ORDER BY key";
const FIRST: &str = "SELECT key, value FROM records ORDER BY key LIMIT 1";

fn connect(path: &PathBuf, cache_bytes: u64) -> Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(120))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "cache_size", -i64::try_from(cache_bytes >> 10)?)?;
    db.pragma_update(None, "mmap_size", i64::try_from(cache_bytes)?)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

pub fn open(setup: &Setup) -> Result<Sqlite> {
    if setup.direct {
        return Fail::unsupported("SQLite has no direct I/O");
    }
    let path = setup.dir.join("sqlite");
    let keeper = connect(&path, setup.cache_bytes)?;
    let form = if setup.longest.1 <= 512 { "WITHOUT ROWID" } else { "" };
    keeper.execute(
        &format!("CREATE TABLE IF NOT EXISTS records (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) {form}"),
        params![],
    )?;
    let settings = format!(
        "SQLite {}; WAL; cache_size and mmap_size {} MiB; table {form}; durable: synchronous FULL; buffered: NORMAL; page cache",
        rusqlite::version(),
        setup.cache_bytes >> 20,
    );
    Ok(Sqlite { path, cache_bytes: setup.cache_bytes, settings, keeper: parking_lot::Mutex::new(keeper) })
}

impl Engine for Sqlite {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let db = connect(&self.path, self.cache_bytes)?;
        Ok(Box::new(Thread { db, commit: Commit::Durable }))
    }
    fn load(&self, _order: Order, items: &mut dyn Items) -> Result<()> {
        let mut db = self.keeper.lock();
        let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut put = txn.prepare_cached(PUT)?;
            while let Some((key, value)) = items.next() {
                put.execute((key, value))?;
            }
        }
        Ok(txn.commit()?)
    }
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let mut db = self.keeper.lock();
        let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut del = txn.prepare_cached(DEL)?;
            while let Some((key, _)) = items.next() {
                del.execute((key,))?;
            }
        }
        Ok(txn.commit()?)
    }
    fn len(&self) -> Result<u64> {
        let n: i64 = self.keeper.lock().query_row("SELECT count(*) FROM records", (), |row| row.get(0))?;
        Ok(u64::try_from(n)?)
    }
    fn sync(&self) -> Result<()> {
        let mut db = self.keeper.lock();
        // A durable commit makes all earlier ones durable; it must write something to sync at all.
        let txn = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        txn.execute("CREATE TABLE IF NOT EXISTS synced (n INTEGER PRIMARY KEY)", ())?;
        txn.execute("INSERT INTO synced DEFAULT VALUES", ())?;
        txn.execute("DELETE FROM synced", ())?;
        Ok(txn.commit()?)
    }
    fn compact(&mut self) -> Result<()> {
        let db = self.keeper.lock();
        db.execute_batch("VACUUM")?;
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.keeper.into_inner().close().map_err(|(_, e)| Fail::from(e))
    }
}

struct Thread {
    db: Connection,
    /// What `synchronous` is set to.
    commit: Commit,
}

impl Thread {
    /// Sets `synchronous`, which is not part of a transaction, when it has to change.
    fn contract(&mut self, commit: Commit) -> Result<()> {
        if self.commit != commit {
            let level = if commit == Commit::Durable { "FULL" } else { "NORMAL" };
            self.db.pragma_update(None, "synchronous", level)?;
            self.commit = commit;
        }
        Ok(())
    }
}

fn look(statement: &mut CachedStatement<'_>, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
    let mut rows = statement.query((key,))?;
    match rows.next()? {
        Some(row) => {
            found(row.get_ref(0)?.as_blob()?);
            Ok(true)
        }
        None => Ok(false),
    }
}

impl Session for Thread {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        look(&mut self.db.prepare_cached(GET)?, key, found)
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        let db = &self.db;
        db.execute_batch("BEGIN")?;
        Ok(Box::new(Reader { get: db.prepare_cached(GET)?, walk: db.prepare_cached(WALK)?, db }))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        self.contract(commit)?;
        if let [op] = *ops {
            // A statement is a transaction.
            match op {
                Op::Put(key, value) => self.db.prepare_cached(PUT)?.execute((key, value))?,
                Op::Del(key) => self.db.prepare_cached(DEL)?.execute((key,))?,
            };
            return Ok(());
        }
        let txn = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let (mut put, mut del) = (txn.prepare_cached(PUT)?, txn.prepare_cached(DEL)?);
            for op in ops {
                match *op {
                    Op::Put(key, value) => put.execute((key, value))?,
                    Op::Del(key) => del.execute((key,))?,
                };
            }
        }
        Ok(txn.commit()?)
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        self.contract(commit)?;
        let txn = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let old: Option<Vec<u8>> = txn.prepare_cached(GET)?.query_row((key,), |row| row.get(0)).optional()?;
            txn.prepare_cached(PUT)?.execute((key, change(old.as_deref())))?;
        }
        Ok(txn.commit()?)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        self.contract(commit)?;
        let txn = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let first: Option<(Vec<u8>, Vec<u8>)> =
            txn.prepare_cached(FIRST)?.query_row((), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((key, value)) = first else { return Ok(false) };
        txn.prepare_cached(DEL)?.execute((&key,))?;
        txn.commit()?;
        taken(&key, &value);
        Ok(true)
    }
}

struct Reader<'a> {
    get: CachedStatement<'a>,
    walk: CachedStatement<'a>,
    db: &'a Connection,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Nothing was written: it does not matter how the transaction ends.
        let _ = self.db.execute_batch("COMMIT");
    }
}

impl View for Reader<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        look(&mut self.get, key, found)
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut rows = self.walk.query((from,))?;
        let mut seen = 0;
        while seen < limit {
            let Some(row) = rows.next()? else { break };
            each(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            seen += 1;
        }
        Ok(seen)
    }
}
