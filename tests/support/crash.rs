//! The crash campaign on the simulated disk: one run of a workload gives a crash state at every operation of the disk and
//! for every seed of what survives.
//!
//! A *life* is a store on a simulated disk, from its opening through a workload. A crash state of it is recovered, checked
//! and judged; and with some of them it goes on: the recovery itself is cut off by a crash, or a second life runs a
//! workload on what was recovered and is crashed in turn. Everything follows from (seed, number of the workload, number
//! of the state), so a violation is repeated by naming them.

use super::budget::smallest;
use super::oracle::{History, State};
use super::rng::Rng;
use super::run::{Did, Phase, Session, Span, checked_dump};
use super::workload::{Generator, Shape};
use pagebox::sim::SimDisk;
use pagebox::{Durability, Error, Store, StoreOptions};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "/store";

/// What a store of one page size asks for and accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub page_size: usize,
    /// The smallest legal budget in bytes.
    pub floor: usize,
    pub key: usize,
    pub value: usize,
}

fn base_options(page_size: usize, segment: u64) -> StoreOptions {
    Store::options().page_size(page_size).log_segment_bytes(segment).max_log_bytes(segment * 6)
}

impl Limits {
    /// Asks a store on a simulated disk.
    pub fn ask(page_size: usize) -> Limits {
        let disk = SimDisk::new(0);
        disk.set_history(false);
        let options = base_options(page_size, 256 << 10).disk(Arc::new(disk));
        let floor = smallest(|bytes| options.clone().memory(bytes).open(DIR));
        let store = options.memory(floor).open(DIR).expect("a store with the smallest budget");
        let tree = store.tree("t0").expect("a tree");
        let key = match tree.insert(vec![0; 1 << 20], b"") {
            Err(Error::KeyTooLarge { max, .. }) => max,
            other => panic!("a key of 1 MiB: {other:?}"),
        };
        let value = match tree.insert(b"k", vec![0; page_size * 2]) {
            Err(Error::ValueTooLarge { max, .. }) => max as usize,
            Ok(_) => page_size * 2,
            other => panic!("a value of two pages: {other:?}"),
        };
        Limits { page_size, floor, key, value }
    }
}

/// A workload and the store it runs on, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Config {
    pub limits: Limits,
    pub memory: usize,
    pub segment: u64,
    pub durability: Durability,
    pub shape: Shape,
    pub steps: u64,
    /// What goes past the system's cache: nothing (0), log and double-write area (1), what else can (2).
    pub direct: u64,
    /// For copies of pages, in bytes: room for one batch, for few, for all.
    pub copies: u64,
}

impl Config {
    /// The workload with a number.
    pub fn draw(rng: &mut Rng, limits: &[Limits], steps: u64) -> Config {
        // Small pages make deep trees: most workloads have them.
        let limits = if rng.percent(75) { limits[0] } else { *rng.pick(limits) };
        let relaxed = Durability::Relaxed { within: Duration::from_secs(3600) };
        let durability = *rng.pick(&[Durability::Sync, Durability::Sync, Durability::Manual, relaxed]);
        Config {
            limits,
            memory: limits.floor + if rng.percent(70) { 0 } else { rng.below(limits.floor as u64) as usize },
            // The smallest legal segment, and larger ones: recycling goes on all the time.
            segment: limits.page_size as u64 * *rng.pick(&[16, 16, 32, 64]),
            durability,
            shape: Shape::draw(rng, limits.key, limits.value),
            steps: steps / 2 + rng.below(steps),
            direct: rng.below(3),
            copies: *rng.pick(&[0, 0, limits.page_size as u64 * 40, 1 << 30]),
        }
    }

    fn open(&self, disk: &SimDisk) -> pagebox::Result<Store> {
        disk.set_direct(self.direct > 0);
        let disk = Arc::new(disk.clone());
        // The log's segments must hold the largest records, and a segment's size may change from one open to the next.
        base_options(self.limits.page_size, self.segment)
            .memory(self.memory)
            .durability(self.durability)
            .direct_io(self.direct > 1)
            .max_copy_bytes(self.copies)
            .disk(disk)
            .open(DIR)
    }
}

