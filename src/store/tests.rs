//! The store's own pieces, each alone.

use super::key_range::{Sealed, half_open, prefix_bounds};
use super::observer::WalRule;
use super::running::{InCallback, Running, in_callback_of};
use super::superblock::{COPIES, SUPERBLOCK_BYTES, Superblock};
use crate::Error;
use crate::io::{Disk, FileDisk, OpenMode, WriteObserver};
use crate::page::header;
use crate::pool::{PageImage, PageStore};
use crate::sync::Arc;
use crate::types::{Lsn, PageId, SizeClass};
use crate::wal::{RecordBuilder, Wal, WalOptions, WalPosition};
use quickcheck::quickcheck;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

fn superblock(sequence: u64) -> Superblock {
    Superblock {
        page_size: 4096,
        store_id: 1 << 60 | 7,
        sequence,
        incarnation: 3,
        redo: Lsn::new(1000),
        place: WalPosition { lsn: Lsn::new(900), segment: 5, offset: 8192, prev_crc: 0xDEAD_BEEF },
        accepted_end: Lsn::new(700),
        durable: Lsn::new(1100),
        snapshot_lsn: Lsn::new(1050),
        snapshot_page: PageId::new(400),
        snapshot_units: 2,
        retired_batch: 17,
        catalog_root: PageId::new(290),
        file_end: PageId::new(500),
        next_tree: 9,
        closed: true,
    }
}

#[test]
fn a_superblock_reads_back_and_the_newest_counts() {
    let temp = tempfile::tempdir().unwrap();
    let file = FileDisk::new().open(&temp.path().join("pages"), OpenMode::CreateNew).unwrap();
    assert!(matches!(Superblock::read(&*file), Err(Error::Corrupted { .. })), "an empty file");
    superblock(4).write(&*file, 1).unwrap();
    let found = Superblock::read(&*file).unwrap();
    assert_eq!((found.newest, found.older, found.newest_at), (superblock(4), None, 1));
    superblock(5).write(&*file, 0).unwrap();
    let found = Superblock::read(&*file).unwrap();
    assert_eq!((found.newest, found.older, found.newest_at), (superblock(5), Some(superblock(4)), 0));
    superblock(6).write(&*file, 1).unwrap();
    assert_eq!(Superblock::read(&*file).unwrap().newest_at, 1);
}

#[test]
fn every_flipped_bit_of_a_superblock_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let file = FileDisk::new().open(&temp.path().join("pages"), OpenMode::CreateNew).unwrap();
    let sound = superblock(4).encode();
    for byte in (0..200).chain([2000, SUPERBLOCK_BYTES - 4, SUPERBLOCK_BYTES - 1]) {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[byte] ^= 1 << bit;
            file.write_at(&damaged, COPIES[0]).unwrap();
            assert!(Superblock::read(&*file).is_err(), "byte {byte}, bit {bit}");
        }
    }
}

#[test]
fn positions_that_contradict_each_other_are_damage() {
    let temp = tempfile::tempdir().unwrap();
    let file = FileDisk::new().open(&temp.path().join("pages"), OpenMode::CreateNew).unwrap();
    let broken: [fn(&mut Superblock); 4] =
        [|s| s.redo = Lsn::new(800), |s| s.durable = Lsn::new(999), |s| s.page_size = 5000, |s| s.incarnation = 0];
    for (i, break_it) in broken.iter().enumerate() {
        let mut damaged = superblock(4);
        break_it(&mut damaged);
        damaged.write(&*file, 0).unwrap();
        assert!(matches!(Superblock::read(&*file), Err(Error::Corrupted { .. })), "{i}");
    }
    // Two copies of different stores.
    superblock(4).write(&*file, 0).unwrap();
    Superblock { store_id: 8, ..superblock(5) }.write(&*file, 1).unwrap();
    assert!(matches!(Superblock::read(&*file), Err(Error::Corrupted { .. })));
}

fn is_in(key: &[u8], bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    let low = match &bounds.0 {
        Bound::Included(low) => key >= &low[..],
        Bound::Excluded(low) => key > &low[..],
        Bound::Unbounded => true,
    };
    low && match &bounds.1 {
        Bound::Included(high) => key <= &high[..],
        Bound::Excluded(high) => key < &high[..],
        Bound::Unbounded => true,
    }
}

