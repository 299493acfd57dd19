//! Real files: what is refused, what is kept, and who is locked out.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Disk, DiskFile, FileDisk, FileKind, LockKind, OpenMode};

const MODES: [OpenMode; 3] = [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Create];

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn create(path: &Path) -> Arc<dyn DiskFile> {
    FileDisk::new().open(path, OpenMode::CreateNew).expect("a new file")
}

#[test]
fn what_was_written_is_read_and_reads_stop_at_the_end() {
    let dir = dir();
    let file = create(&dir.path().join("f"));
    assert!(file.is_empty().unwrap());
    file.write_at(b"hello", 3).unwrap();
    assert_eq!(file.len().unwrap(), 8);
    let mut buf = [9u8; 16];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 8);
    assert_eq!(&buf[..9], b"\0\0\0hello\x09");
    assert_eq!(file.read_at(&mut buf, 8).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    file.set_len(4).unwrap();
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 4);
    file.sync_data().unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_synced_write_writes_all_and_extends() {
    let dir = dir();
    let file = create(&dir.path().join("f"));
    let page: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    file.write_at_sync(&page, 4096).unwrap();
    let mut back = vec![0; page.len()];
    assert_eq!(file.read_at(&mut back, 4096).unwrap(), page.len());
    assert_eq!(back, page);
    file.write_at_sync(&[], 1 << 30).unwrap();
    assert_eq!(file.len().unwrap(), 4096 + 20_000);
    assert!(file.write_at_sync(b"x", u64::MAX - 1).is_err());
}

