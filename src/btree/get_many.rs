//! Looking up many keys at once: their descents go side by side, so that they wait for memory, and for the disk, together.
//!
//! A lookup in a tree larger than the processor's caches waits for memory some three times a level: for the frame's header and
//! the node's first lines, for the slots, for the reference or the entry. Single lookups wait for each in turn. Here a **group**
//! of keys goes down level by level, and each step only asks for what the next one needs (a software prefetch) before it
//! goes on to the next key: by the time it comes back, the line is there. After Chen et al., "Improving Hash Join Performance
//! through Prefetching" (ICDE 2004), and Kocberber et al., "Asynchronous Memory Access Chaining" (VLDB 2015).
//!
//! A page that is not in memory is asked for from the disk ([`PageStore::prefetch`](crate::pool::PageStore::prefetch)), and
//! its key put off until the group's other keys are through: so the reads overlap. Each round lets a key load one page; what
//! is still missing after as many rounds as a tree has levels is looked up alone.

use super::descend::{sound, wrong_level};
use super::value::LARGE;
use super::{BTree, Inner};
use crate::error::Result;
use crate::page::slotted::{Aim, Search, SlottedPage, scratch};
use crate::pool::{Ahead, BufferPool, Interrupt, PageView};

/// Keys that go down together: enough to hide the latency of memory behind the work on the others, and few enough that what
/// they ask for stays in the first-level cache. Measured: 8 to 64 in docs/design.md.
const GROUP: usize = 32;
/// Rounds in which put-off keys go down again together.
const ROUNDS: usize = 4;
/// First lines of a page that are asked for before anything of it is read: its header and its hints, which tell where to look
/// further. Lines that are not needed cost more here than a wait does, since the others go on meanwhile.
const FIRST_LINES: usize = 2;

/// A set of the group's keys, a bit for each.
type Keys = u32;
const _: () = assert!(GROUP == Keys::BITS as usize);

/// One key's way down. All of a round are at nodes of one level.
struct Way<'p> {
    view: PageView<'p>,
    node: SlottedPage<'p>,
    aim: Aim,
    /// Where in the node the reference to follow lies, or in the leaf the entry to look at.
    at: usize,
    /// The key's place in the group.
    key: usize,
    /// It may load one page.
    load: bool,
    /// A page on the way is not in memory, or something changed: once more from the root.
    lost: bool,
}

impl BTree {
    /// Looks up every key and calls `f` once for each with its index and its value (`None`: not there), in any order. Each
    /// lookup is linearizable, all of them together are not a snapshot. No latch is held while `f` runs: it may use the
    /// tree. Cost: for resident trees far larger than the caches less than that of single lookups; pages that are not
    /// resident are read in groups.
    ///
    /// # Errors
    /// See [`BTree::get`]; `f` was called for some of the keys then.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], mut f: impl FnMut(usize, Option<&[u8]>)) -> Result<()> {
        let mut ways = Vec::with_capacity(keys.len().min(GROUP));
        scratch::with(|value| {
            for (n, group) in keys.chunks(GROUP).enumerate() {
                self.look_up_group(group, &mut ways, value, &mut |i, value| f(n * GROUP + i, value))?;
            }
            Ok(())
        })
    }

    fn look_up_group<'p, K: AsRef<[u8]>>(
        &'p self,
        keys: &[K],
        ways: &mut Vec<Way<'p>>,
        value: &mut Vec<u8>,
        f: &mut impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let mut left = Keys::MAX >> (GROUP - keys.len());
        let mut large = 0;
        for round in 0..ROUNDS {
            // The first round loads nothing: it finds out what there is to read.
            self.inner.go_down(keys, left, round > 0, ways)?;
            self.inner.aim_at_entries(keys, ways)?;
            for way in ways.drain(..).filter(|way| !way.lost) {
                match way.read(keys[way.key].as_ref(), value) {
                    Ok(None) => f(way.key, None),
                    Ok(Some(flags)) if flags & LARGE != 0 => large |= 1 << way.key,
                    Ok(Some(_)) => f(way.key, Some(value)),
                    Err(Interrupt::Restart) => continue,
                    Err(Interrupt::Failed(error)) => return Err(error),
                }
                left &= !(1 << way.key);
            }
            if left == 0 {
                break;
            }
        }
        for (i, key) in keys.iter().enumerate().filter(|(i, _)| (left | large) & 1 << i != 0) {
            let found = self.get_into(key.as_ref(), value)?;
            f(i, found.then_some(value.as_slice()));
        }
        Ok(())
    }
}

impl Inner {
    /// Takes the keys of `left` from the root to their leaves, or to a page that is not in memory.
    fn go_down<'p, K: AsRef<[u8]>>(
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
    fn aim_at_entries<K: AsRef<[u8]>>(&self, keys: &[K], ways: &mut [Way<'_>]) -> Result<()> {
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

    /// Copies what the leaf holds for `key` to `value`; the slot's flags say what that is.
    #[inline(always)]
    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<Option<u8>, Interrupt> {
        value.clear();
        let found = match sound(&self.view, self.node.search_aimed(key, &self.aim))? {
            Search::Found(slot) => Some(sound(&self.view, self.node.value_and_flags(slot, value))?),
            Search::Insert(_) => None,
        };
        self.view.validate()?;
        Ok(found)
    }
}
