//! How stores live and end: handles, callbacks, poison, durability modes, sync points, checkpoints under pressure.

use pagebox::sim::{FaultOp, FaultPlan, SimDisk};
use pagebox::{Batch, Durability, Error, Progress, Result, Store, StoreOptions, Tree};
use std::future::Future;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

fn small() -> StoreOptions {
    Store::options().page_size(4096).memory(1 << 20).max_log_bytes(4 << 20)
}

fn sim(disk: &SimDisk) -> StoreOptions {
    small().disk(Arc::new(disk.clone()))
}

#[test]
fn the_last_handle_closes_whatever_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let open = || small().open(temp.path());
    let is_locked = || matches!(open(), Err(Error::Locked { .. }));
    // A tree.
    let store = open().unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("a", "b").unwrap();
    drop(store);
    assert!(is_locked());
    assert_eq!(tree.get("a").unwrap().as_deref(), Some(&b"b"[..]));
    // A range.
    let range = tree.iter();
    drop(tree);
    assert!(is_locked());
    assert_eq!(range.count(), 1);
    // A sync point.
    let store = open().unwrap();
    assert_eq!(store.stats().recovered_records, 0, "dropping the last handle closes cleanly");
    let point = store.sync_async();
    drop(store);
    assert!(is_locked());
    point.wait().unwrap();
    // A batch holds the trees it names.
    let store = open().unwrap();
    let mut batch = Batch::new();
    batch.remove(&store.tree("t").unwrap(), "a");
    drop(store);
    assert!(is_locked());
    batch.clear();
    assert!(!is_locked());
}

#[test]
fn callbacks_may_use_the_store_but_not_close_it() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("a", "1").unwrap();
    let refused = |store: &Store| matches!(store.clone().close(), Err(Error::InvalidOption { option: "close", .. }));
    tree.get_with("a", |value| {
        tree.insert("b", value).unwrap();
        assert!(refused(&store));
    })
    .unwrap();
    let mut seen = 0;
    tree.scan(.., |key, _| {
        seen += 1;
        tree.insert([b"x", key].concat(), "").unwrap();
        assert!(refused(&store));
        if seen < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap();
    let before = tree.fetch_update("a", |value| {
        // Somebody else is faster the first time: it runs again.
        if value == Some(b"1") {
            tree.insert("a", "2").unwrap();
        }
        assert!(refused(&store));
        value.map(|value| [value, b"!"].concat())
    });
    assert_eq!(before.unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(tree.get("a").unwrap().as_deref(), Some(&b"2!"[..]));
    tree.get_many(&["a", "none"], |_, _| assert!(refused(&store))).unwrap();
    // A panic in a callback leaves nothing behind.
    let caught =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tree.get_with("a", |_| panic!("user's own"))));
    assert!(caught.is_err());
    tree.insert("c", "3").unwrap();
    store.check().unwrap();
    drop(tree);
    store.close().unwrap();
}

/// What a thread keeps for itself ends with it in the opposite order of its beginning: the engine's before the caller's.
#[test]
fn the_destructor_of_a_thread_local_may_use_the_store() {
    struct Last(Option<(Tree, mpsc::Sender<Result<bool>>)>);
    impl Drop for Last {
        fn drop(&mut self) {
            let (tree, done) = self.0.take().unwrap();
            // Splits, a callback and a commit, as at any other time.
            let all = (0..200u32).try_for_each(|n| tree.insert(n.to_be_bytes(), [1; 500]).map(|_| ()));
            let seen = tree.get_with(7u32.to_be_bytes(), |value| tree.contains_key(value));
            let sum = tree.scan(.., |_, _| ControlFlow::Continue(()));
            done.send(all.and(sum).and(seen.map(|found| found.is_some()))).unwrap();
        }
    }
    thread_local!(static LAST: std::cell::RefCell<Last> = const { std::cell::RefCell::new(Last(None)) });
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let (done, told) = mpsc::channel();
    std::thread::spawn(move || {
        LAST.with_borrow_mut(|last| last.0 = Some((tree.clone(), done)));
        tree.insert("first", "one").unwrap();
        assert!(tree.get_with("first", |value| value == b"one").unwrap().unwrap());
    })
    .join()
    .unwrap();
    assert!(told.recv().unwrap().unwrap());
    store.check().unwrap();
}

