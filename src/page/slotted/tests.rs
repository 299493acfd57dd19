use super::ops::*;
use super::*;
use crate::page::bytes::PageWriter;
use crate::types::{PageId, TreeId};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::collections::BTreeMap;

#[cfg(feature = "btree")]
mod runs;

const SIZES: [usize; 5] = [4096, 8192, 16384, 32768, 65536];
const ID: PageId = PageId::new(77);

/// A page with 8-byte alignment, as frames have.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Page(Vec<u64>, usize);

impl Page {
    fn new(size: usize) -> Page {
        Page(vec![0; size / 8], size)
    }

    fn writer(&mut self) -> PageWriter<'_> {
        // SAFETY: the words are this test's own memory, alive and unshared for the borrow (L3).
        unsafe { PageWriter::new(self.0.as_mut_ptr().cast(), self.1) }
    }

    fn reader(&self) -> PageReader<'_> {
        // SAFETY: the words are this test's own memory and do not change during the borrow (P3).
        unsafe { PageReader::new(self.0.as_ptr().cast(), self.1) }
    }

    fn node(&self) -> SlottedPage<'_> {
        SlottedPage::open(self.reader()).expect("a sound node")
    }

    fn apply(&mut self, op: u8, payload: &[u8]) -> Result<(), EditError> {
        apply(op, self.writer(), ID, payload)
    }

    fn leaf(size: usize, lower: &[u8], upper: Option<&[u8]>) -> Page {
        Page::with(size, 0, lower, upper, &[])
    }

    fn inner(size: usize, lower: &[u8], upper: Option<&[u8]>, first: u64) -> Page {
        Page::with(size, 1, lower, upper, &[first])
    }

    fn with(size: usize, level: u8, lower: &[u8], upper: Option<&[u8]>, children: &[u64]) -> Page {
        let mut page = Page::new(size);
        let mut bytes = Vec::new();
        let mut encoder = content::Encoder::new(&mut bytes, TreeId::new(9), level, lower, upper);
        children.iter().for_each(|&child| encoder.child(PageId::new(child)));
        encoder.finish();
        page.apply(INIT, &bytes).expect("an empty node fits");
        page
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; self.1];
        self.reader().copy_to(0, &mut out).expect("whole page");
        out
    }
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_record(key, 0, value, &mut out);
    out
}

fn fences(node: &SlottedPage<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    node.lower_fence(&mut lower).expect("fence");
    let bounded = node.upper_fence(&mut upper).expect("fence");
    (lower, bounded.then_some(upper))
}

fn check(page: &Page) {
    let (lower, upper) = fences(&page.node());
    page.node().verify(&lower, upper.as_deref()).expect("a sound node");
}

fn records(page: &Page) -> Vec<(Vec<u8>, Vec<u8>)> {
    let node = page.node();
    (0..node.count())
        .map(|i| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            node.key(i, &mut key).expect("key");
            node.value(i, &mut value).expect("value");
            (key, value)
        })
        .collect()
}

/// Key and value shapes that hit the limits: lengths are in fractions of what the page allows.
#[derive(Clone, Debug)]
struct Op {
    kind: u8,
    key: Vec<u8>,
    key_pad: usize,
    value: usize,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Op {
        let n = usize::arbitrary(g) % 4;
        let letters = [0u8, 1, b'a', b'b', 0xff];
        let key = (0..n).map(|_| *g.choose(&letters).expect("letters")).collect();
        let pads = [0, 0, 0, 1, 3, 4, 5, 8, 20, usize::MAX - 1, usize::MAX];
        let values = [0, 1, 2, 7, 50, 100, 300, 1000, usize::MAX - 1, usize::MAX];
        Op {
            kind: u8::arbitrary(g) % 8,
            key,
            key_pad: *g.choose(&pads).expect("pads"),
            value: *g.choose(&values).expect("values"),
        }
    }
}

impl Op {
    fn key(&self, size: usize) -> Vec<u8> {
        let mut key = self.key.clone();
        let max = max_key(size);
        let pad = match self.key_pad {
            usize::MAX => max - key.len(),
            p if p == usize::MAX - 1 => max - key.len() - 1,
            p => p,
        };
        key.extend(std::iter::repeat_n(b'k', pad));
        key
    }

    fn value(&self, size: usize, key_len: usize) -> Vec<u8> {
        let max = max_inline_value(size, key_len);
        let n = match self.value {
            usize::MAX => max,
            v if v == usize::MAX - 1 => max - 1,
            v => v.min(max),
        };
        vec![b'0' + (n % 10) as u8; n]
    }
}

