//! The allocator against a model, and its rules of reuse.

use super::extents::ExtentSet;
use super::snapshot::drawn_bytes;
use super::*;
use crate::pool::mem_store::MemPageStore;
use crate::pool::page_store::{PageImage, PageStore};
use crate::sync::Arc;
use crate::types::{Lsn, PageId, SizeClass};
use quickcheck::quickcheck;
use std::collections::BTreeSet;

fn allocator() -> Allocator {
    Allocator::new(Arc::new(MemPageStore::new(4096)))
}

fn allocate(allocator: &Allocator, class: SizeClass) -> PageId {
    let id = allocator.reserve(class).unwrap();
    let gate = allocator.enter();
    allocator.apply_allocation(&gate, id, class);
    id
}

fn free(allocator: &Allocator, id: PageId, class: SizeClass, lsn: u64) {
    let gate = allocator.enter();
    allocator.apply_free(&gate, id, class, Lsn::new(lsn));
}

quickcheck! {
    fn extent_sets_behave_like_sets_of_pages(ops: Vec<(bool, u8, u8)>) -> bool {
        let mut set = ExtentSet::default();
        let mut model = BTreeSet::new();
        for (add, start, units) in ops {
            let (start, units) = (u64::from(start), u64::from(units % 16));
            let extent = Extent::new(PageId::new(start), units);
            let pages: Vec<u64> = (start..start + units).collect();
            if add {
                let fits = pages.iter().all(|page| !model.contains(page));
                assert_eq!(set.insert(extent), fits);
                if fits { model.extend(pages); }
            } else {
                let fits = pages.iter().all(|page| model.contains(page));
                assert_eq!(set.remove(extent), fits);
                if fits { for page in pages { model.remove(&page); } }
            }
            let flat: Vec<u64> = set.iter().flat_map(|e| e.start.get()..e.end().get()).collect();
            assert_eq!(flat, model.iter().copied().collect::<Vec<_>>());
            let ends: BTreeSet<u64> = set.iter().map(|e| e.end().get()).collect();
            assert!(set.iter().all(|e| !ends.contains(&e.start.get())), "neighbours are one");
        }
        true
    }

    fn overlaps_are_counted_exactly(pages: BTreeSet<u8>, start: u8, units: u8) -> bool {
        let mut set = ExtentSet::default();
        for &page in &pages {
            set.insert(Extent::new(PageId::new(u64::from(page)), 1));
        }
        let window = u64::from(start)..u64::from(start) + u64::from(units);
        let there = pages.iter().filter(|&&page| window.contains(&u64::from(page))).count() as u64;
        set.overlap(Extent::new(PageId::new(window.start), u64::from(units))) == there
    }

    fn overlaps_are_removed_exactly(pages: BTreeSet<u8>, start: u8, units: u8) -> bool {
        let mut set = ExtentSet::default();
        for &page in &pages {
            set.insert(Extent::new(PageId::new(u64::from(page)), 1));
        }
        let cut = u64::from(start)..u64::from(start) + u64::from(units);
        set.remove_overlap(Extent::new(PageId::new(cut.start), u64::from(units)));
        let left: Vec<u64> = set.iter().flat_map(|e| e.start.get()..e.end().get()).collect();
        left == pages.iter().map(|&p| u64::from(p)).filter(|p| !cut.contains(p)).collect::<Vec<_>>()
    }

    fn any_bytes_decode_without_panic(bytes: Vec<u8>) -> bool {
        Snapshot::decode(&bytes).is_err()
    }
}

#[test]
fn freed_space_waits_for_both_superblocks() {
    let allocator = allocator();
    let id = allocate(&allocator, SizeClass::ZERO);
    free(&allocator, id, SizeClass::ZERO, 100);
    assert_eq!(allocator.release_pending(Lsn::new(99)), 0);
    assert!(!(0..allocator.free_pages()).any(|_| allocator.reserve(SizeClass::ZERO).unwrap() == id), "A1");
    assert_eq!(allocator.release_pending(Lsn::new(100)), 1);
    assert_eq!(allocator.reserve(SizeClass::ZERO).unwrap(), id);
}

