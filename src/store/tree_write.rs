//! A named tree's handle: writing.

use super::key_range::{KeyRange, half_open};
use super::tree::{CasConflict, Pair, Tree};
use crate::btree::{BTree, CasOutcome, Changed};
use crate::error::Result;
use crate::types::Lsn;

impl Tree {
    /// A write: counted as running; waits as the store's durability says for the LSN it gives.
    fn write<T>(&self, f: impl FnMut(&BTree) -> Result<(T, Lsn)>) -> Result<T> {
        let engine = &self.handle.inner.engine;
        let _call = engine.running.enter()?;
        let (result, lsn) = self.write_unacknowledged(f)?;
        engine.acknowledge(lsn, engine.durability)?;
        Ok(result)
    }

    /// What a write does that may have to write a large value first.
    #[inline]
    fn make_way(&self, value: Option<&[u8]>) {
        if let Some(value) = value
            && value.len() >= self.handle.tree.pool().page_size()
            && let Ok(_call) = self.handle.inner.engine.running.enter()
        {
            self.handle.inner.engine.make_way(value.len());
        }
    }

    /// The write without the wait; the call is counted already.
    fn write_unacknowledged<T>(&self, mut f: impl FnMut(&BTree) -> Result<(T, Lsn)>) -> Result<(T, Lsn)> {
        let engine = &self.handle.inner.engine;
        engine.log()?;
        engine.check_poison()?;
        let done = engine.with_space(|| f(&self.handle.tree))?;
        engine.after_write();
        Ok(done)
    }

    /// Sets `key` to `value`, of up to 4 GiB; true if the key was new. A value that is too long for a leaf (half a page at
    /// most) is written to pages of its own, and synced, before the record that refers to it is logged: in every
    /// durability mode such a write costs a sync of the page file. Memory beside the value: none to speak of.
    ///
    /// # Errors
    /// `KeyTooLarge`, `ValueTooLarge`, `ReadOnly`, `NoSpace`, `Poisoned`,
    /// and those of [`Tree::get`]; so for every write. Nothing was changed, except after `Poisoned`, where that is
    /// known only when the store has been opened again.
    #[doc(alias("put", "set"))]
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.make_way(Some(value));
        self.write(|tree| tree.insert(key, value).map(|Changed { existed, lsn, .. }| (!existed, lsn)))
    }

    /// Sets `key` to `value`; the value it had before.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.make_way(Some(value));
        self.write(|tree| {
            let mut before = Vec::new();
            let changed = tree.replace(key, value, &mut before)?;
            Ok((changed.existed.then_some(before), changed.lsn))
        })
    }

    /// Removes `key`; true if it was there.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    #[doc(alias("delete", "del"))]
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let key = key.as_ref();
        self.write(|tree| tree.remove(key).map(|Changed { existed, lsn, .. }| (existed, lsn)))
    }

    /// Removes `key`; the value it had.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    #[doc(alias("remove_entry"))]
    pub fn take(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>> {
        let key = key.as_ref();
        self.write(|tree| {
            let mut before = Vec::new();
            let changed = tree.take(key, &mut before)?;
            Ok((changed.existed.then_some(before), changed.lsn))
        })
    }

    /// Sets `key` to `new` (`None` removes it) if its value is `old` (`None`: if it is absent), in one step. Otherwise
    /// nothing changes, and the inner result says what was there.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    #[doc(alias("cas", "compare_exchange"))]
    pub fn compare_and_swap(
        &self,
        key: impl AsRef<[u8]>,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<std::result::Result<(), CasConflict>> {
        let key = key.as_ref();
        self.make_way(new);
        self.write(|tree| {
            let CasOutcome { swapped, current, lsn, .. } = tree.compare_and_swap(key, old, new)?;
            Ok((if swapped { Ok(()) } else { Err(CasConflict { current }) }, lsn))
        })
    }

    /// Replaces the value of `key` by what `f` makes of it (`None`: absent, or to be removed), in one step; the value
    /// before. `f` runs under no latch and may run again if another writer was faster.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    #[doc(alias("fetch_and_update", "update_and_fetch", "merge", "entry"))]
    pub fn fetch_update(
        &self,
        key: impl AsRef<[u8]>,
        mut f: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        let (engine, key) = (&self.handle.inner.engine, key.as_ref());
        let mut current = self.get(key)?;
        loop {
            let callback = self.in_callback();
            let new = f(current.as_deref());
            drop(callback);
            self.make_way(new.as_deref());
            let _call = engine.running.enter()?;
            let (swapped, lsn) = self.write_unacknowledged(|tree| {
                let outcome = tree.compare_and_swap(key, current.as_deref(), new.as_deref())?;
                Ok((if outcome.swapped { Ok(()) } else { Err(outcome.current) }, outcome.lsn))
            })?;
            match swapped {
                Ok(()) => {
                    engine.acknowledge(lsn, engine.durability)?;
                    return Ok(current);
                }
                Err(there) => current = there,
            }
        }
    }

    /// Removes the pair with the least key and returns it, in one step: there is no lesser key at that moment.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    #[doc(alias("pop_min"))]
    pub fn pop_first(&self) -> Result<Option<Pair>> {
        self.pop(BTree::pop_first)
    }

    /// Removes the pair with the greatest key and returns it, in one step.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    #[doc(alias("pop_max"))]
    pub fn pop_last(&self) -> Result<Option<Pair>> {
        self.pop(BTree::pop_last)
    }

    fn pop(&self, end: fn(&BTree, &mut Vec<u8>, &mut Vec<u8>) -> Result<Changed>) -> Result<Option<Pair>> {
        self.write(|tree| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            let changed = end(tree, &mut key, &mut value)?;
            Ok((changed.existed.then_some((key, value)), changed.lsn))
        })
    }

    /// Removes every key of the range, in steps of bounded size (not atomic); how many were removed. Whole leaves go at
    /// once, several of them in a step: the cost is that of reading them, and some bytes of log each.
    ///
    /// # Errors
    /// See [`Tree::insert`]; the steps done before stay done.
    #[doc(alias("clear", "delete_range", "retain"))]
    pub fn remove_range(&self, range: impl KeyRange) -> Result<u64> {
        let engine = &self.handle.inner.engine;
        let Some((low, high)) = half_open(range.bounds()) else { return self.write(|_| Ok((0, Lsn::NONE))) };
        let (mut removed, mut last, mut next) = (0, Lsn::NONE, Some(low));
        let mut outcome = Ok(());
        while let Some(low) = next.take() {
            // Counted step by step, so that closing does not wait for all of them.
            let _call = engine.running.enter()?;
            match self
                .write_unacknowledged(|tree| tree.remove_range_step(&low, high.as_deref()).map(|s| (s, Lsn::NONE)))
            {
                Ok((step, _)) => {
                    removed += step.removed;
                    last = last.max(step.lsn);
                    next = step.next;
                }
                Err(error) => outcome = Err(error),
            }
        }
        let _call = engine.running.enter()?;
        engine.acknowledge(last, engine.durability)?;
        outcome.map(|()| removed)
    }
}
