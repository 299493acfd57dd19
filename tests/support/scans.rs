//! Scans beside writers: every key that was there throughout is met once, in order and with its value, and none that was
//! absent throughout.
//!
//! Each key has one writer, who notes in the key's word what it holds and whether a change is under way. A reader looks at
//! the words before and after its scan: a word that is the same, with no change under way, says what the scan must have met.

use super::histories::options;
use super::rng::{Rng, mix};
use super::unsteady::unsteady;
use super::watchdog::Watchdog;
use pagebox::{Batch, Store, Tree};
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// Different keys.
const KEYS: usize = 1600;
/// Keys in a row with one writer.
const BLOCK: usize = 32;
const WRITERS: usize = 2;
const SCANNERS: usize = 2;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub rounds: u64,
    /// Keys met, and of these (and of those not met) how many were judged.
    pub met: u64,
    pub judged_there: u64,
    pub judged_absent: u64,
    pub writes: u64,
    pub pages_allocated: u64,
    pub pages_freed: u64,
    pub evictions: u64,
}

impl Counts {
    /// Adds another count.
    pub fn add(&mut self, other: &Counts) {
        self.rounds += other.rounds;
        self.met += other.met;
        self.judged_there += other.judged_there;
        self.judged_absent += other.judged_absent;
        self.writes += other.writes;
        self.pages_allocated += other.pages_allocated;
        self.pages_freed += other.pages_freed;
        self.evictions += other.evictions;
    }
}

/// Every eighth key is there from the beginning to the end.
fn stays(i: usize) -> bool {
    i % 8 == 3
}

fn key(i: usize) -> Vec<u8> {
    let mut key = format!("{i:05}").into_bytes();
    key.resize(5 + mix(i as u64) as usize % 120, b'.');
    key
}

fn number(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key.get(..5)?).ok()?.parse().ok()
}

/// The value that version `version` of a key has.
fn value(i: usize, version: u64) -> Vec<u8> {
    let len = 16 + mix(version ^ (i as u64) << 32) % 500;
    [i as u64, version].map(u64::to_le_bytes).concat().into_iter().cycle().take(len as usize).collect()
}

/// A key's word: version, whether it is there, whether a change is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

impl Word {
    fn new(version: u64, there: bool, changing: bool) -> Word {
        Word(version << 2 | u64::from(there) << 1 | u64::from(changing))
    }

    fn version(self) -> u64 {
        self.0 >> 2
    }

    fn there(self) -> bool {
        self.0 & 2 != 0
    }

    fn changing(self) -> bool {
        self.0 & 1 != 0
    }
}

struct Bed {
    store: Store,
    tree: Tree,
    words: Vec<AtomicU64>,
    rounds: AtomicU64,
    over: AtomicBool,
    counts: Mutex<Counts>,
}

