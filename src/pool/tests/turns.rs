//! Two write pages at once, a third makes checkpoints, a fourth syncs ahead or gives room up, and the power goes off at any moment:
//! under shuttle, on the page store's own code, with every lock and every call of the disk a point where another thread may go on.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --release --no-default-features --features btree,sim \
//!     --lib shuttle_
//! ```

use super::copies::{SLOT_BYTES, file, open_files, page, read, write};
use super::*;
use crate::io::DiskFile;
use crate::page::bytes::PageWriter;
use crate::sim::SimDisk;
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use std::collections::HashMap;
use std::io;
use std::sync::Mutex as Plain;

/// Pages of each of the two who write.
const EACH: u64 = 3;
const BATCHES: usize = 6;
const CHECKPOINTS: usize = 3;
const CRASHES: usize = 8;

/// A file where others may go on before a call and behind it.
#[derive(Debug)]
struct Pausing(Arc<dyn DiskFile>);

impl Pausing {
    fn pausing<T>(&self, call: impl FnOnce(&dyn DiskFile) -> T) -> T {
        crate::sync::point();
        let answer = call(&*self.0);
        crate::sync::point();
        answer
    }
}

impl DiskFile for Pausing {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn read_page(&self, page: &mut PageWriter<'_>, offset: u64) -> io::Result<usize> {
        self.0.read_page(page, offset)
    }
    fn is_direct(&self) -> bool {
        self.0.is_direct()
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.pausing(|file| file.write_at(buf, offset))
    }
    fn write_at_sync(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.pausing(|file| file.write_at_sync(buf, offset))
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pausing(|file| file.set_len(len))
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.pausing(|file| file.allocate(offset, len))
    }
    fn sync_data(&self) -> io::Result<()> {
        // A sync takes long: others write several batches meanwhile, what it covers and what it does not.
        let pause = || (0..shuttle::rand::thread_rng().gen_range(0..60)).for_each(|_| crate::sync::point());
        pause();
        let synced = self.0.sync_data();
        pause();
        synced
    }
    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// What a superblock says: redo LSN, retired batch, and for the test the LSN that each page had.
#[derive(Clone, Default)]
struct Saved {
    redo: u64,
    retired: u64,
    pages: HashMap<u64, u64>,
}

struct Bed {
    disk: SimDisk,
    slots: usize,
    store: FilePageStore,
    /// As the pool's flushers: each turn has one of them, a floor is raised under both.
    turns: [Mutex<()>; 2],
    // Not the checker's.
    lsn: Plain<u64>,
    now: Plain<HashMap<u64, u64>>,
    saved: Plain<Saved>,
}

impl Bed {
    fn new() -> Bed {
        let mut rng = shuttle::rand::thread_rng();
        let disk = SimDisk::new(rng.r#gen());
        disk.set_direct(rng.r#gen());
        let slots = [1, 1, 2, 3, 5, 7][rng.gen_range(0..6)];
        let files = ["/pages", "/copies"].map(|name| Arc::new(Pausing(file(&disk, name))) as Arc<dyn DiskFile>);
        let store = open_files(files, slots, SLOT_BYTES, (1, 0, false));
        let turns = [Mutex::new(()), Mutex::new(())];
        let (now, saved) = (Plain::default(), Plain::default());
        let bed = Bed { disk, slots, store, turns, lsn: Plain::new(1), now, saved };
        (0..2 * EACH).for_each(|n| bed.write(&[n], true, false));
        bed.checkpoint();
        bed
    }

    /// Without a change: a page may stay dirty for no more than that somebody had its latch.
    fn write(&self, pages: &[u64], changed: bool, again: bool) {
        let lsns: Vec<(u64, u64)> = pages
            .iter()
            .map(|&n| {
                let mut lsn = self.lsn.lock().unwrap();
                *lsn += u64::from(changed);
                (n, if changed { *lsn } else { self.now.lock().unwrap()[&n] })
            })
            .collect();
        write(&self.store, &lsns, again);
        self.now.lock().unwrap().extend(lsns);
    }

    fn turn(&self, who: usize) {
        let _turn = self.turns[who].lock();
        let first = shuttle::rand::thread_rng().gen_range(0..EACH);
        let more = shuttle::rand::thread_rng().gen_range(1..=2);
        let pages: Vec<u64> = (first..first + more).map(|n| who as u64 * EACH + n % EACH).collect();
        self.write(&pages, shuttle::rand::thread_rng().r#gen(), shuttle::rand::thread_rng().r#gen());
    }

    fn checkpoint(&self) {
        let (redo, pages) = {
            let _turns = self.turns.each_ref().map(Mutex::lock);
            let redo = *self.lsn.lock().unwrap();
            self.store.raise_floor(Lsn::new(redo));
            (redo, self.now.lock().unwrap().clone())
        };
        self.store.sync().unwrap();
        let retired = self.store.completed_batch();
        crate::sync::point();
        *self.saved.lock().unwrap() = Saved { redo, retired, pages };
    }

    fn help(&self) {
        if shuttle::rand::thread_rng().gen_range(0..6) == 0 {
            self.store.give_room().unwrap();
        } else {
            self.store.sync_ahead().unwrap();
        }
    }

    /// What a crash at this moment leaves is whole, and not older than where redo begins.
    fn crash(&self) {
        crate::sync::point();
        let (disk, saved) = {
            let saved = self.saved.lock().unwrap();
            (self.disk.crash(shuttle::rand::thread_rng().r#gen()), saved.clone())
        };
        let files = ["/pages", "/copies"].map(|name| file(&disk, name));
        let store = open_files(files, self.slots, SLOT_BYTES, (saved.redo, saved.retired, false));
        for (n, least) in saved.pages {
            let found = read(&store, n).unwrap_or_else(|error| panic!("P7, P11: {:?}: {error}", page(n)));
            assert!(found >= least, "P11: {:?} of {found}, redo begins behind {least}", page(n));
        }
    }
}

fn run(scheduler: impl Scheduler + 'static) {
    let mut config = shuttle::Config::new();
    config.stack_size = 256 << 10;
    config.silence_warnings = true;
    shuttle::Runner::new(scheduler, config).run(|| {
        let bed = Arc::new(Bed::new());
        let spawn = |times: usize, does: fn(&Bed, usize), who: usize| {
            let bed = bed.clone();
            shuttle::thread::spawn(move || (0..times).for_each(|_| does(&bed, who)))
        };
        let threads = [
            spawn(BATCHES, Bed::turn, 0),
            spawn(BATCHES, Bed::turn, 1),
            spawn(CHECKPOINTS, |bed, _| bed.checkpoint(), 0),
            spawn(BATCHES, |bed, _| bed.help(), 0),
            spawn(CRASHES, |bed, _| bed.crash(), 0),
        ];
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        bed.crash();
    });
}

#[test]
fn shuttle_two_turns_beside_checkpoints_and_crashes() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number in the environment"))
    };
    let (rounds, seed) = (number("MODEL_ROUNDS", 1000) as usize, number("MODEL_SEED", 1));
    run(RandomScheduler::new_from_seed(seed, rounds));
    for depth in [2, 4] {
        run(PctScheduler::new_from_seed(seed, depth, rounds));
    }
}
