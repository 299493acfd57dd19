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
        let first = rig.pool.frames[0].header(FrameId::new(2)).unwrap().page();
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
