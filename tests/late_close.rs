//! A close that fails lets go of the directory only when nobody writes pages any more: a reader may be in the middle of an eviction.

#![cfg(feature = "btree")]

use pagebox::io::{Disk, DiskFile, DiskLock, FileDisk, FileKind, LockKind, OpenMode};
use pagebox::{Durability, Store, StoreOptions, Tree};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const KEYS: u32 = 3000;

/// The name of the thread of which one write of a page is held up.
const READER: &str = "reader";

#[derive(Debug, Default)]
struct Control {
    /// The reader's next write is to be held up.
    armed: AtomicBool,
    /// The log cannot be written or synced.
    log_fails: AtomicBool,
    write: Mutex<Write>,
    changed: Condvar,
}

#[derive(Debug, Default, PartialEq)]
enum Write {
    #[default]
    None,
    HeldUp,
    Released,
    Made,
}

impl Control {
    fn hold_up(&self) {
        let mut write = self.write.lock().unwrap();
        *write = Write::HeldUp;
        self.changed.notify_all();
        drop(self.changed.wait_while(write, |write| *write != Write::Released).unwrap());
    }

    fn set(&self, to: Write) {
        *self.write.lock().unwrap() = to;
        self.changed.notify_all();
    }
}

#[derive(Debug)]
struct Medium(FileDisk, Arc<Control>);

#[derive(Debug)]
struct File {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    control: Arc<Control>,
}

impl File {
    fn check(&self) -> io::Result<()> {
        let fails = self.control.log_fails.load(SeqCst) && self.path.to_string_lossy().contains("/wal/");
        if fails { Err(io::Error::other("broken")) } else { Ok(()) }
    }
}

impl DiskFile for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        // Behind the superblocks and the slot in the page file.
        let is_page = self.path.ends_with("pages") && offset >= 2 << 20;
        let held = is_page && std::thread::current().name() == Some(READER) && self.control.armed.swap(false, SeqCst);
        if held {
            self.control.hold_up();
        }
        let written = self.file.write_at(buf, offset);
        if held {
            self.control.set(Write::Made);
        }
        written
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_all()
    }
}

impl Disk for Medium {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File { file: self.0.open(path, mode)?, path: path.into(), control: self.1.clone() }))
    }
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.0.kind(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn lock(&self, path: &Path, kind: LockKind, create: bool) -> io::Result<Option<Box<dyn DiskLock>>> {
        self.0.lock(path, kind, create)
    }
}

fn key(n: u32) -> [u8; 4] {
    n.wrapping_mul(0x9E37_79B1).to_be_bytes()
}

fn fill(tree: &Tree, keys: u32, value: u8) {
    for n in 0..keys {
        tree.insert(key(n), [value; 900]).unwrap();
    }
}

fn options(flushers: usize) -> StoreOptions {
    Store::options().page_size(4096).memory(1 << 20).flushers(flushers).durability(Durability::Manual)
}

#[test]
fn no_write_of_a_store_whose_close_failed_lands_in_the_next_session() {
    for flushers in [1, 2] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        let control = Arc::new(Control::default());
        let store = options(flushers).disk(Arc::new(Medium(FileDisk::new(), control.clone()))).open(&dir).unwrap();
        let tree = store.tree("t").unwrap();
        fill(&tree, KEYS, 1);
        store.checkpoint().unwrap();
        fill(&tree, KEYS / 5, 2);
        store.sync().unwrap();
        control.armed.store(true, SeqCst);
        let reads = {
            let tree = tree.clone();
            // Until the store is closed, or poisoned.
            move || while (0..KEYS).all(|n| tree.get(key(n)).is_ok()) {}
        };
        let reader = std::thread::Builder::new().name(READER.into()).spawn(reads).unwrap();
        // Pages are made dirty, until the reader evicts one. What waits behind its turn does so in a thread of its own.
        let dirties = {
            let (tree, control) = (tree.clone(), control.clone());
            move || {
                (0..KEYS)
                    .cycle()
                    .take_while(|_| control.armed.load(SeqCst))
                    .all(|n| tree.insert(key(n), [2; 900]).is_ok())
            }
        };
        let writer = std::thread::spawn(dirties);
        drop(control.changed.wait_while(control.write.lock().unwrap(), |write| *write == Write::None).unwrap());
        if flushers == 2 {
            assert!(writer.join().unwrap(), "there is another buffer");
            // The close has something to fail with.
            tree.insert(key(1), [2; 900]).unwrap();
        }
        control.log_fails.store(true, SeqCst);
        let release = {
            let control = control.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                control.set(Write::Released);
            })
        };
        let closed = store.close();
        assert!(*control.write.lock().unwrap() == Write::Made, "closed before the write had ended: {closed:?}");
        release.join().unwrap();
        control.log_fails.store(false, SeqCst);
        let next = options(flushers).open(&dir).unwrap();
        let tree = next.tree("t").unwrap();
        fill(&tree, KEYS, 3);
        drop(tree);
        next.close().unwrap();
        reader.join().unwrap();
        let next = options(flushers).open(&dir).unwrap();
        let tree = next.tree("t").unwrap();
        assert!((0..KEYS).all(|n| tree.get(key(n)).unwrap().is_some_and(|value| value[0] == 3)));
    }
}
