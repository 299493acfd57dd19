//! The allocator in memory: reserve, apply, release, snapshot, restore.

use super::extents::{Extent, ExtentSet};
use super::places::Places;
use super::snapshot::Snapshot;
use crate::error::{Error, Result, Site};
use crate::pool::page_store::PageStore;
use crate::pool::readers::Readers;
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, RwLock, RwLockReadGuard};
use crate::types::{Lsn, PageId, SizeClass};

/// The record of free space. Every method takes `&self`.
pub struct Allocator {
    store: Arc<dyn PageStore>,
    /// Shared by whoever allocates or frees in a record, exclusive for a snapshot (A2).
    gate: RwLock<()>,
    pub(super) state: Mutex<State>,
    /// Who may still read what was freed (V3).
    readers: Arc<Readers>,
    /// Pending pages that the next checkpoint makes free: an estimate to steer by.
    reclaimable: AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) free: ExtentSet,
    /// Given out, not logged; snapshots' own extents are among them.
    pub(super) reserved: ExtentSet,
    pending: Pending,
    /// Where snapshots lie and will lie.
    pub(super) places: Places,
    /// The first page behind the page file.
    pub(super) end: PageId,
    /// Pages that records allocated and freed since the pool was made.
    counts: (u64, u64),
}

/// Freed extents that may not be used yet.
#[derive(Default)]
struct Pending {
    /// With the LSN of the record that freed each, in the order of the frees.
    list: Vec<(Lsn, Extent)>,
    /// Their pages.
    pages: ExtentSet,
}

/// Holds the allocator's gate shared: from before the append of a record that allocates or frees until the allocator has
/// applied it (A2).
pub struct GateGuard<'a>(#[allow(dead_code)] RwLockReadGuard<'a, ()>);

/// All of the page file, sorted by what its pages are for: what a check compares reachable pages with.
#[derive(Clone, Debug, Default)]
pub struct SpaceMap {
    /// The first page that can be allocated.
    pub first: PageId,
    /// The first page behind the page file.
    pub end: PageId,
    /// Free extents.
    pub free: Vec<Extent>,
    /// Extents given out but not logged; snapshots are among them.
    pub reserved: Vec<Extent>,
    /// Freed extents that may not be used yet.
    pub pending: Vec<Extent>,
}

/// The file grows by a sixty-fourth, within these bounds, in bytes.
const GROWTH: std::ops::RangeInclusive<u64> = (256 << 10)..=(64 << 20);

impl Allocator {
    pub(crate) fn new(store: Arc<dyn PageStore>) -> Allocator {
        let state = State { end: store.first_page(), ..State::default() };
        Allocator {
            store,
            gate: RwLock::new(()),
            state: Mutex::new(state),
            readers: Readers::new(),
            reclaimable: AtomicU64::new(0),
        }
    }

    /// Takes a place for a page of `class`, growing the file if need be. To be followed by
    /// [`Allocator::apply_allocation`] under the gate, or [`Allocator::unreserve`].
    ///
    /// # Errors
    /// [`Error::NoSpace`] if the file cannot grow; space that is pending may be free after a checkpoint.
    pub fn reserve(&self, class: SizeClass) -> Result<PageId> {
        Ok(self.reserve_extent(class.units())?.start)
    }

    /// Takes a run of `units` pages, as [`Allocator::reserve`].
    ///
    /// # Errors
    /// As [`Allocator::reserve`].
    pub fn reserve_extent(&self, units: u64) -> Result<Extent> {
        let mut state = self.state.lock();
        let extent = match state.free.take(units) {
            Some(extent) => extent,
            None => {
                self.grow(&mut state, units)?;
                state.free.take(units).ok_or(Error::NoSpace { what: "page file", needed: units })?
            }
        };
        state.reserved.insert(extent);
        Ok(extent)
    }

    /// Takes a run of at most `most` pages: a shorter one where free space is in pieces, but the file grows rather than
    /// that it would be very short. As [`Allocator::reserve`].
    ///
    /// # Errors
    /// As [`Allocator::reserve`].
    pub fn reserve_run(&self, most: u64) -> Result<Extent> {
        let mut state = self.state.lock();
        let longest = state.free.longest().min(most);
        let extent = if longest >= most.div_ceil(8) {
            state.free.take(longest)
        } else {
            match self.grow(&mut state, most) {
                Ok(()) => state.free.take(most),
                Err(error) if longest == 0 => return Err(error),
                Err(_) => state.free.take(longest),
            }
        };
        let extent = extent.ok_or(Error::NoSpace { what: "page file", needed: most })?;
        state.reserved.insert(extent);
        Ok(extent)
    }

