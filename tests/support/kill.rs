//! The kill campaign: a child process writes with four threads until SIGKILL, and this process, which is not harmed, keeps
//! the acknowledgements and judges what the next life finds.
//!
//! Every operation is a function of (seed, life, thread, number), so the parent knows what was issued without being told.
//! Keys are of two sorts. A thread's *own* keys are written by it alone: what is recovered of them must be the state after
//! some prefix of the thread's operations that contains all acknowledged ones, batches whole. *Shared* keys are written by
//! all: the recovered value must come from an operation that no acknowledged operation on that key followed.
//!
//! A life begins by reading the whole store under `check()` and sending what it found; then it writes. A life that is
//! killed before it has sent everything was killed during recovery, and the next one has to meet the same expectation.

use super::oracle::{State, Write, apply, differences};
use super::rng::{Rng, mix};
use super::run::{checked_dump, tree_name};
use super::transfers::{self, Ledger};
use pagebox::{Batch, Durability, Store, StoreOptions, Tree};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writer threads of a life.
pub const THREADS: u64 = 4;
/// The number in a key that says it is shared.
const SHARED: u64 = THREADS;

/// What a life is told.
#[derive(Clone, Debug)]
pub struct Life {
    pub dir: PathBuf,
    pub seed: u64,
    /// Unique within the campaign; lives of one store count up.
    pub number: u64,
    pub memory: usize,
    pub page_size: usize,
    /// Different keys of each thread.
    pub keys: u64,
    /// How many operations of a thread may be under way: 1 acknowledges each when it returns, more acknowledges after a
    /// `sync()` of so many.
    pub window: u64,
    /// Moves money instead: see [`transfers`].
    pub transfers: bool,
}

impl Life {
    /// The arguments that make a child live it.
    pub fn to_args(&self) -> Vec<String> {
        let (memory, page_size) = (self.memory as u64, self.page_size as u64);
        let numbers = [self.seed, self.number, memory, page_size, self.keys, self.window, u64::from(self.transfers)];
        let mut args = vec!["--child".to_owned(), self.dir.display().to_string()];
        args.extend(numbers.iter().map(u64::to_string));
        args
    }

    /// Reads back what [`Life::to_args`] wrote, without its first argument.
    pub fn from_args(args: &[String]) -> Option<Life> {
        let [dir, numbers @ ..] = args else { return None };
        let numbers: Vec<u64> = numbers.iter().filter_map(|n| n.parse().ok()).collect();
        let [seed, number, memory, page_size, keys, window, transfers] = numbers[..] else { return None };
        let (memory, page_size, transfers) = (memory as usize, page_size as usize, transfers == 1);
        Some(Life { dir: dir.into(), seed, number, memory, page_size, keys, window, transfers })
    }

    /// The options the life opens its store with.
    pub fn options(&self) -> StoreOptions {
        let durability = if self.window == 1 { Durability::Sync } else { Durability::Manual };
        let flushers = if self.number.is_multiple_of(2) { 1 } else { 2 };
        // Small segments and a small log: recycling and checkpoints are under way in every life.
        Store::options()
            .memory(self.memory)
            .flushers(flushers)
            .page_size(self.page_size)
            .durability(durability)
            .log_segment_bytes(1 << 20)
            .max_log_bytes(8 << 20)
    }

    /// Operation `n` of a thread.
    fn op(&self, thread: u64, n: u64) -> Op {
        let mut rng = Rng::of(self.seed, &[self.number, thread, n]);
        if thread == 0 && n % 400 == 399 {
            return Op::Checkpoint;
        }
        let mut writes = Vec::new();
        // A life grows the store or shrinks it, so that over many lives there are splits as well as merges.
        let removals = if mix(self.seed ^ self.number).is_multiple_of(3) { 70 } else { 25 };
        let count = if rng.percent(15) { rng.between(2, 8) } else { 1 };
        for i in 0..count {
            let owner = if rng.percent(12) { SHARED } else { thread };
            let slot = if owner == SHARED { rng.below(64) } else { rng.below(self.keys) };
            let value = if rng.percent(removals) {
                None
            } else {
                let mut value = format!("{}.{thread}.{n}.{i}.", self.number).into_bytes();
                value.resize(value.len() + rng.below(300) as usize, b'a' + (n % 26) as u8);
                Some(value)
            };
            writes.push(Write { tree: (slot % 2) as u8, key: key(owner, slot), value });
        }
        if count == 1 { Op::Single(writes.remove(0)) } else { Op::Batch(writes) }
    }
}

