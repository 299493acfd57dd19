//! What an engine must be able to do to be raced, and the list of those that can.
//!
//! The trait has the words of the workloads, not those of an engine, so that each adapter may answer with the call its
//! authors recommend: a view is a snapshot or a read transaction where there is one, a found value is lent where the
//! engine lends it, a load is the engine's own bulk path.

use crate::data::Key;
use std::fmt;
use std::path::PathBuf;

#[cfg(feature = "bf-tree")]
mod bf_tree;
#[cfg(feature = "yardsticks")]
mod btreemap;
#[cfg(feature = "canopydb")]
mod canopydb;
mod device;
#[cfg(feature = "fjall")]
mod fjall;
mod hashmap;
#[cfg(feature = "heed")]
mod heed;
mod memory;
mod pagebox;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "yardsticks")]
mod skiplist;
#[cfg(feature = "sled")]
mod sled;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "yardsticks")]
mod treeindex;

/// Why there is no figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The engine has no such operation, or none with this contract: not measured, and no fault.
    Unsupported(String),
    /// An error, a wrong answer, a panic.
    Failed(String),
}

impl Fail {
    /// A wrong answer.
    pub fn wrong(what: impl fmt::Display) -> Fail {
        Fail::Failed(format!("wrong answer: {what}"))
    }

    /// An error that is not one of `std::error::Error`.
    pub fn failed(what: impl fmt::Display) -> Fail {
        Fail::Failed(what.to_string())
    }

    /// Something the engine does not offer.
    pub fn unsupported<T>(why: impl fmt::Display) -> Result<T> {
        Err(Fail::Unsupported(why.to_string()))
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fail::Unsupported(why) => write!(f, "not supported: {why}"),
            Fail::Failed(why) => f.write_str(why),
        }
    }
}

impl<E: std::error::Error> From<E> for Fail {
    fn from(e: E) -> Fail {
        Fail::Failed(e.to_string())
    }
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Fail>;

/// When a write call may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// When the write would survive a loss of power.
    Durable,
    /// When every reader sees it.
    Buffered,
}

/// One change of a write.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    /// Insert or overwrite.
    Put(&'a [u8], &'a [u8]),
    /// Remove.
    Del(&'a [u8]),
}

/// The order in which a load's records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By nothing: keys in random order.
    Random,
    /// By key, all behind those already there.
    Sorted,
}

/// How to walk from a key: engines that have but one way ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// The engine's fastest way, a callback if it has one.
    Scan,
    /// An iterator or cursor that the caller holds.
    Cursor,
}

/// What an engine is opened with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where its files are; exists.
    pub dir: PathBuf,
    /// The memory it may use for caching.
    pub cache_bytes: u64,
    /// How most writes will be committed.
    pub commit: Commit,
    /// Around the system's page cache.
    pub direct: bool,
    /// About how many records there will be.
    pub records: u64,
    /// Bytes of the longest key and of the longest value.
    pub longest: (usize, usize),
}

/// Records to load: the next one's key and value, lent until the next call.
pub trait Items {
    /// The next record.
    fn next(&mut self) -> Option<(&[u8], &[u8])>;
}

/// Takes a key and a value.
pub type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// An open engine, shared by threads.
pub trait Engine: Send + Sync {
    /// What it was told: cache, sync mode, page cache or direct, and whatever else was set.
    fn settings(&self) -> String;
    /// One thread's way to it.
    fn session(&self) -> Result<Box<dyn Session + '_>>;
    /// Loads records that are not there yet by the engine's bulk path; durable on return, except in memory.
    fn load(&self, order: Order, items: &mut dyn Items) -> Result<()>;
    /// Removes the records of `items` (their values do not matter) by the engine's bulk path; durable on return, except in
    /// memory.
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let mut session = self.session()?;
        while let Some((key, _)) = items.next() {
            session.write(&[Op::Del(key)], Commit::Buffered)?;
        }
        self.sync()
    }
    /// The number of records.
    fn len(&self) -> Result<u64>;
    /// Everything written so far is durable on return.
    fn sync(&self) -> Result<()>;
    /// Makes the files small, with the engine's own call for that.
    fn compact(&mut self) -> Result<()> {
        Fail::unsupported("no compaction call")
    }
    /// Closes it cleanly.
    fn close(self: Box<Self>) -> Result<()>;
}

/// One thread's reads and writes of the present state.
pub trait Session {
    /// Looks up one key; lends the value.
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;
    /// The cheapest view for many reads: a snapshot, a read transaction, or the store itself.
    fn view(&mut self) -> Result<Box<dyn View + '_>>;
    /// Does `ops` at once, atomically where the engine can.
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()>;
    /// Reads, changes and writes one value as one step.
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()>;
    /// Removes the first record and lends it.
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool>;
}

