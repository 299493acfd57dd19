//! The store's own pieces, each alone.

mod checkpoints;
#[path = "../../../tests/support/hooked.rs"]
mod hooked;
mod on_sync;
mod poison;
mod superblock;

use super::key_range::{Sealed, half_open, prefix_bounds};
use super::observer::WalRule;
use super::running::{InCallback, Running, in_callback_of};
use super::superblock::Superblock;
use crate::Error;
use crate::io::{Disk, FileDisk, OpenMode, WriteObserver};
use crate::page::header;
use crate::sync::Arc;
use crate::types::{Lsn, PageId};
use crate::wal::{RecordBuilder, Wal, WalOptions};
use quickcheck::quickcheck;
use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

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

/// A store with a log of sixteen segments of 64 KiB.
fn short_log(temp: &Path) -> crate::Store {
    let options = crate::Store::options().page_size(4096).memory(4 << 20).max_log_bytes(1 << 20);
    options.durability(crate::Durability::Manual).open(temp).unwrap()
}

/// What both copies of a store's superblock say.
fn superblocks(dir: &Path) -> [Superblock; 2] {
    let file = FileDisk::new().open(&dir.join("pages"), OpenMode::Read).unwrap();
    let found = Superblock::read(&*file).unwrap();
    [found.newest, found.older.unwrap()]
}
