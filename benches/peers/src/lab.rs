//! The child's side: one engine, one group of workloads, one round, in a process of its own, so that its memory, its
//! processor time and its crashes are its own. It tells its parent every measurement as a line of JSON.

use crate::data::{Data, Key, Keys};
use crate::engine::{Commit, Engine, Entry, Fail, Items, Order, Result, Setup, Walk};
use crate::machine;
use crate::measure::Measured;
use crate::record::{Message, Note, Row};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A group of workloads and its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Params {
    /// The group's name.
    pub group: String,
    /// What its rows are called behind the group's own names: two runs of one group with other sizes are told apart.
    pub suffix: String,
    /// Records in the store.
    pub records: u64,
    /// Their form.
    pub data: Data,
    /// The memory of each engine, in MiB.
    pub cache_mib: u64,
    /// Seconds of a measurement that goes by time.
    pub seconds: f64,
    /// Numbers of threads.
    pub threads: Vec<usize>,
    /// Which workloads of the group; all of them if empty.
    pub only: Vec<String>,
}

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// The engine.
    pub engine: String,
    /// The round, from 1; round 0 only loads what rounds open.
    pub round: u32,
    /// Where data may lie; one directory for each engine and group.
    pub dir: PathBuf,
    /// The work.
    pub params: Params,
}

/// The child at work.
pub struct Lab {
    /// Its orders.
    pub spec: Spec,
    /// Its engine.
    pub entry: &'static Entry,
}

/// Records `ids`, at their writing `nonce`.
pub struct Records<'a, I> {
    data: &'a Data,
    ids: I,
    nonce: u64,
    key: Key,
    value: Vec<u8>,
}

impl<'a, I: Iterator<Item = u64>> Records<'a, I> {
    /// Of these ids.
    pub fn new(data: &'a Data, ids: I, nonce: u64) -> Records<'a, I> {
        Records { data, ids, nonce, key: data.keys.key(0), value: Vec::new() }
    }
}

impl<I: Iterator<Item = u64>> Items for Records<'_, I> {
    fn next(&mut self) -> Option<(&[u8], &[u8])> {
        let id = self.ids.next()?;
        self.key = self.data.keys.key(id);
        self.data.value(id, self.nonce, &mut self.value);
        Some((&self.key, &self.value))
    }
}

/// A number that depends on every byte of every record, whatever the order: cheap enough not to hide a fast scan.
#[inline]
pub fn checksum(key: &[u8], value: &[u8]) -> u64 {
    let words = value.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let head = key.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    words.fold(head, u64::wrapping_add)
}

impl Lab {
    /// The sizes.
    pub fn p(&self) -> &Params {
        &self.spec.params
    }

    /// The form of the records.
    pub fn data(&self) -> &Data {
        &self.spec.params.data
    }

    /// Whether workload `name` was asked for.
    pub fn wants(&self, name: &str) -> bool {
        let only = &self.p().only;
        only.is_empty() || only.iter().any(|wanted| wanted == name || *wanted == self.p().group)
    }

