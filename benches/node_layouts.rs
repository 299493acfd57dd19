//! Search inside a leaf: the crate's node against other layouts, in cold and in warm memory.
//!
//! All layouts work on the same leaves: nodes of the crate, with what the layout adds (fingerprints, heads apart) in front.
//! The slots stay sorted in all of them, so scans, splits and merges are those of the crate. A search is what a lookup does
//! in its leaf: the first lines are asked for as the pool does, six of them, then the key is found and the first eight
//! bytes of its value are read. The next leaf's address depends on the last answer, so searches do not overlap. Every answer
//! is compared with that of a `BTreeMap` before anything is timed.
//!
//! ```text
//! cargo bench --bench node_layouts                  a short run: two kinds of keys, 64 MiB, for a look
//! cargo bench --bench node_layouts -- --full        all kinds, values and page sizes, 256 MiB: for figures
//! ```
//!
//! Narrowed down by `--kinds urls,words`, `--values 8,24,150`, `--pages 4,16,64` (KiB), `--phases cold-hits,insert`, sized by
//! `--keys`, `--cold-mib`, `--queries`, `--rounds`. Times are those of the thread: being preempted does not count. Under
//! callgrind (see docs/design.md) the calls from `pass` to `find` are the searches, those from `add` to `added` what an insert
//! costs beside the node's own; one phase and one round, so that they do nothing else.

#![allow(unsafe_code)]

#[path = "node_layouts/apart.rs"]
mod apart;
#[path = "node_layouts/hash.rs"]
mod hash;
#[path = "node_layouts/heads.rs"]
mod heads;
#[path = "node_layouts/keys.rs"]
mod keys;
#[path = "node_layouts/leaves.rs"]
mod leaves;
#[path = "node_layouts/options.rs"]
mod options;
#[path = "node_layouts/run.rs"]
mod run;
#[path = "node_layouts/vector.rs"]
mod vector;

use leaves::{Arena, Queries, Set};
use options::Options;
use pagebox::page::bytes::{OutOfBounds, PageReader, PageWriter};
use pagebox::page::slotted::{SlottedPage, SlottedPageMut};

/// The slot of a key, if it is there.
type Found = Result<Option<usize>, OutOfBounds>;

/// A way to lay out and search a leaf. Its page is what [`Layout::aux`] bytes of its own say, then a node of the crate.
trait Layout {
    const NAME: &'static str;
    /// Layouts of the same name have the same bytes.
    const STORE: &'static str;

    /// The bytes it adds for so many records.
    fn aux(_capacity: usize) -> usize {
        0
    }

    /// Writes what it adds.
    fn fill(_aux: &mut [u8], _node: &SlottedPage<'_>) {}

    /// Finds a key that lies between the leaf's fences.
    fn find(page: &[u8], aux: usize, key: &[u8]) -> Found;

    /// Brings what it adds up to date after an insert in front of slot `at` of a node that had `count`.
    fn added(_page: &mut [u8], _aux: usize, _at: usize, _count: usize, _key: &[u8]) {}
}

/// The first eight bytes of a key's value, 0 if the key is absent.
#[inline(always)]
fn get<L: Layout>(page: &[u8], aux: usize, key: &[u8]) -> u64 {
    let read = |i: usize| -> Result<u64, OutOfBounds> {
        let node = SlottedPage::open(PageReader::from_slice(&page[aux..]))?;
        node.reader().u64(node.value_range(i)?.0)
    };
    L::find(page, aux, key).and_then(|slot| slot.map_or(Ok(0), read)).expect("a sound page")
}

/// The lines that the pool asks for when a frame is guessed (src/pool/fix.rs).
const AHEAD: [usize; 6] = [0, 64, 128, 256, 384, 512];

/// Where byte `at` of a leaf lies here. In a real one, what the layout adds would lie between hints and slots.
#[inline(always)]
fn placed(at: usize, aux: usize) -> usize {
    match at {
        0..128 => aux + at,
        _ if at < 128 + aux => at - 128,
        _ => at,
    }
}

/// All queries once, each after the one before it. `zero` is 0, which the compiler does not know.
#[inline(never)]
fn pass<L: Layout>(arena: &Arena, queries: &Queries, zero: u64) -> u64 {
    let (mut sum, mut last) = (0u64, 0);
    for (page, key) in queries.iter() {
        let page = arena.page(page + (last & zero) as usize);
        for line in AHEAD {
            vector::prefetch(page, placed(line, arena.aux));
        }
        last = get::<L>(page, arena.aux, key);
        sum = sum.wrapping_add(last);
    }
    sum
}

/// Inserts records into one leaf.
#[inline(never)]
fn add<L: Layout>(page: &mut [u8], aux: usize, keys: &[Vec<u8>], value: &[u8]) {
    for key in keys {
        let node = SlottedPage::open(PageReader::from_slice(&page[aux..])).expect("a node");
        let (count, at) = (node.count(), node.search(key).expect("a sound page").slot());
        let mut node = SlottedPageMut::new(PageWriter::from_slice(&mut page[aux..]));
        node.insert_at(at, key, 0, value).expect("there is room");
        L::added(page, aux, at, count, key);
    }
}

/// Inserts records of the keys, with the value, into a page with so many bytes in front of its node.
type Add = fn(&mut [u8], usize, &[Vec<u8>], &[u8]);

/// A layout as values.
#[derive(Clone, Copy)]
struct Candidate {
    name: &'static str,
    store: &'static str,
    aux: fn(usize) -> usize,
    build: fn(&Set) -> Vec<Vec<u8>>,
    get: fn(&[u8], usize, &[u8]) -> u64,
    pass: fn(&Arena, &Queries, u64) -> u64,
    add: Add,
    fill: fn(&mut [u8], &SlottedPage<'_>),
}

fn candidate<L: Layout>() -> Candidate {
    Candidate {
        name: L::NAME,
        store: L::STORE,
        aux: L::aux,
        build: Set::build::<L>,
        get: get::<L>,
        pass: pass::<L>,
        add: add::<L>,
        fill: L::fill,
    }
}

fn main() {
    let options = Options::from_args(std::env::args().skip(1));
    let candidates = [
        candidate::<heads::Node>(),
        candidate::<heads::NoHints>(),
        candidate::<heads::LowerBound>(),
        candidate::<heads::HintsLowerBound>(),
        candidate::<heads::HintsVector>(),
        candidate::<heads::Interpolation>(),
        candidate::<heads::FullKeys>(),
        candidate::<hash::Bytes>(),
        candidate::<hash::Words>(),
        candidate::<hash::HintsBytes>(),
        candidate::<hash::Directory>(),
        candidate::<apart::Sorted>(),
        candidate::<apart::Eytzinger>(),
    ];
    run::all(&options, &candidates);
}
