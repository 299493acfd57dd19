//! Making room without a split: a full leaf moves records to a neighbour that has plenty of it, and the separator between
//! them moves. As in B*-trees (Knuth, TAOCP 3, 6.2.4), but only where the neighbour is in memory and rather empty: each
//! shift is to pay for the records that it logs.
//!
//! **It ends.** A boundary that moves changes what both leaves cut off as prefix, so that records can take more room where
//! they go than they gave up where they were: two leaves could pass the same records to each other for ever. So a shift is
//! made only if the record that asks for room fits where it then belongs, and an operation asks for one only at its first
//! attempt; after that it splits, and splits end (B4).

use super::descend::{Seek, rest, sound};
use super::mini::Part;
use super::redo::damaged;
use super::{Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::shrink::encode_run;
use crate::page::slotted::{SLOTS, Search, SlottedPage, common_prefix, ops, shortest_separator};
use crate::pool::{Interrupt, PageMut, PageView};

/// Attempts before the leaf is split instead.
const ATTEMPTS: usize = 2;

/// A full leaf and the neighbour that takes records of it, in the order of their keys.
struct Pair<'p> {
    parent: PageView<'p>,
    left: PageView<'p>,
    right: PageView<'p>,
    /// Whether the left one is the full one.
    rightward: bool,
}

impl Inner {
    /// Moves records of the full leaf that covers `key` to a neighbour, so that a record of `key` and `value_len` bytes fits;
    /// false if that does not pay or cannot be had at once.
    pub(super) fn shift(&self, key: &[u8], value_len: usize) -> Result<bool> {
        // Large records need a split before long in any case.
        if key.len() + value_len > self.pool.page_size() / 8 {
            return Ok(false);
        }
        for n in 0..ATTEMPTS {
            match self.try_shift(key, value_len) {
                Ok(shifted) => return Ok(shifted),
                Err(Interrupt::Failed(error)) => return Err(error),
                Err(Interrupt::Restart) => rest(n),
            }
        }
        Ok(false)
    }

    fn try_shift(&self, key: &[u8], value_len: usize) -> Result<bool, Interrupt> {
        let Some(pair) = self.find_pair(key)? else { return Ok(false) };
        let room = self.reserve(self.structure_bytes())?;
        // Down the tree and by try (L5); the views tell if the wait for the log was too long.
        let parent = pair.parent.try_exclusive()?;
        let left = pair.left.try_exclusive()?;
        let right = pair.right.try_exclusive()?;
        Ok(self.shift_latched(parent, [left, right], pair.rightward, (key, value_len), room)?)
    }

    /// The leaf over `key`, if it is in the middle that the record would go, and the emptier of its neighbours in memory, if
    /// that one has a third of its page free.
    fn find_pair(&self, key: &[u8]) -> Result<Option<Pair<'_>>, Interrupt> {
        let reached = self.descend(Seek::Key(key), 0)?;
        let view = reached.view;
        let node = sound(&view, SlottedPage::open(view.reader()))?;
        let at = sound(&view, node.search(key))?;
        view.validate()?;
        let Some((parent, index)) = reached.parent else { return Ok(None) };
        // Sorted loads split at the edge and leave full leaves.
        if matches!(at, Search::Insert(slot) if slot == 0 || slot == node.count()) {
            return Ok(None);
        }
        let above = sound(&parent, SlottedPage::open(parent.reader()))?;
        let mut best: Option<(usize, bool, PageView<'_>)> = None;
        for (child, rightward) in [(index + 1, true), (index.wrapping_sub(1), false)] {
            if child > above.count() {
                continue;
            }
            let at = sound(&parent, above.child_at(child))?;
            let Some(beside) = self.pool.hinted_child(&parent, at)? else { continue };
            let free = sound(&beside, SlottedPage::open(beside.reader()).and_then(|node| node.free_bytes()))?;
            beside.validate()?;
            if free >= self.pool.page_size() / 3 && best.is_none_or(|(most, ..)| free > most) {
                best = Some((free, rightward, beside));
            }
        }
        Ok(best.map(|(_, rightward, beside)| {
            let (left, right) = if rightward { (view, beside) } else { (beside, view) };
            Pair { parent, left, right, rightward }
        }))
    }

