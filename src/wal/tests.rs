use super::append::new_buffer;
use super::group::{BLOCK, GROUP_OVERHEAD, GroupHeader, HEADER, seal};
use super::place::{Marks, segment_number, segment_path};
use super::space::Space;
use super::*;
use crate::error::Error;
use crate::sync::{AtomicUsize, Ordering};
use crate::types::{Lsn, PageId, PageKind, SizeClass};
use quickcheck::{Arbitrary, Gen, quickcheck};
use std::path::{Path, PathBuf};
use std::task::{Context, Wake, Waker};

#[derive(Clone, Debug)]
struct Piece {
    kind: u8,
    op: u8,
    class: u8,
    init: bool,
    page: u64,
    payload: Vec<u8>,
}

impl Arbitrary for Piece {
    fn arbitrary(g: &mut Gen) -> Piece {
        Piece {
            kind: u8::arbitrary(g),
            op: u8::arbitrary(g),
            class: u8::arbitrary(g) % 16,
            init: bool::arbitrary(g),
            page: u64::arbitrary(g) & PageId::MAX.get(),
            payload: Vec::arbitrary(g),
        }
    }
}

fn build<'a>(buffer: &'a mut Vec<u8>, pieces: &[Piece]) -> &'a [u8] {
    let mut record = RecordBuilder::new(buffer);
    for piece in pieces {
        let class = SizeClass::new(piece.class).unwrap();
        record.begin_part(PageKind::new(piece.kind), piece.op, class, piece.init, PageId::new(piece.page));
        record.extend_from_slice(&piece.payload);
        record.end_part();
    }
    record.finish()
}

/// Cutting every record short, at each length, is an error and never a panic.
fn cut_is_refused(bytes: &[u8]) -> bool {
    (0..bytes.len()).all(|n| matches!(Record::decode(&bytes[..n], Lsn::FIRST), Err(Error::Corrupted { .. })))
}

quickcheck! {
    fn a_record_reads_back_as_it_was_built(pieces: Vec<Piece>, behind: Vec<u8>) -> bool {
        let mut buffer = Vec::new();
        let mut bytes = build(&mut buffer, &pieces).to_vec();
        let payloads: usize = pieces.iter().map(|piece| piece.payload.len()).sum();
        assert_eq!(bytes.len(), RECORD_OVERHEAD + pieces.len() * PART_OVERHEAD + payloads);
        assert!(cut_is_refused(&bytes));
        bytes.extend_from_slice(&behind);
        let (record, rest) = Record::decode(&bytes, Lsn::FIRST).unwrap();
        let same = |(part, piece): (Part<'_>, &Piece)| {
            part.kind.get() == piece.kind
                && part.op == piece.op
                && part.class.get() == piece.class
                && part.init == piece.init
                && part.page.get() == piece.page
                && part.payload == piece.payload
        };
        rest == behind && record.parts().count() == pieces.len() && record.parts().zip(&pieces).all(same)
    }

    fn arbitrary_bytes_decode_to_an_answer(bytes: Vec<u8>, len: u8) -> bool {
        let mut bytes = bytes;
        if bytes.len() >= 4 {
            // A length that fits more often than chance would have it.
            bytes[..4].copy_from_slice(&u32::from(len).to_le_bytes());
        }
        match Record::decode(&bytes, Lsn::FIRST) {
            Ok((record, rest)) => {
                let parts: usize = record.parts().map(|part| PART_OVERHEAD + part.payload.len()).sum();
                record.as_bytes().len() + rest.len() == bytes.len() && parts + RECORD_OVERHEAD == record.as_bytes().len()
            }
            Err(error) => matches!(error, Error::Corrupted { .. }),
        }
    }

    fn arbitrary_bytes_are_no_group(bytes: Vec<u8>) -> bool {
        let mut block = bytes;
        block.resize(HEADER, 0);
        block[..4].copy_from_slice(b"PBXG");
        GroupHeader::parse(&block).is_none_or(|header| !header.verify(&block))
    }
}

