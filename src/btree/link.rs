//! Hanging leaves that were written beside the log onto the right edge of a tree, by one record.
//!
//! The last leaf gets an upper fence, the last node of the level above the new leaves as children. What it has no room for
//! goes into new nodes, which are the next level's new children, and so on up; a root that is full moves its content down
//! into new nodes. All of that is planned from an optimistic look at the right edge, and carried out if none of its nodes
//! has changed by the time it is latched.

use super::descend::{Seek, sound};
use super::mini::{Beside, Part};
use super::redo::damaged;
use super::value::Draft;
use super::{Inner, LogRoom};
use crate::error::Result;
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::children::{Child, encode_extension, encode_inner, fill_inner};
use crate::page::slotted::{SlottedPage, ops, scratch};
use crate::pool::{Interrupt, NewPage, PageView};
use crate::types::{Lsn, SizeClass};
use crate::wal::{PART_OVERHEAD, RECORD_OVERHEAD};

/// How linking went.
pub(super) enum Linked {
    Done(Lsn),
    /// The tree has a key at or beyond the first new one, or a leaf for such keys.
    Behind,
    /// The last leaf has no room for an upper fence.
    Full,
    /// The record is longer than the room taken for it: this much.
    TooLong(usize),
}

/// Where a part of the record goes.
enum Place<'p> {
    /// A node of the right edge, by its place on the path from the root.
    Edge(usize),
    New(NewPage<'p>),
}

/// The parts of the record, from the leaf up.
struct Plan<'p> {
    edge: Vec<PageView<'p>>,
    parts: Vec<(Place<'p>, u8, Vec<u8>)>,
}

