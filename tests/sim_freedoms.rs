//! Every freedom that the fault model leaves to a disk is one that some seed of the simulated disk takes. A model that
//! is never harsh finds nothing.

use std::io;
use std::path::Path;

use pagebox::io::{Disk, OpenMode};
use pagebox::sim::SimDisk;

const SEEDS: u64 = 20_000;

/// A disk in some state, and whether a crash state of it is the outcome looked for.
type Freedom = (&'static str, fn(&SimDisk) -> io::Result<()>, fn(&SimDisk) -> bool);

fn p(name: &str) -> &Path {
    Path::new(name)
}

/// A file of 8 KiB of ones, synced, entry and all.
fn synced(disk: &SimDisk, name: &str) -> io::Result<()> {
    let file = disk.open(p(name), OpenMode::Create)?;
    file.write_at(&[1; 8192], 0)?;
    file.sync_data()?;
    disk.sync_dir(p("/"))
}

fn write(disk: &SimDisk, name: &str, at: u64, byte: u8, n: usize) -> io::Result<()> {
    disk.open(p(name), OpenMode::ReadWrite)?.write_at(&vec![byte; n], at)
}

fn page_in_flight(disk: &SimDisk) -> io::Result<()> {
    synced(disk, "a")?;
    write(disk, "a", 0, 2, 4096)
}

fn page_twice_in_flight(disk: &SimDisk) -> io::Result<()> {
    page_in_flight(disk)?;
    write(disk, "a", 0, 3, 4096)
}

fn growing(disk: &SimDisk) -> io::Result<()> {
    synced(disk, "a")?;
    write(disk, "a", 8192, 2, 4096)
}

fn two_files_in_flight(disk: &SimDisk) -> io::Result<()> {
    synced(disk, "a")?;
    synced(disk, "b")?;
    write(disk, "a", 0, 2, 512)?;
    write(disk, "b", 0, 2, 512)
}

fn renaming(disk: &SimDisk) -> io::Result<()> {
    synced(disk, "a")?;
    disk.rename(p("a"), p("b"))
}

fn bytes(disk: &SimDisk, name: &str) -> Vec<u8> {
    disk.read_file(p(name)).unwrap_or_default()
}

fn has(disk: &SimDisk, name: &str) -> bool {
    disk.read_file(p(name)).is_ok()
}

/// Whether the file consists of runs of these bytes.
fn is(disk: &SimDisk, name: &str, runs: &[(u8, usize)]) -> bool {
    let expect: Vec<u8> = runs.iter().flat_map(|(byte, n)| vec![*byte; *n]).collect();
    bytes(disk, name) == expect
}

const CONTENTS: &[Freedom] = &[
    ("all of an unsynced write is lost", page_in_flight, |left| is(left, "a", &[(1, 8192)])),
    ("all of an unsynced write survives", page_in_flight, |left| is(left, "a", &[(2, 4096), (1, 4096)])),
    ("torn page: its first sector is new, the rest is old", page_in_flight, |left| {
        is(left, "a", &[(2, 512), (1, 7680)])
    }),
    ("torn page: only its last sector is old", page_in_flight, |left| is(left, "a", &[(2, 3584), (1, 4608)])),
    ("torn page: a sector in the middle is old", page_in_flight, |left| {
        is(left, "a", &[(2, 2048), (1, 512), (2, 1536), (1, 4096)])
    }),
    ("torn page: only a sector in the middle is new", page_in_flight, |left| {
        is(left, "a", &[(1, 2048), (2, 512), (1, 5632)])
    }),
    (
        "the later write survives, the earlier one is lost",
        |disk| {
            page_in_flight(disk)?;
            write(disk, "a", 4096, 3, 4096)
        },
        |left| is(left, "a", &[(1, 4096), (3, 4096)]),
    ),
    ("of two writes to the same sectors the earlier one is what is left", page_twice_in_flight, |left| {
        is(left, "a", &[(2, 4096), (1, 4096)])
    }),
    ("three versions in one page", page_twice_in_flight, |left| {
        [1, 2, 3].iter().all(|byte| bytes(left, "a")[..4096].contains(byte))
    }),
    ("across files: only the later write survives", two_files_in_flight, |left| {
        bytes(left, "a")[0] == 1 && bytes(left, "b")[0] == 2
    }),
    ("across files: only the earlier write survives", two_files_in_flight, |left| {
        bytes(left, "a")[0] == 2 && bytes(left, "b")[0] == 1
    }),
];

const LENGTHS: &[Freedom] = &[
    ("length without content: zeros", growing, |left| is(left, "a", &[(1, 8192), (0, 4096)])),
    ("length without content: garbage", growing, |left| {
        bytes(left, "a").get(8192..).is_some_and(|new| new.iter().any(|byte| *byte > 2))
    }),
    (
        "length without content: bytes of another file",
        |disk| {
            disk.open(p("b"), OpenMode::Create)?.write_at_sync(&[77; 4096], 0)?;
            growing(disk)
        },
        |left| bytes(left, "a").get(8192..8704).is_some_and(|new| new == [77; 512]),
    ),
    (
        "content without length: bytes within the old length are new, the growth is lost",
        |disk| {
            synced(disk, "a")?;
            write(disk, "a", 4096, 2, 8192)
        },
        |left| is(left, "a", &[(1, 4096), (2, 4096)]),
    ),
    (
        "a truncation is lost while a later write survives",
        |disk| {
            synced(disk, "a")?;
            disk.open(p("a"), OpenMode::ReadWrite)?.set_len(4096)?;
            write(disk, "a", 0, 2, 512)
        },
        |left| is(left, "a", &[(2, 512), (1, 7680)]),
    ),
    (
        "a length in the middle of several",
        |disk| {
            synced(disk, "a")?;
            (2..5).try_for_each(|i| write(disk, "a", 4096 * i, 2, 4096))
        },
        |left| bytes(left, "a").len() == 16_384,
    ),
    (
        "space that was allocated is not there",
        |disk| {
            synced(disk, "a")?;
            disk.open(p("a"), OpenMode::ReadWrite)?.allocate(8192, 65_536)
        },
        |left| is(left, "a", &[(1, 8192)]),
    ),
];

const NAMES: &[Freedom] = &[
    (
        "a synced file is gone: its directory was not synced",
        |disk| disk.open(p("a"), OpenMode::CreateNew)?.write_at_sync(&[1; 512], 0),
        |left| !has(left, "a"),
    ),
    (
        "a file is there with nothing in it",
        |disk| {
            disk.open(p("a"), OpenMode::CreateNew)?;
            write(disk, "a", 0, 1, 512)
        },
        |left| has(left, "a") && bytes(left, "a").is_empty(),
    ),
    (
        "a directory is gone with all its synced files",
        |disk| {
            disk.create_dir(p("d"))?;
            disk.open(p("d/a"), OpenMode::CreateNew)?.write_at_sync(&[1; 512], 0)?;
            disk.sync_dir(p("d"))
        },
        |left| !has(left, "d/a") && left.kind(p("d")).unwrap().is_none(),
    ),
    ("a rename is lost", renaming, |left| has(left, "a") && !has(left, "b")),
    ("a rename survives", renaming, |left| !has(left, "a") && has(left, "b")),
    (
        "the later rename survives, the earlier one is lost",
        |disk| {
            synced(disk, "a")?;
            synced(disk, "b")?;
            disk.rename(p("a"), p("c"))?;
            disk.rename(p("b"), p("d"))
        },
        |left| has(left, "a") && has(left, "d"),
    ),
    (
        "a rename over a file is lost, and the name leads to the old file",
        |disk| {
            disk.open(p("b"), OpenMode::CreateNew)?.write_at_sync(&[9; 10], 0)?;
            synced(disk, "a")?;
            disk.rename(p("b"), p("a"))
        },
        |left| is(left, "a", &[(1, 8192)]) && is(left, "b", &[(9, 10)]),
    ),
    (
        "a rename survives without the bytes of the file it moved",
        |disk| {
            disk.open(p("tmp"), OpenMode::CreateNew)?;
            synced(disk, "a")?;
            write(disk, "tmp", 0, 2, 512)?;
            disk.rename(p("tmp"), p("a"))
        },
        |left| has(left, "a") && bytes(left, "a").is_empty(),
    ),
    (
        "a removal is lost",
        |disk| {
            synced(disk, "a")?;
            disk.remove(p("a"))
        },
        |left| has(left, "a"),
    ),
    (
        "a removal survives while the rename before it is lost",
        |disk| {
            synced(disk, "a")?;
            synced(disk, "b")?;
            disk.rename(p("a"), p("c"))?;
            disk.remove(p("b"))
        },
        |left| has(left, "a") && !has(left, "b"),
    ),
];

#[test]
fn every_freedom_is_taken() {
    let mut late = Vec::new();
    for (name, prepare, seen) in CONTENTS.iter().chain(LENGTHS).chain(NAMES) {
        let disk = SimDisk::new(1);
        prepare(&disk).unwrap();
        match (0..SEEDS).find(|seed| seen(&disk.crash(*seed))) {
            None => late.push(format!("{name}: not in {SEEDS} seeds")),
            Some(seed) if seed > 1000 => late.push(format!("{name}: only at seed {seed}")),
            Some(_) => {}
        }
    }
    assert!(late.is_empty(), "campaigns must reach every corner early: {late:#?}");
}

#[test]
fn nothing_synced_is_ever_lost() {
    let disk = SimDisk::new(2);
    synced(&disk, "a").unwrap();
    synced(&disk, "b").unwrap();
    disk.rename(p("b"), p("c")).unwrap();
    disk.sync_dir(p("/")).unwrap();
    write(&disk, "a", 4096, 2, 4096).unwrap();
    disk.open(p("a"), OpenMode::ReadWrite).unwrap().write_at_sync(&[3; 512], 8192).unwrap();
    disk.rename(p("a"), p("d")).unwrap();
    for seed in 0..5_000 {
        let left = disk.crash(seed);
        let a = if has(&left, "a") { bytes(&left, "a") } else { bytes(&left, "d") };
        assert_eq!(a.len(), 8704, "seed {seed}");
        assert!(a[..4096] == [1; 4096] && a[8192..] == [3; 512], "seed {seed}");
        assert!(!has(&left, "b") && is(&left, "c", &[(1, 8192)]), "seed {seed}");
    }
}

#[test]
fn without_garbage_growth_reads_zeros() {
    let disk = SimDisk::new(3);
    disk.set_garbage(false);
    synced(&disk, "a").unwrap();
    write(&disk, "a", 8192, 2, 65_536).unwrap();
    for seed in 0..2_000 {
        let left = bytes(&disk.crash(seed), "a");
        assert!(left[8192..].iter().all(|byte| [0, 2].contains(byte)), "seed {seed}");
    }
}
