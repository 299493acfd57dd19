//! Poison: who finds out that the medium cannot be trusted, and what is written then no more.

use super::super::superblock::Superblock;
use super::hooked::HookedDisk;
use super::on_sync::OnSync;
use crate::Error;
use crate::io::FileDisk;
use crate::sync::Arc;
use crate::types::Lsn;
use std::path::Path;
use std::time::Duration;

/// A store with a tree of one record, and the hook in its disk.
fn on_hooked_disk(dir: &Path) -> (Arc<OnSync>, crate::Store, crate::Tree) {
    let slot = Arc::new(OnSync::default());
    let disk = Arc::new(HookedDisk::over(FileDisk::new(), slot.clone()));
    let store = crate::Store::options().page_size(4096).memory(4 << 20).disk(disk).open(dir).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", "v").unwrap();
    (slot, store, tree)
}

#[test]
fn a_checkpoint_that_panics_poisons() {
    let temp = tempfile::tempdir().unwrap();
    let (slot, store, tree) = on_hooked_disk(temp.path());
    store.checkpoint().unwrap();
    // No page is dirty: the first sync is that of a superblock.
    *slot.0.lock() = Some(Box::new(|| panic!("the medium's own bug")));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.checkpoint()));
    assert!(caught.is_err());
    assert!(
        matches!(store.checkpoint(), Err(Error::Poisoned { .. })),
        "a superblock that was perhaps written is built upon"
    );
    assert!(matches!(tree.insert("k", "w"), Err(Error::Poisoned { .. })));
    drop((tree, store));
    let store = crate::Store::open(temp.path()).unwrap();
    assert_eq!(store.tree("t").unwrap().get("k").unwrap().unwrap(), b"v");
}

#[test]
fn a_checkpoint_during_which_the_pool_is_poisoned_writes_no_superblock() {
    let temp = tempfile::tempdir().unwrap();
    let (slot, store, _) = on_hooked_disk(temp.path());
    let engine = store.inner.engine.clone();
    let before = Superblock::read(&*engine.page_file).unwrap();
    let pool = engine.pool.clone();
    *slot.1.lock() = Some(Box::new(move || pool.poison("somebody else's sync failed")));
    let made = store.checkpoint();
    assert!(matches!(made, Err(Error::Poisoned { .. })), "P9: {made:?}");
    let after = Superblock::read(&*engine.page_file).unwrap();
    assert_eq!((after.newest, after.older), (before.newest, before.older));
}

#[test]
fn what_poisons_the_pool_poisons_the_log_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let options = crate::Store::options().page_size(4096).memory(4 << 20).durability(crate::Durability::Manual);
    let store = options.open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    store.sync().unwrap();
    let engine = &store.inner.engine;
    let wal = engine.log().unwrap();
    tree.insert("k", "v").unwrap();
    let durable = wal.durable_lsn();
    // A future that waits under no flush: nobody looks at the store's own poison for it.
    struct Woken(std::sync::atomic::AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let woken = std::sync::Arc::new(Woken(false.into()));
    let waker = std::task::Waker::from(woken.clone());
    let mut key = None;
    let context = std::task::Context::from_waker(&waker);
    assert!(wal.poll_durable(wal.position(), &mut key, &context).is_pending());
    engine.pool.poison("somebody's sync failed");
    assert!(matches!(wal.commit(wal.position()), Err(Error::Poisoned { .. })));
    assert_eq!(wal.durable_lsn(), durable);
    let started = std::time::Instant::now();
    while !woken.0.load(std::sync::atomic::Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(20), "a future that nobody wakes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_read_that_waited_for_a_change_that_panicked_answers_poisoned() {
    let temp = tempfile::tempdir().unwrap();
    let store = crate::Store::options().page_size(4096).memory(4 << 20).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", [1; 900]).unwrap();
    let pool = tree.handle.inner.engine.pool.clone();
    let mut page = pool.exclusive(tree.handle.tree.root(), crate::SizeClass::ZERO).unwrap();
    let readers: [std::thread::JoinHandle<crate::Result<Vec<u8>>>; 3] = [
        std::thread::spawn({
            let tree = tree.clone();
            move || Ok(tree.get("k")?.unwrap())
        }),
        std::thread::spawn({
            let tree = tree.clone();
            move || Ok(tree.iter().next().unwrap()?.1)
        }),
        std::thread::spawn({
            let tree = tree.clone();
            move || {
                let mut seen = Vec::new();
                let end = tree.scan(.., |_, value| {
                    seen.extend_from_slice(value);
                    std::ops::ControlFlow::Continue(())
                });
                // What a callback has seen counts, whatever the end is.
                if seen.is_empty() { end.map(|()| seen) } else { Ok(seen) }
            }
        }),
    ];
    std::thread::sleep(Duration::from_millis(100));
    let half = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        page.begin_change(Lsn::FIRST);
        page.writer().fill(4096 - 300, 200, 7);
        panic!("in between");
    }));
    assert!(half.is_err());
    for reader in readers {
        let answer = reader.join().unwrap();
        assert!(matches!(answer, Err(Error::Poisoned { .. })), "half a change was read: {answer:?}");
    }
}
