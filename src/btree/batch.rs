//! Batches: several changes in several trees, atomic and isolated, as one record.
//!
//! The operations are sorted by (tree, key) and gathered by key and by leaf. Room is made first, by splits with records of
//! their own, at separators taken from the batch's keys. Then all leaves are latched in order, by try; requirements are
//! checked, the record appended, everything applied, and only then the first latch released. Whatever fails on the way
//! lets go of everything and starts again; after a bounded number of restarts, in the slow lane, where latches are waited
//! for.

use super::descend::{Seek, sound};
use super::latched::{Fit, Judged, Leaf, Side, Unknown};
use super::redo::damaged;
use super::value::{self, Draft};
use super::{BTree, Inner, LogRoom};
use crate::error::{Error, Result};
use crate::page::slotted::{SlottedPage, ops};
use crate::pool::{Interrupt, PageMut, PageView, Reader};
use crate::sync::Arc;
use crate::types::{Lsn, PageId};
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD};

/// What a batch does to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchAction<'a> {
    /// Sets its value.
    Insert(&'a [u8]),
    /// Removes it, if it is there.
    Remove,
    /// Requires that it has this value just before the batch (`None`: that it is absent).
    Require(Option<&'a [u8]>),
}

/// One operation of a batch. A later insertion or removal of a key wins over an earlier one.
#[derive(Clone, Copy, Debug)]
pub struct BatchOp<'a> {
    /// The tree: all of a batch share pool and log.
    pub tree: &'a BTree,
    /// The key.
    pub key: &'a [u8],
    /// What is to become of it.
    pub action: BatchAction<'a>,
}

/// How a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchOutcome {
    /// The place in the batch of a requirement that did not hold; nothing was changed then.
    pub conflict: Option<usize>,
    /// The LSN to wait for: the record's, or if nothing changed, that of the youngest leaf judged by.
    pub lsn: Lsn,
}

/// All that a batch says about one key.
pub(super) struct Group<'a> {
    pub(super) inner: &'a Inner,
    pub(super) key: &'a [u8],
    /// Requirements, with their places in the batch.
    pub(super) requires: Vec<(usize, Option<&'a [u8]>)>,
    /// `Some(None)` removes; `None`: only requirements.
    pub(super) write: Option<Option<&'a [u8]>>,
}

pub(super) enum Step {
    /// With one group each of the leaves that its removals left sparse.
    Done(BatchOutcome, Vec<usize>),
    /// These leaves have no room for their groups: of each the first group without, with a boundary in front of it if
    /// others come before it in its leaf.
    Full(Vec<(usize, Option<Vec<u8>>)>),
    /// The large values have to be written first.
    Write,
    /// A large value has to be compared first.
    Learn(Unknown, Reader),
    /// The log room lacks this many bytes for frees.
    Room(usize),
}

impl BTree {
    /// Carries out a batch: all of it, or nothing if a requirement does not hold. Isolated from other batches and from
    /// single-key operations. An empty batch does nothing.
    ///
    /// # Errors
    /// [`Error::BatchTooLarge`] if its record is too long for the log, or its leaves are too many for the pool;
    /// [`Error::InvalidOption`] if the trees do not share one pool; and those of [`BTree::insert`]. Nothing was changed.
    pub fn apply(batch: &[BatchOp<'_>]) -> Result<BatchOutcome> {
        let groups = gather(batch)?;
        let Some(group) = groups.first() else { return Ok(BatchOutcome { conflict: None, lsn: Lsn::NONE }) };
        let any = group.inner;
        any.pool.check_poison()?;
        let max = any.log.as_ref().map_or(u64::MAX, |log| log.max_record_bytes() as u64);
        let (mut side, mut first) = (Side::default(), true);
        loop {
            let bytes = record_bytes(&groups) + side.spare;
            if bytes as u64 > max {
                return Err(Error::BatchTooLarge { bytes: bytes as u64, max });
            }
            let mut room = any.reserve(bytes)?;
            let step = match any.retry(|| try_batch(&groups, &side, &mut room))? {
                Some(step) => step,
                None => batch_in_lane(&groups, &side, &mut room)?,
            };
            // Given back before anything else waits: for a split, for the disk.
            drop(room);
            match step {
                Step::Done(outcome, sparse) => {
                    sparse.into_iter().for_each(|at| groups[at].inner.tidy(groups[at].key, true));
                    return Ok(outcome);
                }
                // All of them before the next attempt, which looks up every key again.
                Step::Full(full) => {
                    for (at, boundary) in full {
                        let group = &groups[at];
                        let value_len = side.stored(at, group).and_then(|(value, _)| value).map_or(0, <[u8]>::len);
                        match boundary {
                            Some(separator) => group.inner.make_boundary(group.key, &separator, value_len)?,
                            None => group.inner.make_room(group.key, value_len, first)?,
                        }
                    }
                    first = false;
                }
                Step::Write => side.drafts = write_large(&groups)?,
                Step::Learn(Unknown { place, group, there }, reader) => {
                    let expected =
                        groups[group].requires.iter().find(|(at, _)| *at == place).and_then(|(_, value)| *value);
                    side.known.insert(place, groups[group].inner.learn(*there, reader, expected, None)?);
                }
                Step::Room(bytes) => side.spare = bytes,
            }
        }
    }
}

/// Writes all large values of the batch, with one sync a tree; by the place of their groups.
fn write_large<'a>(groups: &[Group<'a>]) -> Result<Vec<Option<Draft<'a>>>> {
    let mut drafts = Vec::with_capacity(groups.len());
    for of_tree in groups.chunk_by(|a, b| a.inner.tree == b.inner.tree) {
        let values: Vec<&[u8]> = of_tree.iter().filter_map(Group::large).collect();
        let written = if values.is_empty() { Vec::new() } else { of_tree[0].inner.write_values(&values)? };
        let mut written = written.into_iter();
        drafts.extend(of_tree.iter().map(|group| group.large().and_then(|_| written.next())));
    }
    Ok(drafts)
}

