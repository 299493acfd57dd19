//! Pages that redo will want, asked for while the log is read for the first time.
//!
//! Redo goes through the log in its order, so from page to page at random, and reads those that are not in the system's cache one
//! after the other: 100 µs each on a medium that would serve thirty at once. The first reading of the log, which finds out where
//! it ends, meets the same records. What it asks for then is on its way while the rest of the log is read.

use crate::io::DiskFile;
use crate::types::{Lsn, PageId, PageKind};
use crate::wal::Record;
use std::collections::HashSet;

/// Asks for each page once.
pub(super) struct Ahead<'a> {
    file: &'a dyn DiskFile,
    page_size: u64,
    /// Records up to here are in the pages already.
    redo: Lsn,
    /// The most pages that are worth it: as many as memory holds.
    most: usize,
    asked: HashSet<PageId>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(file: &'a dyn DiskFile, page_size: u32, redo: Lsn, most: usize) -> Ahead<'a> {
        Ahead { file, page_size: u64::from(page_size), redo, most, asked: HashSet::new() }
    }

    /// Asks for what the record that ends at `lsn` changes. A hint: nothing fails here.
    pub(super) fn record(&mut self, lsn: Lsn, record: &Record<'_>) {
        if lsn <= self.redo {
            return;
        }
        for part in record.parts().filter(|part| part.kind != PageKind::SPACE) {
            // What a record makes from nothing is not read, by it or by those that follow.
            if self.asked.len() < self.most && self.asked.insert(part.page) && !part.init {
                let units = part.class.units();
                self.file.prefetch(part.page.get().saturating_mul(self.page_size), units * self.page_size);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SizeClass;
    use crate::wal::RecordBuilder;
    use std::io::{self, ErrorKind};
    use std::sync::Mutex;

    /// A file of which only what is asked for ahead is known.
    #[derive(Debug, Default)]
    struct Asked(Mutex<Vec<(u64, u64)>>);

    impl DiskFile for Asked {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            Err(ErrorKind::Unsupported.into())
        }
        fn prefetch(&self, offset: u64, len: u64) {
            self.0.lock().unwrap().push((offset, len));
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(ErrorKind::Unsupported.into())
        }
        fn len(&self) -> io::Result<u64> {
            Err(ErrorKind::Unsupported.into())
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            Err(ErrorKind::Unsupported.into())
        }
        fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
            Err(ErrorKind::Unsupported.into())
        }
        fn sync_data(&self) -> io::Result<()> {
            Err(ErrorKind::Unsupported.into())
        }
        fn sync_all(&self) -> io::Result<()> {
            Err(ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn each_page_that_redo_reads_is_asked_for_once() {
        let file = Asked::default();
        let mut ahead = Ahead::new(&file, 4096, Lsn::new(100), 5);
        let mut buffer = Vec::new();
        let mut meet = |lsn: u64, parts: &[(PageKind, u64, bool)]| {
            let mut record = RecordBuilder::new(&mut buffer);
            for &(kind, page, init) in parts {
                record.begin_part(kind, 1, SizeClass::ZERO, init, PageId::new(page));
            }
            let (record, _) = Record::decode(record.finish(), Lsn::NONE).unwrap();
            ahead.record(Lsn::new(lsn), &record);
        };
        meet(100, &[(PageKind::BTREE, 7, false)]);
        meet(101, &[(PageKind::BTREE, 8, false), (PageKind::SPACE, 9, false), (PageKind::BTREE, 10, true)]);
        meet(102, &[(PageKind::BTREE, 8, false), (PageKind::BTREE, 10, false), (PageKind::BTREE, 11, false)]);
        meet(103, &[(PageKind::BTREE, 12, false), (PageKind::BTREE, 13, false), (PageKind::BTREE, 14, false)]);
        let asked = file.0.into_inner().unwrap();
        assert_eq!(asked, [8, 11, 12, 13].map(|page| (page * 4096, 4096)), "and no more than memory holds");
    }
}
