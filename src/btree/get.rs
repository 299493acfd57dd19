//! Looking up one key.

use super::descend::{Seek, sound};
use super::redo::damaged;
use super::{BTree, Inner};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{Search, SlottedPage, scratch};
use crate::pool::{Interrupt, PageRef};

impl BTree {
    /// The value of `key`. Cost: one descent, one copy, one allocation.
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `PoolExhausted`, `Poisoned`, `NotFound` for a dropped tree; so for every read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut out = Vec::new();
        Ok(self.get_into(key, &mut out)?.then_some(out))
    }

    /// Replaces the content of `out` by the value of `key`; false, and `out` empty, if there is none. Allocates nothing once
    /// `out` is large enough.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        let found = self.inner.look_up(key, Some(out))?;
        if !found {
            out.clear();
        }
        Ok(found)
    }

    /// Calls `f` once with the value of `key`, if there is one. No latch is held meanwhile: `f` may use the tree.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn get_with<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        scratch::with(|value| Ok(self.get_into(key, value)?.then(|| f(value))))
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn contains_key(&self, key: &[u8]) -> Result<bool> {
        self.inner.look_up(key, None)
    }
}

impl Inner {
    fn look_up(&self, key: &[u8], mut out: Option<&mut Vec<u8>>) -> Result<bool> {
        if key.len() > crate::page::slotted::max_key(self.pool.page_size()) {
            return Ok(false);
        }
        match self.retry(|| self.try_look_up(key, &mut out))? {
            Some(found) => Ok(found),
            None => self.in_lane(0, |lane| {
                let leaf: PageRef<'_> = self.coupled(lane, Seek::Key(key), 0)?;
                let found = SlottedPage::open(leaf.reader()).and_then(|node| value_of(&node, key, &mut out));
                found.map_err(|_| damaged(leaf.id(), "an offset leads outside of the page"))
            }),
        }
    }

    #[inline]
    fn try_look_up(&self, key: &[u8], out: &mut Option<&mut Vec<u8>>) -> Result<bool, Interrupt> {
        let view = self.descend(Seek::Key(key), 0)?.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        if cfg!(pagebox_break = "read_unvalidated") {
            // A reader that is held up here answers with what was there before, or with halves.
            crate::sync::thread::yield_now();
            return sound(&view, value_of(&node, key, out));
        }
        let found = sound(&view, value_of(&node, key, out))?;
        view.validate()?;
        Ok(found)
    }
}

#[inline]
fn value_of(node: &SlottedPage<'_>, key: &[u8], out: &mut Option<&mut Vec<u8>>) -> Result<bool, OutOfBounds> {
    let Search::Found(slot) = node.search(key)? else { return Ok(false) };
    if let Some(out) = out.as_deref_mut() {
        out.clear();
        node.value(slot, out)?;
    }
    Ok(true)
}
