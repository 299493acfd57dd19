//! A named tree's handle: reading.

use super::key_range::{KeyRange, prefix_bounds};
use super::range::Range;
use super::store_api::Inner;
use crate::error::{Error, Result};
use crate::sync::Arc;
use std::ops::ControlFlow;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a compare-and-swap found instead of what it expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CasConflict {
    /// The key's value at that moment; `None`: it was absent.
    pub current: Option<Vec<u8>>,
}

impl std::fmt::Display for CasConflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the key has another value than expected")
    }
}

impl std::error::Error for CasConflict {}

/// A named ordered map of byte keys to byte values. Cloning gives another handle to the same tree.
#[derive(Clone)]
pub struct Tree {
    pub(crate) inner: Arc<Inner>,
    pub(crate) name: Arc<str>,
}

impl Tree {
    /// The name it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of `key`. Cost: one descent and one copy.
    ///
    /// # Errors
    /// [`Error::Corrupted`], [`Error::Io`], [`Error::PoolExhausted`], [`Error::Closed`]; so for every read.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        Ok(self.get_into(key, &mut out)?.then_some(out))
    }

    /// Replaces the content of `out` by the value of `key`; false, and `out` empty, if there is none.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn get_into(&self, key: impl AsRef<[u8]>, out: &mut Vec<u8>) -> Result<bool> {
        let _ = (key.as_ref(), &self.inner);
        out.clear();
        Err(Error::Closed)
    }

    /// Calls `f` once with the value of `key`, if there is one. No latch is held meanwhile: `f` may use the store.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        let mut out = Vec::new();
        Ok(self.get_into(key, &mut out)?.then(|| f(&out)))
    }

    /// Looks up every key and calls `f` once for each with its index and value, in any order. Not a snapshot.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], mut f: impl FnMut(usize, Option<&[u8]>)) -> Result<()> {
        let mut out = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let found = self.get_into(key, &mut out)?;
            f(index, found.then_some(&out[..]));
        }
        Ok(())
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let _ = key.as_ref();
        Err(Error::Closed)
    }

    /// The pairs of a range, from both ends. Not a snapshot; see [`Range`].
    #[must_use]
    pub fn range(&self, range: impl KeyRange) -> Range {
        Range::new(self.clone(), range.bounds())
    }

    /// The pairs whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        Range::new(self.clone(), prefix_bounds(prefix.as_ref()))
    }

    /// All pairs.
    #[must_use]
    pub fn iter(&self) -> Range {
        self.range(..)
    }

    /// Calls `f` with every pair of the range in ascending order, until it breaks. Not a snapshot; no latch is held
    /// while `f` runs. Cheaper than [`Tree::range`]: nothing is allocated per pair.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn scan(&self, range: impl KeyRange, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        let _ = (range, f);
        Err(Error::Closed)
    }

    /// Like [`Tree::scan`], in descending order.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn scan_rev(&self, range: impl KeyRange, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        let _ = (range, f);
        Err(Error::Closed)
    }

    /// The pair with the least key.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn first(&self) -> Result<Option<Pair>> {
        self.iter().next().transpose()
    }

    /// The pair with the greatest key.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn last(&self) -> Result<Option<Pair>> {
        self.iter().next_back().transpose()
    }

    /// Counts the pairs; exact when nothing writes meanwhile. Cost: reads the whole tree.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn len(&self) -> Result<u64> {
        let mut n = 0;
        self.scan(.., |_, _| {
            n += 1;
            ControlFlow::Continue(())
        })?;
        Ok(n)
    }

    /// Whether there is no pair.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first()?.is_none())
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("name", &self.name).finish_non_exhaustive()
    }
}
