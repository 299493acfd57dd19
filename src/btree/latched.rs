//! A batch's leaves under their latches.

use super::batch::Group;
use super::mini::begin_part;
use super::redo::{damaged, reason};
use super::value::{Draft, Known, LARGE, Reference, free_part, large_in};
use super::write::is_sparse;
use super::{Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{Search, SlottedPage, common_prefix, ops, scratch};
use crate::pool::PageMut;
use crate::types::{Lsn, PageKind};
use crate::wal::{Record, RecordBuilder};
use std::collections::HashMap;

/// A latched leaf and what the batch does in it.
pub(super) struct Leaf<'p, 'a> {
    pub(super) page: PageMut<'p>,
    pub(super) groups: &'a [Group<'a>],
    /// The place of the first of them among all groups.
    pub(super) first: usize,
}

/// What large values need beside the leaves, kept from one attempt to the next.
#[derive(Default)]
pub(super) struct Side<'p> {
    /// The new ones, by the place of their group among all.
    pub(super) drafts: Vec<Option<Draft<'p>>>,
    /// Those that requirements are about, by the requirement's place in the batch.
    pub(super) known: HashMap<usize, Known>,
    /// Bytes of log room for frees.
    pub(super) spare: usize,
}

/// A large value that a requirement has to be compared with, by its place in the batch.
pub(super) struct Unknown {
    pub(super) place: usize,
    /// The place of its group among all.
    pub(super) group: usize,
    pub(super) there: Box<Reference>,
}

/// What a leaf says to the requirements.
pub(super) enum Judged {
    Holds,
    /// The one at this place in the batch does not.
    Conflict(usize),
    /// This one is about a large value that nobody has looked at yet.
    Unknown(Unknown),
}

impl Side<'_> {
    /// What a leaf is to hold for a group, with the slot's flags; `Some((None, _))`: nothing any more.
    pub(super) fn stored<'s>(&'s self, place: usize, group: &Group<'s>) -> Option<(Option<&'s [u8]>, u8)> {
        match self.drafts.get(place) {
            Some(Some(draft)) => Some((Some(draft.bytes()), LARGE)),
            _ => group.write.map(|write| (write, 0)),
        }
    }
}

/// Whether a leaf has room for its part of the batch.
pub(super) enum Fit {
    Yes,
    /// Not for this group, by its place among all; with a separator between it and those before it in the leaf.
    Not(usize, Option<Vec<u8>>),
}