#[test]
fn reserved_space_is_free_in_a_snapshot_and_allocated_space_is_not() {
    let allocator = allocator();
    let logged = allocate(&allocator, SizeClass::ZERO);
    let only_reserved = allocator.reserve(SizeClass::ZERO).unwrap();
    let snapshot = allocator.snapshot(|| Lsn::new(7));
    let again = Snapshot::decode(&snapshot.encode()).unwrap();
    assert_eq!(snapshot, again);
    let holds = |id: PageId| snapshot.free.iter().any(|e| e.start <= id && id < e.end());
    assert!(holds(only_reserved), "A3");
    assert!(!holds(logged));
}

#[test]
fn snapshot_and_replay_give_the_same_state() {
    let allocator = allocator();
    let class = SizeClass::new(2).unwrap();
    let a = allocate(&allocator, class);
    let b = allocate(&allocator, SizeClass::ZERO);
    free(&allocator, a, class, 50);
    let snapshot = allocator.snapshot(|| Lsn::new(60));
    // Behind the snapshot: the pending extent comes free and is taken in pieces, the file grows, b is freed.
    allocator.release_pending(Lsn::new(55));
    let mut taken = Vec::new();
    for _ in 0..200 {
        taken.push(allocate(&allocator, SizeClass::ZERO));
    }
    assert!(taken.contains(&a));
    free(&allocator, b, SizeClass::ZERO, 90);

    let other = self::allocator();
    other.restore(&snapshot, &[]).unwrap();
    for &id in &taken {
        other.replay_allocation(id, SizeClass::ZERO).unwrap();
    }
    other.replay_free(b, SizeClass::ZERO, Lsn::new(90)).unwrap();
    let (mine, theirs) = (allocator.snapshot(|| Lsn::new(100)), other.snapshot(|| Lsn::new(100)));
    assert_eq!(mine.pending, theirs.pending);
    let clip = |s: &Snapshot| -> BTreeSet<u64> {
        s.free.iter().flat_map(|e| e.start.get()..e.end().get()).filter(|&p| p < theirs.end.get()).collect()
    };
    assert_eq!(clip(&mine), clip(&theirs));
    assert!(other.replay_allocation(taken[0], SizeClass::ZERO).is_err(), "allocated twice");
    assert!(other.replay_free(PageId::new(1 << 40), SizeClass::ZERO, Lsn::new(91)).is_err());
}