    fn shift_latched<'l>(
        &'l self,
        parent: PageMut<'l>,
        [left, right]: [PageMut<'l>; 2],
        rightward: bool,
        record: (&[u8], usize),
        room: Option<LogRoom<'l>>,
    ) -> Result<bool> {
        let id = parent.id();
        let out = |_: OutOfBounds| damaged(id, "nodes that do not fit each other");
        let (mut content, mut separators) = (Vec::new(), Vec::new());
        let mut separator = Vec::new();
        let planned = SlottedPage::open(parent.reader()).and_then(|above| {
            let (a, b) = (SlottedPage::open(left.reader())?, SlottedPage::open(right.reader())?);
            let (full, beside) = if rightward { (a, b) } else { (b, a) };
            let mut old = Vec::new();
            b.lower_fence(&mut old)?;
            let Some(cut) = choose_cut(&full, &beside, rightward, &old, record, &mut separator)? else {
                return Ok(false);
            };
            if !above.fits_moved(&old, &separator)? {
                return Ok(false);
            }
            encode_run(&old, &separator, &mut separators);
            if rightward {
                full.encode(cut..full.count(), &separator, Some(&old), &mut content)?;
            } else {
                full.encode(0..cut, &old, Some(&separator), &mut content)?;
            }
            Ok(true)
        });
        if !planned.map_err(out)? {
            return Ok(false);
        }
        let (left_op, left_payload, right_op, right_payload) = if rightward {
            (ops::TRUNCATE, &separator, ops::ABSORB_LEFT, &content)
        } else {
            (ops::ABSORB, &content, ops::RAISE, &separator)
        };
        let parts = vec![
            Part { page: parent, op: ops::MOVE_SEPARATOR, payload: &separators },
            Part { page: left, op: left_op, payload: left_payload },
            Part { page: right, op: right_op, payload: right_payload },
        ];
        self.commit(room, parts)?;
        Ok(true)
    }
}

/// The slot of `full` in front of which it is cut, so that both come to hold about as much, with what parts the halves in
/// `separator`; `None` if the moved part would not fit `beside`, or not the record of this key and value length with the part
/// it belongs to, or if it is hardly worth it.
fn choose_cut(
    full: &SlottedPage<'_>,
    beside: &SlottedPage<'_>,
    rightward: bool,
    old: &[u8],
    (key, value_len): (&[u8], usize),
    separator: &mut Vec<u8>,
) -> Result<Option<usize>, OutOfBounds> {
    let (count, size) = (full.count(), full.page_size());
    let more = full.used_bytes()?.saturating_sub(beside.used_bytes()?) / 2;
    let (mut moved, mut n) = (0, 0);
    while n + 1 < count && moved < more {
        moved += full.record_bytes(if rightward { count - 1 - n } else { n })?;
        n += 1;
    }
    let cut = if rightward { count - n } else { n };
    if n == 0 || cut == 0 || cut >= count || moved < size / 16 {
        return Ok(None);
    }
    let mut before = Vec::new();
    full.key(cut - 1, &mut before)?;
    full.key(cut, separator)?;
    separator.truncate(shortest_separator(&before, separator));
    // What the neighbour will cut as prefix, between its new fences, and what that costs both parts.
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    let bounded = if rightward {
        lower.extend_from_slice(separator);
        beside.upper_fence(&mut upper)?
    } else {
        beside.lower_fence(&mut lower)?;
        upper.extend_from_slice(separator);
        true
    };
    let prefix = if bounded { common_prefix(&lower, &upper) } else { 0 };
    let longer = |node: &SlottedPage<'_>, n: usize| n * node.prefix_len().saturating_sub(prefix);
    let there = beside.used_bytes()? + longer(beside, beside.count());
    let mut needed = SLOTS + there + moved + longer(full, n) + separator.len();
    // The full one gets a fence that may be longer than the old one.
    let mut kept = SLOTS + full.used_bytes()? - moved + separator.len().saturating_sub(old.len());
    if rightward == (key < &separator[..]) {
        kept += full.new_record_bytes(key.len(), value_len);
    } else {
        needed += beside.new_record_bytes(key.len(), value_len) + longer(beside, 1);
    }
    Ok((needed <= size && kept <= size).then_some(cut))
}