impl Inner {
    /// Links `leaves`, which lie at the places `beside` and are on disk (D4), with their large values, behind the last leaf. The first one's separator is
    /// greater than every key of the tree, or the answer is [`Linked::Behind`].
    pub(super) fn try_link<'l>(
        &'l self,
        leaves: &[Child],
        beside: Beside<'_>,
        room: &mut Option<LogRoom<'l>>,
        room_bytes: usize,
    ) -> Result<Linked, Interrupt> {
        let Some(first) = leaves.first() else { return Ok(Linked::Done(Lsn::NONE)) };
        let edge = self.right_edge()?;
        if !self.ends_before(&edge[edge.len() - 1], &first.separator)? {
            return Ok(Linked::Behind);
        }
        let last = edge[edge.len() - 1];
        let roomy = sound(&last, SlottedPage::open(last.reader()).and_then(|node| node.fits_upper(&first.separator)))?;
        if !roomy {
            last.validate()?;
            return Ok(Linked::Full);
        }
        let mut plan = Plan { edge, parts: Vec::new() };
        self.plan_link(&mut plan, leaves)?;
        let Plan { edge, mut parts } = plan;
        let bytes = RECORD_OVERHEAD
            + beside.places.len() * PART_OVERHEAD
            + beside.drafts.iter().map(Draft::record_bytes).sum::<usize>()
            + parts.iter().map(|(_, _, payload)| 2 * PART_OVERHEAD + payload.len()).sum::<usize>();
        if bytes > room_bytes {
            return Ok(Linked::TooLong(bytes));
        }
        // Down the tree, by try (L5). The views prove that the plan still holds.
        parts.reverse();
        let mut latched = Vec::with_capacity(parts.len());
        for (place, ..) in &parts {
            if let Place::Edge(i) = place {
                latched.push(edge[*i].try_exclusive()?);
            }
        }
        let (homes, payloads): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|(home, op, bytes)| (home, (op, bytes))).unzip();
        let mut latched = latched.into_iter();
        let mut all = Vec::with_capacity(payloads.len());
        for (home, (op, payload)) in homes.into_iter().zip(&payloads) {
            let page = match home {
                Place::Edge(_) => latched.next(),
                Place::New(new) => Some(new.into_page()),
            };
            all.extend(page.map(|page| Part { page, op: *op, payload }));
        }
        Ok(Linked::Done(self.commit_with(room.take(), beside, all)?))
    }

    /// The last node of every level, from the root down.
    fn right_edge(&self) -> Result<Vec<PageView<'_>>, Interrupt> {
        // The root's view comes from a descent that checked whose it is; the rest is found below it.
        let mut edge = vec![self.descend(Seek::Last, u8::MAX)?.view];
        loop {
            let view = edge[edge.len() - 1];
            let node = sound(&view, SlottedPage::open(view.reader()))?;
            if node.is_leaf() {
                return Ok(edge);
            }
            let child = self.pool.try_child(&view, sound(&view, node.child_at(node.count()))?)?;
            let below = sound(&child, SlottedPage::open(child.reader()))?;
            if below.level().checked_add(1) != Some(node.level()) {
                child.validate()?;
                return Err(Interrupt::Failed(damaged(child.id(), "a child of the wrong level")));
            }
            edge.push(child);
        }
    }

    /// Whether the last leaf is for keys below `separator` only, and has no other.
    fn ends_before(&self, leaf: &PageView<'_>, separator: &[u8]) -> Result<bool, Interrupt> {
        let node = sound(leaf, SlottedPage::open(leaf.reader()))?;
        let before = scratch::with(|key| -> Result<bool, OutOfBounds> {
            node.lower_fence(key)?;
            if key.as_slice() >= separator || !node.is_last()? {
                return Ok(false);
            }
            key.clear();
            match node.count().checked_sub(1) {
                Some(last) => node.key(last, key).map(|()| key.as_slice() < separator),
                None => Ok(true),
            }
        });
        let before = sound(leaf, before)?;
        leaf.validate()?;
        Ok(before)
    }

    fn plan_link<'l>(&'l self, plan: &mut Plan<'l>, leaves: &[Child]) -> Result<(), Interrupt> {
        let bottom = plan.edge.len() - 1;
        let mut children = leaves.to_vec();
        if bottom == 0 {
            // The root is the last leaf: its content moves down.
            let (leaf, upper) = (plan.edge[0], &leaves[0].separator);
            let node = sound(&leaf, SlottedPage::open(leaf.reader()))?;
            let mut content = Vec::new();
            sound(&leaf, node.encode_left(node.count(), upper, &mut content))?;
            let new = self.pool.reserve(SizeClass::ZERO)?;
            children.insert(0, Child { separator: Vec::new(), page: new.id() });
            plan.parts.push((Place::New(new), ops::INIT, content));
            return self.plan_root(plan, 1, children);
        }
        plan.parts.push((Place::Edge(bottom), ops::TRUNCATE, leaves[0].separator.clone()));
        for at in (0..bottom).rev() {
            let view = plan.edge[at];
            let node = sound(&view, SlottedPage::open(view.reader()))?;
            let there = sound(&view, node.children())?;
            view.validate()?;
            let (own, level) = (there.len(), node.level());
            let all = [there, children].concat();
            let Some(n) = fill_inner(&all, self.pool.page_size()) else { return Err(Interrupt::Restart) };
            if n == all.len() {
                plan.parts.push((Place::Edge(at), ops::EXTEND, extension(&all[own..], None)));
                return Ok(());
            }
            if at == 0 {
                let children = self.plan_nodes(plan, level, all)?;
                return self.plan_root(plan, level + 1, children);
            }
            let upper = Some(&all[n].separator[..]);
            if n >= own {
                plan.parts.push((Place::Edge(at), ops::EXTEND, extension(&all[own..n], upper)));
            } else {
                // Its new fence takes the room of its last children.
                let mut content = Vec::new();
                encode_inner(self.tree, level, &all[..n], upper, &mut content);
                plan.parts.push((Place::Edge(at), ops::REBUILD, content));
            }
            children = self.plan_nodes(plan, level, all[n..].to_vec())?;
        }
        Ok(())
    }

    /// New nodes of `level` over `children`; the last one has no upper fence.
    fn plan_nodes<'l>(
        &'l self,
        plan: &mut Plan<'l>,
        level: u8,
        mut children: Vec<Child>,
    ) -> Result<Vec<Child>, Interrupt> {
        let mut nodes = Vec::new();
        while !children.is_empty() {
            let Some(n) = fill_inner(&children, self.pool.page_size()) else { return Err(Interrupt::Restart) };
            let upper = children.get(n).map(|next| &next.separator[..]);
            let mut content = Vec::new();
            encode_inner(self.tree, level, &children[..n], upper, &mut content);
            let new = self.pool.reserve(SizeClass::ZERO)?;
            nodes.push(Child { separator: children[0].separator.clone(), page: new.id() });
            plan.parts.push((Place::New(new), ops::INIT, content));
            children.drain(..n);
        }
        Ok(nodes)
    }

    /// The root over `children`, with levels between them as need be.
    fn plan_root<'l>(&'l self, plan: &mut Plan<'l>, mut level: u8, mut children: Vec<Child>) -> Result<(), Interrupt> {
        while fill_inner(&children, self.pool.page_size()) != Some(children.len()) {
            children = self.plan_nodes(plan, level, children)?;
            level += 1;
        }
        let mut content = Vec::new();
        encode_inner(self.tree, level, &children, None, &mut content);
        plan.parts.push((Place::Edge(0), ops::REBUILD, content));
        Ok(())
    }
}

fn extension(children: &[Child], upper: Option<&[u8]>) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_extension(children, upper, &mut payload);
    payload
}
