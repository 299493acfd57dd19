//! Which pages the next step of taking a dropped tree apart frees: the last ones that can be read.
//!
//! A page that is damaged must not keep all that lies before it. It is kept **aside**: the step goes past it, to its left,
//! and a node that leads to nothing else is kept aside too. The references to them stay, last in their nodes (D3), so what
//! is lost is known to whoever checks the store, and goes like everything else once it can be read again.

use super::Inner;
use super::descend::sound;
use super::redo::damaged;
use super::value::{Reference, large_among};
use crate::error::{Error, Result};
use crate::page::slotted::SlottedPage;
use crate::pool::{Interrupt, PageView};
use crate::types::PageId;
use std::collections::HashSet;

/// What steps go past.
#[derive(Default)]
pub(super) struct Aside {
    pages: HashSet<PageId>,
    /// What is wrong with the first of them.
    why: Option<Error>,
    /// All else is freed.
    over: bool,
}

impl Aside {
    /// A step begins; the first one after an end tries everything again.
    pub(super) fn begin(&mut self) {
        if self.over {
            *self = Aside::default();
        }
    }

    pub(super) fn put(&mut self, id: PageId, why: Error) {
        self.pages.insert(id);
        self.why.get_or_insert(why);
    }

    /// Nothing is left but what was put aside: what a step answers then.
    pub(super) fn end(&mut self) -> Result<usize> {
        self.over = true;
        self.why.clone().map_or(Ok(0), Err)
    }
}

/// What a step frees: the last of the path's nodes, and children of the lowest inner node.
pub(super) struct Cut<'p> {
    /// From the root to the lowest inner node.
    pub(super) path: Vec<PageView<'p>>,
    pub(super) leaves: Vec<PageView<'p>>,
    /// The large values in those leaves.
    pub(super) gone: Vec<Reference>,
    /// The node of the path that stays; those of the path below it go.
    pub(super) stays: usize,
    /// How many children it keeps in front of what goes, and behind it.
    before: usize,
    behind: usize,
}

impl Cut<'_> {
    pub(super) fn keeps(&self) -> Vec<u8> {
        let (before, behind) = (self.before as u16, self.behind as u16);
        let behind = if behind > 0 { &behind.to_le_bytes()[..] } else { &[] };
        [&before.to_le_bytes()[..], behind].concat()
    }
}

/// Where the path goes from a node.
enum Way<'p> {
    /// Down to this child, of that number.
    Down(usize, PageView<'p>),
    /// To an end: these go.
    Here(Leaves<'p>),
}

/// Leaves in a row, last first.
struct Leaves<'p> {
    views: Vec<PageView<'p>>,
    gone: Vec<Reference>,
    /// Behind the last of them, as a child's number.
    to: usize,
}