/// A sequence of leaves, split and merged as a tree would, against a `BTreeMap`; every change also as redo on a twin.
struct Leaves {
    size: usize,
    pages: Vec<Page>,
}

impl Leaves {
    fn find(&self, key: &[u8]) -> usize {
        self.pages.iter().position(|page| page.node().covers(key).expect("fences")).expect("fences cover every key")
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        for _ in 0..64 {
            let i = self.find(key);
            let page = &mut self.pages[i];
            let at = page.node().search(key).expect("search");
            let found = if let Search::Found(slot) = at { Some(slot) } else { None };
            if page.node().fits_record(found, key.len(), value.len()).expect("fits") {
                let mut twin = page.clone();
                let op = if found.is_some() { UPDATE } else { INSERT };
                let mut live = SlottedPageMut::new(page.writer());
                match at {
                    Search::Found(slot) => live.update_at(slot, 0, value),
                    Search::Insert(slot) => live.insert_at(slot, key, 0, value),
                }
                .expect("it fits");
                twin.apply(op, &record(key, value)).expect("redo");
                assert!(twin == *page, "redo differs from the live change");
                return;
            }
            self.split(i, key, value.len(), at);
        }
        panic!("64 splits made no room for a legal record");
    }

    fn split(&mut self, i: usize, key: &[u8], value_len: usize, at: Search) {
        let (mut separator, mut right) = (Vec::new(), Vec::new());
        let node = self.pages[i].node();
        let split =
            node.choose_leaf_split(key, value_len, at, &mut separator).expect("a legal record can be split for");
        node.encode_right(split.slot, &separator, &mut right).expect("encode");
        let mut new = Page::new(self.size);
        new.apply(INIT, &right).expect("the right half fits");
        self.pages[i].apply(TRUNCATE, &separator).expect("the left half fits");
        check(&new);
        check(&self.pages[i]);
        self.pages.insert(i + 1, new);
    }

    fn remove(&mut self, key: &[u8]) -> bool {
        let i = self.find(key);
        let page = &mut self.pages[i];
        let Search::Found(slot) = page.node().search(key).expect("search") else {
            assert!(page.apply(REMOVE, key).is_err());
            return false;
        };
        let mut twin = page.clone();
        SlottedPageMut::new(page.writer()).remove_at(slot).expect("there");
        twin.apply(REMOVE, key).expect("redo");
        assert!(twin == *page);
        true
    }

    fn merge(&mut self, i: usize) {
        if i + 1 >= self.pages.len() {
            return;
        }
        let right = self.pages[i + 1].clone();
        let bytes = self.pages[i].node().merged_bytes(&right.node()).expect("merged bytes");
        let mut content = Vec::new();
        right.node().encode_all(&mut content).expect("encode");
        let before = self.pages[i].clone();
        let merged = self.pages[i].apply(ABSORB, &content);
        assert_eq!(merged.is_ok(), bytes <= self.size, "merged_bytes is exact");
        match merged {
            Ok(()) => {
                check(&self.pages[i]);
                self.pages.remove(i + 1);
            }
            Err(_) => assert!(before == self.pages[i]),
        }
    }
}

#[test]
fn leaves_behave_as_a_map_at_every_page_size() {
    fn property(size_index: usize, ops: Vec<Op>) -> bool {
        let size = SIZES[size_index % SIZES.len()];
        let mut model = BTreeMap::new();
        let mut leaves = Leaves { size, pages: vec![Page::leaf(size, b"", None)] };
        for op in ops {
            let key = op.key(size);
            let value = op.value(size, key.len());
            match op.kind {
                0..=4 => {
                    leaves.put(&key, &value);
                    model.insert(key, value);
                }
                5 | 6 => assert_eq!(leaves.remove(&key), model.remove(&key).is_some()),
                _ => leaves.merge(op.value % leaves.pages.len()),
            }
            leaves.pages.iter().for_each(check);
        }
        let all: Vec<_> = leaves.pages.iter().flat_map(records).collect();
        all == model.into_iter().collect::<Vec<_>>()
    }
    QuickCheck::with_rng(Gen::new(150)).tests(150).quickcheck(property as fn(usize, Vec<Op>) -> bool);
}

trait WithRng {
    fn with_rng(g: Gen) -> QuickCheck;
}
impl WithRng for QuickCheck {
    fn with_rng(g: Gen) -> QuickCheck {
        QuickCheck::new().rng(g)
    }
}