enum Op {
    Single(Write),
    Batch(Vec<Write>),
    Checkpoint,
}

impl Op {
    fn writes(&self) -> &[Write] {
        match self {
            Op::Single(write) => std::slice::from_ref(write),
            Op::Batch(writes) => writes,
            Op::Checkpoint => &[],
        }
    }
}

/// The keys of different owners lie between each other, so that the threads meet in every leaf.
fn key(owner: u64, slot: u64) -> Vec<u8> {
    let mut key = format!("{:04x}/{slot}/{owner}", mix(slot) & 0xffff).into_bytes();
    key.resize(key.len() + (mix(slot) >> 32) as usize % 16, b'-');
    key
}

fn owner_of(key: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(key).ok()?.trim_end_matches('-');
    text.rsplit('/').next()?.parse().ok()
}

// ---- the child -----------------------------------------------------------------------------------------------------

/// What a child sends: a length, a tag and the rest. One write each, so that threads do not mix and a kill cuts only the
/// last one.
pub(super) struct Sender(Mutex<File>);

impl Sender {
    fn new() -> std::io::Result<Sender> {
        Ok(Sender(Mutex::new(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))))
    }

    pub(super) fn send(&self, tag: u8, body: &[u8]) {
        let mut frame = Vec::with_capacity(body.len() + 5);
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.push(tag);
        frame.extend_from_slice(body);
        let mut file = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if file.write_all(&frame).is_err() {
            // The parent is gone, and with it the reason to go on.
            std::process::exit(0);
        }
    }

    pub(super) fn send_numbers(&self, tag: u8, numbers: &[u64]) {
        let body: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.send(tag, &body);
    }
}

/// Lives a life; ends by being killed, or with an error that it sends.
pub fn child(life: &Life) -> Result<(), String> {
    let sender = Sender::new().map_err(|e| e.to_string())?;
    let outcome = live(life, &sender);
    if let Err(error) = &outcome {
        sender.send(b'E', error.as_bytes());
    }
    outcome
}

fn live(life: &Life, sender: &Sender) -> Result<(), String> {
    let store = life.options().open(&life.dir).map_err(|e| format!("open: {e}"))?;
    sender.send(b'O', &[]);
    for ((tree, key), value) in checked_dump(&store)? {
        let mut body = vec![tree];
        body.extend_from_slice(&(key.len() as u32).to_le_bytes());
        body.extend_from_slice(&key);
        body.extend_from_slice(&value);
        sender.send(b'R', &body);
    }
    let trees = [0, 1].map(|n| store.tree(&tree_name(n)));
    let [Ok(first), Ok(second)] = trees else { return Err(format!("tree: {trees:?}")) };
    sender.send(b'D', &[]);
    let (trees, clock) = ([first, second], AtomicU64::new(0));
    if life.transfers {
        return transfers::live(life, &store, &trees, sender);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, trees, clock) = (&store, &trees, &clock);
                scope.spawn(move || write_forever(life, thread, store, trees, clock, sender))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".to_owned())))
    })
}

fn write_forever(
    life: &Life,
    thread: u64,
    store: &Store,
    trees: &[Tree; 2],
    clock: &AtomicU64,
    sender: &Sender,
) -> Result<(), String> {
    let mut unsent = Vec::new();
    for n in 0.. {
        let op = life.op(thread, n);
        let start = clock.fetch_add(1, Ordering::SeqCst);
        let outcome = match &op {
            Op::Single(Write { tree, key, value: Some(value) }) => {
                trees[usize::from(*tree)].insert(key, value).map(drop)
            }
            Op::Single(Write { tree, key, value: None }) => trees[usize::from(*tree)].remove(key).map(drop),
            Op::Batch(writes) => {
                let mut batch = Batch::new();
                for write in writes {
                    let tree = &trees[usize::from(write.tree)];
                    match &write.value {
                        Some(value) => batch.insert(tree, &write.key, value),
                        None => batch.remove(tree, &write.key),
                    };
                }
                store.apply(&batch)
            }
            Op::Checkpoint => store.checkpoint(),
        };
        outcome.map_err(|e| format!("thread {thread}, operation {n}: {e}"))?;
        let end = clock.fetch_add(1, Ordering::SeqCst);
        unsent.push([thread, n, start, end]);
        if unsent.len() as u64 == life.window {
            if life.window > 1 {
                store.sync().map_err(|e| format!("sync: {e}"))?;
            }
            unsent.drain(..).for_each(|ack| sender.send_numbers(b'A', &ack));
        }
    }
    Ok(())
}

