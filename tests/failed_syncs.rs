//! Syncs that fail beside others that do not: no success of one makes good what another one lost (P9). And syncs that
//! never came, because the process ended before them: who opens the store next owes them.
//!
//! What a failed sync covered may be gone after a crash whatever later ones answer, so each story here ends in crashes from
//! many seeds: what is there then must be whole, and what was acknowledged must be there.

#![cfg(all(feature = "btree", feature = "sim"))]

mod support;

use pagebox::io::{Disk, DiskFile};
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::{Durability, Store, StoreOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::hooked::{Hook, HookedDisk, Target};

/// What a test does around the calls on the page file. Who calls is told by the thread's name.
trait Script: Send + Sync {
    /// After a write.
    fn written(&self, who: &str, bytes: &[u8]);
    /// In the place of a sync.
    fn sync(&self, who: &str, file: &dyn DiskFile) -> io::Result<()>;
}

/// The place of the script for the page file, once the store is open.
#[derive(Default)]
struct Stage(Mutex<Option<Arc<dyn Script>>>);

impl Stage {
    fn set(&self, script: Arc<dyn Script>) {
        *self.0.lock().unwrap() = Some(script);
    }

    fn script(&self, to: &Target) -> Option<Arc<dyn Script>> {
        if to.is_pages() { self.0.lock().unwrap().clone() } else { None }
    }
}

fn who() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

impl Hook for Stage {
    fn write(&self, to: &Target, buf: &[u8], offset: u64) -> io::Result<()> {
        to.file.write_at(buf, offset)?;
        if let Some(script) = self.script(to) {
            script.written(&who(), buf);
        }
        Ok(())
    }

    fn sync_data(&self, to: &Target) -> io::Result<()> {
        match self.script(to) {
            Some(script) => script.sync(&who(), &*to.file),
            None => to.file.sync_data(),
        }
    }

    fn sync_all(&self, to: &Target) -> io::Result<()> {
        match self.script(to) {
            Some(script) => script.sync(&who(), &*to.file),
            None => to.file.sync_all(),
        }
    }
}

/// Something that one thread brings about and another waits for.
#[derive(Default)]
struct Event(AtomicBool);

impl Event {
    fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Panics if it does not come: a thread that waits for ever says nothing.
    fn wait(&self) {
        assert!(self.comes_within(Duration::from_secs(20)), "the story has come to a halt");
    }

    fn comes_within(&self, time: Duration) -> bool {
        let started = Instant::now();
        while !self.is_set() && started.elapsed() < time {
            thread::sleep(Duration::from_micros(20));
        }
        self.is_set()
    }
}

/// How long a failing sync waits for one that would run beside it, and for what would come of that before anybody hears of
/// the failure. The gate lets none in: then this is all.
const BESIDE: Duration = Duration::from_millis(40);

/// A sync that fails, as the disk has it: what it covered may be lost.
fn failing(disk: &SimDisk, file: &dyn DiskFile) -> io::Result<()> {
    disk.set_faults(FaultPlan::new().fail(FaultOp::Sync, 1, io::ErrorKind::Other).only_in("pages"));
    let failed = file.sync_data();
    disk.set_faults(FaultPlan::new());
    failed
}

fn options(disk: Arc<dyn Disk>) -> StoreOptions {
    Store::options().page_size(4096).memory(4 << 20).durability(Durability::Sync).disk(disk)
}

fn as_thread<T: Send + 'static>(name: &str, f: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().name(name.into()).spawn(f).unwrap()
}

fn records() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..1000u32).map(|i| (i.to_be_bytes().to_vec(), vec![b'r'; 100]))
}

/// "lost" syncs what "kept" has written meanwhile, and fails; then "kept" syncs, with success if it is let.
struct TheOtherSucceeds {
    disk: SimDisk,
    begun: Event,
    written: Event,
    beside: Event,
    failed: Event,
    over: Event,
}

