//! What the log's tests share: records that know their number, and a log on a simulated disk.

#![allow(dead_code)]

use pagebox::io::Disk;
use pagebox::wal::{self, LogTail, Record, RecordBuilder, RecoveryPoint, Wal, WalOptions, WalPosition};
use pagebox::{Lsn, PageId, PageKind, Result, SizeClass};
use std::path::Path;
use std::sync::Arc;

pub mod life;

pub const STORE: u64 = 0x5707_11d5;
pub const DIR: &str = "/log";

/// Small enough that segments are switched and recycled all the time.
pub fn small() -> WalOptions {
    WalOptions::default().segment_bytes(64 << 10).max_log_bytes(8 * (64 << 10)).buffer_bytes(16 << 10)
}

/// Record `n`: its number and `extra` bytes that depend on it.
pub fn build(buffer: &mut Vec<u8>, n: u64, extra: usize) -> &[u8] {
    let mut record = RecordBuilder::new(buffer);
    record.begin_part(PageKind::FIRST_USER, 1, SizeClass::ZERO, false, PageId::new(n % 1000));
    record.put_u64(n);
    for i in 0..extra {
        record.put_u8((n as u8).wrapping_mul(31).wrapping_add(i as u8));
    }
    record.finish()
}

/// The number of a record, whose other bytes are checked.
pub fn number(record: &Record<'_>) -> u64 {
    let part = record.parts().next().expect("one part");
    let (n, rest) = part.payload.split_first_chunk::<8>().expect("a number");
    let n = u64::from_le_bytes(*n);
    for (i, byte) in rest.iter().enumerate() {
        assert_eq!(*byte, (n as u8).wrapping_mul(31).wrapping_add(i as u8), "byte {i} of record {n}");
    }
    n
}

/// Appends record `n`, without committing it.
pub fn append(log: &Wal, n: u64, extra: usize) -> Result<Lsn> {
    let mut buffer = Vec::new();
    let record = build(&mut buffer, n, extra);
    Ok(log.append(log.reserve(record.len())?, record))
}

pub fn create(disk: &Arc<dyn Disk>, options: WalOptions) -> Result<Wal> {
    Wal::create(Arc::clone(disk), Path::new(DIR), STORE, 1, options)
}

/// The superblock of a log that was never reopened nor checkpointed.
pub fn first_point() -> RecoveryPoint {
    RecoveryPoint {
        store_id: STORE,
        from: WalPosition::FIRST,
        incarnation: 1,
        accepted_end: Lsn::FIRST,
        proven: Lsn::NONE,
        end_known: false,
    }
}

/// Scans and returns the records' numbers in order, with their LSNs; checks that they are contiguous.
pub fn scan(disk: &dyn Disk, dir: &Path, point: &RecoveryPoint) -> Result<(LogTail, Vec<(u64, Lsn)>)> {
    let mut found = Vec::new();
    let mut at = point.from.lsn;
    let tail = wal::scan(
        disk,
        dir,
        point,
        |start, end, record| {
            assert_eq!(start, at, "records lie behind one another");
            assert_eq!(end.get() - start.get(), record.as_bytes().len() as u64);
            at = end;
            found.push((number(record), end));
            Ok(())
        },
        |_| {},
    )?;
    assert_eq!(tail.end().lsn, at);
    assert_eq!(tail.records(), found.len() as u64);
    Ok((tail, found))
}