#[test]
fn an_insert_costs_at_most_32_bytes_more_than_its_content() {
    let mut buffer = Vec::new();
    let piece = Piece { kind: 3, op: 1, class: 0, init: false, page: 9, payload: vec![0; 24 + 150 + 4] };
    assert!(build(&mut buffer, &[piece]).len() <= 206);
}

#[test]
fn a_group_reads_back_and_any_flipped_bit_shows() {
    let header = GroupHeader {
        crc: 0,
        store_id: 0x0102_0304_0506_0708,
        incarnation: 9,
        start: Lsn::new(1000),
        durable: Lsn::new(990),
        len: 0,
        prev_crc: 77,
    };
    let mut group = new_buffer(BLOCK as usize);
    (0..100u8).for_each(|i| group.extend_from_slice(&[i ^ 0x5A]));
    let crc = seal(&mut group, &header);
    assert_eq!(group.len() as u64, BLOCK);
    let read = GroupHeader::parse(&group).unwrap();
    assert_eq!(read, GroupHeader { crc, len: 100, ..header });
    assert!(read.verify(&group) && !read.verify(&group[..163]));
    assert_eq!((read.end(), read.file_bytes()), (Lsn::new(1100), BLOCK));
    for bit in 0..(HEADER + 100) * 8 {
        let mut flipped = group.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(GroupHeader::parse(&flipped).is_none_or(|header| !header.verify(&flipped)), "bit {bit}");
    }
}

#[test]
fn lengths_beyond_reason_are_refused_before_they_are_used() {
    let mut block = vec![0; HEADER];
    block[..4].copy_from_slice(b"PBXG");
    for (len, start) in [(0, 1), (u32::MAX, 1), (1 << 27, 1), (100, u64::MAX - 10)] {
        block[40..44].copy_from_slice(&u32::to_le_bytes(len));
        block[24..32].copy_from_slice(&u64::to_le_bytes(start));
        assert_eq!(GroupHeader::parse(&block), None, "{len} bytes at {start}");
    }
}

#[test]
fn options_that_cannot_be_had_name_themselves() {
    let base = WalOptions::default();
    base.validate().unwrap();
    base.sync_method(SyncMethod::Dsync).validate().unwrap();
    let table = [
        (base.buffer_bytes(0), "log_buffer_bytes"),
        (base.buffer_bytes(4096), "log_buffer_bytes"),
        (base.buffer_bytes(10_000), "log_buffer_bytes"),
        (base.buffer_bytes(128 << 20).segment_bytes(1 << 30).max_log_bytes(1 << 40), "log_buffer_bytes"),
        (base.segment_bytes(0), "log_segment_bytes"),
        (base.segment_bytes(u64::MAX), "log_segment_bytes"),
        (base.segment_bytes((4 << 20) + 512), "log_segment_bytes"),
        (base.segment_bytes(1 << 20), "log_segment_bytes"),
        (base.max_log_bytes(0), "max_log_bytes"),
        (base.max_log_bytes((64 << 20) - 1), "max_log_bytes"),
        (base.max_log_bytes(u64::MAX), "max_log_bytes"),
        (base.sync_method(SyncMethod::IoUring), "sync_method"),
    ];
    for (options, name) in table {
        match options.validate() {
            Err(Error::InvalidOption { option, .. }) => assert_eq!(option, name, "{options:?}"),
            other => panic!("{options:?}: {other:?}"),
        }
    }
}

#[test]
fn only_segment_names_are_taken_for_segments() {
    for seq in [0, 1, 0xABC, u64::MAX] {
        assert_eq!(segment_number(&segment_path(Path::new("/x"), seq)), Some(seq));
    }
    for name in ["1.log", "000000000000000A.log", "+000000000000001.log", "0000000000000001.lo", "new.tmp", ""] {
        assert_eq!(segment_number(&PathBuf::from(name)), None, "{name}");
    }
}

#[test]
fn copied_marks_have_room_too() {
    let mut marks = Marks::new();
    marks.offer(WalPosition::FIRST);
    assert!(marks.room() >= 4_999 && marks.clone().room() == marks.room());
}

