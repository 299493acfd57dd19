//! A named tree's handle: reading.

use super::key_range::{KeyRange, half_open, prefix_bounds};
use super::range::Range;
use super::running::InCallback;
use super::store_api::Inner;
use crate::btree::{BTree, Window};
use crate::error::Result;
use crate::sync::Arc;
use crossbeam_utils::CachePadded;
use std::ops::ControlFlow;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// What a compare-and-swap found instead of what it expected.
#[derive(Clone, Debug, PartialEq, Eq)]
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
///
/// Clone it for each thread: a [`Range`] counts itself in at the handle that it came from, and threads that share a handle
/// pass the line with that count to and fro.
pub struct Tree {
    pub(crate) handle: Arc<CachePadded<Handle>>,
}

/// What a handle leads to. On lines of its own: the reference count in front of it changes with every range.
pub(crate) struct Handle {
    pub(crate) inner: Arc<Inner>,
    pub(crate) tree: BTree,
    pub(crate) name: Arc<str>,
}

impl Clone for Tree {
    fn clone(&self) -> Tree {
        let Handle { inner, tree, name } = &**self.handle;
        Tree::new(inner.clone(), tree.clone(), name.clone())
    }
}

impl Tree {
    pub(crate) fn new(inner: Arc<Inner>, tree: BTree, name: Arc<str>) -> Tree {
        Tree { handle: Arc::new(CachePadded::new(Handle { inner, tree, name })) }
    }

    /// A read: not counted as running, so what it found only counts if the store was not closed meanwhile. Nor if it was
    /// poisoned: what was found may be half a change, left by a panic while this waited for the latch.
    #[inline]
    pub(crate) fn read<T>(&self, f: impl FnOnce(&BTree) -> Result<T>) -> Result<T> {
        self.handle.inner.check_open()?;
        let found = f(&self.handle.tree);
        self.handle.inner.check_open()?;
        self.handle.inner.engine.reads.note_one();
        found
    }

    /// Notes that what follows, until the guard is dropped, is the caller's code.
    pub(crate) fn in_callback(&self) -> InCallback {
        InCallback::of(self.handle.inner.engine.id())
    }

    /// `f` as a scan calls it: no more once the store is closed or poisoned.
    fn guarded<'f>(
        &'f self,
        closed: &'f mut Result<()>,
        mut f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'f,
    ) -> impl FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'f {
        move |key, value| {
            *closed = self.handle.inner.check_open();
            if closed.is_err() {
                return ControlFlow::Break(());
            }
            f(key, value)
        }
    }
}

