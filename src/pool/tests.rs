//! The pool over memory: residency, eviction, write-back, and what must not happen.

#[cfg(all(feature = "btree", feature = "sim"))]
mod copies;
mod damage;
mod failures;
mod races;
mod syncs;
#[cfg(all(shuttle, feature = "btree", feature = "sim"))]
mod turns;

use super::*;
use crate::page::header::PageHeader;
use crate::swip::{AtomicSwip, Swip};
use crate::types::{FrameId, PageId, PageKind, TreeId};
use std::sync::atomic::AtomicU64 as StdU64;

const PAGE: usize = 4096;
/// Where the references of a page made here are.
const SWIPS: usize = 72;

/// A log that is durable as far as it was asked to be, and notes how far that was.
#[derive(Default)]
struct FakeLog {
    durable: StdU64,
    poisoned: AtomicBool,
}

impl DurableLog for FakeLog {
    fn make_durable(&self, lsn: Lsn) -> Result<()> {
        self.durable.fetch_max(lsn.get(), Ordering::SeqCst);
        Ok(())
    }
    fn poison(&self, _: &str) {
        self.poisoned.store(true, Ordering::SeqCst);
    }
}

/// What a test has done in the middle of a call; given the page.
type Hook = Mutex<Option<Arc<dyn Fn(PageId) + Send + Sync>>>;

fn run(hook: &Hook, id: PageId) {
    let hook = hook.lock().clone();
    if let Some(hook) = hook {
        hook(id);
    }
}

/// A store that checks the WAL rule, counts writes, and lets a test in.
struct Watch {
    inner: MemPageStore,
    log: Arc<FakeLog>,
    writes: StdU64,
    fail: AtomicBool,
    full: AtomicBool,
    /// Before a page is read.
    on_read: Hook,
    /// Before a batch is written; the page is its first.
    on_write: Hook,
    /// Before a sync.
    on_sync: Hook,
}

impl PageStore for Watch {
    fn page_size(&self) -> usize {
        self.inner.page_size()
    }
    fn first_page(&self) -> PageId {
        self.inner.first_page()
    }
    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        run(&self.on_read, id);
        self.inner.read(id, out)
    }
    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        run(&self.on_write, images[0].id);
        if self.full.load(Ordering::SeqCst) {
            return Err(Error::NoSpace { what: "test", needed: 1 });
        }
        if self.fail.load(Ordering::SeqCst) {
            return Err(Error::io("write", None, std::io::Error::other("broken")));
        }
        for image in images {
            let bytes = &buffer[image.offset..image.offset + image.len];
            let header = PageHeader::read(crate::page::bytes::PageReader::from_slice(bytes)).unwrap();
            assert_eq!(header.id, image.id);
            assert!(header.lsn.get() <= self.log.durable.load(Ordering::SeqCst), "P5: the WAL rule is broken");
            self.writes.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.write_batch(buffer, images)
    }
    fn grow(&self, from: PageId, end: PageId) -> Result<()> {
        self.inner.grow(from, end)
    }
    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.inner.write_unlogged(start, bytes)
    }
    fn sync(&self) -> Result<()> {
        run(&self.on_sync, PageId::NONE);
        Ok(())
    }
}

struct Rig {
    pool: Arc<BufferPool>,
    store: Arc<Watch>,
    log: Arc<FakeLog>,
    lsn: StdU64,
}

fn rig(memory: usize) -> Rig {
    let log = Arc::new(FakeLog::default());
    let store = Arc::new(Watch {
        inner: MemPageStore::new(PAGE),
        log: log.clone(),
        writes: StdU64::new(0),
        fail: AtomicBool::new(false),
        full: AtomicBool::new(false),
        on_read: Mutex::new(None),
        on_write: Mutex::new(None),
        on_sync: Mutex::new(None),
    });
    let options = PoolOptions::default().memory(memory).wait(std::time::Duration::from_millis(300));
    let pool = Arc::new(BufferPool::new(store.clone(), log.clone(), options).unwrap());
    Rig { pool, store, log, lsn: StdU64::new(1) }
}

impl Rig {
    fn floor() -> Rig {
        rig(PoolOptions::floor(PAGE))
    }

    fn change(&self, page: &mut PageMut<'_>, value: u64) -> Lsn {
        page.begin_change(Lsn::new(self.lsn.load(Ordering::SeqCst)));
        let lsn = Lsn::new(self.lsn.fetch_add(10, Ordering::SeqCst) + 10);
        page.writer().set_u64(64, value);
        page.finish_change(lsn);
        lsn
    }

    fn create(&self, value: u64) -> PageId {
        self.create_with(value, SizeClass::ZERO, &[])
    }

