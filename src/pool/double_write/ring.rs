//! The ring of slots: which one the next batch goes to, what has to be synced before, and which pages have a copy that serves.

use super::known::{At, Known, MAX_SLOTS};
use super::lsn_of;
use crate::pool::page_store::PageImage;
use crate::types::{Lsn, PageId};

/// Bytes of memory that each copy in the ring costs: an entry and a half in the table.
pub(in crate::pool) const BYTES_PER_COPY: usize = 12;

/// What part of the slots is overwritten soon.
const SOON_PART: usize = 8;
/// What part of them is free for new batches when the next sync is asked for in the background.
const AHEAD_PART: usize = 16;

/// The state of the area.
#[derive(Debug)]
pub(in crate::pool) struct Ring {
    /// The number of the last batch begun.
    begun: u64,
    slots: Vec<Slot>,
    /// Slots there may be.
    most: usize,
    /// The slot that comes next.
    next: usize,
    /// Whether there will be more slots when all were used.
    growing: bool,
    known: Known,
    /// Copies serve if their LSN is greater (P11).
    floor: Lsn,
    /// Batches whose slots went to others while the sync of their pages was still awaited.
    awaited: Vec<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    number: u64,
    /// The sync of the page file that covers its writes in place.
    own: u64,
}

#[derive(Debug, Default)]
struct Slot {
    number: u64,
    /// The least LSN of its copies: what is to be said of each of them is said of all.
    least: Lsn,
    /// The sync of the page file that covers the batch's own writes in place.
    own: u64,
    /// The sync that covers every write in place that relies on one of the copies.
    needs: u64,
    /// Writes under way that rely on them, the batch's own included.
    users: usize,
}

impl Ring {
    /// `there` slots are in the file, and nothing relies on them; there may be `most`, one at least, of `copies` copies each at
    /// most. `begun` is the number of the last batch.
    pub(in crate::pool) fn new(begun: u64, there: usize, (most, copies): (usize, usize), floor: Lsn) -> Ring {
        let most = most.clamp(1, MAX_SLOTS);
        let slots = (0..there.min(most)).map(|_| Slot::default()).collect();
        // Without redo no copy serves.
        let known = Known::new(if floor == Lsn::MAX { 0 } else { most * copies });
        Ring { begun, slots, most, next: 0, growing: true, known, floor, awaited: Vec::new() }
    }

    /// Slots that are there.
    pub(in crate::pool) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether the next batch is to have a slot that is not there yet: the first lap makes them.
    pub(in crate::pool) fn wants_slot(&self) -> bool {
        self.next == self.slots.len()
    }

    /// The slot that is wanted is in the file.
    pub(in crate::pool) fn add_slot(&mut self) {
        self.growing = true;
        self.slots.push(Slot::default());
    }

    /// The slot that is wanted cannot be had: the lap begins anew with those there are. False if there is none.
    pub(in crate::pool) fn wrap(&mut self) -> bool {
        (self.next, self.growing) = (0, false);
        !self.slots.is_empty()
    }

    /// Gives up all slots but `keep`, for good; the sync that has to have succeeded before they are. `None` while somebody is at
    /// work who relies on one. `succeeded`: the last sync of the page file that did.
    #[cfg(feature = "btree")]
    pub(in crate::pool) fn shrink(&mut self, keep: usize, succeeded: u64) -> Option<u64> {
        // From here on nobody new relies on them.
        self.most = self.most.min(keep);
        if self.next >= self.most {
            self.next = 0;
        }
        let given = self.slots.get(keep..).unwrap_or_default();
        if given.iter().any(|slot| slot.users > 0) {
            return None;
        }
        let needed = given.iter().map(|slot| slot.needs).max().unwrap_or(0);
        for slot in self.slots.split_off(keep.min(self.slots.len())) {
            self.await_sync(&slot, succeeded);
        }
        Some(needed)
    }

    /// Takes the oldest slot for the next batch: which, the batch's number, and the sync of the page file that has to have succeeded
    /// before it is overwritten (P7). Its copies serve no more. `None` while somebody is at work who relies on it. `succeeded`: the
    /// last sync of the page file that did.
    pub(in crate::pool) fn claim(&mut self, succeeded: u64) -> Option<(usize, u64, u64)> {
        let at = self.next;
        if self.slots[at].users > 0 {
            return None;
        }
        self.begun += 1;
        // No sync covers it before it is written in place, and none ever if that fails.
        let slot = Slot { number: self.begun, least: Lsn::MAX, own: u64::MAX, needs: u64::MAX, users: 1 };
        let former = std::mem::replace(&mut self.slots[at], slot);
        let needed = former.needs;
        self.await_sync(&former, succeeded);
        self.next = (at + 1) % self.most;
        let (slots, half) = (&self.slots, self.lap().div_ceil(2));
        self.known.sweep(half, |at| is_stale(slots, at));
        Some((at, self.begun, needed))
    }