#[test]
fn closing_waits_for_running_calls() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().durability(Durability::Manual).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4u32)
        .map(|id| {
            let (tree, done) = (tree.clone(), done.clone());
            std::thread::spawn(move || {
                for i in 0.. {
                    match tree.insert([id, i].map(u32::to_be_bytes).concat(), [1; 50]) {
                        Ok(_) => done.fetch_add(1, Ordering::SeqCst),
                        Err(Error::Closed) => return,
                        Err(error) => panic!("{error}"),
                    };
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    store.close().unwrap();
    for writer in writers {
        writer.join().unwrap();
    }
    let store = small().open(temp.path()).unwrap();
    assert_eq!(store.stats().recovered_records, 0);
    let there = store.tree("t").unwrap().len().unwrap();
    assert_eq!(there as usize, done.load(Ordering::SeqCst), "what was answered with Ok is there, and nothing else");
    store.check().unwrap();
}

#[test]
fn a_failed_sync_poisons_before_anybody_is_told_of_success() {
    let disk = SimDisk::new(11);
    let store = sim(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("before", "1").unwrap();
    disk.set_faults(FaultPlan::new().fail(FaultOp::Sync, 0, ErrorKind::Other).only_in("wal"));
    assert!(matches!(tree.insert("lost?", "2"), Err(Error::Poisoned { .. })));
    disk.set_faults(FaultPlan::new());
    // Never retried as if it could succeed; reads say so too.
    assert!(matches!(tree.insert("after", "3"), Err(Error::Poisoned { .. })));
    assert!(matches!(tree.get("before"), Err(Error::Poisoned { .. })));
    assert!(matches!(store.sync(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.sync_async().wait(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.checkpoint(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.check(), Err(Error::Poisoned { .. })));
    assert!(matches!(store.apply(Batch::new().insert(&tree, "b", "")), Err(Error::Poisoned { .. })));
    assert!(matches!(store.tree("new"), Err(Error::Poisoned { .. })));
    assert!(matches!(tree.iter().next(), Some(Err(Error::Poisoned { .. }))));
    drop(tree);
    // Closing says so, and frees the lock all the same.
    assert!(matches!(store.close(), Err(Error::Poisoned { .. })));
    let store = sim(&disk).open("/db").unwrap();
    assert_eq!(store.tree("t").unwrap().get("before").unwrap().as_deref(), Some(&b"1"[..]));
    store.check().unwrap();
}

#[test]
fn a_failed_sync_of_pages_or_superblock_poisons_too() {
    for nth in 0..6 {
        let disk = SimDisk::new(12);
        let store = sim(&disk).open("/db").unwrap();
        let tree = store.tree("t").unwrap();
        for i in 0..100u32 {
            tree.insert(i.to_be_bytes(), [1; 100]).unwrap();
        }
        disk.set_faults(FaultPlan::new().fail(FaultOp::Sync, nth, ErrorKind::Other).only_in("pages"));
        let failed = store.checkpoint();
        if disk.faults_hit() == 0 {
            failed.unwrap();
            assert!(nth >= 4, "a checkpoint syncs pages twice, the file, and two superblocks");
            continue;
        }
        assert!(failed.is_err(), "sync {nth}");
        disk.set_faults(FaultPlan::new());
        assert!(matches!(tree.insert("k", "v"), Err(Error::Poisoned { .. })), "sync {nth}");
        let after = disk.crash(nth);
        drop((store, tree));
        let store = sim(&after).open("/db").unwrap();
        assert_eq!(store.tree("t").unwrap().len().unwrap(), 100, "sync {nth}");
        store.check().unwrap();
    }
}

#[test]
fn a_full_disk_fails_writes_and_heals() {
    let disk = SimDisk::new(13);
    let store = sim(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    disk.set_space_limit(Some(disk.used_bytes() + (256 << 10)));
    let mut n = 0u32;
    let failure = loop {
        match tree.insert(n.to_be_bytes(), [1; 1000]) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(failure, Error::NoSpace { .. }), "{failure}");
    assert!(n > 50, "{n}");
    assert_eq!(tree.len().unwrap(), u64::from(n), "reads go on, and nothing of the failed write is there");
    store.check().unwrap();
    store.checkpoint().unwrap();
    // Room by removals: their space comes back through checkpoints, made as they are needed.
    assert_eq!(tree.remove_range((n / 2).to_be_bytes()..).unwrap(), u64::from(n - n / 2));
    for i in n / 2..n {
        tree.insert(i.to_be_bytes(), [2; 900]).unwrap();
    }
    disk.set_space_limit(None);
    for i in n..n + 1000 {
        tree.insert(i.to_be_bytes(), [1; 1000]).unwrap();
    }
    store.check().unwrap();
}

#[test]
fn relaxed_writes_get_durable_by_themselves() {
    let temp = tempfile::tempdir().unwrap();
    let within = Duration::from_millis(40);
    let store = small().durability(Durability::Relaxed { within }).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", "v").unwrap();
    let written = store.stats().end_lsn;
    let started = Instant::now();
    while store.durable_lsn() < written {
        assert!(started.elapsed() < Duration::from_secs(20), "nobody synced");
        std::thread::sleep(Duration::from_millis(1));
    }
    store.close().unwrap();
}

#[test]
fn manual_writes_wait_for_sync() {
    let disk = SimDisk::new(14);
    let store = sim(&disk).durability(Durability::Manual).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("a", "1").unwrap();
    assert!(store.durable_lsn() < store.stats().end_lsn);
    assert_eq!(store.sync().unwrap(), store.stats().end_lsn);
    tree.insert("b", "2").unwrap();
    store.apply_with(Batch::new().insert(&tree, "c", "3"), Durability::Sync).unwrap();
    assert_eq!(store.durable_lsn(), store.stats().end_lsn, "what comes before a synced batch is durable with it");
    tree.insert("d", "4").unwrap();
    let mut lost = 0;
    for seed in 0..20 {
        let store = sim(&disk.crash(seed)).open("/db").unwrap();
        let keys: Vec<_> = store.tree("t").unwrap().iter().map(|pair| pair.unwrap().0).collect();
        assert!(keys == [b"a", b"b", b"c"] || keys == [b"a", b"b", b"c", b"d"], "{keys:?}");
        lost += usize::from(keys.len() == 3);
    }
    assert!(lost > 0, "an append that was never flushed cannot survive");
}

/// A waker that counts, and tells.
struct Told(AtomicUsize, mpsc::Sender<()>);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        let _ = self.1.send(());
    }
}

#[test]
fn sync_points_are_futures_and_can_be_waited_for() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().durability(Durability::Manual).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let (tell, told) = mpsc::channel();
    let waker = Waker::from(Arc::new(Told(AtomicUsize::new(0), tell)));
    for i in 0..50u32 {
        tree.insert(i.to_be_bytes(), "v").unwrap();
        let written = store.stats().end_lsn;
        let mut point = store.sync_async();
        // Later writes are not its business.
        tree.insert([i.to_be_bytes(), [9; 4]].concat(), "v").unwrap();
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut point).poll(&mut context) {
                Poll::Ready(lsn) => {
                    assert!(lsn.unwrap() >= written);
                    break;
                }
                Poll::Pending => told.recv_timeout(Duration::from_secs(20)).expect("woken when it is durable"),
            }
        }
    }
    let point = store.sync_async();
    let (other, after) = (store.sync_async(), store.clone());
    drop(point);
    drop(tree);
    store.close().unwrap();
    // Asked for before the close: it was made durable by it. Asked for after: closed.
    other.wait().unwrap();
    assert!(matches!(after.sync_async().wait(), Err(Error::Closed)));
}

#[test]
fn many_trees_in_one_store() {
    let disk = SimDisk::new(15);
    let store = sim(&disk).durability(Durability::Manual).open("/db").unwrap();
    let names: Vec<String> = (0..200).map(|i| format!("tree {i:03} {}", "x".repeat(i % 200))).collect();
    for name in &names {
        let tree = store.tree(name).unwrap();
        tree.insert("name", name).unwrap();
        assert_eq!(tree.name(), name);
    }
    let mut batch = Batch::new();
    for name in &names[..8] {
        batch.insert(&store.tree(name).unwrap(), "batch", "1");
    }
    store.apply(&batch).unwrap();
    // Requirements see all trees at once.
    let (a, b) = (store.tree(&names[0]).unwrap(), store.tree(&names[1]).unwrap());
    let mut batch = Batch::new();
    batch.require(&a, "batch", Some(b"1")).require(&b, "none", Some(b"x")).insert(&a, "k", "v");
    match store.apply(&batch) {
        Err(Error::Conflict { tree, key, .. }) => assert_eq!((tree, key), (names[1].clone(), b"none".to_vec())),
        other => panic!("{other:?}"),
    }
    assert!(!a.contains_key("k").unwrap());
    store.sync().unwrap();
    let after = disk.crash(15);
    drop((a, b, batch, store));
    let store = sim(&after).open("/db").unwrap();
    assert_eq!(store.tree_names().unwrap(), names);
    for name in &names {
        let tree = store.existing_tree(name).unwrap().unwrap();
        assert_eq!(tree.get("name").unwrap().unwrap(), name.as_bytes());
    }
    assert_eq!(store.check().unwrap().trees, 201);
}

#[test]
fn two_threads_that_create_a_tree_get_the_same_one() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().durability(Durability::Manual).open(temp.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..50 {
                    store.tree(&format!("t{i}")).unwrap().insert(thread.to_be_bytes(), "").unwrap();
                }
            });
        }
    });
    assert_eq!(store.tree_names().unwrap().len(), 50);
    for i in 0..50 {
        assert_eq!(store.tree(&format!("t{i}")).unwrap().len().unwrap(), 4);
    }
    store.check().unwrap();
}

