//! A tree over 32 frames and pages in memory, with a log that keeps every record, and what redo makes of that log.

#![allow(dead_code)]

use pagebox::btree::{BTree, BTreeRedo, LogRoom, RedoLog};
use pagebox::page::bytes::PageReader;
use pagebox::page::header::PageHeader;
use pagebox::pool::{BufferPool, MemPageStore, NoLog, PageImage, PageStore, PoolOptions};
use pagebox::swip::Swip;
use pagebox::wal::{Record, RedoHandler};
use pagebox::{Lsn, PageId, PageKind, Result, SizeClass, TreeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A record with its LSN.
pub type Logged = (Lsn, Vec<u8>);

/// Every record, in order, and how many bytes they are.
#[derive(Default)]
pub struct MemLog {
    records: Mutex<(u64, Vec<Logged>)>,
}

impl MemLog {
    pub fn records(&self) -> Vec<Logged> {
        self.records.lock().unwrap().1.clone()
    }
}

impl RedoLog for MemLog {
    fn reserve(&self, _bytes: usize) -> Result<LogRoom<'_>> {
        Ok(LogRoom::unbounded())
    }

    fn append(&self, _room: LogRoom<'_>, record: &[u8]) -> Lsn {
        let mut log = self.records.lock().unwrap();
        log.0 += record.len() as u64;
        let lsn = Lsn::new(1 + log.0);
        log.1.push((lsn, record.to_vec()));
        lsn
    }

    fn position(&self) -> Lsn {
        Lsn::new(1 + self.records.lock().unwrap().0)
    }

    fn max_record_bytes(&self) -> usize {
        1 << 20
    }
}

/// Pages in memory, and every page that was written beside the log, as it was then, with the position of the log.
pub struct Pages {
    store: MemPageStore,
    log: Arc<MemLog>,
    pub unlogged: Mutex<Vec<(Lsn, PageId, Vec<u8>)>>,
}

impl PageStore for Pages {
    fn page_size(&self) -> usize {
        self.store.page_size()
    }

    fn first_page(&self) -> PageId {
        self.store.first_page()
    }

    fn read(&self, id: PageId, out: &mut [u8]) -> Result<()> {
        self.store.read(id, out)
    }

    fn write_batch(&self, buffer: &mut [u8], images: &[PageImage]) -> Result<()> {
        self.store.write_batch(buffer, images)
    }

    fn grow(&self, from: PageId, end: PageId) -> Result<()> {
        self.store.grow(from, end)
    }

    fn write_unlogged(&self, start: PageId, bytes: &[u8]) -> Result<()> {
        self.unlogged.lock().unwrap().push((self.log.position(), start, bytes.into()));
        self.store.write_unlogged(start, bytes)
    }

    fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

pub struct Bed {
    pub pages: Arc<Pages>,
    pub pool: Arc<BufferPool>,
    pub log: Arc<MemLog>,
    pub tree: BTree,
}

impl Bed {
    pub fn new(page_size: usize, frames: usize) -> Bed {
        // What 32 frames, their headers and the write buffer take.
        let mut memory = PoolOptions::floor(page_size);
        let log = Arc::new(MemLog::default());
        let store = MemPageStore::new(page_size);
        let pages = Arc::new(Pages { store, log: log.clone(), unlogged: Mutex::default() });
        let pool = loop {
            let options = PoolOptions::default().memory(memory);
            let pool = BufferPool::new(pages.clone(), Arc::new(NoLog), options).unwrap();
            if pool.capacity_pages() >= frames {
                break Arc::new(pool);
            }
            memory += page_size / 2;
        };
        let (tree, _) = BTree::create(pool.clone(), Some(log.clone()), TreeId::new(7)).unwrap();
        Bed { pages, pool, log, tree }
    }

    pub fn second_tree(&self, id: u32) -> BTree {
        BTree::create(self.pool.clone(), Some(self.log.clone()), TreeId::new(id)).unwrap().0
    }

