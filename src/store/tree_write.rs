//! A named tree's handle: writing.

use super::key_range::KeyRange;
use super::tree::{CasConflict, Pair, Tree};
use crate::error::{Error, Result};

impl Tree {
    /// Sets `key` to `value`; true if the key was new.
    ///
    /// # Errors
    /// [`Error::KeyTooLarge`], [`Error::ValueTooLarge`], [`Error::ReadOnly`], [`Error::NoSpace`], [`Error::Poisoned`],
    /// and those of [`Tree::get`]; so for every write. Nothing was changed, except after `Poisoned`, where that is
    /// known only when the store has been opened again.
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        let _ = (key.as_ref(), value.as_ref());
        Err(Error::Closed)
    }

    /// Sets `key` to `value`; the value it had before.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let _ = (key.as_ref(), value.as_ref());
        Err(Error::Closed)
    }

    /// Removes `key`; true if it was there.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let _ = key.as_ref();
        Err(Error::Closed)
    }

    /// Removes `key`; the value it had.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn take(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let _ = key.as_ref();
        Err(Error::Closed)
    }

    /// Sets `key` to `new` (`None` removes it) if its value is `old` (`None`: if it is absent), in one step. Otherwise
    /// nothing changes, and the inner result says what was there.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<std::result::Result<(), CasConflict>> {
        let _ = (key.as_ref(), old, new);
        Err(Error::Closed)
    }

    /// Replaces the value of `key` by what `f` makes of it (`None`: absent, or to be removed), in one step; the value
    /// before. `f` runs under no latch and may run again if another writer was faster.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn fetch_update(
        &self,
        key: impl AsRef<[u8]>,
        mut f: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        let key = key.as_ref();
        let mut current = self.get(key)?;
        loop {
            let new = f(current.as_deref());
            match self.compare_and_swap(key, current.as_deref(), new.as_deref())? {
                Ok(()) => return Ok(current),
                Err(conflict) => current = conflict.current,
            }
        }
    }

    /// Removes the pair with the least key and returns it.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn pop_first(&self) -> Result<Option<Pair>> {
        self.pop(Tree::first)
    }

    /// Removes the pair with the greatest key and returns it.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn pop_last(&self) -> Result<Option<Pair>> {
        self.pop(Tree::last)
    }

    /// Takes what `end` finds; looks again if another thread took it first.
    fn pop(&self, end: fn(&Tree) -> Result<Option<Pair>>) -> Result<Option<Pair>> {
        loop {
            let Some((key, _)) = end(self)? else { return Ok(None) };
            if let Some(value) = self.take(&key)? {
                return Ok(Some((key, value)));
            }
        }
    }

    /// Removes every key of the range, in steps of bounded size (not atomic); how many were removed.
    ///
    /// # Errors
    /// See [`Tree::insert`]; the steps done before stay done.
    pub fn remove_range(&self, range: impl KeyRange) -> Result<u64> {
        let _ = range;
        Err(Error::Closed)
    }
}