impl<'a> Group<'a> {
    /// The value to be written, if it is a large one.
    fn large(&self) -> Option<&'a [u8]> {
        self.write.flatten().filter(|value| self.inner.is_large(self.key.len(), value.len()))
    }
}

/// Sorted by tree and key, one group a key; sizes checked.
fn gather<'a>(batch: &'a [BatchOp<'a>]) -> Result<Vec<Group<'a>>> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&i| (batch[i].tree.id(), batch[i].key));
    let mut groups: Vec<Group<'a>> = Vec::new();
    for i in order {
        let op = &batch[i];
        let inner: &'a Inner = &op.tree.inner;
        if !Arc::ptr_eq(&inner.pool, &batch[0].tree.inner.pool) {
            return Err(Error::InvalidOption { option: "batch", reason: "its trees are of different stores".into() });
        }
        let value_len = if let BatchAction::Insert(value) = op.action { value.len() } else { 0 };
        inner.check_sizes(op.key, value_len)?;
        let same = groups.last().is_some_and(|group| group.inner.tree == inner.tree && group.key == op.key);
        if !same {
            groups.push(Group { inner, key: op.key, requires: Vec::new(), write: None });
        }
        if let Some(group) = groups.last_mut() {
            match op.action {
                BatchAction::Insert(value) => group.write = Some(Some(value)),
                BatchAction::Remove => group.write = Some(None),
                BatchAction::Require(value) => group.requires.push((i, value)),
            }
        }
    }
    Ok(groups)
}

/// The most that the batch's record takes, in bytes, without frees.
fn record_bytes(groups: &[Group<'_>]) -> usize {
    let part = |group: &Group<'_>| {
        let Some(write) = group.write else { return 0 };
        let value = match group.large() {
            Some(_) => value::MAX_REFERENCE + value::MAX_ALLOCATION,
            None => write.map_or(0, <[u8]>::len),
        };
        PART_OVERHEAD + ops::RECORD_OVERHEAD + group.key.len() + value
    };
    RECORD_OVERHEAD + groups.iter().map(part).sum::<usize>()
}

/// The leaves one batch may latch: the rest of the pool is for everybody else.
fn max_leaves(inner: &Inner) -> usize {
    (inner.pool.capacity_pages() / 4).max(2)
}

fn too_many(inner: &Inner, leaves: usize) -> Error {
    let page = inner.pool.page_size() as u64;
    Error::BatchTooLarge { bytes: leaves as u64 * page, max: max_leaves(inner) as u64 * page }
}

/// A damaged reference led to a leaf that is not the key's; it may even be one that is latched already.
fn elsewhere(page: PageId) -> Error {
    damaged(page, "reached for a key that it does not cover")
}

