//! What must be refused, each with its typed error, and with nothing damaged further: the store that was there before still
//! opens and holds what it held.

use pagebox::io::Disk;
use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Result, Site, Store, StoreOptions, SyncMethod};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn small() -> StoreOptions {
    Store::options().page_size(4096).memory(1 << 20).max_log_bytes(4 << 20)
}

/// A store with two trees of some pages each, closed cleanly.
fn filled(dir: &Path) {
    let store = small().durability(Durability::Manual).open(dir).unwrap();
    for name in ["a", "b"] {
        let tree = store.tree(name).unwrap();
        for i in 0..300u32 {
            tree.insert(i.to_be_bytes(), [i as u8; 100]).unwrap();
        }
    }
    store.close().unwrap();
}

fn is_whole(store: &Store) {
    store.check().unwrap();
    for name in ["a", "b"] {
        assert_eq!(store.existing_tree(name).unwrap().unwrap().len().unwrap(), 300);
    }
}

/// Every file below `dir` with its content.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(content(&entry.path()).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn options_that_cannot_be_had() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("store");
    let table: &[(&str, StoreOptions, &str)] = &[
        ("page_size", Store::options().page_size(2048), "power of two"),
        ("page_size", Store::options().page_size(12_288), "power of two"),
        ("page_size", Store::options().page_size(128 << 10), "65536"),
        ("page_size", Store::options().page_size(0), "power of two"),
        ("memory", Store::options().memory(10_000), "at least"),
        ("memory", Store::options().memory(0), "at least"),
        ("memory", Store::options().page_size(65_536).memory(1 << 20), "at least"),
        ("flushers", Store::options().flushers(0), "from 1 to 8"),
        ("flushers", Store::options().flushers(9), "from 1 to 8"),
        ("memory", Store::options().page_size(4096).memory(400 << 10).flushers(8), "8 flushers"),
        ("log_segment_bytes", Store::options().log_segment_bytes(100_000), "multiple of 4096"),
        ("log_segment_bytes", Store::options().log_segment_bytes(4096), "65536"),
        ("log_segment_bytes", Store::options().log_segment_bytes(2 << 30), "1073741824"),
        ("log_segment_bytes", Store::options().page_size(65_536).log_segment_bytes(65_536), "at least"),
        ("max_log_bytes", Store::options().log_segment_bytes(1 << 20).max_log_bytes(3 << 20), "at least 4194304"),
        ("max_log_bytes", Store::options().max_log_bytes(0), "at least"),
        ("durability", Store::options().durability(Durability::Relaxed { within: Duration::ZERO }), "Sync"),
        ("sync_method", Store::options().sync_method(SyncMethod::IoUring), "not to be had"),
    ];
    for (wanted, options, says) in table {
        match options.clone().open(&dir) {
            Err(Error::InvalidOption { option, reason, .. }) => {
                assert_eq!(option, *wanted, "{reason}");
                assert!(reason.contains(says), "{option}: {reason:?} does not say {says:?}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
        assert!(!dir.exists(), "{wanted}: nothing is made for options that cannot be had");
    }
}

#[test]
fn the_budget_floor_in_the_message_is_enough() {
    let temp = tempfile::tempdir().unwrap();
    for page_size in [4096, 16_384, 65_536] {
        let dir = temp.path().join(page_size.to_string());
        let Err(Error::InvalidOption { reason, .. }) = Store::options().page_size(page_size).memory(1).open(&dir)
        else {
            panic!("a budget of one byte")
        };
        let floor: usize = reason.rsplit(' ').next().unwrap().parse().unwrap();
        let store = Store::options().page_size(page_size).memory(floor).open(&dir).unwrap();
        store.tree("t").unwrap().insert("k", "v").unwrap();
        assert!(Store::options().page_size(page_size).memory(floor - 1).open(dir.join("x")).is_err());
    }
}

#[test]
fn another_page_size_than_the_stores() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let before = content(temp.path());
    match small().page_size(8192).open(temp.path()) {
        Err(Error::InvalidOption { option: "page_size", reason, .. }) => assert!(reason.contains("4096"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(before, content(temp.path()));
    is_whole(&Store::open(temp.path()).unwrap());
}

#[test]
fn keys_values_and_names_over_the_limit() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let Err(Error::KeyTooLarge { max, len: 5000, .. }) = tree.insert([1; 5000], "") else { panic!("a long key") };
    assert!(max >= 640, "{max}");
    assert!(tree.insert(vec![1; max], "").unwrap());
    assert!(matches!(tree.insert(vec![1; max + 1], ""), Err(Error::KeyTooLarge { .. })));
    assert!(matches!(tree.replace(vec![1; max + 1], ""), Err(Error::KeyTooLarge { .. })));
    assert!(matches!(tree.compare_and_swap(vec![1; max + 1], None, Some(b"")), Err(Error::KeyTooLarge { .. })));
    assert_eq!(tree.get(vec![1; max + 1]).unwrap(), None, "no such key can be there");
    // Zeroed memory that nobody touches: the length is looked at first.
    let long = vec![0; (4 << 30) + 1];
    let refused = |result: pagebox::Result<()>| match result {
        Err(Error::ValueTooLarge { len, max, .. }) => assert_eq!((len, max), ((4 << 30) + 1, 4 << 30)),
        other => panic!("a value of more than 4 GiB: {other:?}"),
    };
    refused(tree.insert("k", &long).map(drop));
    refused(tree.replace("k", &long).map(drop));
    refused(tree.compare_and_swap("k", None, Some(&long)).map(drop));
    assert!(!tree.contains_key("k").unwrap());
    let mut batch = pagebox::Batch::new();
    batch.insert(&tree, "x", "y").insert(&tree, vec![1; 5000], "");
    assert!(matches!(store.apply(&batch), Err(Error::KeyTooLarge { .. })));
    assert!(!tree.contains_key("x").unwrap(), "nothing of a refused batch is done");
    for name in ["", &"n".repeat(256)] {
        assert!(matches!(store.tree(name), Err(Error::InvalidName { .. })), "{name:?}");
        assert!(matches!(store.existing_tree(name), Err(Error::InvalidName { .. })), "{name:?}");
    }
    store.tree(&"n".repeat(255)).unwrap();
    assert!(tree.insert("", "").unwrap(), "empty keys and values are legal");
    assert_eq!(tree.get("").unwrap().as_deref(), Some(&b""[..]));
    store.check().unwrap();
}

#[test]
fn directories_that_are_no_stores() {
    let temp = tempfile::tempdir().unwrap();
    // Somebody else's files: refused, and nothing is touched.
    let foreign = temp.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("letter.txt"), "dear").unwrap();
    match Store::open(&foreign) {
        Err(Error::InvalidOption { option: "dir", reason, .. }) => assert!(reason.contains("letter.txt"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(content(&foreign), [("letter.txt".to_owned(), b"dear".to_vec())]);
    // A file where a directory is expected.
    match Store::open(foreign.join("letter.txt")) {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::NotADirectory),
        other => panic!("{other:?}"),
    }
    // Below a file there can be no directory.
    assert!(matches!(Store::open(foreign.join("letter.txt/store")), Err(Error::Io { .. })));
    // Nothing there, and nothing to be created.
    let none = temp.path().join("none");
    assert!(matches!(Store::options().create(false).open(&none), Err(Error::NotFound { .. })));
    assert!(matches!(Store::options().read_only(true).open(&none), Err(Error::NotFound { .. })));
    assert!(!none.exists());
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(Store::options().create(false).open(&empty), Err(Error::NotFound { .. })));
    assert!(content(&empty).is_empty());
    Store::open(&empty).unwrap();
}

#[test]
fn names_that_are_not_regular_files() {
    let temp = tempfile::tempdir().unwrap();
    for name in ["pages", "lock", "wal"] {
        let dir = temp.path().join(name);
        filled(&dir);
        let elsewhere = temp.path().join(format!("{name} elsewhere"));
        fs::rename(dir.join(name), &elsewhere).unwrap();
        if name == "wal" {
            fs::write(dir.join(name), "").unwrap();
        } else {
            std::os::unix::fs::symlink(&elsewhere, dir.join(name)).unwrap();
        }
        let refused = Store::open(&dir);
        assert!(matches!(refused, Err(Error::Corrupted { .. } | Error::Io { .. })), "{name}: {refused:?}");
        fs::remove_file(dir.join(name)).unwrap();
        fs::rename(&elsewhere, dir.join(name)).unwrap();
        is_whole(&Store::open(&dir).unwrap());
    }
}

#[test]
fn a_second_open() {
    let temp = tempfile::tempdir().unwrap();
    let store = small().open(temp.path()).unwrap();
    assert!(matches!(Store::open(temp.path()), Err(Error::Locked { .. })));
    assert!(matches!(Store::options().read_only(true).open(temp.path()), Err(Error::Locked { .. })));
    let started = Instant::now();
    let patient = Store::options().lock_timeout(Duration::from_millis(100));
    assert!(matches!(patient.clone().open(temp.path()), Err(Error::Locked { .. })));
    assert!(started.elapsed() >= Duration::from_millis(100));
    let holder = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        store.close().unwrap();
    });
    patient.lock_timeout(Duration::from_secs(20)).open(temp.path()).unwrap();
    holder.join().unwrap();
    // Another process: this test's binary itself, told so by an argument that selects the test below.
    let store = Store::open(temp.path()).unwrap();
    let run = || {
        let me = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(me);
        child.args(["--ignored", "--exact", "opens_what_the_environment_names"]).env("PAGEBOX_TEST_DIR", temp.path());
        String::from_utf8_lossy(&child.output().unwrap().stdout).into_owned()
    };
    assert!(run().contains("locked: true"), "{}", run());
    store.close().unwrap();
    assert!(run().contains("locked: false"), "{}", run());
}

#[test]
#[ignore = "the other process of `a_second_open`"]
fn opens_what_the_environment_names() {
    let Some(dir) = std::env::var_os("PAGEBOX_TEST_DIR") else { return };
    // Straight to the descriptor: the harness keeps what tests print to itself.
    use std::io::Write;
    let locked = matches!(Store::open(dir), Err(Error::Locked { .. }));
    writeln!(std::io::stdout(), "locked: {locked}").unwrap();
}

#[test]
fn read_only_stores() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let before = content(temp.path());
    let read_only = || Store::options().read_only(true);
    let (store, second) = (read_only().open(temp.path()).unwrap(), read_only().open(temp.path()).unwrap());
    is_whole(&store);
    is_whole(&second);
    let tree = store.tree("a").unwrap();
    assert!(matches!(tree.insert("k", "v"), Err(Error::ReadOnly)));
    assert!(matches!(tree.remove("k"), Err(Error::ReadOnly)));
    assert!(matches!(tree.remove_range(..), Err(Error::ReadOnly)));
    assert!(matches!(store.tree("new"), Err(Error::ReadOnly)));
    assert!(matches!(store.checkpoint(), Err(Error::ReadOnly)));
    assert!(matches!(store.sync(), Err(Error::ReadOnly)));
    assert!(matches!(store.apply(pagebox::Batch::new().insert(&tree, "k", "v")), Err(Error::ReadOnly)));
    assert!(matches!(Store::open(temp.path()), Err(Error::Locked { .. })), "readers keep writers out");
    drop(tree);
    store.close().unwrap();
    second.close().unwrap();
    assert_eq!(before, content(temp.path()), "a read-only open writes nothing");
}