#[test]
fn inner_nodes_behave_as_a_map_at_every_page_size() {
    fn property(size_index: usize, ops: Vec<Op>) -> bool {
        let size = SIZES[size_index % SIZES.len()];
        let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let mut nodes = vec![Page::inner(size, b"", None, 1)];
        let mut parents: Vec<(Vec<u8>, u64)> = Vec::new();
        for (n, op) in (2u64..).zip(ops) {
            let key = op.key(size);
            if key.is_empty() || parents.iter().any(|(up, _)| *up == key) {
                continue;
            }
            let mut i = nodes.iter().position(|p| p.node().covers(&key).expect("fences")).expect("covered");
            if op.kind >= 6 {
                let there = model.remove(&key).is_some();
                assert_eq!(nodes[i].apply(REMOVE_SEPARATOR, &key).is_ok(), there);
            } else if !model.contains_key(&key) {
                let mut rounds = 0;
                while !nodes[i].node().fits_separator(key.len()).expect("fits") {
                    let (mut up, mut right) = (Vec::new(), Vec::new());
                    let split = nodes[i].node().choose_inner_split(&key, &mut up).expect("splits");
                    let child = nodes[i].node().child(split.slot + 1).expect("child");
                    nodes[i].node().encode_right(split.slot + 1, &up, &mut right).expect("encode");
                    let mut new = Page::new(size);
                    new.apply(INIT, &right).expect("right half fits");
                    nodes[i].apply(TRUNCATE, &up).expect("left half fits");
                    assert_eq!(new.node().child(0).expect("child"), child);
                    nodes.insert(i + 1, new);
                    model.remove(&up);
                    parents.push((up, child.get()));
                    i = nodes.iter().position(|p| p.node().covers(&key).expect("fences")).expect("covered");
                    rounds += 1;
                    assert!(rounds < 10, "splits make room");
                }
                let mut payload = Vec::new();
                encode_separator(&key, PageId::new(n), &mut payload);
                nodes[i].apply(INSERT_SEPARATOR, &payload).expect("it fits");
                model.insert(key, n);
            }
            nodes.iter().for_each(check);
        }
        let mut all = parents;
        all.extend(model);
        all.sort();
        let expected: Vec<u64> = std::iter::once(1).chain(all.iter().map(|(_, child)| *child)).collect();
        let children: Vec<u64> = nodes
            .iter()
            .flat_map(|p| (0..=p.node().count()).map(|i| p.node().child(i).expect("child").get()).collect::<Vec<_>>())
            .collect();
        children == expected
    }
    QuickCheck::with_rng(Gen::new(200)).tests(150).quickcheck(property as fn(usize, Vec<Op>) -> bool);
}

#[test]
fn descents_choose_the_child_that_covers_the_key() {
    let mut page = Page::inner(4096, b"", None, 100);
    for i in 1..=60u64 {
        let mut payload = Vec::new();
        encode_separator(format!("k{:02}", i).as_bytes(), PageId::new(100 + i), &mut payload);
        page.apply(INSERT_SEPARATOR, &payload).expect("fits");
    }
    check(&page);
    let node = page.node();
    assert!(node.count() >= HINT_MIN);
    for i in 0..=60u64 {
        let key = format!("k{:02}", i);
        assert_eq!(node.child_for(key.as_bytes()), Ok(i as usize));
        assert_eq!(node.child_for(format!("{key}x").as_bytes()), Ok(i as usize));
        assert_eq!(node.child_before(key.as_bytes()), Ok((i as usize).saturating_sub(1)));
        assert_eq!(node.child_before(format!("{key}x").as_bytes()), Ok(i as usize));
    }
    assert_eq!(node.child_for(b"a"), Ok(0));
    assert_eq!(node.child_before(b"z"), Ok(60));
}