impl Tree {
    /// The name it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// The value of `key`. Cost: one descent and one copy. The memory for a large value is the caller's, beside the budget;
    /// [`Tree::get_range`] reads it in parts.
    ///
    /// # Errors
    /// `Corrupted`, `Io` (also if there is no memory for the value), `PoolExhausted`, `Closed`; so for every read.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        Ok(self.get_into(key, &mut out)?.then_some(out))
    }

    /// Replaces the content of `out` by the value of `key`; false, and `out` empty, if there is none.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn get_into(&self, key: impl AsRef<[u8]>, out: &mut Vec<u8>) -> Result<bool> {
        let found = self.read(|tree| tree.get_into(key.as_ref(), out));
        if found.is_err() {
            out.clear();
        }
        found
    }

    /// Replaces the content of `out` by a part of the value of `key`: the bytes `bytes`, cut off where the value ends (so
    /// beyond its end, or for an inverted range, nothing). False, and `out` empty, if there is no such key. Of a large value
    /// only the pages that hold these bytes are read: it may be larger than the memory budget.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn get_range(&self, key: impl AsRef<[u8]>, bytes: std::ops::Range<u64>, out: &mut Vec<u8>) -> Result<bool> {
        let found = self.read(|tree| tree.get_range(key.as_ref(), bytes, out));
        if found.is_err() {
            out.clear();
        }
        found
    }

    /// Calls `f` once with the value of `key`, if there is one. No latch is held meanwhile that anybody waits for: `f` may
    /// use the store. A large value that fills one page (up to 1 MiB, less with a small budget) is passed where it lies in
    /// memory, without a copy, once it is in memory: from its second read on, that is, if there is room; as long as `f` runs, the space of what is freed meanwhile is not reused.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        self.handle.inner.check_open()?;
        let running = &self.handle.inner.engine.running;
        let found = self.handle.tree.get_with(key.as_ref(), |value| {
            // What was found counts only if the store was not closed meanwhile.
            running.check()?;
            let _callback = self.in_callback();
            Ok(f(value))
        });
        self.handle.inner.engine.reads.add_one();
        match found {
            Ok(Some(result)) => result.map(Some),
            Ok(None) => running.check().map(|()| None),
            Err(error) => Err(running.check().err().unwrap_or(error)),
        }
    }

    /// Looks up every key and calls `f` once for each with its index and value (`None`: not there), in any order. Not a
    /// snapshot; no latch is held while `f` runs. Cheaper than single lookups: the keys go down the tree side by side, so
    /// that they wait for memory and disk together.
    ///
    /// # Errors
    /// See [`Tree::get`]; `f` was called for some of the keys then.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], mut f: impl FnMut(usize, Option<&[u8]>)) -> Result<()> {
        self.handle.inner.check_open()?;
        let running = &self.handle.inner.engine.running;
        // What was read while the store was being closed is not told: as elsewhere, the flag is looked at after the read.
        let mut open = Ok(());
        let looked = self.handle.tree.get_many(keys, |index, value| {
            if open.is_ok() {
                open = running.check();
            }
            if open.is_ok() {
                let _callback = self.in_callback();
                f(index, value);
            }
        });
        // What a close did to the read is no news of its own.
        looked.map_err(|error| running.check().err().unwrap_or(error))?;
        self.handle.inner.engine.reads.note(keys.len() as u64);
        open.and_then(|()| running.check())
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// See [`Tree::get`].
    #[doc(alias("exists", "has"))]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.read(|tree| tree.contains_key(key.as_ref()))
    }

    /// The pairs of a range, from both ends. Not a snapshot; see [`Range`].
    #[must_use]
    pub fn range(&self, range: impl KeyRange) -> Range {
        Range::new(self, range.bounds())
    }

    /// The pairs whose keys begin with `prefix`.
    #[must_use]
    #[doc(alias("scan_prefix"))]
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        Range::new(self, prefix_bounds(prefix.as_ref()))
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
    #[doc(alias("for_each"))]
    pub fn scan(&self, range: impl KeyRange, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        let Some((low, high)) = half_open(range.bounds()) else { return self.handle.inner.check_open() };
        let mut closed = Ok(());
        let _callback = self.in_callback();
        self.read(|tree| tree.scan_window::<false>(Window::new(low, high), self.guarded(&mut closed, f)))?;
        closed
    }

    /// Like [`Tree::scan`], in descending order.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn scan_rev(&self, range: impl KeyRange, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        let Some((low, high)) = half_open(range.bounds()) else { return self.handle.inner.check_open() };
        let mut closed = Ok(());
        let _callback = self.in_callback();
        self.read(|tree| tree.scan_window::<true>(Window::new(low, high), self.guarded(&mut closed, f)))?;
        closed
    }

    /// The pair with the least key.
    ///
    /// # Errors
    /// See [`Tree::get`].
    #[doc(alias("first_key_value"))]
    pub fn first(&self) -> Result<Option<Pair>> {
        self.read(BTree::first)
    }

    /// The pair with the greatest key.
    ///
    /// # Errors
    /// See [`Tree::get`].
    #[doc(alias("last_key_value"))]
    pub fn last(&self) -> Result<Option<Pair>> {
        self.read(BTree::last)
    }

    /// How many pairs there are, at some moment of the call. Cost: nothing to speak of in a tree that was made since the store
    /// was opened, or that was asked before at a moment when nobody wrote. Otherwise, and when others write so fast that no such
    /// moment is found, they are counted: each that is there all
    /// along once, and none that never is, which reads the first cache line of every leaf, some 100 ns each.
    ///
    /// # Errors
    /// See [`Tree::get`].
    #[doc(alias("count"))]
    pub fn len(&self) -> Result<u64> {
        self.read(BTree::len)
    }

    /// Whether there is no pair.
    ///
    /// # Errors
    /// See [`Tree::get`].
    pub fn is_empty(&self) -> Result<bool> {
        self.read(BTree::is_empty)
    }
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("name", &self.handle.name).finish_non_exhaustive()
    }
}