#[test]
fn a_read_only_open_of_a_store_that_was_not_closed() {
    let disk = SimDisk::new(3);
    let options = |disk: &SimDisk| small().disk(Arc::new(disk.clone()));
    let store = options(&disk).open("/db").unwrap();
    store.tree("t").unwrap().insert("k", "v").unwrap();
    let after = disk.crash(3);
    assert!(matches!(options(&after).read_only(true).open("/db"), Err(Error::NeedsRecovery { .. })));
    options(&after).open("/db").unwrap().close().unwrap();
    let store = options(&after).read_only(true).open("/db").unwrap();
    assert_eq!(store.tree("t").unwrap().get("k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_creation_that_did_not_end_is_begun_again() {
    let disk = SimDisk::new(5);
    disk.set_history(true);
    let options = |disk: &SimDisk| small().disk(Arc::new(disk.clone()));
    drop(options(&disk).open("/db").unwrap());
    for at in 0..disk.history_len() {
        let after = disk.crash_at(at, at);
        match options(&after).open("/db") {
            Ok(store) => {
                store.tree("t").unwrap().insert("k", "v").unwrap();
                store.check().unwrap();
            }
            Err(error) => panic!("after operation {at}: {error}"),
        }
    }
}

/// Opens the file `name` of the store behind the store's back.
fn damage(dir: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = dir.join(name);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn site_of(result: Result<Store>) -> Site {
    match result {
        Err(Error::Corrupted { site, .. }) => site,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flipped_bit_in_a_superblock() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    // One copy: the other one counts, and the damage is reported by a check of what was opened read-only, and mended by
    // the next open for writing.
    for copy in [0, 64 << 10] {
        let sound = fs::read(temp.path().join("pages")).unwrap();
        for byte in [0, 8, 13, 30, 45, 100, 150, 2000, 4095] {
            damage(temp.path(), "pages", |bytes| bytes[copy + byte] ^= 4);
            let store = Store::options().read_only(true).open(temp.path()).unwrap();
            assert!(matches!(store.check(), Err(Error::Corrupted { site: Site::Superblock, .. })), "{copy}+{byte}");
            assert_eq!(store.check_all().unwrap().len(), 1);
            store.close().unwrap();
            fs::write(temp.path().join("pages"), &sound).unwrap();
        }
        damage(temp.path(), "pages", |bytes| bytes[copy + 45] ^= 4);
        let store = Store::open(temp.path()).unwrap();
        is_whole(&store);
        store.close().unwrap();
        // A new one, for the log has gone on.
        fs::remove_dir_all(temp.path()).unwrap();
        filled(temp.path());
    }
    // Both.
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    damage(temp.path(), "pages", |bytes| {
        bytes[45] ^= 1;
        bytes[(64 << 10) + 45] ^= 1;
    });
    let before = content(temp.path());
    assert_eq!(site_of(Store::open(temp.path())), Site::Superblock);
    assert_eq!(before, content(temp.path()));
}

#[test]
fn an_unknown_version() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    for copies in [&[0][..], &[64 << 10], &[0, 64 << 10]] {
        let sound = fs::read(temp.path().join("pages")).unwrap();
        damage(temp.path(), "pages", |bytes| {
            for &at in copies {
                bytes[at + 8..at + 12].copy_from_slice(&99u32.to_le_bytes());
                let sum = crc32fast::hash(&bytes[at..at + 4092]);
                bytes[at + 4092..at + 4096].copy_from_slice(&sum.to_le_bytes());
            }
        });
        let before = content(temp.path());
        match Store::open(temp.path()) {
            Err(Error::UnsupportedFormat { found: 99, supported: 4, .. }) => {}
            other => panic!("{copies:?}: {other:?}"),
        }
        assert_eq!(before, content(temp.path()));
        fs::write(temp.path().join("pages"), sound).unwrap();
    }
    is_whole(&Store::open(temp.path()).unwrap());
}

#[test]
fn a_truncated_page_file() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let sound = fs::read(temp.path().join("pages")).unwrap();
    for len in [0, 100, 4096, 70_000, 300_000, sound.len() / 2, sound.len() - 4096, sound.len() - 1] {
        damage(temp.path(), "pages", |bytes| bytes.truncate(len));
        let before = content(temp.path());
        let site = site_of(Store::open(temp.path()));
        assert!(matches!(site, Site::File(_) | Site::Superblock), "{len}: {site:?}");
        assert_eq!(before, content(temp.path()), "{len}");
        fs::write(temp.path().join("pages"), &sound).unwrap();
    }
    is_whole(&Store::open(temp.path()).unwrap());
}

#[test]
fn a_missing_page_file_beside_a_log_with_records() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    fs::rename(temp.path().join("pages"), temp.path().with_extension("pages")).unwrap();
    assert!(matches!(site_of(Store::open(temp.path())), Site::File(_)));
    fs::rename(temp.path().with_extension("pages"), temp.path().join("pages")).unwrap();
    is_whole(&Store::open(temp.path()).unwrap());
}

#[test]
fn a_missing_log_segment() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let wal = temp.path().join("wal");
    let aside = temp.path().join("wal aside");
    fs::rename(&wal, &aside).unwrap();
    // The directory itself.
    let refused = Store::open(temp.path());
    assert!(matches!(refused, Err(Error::Corrupted { .. } | Error::Io { .. })), "{refused:?}");
    // Its segments.
    fs::create_dir(&wal).unwrap();
    assert!(matches!(site_of(Store::open(temp.path())), Site::File(_) | Site::Log(_)));
    fs::remove_dir(&wal).unwrap();
    fs::rename(&aside, &wal).unwrap();
    is_whole(&Store::open(temp.path()).unwrap());
}

