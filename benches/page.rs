//! One node: searches and edits in a leaf that is in the cache, by page size.
//!
//! ```text
//! cargo bench --bench page
//! ```

use divan::{Bencher, counter::ItemsCount};
use pagebox::page::bytes::{PageReader, PageWriter};
use pagebox::page::slotted::{Content, Search, SlottedPage, SlottedPageMut};
use pagebox::{PageId, TreeId};

const SIZES: [usize; 3] = [4096, 16384, 65536];

fn main() {
    divan::main();
}

fn key(n: u64) -> [u8; 24] {
    let mut key = *b"user0000................";
    key[8..16].copy_from_slice(&(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes());
    key
}

/// A leaf as full as it gets, and how many records it holds.
fn full(size: usize) -> (Vec<u8>, u64) {
    let mut bytes = vec![0; size];
    let content = Content::empty_leaf(TreeId::new(1));
    let content = Content::parse(&content).expect("a content");
    SlottedPageMut::new(PageWriter::from_slice(&mut bytes)).init(PageId::new(1), &content).expect("init");
    let mut n = 0;
    loop {
        let at = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node").search(&key(n)).expect("search");
        let mut node = SlottedPageMut::new(PageWriter::from_slice(&mut bytes));
        if node.insert_at(at.slot(), &key(n), 0, &[7; 150]).is_err() {
            return (bytes, n);
        }
        n += 1;
    }
}

#[divan::bench(args = SIZES)]
fn search(bencher: Bencher<'_, '_>, size: usize) {
    let (bytes, count) = full(size);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        n = (n + 7) % count;
        let node = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node");
        matches!(node.search(&key(n)), Ok(Search::Found(_)))
    });
}

#[divan::bench(args = SIZES)]
fn remove_and_insert(bencher: Bencher<'_, '_>, size: usize) {
    let (mut bytes, count) = full(size);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        n = (n + 7) % count;
        let at = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node").search(&key(n)).expect("search");
        let mut node = SlottedPageMut::new(PageWriter::from_slice(&mut bytes));
        node.remove_at(at.slot()).expect("it is there");
        node.insert_at(at.slot(), &key(n), 0, &[8; 150]).expect("it fitted before");
    });
}
