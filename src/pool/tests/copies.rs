//! Copies in the double-write area serve more than one write (P11), and stay as long as anything relies on them (P7).

use super::super::file_store::Copies;
use super::*;
use crate::io::{Disk, DiskFile, OpenMode};
use crate::page::bytes::PageWriter;
use crate::page::header;
use crate::pool::double_write::HEADER_BYTES;
use crate::sim::SimDisk;
use std::collections::HashMap;
use std::path::Path;

pub(super) const SLOT_BYTES: u64 = (HEADER_BYTES + 4 * PAGE) as u64;
const PAGES: u64 = 12;

/// Numbers that follow from a seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

pub(super) fn file(disk: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(name), OpenMode::Create).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file
}

fn open(disk: &SimDisk, slots: usize, redo: u64, slot_bytes: u64) -> FilePageStore {
    open_files([file(disk, "/pages"), file(disk, "/copies")], slots, slot_bytes, (redo, 0, false))
}

/// Over pages and copies; with what a superblock says of redo LSN, retired batch, and whether the store was closed.
pub(super) fn open_files(
    [pages, copies]: [Arc<dyn DiskFile>; 2],
    slots: usize,
    slot_bytes: u64,
    (redo, retired, settled): (u64, u64, bool),
) -> FilePageStore {
    let copies = Copies { file: copies, slots, slot_bytes, redo: Lsn::new(redo), settled };
    FilePageStore::open_with(pages, "/pages".into(), (PAGE, 7), retired, false, Some(copies)).unwrap()
}

pub(super) fn page(n: u64) -> PageId {
    PageId::new(FilePageStore::first_page_of(PAGE).get() + n)
}

static FILLS: StdU64 = StdU64::new(0);

/// A batch of these pages, each as of its LSN; again, if all have a copy that serves and that is wanted.
pub(super) fn write(store: &FilePageStore, pages: &[(u64, u64)], again: bool) -> bool {
    let mut buffer = vec![0; HEADER_BYTES];
    let mut images = Vec::new();
    for &(n, lsn) in pages {
        let (class, id, lsn) = (SizeClass::ZERO, page(n), Lsn::new(lsn));
        // Other bytes each time, so that a torn image is one even if the page's LSN is that of before.
        let mut image = vec![FILLS.fetch_add(1, Ordering::Relaxed) as u8; PAGE];
        let (kind, tree) = (PageKind::FIRST_USER, TreeId::NONE);
        let fields = PageHeader { checksum: 0, kind, class, id, lsn, tree, swip_offset: 0, swip_count: 0 };
        // SAFETY: the bytes are the caller's own for as long as the writer lives.
        fields.write(&mut unsafe { PageWriter::new(image.as_mut_ptr(), PAGE) });
        let sum = header::checksum(&image);
        image[..4].copy_from_slice(&sum.to_le_bytes());
        images.push(PageImage { id, class, offset: buffer.len(), len: PAGE });
        buffer.extend_from_slice(&image);
    }
    let again = again && images.iter().all(|image| store.has_copy(image.id));
    let written = if again { store.write_again(&mut buffer, &images) } else { store.write_batch(&mut buffer, &images) };
    written.unwrap();
    again
}

/// The LSN of a page that is whole.
pub(super) fn read(store: &FilePageStore, n: u64) -> std::result::Result<u64, String> {
    let mut image = vec![0; PAGE];
    store.read(page(n), &mut image).unwrap();
    super::super::load::verify(page(n), SizeClass::ZERO, &image).map_err(|error| error.to_string())?;
    Ok(u64::from_le_bytes(image[header::LSN..header::LSN + 8].try_into().unwrap()))
}

/// Batches of all kinds and checkpoints, then a crash at any moment: every page is whole, and not older than where redo begins.
#[test]
fn after_a_crash_every_page_is_one_that_redo_brings_forward() {
    let (mut again, mut lives) = (0, 0);
    for seed in 0..400u64 {
        let mut rng = Rng(seed);
        let mut disk = SimDisk::new(seed);
        // What each page was at the last checkpoint, by which LSN that was, and what it is.
        let (mut base, mut redo, mut lsn) = (HashMap::new(), 1u64, 1u64);
        // What the superblock says besides.
        let (mut retired, mut closed) = (0, false);
        let mut now: HashMap<u64, u64> = HashMap::new();
        for life in 0..3 {
            let (slots, slot_bytes) = (1 + rng.below(9) as usize, SLOT_BYTES + rng.below(2) * PAGE as u64);
            let files = [file(&disk, "/pages"), file(&disk, "/copies")];
            let store = open_files(files, slots, slot_bytes, (redo, retired, closed));
            closed = false;
            for (&n, &least) in &base {
                let found = read(&store, n).unwrap_or_else(|e| panic!("P7, P11: seed {seed}, life {life}: {e}"));
                assert!(
                    found >= least,
                    "P11: seed {seed}, life {life}: page {n} of {found}, redo begins behind {least}"
                );
                lives += 1;
            }
            // As redo and the checkpoint behind it would leave them.
            for n in 0..PAGES {
                lsn += 1;
                write(&store, &[(n, lsn)], false);
                now.insert(n, lsn);
            }
            for step in 0..30 + rng.below(60) {
                if step == 0 || rng.below(25) == 0 {
                    // Redo begins behind all that was written; the superblock comes last, and is atomic.
                    redo = lsn;
                    store.raise_floor(Lsn::new(redo));
                    store.sync().unwrap();
                    (retired, base) = (store.completed_batch(), now.clone());
                    continue;
                }
                let first = rng.below(PAGES);
                if rng.below(6) == 0 {
                    // Unchanged: it stayed dirty because somebody had its latch while it was written.
                    write(&store, &[(first, now[&first])], rng.below(2) > 0);
                    continue;
                }
                let pages: Vec<(u64, u64)> =
                    (0..1 + rng.below(4)).map(|i| ((first + i) % PAGES, lsn + 1 + i)).collect();
                lsn += 4;
                again += u64::from(write(&store, &pages, rng.below(4) > 0));
                now.extend(pages);
            }
            if rng.below(4) == 0 {
                // Closed: nothing is written from here on.
                redo = lsn;
                store.raise_floor(Lsn::new(redo));
                store.sync().unwrap();
                (retired, base, closed) = (store.completed_batch(), now.clone(), true);
            }
            drop(store);
            disk = disk.crash(seed * 7 + life);
        }
    }
    assert!(again > 5000 && lives > 5000, "{again} batches without copies, {lives} pages judged");
}