#[test]
fn a_missing_segment_in_the_middle_of_the_log() {
    let disk = SimDisk::new(1);
    let options = |disk: &SimDisk| small().log_segment_bytes(64 << 10).disk(Arc::new(disk.clone()));
    let store = options(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..40u32 {
        tree.insert(i.to_be_bytes(), [1; 1000]).unwrap();
    }
    let after = disk.crash(1);
    let names: Vec<_> = after.list(Path::new("/db/wal")).unwrap();
    assert!(names.len() >= 3, "{names:?}");
    for name in &names[..2] {
        let damaged = disk.crash(1);
        damaged.erase(Path::new("/db/wal").join(name)).unwrap();
        let site = site_of(options(&damaged).open("/db"));
        assert!(matches!(site, Site::File(_) | Site::Log(_)), "{site:?}");
    }
    assert_eq!(options(&after).open("/db").unwrap().tree("t").unwrap().len().unwrap(), 40);
}

#[test]
fn a_flipped_bit_in_a_log_group() {
    let disk = SimDisk::new(1);
    let options = |disk: &SimDisk| small().disk(Arc::new(disk.clone()));
    let store = options(&disk).open("/db").unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..20u32 {
        tree.insert(i.to_be_bytes(), "value").unwrap();
    }
    // Every put is a group of its own, each a block further on.
    let after = disk.crash(1);
    let log = after.read_file("/db/wal/0000000000000001.log").unwrap();
    let groups = log.chunks(4096).take_while(|block| block[..4] == *b"PBXG").count();
    assert!(groups >= 22, "{groups}");
    for group in 0..groups {
        for byte in [1, 5, 9, 17, 25, 41, 45, 70] {
            let damaged = disk.crash(1);
            damaged.flip_bit("/db/wal/0000000000000001.log", (group * 4096 + byte) as u64, 2).unwrap();
            match options(&damaged).open("/db") {
                Err(Error::Corrupted { .. }) if group + 1 < groups => {}
                // Nothing proves that the very last group was acknowledged: the log ends before it.
                Ok(store) if group + 1 == groups => {
                    assert_eq!(store.tree("t").unwrap().len().unwrap(), 19);
                    store.check().unwrap();
                }
                other => panic!("group {group} of {groups}, byte {byte}: {other:?}"),
            }
        }
    }
}

/// What the superblock of a closed store says of the log's end is not believed against the log.
#[test]
fn the_page_file_of_a_closed_store_beside_the_log_of_its_next_life() {
    let disk = SimDisk::new(2);
    let options = |disk: &SimDisk| small().disk(Arc::new(disk.clone()));
    let insert = |range: std::ops::Range<u32>| {
        let store = options(&disk).open("/db").unwrap();
        let tree = store.tree("t").unwrap();
        for i in range {
            tree.insert(i.to_be_bytes(), "value").unwrap();
        }
        store
    };
    insert(0..10).close().unwrap();
    let pages = disk.read_file("/db/pages").unwrap();
    let store = insert(10..30);
    let beside = |seed| {
        let later = disk.crash(seed);
        later.write_file("/db/pages", &pages).unwrap();
        later
    };
    let log = beside(1).read_file("/db/wal/0000000000000001.log").unwrap();
    let groups = log.chunks(4096).take_while(|block| block[..4] == *b"PBXG").count();
    let whole = options(&beside(1)).open("/db").unwrap();
    assert_eq!(whole.tree("t").unwrap().len().unwrap(), 30);
    // In the middle of the later life, and followed by groups that say that it was durable.
    let damaged = beside(1);
    damaged.flip_bit("/db/wal/0000000000000001.log", (groups as u64 - 8) * 4096 + 70, 2).unwrap();
    let answer = options(&damaged).open("/db");
    assert!(matches!(answer, Err(Error::Corrupted { .. })), "{answer:?}");
    drop(store);
}

#[test]
fn a_flipped_bit_in_any_page() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let sound = fs::read(temp.path().join("pages")).unwrap();
    let first = (136 << 10) + (1 << 20);
    let pages = |bytes: &[u8]| -> Vec<usize> {
        // Kind 3 is a tree's node, and it carries its own page number.
        (first / 4096..bytes.len() / 4096)
            .filter(|page| bytes[page * 4096 + 4] == 3 && bytes[page * 4096 + 8..][..8] == (*page as u64).to_le_bytes())
            .collect()
    };
    let nodes = pages(&sound);
    assert!(nodes.len() > 10);
    for page in nodes {
        let byte = (page * 37) % 4096;
        damage(temp.path(), "pages", |bytes| bytes[page * 4096 + byte] ^= 16);
        let found = match Store::options().read_only(true).open(temp.path()) {
            Err(error) => vec![error],
            Ok(store) => {
                let all = store.check_all().unwrap();
                assert!(store.check().is_err());
                for name in ["a", "b"] {
                    // Reads answer what is there or say that it is damaged, never something else.
                    if let Ok(Some(tree)) = store.existing_tree(name) {
                        for i in 0..300u32 {
                            match tree.get(i.to_be_bytes()) {
                                Ok(value) => assert_eq!(value.as_deref(), Some(&[i as u8; 100][..])),
                                Err(error) => assert!(matches!(error, Error::Corrupted { .. }), "{error}"),
                            }
                        }
                    }
                }
                all
            }
        };
        let names =
            |error: &Error| matches!(error, Error::Corrupted { site: Site::Page(id), .. } if id.get() == page as u64);
        assert!(found.iter().any(names), "page {page}: {found:?}");
        fs::write(temp.path().join("pages"), &sound).unwrap();
    }
    is_whole(&Store::open(temp.path()).unwrap());
}