quickcheck! {
    fn a_drawn_snapshot_says_the_same(extents: Vec<(u8, u8, bool)>, more: u8) -> bool {
        let (mut at, mut snapshot) = (1, self::allocator().snapshot(|| Lsn::new(70)));
        for (i, (gap, units, free)) in extents.into_iter().enumerate() {
            // Neighbours of one kind are one extent when drawn.
            let extent = Extent::new(PageId::new(at + 1 + u64::from(gap % 9)), u64::from(units) + 1);
            at = extent.end().get();
            if free { snapshot.free.push(extent) } else { snapshot.pending.push((Lsn::new(i as u64), extent)) }
        }
        snapshot.end = PageId::new(at + u64::from(more));
        let drawn = snapshot.draw();
        assert!(drawn.len() as u64 >= snapshot.least_bytes() && drawn.len() as u64 == drawn_bytes(snapshot.end.get()));
        let last = snapshot.pending.iter().map(|(lsn, _)| *lsn).max().unwrap_or(Lsn::NONE);
        snapshot.pending.iter_mut().for_each(|(lsn, _)| *lsn = last);
        let same = Snapshot::decode(&drawn).unwrap() == snapshot;
        let mut damaged = drawn;
        let at = usize::from(more) * 7 % (damaged.len() - 4);
        damaged[at] ^= 1;
        same && Snapshot::decode(&damaged).is_err()
    }

    /// A5, whatever is allocated and freed, on a medium that is full before long, and through crashes.
    fn a_snapshot_finds_room_on_a_full_medium(ops: Vec<(u8, u16)>, room: u16) -> bool {
        // Pages so small that places are soon too small.
        let store = Arc::new(Limited { pages: 20 + u64::from(room % 3000), page_size: 64 });
        let mut allocator = Allocator::new(store.clone());
        allocate(&allocator, SizeClass::ZERO);
        let (mut named, mut mine, mut lsn) = (None, Vec::new(), 100);
        allocator.keep_places(named);
        // What a log would hold since the last checkpoint.
        let (mut base, mut since) = (allocator.snapshot(|| Lsn::new(1)), Vec::new());
        for (op, n) in ops {
            lsn += 1;
            match op % 8 {
                0..4 => for _ in 0..n % 300 {
                    let Ok(extent) = allocator.reserve_extent(u64::from(op / 8 % 3) + 1) else { break };
                    let gate = allocator.enter();
                    allocator.apply_allocation_of(&gate, extent);
                    mine.push(extent);
                    since.push((extent, None));
                },
                4..6 => for _ in 0..n % 300 {
                    let Some(at) = mine.len().checked_sub(1).map(|last| usize::from(n) * 31 % (last + 1)) else { break };
                    let extent = mine.swap_remove(at);
                    let gate = allocator.enter();
                    allocator.apply_free_of(&gate, extent, Lsn::new(lsn));
                    since.push((extent, Some(Lsn::new(lsn))));
                },
                6 => {
                    let snapshot = allocator.snapshot(|| Lsn::new(lsn));
                    let end = allocator.end();
                    let place = allocator.place_for(&snapshot, named).unwrap();
                    assert_eq!(allocator.end(), end, "no space was needed");
                    assert!(place.units * 64 >= snapshot.least_bytes() && Some(place) != named);
                    named = Some(place);
                    allocator.release_pending(Lsn::new(lsn));
                    allocator.keep_places(named);
                    base = Snapshot::decode(&snapshot.draw()).unwrap();
                    since.clear();
                }
                _ => {
                    let after = Allocator::new(store.clone());
                    after.restore(&base, &Vec::from_iter(named)).unwrap();
                    for &(extent, freed) in &since {
                        match freed {
                            None => after.replay_allocation_of(extent).unwrap(),
                            Some(lsn) => after.replay_free_of(extent, lsn).unwrap(),
                        }
                    }
                    after.keep_places(named);
                    allocator = after;
                }
            }
            let snapshot = allocator.snapshot(|| Lsn::new(lsn));
            let places = allocator.state.lock().places.reach(64);
            assert!(places >= snapshot.end.get(), "A5: the places reach to {places}, not to {}", snapshot.end);
        }
        true
    }
}

/// A medium that can grow so far and no further.
struct Limited {
    pages: u64,
    page_size: usize,
}

impl PageStore for Limited {
    fn page_size(&self) -> usize {
        self.page_size
    }

    fn first_page(&self) -> PageId {
        PageId::new(1)
    }

    fn read(&self, _: PageId, _: &mut [u8]) -> crate::Result<()> {
        Ok(())
    }

    fn write_batch(&self, _: &mut [u8], _: &[PageImage]) -> crate::Result<()> {
        Ok(())
    }

    fn grow(&self, _: PageId, end: PageId) -> crate::Result<()> {
        let full = crate::Error::NoSpace { what: "the medium", needed: 1 };
        if end.get() <= self.pages { Ok(()) } else { Err(full) }
    }

    fn write_unlogged(&self, _: PageId, _: &[u8]) -> crate::Result<()> {
        Ok(())
    }

    fn sync(&self) -> crate::Result<()> {
        Ok(())
    }
}

#[test]
fn extents_of_snapshots_named_by_a_superblock_are_not_given_out() {
    let allocator = allocator();
    let held = allocator.reserve_extent(3).unwrap();
    let snapshot = allocator.snapshot(|| Lsn::new(1));
    let other = self::allocator();
    other.restore(&snapshot, &[held]).unwrap();
    for _ in 0..other.free_pages() {
        let id = other.reserve(SizeClass::ZERO).unwrap();
        assert!(id < held.start || id >= held.end(), "A4");
    }
    other.unreserve_extent(held);
    assert_eq!(other.reserve_extent(3).unwrap(), held);
}