    pub(super) fn page_size(&self) -> u64 {
        self.store.page_size() as u64
    }

    /// Extends the file so that `units` contiguous pages are free at its end.
    pub(super) fn grow(&self, state: &mut State, units: u64) -> Result<()> {
        self.keep_up(state, units)?;
        let (page, from) = (self.page_size(), state.end.get());
        let more = (from * page / 64).clamp(*GROWTH.start(), *GROWTH.end()) / page;
        // Not further than the places for snapshots reach (A5).
        let more = more.min(state.places.reach(page).saturating_sub(from));
        match self.extend(state, more.max(units)) {
            // On a nearly full disk, what is needed may fit where the comfortable step does not.
            Err(Error::NoSpace { .. }) if more > units => self.extend(state, units),
            other => other,
        }
    }

    /// Extends the file by `step` pages, which are free then.
    pub(super) fn extend(&self, state: &mut State, step: u64) -> Result<()> {
        let from = state.end;
        let end = PageId::new(from.get().saturating_add(step));
        if end > PageId::MAX {
            return Err(Error::NoSpace { what: "page ids", needed: step });
        }
        self.store.grow(from, end)?;
        state.free.insert(Extent::new(from, step));
        state.end = end;
        Ok(())
    }

    /// Gives back a reservation that no record names.
    pub fn unreserve(&self, id: PageId, class: SizeClass) {
        self.unreserve_extent(Extent::new(id, class.units()));
    }

    /// Gives back a reserved run that no record names and nothing refers to any more.
    pub fn unreserve_extent(&self, extent: Extent) {
        let mut state = self.state.lock();
        let was = state.reserved.remove(extent) && state.free.insert(extent);
        debug_assert!(was, "A3: {extent:?} was not reserved");
    }

