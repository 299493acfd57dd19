//! The descents of many keys side by side: what [`get_many`](super::BTree::get_many) and batches find their leaves with.
//!
//! A lookup in a tree larger than the processor's caches waits for memory some three times a level: for the frame's header and
//! the node's first lines, for the slots, for the reference or the entry. Single lookups wait for each in turn. Here a **group**
//! of keys goes down level by level, and each step only asks for what the next one needs (a software prefetch) before it
//! goes on to the next key: by the time it comes back, the line is there. After Chen et al., "Improving Hash Join Performance
//! through Prefetching" (ICDE 2004), and Kocberber et al., "Asynchronous Memory Access Chaining" (VLDB 2015).

use super::Inner;
use super::descend::{sound, wrong_level};
use crate::error::Result;
use crate::page::slotted::{Aim, Search, SlottedPage};
use crate::pool::{Ahead, BufferPool, Interrupt, PageView};

/// Keys that go down together: enough to hide the latency of memory behind the work on the others, and few enough that what
/// they ask for stays in the first-level cache. Measured: 8 to 64.
pub(super) const GROUP: usize = 32;
/// First lines of a page that are asked for before anything of it is read: its header and its hints, which tell where to look
/// further. Lines that are not needed cost more here than a wait does, since the others go on meanwhile.
const FIRST_LINES: usize = 2;

/// A set of the group's keys, a bit for each.
pub(super) type Keys = u32;
const _: () = assert!(GROUP == Keys::BITS as usize);

/// All of a group of `n` keys.
pub(super) fn all_of(n: usize) -> Keys {
    Keys::MAX >> (GROUP - n)
}

/// One key's way down. All of a round are at nodes of one level.
pub(super) struct Way<'p> {
    pub(super) view: PageView<'p>,
    pub(super) node: SlottedPage<'p>,
    pub(super) aim: Aim,
    /// Where in the node the reference to follow lies, or in the leaf the entry to look at.
    at: usize,
    /// The key's place in the group.
    pub(super) key: usize,
    /// It may load one page.
    load: bool,
    /// A page on the way is not in memory, or something changed: once more from the root.
    pub(super) lost: bool,
}

impl Inner {
    /// Takes the keys of `left` from the root to their leaves, or to a page that is not in memory.
    pub(super) fn go_down<'p, K: AsRef<[u8]>>(
        &'p self,
        keys: &[K],
        left: Keys,
        load: bool,
        ways: &mut Vec<Way<'p>>,
    ) -> Result<()> {
        ways.clear();
        let (view, node) = match self.root_node() {
            Ok(root) => root,
            Err(Interrupt::Restart) => return Ok(()),
            Err(Interrupt::Failed(error)) => return Err(error),
        };
        let on_its_way = (0..keys.len()).filter(|key| left & 1 << key != 0);
        ways.extend(on_its_way.map(|key| Way { view, node, aim: Aim::NOWHERE, at: 0, key, load, lost: false }));
        for _ in 0..node.level() {
            for way in &mut *ways {
                way.step(|way| way.look(keys[way.key].as_ref()))?;
            }
            let mut ahead = [Ahead::NOWHERE; GROUP];
            for (way, ahead) in ways.iter_mut().zip(&mut ahead) {
                way.step(|way| {
                    *ahead = way.turn(keys[way.key].as_ref(), &self.pool)?;
                    Ok(())
                })?;
            }
            // In a loop of their own, so that many are under way before the first has its address translated.
            for ahead in &ahead[..ways.len()] {
                ahead.prefetch(FIRST_LINES);
            }
            for way in &mut *ways {
                way.step(|way| way.follow(&self.pool))?;
            }
            ways.retain(|way| !way.lost);
        }
        Ok(())
    }

    /// Finds out where in their leaves the entries lie, and asks for them.
    pub(super) fn aim_at_entries<K: AsRef<[u8]>>(&self, keys: &[K], ways: &mut [Way<'_>]) -> Result<()> {
        for way in &mut *ways {
            way.step(|way| way.look(keys[way.key].as_ref()))?;
        }
        for way in &mut *ways {
            way.step(|way| {
                sound(&way.view, way.node.close_in(&mut way.aim))?;
                way.at = way.node.likely_entry(&way.aim);
                Ok(())
            })?;
        }
        for way in ways {
            way.node.prefetch_entry(way.at);
        }
        Ok(())
    }
}

impl<'p> Way<'p> {
    /// Takes a step; a way that is interrupted is lost, a failure is everybody's.
    #[inline(always)]
    fn step(&mut self, step: impl FnOnce(&mut Self) -> Result<(), Interrupt>) -> Result<()> {
        if self.lost {
            return Ok(());
        }
        match step(self) {
            Ok(()) => Ok(()),
            Err(Interrupt::Restart) => {
                self.lost = true;
                Ok(())
            }
            Err(Interrupt::Failed(error)) => Err(error),
        }
    }

    /// Looks at the node's hints, and asks for what they lead to.
    #[inline(always)]
    fn look(&mut self, key: &[u8]) -> Result<(), Interrupt> {
        self.aim = sound(&self.view, self.node.aim(key))?;
        Ok(())
    }

    /// Finds the reference to the child for `key`; where the child most likely is.
    #[inline(always)]
    fn turn(&mut self, key: &[u8], pool: &BufferPool) -> Result<Ahead, Interrupt> {
        self.view.prefer();
        let (node, aim) = (&self.node, &mut self.aim);
        let at = node.close_in(aim).and_then(|()| match node.search_aimed(key, aim)? {
            Search::Found(slot) => node.child_at(slot + 1),
            Search::Insert(slot) => node.child_at(slot),
        });
        self.at = sound(&self.view, at)?;
        Ok(pool.ahead(&self.view, self.at))
    }

    /// Goes to the child that was found.
    #[inline(always)]
    fn follow(&mut self, pool: &'p BufferPool) -> Result<(), Interrupt> {
        let child = match pool.try_resident_child(&self.view, self.at)? {
            Some(child) => child,
            // On its way by now: this one is waited for, the next one only asked for.
            None if std::mem::take(&mut self.load) => pool.try_child(&self.view, self.at)?,
            None => return Err(Interrupt::Restart),
        };
        let below = sound(&child, SlottedPage::open(child.reader()))?;
        if below.level().wrapping_add(1) != self.node.level() {
            return Err(wrong_level(&child));
        }
        (self.view, self.node) = (child, below);
        Ok(())
    }
}