    /// Says something to the parent.
    pub fn tell(&self, message: &Message) {
        let line = serde_json::to_string(message).unwrap_or_default();
        let mut out = std::io::stdout().lock();
        // A parent that is gone has no use for it.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// A word for the progress line.
    pub fn progress(&self, what: impl Into<String>) {
        self.tell(&Message::Progress(what.into()));
    }

    /// What an engine is opened with here.
    pub fn setup(&self, dir: &Path, commit: Commit) -> Setup {
        let Params { records, data, cache_mib, .. } = *self.p();
        Setup {
            dir: dir.to_owned(),
            cache_bytes: cache_mib << 20,
            commit,
            direct: false,
            records: records + records / 2,
            longest: (data.keys.len(), data.value_len),
        }
    }

    /// Opens the engine and notes its settings.
    pub fn open(&self, setup: &Setup) -> Result<Box<dyn Engine>> {
        fs::create_dir_all(&setup.dir)?;
        let engine = (self.entry.open)(setup)?;
        let (group, name) = (self.p().group.clone(), self.entry.name.to_owned());
        self.tell(&Message::Note(Note::Settings { group, engine: name, settings: engine.settings() }));
        Ok(engine)
    }

    /// A directory without anything in it.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        let dir = self.spec.dir.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The engine with the group's records `0..records` in it, loaded in random order. What can be opened again is loaded
    /// once, by round 0, and closed; nothing is returned then.
    pub fn prepared(&self, name: &str, commit: Commit) -> Result<Option<Box<dyn Engine>>> {
        let (dir, mark) = (self.spec.dir.join(name), self.spec.dir.join(format!("{name}.loaded")));
        if self.entry.reopens && self.spec.round > 0 {
            if !mark.exists() {
                return Err(Fail::failed("it was not loaded"));
            }
            return self.open(&self.setup(&dir, commit)).map(Some);
        }
        if !self.entry.reopens && self.spec.round == 0 {
            return Ok(None);
        }
        let (dir, records) = (self.fresh(name)?, self.p().records);
        self.progress(format!("loading {records} records"));
        let engine = self.open(&self.setup(&dir, commit))?;
        engine.load(Order::Random, &mut Records::new(self.data(), 0..records, 0))?;
        if !self.entry.reopens {
            return Ok(Some(engine));
        }
        engine.close()?;
        fs::write(mark, "")?;
        Ok(None)
    }

    /// Walks over everything, so that it is in memory, and checks that it is what was loaded.
    pub fn warm(&self, engine: &dyn Engine, records: u64) -> Result<()> {
        self.progress("warming");
        let mut session = engine.session()?;
        let mut view = session.view()?;
        let (data, mut wrong) = (*self.data(), None);
        let walked = view.walk(&[], u64::MAX, Walk::Scan, &mut |key, value| {
            let checked = match data.keys.id(key) {
                Some(id) => data.check(id, value).map(|_| ()),
                None => Err(Fail::wrong("a key that was never written")),
            };
            if let Err(e) = checked {
                wrong.get_or_insert(e);
            }
        });
        match (walked, wrong) {
            (Err(Fail::Unsupported(_)), _) => Ok(()),
            (Err(e), _) | (_, Some(e)) => Err(e),
            (Ok(n), None) if n == records => Ok(()),
            (Ok(n), None) => Err(Fail::wrong(format!("{n} records where {records} were written"))),
        }
    }

    /// Takes a measurement, if it is asked for: a row, or a note why there is none.
    pub fn measure(&self, workload: &str, threads: usize, records: u64, take: impl FnOnce() -> Result<Measured>) {
        if !self.wants(workload) {
            return;
        }
        let workload = format!("{workload}{}", self.p().suffix);
        self.tell(&Message::Begin { workload: workload.clone(), threads });
        match take() {
            Ok(m) => {
                let (rss, disk) = (machine::rss_bytes(), machine::disk_bytes(&self.spec.dir));
                self.tell(&Message::Row(Row::new(&workload, self.entry.name, threads, records, &m, rss, disk)));
            }
            Err(e) => self.missing(&workload, threads, &e),
        }
    }

    /// Notes that there is no figure.
    pub fn missing(&self, workload: &str, threads: usize, why: &Fail) {
        let failed = matches!(why, Fail::Failed(_));
        let (engine, round) = (self.entry.name.to_owned(), self.spec.round);
        let why = why.to_string();
        self.tell(&Message::Note(Note::Missing { workload: workload.to_owned(), engine, threads, round, failed, why }));
    }

    /// Notes a figure that no row has.
    pub fn figure(&self, workload: &str, what: &str, value: f64) {
        let (workload, engine) = (format!("{workload}{}", self.p().suffix), self.entry.name.to_owned());
        self.tell(&Message::Note(Note::Figure { workload, engine, what: what.to_owned(), value }));
    }
}

/// The sum of [`checksum`] over records `0..records` at writing 0.
pub fn expected_sum(data: &Data, records: u64) -> u64 {
    let mut items = Records::new(data, 0..records, 0);
    let mut sum = 0u64;
    while let Some((key, value)) = items.next() {
        sum = sum.wrapping_add(checksum(key, value));
    }
    sum
}

/// The key of a random place, which need not be a record's.
pub fn somewhere(keys: Keys, word: u64, records: u64) -> Key {
    match keys {
        Keys::Random24 => keys.key(word),
        Keys::Dense8 => keys.key(word % records),
    }
}