#[test]
fn garbage_never_panics_or_hangs_a_reader() {
    fn property(size_index: usize, seed: u64, patch: Vec<(u16, u8)>, sound: bool, key: Vec<u8>) -> bool {
        let size = SIZES[size_index % SIZES.len()];
        let mut page = Page::leaf(size, b"p", Some(b"q"));
        let mut state = seed | 1;
        if sound {
            for i in 0..40u32 {
                let key = format!("p{:03}", (i * 37) % 101);
                page.apply(INSERT, &record(key.as_bytes(), &[7; 20])).ok();
            }
        } else {
            for word in &mut page.0 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *word = state;
            }
        }
        for (at, value) in patch {
            // Half of the patches into the header and slots, where they hurt.
            let at = usize::from(at) % if at % 2 == 0 { 256 } else { size };
            page.writer().set_u8(at, value);
        }
        let mut out = Vec::new();
        if let Ok(node) = SlottedPage::open(page.reader()) {
            let _ = (node.search(&key), node.child_for(&key), node.child_before(&key), node.covers(&key));
            #[cfg(feature = "btree")]
            let _ = aimed(&node, &key);
            let _ = (node.first_not_below(&key), node.free_bytes(), node.used_bytes(), node.lower_fence(&mut out));
            let _ = (node.upper_fence(&mut out), node.verify(b"p", Some(b"q")), node.encode_all(&mut out));
            let _ = (node.merged_bytes(&node), node.fits_record(None, key.len(), 9), node.fits_separator(key.len()));
            for i in 0..node.count() {
                out.clear();
                let _ = (node.key(i, &mut out), node.value(i, &mut out), node.child(i), node.value_is(i, &key));
            }
            let _ = node.choose_leaf_split(&key, 10, Search::Insert(key.len()), &mut out);
            let _ = node.choose_inner_split(&key, &mut out);
            let _ = node.split_leaf_at(&key);
        }
        for op in 0..12 {
            let mut copy = page.clone();
            let _ = copy.apply(op, &key);
            let _ = copy.apply(op, &record(&key, b"value"));
            let _ = copy.apply(op, b"p001");
            let mut payload = Vec::new();
            encode_separator(b"pab", PageId::new(4), &mut payload);
            let _ = copy.apply(op, &payload);
        }
        true
    }
    QuickCheck::with_rng(Gen::new(60))
        .tests(1500)
        .quickcheck(property as fn(usize, u64, Vec<(u16, u8)>, bool, Vec<u8>) -> bool);
}

#[test]
fn garbage_payloads_are_refused() {
    fn property(op: u8, payload: Vec<u8>, cut: usize) -> bool {
        let mut page = Page::leaf(4096, b"a", Some(b"b"));
        page.apply(INSERT, &record(b"ab", b"1")).expect("fits");
        let _ = page.apply(op % 12, &payload);
        // A real content, cut short or with a flipped bit, must parse to an error or to a node that verifies.
        let mut content = Vec::new();
        let mut source = Page::leaf(4096, b"a", Some(b"b"));
        source.apply(INSERT, &record(b"ac", b"22")).expect("fits");
        source.node().encode_all(&mut content).expect("encode");
        let at = cut % content.len();
        for mutate in 0..2 {
            let mut bytes = content.clone();
            if mutate == 0 {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << (cut / content.len() % 8);
            }
            let mut page = Page::new(4096);
            if page.apply(INIT, &bytes).is_ok() {
                check(&page);
            }
        }
        true
    }
    QuickCheck::with_rng(Gen::new(80)).tests(3000).quickcheck(property as fn(u8, Vec<u8>, usize) -> bool);
}

#[test]
fn sorted_loads_fill_pages_in_both_directions() {
    for size in [4096, 16384] {
        for descending in [false, true] {
            let mut leaves = Leaves { size, pages: vec![Page::leaf(size, b"", None)] };
            let n = size;
            for i in 0..n {
                let i = if descending { n - i } else { i };
                leaves.put(format!("user{:020}", i).as_bytes(), &[7; 100]);
            }
            let full = leaves.pages.len() - 2;
            let used: usize = leaves.pages[1..=full].iter().map(|p| size - p.node().free_bytes().expect("free")).sum();
            let fill = used as f64 / (full * size) as f64;
            assert!(fill > 0.95, "{size} descending {descending}: {fill}");
        }
    }
}

#[test]
fn limits_hold_what_they_promise() {
    for size in SIZES {
        let m = max_key(size);
        assert!(m >= 640);
        let lower = vec![b'a'; m];
        let mut upper = vec![b'b'; m];
        upper[0] = b'c';
        let mut leaf = Page::leaf(size, &lower, Some(&upper));
        let key = vec![b'b'; m];
        let value = vec![1; max_inline_value(size, m)];
        assert_eq!(leaf.node().fits_record(None, m, value.len()), Ok(true));
        assert_eq!(leaf.node().fits_record(None, m, value.len() + 1), Ok(value.len() == usize::from(u16::MAX)));
        leaf.apply(INSERT, &record(&key, &value)).expect("fits");
        check(&leaf);
        let mut inner = Page::inner(size, &lower, Some(&upper), 1);
        for i in 0..3u8 {
            let mut separator = vec![b'b'; m];
            separator[m - 1] = i;
            let mut payload = Vec::new();
            encode_separator(&separator, PageId::new(2 + u64::from(i)), &mut payload);
            inner.apply(INSERT_SEPARATOR, &payload).expect("three maximal separators fit");
        }
        check(&inner);
    }
}