/// A store's life on one simulated disk, with everything needed to judge any crash of it.
pub struct Life {
    disk: SimDisk,
    history: History,
    issued: Vec<u64>,
    acknowledged: Vec<(u64, usize)>,
    phases: Vec<(Span, Phase)>,
    /// How many operations the disk had done when the store was open.
    opened: u64,
    /// The life before, and the operation at which it crashed.
    before: Option<(Rc<Life>, u64)>,
    did: Did,
}

impl Life {
    /// Runs a workload on a disk that holds `base`; a wrong answer on the way is an error.
    fn live(
        config: &Config,
        disk: SimDisk,
        base: State,
        rng: Rng,
        steps: u64,
        before: Option<(Rc<Life>, u64)>,
    ) -> Result<Life, String> {
        let (opening, clock) = (config.clone(), disk.clone());
        let medium = disk.clone();
        let mut session = Session::open(
            Box::new(move || opening.open(&medium)),
            Box::new(move || clock.history_len()),
            config.durability == Durability::Sync,
            base,
        )?;
        let opened = disk.history_len();
        let mut generator = Generator::new(rng, config.shape.clone());
        for n in 0..steps {
            let step = generator.next(session.history.now());
            let short = || format!("{step:?}").chars().take(200).collect::<String>();
            session.step(&step).map_err(|e| format!("step {n}, {}: {e}", short()))?;
        }
        session.store().check().map_err(|e| format!("check after the last step: {e}"))?;
        session.close()?;
        let Session { history, issued, acknowledged, phases, did, .. } = session;
        Ok(Life { disk, history, issued, acknowledged, phases, opened, before, did })
    }

    /// Judges what was recovered after a crash at operation `at`.
    fn judge(&self, at: u64, recovered: &State) -> Result<(), String> {
        if at < self.opened {
            // It crashed before it was open: what the life before left must still be judged by that one.
            return match &self.before {
                Some((before, crashed)) => before.judge(*crashed, recovered),
                None => self.history.verify(recovered, 0, 0).map(drop),
            };
        }
        let done = self.acknowledged.partition_point(|(time, _)| *time <= at);
        let acknowledged = if done == 0 { 0 } else { self.acknowledged[done - 1].1 };
        let issued = self.issued.partition_point(|time| *time < at).max(acknowledged);
        self.history.verify(recovered, acknowledged, issued).map(drop)
    }

    /// What was under way at operation `at`.
    fn phase(&self, at: u64) -> Phase {
        let found = self.phases.iter().find(|(span, _)| span.from < at && at <= span.to);
        found.map_or(Phase::Open, |(_, phase)| *phase)
    }
}

/// What was crashed, for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// In a life, while this was under way.
    During(Phase),
    /// In the recovery that followed a crash; so many crashes deep.
    Recovery(u32),
    /// In a second life after a crash, while this was under way.
    SecondLife(Phase),
}

/// States judged, by kind, and what the workloads did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub kinds: BTreeMap<Kind, u64>,
    pub workloads: u64,
    pub transactions: u64,
    pub disk_operations: u64,
    pub evictions: u64,
    pub pages_written: u64,
    pub checkpoints: u64,
    pub refused_batches: u64,
    /// Lives in which pages had to leave memory.
    pub beyond_memory: u64,
}

impl Counts {
    fn add_life(&mut self, life: &Life) {
        self.transactions += life.history.len() as u64;
        self.disk_operations += life.disk.history_len();
        self.evictions += life.did.evictions;
        self.pages_written += life.did.pages_written;
        self.checkpoints += life.did.checkpoints;
        self.refused_batches += life.did.refused;
        self.beyond_memory += u64::from(life.did.evictions > 0);
    }

    /// All states judged.
    pub fn states(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Counts) {
        other.kinds.iter().for_each(|(kind, n)| *self.kinds.entry(*kind).or_default() += n);
        self.workloads += other.workloads;
        self.transactions += other.transactions;
        self.disk_operations += other.disk_operations;
        self.evictions += other.evictions;
        self.pages_written += other.pages_written;
        self.beyond_memory += other.beyond_memory;
        self.checkpoints += other.checkpoints;
        self.refused_batches += other.refused_batches;
    }
}

/// One run of a workload and a number of crash states of it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// The number of the workload.
    pub workload: u64,
    /// Steps of a workload, about.
    pub steps: u64,
    /// Crash states of the workload.
    pub states: u64,
    /// This state only.
    pub only: Option<u64>,
}