#[test]
fn a_snapshot_that_contradicts_itself_is_damage() {
    let allocator = allocator();
    let mut snapshot = allocator.snapshot(|| Lsn::new(1));
    snapshot.end = PageId::new(100);
    snapshot.free = vec![Extent::new(PageId::new(10), 5), Extent::new(PageId::new(12), 1)];
    assert!(allocator.restore(&snapshot, &[]).is_err());
    snapshot.free = vec![Extent::new(PageId::new(90), 50)];
    assert!(allocator.restore(&snapshot, &[]).is_err());
}

#[test]
fn a_snapshot_waits_for_those_inside_the_gate() {
    let allocator = Arc::new(allocator());
    let id = allocator.reserve(SizeClass::ZERO).unwrap();
    let gate = allocator.enter();
    let other = allocator.clone();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let snapshot = other.snapshot(|| Lsn::new(5));
        tell.send(()).unwrap();
        snapshot
    });
    assert!(told.recv_timeout(std::time::Duration::from_millis(50)).is_err(), "A2: the snapshot did not wait");
    allocator.apply_allocation(&gate, id, SizeClass::ZERO);
    drop(gate);
    let snapshot = thread.join().unwrap();
    assert!(!snapshot.free.iter().any(|e| e.start <= id && id < e.end()));
}

#[test]
fn what_is_freed_behind_a_readers_back_stays_until_it_is_gone() {
    let allocator = allocator();
    let (a, b) = (allocate(&allocator, SizeClass::ZERO), allocate(&allocator, SizeClass::ZERO));
    free(&allocator, a, SizeClass::ZERO, 10);
    let reader = allocator.readers().enter(Lsn::new(11));
    free(&allocator, b, SizeClass::ZERO, 12);
    assert_eq!(allocator.reclaimable_pages(), 2);
    assert_eq!(allocator.release_pending(Lsn::new(50)), 1, "only what was freed before it came");
    assert_eq!((allocator.pending_pages(), allocator.reclaimable_pages()), (1, 0));
    drop(reader);
    assert_eq!(allocator.release_pending(Lsn::new(50)), 1);
    assert_eq!(allocator.pending_pages(), 0);
}

quickcheck! {
    fn runs_are_few_disjoint_and_as_long_as_asked(holes: Vec<u8>, units: u16, step: u8, grow: bool) -> bool {
        let allocator = allocator();
        let (step, units) = (1 << (step % 6), u64::from(units % 2000) + 1);
        // Free space of these lengths, with a page in use between them.
        let mut taken = Vec::new();
        for hole in &holes {
            taken.push((allocator.reserve_extent(u64::from(*hole) + 1).unwrap(), allocate(&allocator, SizeClass::ZERO)));
        }
        taken.iter().for_each(|(hole, _)| allocator.unreserve_extent(*hole));
        let before = allocator.free_pages();
        let Ok(runs) = allocator.reserve_runs(units, step, 16, grow) else {
            assert!(!grow && allocator.free_pages() == before, "refused only if it may not grow, and nothing taken");
            return true;
        };
        assert!(!runs.is_empty() && runs.len() <= 16);
        assert!(runs[..runs.len() - 1].iter().all(|run| run.units % step == 0));
        assert_eq!(runs.iter().map(|run| run.units).sum::<u64>(), units);
        let mut set = ExtentSet::default();
        runs.iter().all(|run| set.insert(*run)) && taken.iter().all(|(_, used)| set.overlap(Extent::new(*used, 1)) == 0)
    }
}

#[test]
fn runs_take_what_is_there_before_the_file_grows() {
    let allocator = allocator();
    let all = allocator.reserve_run(64).unwrap();
    assert_eq!(all.units, 64);
    let end = allocator.end();
    assert_eq!(allocator.free_pages(), 0, "all that there is but for what is given back here, in pieces");
    let piece = |from: u64, units| Extent::new(PageId::new(all.start.get() + from), units);
    allocator.unreserve_extent(piece(0, 3));
    allocator.unreserve_extent(piece(10, 9));
    assert_eq!(allocator.reserve_run(64).unwrap(), piece(10, 9), "an eighth and more is taken");
    assert_eq!(allocator.end(), end);
    let long = allocator.reserve_run(64).unwrap();
    assert_eq!(long.units, 64, "three pages are too few");
    assert!(allocator.end() > end);
    allocator.unreserve_extent(long);
}