    /// Enters through the gate: taken before the append of a record with allocations or frees, dropped after they were
    /// applied here (A2). Waits while a snapshot is copied.
    #[must_use]
    pub fn enter(&self) -> GateGuard<'_> {
        GateGuard(self.gate.read())
    }

    /// A record allocated `id`, which was reserved.
    pub fn apply_allocation(&self, gate: &GateGuard<'_>, id: PageId, class: SizeClass) {
        self.apply_allocation_of(gate, Extent::new(id, class.units()));
    }

    /// A record allocated a run of pages, which was reserved.
    pub fn apply_allocation_of(&self, _gate: &GateGuard<'_>, extent: Extent) {
        let mut state = self.state.lock();
        let was = state.reserved.remove(extent);
        state.counts.0 += extent.units;
        drop(state);
        assert!(was, "A3: {extent:?} was allocated without a reservation");
    }

    /// Before the append of a record that frees `extents`: whether all of it is there to be freed, and once. What two references
    /// lead to could otherwise be freed twice, and the log would be one that no recovery takes.
    ///
    /// # Errors
    /// `Corrupted` if any of it is not allocated, or is named twice.
    pub fn check_frees(&self, _gate: &GateGuard<'_>, extents: impl IntoIterator<Item = Extent>) -> Result<()> {
        let mut extents: Vec<Extent> = extents.into_iter().collect();
        extents.sort_unstable_by_key(|extent| extent.start);
        let twice = extents.windows(2).find(|pair| pair[0].end() > pair[1].start);
        let state = self.state.lock();
        match twice.map(|pair| pair[1]).or_else(|| extents.into_iter().find(|extent| !state.is_allocated(*extent))) {
            None => Ok(()),
            Some(extent) => Err(Error::corrupted(Site::Page(extent.start), "to be freed, but not allocated")),
        }
    }

    /// The record that ends at `lsn` freed `id`. Its space is pending until both superblocks are beyond `lsn` (A1).
    pub fn apply_free(&self, gate: &GateGuard<'_>, id: PageId, class: SizeClass, lsn: Lsn) {
        self.apply_free_of(gate, Extent::new(id, class.units()), lsn);
    }

    /// The record that ends at `lsn` freed a run of pages; otherwise as [`Allocator::apply_free`].
    pub fn apply_free_of(&self, _gate: &GateGuard<'_>, extent: Extent, lsn: Lsn) {
        let mut state = self.state.lock();
        state.counts.1 += extent.units;
        // Relaxed: an estimate.
        self.reclaimable.fetch_add(extent.units, Ordering::Relaxed);
        assert!(state.is_allocated(extent), "A1: {extent:?} was freed without being allocated");
        if cfg!(pagebox_break = "reuse_freed") {
            state.free.insert(extent);
        } else {
            state.pending.push(lsn, extent);
        }
    }

    /// Both superblocks' redo LSNs are at or beyond `redo`: space freed by records that end at or before it is free (A1),
    /// unless a registered reader may still read it (V3). Returns how many pages became free.
    pub fn release_pending(&self, redo: Lsn) -> u64 {
        let mut state = self.state.lock();
        let oldest = if cfg!(pagebox_break = "readers") { Lsn::MAX } else { self.readers.oldest() };
        let mut released = 0;
        for extent in state.pending.release(redo, oldest) {
            released += extent.units;
            let fresh = state.free.insert(extent);
            debug_assert!(fresh, "A1: {extent:?} was free already");
        }
        let later = state.pending.before(oldest);
        // Relaxed: an estimate.
        self.reclaimable.store(later, Ordering::Relaxed);
        released
    }

    /// About how many pending pages a checkpoint would make free, those that readers hold back not among them. One load.
    #[must_use]
    pub fn reclaimable_pages(&self) -> u64 {
        // Relaxed: an estimate.
        self.reclaimable.load(Ordering::Relaxed)
    }

    /// The registry of those who read large values.
    #[must_use]
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Pages that a checkpoint or two would make free.
    #[must_use]
    pub fn pending_pages(&self) -> u64 {
        self.state.lock().pending.pages.units()
    }

    /// Pages that records have allocated and freed since the pool was made.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        self.state.lock().counts
    }

    /// Pages that can be given out without growing the file.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        self.state.lock().free.units()
    }

    /// The first page behind the page file.
    #[must_use]
    pub fn end(&self) -> PageId {
        self.state.lock().end
    }

    /// The state at an LSN that `position` reads while nobody is between an append and its application (A2).
    pub fn snapshot(&self, position: impl FnOnce() -> Lsn) -> Snapshot {
        let _alone = self.gate.write();
        let state = self.state.lock();
        let mut free = state.free.clone();
        for extent in state.reserved.iter() {
            free.insert(extent);
        }
        Snapshot { lsn: position(), end: state.end, free: free.iter().collect(), pending: state.pending.list.clone() }
    }

    /// Recovery: takes over a snapshot, with the extents in `held` (those that hold a snapshot either superblock names)
    /// reserved (A4).
    ///
    /// # Errors
    /// `Corrupted` if the snapshot contradicts itself.
    pub fn restore(&self, snapshot: &Snapshot, held: &[Extent]) -> Result<()> {
        let first = self.store.first_page();
        let mut state = State { end: snapshot.end.max(first), ..State::default() };
        let damaged =
            |extent: &Extent| Error::corrupted(Site::FreeSpace, format!("{extent:?} does not fit the others"));
        let outside = |state: &State, extent: &Extent| extent.start < first || extent.end() > state.end;
        for extent in &snapshot.free {
            if outside(&state, extent) || !state.free.insert(*extent) {
                return Err(damaged(extent));
            }
        }
        for (lsn, extent) in &snapshot.pending {
            if outside(&state, extent) || state.free.overlap(*extent) > 0 || !state.pending.push(*lsn, *extent) {
                return Err(damaged(extent));
            }
        }
        for extent in held {
            state.extend_to(extent.end());
            state.free.remove_overlap(*extent);
            let pending = state.pending.pages.overlap(*extent) > 0;
            if extent.start < first || pending || !state.reserved.insert(*extent) {
                return Err(damaged(extent));
            }
        }
        state.places = Places::named(held);
        *self.state.lock() = state;
        Ok(())
    }

    /// Recovery: a record behind the snapshot allocated `id`.
    ///
    /// # Errors
    /// `Corrupted` if it was not free.
    pub fn replay_allocation(&self, id: PageId, class: SizeClass) -> Result<()> {
        self.replay_allocation_of(Extent::new(id, class.units()))
    }

    /// As [`Allocator::replay_allocation`], for a run of pages.
    ///
    /// # Errors
    /// As there.
    pub fn replay_allocation_of(&self, extent: Extent) -> Result<()> {
        self.check(extent)?;
        let mut state = self.state.lock();
        state.extend_to(extent.end());
        // What was pending in the snapshot became free by a checkpoint before this record could take it.
        if !state.free.remove(extent) && !state.take_also_pending(extent) {
            return Err(Error::corrupted(Site::FreeSpace, format!("the log allocates {extent:?}, which is not free")));
        }
        Ok(())
    }

    /// Recovery: the record that ends at `lsn`, behind the snapshot, freed `id`.
    ///
    /// # Errors
    /// `Corrupted` unless all of it was allocated: freed twice, it would be given out twice.
    pub fn replay_free(&self, id: PageId, class: SizeClass, lsn: Lsn) -> Result<()> {
        self.replay_free_of(Extent::new(id, class.units()), lsn)
    }

    /// As [`Allocator::replay_free`], for a run of pages.
    ///
    /// # Errors
    /// As there.
    pub fn replay_free_of(&self, extent: Extent, lsn: Lsn) -> Result<()> {
        self.check(extent)?;
        let mut state = self.state.lock();
        if !state.is_allocated(extent) {
            return Err(Error::corrupted(Site::FreeSpace, format!("the log frees {extent:?}, which is not allocated")));
        }
        state.pending.push(lsn, extent);
        // Relaxed: an estimate.
        self.reclaimable.fetch_add(extent.units, Ordering::Relaxed);
        Ok(())
    }

    fn check(&self, extent: Extent) -> Result<()> {
        if extent.start < self.store.first_page() || extent.end() > PageId::MAX {
            return Err(Error::corrupted(Site::Page(extent.start), "allocated or freed in the log, but no such page"));
        }
        Ok(())
    }

    /// Recovery, at its end: makes the file as long as the state says it is.
    ///
    /// # Errors
    /// `NoSpace`, `Io`.
    pub fn settle(&self) -> Result<()> {
        let state: MutexGuard<'_, State> = self.state.lock();
        self.store.grow(self.store.first_page(), state.end)
    }

    /// What every page of the file is for, at this moment.
    #[must_use]
    pub fn map(&self) -> SpaceMap {
        let state = self.state.lock();
        SpaceMap {
            first: self.store.first_page(),
            end: state.end,
            free: state.free.iter().collect(),
            reserved: state.reserved.iter().collect(),
            pending: state.pending.list.iter().map(|&(_, extent)| extent).collect(),
        }
    }
}

