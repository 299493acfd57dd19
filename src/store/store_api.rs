//! The store's handle and its methods.

use super::{Batch, CheckReport, Durability, Stats, StoreOptions, SyncPoint, Tree};
use crate::error::{Error, Result};
use crate::sync::Arc;
use crate::types::Lsn;
use std::borrow::Borrow;
use std::path::Path;

pub(crate) struct Inner {}

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
    pub fn tree(&self, name: &str) -> Result<Tree> {
        let _ = name;
        Err(Error::Closed)
    }

    /// The tree of that name, or `None`.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn existing_tree(&self, name: &str) -> Result<Option<Tree>> {
        let _ = name;
        Err(Error::Closed)
    }

    /// The names of all trees, in ascending order of their bytes.
    ///
    /// # Errors
    /// [`Error::Corrupted`], [`Error::Io`], [`Error::Closed`].
    pub fn tree_names(&self) -> Result<Vec<String>> {
        Err(Error::Closed)
    }

    /// Carries out a batch, all of it or nothing; returns when the store's durability is met.
    ///
    /// # Errors
    /// [`Error::Conflict`] if a requirement did not hold, [`Error::BatchTooLarge`], [`Error::InvalidOption`] for a tree
    /// of another store, [`Error::KeyTooLarge`], [`Error::ValueTooLarge`]; nothing was changed then.
    pub fn apply(&self, batch: impl Borrow<Batch>) -> Result<()> {
        let _ = batch;
        Err(Error::Closed)
    }

    /// Like [`Store::apply`], but waits as `durability` says.
    ///
    /// # Errors
    /// See [`Store::apply`].
    pub fn apply_with(&self, batch: impl Borrow<Batch>, durability: Durability) -> Result<()> {
        let _ = (batch, durability);
        Err(Error::Closed)
    }

    /// Returns when all earlier writes are durable; the LSN up to which the log is.
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::Closed`].
    pub fn sync(&self) -> Result<Lsn> {
        Err(Error::Closed)
    }

    /// Asks for a sync of everything written before this call and returns at once.
    pub fn sync_async(&self) -> SyncPoint {
        SyncPoint { inner: self.inner.clone(), lsn: Lsn::NONE }
    }

    /// Up to where the log is on disk.
    #[must_use]
    pub fn durable_lsn(&self) -> Lsn {
        Lsn::NONE
    }

    /// Writes changed pages, so that a recovery has less to read and the log can be used again.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::Poisoned`], [`Error::ReadOnly`], [`Error::Closed`].
    pub fn checkpoint(&self) -> Result<()> {
        Err(Error::Closed)
    }

    /// Checks every page, every tree and the record of free space; cost: reads the whole store. Meant for a store that
    /// nothing writes to meanwhile.
    ///
    /// # Errors
    /// [`Error::Corrupted`] at the first damage.
    pub fn check(&self) -> Result<CheckReport> {
        Err(Error::Closed)
    }

    /// Like [`Store::check`], but goes on after a damage and lists them all; empty if there is none.
    ///
    /// # Errors
    /// What keeps it from checking at all.
    pub fn check_all(&self) -> Result<Vec<Error>> {
        Err(Error::Closed)
    }

    /// Plain numbers about the store.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Waits for running calls, writes a checkpoint and lets go of the directory, also when that fails. Other handles
    /// then answer [`Error::Closed`].
    ///
    /// # Errors
    /// What the last checkpoint or sync met; [`Error::InvalidOption`] when called from inside a callback.
    pub fn close(self) -> Result<()> {
        Err(Error::Closed)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
