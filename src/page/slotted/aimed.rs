//! A search in three pieces, for whoever has other work to do while memory answers: each asks for what the next one reads,
//! and none repeats what the one before found out. All three are made under one version of the page.

use super::*;
use core::cmp::Ordering;

/// How far a search in pieces has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    head: u32,
    low: u32,
    high: u32,
}

impl Aim {
    /// Before the first step.
    pub(crate) const NOWHERE: Aim = Aim { head: 0, low: 0, high: 0 };
}

impl SlottedPage<'_> {
    /// The first step: by the hints, the slots between which `key` lies; asks for them, and in an inner node for the references.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or for a key shorter than the prefix.
    #[inline(always)]
    pub(crate) fn aim(&self, key: &[u8]) -> Result<Aim, OutOfBounds> {
        let head = head_of(key.get(self.prefix_len()..).ok_or(OutOfBounds)?);
        let (low, high) = self.narrow(head)?;
        if self.is_leaf() {
            self.page.prefetch(SLOTS + low * SLOT_BYTES);
            self.page.prefetch(SLOTS + high * SLOT_BYTES);
        } else {
            self.prefetch_between(low, high);
        }
        Ok(Aim { head, low: low as u32, high: high as u32 })
    }

    /// The second step: by the heads alone, the first slot that `key` can be in. Without a branch that depends on what is
    /// there: a wrong guess would throw away what the processor has begun of the work behind it.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page.
    #[inline(always)]
    pub(crate) fn close_in(&self, aim: &mut Aim) -> Result<(), OutOfBounds> {
        let slots = self.page.words(SLOTS, self.count())?;
        let (mut low, mut n) = (aim.low, aim.high.saturating_sub(aim.low));
        while n > 0 {
            let half = n / 2;
            let below = (slots.get((low + half) as usize) as u32) < aim.head;
            low += if below { n - half } else { 0 };
            n = half;
        }
        aim.low = low;
        Ok(())
    }

    /// The byte offset of the entry that the search will most likely end at: for [`SlottedPage::prefetch_entry`].
    #[inline(always)]
    pub(crate) fn likely_entry(&self, aim: &Aim) -> usize {
        self.slot(aim.low as usize).map_or(0, |slot| slot.offset)
    }

    /// The third step: what [`SlottedPage::search`] finds.
    ///
    /// # Errors
    /// [`OutOfBounds`] on a damaged or torn page, or for a key shorter than the prefix.
    #[inline(always)]
    pub(crate) fn search_aimed(&self, key: &[u8], aim: &Aim) -> Result<Search, OutOfBounds> {
        let (low, high) = (aim.low as usize, aim.high as usize);
        if low >= high {
            return Ok(Search::Insert(low));
        }
        let word = self.page.words(SLOTS, self.count())?.get(low);
        if word as u32 != aim.head {
            return Ok(Search::Insert(low));
        }
        let suffix = key.get(self.prefix_len()..).ok_or(OutOfBounds)?;
        match self.compare_rest(Slot::from_word(word), suffix)? {
            Ordering::Equal => Ok(Search::Found(low)),
            Ordering::Greater => Ok(Search::Insert(low)),
            Ordering::Less => self.search_between(suffix, aim.head, low + 1, high),
        }
    }
}