impl State {
    /// The file is at least this long: what lies between is free.
    fn extend_to(&mut self, end: PageId) {
        if end > self.end {
            self.free.insert(Extent::new(self.end, end.get() - self.end.get()));
            self.end = end;
        }
    }

    /// Whether all of an extent is in use: in none of the maps.
    fn is_allocated(&self, extent: Extent) -> bool {
        let elsewhere = [&self.free, &self.reserved, &self.pending.pages];
        extent.end() <= self.end && elsewhere.iter().all(|set| set.overlap(extent) == 0)
    }

    /// Takes an extent that is free in part and pending in the rest, each perhaps in pieces; false, and nothing changed, if
    /// some of it is neither.
    fn take_also_pending(&mut self, extent: Extent) -> bool {
        if self.free.overlap(extent) + self.pending.pages.overlap(extent) < extent.units {
            return false;
        }
        self.free.remove_overlap(extent);
        self.pending.remove_overlap(extent);
        true
    }
}

impl Pending {
    /// False, and nothing changed, if any of it is there already.
    fn push(&mut self, lsn: Lsn, extent: Extent) -> bool {
        let fresh = self.pages.insert(extent);
        if fresh {
            self.list.push((lsn, extent));
        }
        fresh
    }

    /// How many pages were freed before `oldest`.
    fn before(&self, oldest: Lsn) -> u64 {
        self.list.iter().filter(|(lsn, _)| *lsn < oldest).map(|(_, extent)| extent.units).sum()
    }

    /// Takes out what was freed at or before `redo`, and before `oldest`.
    fn release(&mut self, redo: Lsn, oldest: Lsn) -> Vec<Extent> {
        let released: Vec<Extent> =
            self.list.extract_if(.., |(lsn, _)| *lsn <= redo && *lsn < oldest).map(|(_, extent)| extent).collect();
        for &extent in &released {
            self.pages.remove(extent);
        }
        released
    }

    fn remove_overlap(&mut self, extent: Extent) {
        self.pages.remove_overlap(extent);
        let rest = self.list.iter().flat_map(|&(lsn, pending)| {
            let mut left = ExtentSet::default();
            left.insert(pending);
            left.remove_overlap(extent);
            left.iter().map(|piece| (lsn, piece)).collect::<Vec<_>>()
        });
        self.list = rest.collect();
    }
}