    /// A page of `class` with a value, and behind it references.
    fn create_with(&self, value: u64, class: SizeClass, children: &[PageId]) -> PageId {
        let new = self.pool.reserve(class).unwrap();
        let gate = self.pool.allocator().enter();
        let id = new.id();
        let mut page = new.into_page();
        page.begin_change(Lsn::new(self.lsn.load(Ordering::SeqCst)));
        PageHeader {
            checksum: 0,
            kind: PageKind::FIRST_USER,
            class,
            id,
            lsn: Lsn::NONE,
            tree: TreeId::NONE,
            swip_offset: if children.is_empty() { 0 } else { SWIPS },
            swip_count: children.len(),
        }
        .write(&mut page.writer());
        for (i, &child) in children.iter().enumerate() {
            page.writer().set_u64(SWIPS + i * 8, Swip::evicted(child, SizeClass::ZERO).to_bits());
        }
        page.finish_change(Lsn::NONE);
        self.change(&mut page, value);
        self.pool.allocator().apply_allocation(&gate, id, class);
        id
    }

    /// Every frame holds a page or is free, none is both.
    fn check_frames(&self) {
        for frames in &self.pool.frames {
            let free = frames.free_numbers();
            for frame in 0..frames.used() as u32 {
                let holds = !frames.header(FrameId::new(frame)).unwrap().page().is_none();
                let times = free.iter().filter(|&&n| n == frame).count();
                assert_eq!(times, usize::from(!holds), "class {}, frame {frame}", frames.class.get());
            }
        }
    }

    fn value(&self, id: PageId) -> u64 {
        self.pool.shared(id, SizeClass::ZERO).unwrap().reader().u64(64).unwrap()
    }
}

#[test]
fn a_budget_below_the_floor_names_the_floor() {
    let store = Arc::new(MemPageStore::new(PAGE));
    let floor = PoolOptions::floor(PAGE);
    let error = BufferPool::new(store, Arc::new(NoLog), PoolOptions::default().memory(floor - 1)).unwrap_err();
    assert!(
        matches!(&error, Error::InvalidOption { option: "memory", reason, .. } if reason.contains(&floor.to_string()))
    );
}

#[test]
fn twenty_times_the_budget_reads_back() {
    let rig = Rig::floor();
    let pages = rig.pool.capacity_pages() * 20;
    let ids: Vec<PageId> = (0..pages as u64).map(|i| rig.create(i * 7)).collect();
    for (i, &id) in ids.iter().enumerate() {
        assert_eq!(rig.value(id), i as u64 * 7);
    }
    let stats = rig.pool.stats();
    assert!(stats.resident_bytes <= stats.capacity_bytes);
    assert!(stats.evictions as usize >= pages - rig.pool.capacity_pages());
}

#[test]
fn a_page_that_changed_while_it_was_written_stays_dirty() {
    let rig = Rig::floor();
    let id = rig.create(1);
    rig.pool.flush_all().unwrap();
    assert_eq!(rig.pool.min_recovery_lsn(), Lsn::MAX);
    let mut page = rig.pool.exclusive(id, SizeClass::ZERO).unwrap();
    let before = rig.lsn.load(Ordering::SeqCst);
    rig.change(&mut page, 2);
    assert_eq!(rig.pool.min_recovery_lsn(), Lsn::new(before), "W6: recovery LSN is at or before the record");
    drop(page);
    rig.pool.flush_all().unwrap();
    assert_eq!(rig.pool.min_recovery_lsn(), Lsn::MAX);
    assert!(rig.log.durable.load(Ordering::SeqCst) >= before + 10);
}

#[test]
fn references_are_verified_and_repaired() {
    let rig = Rig::floor();
    let id = rig.create(5);
    // A hint that leads nowhere, one that leads to a wrong frame, one beyond all frames.
    for frame in [FrameId::NONE, FrameId::new(0), FrameId::new(7), FrameId::new(1 << 23)] {
        let swip = AtomicSwip::new(Swip::with_frame(id, SizeClass::ZERO, frame));
        let view = rig.pool.view(&swip).unwrap();
        assert_eq!(view.reader().u64(64).unwrap(), 5);
        view.validate().unwrap();
        let again = rig.pool.view(&swip).unwrap();
        assert_eq!(again.id(), id);
        let repaired = swip.load();
        assert_eq!(repaired.page(), id);
        assert_ne!(repaired.frame(), FrameId::NONE);
    }
}

#[test]
fn an_evicted_page_fails_the_validation_of_its_views() {
    let rig = Rig::floor();
    let id = rig.create(5);
    rig.pool.flush_all().unwrap();
    let swip = AtomicSwip::new(Swip::evicted(id, SizeClass::ZERO));
    let view = rig.pool.view(&swip).unwrap();
    for i in 0..rig.pool.capacity_pages() as u64 * 8 {
        rig.create(i);
    }
    assert!(!rig.pool.is_resident(id));
    assert!(view.validate().is_err(), "P1: a view outlived its page");
}

