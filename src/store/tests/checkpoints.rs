//! Checkpoints beside writers, beside each other, and what they leave to who only reads.

use super::hooked::{Hook, HookedDisk, Target};
use super::on_sync::{OnSync, Once, call};
use super::{copy_dir, short_log, superblocks};
use crate::Error;
use crate::io::FileDisk;
use crate::pool::{PageImage, PageStore};
use crate::sync::Arc;
use crate::types::SizeClass;
use std::time::Duration;

#[test]
fn what_is_written_during_a_checkpoint_is_not_forgotten_by_it() {
    let temp = tempfile::tempdir().unwrap();
    let slot = Arc::new(OnSync::default());
    let disk = Arc::new(HookedDisk::over(FileDisk::new(), slot.clone()));
    let options = crate::Store::options().page_size(4096).memory(4 << 20);
    let store = options.clone().disk(disk).open(temp.path().join("a")).unwrap();
    let tree = store.tree("t").unwrap();
    let key = |i: u32| i.to_be_bytes();
    for i in 0..200 {
        tree.insert(key(i), [1; 500]).unwrap();
    }
    let inner = tree.clone();
    // Between T and S: pages that were just written are changed again, split and merged away.
    *slot.0.lock() = Some(Box::new(move || {
        for i in 200..300 {
            inner.insert(key(i), [2; 500]).unwrap();
        }
        for i in 0..100 {
            inner.remove(key(i)).unwrap();
        }
    }));
    store.checkpoint().unwrap();
    assert!(slot.0.lock().is_none(), "the hook has run");
    assert!(store.stats().pending_pages > 0, "A1: what was freed behind the redo LSN is not given up yet");
    copy_dir(&temp.path().join("a"), &temp.path().join("b"));
    let crashed = options.open(temp.path().join("b")).unwrap();
    crashed.check().unwrap();
    let there = crashed.tree("t").unwrap();
    assert_eq!(there.len().unwrap(), 200);
    assert_eq!(there.first().unwrap().unwrap().0, key(100));
    assert_eq!(there.last().unwrap().unwrap(), (key(299).to_vec(), vec![2; 500]));
    store.checkpoint().unwrap();
    assert_eq!(store.stats().pending_pages, 0, "now no superblock needs them");
    store.check().unwrap();
}

/// The log ends where redo begins, but a page was written since, and its image may be torn.
#[test]
fn a_batch_behind_the_last_checkpoint_keeps_readers_out() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, left) = (temp.path().join("db"), temp.path().join("left"));
    let options = crate::Store::options().page_size(4096).memory(4 << 20);
    let store = options.clone().open(&dir).unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("k", "v").unwrap();
    // What a kill would leave: once without a batch, once with one.
    for batch in [false, true] {
        store.checkpoint().unwrap();
        let engine = &store.inner.engine;
        if batch {
            // In front of the images is room for the header.
            let (id, offset, len) = (tree.handle.tree.root(), 8 << 10, 4096);
            let mut buffer = vec![0; offset + len];
            engine.page_store.read(id, &mut buffer[offset..]).unwrap();
            let image = PageImage { id, class: SizeClass::ZERO, offset, len };
            engine.page_store.write_batch(&mut buffer, &[image]).unwrap();
        }
        for part in ["", "wal"] {
            std::fs::create_dir_all(left.join(part)).unwrap();
            for file in std::fs::read_dir(dir.join(part)).unwrap().map(|entry| entry.unwrap().path()) {
                if file.is_file() {
                    std::fs::copy(&file, left.join(part).join(file.file_name().unwrap())).unwrap();
                }
            }
        }
        let found = options.clone().read_only(true).open(&left);
        if batch {
            assert!(matches!(found, Err(Error::NeedsRecovery { .. })), "{found:?}");
        } else {
            assert_eq!(found.unwrap().existing_tree("t").unwrap().unwrap().get("k").unwrap().unwrap(), b"v");
        }
    }
    let store = options.open(&left).unwrap();
    assert_eq!(store.tree("t").unwrap().get("k").unwrap().unwrap(), b"v");
}

