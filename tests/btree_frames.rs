//! More threads than frames, all at the same step: nobody holds a frame while it waits for another.

mod btree_support;

use btree_support::MemLog;
use pagebox::btree::{BTree, LogRoom, RedoLog};
use pagebox::pool::{BufferPool, MemPageStore, NoLog, PageImage, PageStore, PoolOptions};
use pagebox::{Lsn, PageId, Result, SizeClass, TreeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const THREADS: usize = 40;

/// A log that counts who has reserved room in it.
#[derive(Default)]
struct Counting {
    log: MemLog,
    reserved: AtomicUsize,
}

impl RedoLog for Counting {
    fn reserve(&self, bytes: usize) -> Result<LogRoom<'_>> {
        self.reserved.fetch_add(1, Ordering::SeqCst);
        self.log.reserve(bytes)
    }
    fn append(&self, room: LogRoom<'_>, record: &[u8]) -> Lsn {
        self.log.append(room, record)
    }
    fn position(&self) -> Lsn {
        self.log.position()
    }
    fn max_record_bytes(&self) -> usize {
        self.log.max_record_bytes()
    }
}

/// Pages in memory; the first read waits until everybody is on the way.
struct Slow {
    inner: MemPageStore,
    waited: AtomicBool,
    log: Arc<Counting>,
}

impl PageStore for Slow {
    fn page_size(&self) -> usize {
        PAGE
    }
    fn first_page(&self) -> PageId {
        self.inner.first_page()
    }
    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        if !self.waited.swap(true, Ordering::SeqCst) {
            let started = Instant::now();
            while self.log.reserved.load(Ordering::SeqCst) < THREADS && started.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.inner.read(id, out)
    }
    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        self.inner.write_batch(buffer, images)
    }
    fn grow(&self, from: PageId, end: PageId) -> Result<()> {
        self.inner.grow(from, end)
    }
    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.inner.write_unlogged(start, bytes)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

fn key(i: usize) -> Vec<u8> {
    format!("{i:04}").into_bytes()
}

#[test]
fn trees_are_created_by_more_threads_than_there_are_frames() {
    let log = Arc::new(Counting::default());
    let store = Arc::new(Slow { inner: MemPageStore::new(PAGE), waited: AtomicBool::new(true), log: log.clone() });
    let options = PoolOptions::default().memory(PoolOptions::floor(PAGE)).wait(Duration::from_secs(2));
    let pool = || Arc::new(BufferPool::new(store.clone(), Arc::new(NoLog), options.clone()).unwrap());
    // A list of two levels, on disk only.
    let made = pool();
    let (list, _) = BTree::create(made.clone(), Some(log.clone()), TreeId::CATALOG).unwrap();
    for i in 0..THREADS * 3 {
        list.insert(&key(i), &[7; 300]).unwrap();
    }
    made.flush_all().unwrap();
    let pool = pool();
    assert!(pool.capacity_pages() < THREADS);
    pool.allocator().restore(&made.allocator().snapshot(|| log.position()), &[]).unwrap();
    let list = BTree::open(pool.clone(), Some(log.clone()), TreeId::CATALOG, list.root());
    assert!(!pool.is_resident(list.root()));
    log.reserved.store(0, Ordering::SeqCst);
    store.waited.store(false, Ordering::SeqCst);
    let made: Vec<Result<PageId>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|i| {
                let list = &list;
                let id = TreeId::new(100 + i as u32);
                let name = [key(i * 3), b"+".to_vec()].concat();
                scope.spawn(move || {
                    list.create_in(&name, id, |root| root.get().to_le_bytes().to_vec()).map(|(tree, _)| tree.root())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (i, root) in made.into_iter().enumerate() {
        let root = root.unwrap_or_else(|error| panic!("thread {i}: {error}"));
        let entry = list.get(&[key(i * 3), b"+".to_vec()].concat()).unwrap().unwrap();
        assert_eq!(entry, root.get().to_le_bytes());
        pool.shared(root, SizeClass::ZERO).unwrap();
    }
}
