//! The buffer pool alone, over pages in memory: a hit by hint, a hit by page id, a miss that evicts a clean page, a miss
//! whose victims have to be written first; by page size.
//!
//! ```text
//! cargo bench --bench pool
//! ```

use divan::{Bencher, black_box, counter::ItemsCount};
use pagebox::page::slotted::{Content, SlottedPageMut};
use pagebox::pool::{BufferPool, MemPageStore, NoLog, PoolOptions};
use pagebox::swip::{AtomicSwip, Swip};
use pagebox::{FrameId, Lsn, PageId, SizeClass, TreeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SIZES: [usize; 3] = [4096, 16384, 65536];
const THREADS: [usize; 2] = [1, 2];
/// Frames of a pool whose pages do not all fit, about.
const FRAMES: usize = 256;

fn main() {
    divan::main();
}

struct Pages {
    pool: BufferPool,
    /// References as a parent would hold them, their hints right when the page was made.
    swips: Vec<AtomicSwip>,
    next: AtomicU64,
}

/// A pool of `frames` frames or a few less, and `count` leaves made in it.
fn pages(page_size: usize, frames: usize, count: usize) -> Pages {
    let options = PoolOptions::default().memory(PoolOptions::floor(page_size) + frames * (page_size + 256));
    let store = Arc::new(MemPageStore::new(page_size));
    let pool = BufferPool::new(store, Arc::new(NoLog), options).expect("a pool");
    let content = Content::empty_leaf(TreeId::new(1));
    let content = Content::parse(&content).expect("a content");
    let swips = (0..count)
        .map(|_| {
            let new = pool.reserve(SizeClass::ZERO).expect("a place");
            let (id, frame) = (new.id(), new.frame());
            let gate = pool.allocator().enter();
            let mut page = new.into_page();
            page.begin_change(Lsn::NONE);
            SlottedPageMut::new(page.writer()).init(id, &content).expect("init");
            page.finish_change(Lsn::NONE);
            pool.allocator().apply_allocation(&gate, id, SizeClass::ZERO);
            AtomicSwip::new(Swip::with_frame(id, SizeClass::ZERO, frame))
        })
        .collect();
    Pages { pool, swips, next: AtomicU64::new(0) }
}

impl Pages {
    /// The next reference, round and round.
    fn next(&self) -> &AtomicSwip {
        &self.swips[self.next.fetch_add(1, Relaxed) as usize % self.swips.len()]
    }

    fn next_id(&self) -> PageId {
        self.next().load().page()
    }
}

/// The hint is right: what a descent does at every level.
#[divan::bench(args = SIZES, threads = THREADS, sample_size = 1000)]
fn hit_by_hint(bencher: Bencher, page_size: usize) {
    let pages = pages(page_size, FRAMES, FRAMES / 2);
    bencher.counter(ItemsCount::new(1u32)).with_inputs(|| pages.next()).bench_values(|swip| {
        let view = pages.pool.view(swip).expect("a page");
        black_box(view.reader().u64(16)).is_ok() && view.validate().is_ok()
    });
}

/// The hint is wrong: the page table knows the frame, and the hint is repaired.
#[divan::bench(args = SIZES, threads = THREADS, sample_size = 1000)]
fn hit_by_table(bencher: Bencher, page_size: usize) {
    let pages = pages(page_size, FRAMES, FRAMES / 2);
    bencher.counter(ItemsCount::new(1u32)).with_inputs(|| pages.next_id()).bench_values(|id| {
        let swip = AtomicSwip::new(Swip::with_frame(id, SizeClass::ZERO, FrameId::NONE));
        pages.pool.view(&swip).expect("a page").validate().is_ok()
    });
}

/// By page id under the shared latch.
#[divan::bench(args = SIZES, threads = THREADS, sample_size = 1000)]
fn hit_latched(bencher: Bencher, page_size: usize) {
    let pages = pages(page_size, FRAMES, FRAMES / 2);
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| pages.next_id())
        .bench_values(|id| pages.pool.shared(id, SizeClass::ZERO).expect("a page").id());
}

/// Four times the frames, round and round: every page was evicted since, and takes the place of a clean one.
#[divan::bench(args = SIZES, threads = THREADS, sample_size = 100)]
fn miss_and_evict_clean(bencher: Bencher, page_size: usize) {
    let pages = pages(page_size, FRAMES, FRAMES * 4);
    // All have been written back once they have left once.
    for swip in &pages.swips {
        let _ = pages.pool.view(swip).expect("a page");
    }
    let before = pages.pool.stats().misses;
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| pages.next_id())
        .bench_values(|id| pages.pool.shared(id, SizeClass::ZERO).expect("a page").id());
    assert!(pages.pool.stats().misses > before, "pages were not evicted");
}

/// The same, and each page is changed: victims are copied, checksummed and written (to memory) in batches.
#[divan::bench(args = SIZES, threads = THREADS, sample_size = 100)]
fn miss_and_evict_dirty(bencher: Bencher, page_size: usize) {
    let pages = pages(page_size, FRAMES, FRAMES * 4);
    bencher.counter(ItemsCount::new(1u32)).with_inputs(|| pages.next_id()).bench_values(|id| {
        let mut page = pages.pool.exclusive(id, SizeClass::ZERO).expect("a page");
        page.begin_change(Lsn::NONE);
        page.finish_change(Lsn::NONE);
    });
}

/// A place and a frame for a new page, and both given back.
#[divan::bench(args = SIZES, threads = THREADS, sample_size = 1000)]
fn reserve(bencher: Bencher, page_size: usize) {
    let pages = pages(page_size, FRAMES, 1);
    bencher.counter(ItemsCount::new(1u32)).bench(|| drop(pages.pool.reserve(SizeClass::ZERO).expect("a place")));
}
