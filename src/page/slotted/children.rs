//! The children of inner nodes as values: what new nodes at a tree's right edge are planned from.

use super::content::Encoder;
use super::*;
use crate::types::{PageId, TreeId};

/// A child of an inner node, and the separator on its left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) separator: Vec<u8>,
    pub(crate) page: PageId,
}

impl Child {
    /// What it adds to an inner node that cuts no prefix.
    fn page_bytes(&self) -> usize {
        SLOT_BYTES + WORD_BYTES + self.separator.len()
    }

    /// What it adds to a record.
    pub(crate) fn log_bytes(&self) -> usize {
        2 + 8 + self.separator.len()
    }
}

/// Appends the payload of [`ops::EXTEND`].
pub(crate) fn encode_extension(children: &[Child], upper: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(u8::from(upper.is_some()));
    let fence = upper.unwrap_or_default();
    out.extend_from_slice(&(fence.len() as u16).to_le_bytes());
    out.extend_from_slice(fence);
    for child in children {
        out.extend_from_slice(&(child.separator.len() as u16).to_le_bytes());
        out.extend_from_slice(&child.page.get().to_le_bytes());
        out.extend_from_slice(&child.separator);
    }
}

/// Appends the content of an inner node over `children`; the first one's separator is its lower fence.
pub(crate) fn encode_inner(tree: TreeId, level: u8, children: &[Child], upper: Option<&[u8]>, out: &mut Vec<u8>) {
    let lower = children.first().map_or(&[][..], |child| &child.separator);
    let mut encoder = Encoder::new(out, tree, level, lower, upper);
    for child in children.iter().skip(1) {
        encoder.entry((&[], &child.separator), 0, &[]);
    }
    children.iter().for_each(|child| encoder.child(child.page));
    encoder.finish();
}

/// How many of `children` the next inner node takes, from the first on: all of them, if they fit without an upper fence;
/// otherwise as many as fit with one, but not all.
pub(crate) fn fill_inner(children: &[Child], page_size: usize) -> Option<usize> {
    let lower = &children.first()?.separator;
    let fixed = SLOTS + lower.len() + WORD_BYTES;
    let all: usize = children[1..].iter().map(Child::page_bytes).sum();
    if fixed + all <= page_size {
        return Some(children.len());
    }
    let (mut sum, mut best) = (0, None);
    for (n, next) in children.iter().enumerate().skip(1) {
        let prefix = common_prefix(lower, &next.separator);
        let bytes = fixed + sum - (n - 1) * prefix;
        if bytes > page_size {
            break;
        }
        if bytes + next.separator.len() <= page_size {
            best = Some(n);
        }
        sum += next.page_bytes();
    }
    best
}

impl SlottedPage<'_> {
    /// Whether a leaf without an upper fence has room for this one.
    pub(crate) fn fits_upper(&self, upper: &[u8]) -> Result<bool, OutOfBounds> {
        scratch::with(|lower| {
            self.lower_fence(lower)?;
            let saved = self.count() * common_prefix(lower, upper);
            Ok(SLOTS + self.used_bytes()? + upper.len() <= self.page_size() + saved)
        })
    }

    /// The children of an inner node; the first one's separator is the lower fence.
    pub(crate) fn children(&self) -> Result<Vec<Child>, OutOfBounds> {
        let mut children = Vec::with_capacity(self.count() + 1);
        let mut separator = Vec::new();
        self.lower_fence(&mut separator)?;
        children.push(Child { separator, page: self.child(0)? });
        for i in 0..self.count() {
            let mut separator = Vec::new();
            self.key(i, &mut separator)?;
            children.push(Child { separator, page: self.child(i + 1)? });
        }
        Ok(children)
    }
}
