//! Checking the layouts, then timing them in turns.

use crate::Candidate;
use crate::keys::{self, Rng};
use crate::leaves::{self, Arena, Queries, Set};
use crate::options::{Options, PHASES, Phase};
use pagebox::page::bytes::PageReader;
use pagebox::page::slotted::SlottedPage;
use std::collections::BTreeMap;
use std::hint::black_box;

/// Warm leaves: half of a small second-level cache.
const WARM_BYTES: usize = 512 << 10;
/// Leaves that are inserted into, and records for each: as many as fit beside what the layouts add.
const INSERT_LEAVES: usize = 50;
const INSERTS: usize = 8;

/// The pages of every store, as built.
type Stores = BTreeMap<&'static str, Vec<Vec<u8>>>;

pub fn all(options: &Options, candidates: &[Candidate]) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}; {options:?}", load.trim());
    for &kind in &options.kinds {
        for &value in &options.values {
            for &page in &options.pages {
                let set = Set::new(keys::draw(kind, options.keys), value, page);
                one(options, candidates, &set, kind.name());
            }
        }
    }
}

fn one(options: &Options, candidates: &[Candidate], set: &Set, kind: &str) {
    let mut stores = Stores::new();
    for candidate in candidates {
        stores.entry(candidate.store).or_insert_with(|| (candidate.build)(set));
    }
    verify(candidates, set, &stores);
    let records = set.keys.present.len();
    println!(
        "\n## {kind}, values of {} bytes, pages of {} KiB: {records} keys, {} records a leaf",
        set.value,
        set.page >> 10,
        records / set.leaves.len()
    );
    let columns: Vec<_> =
        options.phases.iter().map(|&phase| phase_ns(options, candidates, set, &stores, phase)).collect();
    let names = options.phases.iter().map(|&phase| PHASES.iter().find(|p| p.0 == phase).map_or("", |p| p.1));
    println!("| ns | {} | bytes a record |", names.collect::<Vec<_>>().join(" | "));
    println!("|---|{}---|", "---|".repeat(columns.len()));
    for (i, candidate) in candidates.iter().enumerate() {
        let figures: Vec<_> = columns.iter().map(|column| format!("{:.0}", column[i])).collect();
        let extra = (candidate.aux)(set.capacity) as f64 / set.capacity as f64;
        println!("| {} | {} | {extra:.1} |", candidate.name, figures.join(" | "));
    }
}

/// Median nanoseconds of a search, or an insert, by candidate.
fn phase_ns(options: &Options, candidates: &[Candidate], set: &Set, stores: &Stores, phase: Phase) -> Vec<f64> {
    let mut samples = vec![Vec::new(); candidates.len()];
    if phase == Phase::Insert {
        for _ in 0..options.rounds {
            for (candidate, samples) in candidates.iter().zip(&mut samples) {
                samples.push(insert_ns(candidate, set, &stores[candidate.store]));
            }
        }
        return samples.into_iter().map(median).collect();
    }
    let cold = matches!(phase, Phase::ColdHits | Phase::ColdMisses);
    let bytes = if cold { options.cold_bytes } else { WARM_BYTES.max(2 * set.page) };
    let mut arenas = BTreeMap::new();
    for candidate in candidates {
        let aux = (candidate.aux)(set.capacity);
        arenas.entry(candidate.store).or_insert_with(|| Arena::new(&stores[candidate.store], aux, bytes));
    }
    let pages = arenas[candidates[0].store].pages;
    let queries = Queries::new(set, pages, options.queries, matches!(phase, Phase::ColdHits | Phase::WarmHits));
    for round in 0..options.rounds {
        for (candidate, samples) in candidates.iter().zip(&mut samples) {
            let arena = &arenas[candidate.store];
            if !cold && options.rounds > 1 {
                black_box((candidate.pass)(arena, &queries, black_box(0)));
            }
            let start = thread_ns();
            let sum = (candidate.pass)(arena, &queries, black_box(0));
            samples.push((thread_ns() - start) as f64 / queries.len() as f64);
            assert_eq!(sum, queries.sum, "{} in round {round}", candidate.name);
        }
    }
    samples.into_iter().map(median).collect()
}