#[test]
fn inner_nodes_merge_with_their_separator_between() {
    let mut left = Page::inner(4096, b"ka", Some(b"km"), 1);
    let mut right = Page::inner(4096, b"km", None, 10);
    for (page, key, child) in [(&mut left, b"kc", 2), (&mut right, b"kq", 11)] {
        let mut payload = Vec::new();
        encode_separator(key, PageId::new(child), &mut payload);
        page.apply(INSERT_SEPARATOR, &payload).expect("fits");
    }
    let mut content = Vec::new();
    right.node().encode_all(&mut content).expect("encode");
    left.apply(ABSORB, &content).expect("fits");
    left.node().verify(b"ka", None).expect("sound");
    let children: Vec<u64> = (0..=3).map(|i| left.node().child(i).expect("child").get()).collect();
    assert_eq!(children, [1, 2, 10, 11]);
    assert_eq!(left.node().child_for(b"km"), Ok(2));
}

#[test]
fn a_freed_page_is_no_node() {
    let mut page = Page::leaf(4096, b"", None);
    page.apply(FREE, &[]).expect("free");
    assert!(page.apply(INSERT, &record(b"a", b"b")).is_err());
    assert_eq!(page.bytes()[4], crate::types::PageKind::FREE.get());
    assert!(page.node().verify(b"", None).is_err());
}

#[test]
fn separators_are_as_short_as_can_be() {
    for (left, right, expected) in [("abc", "abd", "abd"), ("abc", "b", "b"), ("ab", "abcdef", "abc"), ("", "xyz", "x")]
    {
        let n = shortest_separator(left.as_bytes(), right.as_bytes());
        assert_eq!(&right[..n], expected);
    }
}

/// A search in its three pieces.
#[cfg(feature = "btree")]
fn aimed(node: &SlottedPage<'_>, key: &[u8]) -> Result<Search, OutOfBounds> {
    let mut aim = node.aim(key)?;
    node.close_in(&mut aim)?;
    node.prefetch_entry(node.likely_entry(&aim));
    node.search_aimed(key, &aim)
}

/// Keys of few different bytes, so that heads and fences are often equal, or end early.
fn narrow(key: &[u8]) -> Vec<u8> {
    key.iter().map(|byte| [0, 1, b'p', 0xff][usize::from(*byte) % 4]).take(9).collect()
}

#[test]
#[cfg(feature = "btree")]
fn a_search_in_pieces_finds_what_a_search_finds() {
    fn property(keys: Vec<Vec<u8>>, probes: Vec<Vec<u8>>) {
        let mut page = Page::leaf(4096, b"p", Some(b"q"));
        let within = |key: &Vec<u8>| [b"p", narrow(key).as_slice()].concat();
        for key in keys.iter().map(within) {
            page.apply(INSERT, &record(&key, b"v")).ok();
        }
        for key in keys.iter().chain(&probes).map(within) {
            assert_eq!(aimed(&page.node(), &key), page.node().search(&key), "{key:?}");
        }
    }
    for n in [10, 100, 300] {
        QuickCheck::with_rng(Gen::new(n)).quickcheck(property as fn(_, _));
    }
}

#[test]
fn heads_of_fences_never_contradict_the_fences() {
    fn property(lower: Vec<u8>, upper: Vec<u8>, bounded: bool, keys: Vec<Vec<u8>>) {
        let (lower, upper) = (narrow(&lower), narrow(&upper));
        let upper = bounded.then_some(upper).filter(|upper| *upper > lower);
        let page = Page::leaf(4096, &lower, upper.as_deref());
        for key in keys.iter().map(|key| narrow(key)).chain([lower.clone()]).chain(upper.clone()) {
            let covered = key >= lower && upper.as_ref().is_none_or(|upper| key < *upper);
            assert_eq!(page.node().covers(&key), Ok(covered), "{key:?} in {lower:?}..{upper:?}");
        }
    }
    QuickCheck::new().tests(1000).quickcheck(property as fn(_, _, _, _));
}