impl Leaf<'_, '_> {
    fn read<T>(&self, f: impl FnOnce(SlottedPage<'_>) -> Result<T, OutOfBounds>) -> Result<T> {
        SlottedPage::open(self.page.reader())
            .and_then(f)
            .map_err(|_| damaged(self.page.id(), "an offset leads outside of the page"))
    }

    /// Whether all requirements hold, as far as they can be judged under the latch.
    pub(super) fn judge(&self, side: &Side<'_>) -> Result<Judged> {
        self.read(|node| {
            for (i, group) in self.groups.iter().enumerate() {
                for &(place, wanted) in &group.requires {
                    let holds = match (node.search(group.key)?, wanted) {
                        (Search::Found(slot), Some(value)) => match large_in(&node, slot)? {
                            None => node.value_is(slot, value)?,
                            Some(there) if there.len() != value.len() as u64 => false,
                            Some(there) => match side.known.get(&place).filter(|known| known.reference == *there) {
                                Some(known) => known.equal,
                                None => return Ok(Judged::Unknown(Unknown { place, group: self.first + i, there })),
                            },
                        },
                        (Search::Insert(_), None) => true,
                        _ => false,
                    };
                    if !holds {
                        return Ok(Judged::Conflict(place));
                    }
                }
            }
            Ok(Judged::Holds)
        })
    }

    /// The large values that the batch takes away; `places` are those of all groups, as [`Leaf::fit`] found them.
    pub(super) fn gone(&self, places: &[Search], out: &mut Vec<Reference>) -> Result<()> {
        self.read(|node| {
            for (i, _) in self.groups.iter().enumerate().filter(|(_, group)| group.write.is_some()) {
                if let Search::Found(slot) = places[self.first + i] {
                    out.extend(large_in(&node, slot)?.map(|large| *large));
                }
            }
            Ok(())
        })
    }

    /// [`fit`] for this leaf.
    pub(super) fn fit(&self, side: &Side<'_>, places: &mut [Search]) -> Result<Fit> {
        self.read(|node| fit(&node, self.groups, self.first, side, places))
    }

    /// Whether removals have left so little that the leaf should be merged.
    fn left_sparse(&self) -> bool {
        let removes = self.groups.iter().any(|group| group.write == Some(None));
        removes && self.read(|node| is_sparse(&node)).unwrap_or(false)
    }

    /// Adds this leaf's parts to a record; false if there are none.
    fn record(&self, record: &mut RecordBuilder<'_>, side: &Side<'_>, places: &[Search]) -> bool {
        let mut any = false;
        for (i, group) in self.groups.iter().enumerate() {
            let Some((write, flags)) = side.stored(self.first + i, group) else { continue };
            let there = matches!(places[self.first + i], Search::Found(_));
            let op = match (write, there) {
                (None, false) => continue,
                (None, true) => ops::REMOVE,
                (Some(_), true) => ops::UPDATE,
                (Some(_), false) => ops::INSERT,
            };
            any = true;
            begin_part(record, op, self.page.id());
            match write {
                Some(value) => {
                    record.put_u16(ops::record_word(group.key.len(), flags));
                    record.extend_from_slice(group.key);
                    record.extend_from_slice(value);
                }
                None => record.extend_from_slice(group.key),
            }
        }
        any
    }
}

/// Counts what a leaf's free bytes would be after each of its operations: those of `groups`, the first of which is at `first`
/// among all. Leaves in `places`, by the places of the groups that write, where their keys are.
pub(super) fn fit(
    node: &SlottedPage<'_>,
    groups: &[Group<'_>],
    first: usize,
    side: &Side<'_>,
    places: &mut [Search],
) -> Result<Fit, OutOfBounds> {
    let mut free = node.free_bytes()?;
    for (i, group) in groups.iter().enumerate() {
        let Some((write, _)) = side.stored(first + i, group) else { continue };
        if !node.covers(group.key)? {
            return Err(OutOfBounds);
        }
        let at = node.search(group.key)?;
        places[first + i] = at;
        let (mut gained, mut needed) = (0, 0);
        if let Search::Found(slot) = at {
            gained = node.record_bytes(slot)?;
        }
        if let Some(value) = write {
            needed = node.new_record_bytes(group.key.len(), value.len());
        }
        match (free + gained).checked_sub(needed) {
            Some(left) => free = left,
            None => return Ok(Fit::Not(first + i, boundary(node, groups, i, at)?)),
        }
    }
    Ok(Fit::Yes)
}

/// The shortest separator between group `i` and both the group and the record before it; `None` if no group of the
/// batch is before it in this leaf.
fn boundary(
    node: &SlottedPage<'_>,
    groups: &[Group<'_>],
    i: usize,
    at: Search,
) -> Result<Option<Vec<u8>>, OutOfBounds> {
    let key = groups[i].key;
    let Some(before) = i.checked_sub(1).map(|before| groups[before].key) else { return Ok(None) };
    let mut shared = common_prefix(before, key);
    if let Some(slot) = at.slot().checked_sub(1) {
        shared = scratch::with(|there| {
            node.key(slot, there)?;
            Ok(shared.max(common_prefix(there, key)))
        })?;
    }
    Ok(Some(key[..key.len().min(shared + 1)].to_vec()))
}

impl Inner {
    /// Appends one record for all leaves and applies it to them (W5). Requirements and room were checked. `places` are
    /// those of the groups' keys, as [`Leaf::fit`] found them, `gone` the large values that go. Returns the record's LSN, and the place of one group each of the leaves that its removals left
    /// sparse.
    pub(super) fn apply_to_leaves(
        &self,
        mut leaves: Vec<Leaf<'_, '_>>,
        room: &mut Option<LogRoom<'_>>,
        side: &Side<'_>,
        places: &[Search],
        gone: &[Reference],
    ) -> Result<(Lsn, Vec<usize>)> {
        scratch::with(|buffer| {
            let mut record = RecordBuilder::new(buffer);
            let drafts: Vec<&Draft<'_>> = side.drafts.iter().flatten().collect();
            drafts.iter().for_each(|draft| draft.add_to(&mut record));
            gone.iter().flat_map(|gone| gone.runs()).for_each(|&run| free_part(&mut record, run));
            let mut changed = Vec::with_capacity(leaves.len());
            for leaf in &leaves {
                changed.push(leaf.record(&mut record, side, places));
            }
            if record.is_empty() {
                let lsn = leaves.iter().map(|leaf| leaf.page.lsn()).max().unwrap_or_default();
                return Ok((lsn, Vec::new()));
            }
            let bytes = record.finish();
            let (record, _) = Record::decode(bytes, Lsn::NONE)?;
            // A2: from before the append until the allocator knows.
            let gate = (!drafts.is_empty() || !gone.is_empty()).then(|| self.pool.allocator().enter());
            if let Some(gate) = &gate {
                self.pool.allocator().check_frees(gate, gone.iter().flat_map(Reference::runs).copied())?;
            }
            let position = self.position();
            let mut pages: Vec<(&Inner, &mut PageMut<'_>)> = Vec::with_capacity(leaves.len());
            for (leaf, _) in leaves.iter_mut().zip(&changed).filter(|(_, changed)| **changed) {
                leaf.page.begin_change(position);
                pages.push((leaf.groups.first().map_or(self, |group| group.inner), &mut leaf.page));
            }
            let lsn = self.append(room.take(), bytes);
            if let Some(gate) = &gate {
                self.settle_space(gate, &drafts, gone, lsn);
            }
            // By tree: what a batch does to one is counted at once.
            let mut counts: Vec<(&Inner, u64, u64)> = Vec::new();
            let mut at = 0;
            for part in record.parts().filter(|part| part.kind == PageKind::BTREE) {
                while pages[at].1.id() != part.page {
                    at += 1;
                }
                let (tree, page) = &mut pages[at];
                if let Err(error) = ops::apply(part.op, page.writer(), part.page, part.payload) {
                    self.pool.poison(&format!(
                        "{:?} did not take what was logged for it: {}",
                        part.page,
                        reason(error)
                    ));
                    return Err(damaged(part.page, reason(error)));
                }
                if !counts.last().is_some_and(|(last, ..)| std::ptr::eq(*last, *tree)) {
                    counts.push((tree, 0, 0));
                }
                if let Some((_, added, removed)) = counts.last_mut() {
                    *added += u64::from(part.op == ops::INSERT);
                    *removed += u64::from(part.op == ops::REMOVE);
                }
            }
            counts.iter().for_each(|(tree, added, removed)| tree.count(*added, *removed));
            for (_, page) in pages {
                page.finish_change(lsn);
            }
            Ok((lsn, leaves.iter().filter(|leaf| leaf.left_sparse()).map(|leaf| leaf.first).collect()))
        })
    }
}