#[test]
fn a_disk_that_denies_writing() {
    // Permissions do not stop root: a disk that does.
    let disk = SimDisk::new(9);
    let options = |disk: &SimDisk| small().disk(Arc::new(disk.clone()));
    options(&disk).open("/db").unwrap().close().unwrap();
    let denied = pagebox::sim::FaultPlan::new()
        .fail_from(pagebox::sim::FaultOp::Write, 0, std::io::ErrorKind::PermissionDenied)
        .fail_from(pagebox::sim::FaultOp::Create, 0, std::io::ErrorKind::PermissionDenied);
    disk.set_faults(denied);
    assert!(matches!(options(&disk).open("/db"), Err(Error::Io { .. })));
    assert!(matches!(options(&disk).open("/other"), Err(Error::Io { .. })));
    disk.set_faults(pagebox::sim::FaultPlan::new());
    options(&disk).open("/db").unwrap().check().unwrap();
}

#[test]
fn a_trees_batch_of_another_store() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (small().open(temp.path().join("a")).unwrap(), small().open(temp.path().join("b")).unwrap());
    let (mine, theirs) = (a.tree("t").unwrap(), b.tree("t").unwrap());
    let mut batch = pagebox::Batch::new();
    batch.insert(&mine, "k", "v").insert(&theirs, "k", "v");
    assert!(matches!(a.apply(&batch), Err(Error::InvalidOption { option: "batch", .. })));
    assert!(!mine.contains_key("k").unwrap());
}

#[test]
fn inverted_ranges_are_empty() {
    let temp = tempfile::tempdir().unwrap();
    filled(temp.path());
    let store = Store::open(temp.path()).unwrap();
    let tree = store.tree("a").unwrap();
    assert_eq!(tree.range([9u8]..[3u8]).count(), 0);
    assert_eq!(tree.range([9u8]..=[3u8]).count(), 0);
    assert_eq!(tree.remove_range([9u8]..[3u8]).unwrap(), 0);
    is_whole(&store);
}
