//! Leaves: sorted keys cut into nodes of the crate, and memory full of them.

use crate::Layout;
use crate::keys::{Keys, Rng};
use pagebox::page::bytes::{PageReader, PageWriter};
use pagebox::page::slotted::{Content, SlottedPage, SlottedPageMut, common_prefix, shortest_separator};
use pagebox::{PageId, TreeId};
use std::alloc;
use std::ops::Range;

/// Header and hints of a node, and what a record takes beside key and value: documented in `page::slotted`.
const NODE_BYTES: usize = 128;
const RECORD_BYTES: usize = 10;
/// How full leaves are, in per cent: between a fresh split's half and full, a bit below the ln 2 of random inserts, so that
/// what a layout adds fits beside.
const FILL: usize = 65;

/// One leaf's share of the keys.
pub struct Leaf {
    pub keys: Range<usize>,
    pub absent: Range<usize>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
}

impl Leaf {
    fn prefix_len(&self) -> usize {
        self.upper.as_ref().map_or(0, |upper| common_prefix(&self.lower, upper))
    }
}

fn separator(keys: &[Vec<u8>], at: usize) -> Option<Vec<u8>> {
    let right = keys.get(at)?;
    Some(right[..shortest_separator(&keys[at - 1], right)].to_vec())
}

/// Cuts the keys into leaves that are equally full. All layouts get the same ones.
pub fn cut(keys: &Keys, value: usize, page: usize) -> Vec<Leaf> {
    let (all, room) = (&keys.present, page * FILL / 100);
    let mut leaves: Vec<Leaf> = Vec::new();
    let (mut first, mut lower, mut absent) = (0, Vec::new(), 0);
    while first < all.len() {
        let (mut end, mut bytes) = (first, 0);
        while end < all.len() {
            bytes += all[end].len() + value + RECORD_BYTES;
            let shared = all.get(end + 1).map_or(0, |next| common_prefix(&lower, next));
            if NODE_BYTES + lower.len() * 2 + bytes - shared * (end + 1 - first) > room && end > first {
                break;
            }
            end += 1;
        }
        let upper = separator(all, end);
        let absent_end = match &upper {
            Some(upper) => keys.absent.partition_point(|key| key < upper),
            None => keys.absent.len(),
        };
        leaves.push(Leaf { keys: first..end, absent: absent..absent_end, lower, upper: upper.clone() });
        (first, lower, absent) = (end, upper.unwrap_or_default(), absent_end);
    }
    leaves
}

/// The value of record `i`: its number comes first.
pub fn value(i: usize, len: usize) -> Vec<u8> {
    let mut value = vec![i as u8; len];
    value[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
    value
}

/// A leaf's content in the form that [`Content`] parses.
fn content(leaf: &Leaf, keys: &Keys, value_len: usize) -> Vec<u8> {
    let mut out = vec![1, 0, 0, 0, 0, u8::from(leaf.upper.is_some())];
    let upper = leaf.upper.as_deref().unwrap_or_default();
    for n in [leaf.lower.len(), upper.len(), leaf.keys.len()] {
        out.extend_from_slice(&(n as u16).to_le_bytes());
    }
    out.extend_from_slice(&leaf.lower);
    out.extend_from_slice(upper);
    for i in leaf.keys.clone() {
        let suffix = &keys.present[i][leaf.prefix_len()..];
        out.extend_from_slice(&(suffix.len() as u16).to_le_bytes());
        out.extend_from_slice(&(value_len as u16).to_le_bytes());
        out.extend_from_slice(suffix);
        out.extend_from_slice(&value(i, value_len));
    }
    out
}

/// What every layout works on.
pub struct Set {
    pub keys: Keys,
    pub leaves: Vec<Leaf>,
    pub value: usize,
    pub page: usize,
    /// The records a leaf may come to hold.
    pub capacity: usize,
}

impl Set {
    pub fn new(keys: Keys, value: usize, page: usize) -> Set {
        let leaves = cut(&keys, value, page);
        let most = leaves.iter().map(|leaf| leaf.keys.len()).max().unwrap_or(0);
        Set { keys, leaves, value, page, capacity: (most + 8).next_multiple_of(32) }
    }

    /// One page for each leaf: what the layout adds, then the node.
    pub fn build<L: Layout>(&self) -> Vec<Vec<u8>> {
        let aux = L::aux(self.capacity);
        let build = |leaf: &Leaf| {
            let mut page = vec![0; self.page];
            let bytes = content(leaf, &self.keys, self.value);
            let content = Content::parse(&bytes).expect("a content");
            assert_eq!(content.tree, TreeId::new(1));
            let (front, node) = page.split_at_mut(aux);
            SlottedPageMut::new(PageWriter::from_slice(node)).init(PageId::new(1), &content).expect("it fits");
            L::fill(front, &SlottedPage::open(PageReader::from_slice(node)).expect("a node"));
            page
        };
        self.leaves.iter().map(build).collect()
    }
}

/// Pages one behind the other, in huge pages as those of the pool.
pub struct Arena {
    memory: *mut u8,
    layout: alloc::Layout,
    page: usize,
    pub pages: usize,
    pub aux: usize,
}

impl Arena {
    /// Fills `bytes` bytes with copies of `built`.
    pub fn new(built: &[Vec<u8>], aux: usize, bytes: usize) -> Arena {
        let page = built[0].len();
        let layout = alloc::Layout::from_size_align(bytes.max(page), 2 << 20).expect("a layout");
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc::alloc(layout) };
        assert!(!memory.is_null(), "out of memory");
        // SAFETY: advice on a range that was just allocated; it changes no content.
        unsafe { libc::madvise(memory.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        let pages = layout.size() / page;
        for i in 0..pages {
            // SAFETY: page `i` lies within the allocation, and the source is a page long.
            unsafe { memory.add(i * page).copy_from_nonoverlapping(built[i % built.len()].as_ptr(), page) };
        }
        Arena { memory, layout, page, pages, aux }
    }

    #[inline(always)]
    pub fn page(&self, i: usize) -> &[u8] {
        assert!(i < self.pages);
        // SAFETY: within the allocation, initialized by `new`, and never written again.
        unsafe { std::slice::from_raw_parts(self.memory.add(i * self.page), self.page) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout.
        unsafe { alloc::dealloc(self.memory, self.layout) };
    }
}

/// Searches to make, their keys in the order of their use.
pub struct Queries {
    bytes: Vec<u8>,
    list: Vec<(u32, u32, u32)>,
    /// What all answers add up to.
    pub sum: u64,
}

impl Queries {
    /// `n` keys, present or absent ones, of random ones of `pages` leaves.
    pub fn new(set: &Set, pages: usize, n: usize, present: bool) -> Queries {
        let mut rng = Rng(7);
        let mut out = Queries { bytes: Vec::new(), list: Vec::new(), sum: 0 };
        while out.list.len() < n {
            let page = rng.below(pages);
            let leaf = &set.leaves[page % set.leaves.len()];
            let (keys, range) =
                if present { (&set.keys.present, &leaf.keys) } else { (&set.keys.absent, &leaf.absent) };
            if range.is_empty() {
                continue;
            }
            let i = range.start + rng.below(range.len());
            out.list.push((page as u32, out.bytes.len() as u32, keys[i].len() as u32));
            out.bytes.extend_from_slice(&keys[i]);
            out.sum = out.sum.wrapping_add(if present { i as u64 + 1 } else { 0 });
        }
        out
    }

    #[inline(always)]
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.list.iter().map(|&(page, at, n)| (page as usize, &self.bytes[at as usize..(at + n) as usize]))
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }
}
