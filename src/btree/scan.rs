//! Scans with a callback: nothing is allocated per pair, and no latch is held while the callback runs.

use super::cursor::{Take, Window};
use super::leaf_copy::{Keep, Kept, Taken};
use super::{BTree, Inner};
use crate::error::Result;
use std::ops::ControlFlow;

impl BTree {
    /// Calls `f` with every pair from `low` (inclusive) to `high` (exclusive; `None`: to the end) in ascending order, until
    /// it breaks. Consistent leaf by leaf. `f` may use the tree. As long as large values of a leaf are still to come, freed
    /// space is not reused.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn scan(&self, low: &[u8], high: Option<&[u8]>, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<()> {
        self.scan_window::<false>(Window::new(low.to_vec(), high.map(<[u8]>::to_vec)), f)
    }

    /// Like [`BTree::scan`], in descending order.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn scan_rev(
        &self,
        low: &[u8],
        high: Option<&[u8]>,
        f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.scan_window::<true>(Window::new(low.to_vec(), high.map(<[u8]>::to_vec)), f)
    }

    /// [`BTree::scan`], or [`BTree::scan_rev`] if `BACK`, of a window of the caller's making.
    pub(crate) fn scan_window<const BACK: bool>(
        &self,
        mut window: Option<Window>,
        mut f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut copy, mut taken) = (Kept::new(Keep::Pairs), 0);
        while window.is_some() {
            let take = if BACK { Take::back(taken) } else { Take::front(taken) };
            self.inner.fetch(&mut window, take, &mut copy)?;
            taken += copy.len();
            while let Some(pair) = if BACK { copy.pop_back() } else { copy.pop_front() } {
                if self.inner.pass(pair, &mut f)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Like [`BTree::scan`], but without the values: large ones are not read.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn scan_keys(
        &self,
        low: &[u8],
        high: Option<&[u8]>,
        mut f: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut window = Window::new(low.to_vec(), high.map(<[u8]>::to_vec));
        let mut copy = Kept::new(Keep::Keys);
        while window.is_some() {
            self.inner.fetch(&mut window, Take::Front(usize::MAX), &mut copy)?;
            while let Some(pair) = copy.pop_front() {
                if f(pair.key).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether there is no pair.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first_key()?.is_none())
    }
}

impl Inner {
    /// Passes a pair on: a large value is read now, under no latch but that of its own page.
    #[inline]
    fn pass(&self, pair: Taken<'_>, f: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<ControlFlow<()>> {
        if pair.large {
            self.with_value(&self.reference(pair.value)?, |value| f(pair.key, value))
        } else {
            Ok(f(pair.key, pair.value))
        }
    }
}
