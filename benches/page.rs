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

/// Another value of the same size in the place of the old one.
#[divan::bench(args = SIZES)]
fn update(bencher: Bencher<'_, '_>, size: usize) {
    let (mut bytes, count) = full(size);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        n = (n + 7) % count;
        let at = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node").search(&key(n)).expect("search");
        let mut node = SlottedPageMut::new(PageWriter::from_slice(&mut bytes));
        node.update_at(at.slot(), 0, &[n as u8; 150]).expect("the same size");
    });
}

/// What a split does to a full leaf: chooses the middle, builds the right half in a page of its own, cuts the left one.
#[divan::bench(args = SIZES)]
fn split(bencher: Bencher<'_, '_>, size: usize) {
    let (bytes, count) = full(size);
    let (mut separator, mut half) = (Vec::new(), Vec::new());
    bencher.with_inputs(|| (bytes.clone(), vec![0; size])).bench_local_refs(|(left, right)| {
        let node = SlottedPage::open(PageReader::from_slice(left)).expect("node");
        separator.clear();
        node.key(count as usize / 2, &mut separator).expect("a key");
        half.clear();
        node.encode_right(count as usize / 2, &separator, &mut half).expect("the right half");
        let content = Content::parse(&half).expect("a content");
        SlottedPageMut::new(PageWriter::from_slice(right)).init(PageId::new(2), &content).expect("init");
        SlottedPageMut::new(PageWriter::from_slice(left)).truncate(&separator).expect("the left half");
    });
}

/// A merge of two halves.
#[divan::bench(args = SIZES)]
fn absorb(bencher: Bencher<'_, '_>, size: usize) {
    let (mut bytes, count) = full(size);
    let (mut separator, mut half) = (Vec::new(), Vec::new());
    let node = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node");
    node.key(count as usize / 2, &mut separator).expect("a key");
    node.encode_right(count as usize / 2, &separator, &mut half).expect("the right half");
    SlottedPageMut::new(PageWriter::from_slice(&mut bytes)).truncate(&separator).expect("the left half");
    let right = Content::parse(&half).expect("a content");
    bencher.with_inputs(|| bytes.clone()).bench_local_refs(|left| {
        SlottedPageMut::new(PageWriter::from_slice(left)).absorb(&right).expect("it fitted before");
    });
}

/// A leaf whose free bytes lie scattered, moved together.
#[divan::bench(args = SIZES)]
fn compact(bencher: Bencher<'_, '_>, size: usize) {
    let (mut bytes, count) = full(size);
    for n in (0..count).step_by(2) {
        let at = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node").search(&key(n)).expect("search");
        SlottedPageMut::new(PageWriter::from_slice(&mut bytes)).remove_at(at.slot()).expect("it is there");
    }
    bencher.with_inputs(|| bytes.clone()).bench_local_refs(|bytes| {
        SlottedPageMut::new(PageWriter::from_slice(bytes)).compact(0).expect("a sound page");
    });
}

/// An inner node as full as it gets, and its separators.
fn full_inner(size: usize) -> (Vec<u8>, u64) {
    let mut content = Vec::new();
    Content::encode_root(TreeId::new(1), 1, &key(0), [PageId::new(2), PageId::new(3)], &mut content);
    let content = Content::parse(&content).expect("a content");
    let mut bytes = vec![0; size];
    SlottedPageMut::new(PageWriter::from_slice(&mut bytes)).init(PageId::new(1), &content).expect("init");
    let mut n = 1;
    while SlottedPageMut::new(PageWriter::from_slice(&mut bytes)).insert_separator(&key(n), PageId::new(n + 3)).is_ok()
    {
        n += 1;
    }
    (bytes, n)
}

/// What a descent does at an inner level: which child.
#[divan::bench(args = SIZES)]
fn child_for(bencher: Bencher<'_, '_>, size: usize) {
    let (bytes, count) = full_inner(size);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        n = (n + 7) % count;
        let node = SlottedPage::open(PageReader::from_slice(&bytes)).expect("node");
        node.child_for(&key(n)).expect("a child")
    });
}

#[divan::bench(args = SIZES)]
fn remove_and_insert_separator(bencher: Bencher<'_, '_>, size: usize) {
    let (mut bytes, count) = full_inner(size);
    let mut n = 0;
    bencher.counter(ItemsCount::new(1u64)).bench_local(|| {
        n = (n + 7) % count;
        let mut node = SlottedPageMut::new(PageWriter::from_slice(&mut bytes));
        node.remove_separator(&key(n)).expect("it is there");
        node.insert_separator(&key(n), PageId::new(n + 3)).expect("it fitted before");
    });
}
