//! Two threads at one page at the worst moment, made to happen.

use super::*;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);

/// Runs `f` on a thread of its own; what it returns comes through the channel, if it ever returns.
fn in_background<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(f()));
    told
}

/// Time enough for another thread to come to where it waits.
fn let_it_wait() {
    std::thread::sleep(Duration::from_millis(50));
}

/// A place reserved anew whose old image a late reader has loaded again, and the frame that is in.
fn stale() -> (Rig, PageId, FrameId) {
    let rig = Rig::floor();
    let id = rig.create(1);
    rig.pool.flush_all().unwrap();
    rig.pool.discard(id);
    assert_eq!(rig.value(id), 1);
    let frame = rig.pool.table.get(id).unwrap().frame;
    (rig, id, frame)
}

#[test]
fn a_place_taken_over_waits_for_no_frame_that_became_another_pages() {
    let (rig, id, frame) = stale();
    let header = rig.pool.frames[0].header(frame).unwrap();
    // Somebody evicts the stale page and goes on holding the frame, for a page of his own.
    let held = header.latch.exclusive();
    let pool = rig.pool.clone();
    let over = in_background(move || pool.discard(id));
    let_it_wait();
    assert!(over.try_recv().is_err());
    rig.pool.table.remove(id, frame);
    header.set_page(PageId::new(1 << 20));
    let waited = over.recv_timeout(LONG);
    header.set_page(PageId::NONE);
    drop(held);
    assert!(waited.is_ok(), "L5: waits for a frame that holds another page by now");
}

#[test]
fn a_place_taken_over_waits_for_its_frames_write_and_not_for_the_flusher() {
    let (rig, id, frame) = stale();
    let header = rig.pool.frames[0].header(frame).unwrap();
    // Nobody's turn ends before the caller is done.
    let flusher = rig.pool.flushers.take_all();
    header.set(frame::WRITING);
    let pool = rig.pool.clone();
    let over = in_background(move || pool.discard(id));
    let_it_wait();
    assert!(over.try_recv().is_err(), "P4: a frame is not reused while a copy of it is written");
    header.clear(frame::WRITING);
    let waited = over.recv_timeout(LONG);
    drop(flusher);
    assert!(waited.is_ok(), "L5: waits for the flusher");
}

#[test]
fn a_load_that_fails_after_its_parent_changed_is_no_damage() {
    let rig = Rig::floor();
    let child = rig.create(5);
    let parent = rig.create_with(6, SizeClass::ZERO, &[child]);
    rig.pool.flush_all().unwrap();
    rig.pool.discard(child);
    rig.store.inner.write_unlogged(child, &[0; PAGE]).unwrap();
    let swip = AtomicSwip::new(Swip::evicted(parent, SizeClass::ZERO));
    // A reference that holds leads to damage.
    let view = rig.pool.view(&swip).unwrap();
    assert!(matches!(rig.pool.try_child(&view, SWIPS), Err(Interrupt::Failed(Error::Corrupted { .. }))));
    // The same, but the child is freed and its place used for something else while it is read.
    let view = rig.pool.view(&swip).unwrap();
    let (pool, lsn) = (rig.pool.clone(), rig.lsn.load(Ordering::SeqCst));
    *rig.store.on_read.lock() = Some(Arc::new(move |id| {
        assert_eq!(id, child);
        let mut page = pool.exclusive(parent, SizeClass::ZERO).unwrap();
        page.begin_change(Lsn::new(lsn));
        page.finish_change(Lsn::new(lsn + 10));
    }));
    let answer = rig.pool.try_child(&view, SWIPS);
    assert!(matches!(answer, Err(Interrupt::Restart)), "a stale reference is taken for damage: {:?}", answer.err());
    rig.check_frames();
}

#[test]
fn a_lane_that_loses_a_load_keeps_its_frame() {
    let rig = Rig::floor();
    let (first, second) = (rig.create(1), rig.create(2));
    rig.pool.flush_all().unwrap();
    rig.pool.discard(first);
    rig.pool.discard(second);
    let (pool, tell, told) = {
        let (tell, told) = channel();
        (rig.pool.clone(), tell, told)
    };
    let (go, wait) = channel::<()>();
    let values = in_background(move || {
        let mut lane = pool.slow_lane(1).unwrap();
        tell.send(lane.frames[0].id()).unwrap();
        wait.recv().unwrap();
        let mut value = |id| lane.shared(id, SizeClass::ZERO).map(|page| page.reader().u64(64).unwrap());
        (value(first), value(second))
    });
    // The lane has found that the page is not there, and waits for its own frame while another thread loads the page.
    let frame = told.recv_timeout(LONG).unwrap();
    let header = rig.pool.frames[0].header(frame).unwrap();
    let held = header.latch.exclusive();
    go.send(()).unwrap();
    let_it_wait();
    assert_eq!(rig.value(first), 1);
    drop(held);
    let (first, second) = values.recv_timeout(LONG).unwrap();
    assert_eq!(first.unwrap(), 1);
    assert_eq!(second.unwrap(), 2, "the lane's frame went to somebody else");
    rig.check_frames();
}

