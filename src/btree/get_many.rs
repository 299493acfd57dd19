//! Looking up many keys at once: their descents go side by side ([`together`](super::together)), so that they wait for memory,
//! and for the disk, together.
//!
//! A page that is not in memory is asked for from the disk ([`PageStore::prefetch`](crate::pool::PageStore::prefetch)), and
//! its key put off until the group's other keys are through: so the reads overlap. Each round lets a key load one page; what
//! is still missing after as many rounds as a tree has levels is looked up alone.

use super::BTree;
use super::descend::sound;
use super::together::{GROUP, Way, all_of};
use super::value::LARGE;
use crate::error::Result;
use crate::page::slotted::{Search, scratch};
use crate::pool::Interrupt;

/// Rounds in which put-off keys go down again together.
const ROUNDS: usize = 4;

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
        let mut left = all_of(keys.len());
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

impl Way<'_> {
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