/// One sync of the page file serves a lap of the ring and more, where each batch had its own.
#[test]
fn syncs_are_few() {
    let disk = SimDisk::new(1);
    let store = open(&disk, 16, 1, SLOT_BYTES);
    let syncs = || store.syncs();
    let mut lsn = 1;
    for n in 0..160u64 {
        lsn += 1;
        write(&store, &[(n % PAGES, lsn)], false);
    }
    assert!((9..=20).contains(&syncs()), "{} syncs for ten laps", syncs());
    // With copies that serve there are none at all.
    let before = syncs();
    for n in 0..200u64 {
        lsn += 1;
        assert!(write(&store, &[(n % 4 + (159 - 3) % PAGES, lsn)], true) || n < 20);
    }
    assert!(syncs() - before <= 2, "{} syncs", syncs() - before);
    // A checkpoint ends that.
    store.raise_floor(Lsn::new(lsn));
    assert!((0..PAGES).all(|n| !store.has_copy(page(n))));
}

/// A disk that is full gives up what only saves writes, and the copies that are needed are not lost by it.
#[test]
fn a_full_disk_takes_the_slots_back() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let store = open(&disk, 16, 1, SLOT_BYTES);
        for n in 0..40u64 {
            write(&store, &[(n % PAGES, 2 + n)], n % 3 > 0);
        }
        let long = file(&disk, "/copies").len().unwrap();
        assert!(store.give_room().unwrap());
        let short = file(&disk, "/copies").len().unwrap();
        assert!(short * 3 < long, "{long} to {short}");
        assert!(!store.give_room().unwrap());
        for n in 40..80u64 {
            write(&store, &[(n % PAGES, 2 + n)], n % 3 > 0);
        }
        assert_eq!(file(&disk, "/copies").len().unwrap(), short);
        let after = disk.crash(seed);
        let store = open(&after, 16, 1, SLOT_BYTES);
        (0..PAGES).for_each(|n| assert!(read(&store, n).is_ok(), "seed {seed}, page {n}"));
    }
}

/// A file that was longer is cut to what may be now, when its copies are not needed any more.
#[test]
fn fewer_slots_than_before_take_no_more_space() {
    for seed in 0..20 {
        let mut disk = SimDisk::new(seed);
        for (slots, slot_bytes) in [(16, SLOT_BYTES), (3, SLOT_BYTES), (9, SLOT_BYTES), (2, SLOT_BYTES + PAGE as u64)] {
            let store = open(&disk, slots, 1, slot_bytes);
            let most = 4096 + slots as u64 * slot_bytes;
            assert!(file(&disk, "/copies").len().unwrap() <= most);
            (0..PAGES).for_each(|n| assert!(slots == 16 || read(&store, n).is_ok(), "seed {seed}, page {n}"));
            for n in 0..40u64 {
                write(&store, &[(n % PAGES, 2 + n)], n % 3 > 0);
            }
            assert!(file(&disk, "/copies").len().unwrap() <= most);
            drop(store);
            disk = disk.crash(seed);
        }
    }
}

/// Without room for a file of its own the area is the one slot in the page file, however many were wanted: behind it lie pages.
#[test]
fn without_room_one_slot_serves_and_no_page_is_overwritten() {
    let disk = SimDisk::new(3);
    let pages = file(&disk, "/pages");
    pages.allocate(0, (page(PAGES).get()) * PAGE as u64).unwrap();
    file(&disk, "/copies");
    disk.set_space_limit(Some(disk.used_bytes()));
    let store = open(&disk, 16, 1, SLOT_BYTES);
    for n in 0..60u64 {
        write(&store, &[(n % PAGES, 2 + n)], n % 3 > 0);
        (0..PAGES.min(n + 1)).for_each(|m| assert!(read(&store, m).is_ok(), "batch {n}, page {m}"));
    }
    assert_eq!(file(&disk, "/copies").len().unwrap(), 0);
    let after = disk.crash(5);
    let store = open(&after, 16, 1, SLOT_BYTES);
    (0..PAGES).for_each(|n| assert!(read(&store, n).is_ok(), "page {n}"));
}
