//! Batches: several changes in several trees, atomic and isolated, as one record.
//!
//! The operations are sorted by (tree, key) and gathered by key and by leaf. Room is made first, by splits with records of
//! their own, at separators taken from the batch's keys. Then all leaves are latched in order, by try; requirements are
//! checked, the record appended, everything applied, and only then the first latch released. Without requirements, room is
//! looked for before the latches, and what was found of a leaf holds as long as its version does. Whatever fails on the way
//! lets go of everything and starts again; after a bounded number of restarts, in the slow lane, where latches are waited
//! for.

use super::descend::{Seek, sound};
use super::latched::{Fit, Judged, Leaf, Side, Unknown, fit};
use super::redo::damaged;
use super::together::{GROUP, all_of};
use super::value::{self, Draft};
use super::{BTree, Inner, LogRoom};
use crate::error::{Error, Result};
use crate::page::slotted::{Search, SlottedPage, ops};
use crate::pool::{Interrupt, PageMut, PageView, Reader};
use crate::sync::Arc;
use crate::types::{Lsn, PageId, TreeId};
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
        let mut plan = Plan::new(&groups);
        loop {
            let bytes = record_bytes(&groups) + side.spare;
            if bytes as u64 > max {
                return Err(Error::BatchTooLarge { bytes: bytes as u64, max });
            }
            let mut room = any.reserve(bytes)?;
            let step = match any.retry(|| try_batch(&groups, &side, &mut room, &mut plan))? {
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
                // All of them before the next attempt, which looks again for these leaves, at least.
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

impl AsRef<[u8]> for Group<'_> {
    fn as_ref(&self) -> &[u8] {
        self.key
    }
}

/// The places of a batch's operations in the order of tree and key, and of the batch where both are the same. The first bytes
/// of the keys lie beside the places: most comparisons need no more.
fn in_order(batch: &[BatchOp<'_>]) -> Vec<(TreeId, u64, usize)> {
    let head = |key: &[u8]| {
        let mut head = [0; 8];
        let n = key.len().min(8);
        head[..n].copy_from_slice(&key[..n]);
        u64::from_be_bytes(head)
    };
    let mut order: Vec<_> = batch.iter().enumerate().map(|(i, op)| (op.tree.id(), head(op.key), i)).collect();
    order.sort_unstable_by(|a, b| {
        let heads = (a.0, a.1).cmp(&(b.0, b.1));
        heads.then_with(|| batch[a.2].key.cmp(batch[b.2].key)).then(a.2.cmp(&b.2))
    });
    order
}

/// Sorted by tree and key, one group a key; sizes checked.
fn gather<'a>(batch: &'a [BatchOp<'a>]) -> Result<Vec<Group<'a>>> {
    let mut groups: Vec<Group<'a>> = Vec::with_capacity(batch.len());
    for (_, _, i) in in_order(batch) {
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

/// A leaf of the batch, found but not latched, with its groups: from the first place up to the second.
type Found<'p> = (PageView<'p>, usize, usize);

/// What is known of a batch's leaves from one attempt to the next.
struct Plan<'p> {
    /// Whether the batch has no requirements. Then whether the leaves have room is found out before any is latched, and only
    /// those that had none are looked for again. Otherwise requirements come first, and they are judged under all latches.
    plain: bool,
    /// Leaves that have room for their groups, in order. A latch can only be had of those that are as they were.
    fitting: Vec<Found<'p>>,
    /// Where in their leaves the keys of all groups are, as far as they were looked for.
    places: Vec<Search>,
}

impl<'p> Plan<'p> {
    fn new(groups: &[Group<'_>]) -> Plan<'p> {
        let plain = groups.iter().all(|group| group.requires.is_empty());
        let places = vec![Search::Insert(0); if plain { groups.len() } else { 0 }];
        Plan { plain, fitting: Vec::new(), places }
    }
}

/// Finds the leaves of all groups, in order, those in `known` as they were seen before. The descents of neighbours go side by
/// side, many of them where each key has a leaf of its own, one at a time where many keys share one. Calls `each` with every
/// leaf that was not known.
fn find_leaves<'a>(
    groups: &'a [Group<'a>],
    known: Vec<Found<'a>>,
    mut each: impl FnMut(&Found<'a>, &SlottedPage<'a>) -> Result<(), Interrupt>,
) -> Result<Vec<Found<'a>>, Interrupt> {
    let mut found: Vec<Found<'a>> = Vec::with_capacity(known.len());
    let mut known = known.into_iter().peekable();
    let (mut ways, mut side_by_side, mut from) = (Vec::new(), 1, 0);
    while from < groups.len() {
        let inner = groups[from].inner;
        // What changed meanwhile is looked for like the others.
        while known.next_if(|leaf| leaf.0.validate().is_err()).is_some() {}
        if let Some(leaf) = known.next_if(|leaf| leaf.1 == from) {
            from = leaf.2;
            add(&mut found, leaf, inner)?;
            continue;
        }
        let of_tree = |group: &&Group<'_>| group.inner.tree == inner.tree;
        let (start, limit) = (from, known.peek().map_or(groups.len(), |leaf| leaf.1));
        let end = start + groups[start..limit].iter().take(side_by_side).take_while(of_tree).count();
        if end - start > 1 {
            let together = &groups[start..end];
            inner.go_down(together, all_of(together.len()), false, &mut ways)?;
            inner.aim_at_entries(together, &mut ways)?;
            for way in ways.iter().filter(|way| !way.lost) {
                way.node.prefetch_change(together[way.key].key);
            }
        }
        let before = found.len();
        let mut ways = ways.drain(..).filter(|way| !way.lost).peekable();
        while from < end {
            while ways.next_if(|way| start + way.key < from).is_some() {}
            let view = match ways.next_if(|way| start + way.key == from) {
                Some(way) => way.view,
                None => inner.descend(Seek::Key(groups[from].key), 0)?.view,
            };
            let node = sound(&view, SlottedPage::open(view.reader()))?;
            if !sound(&view, node.covers(groups[from].key))? {
                view.validate()?;
                return Err(Interrupt::Failed(elsewhere(view.id())));
            }
            // No further than the next known leaf: that one covers what is behind, as long as it is as it was.
            let to = end_of_leaf(&groups[..limit], from, |key| node.covers(key) == Ok(true));
            let leaf = (view, from, to);
            each(&leaf, &node)?;
            add(&mut found, leaf, inner)?;
            from = to;
        }
        let (leaves, keys) = (found.len() - before, from - start);
        side_by_side = if leaves * 2 > keys { (side_by_side * 2).min(GROUP) } else { (side_by_side / 2).max(1) };
    }
    Ok(found)
}

/// One leaf more, unless it is one too many.
fn add<'a>(found: &mut Vec<Found<'a>>, leaf: Found<'a>, inner: &Inner) -> Result<(), Interrupt> {
    found.push(leaf);
    if found.len() > max_leaves(inner) {
        found.iter().try_for_each(|(view, ..)| view.validate())?;
        return Err(Interrupt::Failed(too_many(inner, found.len())));
    }
    Ok(())
}

fn try_batch<'a>(
    groups: &'a [Group<'a>],
    side: &Side<'_>,
    room: &mut Option<LogRoom<'a>>,
    plan: &mut Plan<'a>,
) -> Result<Step, Interrupt> {
    if plan.plain && side.drafts.is_empty() && groups.iter().any(|group| group.large().is_some()) {
        // First whether there is anything in the way: too many leaves, a tree that is gone.
        find_leaves(groups, Vec::new(), |_, _| Ok(()))?;
        return Ok(Step::Write);
    }
    let Plan { plain, fitting, places } = plan;
    let (mut full, mut without_room) = (Vec::new(), Vec::new());
    let mut found = find_leaves(groups, std::mem::take(fitting), |(view, from, to), node| {
        if *plain && let Fit::Not(at, boundary) = sound(view, fit(node, &groups[*from..*to], *from, side, places))? {
            view.validate()?;
            full.push((at, boundary));
            without_room.push(*from);
        }
        Ok(())
    })?;
    if !full.is_empty() {
        found.retain(|(_, from, _)| without_room.binary_search(from).is_err());
        *fitting = found;
        return Ok(Step::Full(full));
    }
    let mut leaves = Vec::with_capacity(found.len());
    for (view, from, to) in found {
        // In order, and by try: fails if the leaf changed since it was found.
        leaves.push(Leaf { page: view.try_exclusive()?, groups: &groups[from..to], first: from });
    }
    Ok(carry_out(leaves, side, room, plain.then_some(&**places))?)
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
        carry_out(leaves, side, room, None)
    })
}