// ---- the parent ----------------------------------------------------------------------------------------------------

/// When an operation of a child ran, in ticks of the child's clock; one that was not acknowledged has no end.
#[derive(Clone, Copy, Debug)]
struct Ack {
    start: u64,
    end: u64,
}

/// What a child said before it died.
#[derive(Debug, Default)]
pub struct Heard {
    pub opened: bool,
    /// Everything recovered, if the child came to its end of it.
    pub recovered: Option<State>,
    acks: [Vec<Ack>; THREADS as usize],
    transfers: transfers::Heard,
    pub error: Option<String>,
}

impl Heard {
    /// How many operations were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acks.iter().map(|acks| acks.len() as u64).sum::<u64>() + self.transfers.acknowledged()
    }
}

/// Takes the frames of a child apart as they come.
#[derive(Default)]
pub struct Listener {
    buffer: Vec<u8>,
    state: State,
    pub heard: Heard,
}

impl Listener {
    /// Takes in what was read from the child; whatever is not a whole frame yet is kept.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        while let Some((head, tail)) = rest.split_first_chunk::<4>() {
            let len = u32::from_le_bytes(*head) as usize;
            if tail.len() < len + 1 {
                break;
            }
            self.frame(tail[0], &tail[1..len + 1])?;
            rest = &tail[len + 1..];
        }
        self.buffer = rest.to_vec();
        Ok(())
    }

    fn frame(&mut self, tag: u8, body: &[u8]) -> Result<(), String> {
        match tag {
            b'O' => self.heard.opened = true,
            b'R' => {
                let (tree, body) = body.split_first().ok_or("an empty record")?;
                let (len, body) = body.split_first_chunk::<4>().ok_or("a short record")?;
                let (key, value) = body.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or("a short record")?;
                self.state.insert((*tree, key.to_vec()), value.to_vec());
            }
            b'D' => self.heard.recovered = Some(std::mem::take(&mut self.state)),
            b'A' => {
                let word = |i: usize| {
                    body.get(i * 8..i * 8 + 8).map(|b| b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
                };
                let (Some(thread), Some(n), Some(start), Some(end)) = (word(0), word(1), word(2), word(3)) else {
                    return Err("a short acknowledgement".to_owned());
                };
                let acks = self.heard.acks.get_mut(thread as usize).ok_or("an acknowledgement of no thread")?;
                if acks.len() as u64 != n {
                    return Err(format!("thread {thread} acknowledged {n} after {}", acks.len()));
                }
                acks.push(Ack { start, end });
            }
            b'E' => self.heard.error = Some(String::from_utf8_lossy(body).into_owned()),
            other if self.heard.transfers.frame(other, body)? => {}
            other => return Err(format!("a frame with tag {other}")),
        }
        Ok(())
    }
}

/// What the next life must find: a state that was verified, and the operations of the life that wrote after it.
#[derive(Debug, Default)]
pub struct Expectation {
    settled: State,
    pending: Option<(Life, Vec<Vec<Ack>>)>,
    ledger: Ledger,
}

impl Expectation {
    /// Judges what a life recovered, and expects its own operations from now on.
    pub fn meet(&mut self, life: &Life, mut heard: Heard) -> Result<(), String> {
        let Some(recovered) = heard.recovered.take() else { return Ok(()) };
        if life.transfers {
            self.ledger.meet(life, &recovered, heard.transfers)?;
            self.settled = recovered;
            return Ok(());
        }
        self.verify(&recovered)?;
        self.settled = recovered;
        self.pending = Some((life.clone(), heard.acks.into()));
        Ok(())
    }

    /// How many records the store holds at least now and then.
    pub fn records(&self) -> usize {
        self.settled.len()
    }