#[test]
fn marks_stay_few_and_answer_with_the_greatest_below() {
    let at =
        |i: u64| WalPosition { lsn: Lsn::new(1 + i * 100), segment: i / 100, offset: (i % 100) * 65_536, prev_crc: 0 };
    let mut marks = Marks::new();
    for i in 0..40_000 {
        marks.offer(at(i));
        assert_eq!(marks.locate(Lsn::new(1)), Some(at(0)), "the oldest is kept");
    }
    assert_eq!(marks.locate(Lsn::new(0)), None);
    for lsn in (1..4_000_000).step_by(997).map(Lsn::new) {
        let found = marks.locate(lsn).unwrap();
        assert!(found.lsn <= lsn && lsn.get() - found.lsn.get() < 100 * 100);
    }
    marks.forget_below(200);
    assert!(marks.first().unwrap().segment >= 200 && marks.locate(Lsn::new(1)).is_none());
}

#[test]
fn however_few_marks_are_left_every_retained_segment_can_be_read_from_its_start() {
    let mut marks = Marks::new();
    // An odd number of marks a segment, so that halving them passes over first ones.
    for i in 0..20_000u64 {
        let lsn = Lsn::new(1 + i * 100);
        marks.offer(WalPosition { lsn, segment: 1 + i / 7, offset: (i % 7) * (1 << 30), prev_crc: 0 });
    }
    for segment in (2..2_800).step_by(13) {
        marks.forget_below(segment);
        let first = Lsn::new(1 + (segment - 1) * 700);
        assert_eq!(marks.locate(first).map(|mark| mark.segment), Some(segment), "the start of segment {segment}");
    }
}

#[test]
fn permits_give_back_what_they_hold() {
    let space = Space::new();
    space.grow(10_000);
    let one = space.take(1000, false).unwrap();
    assert_eq!(space.free(), 10_000 - 1000 - GROUP_OVERHEAD);
    drop(one);
    assert_eq!(space.free(), 10_000);
    assert_eq!(space.take(1000, false).unwrap().spend(800, false), 200 + GROUP_OVERHEAD);
    space.give_back(200 + GROUP_OVERHEAD);
    assert_eq!(space.free(), 9_200);
    assert_eq!(space.take(1000, false).unwrap().spend(1000, true), 0);
    assert_eq!(space.free(), 8_200 - GROUP_OVERHEAD);
    space.set_floor(3_000);
    assert!(space.take(0, false).is_none() && space.take(0, true).is_none());
    space.set_floor(0);
    space.grow(GROUP_OVERHEAD);
    assert!(space.take(0, false).is_some());
    space.set_floor(8_200);
    assert!(space.take(0, false).is_none() && space.take(0, true).is_some());
}

/// Groups put together by hand: what a reader takes for the next of the chain.
#[cfg(feature = "sim")]
mod chain {
    use super::*;
    use crate::io::{Disk, OpenMode};
    use crate::sim::SimDisk;

    const ID: u64 = 5;

    /// One record of 50 bytes in a group.
    fn group(header: GroupHeader) -> (Vec<u8>, u32) {
        let mut buffer = Vec::new();
        let piece = Piece { kind: 64, op: 0, class: 0, init: false, page: 1, payload: vec![7; 34] };
        let record = super::build(&mut buffer, &[piece]);
        let mut group = new_buffer(BLOCK as usize);
        group.extend_from_slice(record);
        let crc = seal(&mut group, &header);
        (group.to_vec(), crc)
    }

