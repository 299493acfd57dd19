//! The superblock: what it says, what it finds in damage, and when it says that the log ends.

use super::super::superblock::{COPIES, SUPERBLOCK_BYTES, Superblock};
use super::{short_log, superblocks};
use crate::Error;
use crate::io::{Disk, FileDisk, OpenMode};
use crate::types::{Lsn, PageId};
use crate::wal::WalPosition;

fn superblock(sequence: u64) -> Superblock {
    Superblock {
        page_size: 4096,
        store_id: 1 << 60 | 7,
        sequence,
        incarnation: 3,
        redo: Lsn::new(1000),
        place: WalPosition { lsn: Lsn::new(900), segment: 5, offset: 8192, prev_crc: 0xDEAD_BEEF },
        accepted_end: Lsn::new(700),
        durable: Lsn::new(1100),
        snapshot_lsn: Lsn::new(1050),
        snapshot_page: PageId::new(400),
        snapshot_units: 2,
        retired_batch: 17,
        catalog_root: PageId::new(290),
        file_end: PageId::new(500),
        next_tree: 9,
        closed: true,
    }
}

#[test]
fn a_superblock_reads_back_and_the_newest_counts() {
    let temp = tempfile::tempdir().unwrap();
    let file = FileDisk::new().open(&temp.path().join("pages"), OpenMode::CreateNew).unwrap();
    assert!(matches!(Superblock::read(&*file), Err(Error::Corrupted { .. })), "an empty file");
    superblock(4).write(&*file, 1).unwrap();
    let found = Superblock::read(&*file).unwrap();
    assert_eq!((found.newest, found.older, found.newest_at), (superblock(4), None, 1));
    superblock(5).write(&*file, 0).unwrap();
    let found = Superblock::read(&*file).unwrap();
    assert_eq!((found.newest, found.older, found.newest_at), (superblock(5), Some(superblock(4)), 0));
    superblock(6).write(&*file, 1).unwrap();
    assert_eq!(Superblock::read(&*file).unwrap().newest_at, 1);
}

#[test]
fn every_flipped_bit_of_a_superblock_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let file = FileDisk::new().open(&temp.path().join("pages"), OpenMode::CreateNew).unwrap();
    let sound = superblock(4).encode();
    for byte in (0..200).chain([2000, SUPERBLOCK_BYTES - 4, SUPERBLOCK_BYTES - 1]) {
        for bit in 0..8 {
            let mut damaged = sound.clone();
            damaged[byte] ^= 1 << bit;
            file.write_at(&damaged, COPIES[0]).unwrap();
            assert!(Superblock::read(&*file).is_err(), "byte {byte}, bit {bit}");
        }
    }
}

#[test]
fn positions_that_contradict_each_other_are_damage() {
    let temp = tempfile::tempdir().unwrap();
    let file = FileDisk::new().open(&temp.path().join("pages"), OpenMode::CreateNew).unwrap();
    let broken: [fn(&mut Superblock); 4] =
        [|s| s.redo = Lsn::new(800), |s| s.durable = Lsn::new(999), |s| s.page_size = 5000, |s| s.incarnation = 0];
    for (i, break_it) in broken.iter().enumerate() {
        let mut damaged = superblock(4);
        break_it(&mut damaged);
        damaged.write(&*file, 0).unwrap();
        assert!(matches!(Superblock::read(&*file), Err(Error::Corrupted { .. })), "{i}");
    }
    // Two copies of different stores.
    superblock(4).write(&*file, 0).unwrap();
    Superblock { store_id: 8, ..superblock(5) }.write(&*file, 1).unwrap();
    assert!(matches!(Superblock::read(&*file), Err(Error::Corrupted { .. })));
}

/// W4: as long as a superblock says that the log ends, nobody writes to it.
#[test]
fn superblocks_say_that_the_log_ends_while_the_store_is_closed() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0u32..3 {
        let store = short_log(temp.path());
        assert!(superblocks(temp.path()).iter().all(|copy| !copy.closed), "open: {round}");
        let tree = store.tree("t").unwrap();
        for i in 0u32..400 {
            tree.insert(i.to_le_bytes(), [round as u8; 500]).unwrap();
        }
        store.checkpoint().unwrap();
        assert!(superblocks(temp.path()).iter().all(|copy| !copy.closed), "a checkpoint before the end");
        tree.insert("last", round.to_le_bytes()).unwrap();
        drop(tree);
        store.close().unwrap();
        let closed = superblocks(temp.path());
        assert!(closed.iter().all(|copy| copy.closed && copy.redo == copy.durable), "{closed:?}");
        // Only reading, it stays as it is.
        let store = crate::Store::options().read_only(true).open(temp.path()).unwrap();
        assert_eq!(store.tree("t").unwrap().get("last").unwrap(), Some(round.to_le_bytes().to_vec()));
        drop(store);
        assert_eq!(superblocks(temp.path()), closed);
    }
}