quickcheck! {
    fn half_open_ranges_hold_the_same_keys(low: (u8, Vec<u8>), high: (u8, Vec<u8>), keys: Vec<Vec<u8>>) -> bool {
        let bound = |(kind, key): (u8, Vec<u8>)| match kind % 3 {
            0 => Bound::Included(key),
            1 => Bound::Excluded(key),
            _ => Bound::Unbounded,
        };
        let ends = [low.1.clone(), high.1.clone()];
        let bounds = (bound(low), bound(high));
        let half = half_open(bounds.clone().bounds());
        keys.iter().chain(&ends).all(|key| {
            let inside = half.as_ref().is_some_and(|(low, high)| key >= low && high.as_ref().is_none_or(|h| key < h));
            inside == is_in(key, &bounds)
        })
    }

    fn a_prefix_bounds_exactly_its_keys(prefix: Vec<u8>, keys: Vec<Vec<u8>>, last: bool) -> bool {
        let prefix = if last { [&prefix[..], &[255, 255]].concat() } else { prefix };
        let bounds = prefix_bounds(&prefix);
        let longer = keys.iter().map(|key| [&prefix[..], key].concat());
        keys.iter().cloned().chain(longer).all(|key| is_in(&key, &bounds) == key.starts_with(&prefix))
    }
}

#[test]
fn closing_waits_and_then_nobody_enters() {
    let running = Arc::new(Running::new());
    let call = running.enter().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let closer = std::thread::spawn({
        let running = running.clone();
        move || {
            let first = running.close();
            tell.send(()).unwrap();
            (first, running.close())
        }
    });
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait for the call");
    assert!(matches!(running.enter(), Err(Error::Closed)), "the flag is set first");
    assert!(matches!(running.check(), Err(Error::Closed)));
    drop(call);
    assert_eq!(closer.join().unwrap(), (true, false));
}

#[test]
fn callbacks_are_known_by_their_store() {
    let outer = InCallback::of(1);
    let inner = InCallback::of(2);
    assert!(in_callback_of(1) && in_callback_of(2) && !in_callback_of(3));
    drop(inner);
    assert!(in_callback_of(1) && !in_callback_of(2));
    assert!(!std::thread::spawn(|| in_callback_of(1)).join().unwrap());
    drop(outer);
    assert!(!in_callback_of(1));
}

#[test]
fn the_observer_refuses_pages_ahead_of_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let wal = Wal::create(Arc::new(FileDisk::new()), &temp.path().join("wal"), 1, 1, WalOptions::default()).unwrap();
    let wal = Arc::new(wal);
    let pages = Path::new("/db/pages");
    let rule = WalRule { pages: pages.into(), page_size: 4096, wal: Arc::downgrade(&wal) };
    let mut buffer = Vec::new();
    let mut record = RecordBuilder::new(&mut buffer);
    record.begin_part(crate::PageKind::BTREE, 1, crate::SizeClass::ZERO, false, PageId::new(400));
    let bytes = record.finish();
    let lsn = wal.append(wal.reserve(bytes.len()).unwrap(), bytes);
    let mut page = vec![0; 4096];
    page[8..16].copy_from_slice(&400u64.to_le_bytes());
    page[16..24].copy_from_slice(&lsn.get().to_le_bytes());
    let sum = header::checksum(&page);
    page[0..4].copy_from_slice(&sum.to_le_bytes());
    assert!(rule.on_write(pages, 400 * 4096, &page).is_err_and(|text| text.contains("P5")));
    // Other files, and what lies before the pages, are not pages.
    assert!(rule.on_write(Path::new("/db/wal/1.log"), 400 * 4096, &page).is_ok());
    assert!(rule.on_write(pages, 0, &page).is_ok());
    wal.commit(lsn).unwrap();
    assert!(rule.on_write(pages, 400 * 4096, &page).is_ok());
    // In a wrong place, or without its checksum, a page is wrong anyway.
    assert!(rule.on_write(pages, 401 * 4096, &page).is_err());
    page[100] ^= 1;
    assert!(rule.on_write(pages, 400 * 4096, &page).is_err());
}