impl TheOtherSucceeds {
    fn new(disk: &SimDisk) -> Arc<TheOtherSucceeds> {
        let (begun, written, beside, failed, over) = Default::default();
        Arc::new(TheOtherSucceeds { disk: disk.clone(), begun, written, beside, failed, over })
    }
}

impl Script for TheOtherSucceeds {
    fn written(&self, who: &str, _: &[u8]) {
        if who == "kept" {
            self.written.set();
        }
    }

    fn sync(&self, who: &str, file: &dyn DiskFile) -> io::Result<()> {
        if who == "lost" && !self.begun.is_set() {
            self.begun.set();
            self.written.wait();
            let beside = self.beside.comes_within(BESIDE);
            let result = failing(&self.disk, file);
            self.failed.set();
            if beside {
                self.over.comes_within(BESIDE);
            }
            return result;
        }
        if who == "kept" {
            self.beside.set();
            self.failed.wait();
        }
        file.sync_data()
    }
}

/// A value is between its write and its sync when that of another value fails: its record must not come to refer to it.
#[test]
fn a_value_beside_one_whose_sync_fails() {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let stage = Arc::new(Stage::default());
        let store = options(Arc::new(HookedDisk::over(disk.clone(), stage.clone()))).open("/s").unwrap();
        let (lost, kept) = (store.tree("lost").unwrap(), store.tree("kept").unwrap());
        kept.insert("k", [b'1'; 20_000]).unwrap();
        let script = TheOtherSucceeds::new(&disk);
        stage.set(script.clone());
        let fails = as_thread("lost", move || lost.insert("k", [b'0'; 20_000]));
        script.begun.wait();
        let written = as_thread("kept", move || kept.insert("k", [b'2'; 20_000])).join().unwrap();
        script.over.set();
        assert!(fails.join().unwrap().is_err());
        let after = disk.crash(seed + 100);
        drop(store);
        let store = options(Arc::new(after)).open("/s").unwrap();
        let got = store.tree("kept").unwrap().get("k");
        let got = got.unwrap_or_else(|error| panic!("seed {seed}, insert {written:?}: {error}")).unwrap();
        assert_eq!(got.len(), 20_000);
        assert!(got[0] == b'2' || written.is_err() && got[0] == b'1', "seed {seed}: {written:?}, but {}", got[0]);
        assert!(written.is_err(), "seed {seed}: the store goes on after a failed sync");
    }
}

/// The checkpoint is between its writes in place and their sync when the load's sync fails, which covers them.
struct CheckpointSucceeds {
    disk: SimDisk,
    /// In the page whose write in place is waited for.
    mark: &'static [u8],
    leaves: Event,
    in_place: Event,
    failed: Event,
    over: Event,
}

impl Script for CheckpointSucceeds {
    fn written(&self, who: &str, bytes: &[u8]) {
        if who == "load" && !self.leaves.is_set() {
            self.leaves.set();
            self.in_place.wait();
        }
        // In place: not in the double-write area.
        if who == "checkpoint"
            && !bytes.starts_with(b"PBXdblwr")
            && bytes.windows(self.mark.len()).any(|at| at == self.mark)
        {
            self.in_place.set();
            self.failed.wait();
        }
    }

    fn sync(&self, who: &str, file: &dyn DiskFile) -> io::Result<()> {
        if who == "load" && !self.failed.is_set() {
            let result = failing(&self.disk, file);
            self.failed.set();
            self.over.comes_within(BESIDE);
            return result;
        }
        file.sync_data()
    }
}