/// Under all latches: requirements, room, record, application. Room is known to be there if `places` are, where the keys are in
/// the leaves as they are.
pub(super) fn carry_out<'a>(
    leaves: Vec<Leaf<'a, 'a>>,
    side: &Side<'_>,
    room: &mut Option<LogRoom<'a>>,
    places: Option<&[Search]>,
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
    let mut looked_up = Vec::new();
    let places = match places {
        Some(places) => places,
        None => {
            looked_up.resize(leaves.last().map_or(0, |leaf| leaf.first + leaf.groups.len()), Search::Insert(0));
            let mut full = Vec::new();
            for leaf in &leaves {
                if let Fit::Not(at, boundary) = leaf.fit(side, &mut looked_up)? {
                    full.push((at, boundary));
                }
            }
            if !full.is_empty() {
                return Ok(Step::Full(full));
            }
            &looked_up
        }
    };
    let mut gone = Vec::new();
    for leaf in &leaves {
        leaf.gone(places, &mut gone)?;
    }
    let frees = gone.iter().map(value::free_bytes).sum();
    if frees > side.spare {
        return Ok(Step::Room(frees));
    }
    if cfg!(pagebox_break = "batch_by_leaf") && leaves.len() > 1 {
        let parts: Vec<&'a [Group<'a>]> = leaves.into_iter().map(|leaf| leaf.groups).collect();
        for part in parts {
            let mut room = any.reserve(record_bytes(part))?;
            let mut plan = Plan::new(part);
            while any.retry(|| try_batch(part, &Side::default(), &mut room, &mut plan))?.is_none() {}
        }
        return Ok(Step::Done(BatchOutcome { conflict: None, lsn: Lsn::NONE }, Vec::new()));
    }
    let (lsn, sparse) = any.apply_to_leaves(leaves, room, side, places, &gone)?;
    for value in &gone {
        any.forget_value(value);
    }
    Ok(Step::Done(BatchOutcome { conflict: None, lsn }, sparse))
}