#[test]
fn unused_reservations_give_everything_back() {
    let rig = Rig::floor();
    for _ in 0..rig.pool.capacity_pages() * 3 {
        drop(rig.pool.reserve(SizeClass::ZERO).unwrap());
    }
    let free = rig.pool.allocator().free_pages();
    let ends = rig.pool.allocator().end().get() - rig.pool.allocator().map().first.get();
    assert_eq!(free, ends);
}

#[test]
fn when_every_frame_is_held_the_error_is_typed_and_comes_in_time() {
    let rig = Rig::floor();
    let mut held = Vec::new();
    let error = loop {
        match rig.pool.reserve(SizeClass::ZERO) {
            Ok(page) => held.push(page),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::PoolExhausted { .. }), "{error}");
    drop(held);
    rig.create(3);
}

#[test]
fn a_failed_write_poisons() {
    let rig = Rig::floor();
    let id = rig.create(1);
    rig.store.fail.store(true, Ordering::SeqCst);
    assert!(rig.pool.flush_all().is_err());
    rig.store.fail.store(false, Ordering::SeqCst);
    assert!(matches!(rig.pool.flush_all(), Err(Error::Poisoned { .. })));
    assert!(matches!(rig.pool.reserve(SizeClass::ZERO), Err(Error::Poisoned { .. })));
    // What is in memory can still be read.
    assert_eq!(rig.value(id), 1);
}

#[test]
fn damage_on_disk_is_an_error_that_names_the_page() {
    let rig = Rig::floor();
    let id = rig.create(1);
    rig.pool.flush_all().unwrap();
    for i in 0..rig.pool.capacity_pages() as u64 * 8 {
        rig.create(i);
    }
    let mut bytes = vec![0; PAGE];
    rig.store.inner.read(id, &mut bytes).unwrap();
    for at in [0, 9, 17, 100, PAGE - 1] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 4;
        rig.store.inner.write_unlogged(id, &flipped).unwrap();
        let error = rig.pool.shared(id, SizeClass::ZERO).err().unwrap();
        assert!(matches!(error, Error::Corrupted { site: crate::Site::Page(page), .. } if page == id), "{error}");
    }
    rig.store.inner.write_unlogged(id, &bytes).unwrap();
    assert_eq!(rig.value(id), 1, "a failed load leaves nothing behind");
}

#[test]
fn a_panic_in_the_middle_of_a_change_poisons_before_the_latch_is_free() {
    let rig = Rig::floor();
    let id = rig.create(1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut page = rig.pool.exclusive(id, SizeClass::ZERO).unwrap();
        page.begin_change(Lsn::new(1));
        panic!("in between");
    }));
    assert!(caught.is_err());
    assert!(matches!(rig.pool.check_poison(), Err(Error::Poisoned { .. })));
}

#[test]
fn larger_classes_share_the_budget() {
    let rig = rig(4 << 20);
    for i in 0..400 {
        rig.create(i);
    }
    let class = SizeClass::new(4).unwrap();
    for i in 0..64u64 {
        rig.create_with(i, class, &[]);
        assert!(rig.pool.resident_bytes() <= rig.pool.stats().capacity_bytes);
    }
    for i in 400..2000 {
        rig.create(i);
    }
    assert!(rig.pool.resident_bytes() <= rig.pool.stats().capacity_bytes);
}

#[test]
fn many_threads_on_few_frames_lose_no_update() {
    let rig = Rig::floor();
    let ids: Vec<PageId> = (0..rig.pool.capacity_pages() as u64 * 3).map(|_| rig.create(0)).collect();
    let threads = 4;
    let rounds = 2000u64;
    std::thread::scope(|scope| {
        for t in 0..threads {
            let (rig, ids) = (&rig, &ids);
            scope.spawn(move || {
                let mut x = t as u64 + 1;
                for _ in 0..rounds {
                    x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let id = ids[(x >> 33) as usize % ids.len()];
                    let mut page = rig.pool.exclusive(id, SizeClass::ZERO).unwrap();
                    let value = page.reader().u64(64).unwrap();
                    rig.change(&mut page, value + 1);
                }
            });
        }
    });
    let sum: u64 = ids.iter().map(|&id| rig.value(id)).sum();
    assert_eq!(sum, threads as u64 * rounds);
}