/// The first group behind `from` that is not in the same leaf as `groups[from]`.
fn end_of_leaf(groups: &[Group<'_>], from: usize, covers: impl Fn(&[u8]) -> bool) -> usize {
    let tree = groups[from].inner.tree;
    let same = |group: &Group<'_>| group.inner.tree == tree && covers(group.key);
    from + 1 + groups[from + 1..].iter().take_while(|group| same(group)).count()
}

fn try_batch<'a>(groups: &'a [Group<'a>], side: &Side<'_>, room: &mut Option<LogRoom<'a>>) -> Result<Step, Interrupt> {
    let mut views: Vec<(PageView<'a>, usize, usize)> = Vec::new();
    let mut from = 0;
    while from < groups.len() {
        let inner = groups[from].inner;
        let view = inner.descend(Seek::Key(groups[from].key), 0)?.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        if !sound(&view, node.covers(groups[from].key))? {
            view.validate()?;
            return Err(Interrupt::Failed(elsewhere(view.id())));
        }
        let to = end_of_leaf(groups, from, |key| node.covers(key) == Ok(true));
        views.push((view, from, to));
        from = to;
        if views.len() > max_leaves(inner) {
            view.validate()?;
            return Err(Interrupt::Failed(too_many(inner, views.len())));
        }
    }
    let mut leaves = Vec::with_capacity(views.len());
    for (view, from, to) in views {
        // In order, and by try: fails if the leaf changed since it was found.
        leaves.push(Leaf { page: view.try_exclusive()?, groups: &groups[from..to], first: from });
    }
    Ok(carry_out(leaves, side, room)?)
}

fn batch_in_lane<'a>(groups: &'a [Group<'a>], side: &Side<'_>, room: &mut Option<LogRoom<'a>>) -> Result<Step> {
    let any = groups[0].inner;
    any.in_lane(groups.len().min(max_leaves(any)), |lane| {
        let mut leaves: Vec<Leaf<'a, 'a>> = Vec::new();
        let mut from = 0;
        while from < groups.len() {
            let inner = groups[from].inner;
            let page: PageMut<'a> = inner.coupled(lane, Seek::Key(groups[from].key), 0)?;
            let to = match SlottedPage::open(page.reader()) {
                Ok(node) if node.covers(groups[from].key) == Ok(true) => {
                    end_of_leaf(groups, from, |key| node.covers(key) == Ok(true))
                }
                Ok(_) => return Err(elsewhere(page.id())),
                Err(_) => return Err(damaged(page.id(), "a node whose arrays do not fit")),
            };
            leaves.push(Leaf { page, groups: &groups[from..to], first: from });
            from = to;
            if leaves.len() > max_leaves(inner) {
                return Err(too_many(inner, leaves.len()));
            }
        }
        carry_out(leaves, side, room)
    })
}

/// Under all latches: requirements, room, record, application.
pub(super) fn carry_out<'a>(
    leaves: Vec<Leaf<'a, 'a>>,
    side: &Side<'_>,
    room: &mut Option<LogRoom<'a>>,
) -> Result<Step> {
    let Some(any) = leaves.first().map(|leaf| leaf.groups[0].inner) else {
        return Ok(Step::Done(BatchOutcome { conflict: None, lsn: Lsn::NONE }, Vec::new()));
    };
    for leaf in &leaves {
        // A tree dropped on the way would get its part and lose it, while others keep theirs (D2).
        leaf.groups[0].inner.check_dropped()?;
        match leaf.judge(side)? {
            Judged::Holds => {}
            Judged::Conflict(place) => {
                let lsn = leaves.iter().map(|leaf| leaf.page.lsn()).max().unwrap_or_default();
                return Ok(Step::Done(BatchOutcome { conflict: Some(place), lsn }, Vec::new()));
            }
            // The leaf is latched (V3).
            Judged::Unknown(unknown) => return Ok(Step::Learn(unknown, any.reader())),
        }
    }
    if side.drafts.is_empty() && leaves.iter().any(|leaf| leaf.groups.iter().any(|group| group.large().is_some())) {
        return Ok(Step::Write);
    }
    let mut full = Vec::new();
    for leaf in &leaves {
        if let Fit::Not(at, boundary) = leaf.fit(side)? {
            full.push((at, boundary));
        }
    }
    if !full.is_empty() {
        return Ok(Step::Full(full));
    }
    let mut gone = Vec::new();
    for leaf in &leaves {
        leaf.gone(&mut gone)?;
    }
    let frees = gone.iter().map(value::free_bytes).sum();
    if frees > side.spare {
        return Ok(Step::Room(frees));
    }
    if cfg!(pagebox_break = "batch_by_leaf") && leaves.len() > 1 {
        let parts: Vec<&'a [Group<'a>]> = leaves.into_iter().map(|leaf| leaf.groups).collect();
        for part in parts {
            let mut room = any.reserve(record_bytes(part))?;
            while any.retry(|| try_batch(part, &Side::default(), &mut room))?.is_none() {}
        }
        return Ok(Step::Done(BatchOutcome { conflict: None, lsn: Lsn::NONE }, Vec::new()));
    }
    let (lsn, sparse) = any.apply_to_leaves(leaves, room, side, &gone)?;
    for value in &gone {
        any.forget_value(value);
    }
    Ok(Step::Done(BatchOutcome { conflict: None, lsn }, sparse))
}
