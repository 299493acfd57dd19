//! Scans with a callback: nothing is allocated per pair, and no latch is held while the callback runs.

use super::BTree;
use super::cursor::{LeafCopy, Take, Window};
use crate::error::Result;
use std::ops::ControlFlow;

impl BTree {
    /// Calls `f` with every pair from `low` (inclusive) to `high` (exclusive; `None`: to the end) in ascending order, until
    /// it breaks. Consistent leaf by leaf. `f` may use the tree.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn scan(
        &self,
        low: &[u8],
        high: Option<&[u8]>,
        mut f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut window, mut copy) = (Window::new(low, high), LeafCopy::default());
        while window.is_some() {
            self.inner.fetch(&mut window, Take::Front(usize::MAX), &mut copy)?;
            while let Some((key, value)) = copy.pop_front() {
                if f(key, value).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Like [`BTree::scan`], in descending order.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn scan_rev(
        &self,
        low: &[u8],
        high: Option<&[u8]>,
        mut f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut window, mut copy) = (Window::new(low, high), LeafCopy::default());
        while window.is_some() {
            self.inner.fetch(&mut window, Take::Back(usize::MAX), &mut copy)?;
            while let Some((key, value)) = copy.pop_back() {
                if f(key, value).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Counts the pairs; exact when nothing writes meanwhile. Cost: reads every leaf.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn len(&self) -> Result<u64> {
        let mut n = 0;
        self.scan(&[], None, |_, _| {
            n += 1;
            ControlFlow::Continue(())
        })?;
        Ok(n)
    }

    /// Whether there is no pair.
    ///
    /// # Errors
    /// See [`BTree::get`].
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.first()?.is_none())
    }
}