#[test]
fn a_place_that_a_late_reader_loaded_again_can_still_be_used() {
    let rig = Rig::floor();
    let id = rig.create(1);
    rig.pool.flush_all().unwrap();
    // The page is freed and its place reserved anew; a reader that followed the old reference loads the old image.
    rig.pool.discard(id);
    let gate = rig.pool.allocator().enter();
    rig.pool.allocator().apply_free(&gate, id, SizeClass::ZERO, Lsn::new(1));
    drop(gate);
    rig.pool.allocator().release_pending(Lsn::new(1));
    let new = rig.pool.reserve(SizeClass::ZERO).unwrap();
    assert_eq!(new.id(), id);
    assert_eq!(rig.value(id), 1);
    let page = new.into_page();
    assert_eq!(page.reader().u64(64).unwrap(), 0);
    drop(page);
    assert_eq!(rig.value(id), 0, "P2: the page table names the new frame");
}

mod readers {
    use crate::pool::Readers;
    use crate::types::Lsn;

    #[test]
    fn the_oldest_reader_counts_also_when_there_are_many() {
        let readers = Readers::new();
        assert_eq!(readers.oldest(), Lsn::MAX);
        // More than there are slots.
        let mut all: Vec<_> = (0..100u64).map(|n| Some(readers.enter(Lsn::new(1000 - n)))).collect();
        assert_eq!(readers.oldest(), Lsn::new(901));
        for n in (1..100).rev() {
            all[n] = None;
            assert_eq!(readers.oldest(), Lsn::new(1000 - n as u64 + 1));
        }
        let none = readers.enter(Lsn::NONE);
        assert_eq!(readers.oldest(), Lsn::NONE, "a reader without a log holds everything back");
        drop((none, all));
        assert_eq!(readers.oldest(), Lsn::MAX);
    }
}

/// The kernel's flags of the mapping that the pool's frames are in.
#[cfg(target_os = "linux")]
fn mapping_flags(pool: &BufferPool) -> String {
    let address = pool.frames[0].data(FrameId::new(0)).addr();
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
        let hex = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(from), Some(to))) = range.map(|(from, to)| (hex(from), hex(to))) {
            inside = (from..to).contains(&address);
        }
        if inside && let Some(flags) = line.strip_prefix("VmFlags:") {
            return flags.to_owned();
        }
    }
    panic!("the mapping is not listed");
}

#[test]
#[cfg(target_os = "linux")]
fn huge_pages_are_not_advised_unless_they_are_wanted() {
    let options = PoolOptions::default().memory(128 << 20).huge_pages(false);
    let pool = BufferPool::new(Arc::new(MemPageStore::new(PAGE)), Arc::new(NoLog), options).unwrap();
    let flags = mapping_flags(&pool);
    assert!(!flags.split_whitespace().any(|flag| flag == "hg"), "{flags}");
}

#[test]
fn memory_is_committed_ahead_within_the_budget() {
    use crate::pool::frame::Frames;
    let frames = Frames::new(SizeClass::ZERO, PAGE, 64 << 20, true).unwrap();
    let mib = |n: usize| (n << 20) as u64;
    let (budget, resident) = (mib(64), StdU64::new(0));
    let commit = |bytes| {
        let fits = resident.load(Ordering::SeqCst) + bytes <= budget;
        resident.fetch_add(if fits { bytes } else { 0 }, Ordering::SeqCst);
        fits
    };
    let uncommit = |bytes| _ = resident.fetch_sub(bytes, Ordering::SeqCst);
    let others = std::cell::Cell::new(0);
    let prepare = || frames.prepare_ahead(commit, uncommit);
    let prepared = || (frames.prepared() * PAGE) as u64;
    let take = |bytes: u64| {
        for _ in 0..bytes as usize / PAGE {
            if let Some(frame) = frames.take_resident() {
                frame.hand_over();
            } else {
                assert!(commit(PAGE as u64));
                frames.take_uncommitted().unwrap().hand_over();
            }
            let accounted = resident.load(Ordering::SeqCst) - others.get();
            assert_eq!(accounted, (frames.used() * PAGE) as u64 + prepared());
        }
    };
    prepare();
    assert_eq!(prepared(), 0, "nothing is in use");
    take(mib(3));
    assert!(frames.wants_preparing());
    prepare();
    assert_eq!(prepared(), mib(3), "as much again");
    assert!(!frames.wants_preparing());
    take(mib(17));
    prepare();
    assert_eq!((prepared(), resident.load(Ordering::SeqCst)), (mib(8), mib(28)));
    // Somebody else takes the rest of the budget: what was prepared counts, and can still be taken.
    assert!(!commit(mib(37)) && commit(mib(36)));
    others.set(mib(36));
    prepare();
    take(mib(8));
    assert!(frames.take_resident().is_none() && !commit(PAGE as u64));
    // Nor beyond the last frame.
    uncommit(others.take());
    take(mib(34));
    prepare();
    assert!(frames.used() * PAGE + frames.prepared() * PAGE <= 64 << 20);
}