/// Runs it. An error names the state, so that `--seed`, `--workload` and `--state` repeat it.
pub fn run(plan: &Plan, limits: &[Limits]) -> Result<Counts, String> {
    let mut counts = Counts { workloads: 1, ..Counts::default() };
    let mut rng = Rng::of(plan.seed, &[plan.workload]);
    let config = Config::draw(&mut rng, limits, plan.steps);
    let place =
        |state: &dyn std::fmt::Display| format!("seed {}, workload {}, {state}: {config:?}", plan.seed, plan.workload);
    let disk = SimDisk::new(rng.next());
    let life = no_panic(|| Life::live(&config, disk, State::new(), rng.clone(), config.steps, None))
        .map_err(|e| format!("{}\n  in the run itself: {e}", place(&"the run itself")))?;
    let life = Rc::new(life);
    counts.add_life(&life);
    for state in 0..plan.states {
        if plan.only.is_some_and(|only| only != state) {
            continue;
        }
        let rng = Rng::of(plan.seed, &[plan.workload, state, 1]);
        let mut trail = Vec::new();
        no_panic(|| one_state(&config, &life, rng, &mut counts, &mut trail))
            .map_err(|e| format!("{}\n  {}: {e}", place(&format_args!("state {state}")), trail.join(", then ")))?;
    }
    Ok(counts)
}

/// A panic of the engine, or of the disk that saw the WAL rule broken, is a violation like any other.
fn no_panic<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

/// Crashes a life once, judges it, and perhaps goes on from there.
fn one_state(
    config: &Config,
    life: &Rc<Life>,
    mut rng: Rng,
    counts: &mut Counts,
    trail: &mut Vec<String>,
) -> Result<(), String> {
    let at = rng.below(life.disk.history_len() + 1);
    let crashed = crash(&life.disk, at, rng.next(), "crash", trail);
    let (recovered, mut recovery) = recover(config, &crashed)?;
    life.judge(at, &recovered)?;
    *counts.kinds.entry(Kind::During(life.phase(at))).or_default() += 1;
    // The recovery cut off, at times again and again.
    let mut depth = 1;
    let mut last = crashed;
    while rng.percent(40) && depth <= 4 {
        let cut = rng.below(recovery + 1);
        last = crash(&last, cut, rng.next(), "crash in recovery", trail);
        let (recovered, operations) = recover(config, &last)?;
        life.judge(at, &recovered)?;
        *counts.kinds.entry(Kind::Recovery(depth)).or_default() += 1;
        (depth, recovery) = (depth + 1, operations);
    }
    if !rng.percent(12) {
        return Ok(());
    }
    // A second life on what is left, and crashes of that one, those in its opening included.
    let disk = crash(&life.disk, at, rng.next(), "crash before a second life", trail);
    let (base, _) = recover(config, &crash(&disk, 0, 0, "look", &mut Vec::new()))?;
    life.judge(at, &base)?;
    let steps = 20 + rng.below(config.steps / 4 + 1);
    let second = Life::live(config, disk, base, rng.clone(), steps, Some((life.clone(), at)))?;
    counts.add_life(&second);
    for _ in 0..rng.between(2, 10) {
        let at = rng.below(second.disk.history_len() + 1);
        let kept = trail.len();
        let crashed = crash(&second.disk, at, rng.next(), "crash in the second life", trail);
        let (recovered, _) = recover(config, &crashed)?;
        second.judge(at, &recovered)?;
        *counts.kinds.entry(Kind::SecondLife(second.phase(at))).or_default() += 1;
        trail.truncate(kept);
    }
    Ok(())
}

fn crash(disk: &SimDisk, at: u64, seed: u64, what: &str, trail: &mut Vec<String>) -> SimDisk {
    trail.push(format!("{what} at operation {at} of {} with seed {seed:#x}", disk.history_len()));
    disk.crash_at(at, seed)
}

/// Opens a store after a crash, checks it, reads it, and says how many operations of the disk the opening took. The store
/// is dropped without a close, and the disk is left as the opening left it as far as crashes go: they are taken at those
/// operations.
fn recover(config: &Config, disk: &SimDisk) -> Result<(State, u64), String> {
    let store = config.open(disk).map_err(|e| format!("open after the crash: {e}"))?;
    let operations = disk.history_len();
    let state = checked_dump(&store)?;
    drop(store);
    Ok((state, operations))
}