    /// A log of one sound group of incarnation 3, and behind it the one that `change` makes of a sound second one.
    fn records_found(accepted_end: u64, change: impl Fn(&mut GroupHeader)) -> crate::Result<u64> {
        let disk = SimDisk::new(1);
        let dir = Path::new("/");
        let file = disk.open(&segment_path(dir, 1), OpenMode::CreateNew).unwrap();
        let mut header = GroupHeader {
            crc: 0,
            store_id: ID,
            incarnation: 3,
            start: Lsn::FIRST,
            durable: Lsn::FIRST,
            len: 0,
            prev_crc: 0,
        };
        let (first, crc) = group(header);
        file.write_at(&first, 0).unwrap();
        (header.start, header.durable, header.prev_crc) = (Lsn::new(51), Lsn::new(51), crc);
        change(&mut header);
        file.write_at(&group(header).0, BLOCK).unwrap();
        let point = RecoveryPoint {
            store_id: ID,
            from: WalPosition::FIRST,
            incarnation: 3,
            accepted_end: Lsn::new(accepted_end),
            proven: Lsn::NONE,
            end_known: false,
        };
        scan(&disk, dir, &point, |_, _, _| Ok(()), |_| {}).map(|tail| tail.records())
    }

    #[test]
    fn only_what_fits_in_every_way_continues_it() {
        assert_eq!(records_found(1, |_| {}).unwrap(), 2);
        assert_eq!(records_found(1, |next| next.incarnation = 4).unwrap(), 2);
        assert_eq!(records_found(1, |next| next.prev_crc ^= 1).unwrap(), 1);
        assert_eq!(records_found(1, |next| next.store_id += 1).unwrap(), 1);
        assert_eq!(records_found(1, |next| next.start = Lsn::new(50)).unwrap(), 1);
        assert_eq!(records_found(1, |next| next.start = Lsn::new(52)).unwrap(), 1);
        assert_eq!(records_found(1, |next| next.incarnation = 2).unwrap(), 1);
        // Below the accepted end an older incarnation may be, but not after a newer one; and the log cannot end there.
        assert!(matches!(records_found(101, |next| next.incarnation = 2), Err(Error::Corrupted { .. })));
        // Not the next, but a witness.
        assert!(matches!(records_found(1, |next| next.start = Lsn::new(60)), Ok(1)));
        let ahead = |next: &mut GroupHeader| (next.start, next.durable) = (Lsn::new(60), Lsn::new(60));
        assert!(matches!(records_found(1, ahead), Err(Error::Corrupted { .. })));
    }
}

/// A log in small buffers, and a record that half fills one.
fn small_log(dir: &Path) -> (std::sync::Arc<Wal>, Vec<u8>) {
    let options = WalOptions::default().buffer_bytes(8192).segment_bytes(64 << 10).max_log_bytes(1 << 20);
    let disk = std::sync::Arc::new(crate::io::FileDisk::new());
    let log = Wal::create(disk, &dir.join("wal"), 1, 1, options).unwrap();
    let mut buffer = Vec::new();
    let mut record = RecordBuilder::new(&mut buffer);
    record.begin_part(PageKind::FIRST_USER, 1, SizeClass::ZERO, false, PageId::new(9));
    record.extend_from_slice(&[7; 3900]);
    record.finish();
    (std::sync::Arc::new(log), buffer)
}

struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_append_that_flushes_leaves_the_wakers_to_others() {
    let temp = tempfile::tempdir().unwrap();
    let (log, record) = small_log(temp.path());
    let append = |permit| log.append(permit, &record);
    let wait_for_it = [
        // The next reservation, or the background flusher.
        (|log: &Wal| drop(log.reserve(100).unwrap())) as fn(&Wal),
        |log| {
            // An LSN, if an append has asked for a flush, or nothing: what counts is that it ran them.
            let _ = log.wait_flush_request(std::time::Duration::from_secs(60));
        },
    ];
    for run_them in wait_for_it {
        let woken = std::sync::Arc::new(CountWakes(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let permits: Vec<_> = (0..4).map(|_| log.reserve(record.len()).unwrap()).collect();
        let (mut key, mut target) = (None, None);
        for permit in permits {
            let lsn = append(permit);
            if target.is_none() {
                target = Some(lsn);
                assert!(log.poll_durable(lsn, &mut key, &Context::from_waker(&waker)).is_pending());
            }
        }
        assert!(Some(log.durable_lsn()) >= target, "the buffer was full");
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "foreign code ran inside of an append, perhaps under latches");
        run_them(&log);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "nobody ran it");
        log.commit(Lsn::MAX).unwrap();
    }
}