#[test]
fn a_lane_whose_load_fails_keeps_its_frame() {
    let rig = Rig::floor();
    let id = rig.create(1);
    rig.pool.flush_all().unwrap();
    rig.pool.discard(id);
    let mut lane = rig.pool.slow_lane(1).unwrap();
    assert!(lane.shared(PageId::new(1 << 20), SizeClass::ZERO).is_err());
    assert_eq!(lane.shared(id, SizeClass::ZERO).unwrap().reader().u64(64).unwrap(), 1);
    drop(lane);
    rig.check_frames();
}

#[test]
fn a_lane_waits_for_no_frame_of_a_greater_class() {
    let rig = Arc::new(rig(1 << 20));
    let class = SizeClass::new(1).unwrap();
    let large = rig.create_with(7, class, &[]);
    rig.pool.flush_all().unwrap();
    rig.pool.discard(large);
    let (lanes, (tell, told)) = (rig.clone(), channel());
    let answer = in_background(move || {
        let rig = lanes;
        let mut lane = rig.pool.slow_lane(2).unwrap();
        // All other memory is in use, by dirty pages of class 0.
        let taken = rig.pool.frames[1].take_resident().unwrap();
        while rig.pool.free_frame(SizeClass::ZERO).is_some() {
            rig.create(1);
        }
        let pages = (0..).map(|n| rig.pool.frames[0].header(FrameId::new(n)).unwrap().page());
        let first = pages.into_iter().find(|id| !id.is_none()).unwrap();
        let page = lane.exclusive(first, SizeClass::ZERO).unwrap();
        tell.send(()).unwrap();
        // By then the checkpoint waits for this latch.
        let_it_wait();
        let answer = lane.shared(large, class).map(|_| ());
        drop((page, taken));
        answer
    });
    told.recv_timeout(LONG).unwrap();
    let pool = rig.pool.clone();
    let flushed = in_background(move || pool.flush_all());
    let answer = answer.recv_timeout(LONG).expect("L5: the lane waits for the flusher, which waits for the lane");
    assert!(matches!(answer, Err(Error::PoolExhausted { waited }) if waited.is_zero()), "{answer:?}");
    flushed.recv_timeout(LONG).unwrap().unwrap();
    rig.check_frames();
}

#[cfg(feature = "btree")]
#[test]
fn a_loan_ends_although_others_take_each_frame_that_it_frees() {
    let rig = Arc::new(Rig::floor());
    let capacity = rig.pool.capacity_pages();
    (0..capacity as u64 * 2).for_each(|n| assert!(!rig.create(n).is_none()));
    let over = Arc::new(AtomicBool::new(false));
    let (other, ended) = (Arc::downgrade(&rig), over.clone());
    *rig.store.on_write.lock() = Some(Arc::new(move |_| {
        // What was freed since the last batch is taken before the next one is written.
        std::thread::sleep(Duration::from_millis(1));
        let Some(rig) = other.upgrade() else { return };
        while !ended.load(Ordering::SeqCst) && rig.pool.commit_bytes(PAGE as u64) {
            rig.pool.uncommit_bytes(PAGE as u64);
            rig.create(0);
        }
    }));
    let pool = rig.pool.clone();
    let lent = in_background(move || pool.lend(capacity * PAGE * 3 / 4).map(drop));
    let lent = lent.recv_timeout(LONG);
    over.store(true, Ordering::SeqCst);
    assert!(matches!(lent, Ok(Err(Error::PoolExhausted { .. }))), "the loan went on and on, or came in spite of them");
}

/// A medium that hangs keeps a turn.
#[test]
fn who_evicts_waits_for_a_turn_no_longer_than_for_a_frame() {
    let rig = Rig::floor();
    (0..rig.pool.capacity_pages() as u64 * 2).for_each(|n| assert!(!rig.create(n).is_none()));
    let turns = rig.pool.flushers.take_all();
    let pool = rig.pool.clone();
    let answer = in_background(move || {
        let mut kept = Vec::new();
        loop {
            match pool.reserve(SizeClass::ZERO) {
                Ok(new) => kept.push(new),
                Err(error) => break error,
            }
        }
    });
    let answer = answer.recv_timeout(LONG);
    drop(turns);
    assert!(matches!(answer, Ok(Error::PoolExhausted { .. })), "{answer:?}");
}
