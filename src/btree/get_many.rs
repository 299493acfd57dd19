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
use crate::page::bytes::OutOfBounds;
use crate::page::slotted::{Search, SlottedPage, scratch};
use crate::pool::{BufferPool, Interrupt, PageView};
use core::ops::Range;

/// Keys that go down together: enough to hide the latency of memory behind the work on the others, and few enough that what
/// they ask for stays in the first-level cache. Measured: 8 to 64 in docs/design.md.
const GROUP: usize = 32;
/// Rounds in which put-off keys go down again together.
const ROUNDS: usize = 4;

/// Where the lookup of one key is.
enum Place<'p> {
    /// At this node; the reference to follow lies at byte `at`; it may load one page.
    Node { view: PageView<'p>, node: SlottedPage<'p>, at: usize, load: bool },
    /// A page on its way is not in memory, or something changed: once more from the root.
    Again,
    /// Where in the buffer the value lies; `None` if the key is not there.
    Found(Option<Range<usize>>),
    /// The caller has it.
    Told,
    /// A large value: read alone, when the others are through.
    Large,
}

impl BTree {
    /// Looks up every key and calls `f` once for each with its index and its value (`None`: not there), in any order. Each
    /// lookup is linearizable, all of them together are not a snapshot. No latch is held while `f` runs: it may use the
    /// tree. Cost: for resident trees far larger than the caches less than half of that of single lookups; pages that are
    /// not resident are read in groups.
    ///
    /// # Errors
    /// See [`BTree::get`]; `f` was called for some of the keys then.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], mut f: impl FnMut(usize, Option<&[u8]>)) -> Result<()> {
        for (n, group) in keys.chunks(GROUP).enumerate() {
            scratch::with(|values| self.look_up_group(group, values, &mut |i, value| f(n * GROUP + i, value)))?;
        }
        Ok(())
    }

    fn look_up_group<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        values: &mut Vec<u8>,
        f: &mut impl FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let mut places: [Place<'_>; GROUP] = [const { Place::Again }; GROUP];
        let places = &mut places[..keys.len()];
        for round in 0..ROUNDS {
            values.clear();
            // The first round loads nothing: it finds out what there is to read.
            self.inner.go_down(keys, places, round > 0)?;
            self.inner.read_leaves(keys, places, values)?;
            let mut left = false;
            for (i, place) in places.iter_mut().enumerate() {
                match place {
                    Place::Found(value) => {
                        f(i, value.clone().map(|range| &values[range]));
                        *place = Place::Told;
                    }
                    Place::Told | Place::Large => {}
                    Place::Again | Place::Node { .. } => left = true,
                }
            }
            if !left {
                break;
            }
        }
        for (i, key) in keys.iter().enumerate().filter(|(i, _)| !matches!(places[*i], Place::Told)) {
            let found = self.get_into(key.as_ref(), values)?;
            f(i, found.then_some(values.as_slice()));
        }
        Ok(())
    }
}

impl Inner {
    /// Takes every key that is not done from the root to its leaf, or to a page that is not in memory.
    fn go_down<'p, K: AsRef<[u8]>>(&'p self, keys: &[K], places: &mut [Place<'p>], load: bool) -> Result<()> {
        let (view, node) = match self.root_node() {
            Ok(root) => root,
            Err(Interrupt::Restart) => return Ok(()),
            Err(Interrupt::Failed(error)) => return Err(error),
        };
        let longest = crate::page::slotted::max_key(self.pool.page_size());
        for (place, key) in
            places.iter_mut().zip(keys).filter(|(place, _)| !matches!(place, Place::Told | Place::Large))
        {
            let fits = key.as_ref().len() <= longest;
            *place = if fits { Place::Node { view, node, at: 0, load } } else { Place::Found(None) };
        }
        while places.iter().any(Place::is_inner) {
            for (place, key) in places.iter().zip(keys) {
                if let Place::Node { node, .. } = place {
                    node.prefetch_search(key.as_ref());
                }
            }
            for (place, key) in places.iter_mut().zip(keys).filter(|(place, _)| place.is_inner()) {
                let step = place.aim(key.as_ref(), &self.pool);
                place.settle(step)?;
            }
            for place in places.iter_mut().filter(|place| place.is_inner()) {
                let step = place.follow(&self.pool);
                place.settle(step)?;
            }
        }
        Ok(())
    }

    /// Copies the values of all keys that are at their leaves.
    fn read_leaves<K: AsRef<[u8]>>(&self, keys: &[K], places: &mut [Place<'_>], values: &mut Vec<u8>) -> Result<()> {
        for (place, key) in places.iter().zip(keys) {
            if let Place::Node { node, .. } = place {
                node.prefetch_entry(key.as_ref());
            }
        }
        for (place, key) in places.iter_mut().zip(keys) {
            let Place::Node { view, node, .. } = place else { continue };
            let start = values.len();
            let step = sound(view, append_value(node, key.as_ref(), values));
            let step = step.and_then(|found| view.validate().map(|()| found).map_err(Interrupt::from));
            match step {
                Ok(None) => *place = Place::Found(None),
                Ok(Some(flags)) if flags & LARGE != 0 => {
                    values.truncate(start);
                    *place = Place::Large;
                }
                Ok(Some(_)) => *place = Place::Found(Some(start..values.len())),
                Err(interrupt) => {
                    values.truncate(start);
                    place.settle(Err(interrupt))?;
                }
            }
        }
        Ok(())
    }
}

/// Appends what the leaf holds for `key`; the slot's flags say what that is.
fn append_value(node: &SlottedPage<'_>, key: &[u8], values: &mut Vec<u8>) -> Result<Option<u8>, OutOfBounds> {
    let Search::Found(slot) = node.search(key)? else { return Ok(None) };
    node.value_and_flags(slot, values).map(Some)
}

impl<'p> Place<'p> {
    fn is_inner(&self) -> bool {
        matches!(self, Place::Node { node, .. } if !node.is_leaf())
    }

    /// Finds the reference to the child for `key`, and asks for the child's first lines.
    #[inline(always)]
    fn aim(&mut self, key: &[u8], pool: &BufferPool) -> Result<(), Interrupt> {
        let Place::Node { view, node, at, .. } = self else { return Ok(()) };
        view.prefer();
        *at = sound(view, node.child_for(key).and_then(|index| node.child_at(index)))?;
        pool.prefetch_child(view, *at);
        Ok(())
    }

    /// Goes to the child that was aimed at.
    #[inline(always)]
    fn follow(&mut self, pool: &'p BufferPool) -> Result<(), Interrupt> {
        let Place::Node { view, node, at, load } = self else { return Ok(()) };
        let child = match pool.try_resident_child(view, *at)? {
            Some(child) => child,
            // On its way by now: this one is waited for, the next one only asked for.
            None if std::mem::take(load) => pool.try_child(view, *at)?,
            None => return Err(Interrupt::Restart),
        };
        let below = sound(&child, SlottedPage::open(child.reader()))?;
        if below.level().wrapping_add(1) != node.level() {
            return Err(wrong_level(&child));
        }
        (*view, *node) = (child, below);
        Ok(())
    }

    /// A key that was interrupted starts again in the next round; a failure is everybody's.
    #[inline(always)]
    fn settle(&mut self, step: Result<(), Interrupt>) -> Result<()> {
        match step {
            Ok(()) => Ok(()),
            Err(Interrupt::Restart) => {
                *self = Place::Again;
                Ok(())
            }
            Err(Interrupt::Failed(error)) => Err(error),
        }
    }
}