/// Marked clean, and the log before it given up, a page would be lost with what was acknowledged of it.
#[test]
fn a_checkpoint_beside_a_load_whose_sync_fails() {
    let mut went_on = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let stage = Arc::new(Stage::default());
        let store = options(Arc::new(HookedDisk::over(disk.clone(), stage.clone()))).open("/s").unwrap();
        let (tree, load) = (store.tree("t").unwrap(), store.tree("load").unwrap());
        tree.insert("x", "old").unwrap();
        store.checkpoint().unwrap();
        tree.insert("x", "a new value").unwrap();
        let (leaves, in_place, failed, over) = Default::default();
        let script =
            Arc::new(CheckpointSucceeds { disk: disk.clone(), mark: b"a new value", leaves, in_place, failed, over });
        stage.set(script.clone());
        let loader = as_thread("load", move || load.bulk_load(records()));
        script.leaves.wait();
        let other = store.clone();
        let made = as_thread("checkpoint", move || other.checkpoint()).join().unwrap();
        script.over.set();
        assert!(loader.join().unwrap().is_err());
        let after = disk.crash(seed + 100);
        drop((tree, store));
        let store =
            options(Arc::new(after)).open("/s").unwrap_or_else(|error| panic!("seed {seed}, {made:?}: {error}"));
        let got = store.tree("t").unwrap().get("x").unwrap_or_else(|error| panic!("seed {seed}, {made:?}: {error}"));
        assert_eq!(got.as_deref(), Some(&b"a new value"[..]), "seed {seed}, checkpoint {made:?}");
        store.check().unwrap();
        went_on += u32::from(made.is_ok());
    }
    assert_eq!(went_on, 0, "checkpoints that took pages for clean that may be lost");
}

/// What becomes of the sync that is to make a new store's name durable.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// It never comes: the process has ended.
    Killed,
    /// It fails.
    Fails,
}

/// A creation ends once `at`, or what is in it, got its name.
#[derive(Debug)]
struct Ends {
    disk: SimDisk,
    at: &'static str,
    ending: Ending,
    over: AtomicBool,
}

impl Ends {
    fn named(&self, path: &Path) {
        if path == Path::new(self.at) {
            self.over.store(true, Ordering::SeqCst);
        }
    }
}

impl Hook for Ends {
    fn create_dir(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk.create_dir(path)?;
        self.named(path);
        Ok(())
    }

    fn rename(&self, disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
        disk.rename(from, to)?;
        self.named(to);
        Ok(())
    }

    fn sync_dir(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        if self.over.load(Ordering::SeqCst) {
            match self.ending {
                Ending::Killed => panic!("the process ends here"),
                Ending::Fails => {
                    self.disk.set_faults(FaultPlan::new().fail(FaultOp::SyncDir, 1, io::ErrorKind::Other));
                }
            }
        }
        disk.sync_dir(dir)
    }
}

/// A creation ends before a name is durable. Opened again before any crash, it is a store like any other: what is answered
/// with `Ok` then must survive one.
fn a_creation_that_ends(at: &'static str, ending: Ending) {
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let ends = Arc::new(Ends { disk: disk.clone(), at, ending, over: AtomicBool::new(false) });
        let hooked = HookedDisk::over(disk.clone(), ends.clone());
        let ended = as_thread("creation", move || options(Arc::new(hooked)).open("/dir/s").map(drop)).join();
        assert!(ends.over.load(Ordering::SeqCst) && !matches!(ended, Ok(Ok(()))), "{at}");
        disk.set_faults(FaultPlan::new());
        let store = options(Arc::new(disk.clone())).open("/dir/s").unwrap();
        store.tree("t").unwrap().insert("k", "v").unwrap();
        let after = options(Arc::new(disk.crash(seed + 100))).create(false);
        drop(store);
        let store = after.open("/dir/s").unwrap_or_else(|error| panic!("{at}, seed {seed}: {error}"));
        assert_eq!(store.tree("t").unwrap().get("k").unwrap().as_deref(), Some(&b"v"[..]), "{at}, seed {seed}");
    }
}

#[test]
fn a_creation_that_ended_before_its_name_was_durable() {
    a_creation_that_ends("/dir/s/pages", Ending::Killed);
}

#[test]
fn a_creation_that_ended_before_its_directory_was_durable() {
    a_creation_that_ends("/dir/s", Ending::Killed);
    a_creation_that_ends("/dir", Ending::Killed);
}

#[test]
fn a_creation_whose_name_could_not_be_made_durable() {
    a_creation_that_ends("/dir/s/pages", Ending::Fails);
}