#[test]
fn allocating_extends_and_keeps_what_is_there() {
    let dir = dir();
    let path = dir.path().join("f");
    let file = create(&path);
    file.write_at(b"keep", 0).unwrap();
    file.allocate(0, 1 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    let mut buf = [1u8; 8];
    file.read_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"keep\0\0\0\0");
    file.allocate(0, 100).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20, "never shortens");
    file.allocate(5 << 20, 0).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    assert_eq!(file.allocate(u64::MAX, 2).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn the_stand_in_for_fallocate_fills_to_the_end_only() {
    let dir = dir();
    let path = dir.path().join("f");
    let file = super::file::tests_without_fallocate(&path).unwrap();
    file.write_at(b"keep", 0).unwrap();
    file.allocate(2, 3 << 20).unwrap();
    assert_eq!(file.len().unwrap(), 2 + (3 << 20));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(&bytes[..4], b"keep");
    assert!(bytes[4..].iter().all(|b| *b == 0));
    file.write_at_sync(b"also without pwritev2", 100).unwrap();
    assert_eq!(&fs::read(&path).unwrap()[100..121], b"also without pwritev2");
}

#[test]
fn a_link_is_refused_whatever_is_behind_it() {
    let dir = dir();
    let target = dir.path().join("target");
    fs::write(&target, b"secret").unwrap();
    for (name, target) in [("good", target), ("dangling", dir.path().join("nothing"))] {
        let link = dir.path().join(name);
        symlink(&target, &link).unwrap();
        for mode in MODES {
            let error = FileDisk.open(&link, mode).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name} {mode:?}: {error}");
            assert!(super::file::open_checked(&link, mode).is_err(), "{name} {mode:?}, made after the first look");
        }
        assert_eq!(FileDisk.open(&link, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(FileDisk.kind(&link).unwrap(), Some(FileKind::Other));
        assert!(FileDisk.lock(&link, LockKind::Exclusive, true).is_err());
    }
    assert!(!dir.path().join("nothing").exists());
}

#[test]
fn a_pipe_a_device_and_a_directory_are_refused_without_waiting() {
    let dir = dir();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let paths = [pipe.clone(), PathBuf::from("/dev/null"), dir.path().to_owned()];
    let (done, finished) = std::sync::mpsc::channel();
    let opener = std::thread::spawn(move || {
        for path in paths {
            for mode in MODES {
                let error = FileDisk.open(&path, mode).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{} {mode:?}: {error}", path.display());
                let error = super::file::open_checked(&path, mode).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{} {mode:?}: {error}", path.display());
            }
            assert!(FileDisk.lock(&path, LockKind::Shared, false).is_err());
        }
        assert!(FileDisk.sync_dir(&pipe).is_err());
        assert_eq!(FileDisk.kind(&pipe).unwrap(), Some(FileKind::Other));
        let _ = done.send(());
    });
    if finished.recv_timeout(Duration::from_secs(10)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        panic!("opening waits for a peer");
    }
    opener.join().expect("the opener's own assertions");
}

#[test]
fn modes_of_opening() {
    let dir = dir();
    let path = dir.path().join("f");
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        assert_eq!(FileDisk.open(&path, mode).unwrap_err().kind(), ErrorKind::NotFound);
    }
    FileDisk.open(&path, OpenMode::Create).unwrap().write_at(b"kept", 0).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(FileDisk.open(&path, OpenMode::Create).unwrap().len().unwrap(), 4);
    assert_eq!(FileDisk.open(&path, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(FileDisk.open(&path, OpenMode::Read).unwrap().write_at(b"x", 0).is_err());
    FileDisk.open(&path, OpenMode::ReadWrite).unwrap().write_at(b"K", 0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"Kept");
}

#[test]
fn directories_and_names() {
    let dir = dir();
    let sub = dir.path().join("sub");
    assert_eq!(FileDisk.kind(&sub).unwrap(), None);
    FileDisk.create_dir(&sub).unwrap();
    assert_eq!(FileDisk.create_dir(&sub).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::metadata(&sub).unwrap().permissions().mode() & 0o777, 0o700);
    for name in ["b", "a", "c"] {
        create(&sub.join(name)).write_at(name.as_bytes(), 0).unwrap();
    }
    assert_eq!(FileDisk.list(&sub).unwrap(), [PathBuf::from("a"), PathBuf::from("b"), PathBuf::from("c")]);
    FileDisk.rename(&sub.join("a"), &sub.join("c")).unwrap();
    FileDisk.sync_dir(&sub).unwrap();
    assert_eq!(fs::read(sub.join("c")).unwrap(), b"a");
    FileDisk.remove(&sub.join("b")).unwrap();
    assert_eq!(FileDisk.list(&sub).unwrap(), [PathBuf::from("c")]);
    assert_eq!(FileDisk.remove(&sub.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(FileDisk.kind(&sub.join("c")).unwrap(), Some(FileKind::File));
    assert!(FileDisk.sync_dir(&sub.join("c")).is_err());
    let link = dir.path().join("link");
    symlink(&sub, &link).unwrap();
    assert_eq!(FileDisk.kind(&link).unwrap(), Some(FileKind::Directory), "a store may be reached through a link");
    assert!(!FileDisk.deterministic());
}

#[test]
fn locks_exclude_within_the_process() {
    let dir = dir();
    let path = dir.path().join("lock");
    let other = dir.path().join("other");
    let take = |kind| FileDisk.lock(&path, kind, true).unwrap();
    let held = take(LockKind::Exclusive).expect("free");
    assert!(take(LockKind::Exclusive).is_none());
    assert!(take(LockKind::Shared).is_none());
    let another = FileDisk.lock(&other, LockKind::Exclusive, true).unwrap().expect("another file");
    drop(held);
    let (a, b) = (take(LockKind::Shared).expect("free"), take(LockKind::Shared).expect("shared with a"));
    assert!(take(LockKind::Exclusive).is_none());
    drop(a);
    assert!(take(LockKind::Exclusive).is_none(), "b still holds it");
    drop(b);
    assert!(take(LockKind::Exclusive).is_some());
    drop(another);
}

#[test]
fn the_table_of_locks_goes_by_file_not_by_name() {
    // A hard link is the same file by another name; the system's lock is on the file, and so is the table's.
    let dir = dir();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let held = FileDisk.lock(&a, LockKind::Exclusive, true).unwrap().expect("free");
    fs::hard_link(&a, &b).unwrap();
    assert!(FileDisk.lock(&b, LockKind::Exclusive, true).unwrap().is_none());
    assert!(!super::lock::table_is_without(&b), "held");
    drop(held);
    assert!(super::lock::table_is_without(&a), "released");
}

#[test]
fn locks_exclude_other_processes() {
    let dir = dir();
    let path = dir.path().join("lock");
    let held = FileDisk.lock(&path, LockKind::Exclusive, true).unwrap().expect("free");
    let other = |flag: &str| {
        let status = std::process::Command::new("flock").arg(flag).arg("-n").arg(&path).arg("true").status();
        status.expect("flock(1)").success()
    };
    assert!(!other("-x") && !other("-s"));
    drop(held);
    assert!(other("-x"));
    let shared = FileDisk.lock(&path, LockKind::Shared, false).unwrap().expect("free");
    assert!(other("-s") && !other("-x"));
    drop(shared);
}

#[test]
fn a_lock_file_that_is_not_to_be_created() {
    let dir = dir();
    let path = dir.path().join("lock");
    for kind in [LockKind::Shared, LockKind::Exclusive] {
        assert_eq!(FileDisk.lock(&path, kind, false).unwrap_err().kind(), ErrorKind::NotFound);
    }
    fs::write(&path, b"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    drop(FileDisk.lock(&path, LockKind::Shared, false).unwrap().expect("free"));
    drop(FileDisk.lock(&path, LockKind::Exclusive, false).unwrap().expect("free"));
}

/// A file open for transfers past the cache, if the directory's file system has them.
fn create_direct(path: &Path) -> Option<Arc<dyn DiskFile>> {
    let file = FileDisk::new().open_direct(path, OpenMode::CreateNew).expect("a new file");
    let takes = super::takes_direct(&*file).expect("a read");
    if !takes {
        eprintln!("not run: no transfers past the cache in {}", path.display());
    }
    takes.then_some(file)
}

fn counted(len: usize, from: u8) -> super::AlignedBuf {
    let mut buf = super::AlignedBuf::zeroed(len);
    buf.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i % 251) as u8 ^ from);
    buf
}

#[test]
fn what_goes_past_the_cache_and_what_goes_through_it_meet() {
    let dir = dir();
    let path = dir.path().join("f");
    let Some(direct) = create_direct(&path) else { return };
    let cached = FileDisk::new().open(&path, OpenMode::ReadWrite).unwrap();
    assert!(direct.is_direct() && !cached.is_direct());
    let mut expected = vec![0; 64 << 10];
    // Whole blocks and parts of blocks, through the one and the other, over each other.
    for (n, (at, len)) in [(0, 65_536), (4096, 8192), (8191, 2), (12_288, 4096), (4000, 300), (0, 4096), (61_440, 4096)]
        .into_iter()
        .enumerate()
    {
        let bytes = counted(len, n as u8);
        match n % 3 {
            0 => direct.write_at(&bytes, at).unwrap(),
            1 => cached.write_at(&bytes, at).unwrap(),
            _ => direct.write_at_sync(&bytes, at).unwrap(),
        }
        expected[at as usize..at as usize + len].copy_from_slice(&bytes);
        for file in [&direct, &cached] {
            let mut whole = super::AlignedBuf::zeroed(expected.len() + 4096);
            assert_eq!(file.read_at(&mut whole, 0).unwrap(), expected.len(), "reads stop at the end");
            assert!(whole[..expected.len()] == expected[..], "after write {n}");
            let mut part = vec![0; 5000];
            assert_eq!(file.read_at(&mut part, 3001).unwrap(), 5000);
            assert!(part[..] == expected[3001..8001], "after write {n}");
        }
    }
    // Beyond the end it extends, as ever.
    direct.write_at(&counted(4096, 1), 1 << 20).unwrap();
    assert_eq!(cached.len().unwrap(), (1 << 20) + 4096);
    assert!(direct.is_direct(), "nothing was refused");
    direct.forget(0, 1 << 20);
    direct.prefetch(0, 1 << 20);
}

#[test]
fn a_direct_open_refuses_what_an_open_refuses() {
    let dir = dir();
    let disk = FileDisk::new();
    let (file, link) = (dir.path().join("f"), dir.path().join("l"));
    disk.open_direct(&file, OpenMode::CreateNew).unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(disk.open_direct(&file, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(disk.open_direct(&dir.path().join("none"), OpenMode::Read).unwrap_err().kind(), ErrorKind::NotFound);
    for mode in MODES {
        assert!(disk.open_direct(&link, mode).is_err(), "{mode:?}");
        assert!(disk.open_direct(dir.path(), mode).is_err(), "{mode:?}");
    }
    let read = disk.open_direct(&file, OpenMode::Read).unwrap();
    assert!(read.write_at(&counted(4096, 0), 0).is_err());
}

#[test]
fn a_refused_transfer_past_the_cache_goes_through_it() {
    let dir = dir();
    let path = dir.path().join("f");
    let file = super::file::tests_refused_direct(&path).unwrap();
    assert!(!file.is_direct() && !super::takes_direct(&file).unwrap(), "asked once");
    file.write_at(&counted(8192, 3), 4096).unwrap();
    file.write_at_sync(&counted(4096, 4), 0).unwrap();
    let mut back = super::AlignedBuf::zeroed(12_288);
    assert_eq!(file.read_at(&mut back, 0).unwrap(), 12_288);
    assert!(back[..4096] == counted(4096, 4)[..] && back[4096..] == counted(8192, 3)[..]);
}