#[test]
fn the_check_finds_pages_that_are_lost_and_pages_that_are_two_things() {
    let temp = tempfile::tempdir().unwrap();
    let store = crate::Store::options().page_size(4096).memory(1 << 20).open(temp.path()).unwrap();
    store.tree("t").unwrap().insert("k", "v").unwrap();
    store.check().unwrap();
    let class = crate::SizeClass::ZERO;
    let allocator = store.inner.engine.pool.allocator();
    // Allocated, but nobody refers to it.
    let lost = allocator.reserve(class).unwrap();
    allocator.apply_allocation(&allocator.enter(), lost, class);
    match store.check() {
        Err(Error::Corrupted { site: crate::Site::FreeSpace, detail, .. }) => {
            assert!(detail.contains("1 pages") && detail.contains(&lost.to_string()), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    // Freed twice over: pending, and the root of a tree.
    let root = store.inner.catalog.tree.root();
    allocator.apply_free(&allocator.enter(), root, class, Lsn::MAX);
    let all = store.check_all().unwrap();
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().any(|damage| damage.to_string().contains("at once")), "{all:?}");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_tree_number_is_never_used_twice_and_incarnations_rise() {
    let temp = tempfile::tempdir().unwrap();
    let open = |n: usize| crate::Store::options().page_size(4096).memory(1 << 20).open(temp.path().join(n.to_string()));
    let mut seen = std::collections::HashSet::new();
    let mut incarnation = 0;
    for life in 0..4 {
        let store = open(life).unwrap();
        let superblock = store.inner.engine.head.lock().superblock;
        let found = Superblock::read(&*store.inner.engine.page_file).unwrap();
        for copy in [Some(superblock), Some(found.newest), found.older] {
            assert!(copy.unwrap().incarnation > incarnation, "W4: in both copies, before anything is written");
            assert_eq!(copy.unwrap().incarnation, store.inner.engine.log().unwrap().incarnation());
        }
        incarnation = superblock.incarnation;
        for i in 0..3 {
            let tree = store.tree(&format!("tree {life} {i}")).unwrap();
            assert!(seen.insert(tree.handle.tree.id()), "{:?} was used before", tree.handle.tree.id());
        }
        // What a crash of the process leaves: the files as they are, without a checkpoint.
        copy_dir(&temp.path().join(life.to_string()), &temp.path().join((life + 1).to_string()));
    }
    assert_eq!(open(4).unwrap().tree_names().unwrap().len(), 12);
}

/// Calls a function once, in the middle of a checkpoint.
type Hook = Arc<crate::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk with a hook in the sync of the page file.
#[derive(Debug)]
struct Hooked<D>(D, HookSlot);

/// One for the next sync of content, one for the next that covers the length too: that of the record of free space.
#[derive(Clone, Default)]
struct HookSlot(Hook, Hook);

impl std::fmt::Debug for HookSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookSlot")
    }
}

impl<D: Disk> Disk for Hooked<D> {
    fn open(&self, path: &Path, mode: OpenMode) -> std::io::Result<Arc<dyn crate::io::DiskFile>> {
        let file = self.0.open(path, mode)?;
        let hook = path.ends_with("pages").then(|| self.1.clone());
        Ok(match hook {
            Some(hook) => Arc::new(Hooked(file, hook)),
            None => file,
        })
    }
    fn kind(&self, path: &Path) -> std::io::Result<Option<crate::io::FileKind>> {
        self.0.kind(path)
    }
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.create_dir(path)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        self.0.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn lock(
        &self,
        path: &Path,
        kind: crate::io::LockKind,
        create: bool,
    ) -> std::io::Result<Option<Box<dyn crate::io::DiskLock>>> {
        self.0.lock(path, kind, create)
    }
}

impl crate::io::DiskFile for Hooked<Arc<dyn crate::io::DiskFile>> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.0.allocate(offset, len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        let hook = self.1.0.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.sync_data()
    }
    fn sync_all(&self) -> std::io::Result<()> {
        let hook = self.1.1.lock().take();
        if let Some(hook) = hook {
            hook();
        }
        self.0.sync_all()
    }
}

