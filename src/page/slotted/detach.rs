//! Taking a dropped tree apart: its inner nodes lose their last children until nothing is left, or only what cannot be read.

use super::*;
use crate::page::header::{self, set_swip_array};

impl SlottedPageMut<'_> {
    /// Keeps the first `keep` children of an inner node, and the last `behind`. With none left it becomes an empty leaf; only
    /// a tombstone does.
    /// The upper fence stays what it was: nobody looks for keys in a dropped tree.
    ///
    /// # Errors
    /// [`EditError::Damaged`] if it has fewer children, or the page is not a sound inner node.
    pub fn detach(&mut self, keep: usize, behind: usize) -> Result<(), EditError> {
        let node = self.node()?;
        if node.is_leaf() || keep + behind > node.count() {
            return Err(EditError::Damaged("children taken from a node that has fewer"));
        }
        if behind > 0 {
            return self.remove_children(keep, node.count() + 1 - behind, keep);
        }
        let Some(separators) = keep.checked_sub(1) else { return self.empty() };
        let mut dead = node.heap()?.1;
        for i in separators..node.count() {
            dead += node.entry_bytes(i)?;
        }
        let references = node.references_at();
        self.page.set_u32(DEAD, dead as u32);
        self.page.set_u16(COUNT, separators as u16);
        set_swip_array(&mut self.page, references, keep);
        self.refresh_hints(0)
    }

    /// An empty leaf of the same tree and kind, without fences.
    fn empty(&mut self) -> Result<(), EditError> {
        let (tree, kind) = (self.node()?.tree()?, self.page.reader().u8(header::KIND)?);
        let content = Content::empty_leaf(tree);
        self.build(&Content::parse(&content).ok_or(OutOfBounds)?)?;
        self.page.set_u8(header::KIND, kind);
        Ok(())
    }
}
