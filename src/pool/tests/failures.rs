//! Writes that find no room, and panics below the pool: nothing leaks, nothing half done is seen.

use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Warmth gone, so that the next sweep takes whatever is clean.
fn cool_down(rig: &Rig) {
    for frame in 0..rig.pool.frames[0].used() as u32 {
        while rig.pool.frames[0].header(FrameId::new(frame)).unwrap().cool() > 0 {}
    }
    rig.pool.frames[0].hand.store(0, Ordering::SeqCst);
}

#[test]
fn memory_for_a_greater_class_comes_from_clean_frames_before_any_write() {
    let rig = rig(1 << 20);
    let ids: Vec<PageId> = (0..rig.pool.capacity_pages() as u64).map(|i| rig.create(i)).collect();
    rig.pool.flush_all().unwrap();
    // A few dirty pages that the hand comes to before the clean ones.
    for &id in &ids[..4] {
        rig.change(&mut rig.pool.exclusive(id, SizeClass::ZERO).unwrap(), 9);
    }
    cool_down(&rig);
    rig.store.full.store(true, Ordering::SeqCst);
    let answer = rig.pool.reserve(SizeClass::new(1).unwrap()).map(drop);
    rig.check_frames();
    answer.unwrap();
}

#[test]
fn a_write_that_finds_no_room_leaks_no_frame() {
    let rig = rig(1 << 20);
    for i in 0..rig.pool.capacity_pages() as u64 {
        rig.create(i);
    }
    rig.store.full.store(true, Ordering::SeqCst);
    for class in [SizeClass::ZERO, SizeClass::new(1).unwrap()] {
        cool_down(&rig);
        assert!(matches!(rig.pool.reserve(class), Err(Error::NoSpace { .. })));
        rig.check_frames();
    }
    rig.store.full.store(false, Ordering::SeqCst);
    rig.create(1);
    rig.check_frames();
}

#[test]
fn a_read_that_panics_leaves_no_page_behind() {
    let rig = Rig::floor();
    let (there, id) = (rig.create(1), rig.create(2));
    rig.pool.flush_all().unwrap();
    rig.pool.discard(there);
    rig.pool.discard(id);
    *rig.store.on_read.lock() = Some(Arc::new(|_| panic!("the medium's own bug")));
    assert!(catch_unwind(AssertUnwindSafe(|| rig.value(id))).is_err());
    *rig.store.on_read.lock() = None;
    assert!(!rig.pool.is_resident(id));
    rig.check_frames();
    assert_eq!(rig.value(id), 2, "bytes that were in the frame before pass for the page");
}
