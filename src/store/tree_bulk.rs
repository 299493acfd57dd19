//! A named tree's handle: loading sorted records.

use super::tree::Tree;
use crate::error::{Error, Result};

impl Tree {
    /// Adds records whose keys ascend, all greater than the last one there; how many. For large inputs much faster than
    /// inserting them: leaves are built full and written once, beside the log, some megabytes at a time, each such portion
    /// linked and durable as a whole. Small inputs go the ordinary way. The iterator runs under no latch and may use the
    /// store; other readers and writers go on, and meet portions as they are linked. Memory: a buffer out of the store's
    /// budget, whatever the length of the input.
    ///
    /// # Errors
    /// [`Error::Unsorted`](crate::Error::Unsorted) at the first record that is not greater than the one before it, or if another thread has put in
    /// a key where the next records belong: with a position at or before which nothing is missing. Otherwise those of
    /// [`Tree::insert`]. **Not atomic:** what was loaded before the error stays, as does what a crash finds linked; it is
    /// always a prefix of the input.
    pub fn bulk_load<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, sorted: impl IntoIterator<Item = (K, V)>) -> Result<u64> {
        self.bulk_load_filled(100, sorted)
    }

    /// As [`Tree::bulk_load`], into leaves filled to `percent` of a page, 50 to 100: what is to be inserted into later, in any
    /// order, splits less with some room. A record that alone is longer takes what it takes.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for another percentage; otherwise as [`Tree::bulk_load`].
    pub fn bulk_load_filled<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        percent: u8,
        sorted: impl IntoIterator<Item = (K, V)>,
    ) -> Result<u64> {
        if !(50..=100).contains(&percent) {
            let reason = format!("{percent} percent; leaves can be filled to 50 to 100");
            return Err(Error::InvalidOption { option: "fill", reason });
        }
        let engine = &self.handle.inner.engine;
        let mut load = self.handle.tree.bulk_load_filled(percent);
        let mut input = {
            let _callback = self.in_callback();
            sorted.into_iter()
        };
        let mut refused = Ok(());
        loop {
            let callback = self.in_callback();
            let Some((key, value)) = input.next() else { break };
            let (key, value) = (key.as_ref(), value.as_ref());
            // What it copies is the caller's, but nothing it calls is.
            drop(callback);
            refused = if load.is_large(key, value) { self.step(|| load.put(key, value)) } else { load.put(key, value) };
            if refused.is_err() {
                break;
            }
            if load.is_due() {
                self.step(|| load.advance())?;
            }
        }
        let done = self.step(|| load.finish());
        let (loaded, lsn) = load.loaded();
        let _call = engine.running.enter()?;
        engine.acknowledge(lsn, engine.durability)?;
        done?;
        refused.map(|()| loaded)
    }

    /// A part of a long write: counted as running, tried again once there is space.
    fn step<T>(&self, f: impl FnMut() -> Result<T>) -> Result<T> {
        let engine = &self.handle.inner.engine;
        let _call = engine.running.enter()?;
        engine.log()?;
        engine.check_poison()?;
        let done = engine.with_space(f)?;
        engine.after_write();
        Ok(done)
    }
}
