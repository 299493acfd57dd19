//! Looking up one key.

use super::descend::{Seek, sound};
use super::redo::damaged;
use super::value::LARGE;
use super::{BTree, Inner};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{Search, SlottedPage, scratch};
use crate::pool::{Interrupt, PageRef, Reader};
use std::ops::Range;

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
    /// `out` is large enough, unless the value is a large one.
    ///
    /// # Errors
    /// See [`BTree::get`]; `Io` also if there is no memory for a large value.
    pub fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        match self.inner.look_up(key, Some(out))? {
            Found::Inline => Ok(true),
            Found::Nothing => {
                out.clear();
                Ok(false)
            }
            Found::Large(reader) => self.large_into(reader, out, None).map(|()| true),
        }
    }

    /// Replaces the content of `out` by the bytes `bytes` of the value of `key`, cut off at its end; false, and `out` empty, if
    /// there is no such key. Cost: of a large value only the pages that hold those bytes are read.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn get_range(&self, key: &[u8], bytes: Range<u64>, out: &mut Vec<u8>) -> Result<bool> {
        out.clear();
        match self.inner.look_up(key, Some(out))? {
            Found::Nothing => {
                out.clear();
                Ok(false)
            }
            Found::Inline => {
                let range = cut(&bytes, out.len() as u64);
                out.truncate(range.end as usize);
                out.drain(..range.start as usize);
                Ok(true)
            }
            Found::Large(reader) => self.large_into(reader, out, Some(bytes)).map(|()| true),
        }
    }

    /// Calls `f` once with the value of `key`, if there is one. No latch is held meanwhile but that of a large value's own
    /// page, which nobody waits for: `f` may use the tree. A large value that fills one page is passed where it lies; as
    /// long as `f` runs, freed space is not reused.
    ///
    /// # Errors
    /// See [`BTree::get_into`].
    pub fn get_with<R>(&self, key: &[u8], f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        scratch::with(|value| match self.inner.look_up(key, Some(value))? {
            Found::Nothing => Ok(None),
            Found::Inline => Ok(Some(f(value))),
            Found::Large(_reader) => {
                let reference = self.inner.reference(value)?;
                value.clear();
                self.inner.with_value(&reference, f).map(Some)
            }
        })
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn contains_key(&self, key: &[u8]) -> Result<bool> {
        Ok(!matches!(self.inner.look_up(key, None)?, Found::Nothing))
    }

    /// Replaces the reference in `out` by what it refers to, or by a part of it; on failure `out` is empty.
    #[cold]
    pub(super) fn large_into(&self, _reader: Reader, out: &mut Vec<u8>, bytes: Option<Range<u64>>) -> Result<()> {
        let reference = self.inner.reference(out);
        out.clear();
        let reference = reference?;
        let range = cut(&bytes.unwrap_or(0..u64::MAX), reference.len());
        self.inner.read_value(&reference, range, out)
    }
}

/// What of a range lies within `len` bytes; empty at its end if it is inverted or beyond.
fn cut(bytes: &Range<u64>, len: u64) -> Range<u64> {
    let end = bytes.end.min(len);
    bytes.start.min(end)..end
}

/// What a look-up found.
enum Found {
    Nothing,
    /// The value is in the caller's buffer.
    Inline,
    /// The reference to it is in the caller's buffer, and what it refers to stays as long as the reader is registered.
    Large(Reader),
}

impl Inner {
    fn look_up(&self, key: &[u8], mut out: Option<&mut Vec<u8>>) -> Result<Found> {
        if key.len() > crate::page::slotted::max_key(self.pool.page_size()) {
            return Ok(Found::Nothing);
        }
        match self.retry(|| self.try_look_up(key, &mut out))? {
            Some(found) => Ok(found),
            None => self.in_lane(0, |lane| {
                let leaf: PageRef<'_> = self.coupled(lane, Seek::Key(key), 0)?;
                let found = SlottedPage::open(leaf.reader()).and_then(|node| value_of(&node, key, &mut out));
                match found.map_err(|_| damaged(leaf.id(), "an offset leads outside of the page"))? {
                    None => Ok(Found::Nothing),
                    // The leaf is latched (V3).
                    Some(flags) if flags & LARGE != 0 => Ok(Found::Large(self.reader())),
                    Some(_) => Ok(Found::Inline),
                }
            }),
        }
    }

    #[inline]
    fn try_look_up(&self, key: &[u8], out: &mut Option<&mut Vec<u8>>) -> Result<Found, Interrupt> {
        let (view, node) = self.leaf(key)?;
        if cfg!(pagebox_break = "read_unvalidated") {
            // A reader that is held up here answers with what was there before, or with halves.
            crate::sync::thread::yield_now();
            return Ok(sound(&view, value_of(&node, key, out))?.map_or(Found::Nothing, |_| Found::Inline));
        }
        let found = sound(&view, value_of(&node, key, out))?;
        let found = match found {
            None => Found::Nothing,
            // Registered before the leaf is validated (V3).
            Some(flags) if flags & LARGE != 0 => Found::Large(self.reader()),
            Some(_) => Found::Inline,
        };
        view.validate()?;
        Ok(found)
    }
}

/// The slot flags of `key`, if it is there; what the leaf holds for it goes to `out`.
#[inline(always)]
fn value_of(node: &SlottedPage<'_>, key: &[u8], out: &mut Option<&mut Vec<u8>>) -> Result<Option<u8>, OutOfBounds> {
    let Search::Found(slot) = node.search_inline(key)? else { return Ok(None) };
    let Some(out) = out.as_deref_mut() else { return Ok(Some(0)) };
    out.clear();
    node.value_and_flags(slot, out).map(Some)
}