    /// The slot goes to another batch; its own is not complete before its sync.
    fn await_sync(&mut self, former: &Slot, succeeded: u64) {
        self.awaited.retain(|batch| batch.own > succeeded);
        if former.own > succeeded {
            self.awaited.push(Awaited { number: former.number, own: former.own });
        }
    }

    /// The batch came to nothing before any page was touched in place.
    pub(in crate::pool) fn abandon(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        (slot.own, slot.needs, slot.users) = (0, 0, 0);
    }

    /// The batch failed: pages may be torn in place, and its copies must stay.
    pub(in crate::pool) fn failed(&mut self, slot: usize) {
        self.slots[slot].users = 0;
    }

    /// The copies of the batch in `slot` are durable, and its pages written in place; `sync` covers that.
    pub(in crate::pool) fn wrote(&mut self, slot: usize, buffer: &[u8], images: &[PageImage], sync: u64) {
        let (lap, next) = (self.lap(), self.next);
        let to = &mut self.slots[slot];
        (to.own, to.needs, to.users) = (sync, sync, 0);
        for image in images {
            to.least = to.least.min(lsn_of(&buffer[image.offset..image.offset + image.len]));
        }
        let at = At::new(slot, to.number);
        if self.floor < Lsn::MAX {
            let slots = &self.slots;
            let rank = |at: At| if is_stale(slots, at) { 0 } else { 1 + (at.slot + lap - next) % lap };
            images.iter().for_each(|image| self.known.set(image.id, at, rank));
        }
    }

    /// Batches until a slot is overwritten.
    fn lap(&self) -> usize {
        if self.growing { self.most } else { self.slots.len().max(1) }
    }

    /// Whether the page may be written in place without a new copy (P11). Not if its copy is among those that are overwritten soon:
    /// each reliance on one of them would ask for a sync of its own, when one is to serve many slots.
    pub(in crate::pool) fn serves(&self, id: PageId) -> bool {
        let (lap, soon) = (self.lap(), (self.lap() / SOON_PART).max(1));
        self.intact(id).is_some_and(|slot| (slot + lap - self.next) % lap >= soon)
    }

    /// The slot with a copy of the page that the log goes back to.
    fn intact(&self, id: PageId) -> Option<usize> {
        let at = self.known.get(id).filter(|&at| !is_stale(&self.slots, at))?;
        // One that is being overwritten has no least LSN yet.
        let Slot { least, own, .. } = self.slots[at.slot];
        (own != u64::MAX && least > self.floor && at.slot < self.most).then_some(at.slot)
    }

    /// The pages are about to be written in place without new copies: the slots that they rely on. `None`, and nothing done, if not
    /// all have a copy that serves.
    pub(in crate::pool) fn rely(&mut self, images: &[PageImage]) -> Option<Vec<usize>> {
        let slots: Vec<usize> = images.iter().map(|image| self.intact(image.id)).collect::<Option<_>>()?;
        slots.iter().for_each(|&slot| self.slots[slot].users += 1);
        Some(slots)
    }

    /// They were; `sync` covers that. `None`: it failed, they may be torn, and the copies must stay.
    pub(in crate::pool) fn relied(&mut self, slots: &[usize], sync: Option<u64>) {
        for &slot in slots {
            let slot = &mut self.slots[slot];
            slot.users -= 1;
            slot.needs = slot.needs.max(sync.unwrap_or(u64::MAX));
        }
    }

    /// The sync that the slots need which are soon to be overwritten, if it was not made by now: for somebody in the background,
    /// so that nobody has to wait for it then.
    pub(in crate::pool) fn due(&self, succeeded: u64) -> Option<u64> {
        let ahead = self.slots.get((self.next + self.lap() / AHEAD_PART) % self.lap())?;
        (succeeded < ahead.needs && ahead.needs != u64::MAX).then_some(ahead.needs)
    }

    /// From here on copies up to this LSN serve no more.
    pub(in crate::pool) fn raise_floor(&mut self, floor: Lsn) {
        self.floor = self.floor.max(floor);
    }

    /// The last batch up to which all pages are synced in place, if this is the last sync of the page file that succeeded.
    pub(in crate::pool) fn completed(&self, succeeded: u64) -> u64 {
        let slots = self.slots.iter().map(|slot| (slot.number, slot.own));
        let awaited = self.awaited.iter().map(|batch| (batch.number, batch.own));
        let under_way = slots.chain(awaited).filter(|&(_, own)| own > succeeded).map(|(number, _)| number);
        under_way.min().map_or(self.begun, |first| first - 1)
    }
}

/// Whether the entry speaks of a batch whose slot belongs to another one, or to none.
fn is_stale(slots: &[Slot], at: At) -> bool {
    slots.get(at.slot).is_none_or(|slot| At::new(at.slot, slot.number) != at)
}