/// A checkpoint and a tree hold locks that a waker could want (it polls, and calls for a checkpoint itself): it runs on neither's
/// thread while they do.
#[cfg(feature = "btree")]
#[test]
fn who_may_hold_locks_leaves_the_wakers_to_others() {
    let temp = tempfile::tempdir().unwrap();
    let (log, record) = small_log(temp.path());
    let woken = std::sync::Arc::new(CountWakes(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    let lsn = log.append(log.reserve(record.len()).unwrap(), &record);
    let mut key = None;
    assert!(log.poll_durable(lsn, &mut key, &Context::from_waker(&waker)).is_pending());
    log.commit_holding(lsn).unwrap();
    drop(log.reserve_holding(100).unwrap());
    drop(crate::btree::RedoLog::reserve(&*log, 100).unwrap());
    drop(log.reserve_for_checkpoint(100).unwrap());
    assert_eq!((log.durable_lsn(), woken.0.load(Ordering::SeqCst)), (lsn, 0), "foreign code ran under locks");
    // What is durable already is no reason not to.
    log.commit(lsn).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "nobody ran it");
    let mut late = None;
    let beyond = log.append(log.reserve(record.len()).unwrap(), &record);
    assert!(log.poll_durable(beyond, &mut late, &Context::from_waker(&waker)).is_pending());
    log.poison_latched("for a test");
    assert_eq!(woken.0.load(Ordering::SeqCst), 1, "foreign code ran under locks");
    assert!(log.commit(beyond).is_err());
    assert_eq!(woken.0.load(Ordering::SeqCst), 2, "nobody ran it");
}

struct Panics;

impl Wake for Panics {
    fn wake(self: std::sync::Arc<Self>) {
        panic!("a waker's own");
    }
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    let temp = tempfile::tempdir().unwrap();
    let (log, record) = small_log(temp.path());
    let woken = std::sync::Arc::new(CountWakes(AtomicUsize::new(0)));
    let lsn = log.append(log.reserve(record.len()).unwrap(), &record);
    let wakers = [Waker::from(std::sync::Arc::new(Panics)), Waker::from(woken.clone())];
    // One before and one behind it, whatever the order.
    for i in [1, 0, 1] {
        assert!(log.poll_durable(lsn, &mut None, &Context::from_waker(&wakers[i])).is_pending());
    }
    log.commit(lsn).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert!(!log.is_poisoned());
}

/// The waker of a task whose other future goes with it.
struct LastOfItsTask {
    log: std::sync::Arc<Wal>,
    other: crate::sync::Mutex<Option<WakerKey>>,
}

impl Wake for LastOfItsTask {
    fn wake(self: std::sync::Arc<Self>) {}
}

impl Drop for LastOfItsTask {
    fn drop(&mut self) {
        self.log.forget_waker(&mut self.other.lock());
    }
}

#[test]
fn a_waker_that_is_replaced_may_forget_another() {
    let temp = tempfile::tempdir().unwrap();
    let (log, record) = small_log(temp.path());
    let lsn = log.append(log.reserve(record.len()).unwrap(), &record);
    let (tell, told) = std::sync::mpsc::channel();
    let polling = log.clone();
    std::thread::spawn(move || {
        let (mut one, mut other) = (None, None);
        let noop = Context::from_waker(Waker::noop());
        assert!(polling.poll_durable(lsn, &mut other, &noop).is_pending());
        let waker = Waker::from(std::sync::Arc::new(LastOfItsTask {
            log: polling.clone(),
            other: crate::sync::Mutex::new(other),
        }));
        assert!(polling.poll_durable(lsn, &mut one, &Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert!(polling.poll_durable(lsn, &mut one, &noop).is_pending());
        tell.send(()).unwrap();
    });
    told.recv_timeout(std::time::Duration::from_secs(10)).expect("a waker was dropped under the lock of the wakers");
    log.commit(lsn).unwrap();
}