#[test]
fn what_is_written_during_a_checkpoint_is_not_forgotten_by_it() {
    let temp = tempfile::tempdir().unwrap();
    let slot = HookSlot::default();
    let disk = Arc::new(Hooked(FileDisk::new(), slot.clone()));
    let options = crate::Store::options().page_size(4096).memory(4 << 20);
    let store = options.clone().disk(disk).open(temp.path().join("a")).unwrap();
    let tree = store.tree("t").unwrap();
    let key = |i: u32| i.to_be_bytes();
    for i in 0..200 {
        tree.insert(key(i), [1; 500]).unwrap();
    }
    let inner = tree.clone();
    // Between T and S: pages that were just written are changed again, split and merged away.
    *slot.0.lock() = Some(Box::new(move || {
        for i in 200..300 {
            inner.insert(key(i), [2; 500]).unwrap();
        }
        for i in 0..100 {
            inner.remove(key(i)).unwrap();
        }
    }));
    store.checkpoint().unwrap();
    assert!(slot.0.lock().is_none(), "the hook has run");
    assert!(store.stats().pending_pages > 0, "A1: what was freed behind the redo LSN is not given up yet");
    copy_dir(&temp.path().join("a"), &temp.path().join("b"));
    let crashed = options.open(temp.path().join("b")).unwrap();
    crashed.check().unwrap();
    let there = crashed.tree("t").unwrap();
    assert_eq!(there.len().unwrap(), 200);
    assert_eq!(there.first().unwrap().unwrap().0, key(100));
    assert_eq!(there.last().unwrap().unwrap(), (key(299).to_vec(), vec![2; 500]));
    store.checkpoint().unwrap();
    assert_eq!(store.stats().pending_pages, 0, "now no superblock needs them");
    store.check().unwrap();
}

#[test]
fn a_checkpoint_that_panics_poisons() {
    let temp = tempfile::tempdir().unwrap();
    let slot = HookSlot::default();
    let disk = Arc::new(Hooked(FileDisk::new(), slot.clone()));
    let store = crate::Store::options().page_size(4096).memory(4 << 20).disk(disk).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", "v").unwrap();
    store.checkpoint().unwrap();
    // No page is dirty: the first sync is that of a superblock.
    *slot.0.lock() = Some(Box::new(|| panic!("the medium's own bug")));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.checkpoint()));
    assert!(caught.is_err());
    assert!(
        matches!(store.checkpoint(), Err(Error::Poisoned { .. })),
        "a superblock that was perhaps written is built upon"
    );
    assert!(matches!(tree.insert("k", "w"), Err(Error::Poisoned { .. })));
    drop((tree, store));
    let store = crate::Store::open(temp.path()).unwrap();
    assert_eq!(store.tree("t").unwrap().get("k").unwrap().unwrap(), b"v");
}

#[test]
fn a_checkpoint_during_which_the_pool_is_poisoned_writes_no_superblock() {
    let temp = tempfile::tempdir().unwrap();
    let slot = HookSlot::default();
    let disk = Arc::new(Hooked(FileDisk::new(), slot.clone()));
    let store = crate::Store::options().page_size(4096).memory(4 << 20).disk(disk).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", "v").unwrap();
    let engine = store.inner.engine.clone();
    let before = Superblock::read(&*engine.page_file).unwrap();
    let pool = engine.pool.clone();
    *slot.1.lock() = Some(Box::new(move || pool.poison("somebody else's sync failed")));
    let made = store.checkpoint();
    assert!(matches!(made, Err(Error::Poisoned { .. })), "P9: {made:?}");
    let after = Superblock::read(&*engine.page_file).unwrap();
    assert_eq!((after.newest, after.older), (before.newest, before.older));
}