    /// Whether `recovered` may be what a crash of the pending life left.
    pub fn verify(&self, recovered: &State) -> Result<(), String> {
        let owned = |state: &State, owner: u64| -> State {
            state
                .iter()
                .filter(|((_, key), _)| owner_of(key) == Some(owner))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect()
        };
        if let Some((_, key)) = recovered.keys().find(|(_, key)| owner_of(key).is_none_or(|owner| owner > SHARED)) {
            return Err(format!("a key that nobody wrote: {key:?}"));
        }
        let Some((life, acks)) = &self.pending else {
            let found = differences(&self.settled, recovered);
            return if found.is_empty() { Ok(()) } else { Err(found.join("\n    ")) };
        };
        for thread in 0..THREADS {
            let acked = acks[thread as usize].len() as u64;
            let found = owned(recovered, thread);
            verify_own(life, thread, acked, owned(&self.settled, thread), &found)
                .map_err(|e| format!("life {}, thread {thread}: {e}", life.number))?;
        }
        verify_shared(life, acks, &owned(&self.settled, SHARED), &owned(recovered, SHARED))
            .map_err(|e| format!("life {}: {e}", life.number))
    }
}

/// A thread's own keys: the state after a prefix that contains everything acknowledged.
fn verify_own(life: &Life, thread: u64, acked: u64, mut state: State, found: &State) -> Result<(), String> {
    let own = |n| -> Vec<Write> {
        life.op(thread, n).writes().iter().filter(|w| owner_of(&w.key) == Some(thread)).cloned().collect()
    };
    (0..acked).for_each(|n| apply(&mut state, &own(n)));
    let mut closest = differences(&state, found);
    for n in acked..acked + life.window {
        if closest.is_empty() {
            return Ok(());
        }
        apply(&mut state, &own(n));
        let next = differences(&state, found);
        if next.len() <= closest.len() {
            closest = next;
        }
    }
    if closest.is_empty() {
        return Ok(());
    }
    closest.truncate(10);
    Err(format!("{acked} operations acknowledged, and no prefix from there on fits:\n    {}", closest.join("\n    ")))
}

/// The keys that all write: each value from an operation that no acknowledged one on the key came after.
fn verify_shared(life: &Life, acks: &[Vec<Ack>], settled: &State, found: &State) -> Result<(), String> {
    // For each key: (start, end or none, value) of every operation that may have happened.
    type Writes = Vec<(u64, Option<u64>, Option<Vec<u8>>)>;
    let mut written: BTreeMap<(u8, Vec<u8>), Writes> = BTreeMap::new();
    for (thread, acks) in (0..THREADS).zip(acks) {
        let after = acks.last().map_or(0, |ack| ack.end + 1);
        for n in 0..acks.len() as u64 + life.window {
            let ack = acks.get(n as usize);
            let (start, end) = (ack.map_or(after, |ack| ack.start), ack.map(|ack| ack.end));
            // Of a batch's writes to one key the last counts.
            let mut last: BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>> = BTreeMap::new();
            for write in life.op(thread, n).writes().iter().filter(|w| owner_of(&w.key) == Some(SHARED)) {
                last.insert((write.tree, write.key.clone()), write.value.clone());
            }
            last.into_iter().for_each(|(place, value)| written.entry(place).or_default().push((start, end, value)));
        }
    }
    let none = Writes::new();
    for place in settled.keys().chain(found.keys()).chain(written.keys()) {
        let (writes, value) = (written.get(place).unwrap_or(&none), found.get(place));
        let last_start = writes.iter().filter(|w| w.1.is_some()).map(|w| w.0).max();
        let untouched = last_start.is_none() && settled.get(place) == value;
        let written = writes.iter().any(|(_, end, written)| {
            written.as_ref() == value && end.is_none_or(|end| last_start.is_none_or(|start| start <= end))
        });
        if !untouched && !written {
            return Err(format!("shared key {place:?} holds {value:?}, which is lost, old or never written"));
        }
    }
    Ok(())
}

/// The options of a campaign's stores, from its seed.
pub fn draw_life(seed: u64, number: u64, dir: &Path, floors: &[(usize, usize)], transfers: bool) -> Life {
    let mut rng = Rng::of(seed, &[number, 77]);
    // The page size belongs to the store, not to the life.
    let (page_size, floor) = floors[mix(seed) as usize % floors.len()];
    Life {
        dir: dir.to_path_buf(),
        seed,
        number,
        // Room for a second buffer.
        memory: floor * 5 / 4 + rng.below(floor as u64 * 5 / 4) as usize,
        page_size,
        keys: 1500,
        window: *rng.pick(&[1, 1, 1, 7]),
        transfers,
    }
}