#[test]
fn a_full_log_is_content_with_the_checkpoint_under_way() {
    let temp = tempfile::tempdir().unwrap();
    let store = short_log(temp.path());
    let engine = store.inner.engine.clone();
    let before = store.stats().checkpoints;
    let head = engine.head.lock();
    let (tell, told) = std::sync::mpsc::channel();
    let waiter = {
        let engine = engine.clone();
        std::thread::spawn(move || {
            tell.send(()).unwrap();
            engine.checkpoint_or_wait()
        })
    };
    told.recv().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiter.is_finished(), "it does not wait");
    drop(head);
    waiter.join().unwrap().unwrap();
    assert_eq!(store.stats().checkpoints, before, "a checkpoint of its own");
    engine.checkpoint_or_wait().unwrap();
    assert_eq!(store.stats().checkpoints, before + 1);
}

#[test]
fn log_segments_are_made_while_a_checkpoint_is() {
    let temp = tempfile::tempdir().unwrap();
    let store = short_log(temp.path());
    let engine = store.inner.engine.clone();
    let (tree, wal) = (store.tree("t").unwrap(), engine.log().unwrap());
    // What a checkpoint holds all along; the checkpointer comes to wait for it as soon as the log is half full.
    let head = engine.head.lock();
    let mut i = 0u32;
    while engine.awaited.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tree.insert(i.to_le_bytes(), [7; 500]).unwrap();
        i += 1;
        assert!(wal.stats().used_bytes < 12 * (64 << 10), "nobody wants to make a checkpoint");
    }
    let ready = || wal.stats().ready_segments > 0;
    for i in 0u32..3 {
        let started = std::time::Instant::now();
        while !ready() {
            assert!(started.elapsed() < Duration::from_secs(20), "nobody makes a segment");
            std::thread::sleep(Duration::from_millis(1));
        }
        let retained = wal.stats().retained_segments;
        while wal.stats().retained_segments == retained {
            tree.insert(i.to_le_bytes(), [7; 500]).unwrap();
            store.sync().unwrap();
        }
    }
    drop(head);
}

/// A page that was latched while it was written, and not changed, stays dirty from the log's very end on.
#[test]
fn a_page_latched_while_it_was_written_keeps_no_close_from_being_clean() {
    #[derive(Default)]
    struct OnWrite(Once);
    impl Hook for OnWrite {
        fn write(&self, to: &Target, buf: &[u8], offset: u64) -> std::io::Result<()> {
            call(&self.0, to);
            to.file.write_at(buf, offset)
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let slot = Arc::new(OnWrite::default());
    let disk = Arc::new(HookedDisk::over(FileDisk::new(), slot.clone()));
    let store = crate::Store::options().page_size(4096).memory(4 << 20).disk(disk).open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    store.checkpoint().unwrap();
    tree.insert("k", "v").unwrap();
    let engine = store.inner.engine.clone();
    let (pool, root) = (engine.pool.clone(), tree.handle.tree.root());
    let (latched, is_latched) = std::sync::mpsc::channel();
    let (written, is_written) = std::sync::mpsc::channel::<()>();
    let holder = Arc::new(std::sync::Mutex::new(None));
    let held = holder.clone();
    *slot.0.lock() = Some(Box::new(move || {
        let holds = move || {
            let page = pool.exclusive(root, SizeClass::ZERO).unwrap();
            latched.send(()).unwrap();
            is_written.recv().unwrap();
            drop(page);
        };
        *held.lock().unwrap() = Some(std::thread::spawn(holds));
        is_latched.recv().unwrap();
    }));
    let due = engine.pool.flush_paced(engine.log().unwrap().position(), |_| written.send(()).unwrap());
    assert!(due.is_ok() && slot.0.lock().is_none(), "the hook has run");
    holder.lock().unwrap().take().unwrap().join().unwrap();
    assert_eq!(engine.pool.min_dirty_lsn(), engine.log().unwrap().position(), "dirty from the log's end on");
    drop(tree);
    store.close().unwrap();
    assert!(superblocks(temp.path()).iter().all(|copy| copy.closed));
}