/// The log ends where redo begins, but a page was written since, and its image may be torn.
#[test]
fn a_batch_behind_the_last_checkpoint_keeps_readers_out() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, left) = (temp.path().join("db"), temp.path().join("left"));
    let options = crate::Store::options().page_size(4096).memory(4 << 20);
    let store = options.clone().open(&dir).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", "v").unwrap();
    // What a kill would leave: once without a batch, once with one.
    for batch in [false, true] {
        store.checkpoint().unwrap();
        let engine = &store.inner.engine;
        if batch {
            // In front of the images is room for the header.
            let (id, offset, len) = (tree.handle.tree.root(), 8 << 10, 4096);
            let mut buffer = vec![0; offset + len];
            engine.page_store.read(id, &mut buffer[offset..]).unwrap();
            let image = PageImage { id, class: SizeClass::ZERO, offset, len };
            engine.page_store.write_batch(&mut buffer, &[image]).unwrap();
        }
        for part in ["", "wal"] {
            std::fs::create_dir_all(left.join(part)).unwrap();
            for file in std::fs::read_dir(dir.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
                if file.is_file() {
                    std::fs::copy(&file, left.join(part).join(file.file_name().unwrap())).unwrap();
                }
            }
        }
        let found = options.clone().read_only(true).open(&left);
        if batch {
            assert!(matches!(found, Err(Error::NeedsRecovery { .. })), "{found:?}");
        } else {
            assert_eq!(found.unwrap().existing_tree("t").unwrap().unwrap().get("k").unwrap().unwrap(), b"v");
        }
    }
    let store = options.open(&left).unwrap();
    assert_eq!(store.tree("t").unwrap().get("k").unwrap().unwrap(), b"v");
}

#[test]
fn what_poisons_the_pool_poisons_the_log_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let options = crate::Store::options().page_size(4096).memory(4 << 20).durability(crate::Durability::Manual);
    let store = options.open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    store.sync().unwrap();
    let engine = &store.inner.engine;
    let wal = engine.log().unwrap();
    tree.insert("k", "v").unwrap();
    let durable = wal.durable_lsn();
    // A future that waits under no flush: nobody looks at the store's own poison for it.
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let woken = std::sync::Arc::new(Woken(false.into()));
    let waker = std::task::Waker::from(woken.clone());
    let mut key = None;
    let context = std::task::Context::from_waker(&waker);
    assert!(wal.poll_durable(wal.position(), &mut key, &context).is_pending());
    engine.pool.poison("somebody's sync failed");
    assert!(matches!(wal.commit(wal.position()), Err(Error::Poisoned { .. })));
    assert_eq!(wal.durable_lsn(), durable);
    let started = std::time::Instant::now();
    while !woken.0.load(std::sync::atomic::Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(20), "a future that nobody wakes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_read_that_waited_for_a_change_that_panicked_answers_poisoned() {
    let temp = tempfile::tempdir().unwrap();
    let store = crate::Store::options().page_size(4096).memory(4 << 20).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", [1; 900]).unwrap();
    let pool = tree.handle.inner.engine.pool.clone();
    let mut page = pool.exclusive(tree.handle.tree.root(), crate::SizeClass::ZERO).unwrap();
    let readers: [std::thread::JoinHandle<crate::Result<Vec<u8>>>; 3] = [
        std::thread::spawn({
            let tree = tree.clone();
            move || Ok(tree.get("k")?.unwrap())
        }),
        std::thread::spawn({
            let tree = tree.clone();
            move || Ok(tree.iter().next().unwrap()?.1)
        }),
        std::thread::spawn({
            let tree = tree.clone();
            move || {
                let mut seen = Vec::new();
                let end = tree.scan(.., |_, value| {
                    seen.extend_from_slice(value);
                    std::ops::ControlFlow::Continue(())
                });
                // What a callback has seen counts, whatever the end is.
                if seen.is_empty() { end.map(|()| seen) } else { Ok(seen) }
            }
        }),
    ];
    std::thread::sleep(Duration::from_millis(100));
    let half = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        page.begin_change(Lsn::FIRST);
        page.writer().fill(4096 - 300, 200, 7);
        panic!("in between");
    }));
    assert!(half.is_err());
    for reader in readers {
        let answer = reader.join().unwrap();
        assert!(matches!(answer, Err(Error::Poisoned { .. })), "half a change was read: {answer:?}");
    }
}

#[test]
fn a_creation_that_did_not_reach_the_catalog_needs_recovery() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new());
    let files = super::files::Files::new(&dir);
    files.make_dir(&*disk).unwrap();
    let options = crate::Store::options();
    let (wal, _) = options.plan(4096, false).unwrap();
    files.create(&disk, &options.clone().page_size(4096), wal).unwrap();
    drop(disk.lock(&dir.join("lock"), crate::io::LockKind::Exclusive, true).unwrap());
    let answer = options.clone().read_only(true).open(&dir).and_then(|store| store.tree_names());
    assert!(matches!(answer, Err(Error::NeedsRecovery { .. })), "{answer:?}");
    let store = options.open(&dir).unwrap();
    assert_eq!(store.tree_names().unwrap().len(), 0);
}

