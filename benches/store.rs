//! The store's first figures: reads, writes and walks on a million records of 24-byte keys and 150-byte values, resident
//! and in a tenth of their memory; and durable commits beside a bare loop of synced writes on the same disk.
//!
//! ```text
//! cargo bench --bench store
//! cargo bench --bench store -- durable
//! ```

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use pagebox::io::FileDisk;
use pagebox::wal::{RecordBuilder, Wal, WalOptions};
use pagebox::{Durability, PageId, PageKind, SizeClass, Store, Tree};
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

#[path = "../tests/support/rng.rs"]
#[allow(dead_code)]
mod rng;

const RECORDS: u64 = 1_000_000;
const KEY: usize = 24;
const VALUE: usize = 150;

fn main() {
    divan::main();
}

/// The memory the store has.
#[derive(Clone, Copy, Debug)]
enum Memory {
    /// All records are resident.
    Ample,
    /// A tenth of the records' bytes.
    Tenth,
}

const BOTH: [Memory; 2] = [Memory::Ample, Memory::Tenth];

struct Loaded {
    // Dropped before the directory.
    tree: Tree,
    _store: Store,
    _dir: TempDir,
    next: AtomicU64,
}

fn key(n: u64) -> [u8; KEY] {
    let mut key = [0; KEY];
    for (i, word) in key.chunks_mut(8).enumerate() {
        word.copy_from_slice(&rng::mix(n * 3 + i as u64).to_be_bytes());
    }
    key
}

fn value(n: u64) -> [u8; VALUE] {
    let mut value = [0; VALUE];
    for (i, word) in value.chunks_mut(8).enumerate() {
        word.copy_from_slice(&rng::mix(!n ^ (i as u64) << 40).to_le_bytes()[..word.len()]);
    }
    value
}

/// The store with a million records, loaded when first needed.
fn loaded(memory: Memory) -> &'static Loaded {
    static STORES: [OnceLock<Loaded>; 2] = [OnceLock::new(), OnceLock::new()];
    STORES[memory as usize].get_or_init(|| {
        let data = RECORDS as usize * (KEY + VALUE);
        let bytes = match memory {
            Memory::Ample => data * 4,
            Memory::Tenth => data / 10,
        };
        let dir = tempfile::tempdir().expect("a directory");
        let options = Store::options().memory(bytes).durability(Durability::Manual);
        let store = options.open(dir.path()).expect("a store");
        let tree = store.tree("bench").expect("a tree");
        for n in 0..RECORDS {
            tree.insert(key(n), value(n)).expect("insert");
        }
        store.checkpoint().expect("checkpoint");
        Loaded { tree, _store: store, _dir: dir, next: AtomicU64::new(RECORDS) }
    })
}

/// Uniformly random point reads, the value copied out.
#[divan::bench(args = BOTH, threads = [1, 2], sample_count = 50, sample_size = 2000)]
fn get(bencher: Bencher, memory: Memory) {
    let store = loaded(memory);
    let seed = AtomicU64::new(1);
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| rng::mix(seed.fetch_add(1, Ordering::Relaxed)) % RECORDS)
        .bench_values(|n| {
            let mut out = Vec::with_capacity(VALUE);
            assert!(store.tree.get_into(key(n), &mut out).expect("get"));
            black_box(out.len())
        });
}

/// New keys at random places, not synced.
#[divan::bench(args = BOTH, threads = [1, 2], sample_count = 50, sample_size = 1000)]
fn insert(bencher: Bencher, memory: Memory) {
    let store = loaded(memory);
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| store.next.fetch_add(1, Ordering::Relaxed))
        .bench_values(|n| store.tree.insert(key(n), value(n)).expect("insert"));
}

/// Ten thousand records from a random key on.
#[divan::bench(args = BOTH, sample_count = 20, sample_size = 1)]
fn scan(bencher: Bencher, memory: Memory) {
    const LENGTH: u32 = 10_000;
    let store = loaded(memory);
    let seed = AtomicU64::new(1);
    // Keys from the lower half, so that there are enough after them.
    let start = || {
        let mut key = key(seed.fetch_add(1, Ordering::Relaxed));
        key[0] /= 2;
        key
    };
    bencher.counter(ItemsCount::new(LENGTH)).with_inputs(start).bench_values(|start| {
        let (mut left, mut bytes) = (LENGTH, 0);
        let visit = |_: &[u8], value: &[u8]| {
            bytes += value.len();
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.tree.scan(start.., visit).expect("scan");
        assert_eq!(left, 0);
        black_box(bytes)
    });
}

/// One insert, durable when it returns: to be read beside `synced_write`.
#[divan::bench(threads = [1, 16], sample_count = 50, sample_size = 50)]
fn durable_commit(bencher: Bencher) {
    static STORE: OnceLock<(TempDir, Store, Tree)> = OnceLock::new();
    let (_, _, tree) = STORE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let tree = store.tree("bench").expect("a tree");
        (dir, store, tree)
    });
    static NEXT: AtomicU64 = AtomicU64::new(0);
    bencher
        .counter(ItemsCount::new(1u32))
        .with_inputs(|| NEXT.fetch_add(1, Ordering::Relaxed))
        .bench_values(|n| tree.insert(key(n), value(n)).expect("insert"));
}

/// One record of the size that an insert logs, appended and not synced; the syncs that make room are among the figures.
#[divan::bench(sample_count = 100, sample_size = 1000)]
fn log_append(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = WalOptions::default();
    let log = Wal::create(Arc::new(FileDisk::new()), &dir.path().join("wal"), 1, 1, options).expect("a log");
    let mut buffer = Vec::new();
    let mut record = RecordBuilder::new(&mut buffer);
    record.begin_part(PageKind::FIRST_USER, 1, SizeClass::ZERO, false, PageId::new(9));
    record.extend_from_slice(&[7; KEY + VALUE]);
    let record = record.finish();
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        let permit = log.reserve(record.len()).expect("log space");
        let lsn = log.append(permit, record);
        // As a checkpoint would: nothing is needed any more.
        if lsn.get() % (1 << 22) < record.len() as u64 {
            log.commit(lsn).expect("commit");
            log.release_below(lsn).expect("release");
        }
        lsn
    });
}

/// The floor: 4 KiB written over zero-filled space of a file, and synced, by one thread.
#[divan::bench(sample_count = 50, sample_size = 50)]
fn synced_write(bencher: Bencher) {
    const BLOCK: usize = 4096;
    const BLOCKS: u64 = 4096;
    let dir = tempfile::tempdir().expect("a directory");
    let file = File::create_new(dir.path().join("f")).expect("a file");
    file.write_all_at(&vec![0; BLOCK * BLOCKS as usize], 0).and_then(|()| file.sync_all()).expect("zeros");
    let next = AtomicU64::new(0);
    bencher.counter(BytesCount::new(BLOCK)).with_inputs(|| next.fetch_add(1, Ordering::Relaxed) % BLOCKS).bench_values(
        |n| {
            file.write_all_at(&[n as u8; BLOCK], n * BLOCK as u64)
                .and_then(|()| file.sync_data())
                .expect("a synced write");
        },
    );
}