#[test]
fn writers_go_on_while_the_log_turns_over_many_times() {
    let temp = tempfile::tempdir().unwrap();
    let store = small()
        .log_segment_bytes(64 << 10)
        .max_log_bytes(512 << 10)
        .durability(Durability::Manual)
        .open(temp.path())
        .unwrap();
    let tree = store.tree("t").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let tree = &tree;
            scope.spawn(move || {
                for i in 0..3000u32 {
                    tree.insert([thread, i % 500].map(u32::to_be_bytes).concat(), vec![i as u8; 300]).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert!(stats.checkpoints > 3, "{stats:?}");
    assert!(stats.log_bytes <= 512 << 10, "{stats:?}");
    assert_eq!(tree.len().unwrap(), 2000);
    store.check().unwrap();
    drop(tree);
    store.close().unwrap();
    let bytes: u64 =
        std::fs::read_dir(temp.path().join("wal")).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 512 << 10, "{bytes}");
    small().open(temp.path()).unwrap().check().unwrap();
}

#[test]
fn space_of_removed_pages_is_used_again() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().durability(Durability::Manual).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let mut pages = 0;
    for round in 0..6u8 {
        for i in 0..3000u32 {
            tree.insert(i.to_be_bytes(), [round; 500]).unwrap();
        }
        tree.remove_range(..).unwrap();
        assert!(tree.is_empty().unwrap());
        store.checkpoint().unwrap();
        if round == 1 {
            pages = store.stats().file_pages;
        }
    }
    let stats = store.stats();
    assert!(stats.file_pages <= pages + pages / 8, "grew from {pages} to {}", stats.file_pages);
    let report = store.check().unwrap();
    assert!(report.tree_pages < 20, "{report:?}");
}

#[test]
fn recovery_reports_progress() {
    let disk = SimDisk::new(16);
    let store = sim(&disk).durability(Durability::Manual).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..5000u32 {
        tree.insert(i.to_be_bytes(), "v").unwrap();
    }
    store.sync().unwrap();
    let after = disk.crash(16);
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let options = sim(&after).on_progress(move |progress| tell.lock().unwrap().send(progress).unwrap());
    let store = options.open("/db").unwrap();
    let all: Vec<Progress> = told.try_iter().collect();
    let has = |wanted: fn(&Progress) -> bool| all.iter().any(wanted);
    assert!(has(|p| matches!(p, Progress::LogScanned { bytes } if *bytes > 100_000)), "{all:?}");
    assert!(has(|p| matches!(p, Progress::Redone { records, of } if records <= of)), "{all:?}");
    assert!(has(|p| matches!(p, Progress::Recovered { records } if *records >= 5000)), "{all:?}");
    assert!(store.stats().recovered_records >= 5000);
}

#[test]
fn a_checkpoint_leaves_little_to_recover() {
    let disk = SimDisk::new(17);
    let store = sim(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..500u32 {
        tree.insert(i.to_be_bytes(), [3; 100]).unwrap();
    }
    store.checkpoint().unwrap();
    tree.insert("one", "more").unwrap();
    let store = sim(&disk.crash(17)).open("/db").unwrap();
    assert_eq!(store.stats().recovered_records, 1);
    assert_eq!(store.tree("t").unwrap().len().unwrap(), 501);
    store.check().unwrap();
}

/// A waker that asks for what its thread might hold.
struct Asks {
    store: Store,
    asked: AtomicU64,
}

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        self.store.checkpoint().unwrap();
        self.store.tree("another").unwrap().insert("k", "v").unwrap();
        self.asked.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn wakers_may_use_the_store() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::options().memory(4 << 20).durability(Durability::Manual).open(dir.path()).unwrap();
        let asks = Arc::new(Asks { store: store.clone(), asked: AtomicU64::new(0) });
        let waker = Waker::from(asks.clone());
        let tree = store.tree("t").unwrap();
        let (mut n, mut pending) = (0u64, 0);
        while asks.asked.load(Ordering::Relaxed) < 50 && n < 20_000 {
            tree.insert(n.to_be_bytes(), [7; 1000]).unwrap();
            let mut point = std::pin::pin!(store.sync_async());
            let context = &mut Context::from_waker(&waker);
            if Future::poll(point.as_mut(), context).is_pending() {
                pending += 1;
                // Whoever makes it durable first, this or the background, runs the waker, or leaves it to who holds nothing.
                match n % 3 {
                    0 => store.checkpoint().unwrap(),
                    1 => drop(store.sync().unwrap()),
                    _ => drop(store.tree(&format!("t{}", n % 20)).unwrap()),
                }
                let began = Instant::now();
                while Future::poll(point.as_mut(), context).is_pending() {
                    assert!(began.elapsed().as_secs() < 20, "nobody made it durable");
                    std::thread::yield_now();
                }
            }
            n += 1;
        }
        done.send((asks.asked.load(Ordering::Relaxed), pending)).unwrap();
    });
    let (asked, pending) = wait.recv_timeout(Duration::from_secs(60)).expect("a waker waits for its own thread");
    assert!(asked > 0, "{pending} were pending, none was woken");
}