/// Scans until `over(rounds)`; an error says what a scan got wrong.
pub fn run(seed: u64, floor: usize, watchdog: &Watchdog, over: impl Fn(u64) -> bool + Sync) -> Result<Counts, String> {
    let text = |e: pagebox::Error| e.to_string();
    let (memory, flushers) = if seed.is_multiple_of(2) { (floor, 1) } else { (floor * 5 / 4, 2) };
    let store =
        options().memory(memory).flushers(flushers).disk(Arc::new(unsteady(seed))).open("/store").map_err(text)?;
    let tree = store.tree("t").map_err(text)?;
    for i in (0..KEYS).filter(|i| stays(*i)) {
        tree.insert(key(i), value(i, 1)).map_err(text)?;
    }
    let first = |i| Word::new(1, stays(i), false).0;
    let bed = Bed {
        store,
        tree,
        words: (0..KEYS).map(|i| AtomicU64::new(first(i))).collect(),
        rounds: AtomicU64::new(0),
        over: AtomicBool::new(false),
        counts: Mutex::default(),
    };
    let (failure, bed) = (Mutex::new(None), &bed);
    std::thread::scope(|scope| {
        for thread in 0..WRITERS + SCANNERS {
            let (failure, over) = (&failure, &over);
            scope.spawn(move || {
                let mut rng = Rng::of(seed, &[thread as u64]);
                while !bed.over.load(SeqCst) {
                    let work = catch_unwind(AssertUnwindSafe(|| {
                        if thread < WRITERS {
                            return bed.change(&mut rng, thread).map_err(|e| format!("a change: {e}"));
                        }
                        watchdog.feed();
                        bed.round(&mut rng)
                    }));
                    let outcome = work.unwrap_or_else(|_| Err("a panic, see above".to_owned()));
                    if let Err(error) = &outcome {
                        failure
                            .lock()
                            .unwrap_or_else(|e| e.into_inner())
                            .get_or_insert(format!("seed {seed}: {error}"));
                    }
                    if outcome.is_err() || over(bed.rounds.load(SeqCst)) {
                        bed.over.store(true, SeqCst);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)?;
    bed.store.check().map_err(text)?;
    let (mut counts, stats) = (*bed.counts.lock().unwrap_or_else(|e| e.into_inner()), bed.store.stats());
    counts.rounds = bed.rounds.load(SeqCst);
    counts.writes = stats.writes;
    (counts.pages_allocated, counts.pages_freed) = (stats.pages_allocated, stats.pages_freed);
    counts.evictions = stats.evictions;
    Ok(counts)
}

impl Bed {
    fn word(&self, i: usize) -> Word {
        Word(self.words[i].load(SeqCst))
    }

    /// Notes a change of these keys around `f`; they are there afterwards, with their next versions, or not.
    fn noted(&self, keys: &[usize], there: bool, f: impl FnOnce() -> pagebox::Result<()>) -> pagebox::Result<()> {
        for &i in keys {
            let word = self.word(i);
            self.words[i].store(Word::new(word.version() + 1, word.there(), true).0, SeqCst);
        }
        f()?;
        for &i in keys {
            self.words[i].store(Word::new(self.word(i).version(), there, false).0, SeqCst);
        }
        Ok(())
    }

    fn insert(&self, i: usize) -> pagebox::Result<()> {
        self.noted(&[i], true, || self.tree.insert(key(i), value(i, self.word(i).version())).map(drop))
    }

    fn remove(&self, i: usize) -> pagebox::Result<()> {
        self.noted(&[i], false, || self.tree.remove(key(i)).map(drop))
    }

    /// One change of the writer's own: of a key, of a block of neighbours one by one, at once, or by a range.
    fn change(&self, rng: &mut Rng, writer: usize) -> pagebox::Result<()> {
        let block = rng.below((KEYS / BLOCK / WRITERS) as u64) as usize * WRITERS + writer;
        let (from, to) = (block * BLOCK, (block + 1) * BLOCK);
        let goes: Vec<usize> = (from..to).filter(|i| !stays(*i)).collect();
        match rng.below(12) {
            0 => goes.iter().try_for_each(|i| self.insert(*i)),
            1 => goes.iter().rev().try_for_each(|i| self.insert(*i)),
            2 | 3 => goes.iter().try_for_each(|i| self.remove(*i)),
            4 => {
                // Between two keys that stay.
                let from = from + 4;
                let keys: Vec<usize> = (from..from + 7).collect();
                self.noted(&keys, false, || self.tree.remove_range(key(from)..=key(from + 6)).map(drop))
            }
            5 => {
                let keys: Vec<usize> = (0..4).map(|n| from + n * 8 + 3).collect();
                self.noted(&keys, true, || {
                    let mut batch = Batch::new();
                    for &i in &keys {
                        batch.insert(&self.tree, key(i), value(i, self.word(i).version()));
                    }
                    self.store.apply(&batch)
                })
            }
            _ => match from + rng.below(BLOCK as u64) as usize {
                i if stays(i) || rng.percent(55) => self.insert(i),
                i => self.remove(i),
            },
        }
    }

    /// One scan, in one of the ways there are, judged.
    fn round(&self, rng: &mut Rng) -> Result<(), String> {
        let (from, to) = if rng.percent(20) {
            (0, KEYS)
        } else {
            let from = rng.below(KEYS as u64) as usize;
            (from, (from + 1 + rng.below(200) as usize).min(KEYS))
        };
        let words = || (from..to).map(|i| self.word(i)).collect::<Vec<_>>();
        let before = words();
        let (way, met) = self.scan(rng, from, to).map_err(|e| format!("a scan of {from}..{to}: {e}"))?;
        let after = words();
        let place = |e: String| format!("{way} of {from}..{to}: {e}");
        if !met.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(place("a key came twice or out of order".to_owned()));
        }
        let mut counts = Counts { met: met.len() as u64, ..Counts::default() };
        let mut rest = met.into_iter().peekable();
        for (i, (before, after)) in (from..to).zip(before.into_iter().zip(after)) {
            let found = rest.next_if(|(found, _)| number(found) == Some(i));
            if let Some((name, bytes)) = &found {
                let version = bytes.get(8..16).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
                if *name != key(i) || *bytes != value(i, version) {
                    return Err(place(format!("key {i}: a record that nobody wrote: {name:?} = {bytes:?}")));
                }
                if version < before.version().saturating_sub(1) || version > after.version() {
                    return Err(place(format!("key {i}: version {version} is older or newer than the scan")));
                }
            }
            if before != after || before.changing() {
                continue;
            }
            match (&found, before.there()) {
                (Some((_, bytes)), true) if *bytes == value(i, before.version()) => counts.judged_there += 1,
                (None, false) => counts.judged_absent += 1,
                (Some(_), true) => return Err(place(format!("key {i} came with an old value"))),
                (Some(_), false) => return Err(place(format!("key {i} came, and was absent throughout"))),
                (None, true) => return Err(place(format!("key {i} was missed, and was there throughout"))),
            }
        }
        if let Some((name, _)) = rest.next() {
            return Err(place(format!("a key outside of the range or of nobody: {name:?}")));
        }
        self.rounds.fetch_add(1, SeqCst);
        let mut all = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        all.met += counts.met;
        all.judged_there += counts.judged_there;
        all.judged_absent += counts.judged_absent;
        Ok(())
    }

    /// The records of keys `from..to`, in ascending order if the tree gave them in order.
    #[allow(clippy::type_complexity)]
    fn scan(&self, rng: &mut Rng, from: usize, to: usize) -> pagebox::Result<(&'static str, Vec<(Vec<u8>, Vec<u8>)>)> {
        let low =
            if rng.percent(50) || from == 0 { Bound::Included(key(from)) } else { Bound::Excluded(key(from - 1)) };
        let high = if to == KEYS {
            Bound::Unbounded
        } else if rng.percent(50) {
            Bound::Included(key(to - 1))
        } else {
            Bound::Excluded(key(to))
        };
        let range = (low, high);
        let mut met = Vec::new();
        let visit = |key: &[u8], value: &[u8]| {
            met.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        match rng.below(4) {
            0 => {
                self.tree.scan(range, visit)?;
                Ok(("scan", met))
            }
            1 => {
                self.tree.scan_rev(range, visit)?;
                met.reverse();
                Ok(("scan_rev", met))
            }
            _ => {
                let (mut range, mut back) = (self.tree.range(range), Vec::new());
                // From one end for a while, then from the other, until they meet.
                loop {
                    let front = rng.percent(50);
                    for _ in 0..rng.between(1, 30) {
                        let next = if front { range.next() } else { range.next_back() };
                        let Some(pair) = next else {
                            met.extend(back.into_iter().rev());
                            return Ok(("range from both ends", met));
                        };
                        if front { met.push(pair?) } else { back.push(pair?) }
                    }
                }
            }
        }
    }
}
