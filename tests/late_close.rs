//! A close that fails lets go of the directory only when nobody writes to it any more: a reader may be in the middle of an eviction, and
//! who waits for a sync point in the middle of writing the log. And it does let go of it.

#![cfg(feature = "btree")]

mod support;

use pagebox::io::FileDisk;
use pagebox::{Durability, Error, Store, StoreOptions, Tree};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use support::hooked::{Hook, HookedDisk, Target};

const KEYS: u32 = 3000;

/// The names of the threads of which one write is held up: of a page, of the log.
const READER: &str = "reader";
const SYNCER: &str = "syncer";

#[derive(Debug, Default)]
struct Control {
    /// The next write of `READER` or `SYNCER` is to be held up.
    armed: AtomicBool,
    /// The log cannot be written or synced.
    log_fails: AtomicBool,
    /// Pages cannot be synced.
    pages_fail: AtomicBool,
    /// The log's next sync panics.
    log_panics: AtomicBool,
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

    /// Returns when a write is held up.
    fn wait(&self) {
        drop(self.changed.wait_while(self.write.lock().unwrap(), |write| *write == Write::None).unwrap());
    }

    fn release_soon(self: Arc<Control>) -> JoinHandle<()> {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            self.set(Write::Released);
        })
    }

    fn set(&self, to: Write) {
        *self.write.lock().unwrap() = to;
        self.changed.notify_all();
    }
}

impl Control {
    fn log_is_well(&self, to: &Target) -> io::Result<()> {
        let fails = self.log_fails.load(SeqCst) && to.is_log();
        if fails { Err(io::Error::other("broken")) } else { Ok(()) }
    }
}

impl Hook for Control {
    fn write(&self, to: &Target, buf: &[u8], offset: u64) -> io::Result<()> {
        self.log_is_well(to)?;
        // Behind the superblocks and the slot in the page file.
        let is_page = to.is_pages() && offset >= 2 << 20;
        let is_its = match std::thread::current().name() {
            Some(READER) => is_page,
            Some(SYNCER) => to.is_log(),
            _ => false,
        };
        let held = is_its && self.armed.swap(false, SeqCst);
        if held {
            self.hold_up();
        }
        let written = to.file.write_at(buf, offset);
        if held {
            self.set(Write::Made);
        }
        written
    }
    fn sync_data(&self, to: &Target) -> io::Result<()> {
        self.log_is_well(to)?;
        assert!(!(to.is_log() && self.log_panics.swap(false, SeqCst)), "the medium's own bug");
        if self.pages_fail.load(SeqCst) && to.is_pages() {
            return Err(io::Error::other("broken"));
        }
        to.file.sync_data()
    }
    fn sync_all(&self, to: &Target) -> io::Result<()> {
        self.log_is_well(to)?;
        to.file.sync_all()
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

/// A store on a disk under control, and a tree.
fn open(dir: &Path, flushers: usize) -> (Arc<Control>, Store, Tree) {
    let control = Arc::new(Control::default());
    let disk = HookedDisk::over(FileDisk::new(), control.clone());
    let store = options(flushers).disk(Arc::new(disk)).open(dir).unwrap();
    let tree = store.tree("t").unwrap();
    (control, store, tree)
}

#[test]
fn no_write_of_a_store_whose_close_failed_lands_in_the_next_session() {
    for flushers in [1, 2] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        let (control, store, tree) = open(&dir, flushers);
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
        control.wait();
        if flushers == 2 {
            assert!(writer.join().unwrap(), "there is another buffer");
            // The close has something to fail with.
            tree.insert(key(1), [2; 900]).unwrap();
        }
        control.log_fails.store(true, SeqCst);
        let release = control.clone().release_soon();
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

#[test]
fn no_write_of_the_log_of_a_store_whose_close_failed_lands_in_the_next_session() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("s");
    let (control, store, tree) = open(&dir, 1);
    fill(&tree, 100, 1);
    store.sync().unwrap();
    control.armed.store(true, SeqCst);
    // Until it is this thread that writes the log, and not one of the background.
    let waits = {
        let (store, tree) = (store.clone(), tree.clone());
        move || while tree.insert(key(1), [2; 900]).is_ok() && store.sync_async().wait().is_ok() {}
    };
    let syncer = std::thread::Builder::new().name(SYNCER.into()).spawn(waits).unwrap();
    control.wait();
    // Somebody else finds out that pages cannot be synced, and so that the log is not to go on.
    control.pages_fail.store(true, SeqCst);
    assert!(tree.insert(b"large", vec![7; 100_000]).is_err());
    let release = control.clone().release_soon();
    let closed = store.close();
    assert!(*control.write.lock().unwrap() == Write::Made, "closed before the write had ended: {closed:?}");
    release.join().unwrap();
    syncer.join().unwrap();
    control.pages_fail.store(false, SeqCst);
    drop(tree);
    let next = options(1).open(&dir).unwrap();
    let tree = next.tree("t").unwrap();
    fill(&tree, 100, 3);
    next.sync().unwrap();
    assert!((0..100).all(|n| tree.get(key(n)).unwrap().is_some_and(|value| value[0] == 3)));
    assert!(next.check().is_ok());
}

#[test]
fn a_close_in_which_the_medium_panics_lets_go_of_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("s");
    let (control, store, tree) = open(&dir, 1);
    fill(&tree, 100, 1);
    store.sync().unwrap();
    fill(&tree, 10, 2);
    control.log_panics.store(true, SeqCst);
    let closing = store.clone();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| closing.close())).is_err());
    // There are handles still.
    let next = options(1).open(&dir).unwrap();
    assert!((0..100).all(|n| next.tree("t").unwrap().get(key(n)).unwrap().is_some()));
    assert!(next.check().is_ok());
    assert!(matches!(tree.get(key(1)), Err(Error::Closed)) && matches!(store.close(), Err(Error::Closed)));
}