/// Many reads.
pub trait View {
    /// Looks up one key; lends the value.
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Looks up many keys: each index once, in any order.
    fn get_many(&mut self, keys: &[Key], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        for (i, key) in keys.iter().enumerate() {
            if !self.get(key, &mut |value| found(i, Some(value)))? {
                found(i, None);
            }
        }
        Ok(())
    }

    /// Walks up to `limit` records from `from` (inclusive) on; how many there were.
    fn walk(&mut self, from: &[u8], limit: u64, how: Walk, each: Each<'_>) -> Result<u64>;
}

/// What kind of thing is raced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An embedded storage engine.
    Engine,
    /// A structure in memory that keeps nothing.
    Yardstick,
    /// The bare device or the bare memory.
    Bare,
}

/// An engine that this build has.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name in tables and files.
    pub name: &'static str,
    /// The package that has its version.
    pub package: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Whether a directory that was closed can be opened again.
    pub reopens: bool,
    /// Opens or creates it.
    pub open: fn(&Setup) -> Result<Box<dyn Engine>>,
}

macro_rules! entry {
    ($name:literal, $package:literal, $kind:ident, $reopens:literal, $module:ident) => {
        Entry {
            name: $name,
            package: $package,
            kind: Kind::$kind,
            reopens: $reopens,
            open: |setup| Ok(Box::new($module::open(setup)?)),
        }
    };
}

/// All that a saved run may hold, whatever this build can race, in the order of the tables.
pub const KNOWN: &[(&str, Kind)] = &[
    ("pagebox", Kind::Engine),
    ("redb", Kind::Engine),
    ("heed", Kind::Engine),
    ("rocksdb", Kind::Engine),
    ("fjall", Kind::Engine),
    ("sqlite", Kind::Engine),
    ("bf-tree", Kind::Engine),
    ("sled", Kind::Engine),
    ("canopydb", Kind::Engine),
    ("btreemap", Kind::Yardstick),
    ("hashmap", Kind::Yardstick),
    ("skiplist", Kind::Yardstick),
    ("treeindex", Kind::Yardstick),
    ("device", Kind::Bare),
    ("memory", Kind::Bare),
];

/// All engines of this build.
pub const ENGINES: &[Entry] = &[
    entry!("pagebox", "pagebox", Engine, true, pagebox),
    #[cfg(feature = "redb")]
    entry!("redb", "redb", Engine, true, redb),
    #[cfg(feature = "heed")]
    entry!("heed", "heed", Engine, true, heed),
    #[cfg(feature = "rocksdb")]
    entry!("rocksdb", "rocksdb", Engine, true, rocksdb),
    #[cfg(feature = "fjall")]
    entry!("fjall", "fjall", Engine, true, fjall),
    #[cfg(feature = "sqlite")]
    entry!("sqlite", "rusqlite", Engine, true, sqlite),
    #[cfg(feature = "bf-tree")]
    entry!("bf-tree", "bf-tree", Engine, false, bf_tree),
    #[cfg(feature = "sled")]
    entry!("sled", "sled", Engine, true, sled),
    #[cfg(feature = "canopydb")]
    entry!("canopydb", "canopydb", Engine, true, canopydb),
    #[cfg(feature = "yardsticks")]
    entry!("btreemap", "parking_lot", Yardstick, false, btreemap),
    entry!("hashmap", "std", Yardstick, false, hashmap),
    #[cfg(feature = "yardsticks")]
    entry!("skiplist", "crossbeam-skiplist", Yardstick, false, skiplist),
    #[cfg(feature = "yardsticks")]
    entry!("treeindex", "scc", Yardstick, false, treeindex),
    entry!("device", "none", Bare, true, device),
    entry!("memory", "none", Bare, false, memory),
];

/// The engine of that name.
pub fn find(name: &str) -> Option<&'static Entry> {
    ENGINES.iter().find(|entry| entry.name == name)
}

/// The names of all engines of this build.
pub fn names() -> String {
    ENGINES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ")
}

/// The version of a package that this build was locked to.
pub fn version(package: &str) -> Option<&'static str> {
    const LOCK: &str = include_str!("../../Cargo.lock");
    let mut lines = LOCK.lines();
    let mut found = None;
    while let Some(line) = lines.next() {
        let quoted = |line: &'static str, key| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"');
        if quoted(line, "name") == Some(package) {
            // Of several versions the newest comes last, and is the one raced.
            found = lines.next().and_then(|line| quoted(line, "version"));
        }
    }
    found
}
