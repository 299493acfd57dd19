//! Places for snapshots, kept so that a checkpoint needs no space: it is what frees space, on a full disk most of all.
//!
//! A snapshot is written beside the former one, which stays until both superblocks name the new one. So there are two
//! places at least, which take turns. **The file grows only as far as two of them reach** (A5): each can hold a drawn
//! snapshot of all of the file, two bits a page, however many pieces the free and pending space is in. Where growth would
//! go beyond that, larger places come first, for twice the file if there is room, and only then what was asked for. Former
//! ones are given back by the next checkpoint, never before.
//!
//! **After a crash.** Which places were kept, beside those that superblocks name, is nobody's to say: they are free again,
//! and in one piece each, since no record allocates from them. They lie in front of whatever the file grew by for their
//! sake, so within what recovery finds the file to be. Two of the size needed are thus taken again before anything else is.

use super::allocator::{Allocator, State};
use super::extents::Extent;
use super::snapshot::{Snapshot, drawn_bytes, drawn_end};
use crate::error::{Error, Result};
use crate::types::PageId;

/// The places of an allocator: all of them are reserved.
#[derive(Default)]
pub(super) struct Places {
    /// Whether growth looks after them: not during recovery, and never in a pool without checkpoints.
    kept: bool,
    all: Vec<Extent>,
}

impl Places {
    /// Those that hold a snapshot which a superblock names.
    pub(super) fn named(held: &[Extent]) -> Places {
        Places { kept: false, all: held.to_vec() }
    }

    /// How long the file may be, in pages.
    pub(super) fn reach(&self, page: u64) -> u64 {
        if !self.kept {
            return u64::MAX;
        }
        let mut units: Vec<u64> = self.all.iter().map(|place| place.units).collect();
        units.sort_unstable();
        let second = units.len().checked_sub(2).map_or(0, |at| units[at]);
        drawn_end(second * page)
    }

    fn as_large_as(&self, units: u64) -> usize {
        self.all.iter().filter(|place| place.units >= units).count()
    }
}

impl Allocator {
    /// Keeps places for snapshots from here on: gives back what is too much of them, and takes what is missing, as far as
    /// can be. `named` is where the snapshot lies that both superblocks name.
    pub fn keep_places(&self, named: Option<Extent>) {
        let mut state = self.state.lock();
        let (mut all, mut others): (Vec<Extent>, Vec<Extent>) =
            std::mem::take(&mut state.places.all).into_iter().partition(|place| Some(*place) == named);
        others.sort_unstable_by_key(|place| std::cmp::Reverse(place.units));
        let least = named.map_or(0, |place| place.units);
        let keep = if others.get(1).is_some_and(|second| second.units > least) { 2 } else { 1 };
        for place in others.drain(keep.min(others.len())..) {
            let was = state.reserved.remove(place) && state.free.insert(place);
            debug_assert!(was, "A4: {place:?} was not reserved");
        }
        all.append(&mut others);
        state.places.all = all;
        state.places.kept = true;
        // What cannot be had now, the next growth has to have first.
        let _ = self.keep_up(&mut state, 0);
    }

    /// Where `snapshot` can be written: not to `named`, where the one lies that the superblocks name. Takes no space, unless
    /// the store comes from a time when no such places were kept.
    ///
    /// # Errors
    /// As [`Allocator::reserve`].
    pub fn place_for(&self, snapshot: &Snapshot, named: Option<Extent>) -> Result<Extent> {
        let (page, bytes) = (self.page_size(), snapshot.least_bytes());
        let state = self.state.lock();
        let kept = state.places.all.iter().filter(|place| Some(**place) != named).max_by_key(|place| place.units);
        if let Some(&place) = kept.filter(|place| place.units * page >= bytes) {
            return Ok(place);
        }
        drop(state);
        let place = self.reserve_extent(bytes.div_ceil(page))?;
        self.state.lock().places.all.push(place);
        Ok(place)
    }

    /// Before the file grows by `units` pages: two places that reach that far (A5).
    pub(super) fn keep_up(&self, state: &mut State, units: u64) -> Result<()> {
        let (page, end) = (self.page_size(), state.end.get().saturating_add(units));
        if state.places.reach(page) >= end || end > PageId::MAX.get() {
            return Ok(());
        }
        let size_for = |end: u64| drawn_bytes(end).div_ceil(page);
        let comfortable = size_for(end.saturating_mul(2).min(PageId::MAX.get()));
        let exact = size_for(end);
        // Places at the end of the file make it longer.
        let mut longer = exact;
        while longer < size_for(end + 2 * longer) {
            longer = size_for(end + 2 * longer);
        }
        // What is free comes before what may not be had: there are places of the exact size after a crash.
        for (size, grow) in [(comfortable, true), (exact, false)] {
            match self.take_places(state, size, grow) {
                Err(Error::NoSpace { .. }) => {}
                other => return other,
            }
        }
        self.take_places(state, longer, true)
    }

    /// Reserves places of `size` pages until there are two; without a change if it cannot have all of them, so that the file
    /// is not longer for nothing.
    fn take_places(&self, state: &mut State, size: u64, grow: bool) -> Result<()> {
        let missing = 2usize.saturating_sub(state.places.as_large_as(size));
        let mut taken: Vec<Extent> = (0..missing).map_while(|_| state.free.take(size)).collect();
        let more = (missing - taken.len()) as u64;
        if more > 0 {
            let none = Error::NoSpace { what: "page file", needed: more * size * self.page_size() };
            if let Err(error) = if grow { self.extend(state, more * size) } else { Err(none) } {
                for place in taken {
                    state.free.insert(place);
                }
                return Err(error);
            }
            taken.extend((0..more).map_while(|_| state.free.take(size)));
        }
        for &place in &taken {
            state.reserved.insert(place);
        }
        state.places.all.append(&mut taken);
        Ok(())
    }
}
