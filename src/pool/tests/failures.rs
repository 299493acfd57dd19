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

/// Nothing is being written, and whoever comes is told why nothing will be.
fn assert_poisoned(rig: &Rig) {
    assert!(matches!(rig.pool.check_poison(), Err(Error::Poisoned { .. })));
    for frames in &rig.pool.frames {
        for frame in 0..frames.used() as u32 {
            assert!(
                !frames.header(FrameId::new(frame)).unwrap().has(frame::WRITING),
                "P4: {frame} is blocked for ever"
            );
        }
    }
    assert!(matches!(rig.pool.flush_all(), Err(Error::Poisoned { .. })));
    rig.check_frames();
}

#[test]
fn a_flusher_that_panics_poisons_and_blocks_nobody() {
    let rig = Rig::floor();
    let id = rig.create(1);
    *rig.store.on_write.lock() = Some(Arc::new(|_| panic!("the medium's own bug")));
    assert!(catch_unwind(AssertUnwindSafe(|| rig.pool.flush_all())).is_err());
    *rig.store.on_write.lock() = None;
    assert_poisoned(&rig);
    assert_eq!(rig.store.writes.load(Ordering::SeqCst), 0);
    assert_ne!(rig.pool.min_recovery_lsn(), Lsn::MAX, "P6: what was not written is not clean");
    assert_eq!(rig.value(id), 1);
}

#[test]
fn who_waits_behind_a_flusher_that_panics_writes_nothing() {
    let rig = Rig::floor();
    rig.create(1);
    let (pool, store, threads) = (rig.pool.clone(), rig.store.clone(), Arc::new(Mutex::new(Vec::new())));
    let started = threads.clone();
    *rig.store.on_write.lock() = Some(Arc::new(move |_| {
        *store.on_write.lock() = None;
        let pool = pool.clone();
        started.lock().push(std::thread::spawn(move || pool.flush_all()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        panic!("the medium's own bug");
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| rig.pool.flush_all())).is_err());
    let second = threads.lock().pop().unwrap().join();
    assert!(matches!(second, Ok(Err(Error::Poisoned { .. }))), "poisoned too late: {second:?}");
    assert_eq!(threads.lock().len(), 0);
}

#[test]
fn a_page_left_half_changed_by_a_panic_is_not_written() {
    let rig = Rig::floor();
    let ids: Vec<PageId> = (0..12).map(|i| rig.create(i)).collect();
    let victim = ids[11];
    let pool = rig.pool.clone();
    // The flusher is past its first batch, and has not come to the last page, when its writer panics.
    *rig.store.on_write.lock() = Some(Arc::new(move |first| {
        assert_eq!(first, ids[0], "P5, W5: a half-changed page is written");
        let half = catch_unwind(AssertUnwindSafe(|| {
            let mut page = pool.exclusive(victim, SizeClass::ZERO).unwrap();
            page.begin_change(Lsn::new(1));
            page.writer().set_u64(64, u64::MAX);
            panic!("in between");
        }));
        assert!(half.is_err());
    }));
    assert!(matches!(rig.pool.flush_all(), Err(Error::Poisoned { .. })));
    assert_poisoned(&rig);
    assert!(rig.store.inner.read(victim, &mut [0; PAGE]).is_err(), "it was never written");
}

#[test]
fn a_page_that_would_not_read_back_is_not_written() {
    let spoil: [fn(&mut crate::page::bytes::PageWriter<'_>); 5] = [
        |page| page.set_u8(5, 200),
        |page| page.set_u8(5, 1),
        |page| page.set_u64(8, 12345),
        |page| page.set_u32(28, 1 << 16 | 512),
        |page| page.set_u32(28, 1 << 16 | 3),
    ];
    for (i, spoil) in spoil.iter().enumerate() {
        let rig = Rig::floor();
        let sound = rig.create(1);
        let id = rig.create(2);
        let mut page = rig.pool.exclusive(id, SizeClass::ZERO).unwrap();
        page.begin_change(Lsn::new(1));
        spoil(&mut page.writer());
        page.finish_change(Lsn::NONE);
        drop(page);
        let answer = rig.pool.flush_all();
        assert!(
            matches!(&answer, Err(Error::Corrupted { site: crate::Site::Page(page), .. }) if *page == id),
            "{i}: {answer:?}"
        );
        assert_poisoned(&rig);
        assert_eq!(rig.value(sound), 1);
    }
}