impl Inner {
    /// What to free next, at most `most` leaves; `None` if nothing is left but the tombstone and what is kept aside.
    pub(super) fn choose_cut(&self, most: usize, aside: &mut Aside) -> Result<Option<Cut<'_>>, Interrupt> {
        let root = self.pool.view(&self.root_swip)?;
        if !self.is_tombstone(root.reader()) {
            root.validate()?;
            return Err(Interrupt::Failed(self.not_buried()));
        }
        let mut node = sound(&root, SlottedPage::open(root.reader()))?;
        if node.is_leaf() {
            root.validate()?;
            return Ok(None);
        }
        // The child that leads on, at each node of the path but the lowest.
        let (mut path, mut ways) = (vec![root], Vec::new());
        let leaves = loop {
            let view = &path[path.len() - 1];
            let found = if node.level() > 1 {
                self.last_inner(view, &node, aside)
            } else {
                self.last_leaves(view, &node, most, aside)
            };
            let found = match found {
                // The node itself is no good.
                Err(Interrupt::Failed(error @ Error::Corrupted { .. })) if path.len() > 1 => {
                    aside.put(view.id(), error);
                    None
                }
                other => other?,
            };
            match found {
                Some(Way::Down(at, child)) => {
                    ways.push((at, node.count() + 1));
                    node = sound(&child, SlottedPage::open(child.reader()))?;
                    path.push(child);
                }
                Some(Way::Here(leaves)) => {
                    ways.push((leaves.to, node.count() + 1));
                    break leaves;
                }
                None => {
                    view.validate()?;
                    aside.pages.insert(view.id());
                    path.pop();
                    ways.pop();
                    let Some(above) = path.last() else { return Ok(None) };
                    node = sound(above, SlottedPage::open(above.reader()))?;
                }
            }
        };
        let Leaves { views, gone, to } = leaves;
        let mut stays = path.len() - 1;
        let (mut from, mut to) = (to - views.len(), to);
        // With the last of its children a node goes too; the tombstone stays.
        while stays > 0 && (from, to) == (0, ways[stays].1) {
            stays -= 1;
            (from, to) = (ways[stays].0, ways[stays].0 + 1);
        }
        let behind = ways[stays].1 - to;
        Ok(Some(Cut { path, leaves: views.into_iter().rev().collect(), gone, stays, before: from, behind }))
    }

    /// The last inner node under `node` that is not kept aside, and its number.
    fn last_inner<'p>(
        &'p self,
        view: &PageView<'p>,
        node: &SlottedPage<'_>,
        aside: &mut Aside,
    ) -> Result<Option<Way<'p>>, Interrupt> {
        for i in (0..=node.count()).rev() {
            if let Some((child, ())) = self.past_damage(view, node, i, aside, |_, _| Ok(()))? {
                return Ok(Some(Way::Down(i, child)));
            }
        }
        Ok(None)
    }

    /// The last leaves in a row under `node` that are not kept aside, with no more large values than one record frees.
    fn last_leaves<'p>(
        &'p self,
        view: &PageView<'p>,
        node: &SlottedPage<'_>,
        most: usize,
        aside: &mut Aside,
    ) -> Result<Option<Way<'p>>, Interrupt> {
        let (mut leaves, mut bytes) = (Leaves { views: Vec::new(), gone: Vec::new(), to: 0 }, 0);
        for i in (0..=node.count()).rev() {
            let found = self.past_damage(view, node, i, aside, |leaf, content| {
                let mut values = Vec::new();
                let bytes = sound(leaf, large_among(content, 0..content.count(), &mut values))?;
                Ok((values, bytes))
            })?;
            match found {
                Some((_, (_, more))) if !leaves.views.is_empty() && bytes + more > self.frees_of_a_leaf() => break,
                Some((leaf, (values, more))) => {
                    if leaves.views.is_empty() {
                        leaves.to = i + 1;
                    }
                    bytes += more;
                    leaves.gone.extend(values);
                    leaves.views.push(leaf);
                }
                None if leaves.views.is_empty() => {}
                None => break,
            }
            if leaves.views.len() == most {
                break;
            }
        }
        Ok((!leaves.views.is_empty()).then_some(Way::Here(leaves)))
    }

    /// Child `i` of `node`, seen by `view`, and what `read` finds in it; `None` if it is kept aside, perhaps from now on.
    fn past_damage<'p, T>(
        &'p self,
        view: &PageView<'p>,
        node: &SlottedPage<'_>,
        i: usize,
        aside: &mut Aside,
        read: impl FnOnce(&PageView<'p>, &SlottedPage<'_>) -> Result<T, Interrupt>,
    ) -> Result<Option<(PageView<'p>, T)>, Interrupt> {
        let id = sound(view, node.child(i))?;
        if aside.pages.contains(&id) {
            return Ok(None);
        }
        let found = self.child_below(view, node, i).and_then(|child| {
            let content = sound(&child, SlottedPage::open(child.reader()))?;
            let found = read(&child, &content)?;
            Ok((child, found))
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Interrupt::Failed(error @ Error::Corrupted { .. })) => {
                // The reference to it held still.
                view.validate()?;
                aside.put(id, error);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }

    /// Child `i` of `node`, seen by `view`, if it is what it must be.
    fn child_below<'p>(
        &'p self,
        view: &PageView<'p>,
        node: &SlottedPage<'_>,
        i: usize,
    ) -> Result<PageView<'p>, Interrupt> {
        let child = self.pool.try_child(view, sound(view, node.child_at(i))?)?;
        let below = sound(&child, SlottedPage::open(child.reader()))?;
        if below.level().checked_add(1) != Some(node.level()) || !self.is_own(child.reader()) {
            child.validate()?;
            return Err(Interrupt::Failed(damaged(child.id(), "a child of the wrong level or tree")));
        }
        Ok(child)
    }
}