/// The time this thread has run.
fn thread_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which lives across it.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0, "the thread's clock");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The absent keys that are inserted into some of the leaves, in random order.
fn batches(set: &Set) -> Vec<(usize, Vec<Vec<u8>>)> {
    let mut rng = Rng(11);
    let most = |key: usize| (set.page * 6 / 100 / (key + set.value + 10)).clamp(1, INSERTS);
    let mut out = Vec::new();
    for (i, leaf) in set.leaves.iter().enumerate() {
        let mut keys = set.keys.absent[leaf.absent.clone()].to_vec();
        if keys.is_empty() || out.len() == INSERT_LEAVES {
            continue;
        }
        for j in 1..keys.len() {
            keys.swap(j, rng.below(j + 1));
        }
        keys.truncate(most(keys.iter().map(Vec::len).max().unwrap_or(0)));
        out.push((i, keys));
    }
    out
}

fn insert_ns(candidate: &Candidate, set: &Set, built: &[Vec<u8>]) -> f64 {
    let (aux, value) = ((candidate.aux)(set.capacity), leaves::value(0, set.value));
    let mut page = vec![0; set.page];
    let (mut total, mut n) = (0, 0);
    for (leaf, keys) in batches(set) {
        page.copy_from_slice(&built[leaf]);
        let start = thread_ns();
        (candidate.add)(&mut page, aux, &keys, &value);
        total += thread_ns() - start;
        n += keys.len();
    }
    total as f64 / n as f64
}

/// Every layout finds every record and no other key, also after inserts, as a `BTreeMap` does.
fn verify(candidates: &[Candidate], set: &Set, stores: &Stores) {
    let numbered = set.keys.present.iter().enumerate().map(|(i, key)| (key.as_slice(), i as u64 + 1));
    let oracle: BTreeMap<&[u8], u64> = numbered.collect();
    let answer = |key: &[u8]| oracle.get(key).copied().unwrap_or(0);
    for candidate in candidates {
        let aux = (candidate.aux)(set.capacity);
        assert!(aux.is_multiple_of(64), "{}: nodes start on a line", candidate.name);
        for (leaf, page) in set.leaves.iter().zip(&stores[candidate.store]) {
            let keys = set.keys.present[leaf.keys.clone()].iter().chain(&set.keys.absent[leaf.absent.clone()]);
            for key in keys {
                assert_eq!((candidate.get)(page, aux, key), answer(key), "{}: {key:?}", candidate.name);
            }
        }
        for (i, added) in batches(set) {
            let (leaf, mut page) = (&set.leaves[i], stores[candidate.store][i].clone());
            (candidate.add)(&mut page, aux, &added, &leaves::value(0, set.value));
            let keys = set.keys.present[leaf.keys.clone()].iter().chain(&set.keys.absent[leaf.absent.clone()]);
            for key in keys {
                let expected = if added.contains(key) { 1 } else { answer(key) };
                assert_eq!((candidate.get)(&page, aux, key), expected, "{}, inserted: {key:?}", candidate.name);
            }
            same_as_filled(candidate, &page, aux);
        }
    }
}

/// What inserts kept up is what would be written anew. Not so in a hash table, whose order depends on that of inserts.
fn same_as_filled(candidate: &Candidate, page: &[u8], aux: usize) {
    if candidate.store == "directory" {
        return;
    }
    let node = SlottedPage::open(PageReader::from_slice(&page[aux..])).expect("a node");
    let mut anew = vec![0; aux];
    (candidate.fill)(&mut anew, &node);
    assert!(anew == page[..aux], "{}: what it adds is stale", candidate.name);
}