#[test]
fn a_log_that_frees_what_is_not_allocated_is_damage() {
    let class = SizeClass::new(2).unwrap();
    let first = MemPageStore::new(4096).first_page().get();
    let extent = |at: u64, units: u64| Extent::new(PageId::new(first + at), units);
    // Page 0..4 allocated, 4..6 free, 6..8 held by a snapshot, 8..12 pending, 12..16 allocated.
    let snapshot = Snapshot {
        lsn: Lsn::new(1),
        end: PageId::new(first + 16),
        free: vec![extent(4, 4)],
        pending: vec![(Lsn::new(1), extent(8, 4))],
    };
    let restored = || {
        let allocator = allocator();
        allocator.restore(&snapshot, &[extent(6, 2)]).unwrap();
        allocator
    };
    let frees = |allocator: &Allocator, at: u64, class| {
        allocator.replay_free(PageId::new(first + at), class, Lsn::new(9)).is_ok()
    };
    for at in 0..20 {
        assert_eq!(frees(&restored(), at, class), at == 0 || at == 12, "four pages at {at}");
        let allocated = at < 4 || (12..16).contains(&at);
        assert_eq!(frees(&restored(), at, SizeClass::ZERO), allocated, "one page at {at}");
    }
    // What was freed once is not freed again, neither whole nor in part.
    let allocator = restored();
    assert!(frees(&allocator, 13, SizeClass::ZERO));
    assert!(!frees(&allocator, 13, SizeClass::ZERO) && !frees(&allocator, 12, class));
    assert!(frees(&allocator, 12, SizeClass::ZERO));
    assert_eq!(allocator.pending_pages(), 6);
    // A snapshot's own place is not pending.
    assert!(self::allocator().restore(&snapshot, &[extent(7, 2)]).is_err());
    // The last page there can be.
    assert!(!frees(&allocator, PageId::MAX.get() - first, class));
    assert!(allocator.replay_allocation(PageId::new(PageId::MAX.get() - 1), class).is_err());
}

#[test]
fn a_free_is_refused_before_it_is_logged_unless_all_of_it_is_allocated() {
    let allocator = allocator();
    let class = SizeClass::new(1).unwrap();
    let id = allocate(&allocator, class);
    let gate = allocator.enter();
    allocator.check_frees(&gate, [Extent::new(id, class.units())]).unwrap();
    allocator.apply_free(&gate, id, class, Lsn::new(5));
    for class in [SizeClass::ZERO, class] {
        let again = allocator.check_frees(&gate, [Extent::new(id, class.units())]);
        assert!(matches!(again, Err(crate::Error::Corrupted { .. })), "pending: {again:?}");
    }
    let reserved = allocator.reserve(class).unwrap();
    assert!(allocator.check_frees(&gate, [Extent::new(reserved, class.units())]).is_err(), "reserved");
    allocator.unreserve(reserved, class);
    assert!(allocator.check_frees(&gate, [Extent::new(reserved, class.units())]).is_err(), "free");
}

#[test]
fn an_allocation_takes_what_is_free_in_one_part_and_pending_in_another() {
    let first = MemPageStore::new(4096).first_page().get();
    let extent = |at: u64, units: u64| Extent::new(PageId::new(first + at), units);
    let snapshot = Snapshot {
        lsn: Lsn::new(1),
        end: PageId::new(first + 8),
        free: vec![extent(2, 1), extent(4, 1)],
        pending: vec![(Lsn::new(1), extent(0, 2)), (Lsn::new(2), extent(3, 1)), (Lsn::new(3), extent(6, 2))],
    };
    let allocator = allocator();
    allocator.restore(&snapshot, &[]).unwrap();
    let class = SizeClass::new(2).unwrap();
    assert!(allocator.replay_allocation(PageId::new(first + 2), class).is_err(), "page 5 is in use");
    allocator.replay_allocation(PageId::new(first + 1), class).unwrap();
    let after = allocator.snapshot(|| Lsn::new(9));
    assert_eq!(after.free, []);
    assert_eq!(after.pending, [(Lsn::new(1), extent(0, 1)), (Lsn::new(3), extent(6, 2))]);
}
