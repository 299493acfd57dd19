//! What a run leaves behind: rows of figures, and notes of what they mean.
//!
//! `results.jsonl` holds one row for every measurement, with the same thirteen keys in each; the rounds of a measurement
//! are rows alike but for the figures. `notes.jsonl` holds everything else: machine, versions, settings, failures, further
//! figures, and which pieces are done.

use crate::machine::Machine;
use crate::measure::Measured;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was done.
    pub workload: String,
    /// Who did it.
    pub engine: String,
    /// With how many threads.
    pub threads: usize,
    /// On a store of how many records.
    pub records: u64,
    /// Operations a second, of all threads together.
    pub ops_per_s: f64,
    /// Median latency of a step in microseconds.
    pub p50_us: f64,
    /// 99 of 100 steps took no longer.
    pub p99_us: f64,
    /// 999 of 1,000 steps took no longer.
    pub p999_us: f64,
    /// The longest step.
    pub max_us: f64,
    /// Processor seconds of the process, meanwhile.
    pub cpu_s: f64,
    /// Resident set at the end.
    pub rss_bytes: u64,
    /// Bytes on disk at the end.
    pub disk_bytes: u64,
    /// Bytes written to storage meanwhile.
    pub written_bytes: u64,
}

impl Row {
    /// The row of a measurement.
    pub fn new(workload: &str, engine: &str, threads: usize, records: u64, m: &Measured, rss: u64, disk: u64) -> Row {
        let us = |ns: u64| ns as f64 / 1000.0;
        Row {
            workload: workload.to_owned(),
            engine: engine.to_owned(),
            threads,
            records,
            ops_per_s: if m.seconds > 0.0 { m.ops as f64 / m.seconds } else { 0.0 },
            p50_us: us(m.latency.value_at_quantile(0.5)),
            p99_us: us(m.latency.value_at_quantile(0.99)),
            p999_us: us(m.latency.value_at_quantile(0.999)),
            max_us: us(m.latency.max()),
            cpu_s: m.cpu_seconds,
            rss_bytes: rss,
            disk_bytes: disk,
            written_bytes: m.written_bytes,
        }
    }
}

/// All that is no row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A run began on this machine.
    Machine {
        /// It.
        machine: Machine,
        /// The command.
        command: String,
    },
    /// An engine of the run.
    Version {
        /// Its name.
        engine: String,
        /// Its version.
        version: String,
    },
    /// What an engine was told in a group of workloads.
    Settings {
        /// The group.
        group: String,
        /// The engine.
        engine: String,
        /// Its own words.
        settings: String,
    },
    /// A measurement without a figure.
    Missing {
        /// The workload (or the group, if it fell before its first workload).
        workload: String,
        /// The engine.
        engine: String,
        /// Threads.
        threads: usize,
        /// The round it happened in.
        round: u32,
        /// True if something went wrong; false if the engine offers no such thing.
        failed: bool,
        /// Why.
        why: String,
    },
    /// A figure that is none of a row's.
    Figure {
        /// The workload.
        workload: String,
        /// The engine.
        engine: String,
        /// What it is.
        what: String,
        /// How much.
        value: f64,
    },
    /// How long an engine's turn took.
    Took {
        /// The group.
        group: String,
        /// The engine.
        engine: String,
        /// The round; 0 for the loading.
        round: u32,
        /// Seconds.
        seconds: f64,
    },
    /// A piece is done: one round of a group by an engine.
    Done {
        /// The group.
        group: String,
        /// The engine.
        engine: String,
        /// The round, from 1.
        round: u32,
        /// Which measurements exactly: pieces with other parameters are other pieces.
        params: String,
    },
}

/// What a child tells its parent, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A measurement begins.
    Begin {
        /// The workload.
        workload: String,
        /// Threads.
        threads: usize,
    },
    /// It ended well.
    Row(Row),
    /// Something to note.
    Note(Note),
    /// A word for the progress line.
    Progress(String),
}

/// A run on disk.
pub struct Run {
    dir: PathBuf,
    /// The figures so far.
    pub rows: Vec<Row>,
    /// The notes so far.
    pub notes: Vec<Note>,
}

/// The lines of a file, each parsed; a file that is not there has none.
fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
    };
    let parse = |(n, line)| {
        serde_json::from_str(line).map_err(|e| io::Error::other(format!("{}:{}: {e}", path.display(), n + 1)))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

impl Run {
    /// The run in `dir`, which may be new.
    pub fn open(dir: &Path) -> io::Result<Run> {
        fs::create_dir_all(dir)?;
        Ok(Run {
            rows: lines(&dir.join("results.jsonl"))?,
            notes: lines(&dir.join("notes.jsonl"))?,
            dir: dir.to_owned(),
        })
    }

    /// Several runs read as one.
    pub fn merged(dirs: &[PathBuf]) -> io::Result<Run> {
        let mut all = Run { dir: dirs.first().cloned().unwrap_or_default(), rows: Vec::new(), notes: Vec::new() };
        for dir in dirs {
            all.rows.extend(lines::<Row>(&dir.join("results.jsonl"))?);
            all.notes.extend(lines::<Note>(&dir.join("notes.jsonl"))?);
        }
        Ok(all)
    }

    /// Forgets everything.
    pub fn clear(&mut self) -> io::Result<()> {
        self.rows.clear();
        self.notes.clear();
        for name in ["results.jsonl", "notes.jsonl"] {
            File::create(self.dir.join(name))?;
        }
        Ok(())
    }

    fn append(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.dir.join(name))?;
        writeln!(file, "{}", serde_json::to_string(value)?)
    }

    /// Adds figures.
    pub fn row(&mut self, row: Row) -> io::Result<()> {
        self.append("results.jsonl", &row)?;
        self.rows.push(row);
        Ok(())
    }

    /// Adds a note, once.
    pub fn note(&mut self, note: Note) -> io::Result<()> {
        if !self.notes.contains(&note) {
            self.append("notes.jsonl", &note)?;
            self.notes.push(note);
        }
        Ok(())
    }

    /// Whether that piece is done.
    pub fn is_done(&self, piece: &Note) -> bool {
        self.notes.contains(piece)
    }
}
