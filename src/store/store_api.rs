//! The store's handle and its methods.

use super::catalog::Catalog;
use super::engine::Engine;
use super::running::InCallback;
use super::{Batch, CheckReport, Durability, Stats, StoreOptions, SyncPoint, Tree, batch, check};
use crate::error::{Error, Result};
use crate::io::DiskLock;
use crate::sync::{Arc, Mutex};
use crate::threading::Threads;
use crate::types::Lsn;
use std::borrow::Borrow;
use std::path::Path;

/// What the handles share; when the last one goes, this closes the store.
pub(crate) struct Inner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) threads: Threads,
    pub(crate) lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl Inner {
    /// What every call asks first: whether the store is still open and sound. Cost: a few loads.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        self.engine.running.check()?;
        self.engine.check_poison()
    }
}

/// An open store. Cloning gives another handle to the same one; the last handle (of store, trees, ranges and sync
/// points) to go closes it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none, with the default options.
    ///
    /// # Errors
    /// See [`StoreOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        StoreOptions::new().open(dir)
    }

    /// The options to open a store with; [`StoreOptions::open`] does it.
    #[must_use]
    pub fn options() -> StoreOptions {
        StoreOptions::new()
    }

    /// The tree of that name, created if there is none.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::ReadOnly`] if it would have to be created in a read-only store.
    #[doc(alias("open_tree", "open_table", "open_database", "keyspace", "partition"))]
    pub fn tree(&self, name: &str) -> Result<Tree> {
        let call = self.inner.engine.running.enter()?;
        self.inner.engine.check_poison()?;
        let found = self.inner.catalog.tree(&self.inner.engine, name, true)?;
        let Some((tree, name, created)) = found else { return Err(Error::NotFound { what: name.into() }) };
        if created > Lsn::NONE {
            self.inner.engine.acknowledge(created, self.inner.engine.durability)?;
        }
        drop(call);
        Ok(Tree::new(self.inner.clone(), tree, name))
    }

    /// The tree of that name, or `None`.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn existing_tree(&self, name: &str) -> Result<Option<Tree>> {
        self.inner.check_open()?;
        let found = self.inner.catalog.tree(&self.inner.engine, name, false);
        self.inner.check_open()?;
        Ok(found?.map(|(tree, name, _)| Tree::new(self.inner.clone(), tree, name)))
    }

    /// The names of all trees, in ascending order of their bytes.
    ///
    /// # Errors
    /// [`Error::Corrupted`], [`Error::Io`], [`Error::Closed`].
    #[doc(alias("list_tables", "list_partitions"))]
    pub fn tree_names(&self) -> Result<Vec<String>> {
        self.inner.check_open()?;
        let mut names = Vec::new();
        let found = self.inner.catalog.names(|name| names.push(name.to_owned()));
        self.inner.check_open()?;
        found.map(|()| names)
    }

    /// Drops the tree of that name: true if there was one. Handles to it answer [`Error::NotFound`] from then on, and the
    /// name is free for another tree. Returns when the drop is as durable as the store's durability says, and its pages
    /// are free, as far as they can be had now: the last one stays until no handle knows the tree, and what a crash or an
    /// error leaves is freed later. Cost: reads the tree, a few dozen pages a step; others go on meanwhile.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::ReadOnly`], [`Error::NoSpace`] (in the log); nothing was dropped then.
    #[doc(alias("delete_table", "delete_partition"))]
    pub fn drop_tree(&self, name: &str) -> Result<bool> {
        let (engine, catalog) = (&self.inner.engine, &self.inner.catalog);
        let call = engine.running.enter()?;
        engine.check_poison()?;
        let Some((tree, lsn)) = catalog.drop_tree(engine, name)? else { return Ok(false) };
        let acknowledged = engine.acknowledge(lsn, engine.durability);
        drop(call);
        catalog.free(engine, tree);
        acknowledged.map(|()| true)
    }

    /// Carries out a batch, all of it or nothing; returns when the store's durability is met.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a requirement did not hold, [`Error::BatchTooLarge`], [`Error::InvalidOption`] for a tree
    /// of another store, [`Error::KeyTooLarge`], [`Error::ValueTooLarge`]; nothing was changed then.
    #[doc(alias("commit", "write", "transaction"))]
    pub fn apply(&self, batch: impl Borrow<Batch>) -> Result<()> {
        self.apply_with(batch, self.inner.engine.durability)
    }

    /// Like [`Store::apply`], but waits as `durability` says.
    ///
    /// # Errors
    /// See [`Store::apply`].
    pub fn apply_with(&self, batch: impl Borrow<Batch>, durability: Durability) -> Result<()> {
        batch::apply(&self.inner.engine, batch.borrow(), durability)
    }

    /// Returns when all earlier writes are durable; the LSN up to which the log is.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Closed`].
    #[doc(alias("flush", "persist"))]
    pub fn sync(&self) -> Result<Lsn> {
        let engine = &self.inner.engine;
        let _call = engine.running.enter()?;
        let wal = engine.log()?;
        engine.check_poison()?;
        let _callback = InCallback::of(engine.id());
        wal.wait_durable(wal.position())
    }

    /// Asks for a sync of everything written before this call and returns at once.
    pub fn sync_async(&self) -> SyncPoint {
        SyncPoint::new(self.inner.clone())
    }

    /// Up to where the log is on disk.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        self.inner.engine.durable_lsn()
    }

    /// Writes changed pages, so that a recovery has less to read and the log can be used again.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn checkpoint(&self) -> Result<()> {
        let engine = &self.inner.engine;
        let _call = engine.running.enter()?;
        self.inner.catalog.free_dropped(engine, true);
        self.inner.catalog.tidy(engine);
        engine.checkpoint()
    }

    /// Checks every page, every tree and the record of free space; cost: reads the whole store. Meant for a store that
    /// nothing writes to meanwhile.
    ///
    /// # Errors
    /// [`Error::Corrupted`] at the first damage.
    pub fn check(&self) -> Result<CheckReport> {
        let (report, damages) = check::check(&self.inner)?;
        match damages.into_iter().next() {
            Some(damage) => Err(damage),
            None => Ok(report),
        }
    }

    /// Like [`Store::check`], but goes on after a damage and lists them all; empty if there is none.
    ///
    /// # Errors
    /// What keeps it from checking at all.
    pub fn check_all(&self) -> Result<Vec<Error>> {
        Ok(check::check(&self.inner)?.1)
    }

    /// Plain numbers about the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.engine.stats()
    }

    /// Waits for running calls, writes a checkpoint and lets go of the directory, also when that fails. Other handles
    /// then answer [`Error::Closed`].
    ///
    /// # Errors
    /// What the last checkpoint or sync met; [`Error::InvalidOption`] when called from inside a callback.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.engine.files.dir).finish_non_exhaustive()
    }
}