    /// No damage, and exactly the pages that the log allocated and did not free.
    pub fn check(&self, trees: &[&BTree]) {
        let mut reachable = BTreeSet::new();
        for tree in trees {
            let check = tree.check().unwrap();
            assert!(check.errors.is_empty(), "{:?}", check.errors);
            let values = check.values.iter().flat_map(|extent| pages_from(extent.start, extent.units));
            for id in check.pages.iter().copied().chain(values) {
                assert!(reachable.insert(id), "{id:?} is in two places");
            }
        }
        assert_eq!(reachable, allocated(&self.log.records()), "pages reachable, and pages allocated by the log");
    }

    /// Redo of the whole log gives the pages that are there, byte for byte but for hints and checksums.
    pub fn check_redo(&self, trees: &[&BTree]) {
        let redone = redo(&self.log.records(), &self.pages.unlogged.lock().unwrap());
        for tree in trees {
            for id in tree.check().unwrap().pages {
                let page = self.pool.shared(id, SizeClass::ZERO).unwrap();
                let mut there = vec![0; self.pool.page_size()];
                page.reader().copy_to(0, &mut there).unwrap();
                let redone = redone.get(&id).unwrap_or_else(|| panic!("{id:?} is not in the log"));
                assert!(plain(&there) == plain(redone), "{id:?} is not what redo makes of it");
            }
        }
    }
}

/// A page without checksum and hints.
fn plain(page: &[u8]) -> Vec<u8> {
    let header = PageHeader::read(PageReader::from_slice(page)).unwrap();
    let mut out = page.to_vec();
    out[..4].fill(0);
    for i in 0..header.swip_count {
        let at = header.swip_offset + i * 8;
        let swip = Swip::from_bits(u64::from_le_bytes(out[at..at + 8].try_into().unwrap()));
        out[at..at + 8].copy_from_slice(&swip.page().get().to_le_bytes());
    }
    // What lies between arrays and heap is nobody's: words left there by references that moved may hold hints.
    let heap = u32::from_le_bytes(out[40..44].try_into().unwrap()) as usize;
    let arrays = if out[32] == 0 {
        128 + usize::from(u16::from_le_bytes([out[34], out[35]])) * 8
    } else {
        header.swip_offset + header.swip_count * 8
    };
    out[arrays..heap].fill(0);
    if out[32] != 0 {
        let slots = 128 + usize::from(u16::from_le_bytes([out[34], out[35]])) * 8;
        out[slots..header.swip_offset].fill(0);
    }
    out
}

fn pages_from(start: PageId, units: u64) -> impl Iterator<Item = PageId> {
    (start.get()..start.get() + units).map(PageId::new)
}

pub fn allocated(records: &[Logged]) -> BTreeSet<PageId> {
    let mut pages = BTreeSet::new();
    for (lsn, bytes) in records {
        let (record, _) = Record::decode(bytes, *lsn).unwrap();
        for part in record.parts().filter(|part| part.kind == PageKind::SPACE) {
            let units = part.payload.try_into().map_or(part.class.units(), |units| u32::from_le_bytes(units).into());
            for page in pages_from(part.page, units) {
                let fits = if part.op == 1 { pages.insert(page) } else { pages.remove(&page) };
                assert!(fits, "allocated twice or freed without being allocated");
            }
        }
    }
    pages
}

pub fn redo(records: &[Logged], unlogged: &[(Lsn, PageId, Vec<u8>)]) -> BTreeMap<PageId, Vec<u8>> {
    let mut pages: BTreeMap<PageId, Vec<u8>> = BTreeMap::new();
    let size = PAGE_SIZE.get();
    let mut unlogged = unlogged.iter().peekable();
    for (lsn, bytes) in records {
        while let Some((_, id, image)) = unlogged.next_if(|(position, ..)| position < lsn) {
            pages.insert(*id, image.clone());
        }
        let (record, _) = Record::decode(bytes, *lsn).unwrap();
        for part in record.parts().filter(|part| part.kind == PageKind::BTREE) {
            let page = pages.entry(part.page).or_insert_with(|| vec![0; size]);
            if part.init {
                page.fill(0);
            }
            BTreeRedo.redo(page, *lsn, &part).unwrap();
            page[16..24].copy_from_slice(&lsn.get().to_le_bytes());
        }
    }
    pages
}

thread_local! {
    /// What [`redo`] takes pages to be long.
    pub static PAGE_SIZE: std::cell::Cell<usize> = const { std::cell::Cell::new(4096) };
}