/// What both copies of a store's superblock say.
fn copies(dir: &Path) -> [Superblock; 2] {
    let file = FileDisk::new().open(&dir.join("pages"), OpenMode::Read).unwrap();
    let found = Superblock::read(&*file).unwrap();
    [found.newest, found.older.unwrap()]
}

/// W4: as long as a superblock says that the log ends, nobody writes to it.
#[test]
fn superblocks_say_that_the_log_ends_while_the_store_is_closed() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0u32..3 {
        let store = short_log(temp.path());
        assert!(copies(temp.path()).iter().all(|copy| !copy.closed), "open: {round}");
        let tree = store.tree("t").unwrap();
        for i in 0u32..400 {
            tree.insert(i.to_le_bytes(), [round as u8; 500]).unwrap();
        }
        store.checkpoint().unwrap();
        assert!(copies(temp.path()).iter().all(|copy| !copy.closed), "a checkpoint before the end");
        tree.insert("last", round.to_le_bytes()).unwrap();
        drop(tree);
        store.close().unwrap();
        let closed = copies(temp.path());
        assert!(closed.iter().all(|copy| copy.closed && copy.redo == copy.durable), "{closed:?}");
        // Only reading, it stays as it is.
        let store = crate::Store::options().read_only(true).open(temp.path()).unwrap();
        assert_eq!(store.tree("t").unwrap().get("last").unwrap(), Some(round.to_le_bytes().to_vec()));
        drop(store);
        assert_eq!(copies(temp.path()), closed);
    }
}

/// A store with a log of sixteen segments of 64 KiB.
fn short_log(temp: &Path) -> crate::Store {
    let options = crate::Store::options().page_size(4096).memory(4 << 20).max_log_bytes(1 << 20);
    options.durability(crate::Durability::Manual).open(temp).unwrap()
}

#[test]
fn a_full_log_is_content_with_the_checkpoint_under_way() {
    let temp = tempfile::tempdir().unwrap();
    let store = short_log(temp.path());
    let engine = store.inner.engine.clone();
    let before = store.stats().checkpoints;
    let head = engine.head.lock();
    let (tell, told) = std::sync::mpsc::channel();
    let waiter = {
        let engine = engine.clone();
        std::thread::spawn(move || {
            tell.send(()).unwrap();
            engine.checkpoint_or_wait()
        })
    };
    told.recv().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiter.is_finished(), "it does not wait");
    drop(head);
    waiter.join().unwrap().unwrap();
    assert_eq!(store.stats().checkpoints, before, "a checkpoint of its own");
    engine.checkpoint_or_wait().unwrap();
    assert_eq!(store.stats().checkpoints, before + 1);
}

#[test]
fn log_segments_are_made_while_a_checkpoint_is() {
    let temp = tempfile::tempdir().unwrap();
    let store = short_log(temp.path());
    let engine = store.inner.engine.clone();
    let (tree, wal) = (store.tree("t").unwrap(), engine.log().unwrap());
    // What a checkpoint holds all along; the checkpointer comes to wait for it as soon as the log is half full.
    let head = engine.head.lock();
    let mut i = 0u32;
    while engine.awaited.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tree.insert(i.to_le_bytes(), [7; 500]).unwrap();
        i += 1;
        assert!(wal.stats().used_bytes < 12 * (64 << 10), "nobody wants to make a checkpoint");
    }
    let ready = || wal.stats().ready_segments > 0;
    for i in 0u32..3 {
        let started = std::time::Instant::now();
        while !ready() {
            assert!(started.elapsed() < Duration::from_secs(20), "nobody makes a segment");
            std::thread::sleep(Duration::from_millis(1));
        }
        let retained = wal.stats().retained_segments;
        while wal.stats().retained_segments == retained {
            tree.insert(i.to_le_bytes(), [7; 500]).unwrap();
            store.sync().unwrap();
        }
    }
    drop(head);
}
