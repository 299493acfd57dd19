//! Checking a whole tree: every node against its own promises and its parent's.

use super::redo::damaged;
use super::value::{Reference, large_in};
use super::{BTree, Inner};
use crate::error::{Error, Result};
use crate::page::slotted::SlottedPage;
use crate::pool::Extent;
use crate::types::{PageId, SizeClass};
use std::collections::HashSet;

/// Levels a check follows: a damaged tree could claim more.
const MAX_DEPTH: usize = 64;

/// What a check of a tree found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TreeCheck {
    /// Every page of the tree, each once, parents before their children.
    pub pages: Vec<PageId>,
    /// How many of them are leaves.
    pub leaves: u64,
    /// Key-value pairs.
    pub records: u64,
    /// Bytes that keys, values, slots, references and fences take, over all nodes.
    pub used_bytes: u64,
    /// The extents that large values take, each once.
    pub values: Vec<Extent>,
    /// Everything that is not as it should be.
    pub errors: Vec<Error>,
}

impl BTree {
    /// Reads the whole tree and checks levels, fences, order, prefixes, heads, hints and reachability (each page once), and
    /// the pages of large values as they lie on disk.
    /// Damage is listed in the result; the check goes on beside it. Writers may go on meanwhile, but then the pages
    /// listed are those of no one moment. Holds the shared latches of one path.
    ///
    /// # Errors
    /// What hinders the check itself: `Io`, `PoolExhausted`, `Poisoned`.
    pub fn check(&self) -> Result<TreeCheck> {
        let mut check = TreeCheck::default();
        // Before the first leaf is looked at: what it refers to stays (V3).
        let _reader = self.inner.reader();
        let mut walk = Walk { inner: &self.inner, seen: HashSet::new(), check: &mut check };
        walk.node(self.inner.root, None, &[], None, 0)?;
        Ok(check)
    }
}

struct Walk<'w> {
    inner: &'w Inner,
    seen: HashSet<PageId>,
    check: &'w mut TreeCheck,
}

impl Walk<'_> {
    fn node(&mut self, id: PageId, level: Option<u8>, lower: &[u8], upper: Option<&[u8]>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH || !self.seen.insert(id) {
            self.check.errors.push(damaged(id, "a page reached twice"));
            return Ok(());
        }
        let page = match self.inner.pool.shared(id, SizeClass::ZERO) {
            Ok(page) => page,
            Err(error @ Error::Corrupted { .. }) => {
                self.check.errors.push(error);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.check.pages.push(id);
        if !self.inner.is_own(page.reader()) {
            self.check.errors.push(damaged(id, "a page of another tree, or no node"));
            return Ok(());
        }
        let Ok(node) = SlottedPage::open(page.reader()) else {
            self.check.errors.push(damaged(id, "a node whose arrays do not fit"));
            return Ok(());
        };
        if let Err(detail) = node.verify(lower, upper) {
            self.check.errors.push(damaged(id, &detail));
            return Ok(());
        }
        if level.is_some_and(|level| level != node.level()) {
            self.check.errors.push(damaged(id, "a node of the wrong level"));
            return Ok(());
        }
        self.check.used_bytes += node.used_bytes().unwrap_or(0) as u64;
        if node.is_leaf() {
            self.check.leaves += 1;
            self.check.records += node.count() as u64;
            let values = self.values(id, &node);
            drop(page);
            return values.iter().try_for_each(|value| self.inner.verify_value(value, &mut self.check.errors));
        }
        let mut separators = Vec::with_capacity(node.count());
        for i in 0..node.count() {
            let mut key = Vec::new();
            // `verify` has read every key.
            if node.key(i, &mut key).is_ok() {
                separators.push(key);
            }
        }
        for i in 0..=separators.len() {
            let low = if i == 0 { lower } else { &separators[i - 1] };
            let high = separators.get(i).map(Vec::as_slice).or(upper);
            if let Ok(child) = node.child(i) {
                self.node(child, Some(node.level() - 1), low, high, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The large values of a leaf, to be verified when it is unlatched.
    fn values(&mut self, id: PageId, leaf: &SlottedPage<'_>) -> Vec<Reference> {
        let mut values = Vec::new();
        for slot in 0..leaf.count() {
            match large_in(leaf, slot) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    self.check.values.extend_from_slice(value.runs());
                    values.push(*value);
                }
                Err(_) => {
                    let detail = format!("the reference to a large value in slot {slot} is none");
                    self.check.errors.push(damaged(id, &detail));
                }
            }
        }
        values
    }
}
