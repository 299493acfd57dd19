//! Foreign bytes where the engine expects its own: in the log, in a superblock, in the page file.

use pagebox::io::{Disk, OpenMode};
use pagebox::page::bytes::PageReader;
use pagebox::page::header::PageHeader;
use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Store, StoreOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

const DIR: &str = "/store";
const PAGE: usize = 4096;
const SEGMENT: u64 = 64 << 10;
/// Where the page file's first page lies: superblocks, double-write header and slots are before it.
const SUPERBLOCKS: [u64; 2] = [0, 64 << 10];

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn options(disk: SimDisk) -> StoreOptions {
    let options = Store::options().page_size(PAGE).memory(8 << 20).durability(Durability::Manual);
    options.log_segment_bytes(SEGMENT).max_log_bytes(SEGMENT * 8).disk(Arc::new(disk))
}

/// The files of a store that was not closed: some pages on disk, some changes in the log alone.
fn template() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = SimDisk::new(1);
        disk.set_history(false);
        let store = options(disk.clone()).open(DIR).expect("a store");
        let tree = store.tree("t").expect("a tree");
        for n in 0..300u32 {
            tree.insert(n.wrapping_mul(0x9e37_79b1).to_be_bytes(), vec![n as u8; n as usize % 200]).expect("insert");
            // The second one writes pages that were written before.
            if n == 200 || n == 250 {
                store.checkpoint().expect("checkpoint");
            }
        }
        store.sync().expect("sync");
        disk.contents()
    })
}

/// A disk with these files.
fn disk_with(files: &Files) -> SimDisk {
    let disk = SimDisk::new(2);
    disk.set_history(false);
    for path in files.keys() {
        for dir in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            // Those that are there already are as good.
            let _ = disk.create_dir(dir);
        }
    }
    for (path, bytes) in files {
        let file = disk.open(path, OpenMode::Create).expect("a new file");
        file.write_at(bytes, 0).expect("the bytes of the template");
    }
    disk
}

/// Opens a store and goes through all of it; what it holds may be anything, how it answers may not.
fn exercise(files: &Files) {
    let disk = disk_with(files);
    let store = match options(disk).create(false).open(DIR) {
        Ok(store) => store,
        Err(error) => return expected(&error),
    };
    match store.check_all() {
        Ok(damages) => damages.iter().for_each(expected),
        Err(error) => expected(&error),
    }
    let Ok(names) = store.tree_names() else { return };
    for name in names {
        let Ok(Some(tree)) = store.existing_tree(&name) else { continue };
        tree.iter().take(2000).filter_map(Result::err).for_each(|error| expected(&error));
        if let Err(error) = tree.insert(b"new", b"value") {
            expected(&error);
        }
    }
}

/// The errors that bad bytes may cause.
fn expected(error: &Error) {
    match error {
        Error::Corrupted { .. }
        | Error::UnsupportedFormat { .. }
        | Error::NotFound { .. }
        | Error::InvalidOption { .. }
        | Error::NoSpace { .. }
        | Error::Poisoned { .. } => {}
        other => panic!("bad bytes gave {other:?}"),
    }
}

fn overlay(files: &mut Files, path: &Path, at: u64, data: &[u8]) {
    let Some(file) = files.get_mut(path) else { return };
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
    let n = data.len().min(file.len() - at);
    file[at..at + n].copy_from_slice(&data[..n]);
}

/// A place named by the first bytes of the input, and the bytes to put there.
fn place(data: &[u8]) -> Option<(u64, &[u8])> {
    let (place, data) = data.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*place).into(), data))
}

/// Bytes somewhere in a log segment, then recovery.
pub fn log(data: &[u8]) {
    let Some((place, data)) = place(data) else { return };
    let mut files = template().clone();
    let segments: Vec<PathBuf> =
        files.keys().filter(|path| path.extension().is_some_and(|e| e == "log")).cloned().collect();
    let Some(segment) = segments.get(place as usize % segments.len().max(1)) else { return };
    overlay(&mut files, segment, place / 16 % SEGMENT, data);
    exercise(&files);
}

/// Bytes somewhere in one superblock or in both, then an open.
pub fn superblock(data: &[u8]) {
    let Some((place, data)) = place(data) else { return };
    let mut files = template().clone();
    let both = place & 1 == 1;
    for (n, at) in SUPERBLOCKS.iter().enumerate() {
        if both || n as u64 == (place >> 1) & 1 {
            overlay(&mut files, &Path::new(DIR).join("pages"), at + (place >> 2) % 4096, data);
        }
    }
    exercise(&files);
}

/// Bytes anywhere in the page file, or its end cut off, then an open and a walk.
pub fn pages_file(data: &[u8]) {
    let Some((place, data)) = place(data) else { return };
    let mut files = template().clone();
    let path = Path::new(DIR).join("pages");
    if data.is_empty() {
        if let Some(file) = files.get_mut(&path) {
            file.truncate(place as usize % (file.len() + 1));
        }
    } else {
        overlay(&mut files, &path, place, data);
    }
    exercise(&files);
}

/// Bytes anywhere in the file with copies of pages, or its end cut off, then a recovery: no copy is needed, so nothing may be lost.
pub fn copies(data: &[u8]) {
    let Some((place, data)) = place(data) else { return };
    let mut files = template().clone();
    let path = Path::new(DIR).join("double-write");
    if data.is_empty() {
        if let Some(file) = files.get_mut(&path) {
            file.truncate(place as usize % (file.len() + 1));
        }
    } else {
        // Few places are not zeros.
        let blocks = files.get(&path).map_or(0, |file| file.len() as u64 / 4096);
        overlay(&mut files, &path, place / 64 % blocks.max(1) * 4096 + place % 64, data);
    }
    let store = options(disk_with(&files)).create(false).open(DIR).expect("a store that lost copies it does not need");
    store.check().expect("a sound store");
    assert_eq!(store.tree("t").expect("a tree").len().expect("len"), 300);
}

/// One page, whose header and integers are read at every place that the bytes name.
pub fn page(data: &[u8]) {
    let page = PageReader::from_slice(data);
    let _ = PageHeader::read(page);
    for chunk in data.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([chunk[0], chunk[1]]));
        let n = usize::from(u16::from_le_bytes([chunk[2], chunk[3]]));
        let inside = |size: usize| at.checked_add(size).is_some_and(|end| end <= data.len());
        assert_eq!(page.u8(at).is_ok(), inside(1));
        assert_eq!(page.u16(at).is_ok(), inside(2));
        assert_eq!(page.u32(at).is_ok(), inside(4));
        assert_eq!(page.u64(at).is_ok(), inside(8));
        let order = page.compare(at, n, data);
        assert_eq!(order.is_ok(), inside(n));
        if let Ok(order) = order {
            assert_eq!(order, data[at..at + n].cmp(data));
        }
    }
}
