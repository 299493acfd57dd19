//! From the rounds' rows to figures: medians, spreads, and who is best.

use crate::engine::{self, Kind};
use crate::record::{Note, Row};
use std::collections::BTreeMap;

/// The rounds of one measurement as one.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Medians of the rounds; of `max_us` the greatest.
    pub row: Row,
    /// Rounds.
    pub rounds: usize,
    /// From the slowest to the fastest round, as a share of the median.
    pub spread: f64,
}

/// One workload at one number of threads: a figure for each engine that has one.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The workload.
    pub workload: String,
    /// Threads.
    pub threads: usize,
    /// The figures, in the order of the engines.
    pub figures: Vec<Figure>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

impl Figure {
    fn new(rows: &[&Row]) -> Figure {
        let of = |f: fn(&Row) -> f64| median(rows.iter().map(|row| f(row)).collect());
        let ops = of(|row| row.ops_per_s);
        let all = || rows.iter().map(|row| row.ops_per_s);
        let spread = if ops > 0.0 { (all().fold(0.0, f64::max) - all().fold(f64::MAX, f64::min)) / ops } else { 0.0 };
        let row = Row {
            ops_per_s: ops,
            p50_us: of(|row| row.p50_us),
            p99_us: of(|row| row.p99_us),
            p999_us: of(|row| row.p999_us),
            max_us: rows.iter().map(|row| row.max_us).fold(0.0, f64::max),
            cpu_s: of(|row| row.cpu_s),
            rss_bytes: of(|row| row.rss_bytes as f64) as u64,
            disk_bytes: of(|row| row.disk_bytes as f64) as u64,
            written_bytes: of(|row| row.written_bytes as f64) as u64,
            ..rows[0].clone()
        };
        Figure { row, rounds: rows.len(), spread }
    }
}

/// What kind of thing an engine of a saved run is.
pub fn kind(engine: &str) -> Kind {
    engine::KNOWN.iter().find(|(name, _)| *name == engine).map_or(Kind::Engine, |(_, kind)| *kind)
}

/// The place of an engine in tables; unknown ones come last.
pub fn place(engine: &str) -> usize {
    engine::KNOWN.iter().position(|(name, _)| *name == engine).unwrap_or(usize::MAX)
}

/// All contests of a run, in the order in which they were first held.
pub fn contests(rows: &[Row]) -> Vec<Contest> {
    let mut order: Vec<(&str, usize, u64)> = Vec::new();
    let mut cells: BTreeMap<(&str, usize, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let contest = (row.workload.as_str(), row.threads, 0);
        if !order.contains(&contest) {
            order.push(contest);
        }
        cells.entry((&row.workload, row.threads, &row.engine)).or_default().push(row);
    }
    let contest = |(workload, threads, _): (&str, usize, u64)| {
        let mut figures: Vec<Figure> = cells
            .iter()
            .filter(|(cell, _)| (cell.0, cell.1) == (workload, threads))
            .map(|(_, rows)| Figure::new(rows))
            .collect();
        figures.sort_by_key(|figure| place(&figure.row.engine));
        Contest { workload: workload.to_owned(), threads, figures }
    };
    order.into_iter().map(contest).collect()
}

impl Contest {
    /// The figure of an engine.
    pub fn of(&self, engine: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.row.engine == engine)
    }

    /// The fastest engine that is not pagebox; yardsticks and the bare device are none.
    pub fn best_peer(&self) -> Option<&Figure> {
        let peers = self.figures.iter().filter(|figure| {
            figure.row.engine != "pagebox" && kind(&figure.row.engine) == Kind::Engine && figure.row.ops_per_s > 0.0
        });
        peers.max_by(|a, b| a.row.ops_per_s.total_cmp(&b.row.ops_per_s))
    }

    /// How an engine stands against the best peer; of the best peer itself, against the second best there is no word: 1.
    pub fn ratio(&self, figure: &Figure) -> Option<f64> {
        self.best_peer().map(|best| figure.row.ops_per_s / best.row.ops_per_s)
    }
}

/// Why figures are missing: workload, engine, threads, whether it failed, reason (with the round, of failures); each once.
pub fn missing(notes: &[Note]) -> Vec<(String, String, usize, bool, String)> {
    let mut all = Vec::new();
    for note in notes {
        if let Note::Missing { workload, engine, threads, failed, why, round } = note {
            let why = if *failed { format!("round {round}: {why}") } else { why.clone() };
            let entry = (workload.clone(), engine.clone(), *threads, *failed, why);
            if !all.contains(&entry) {
                all.push(entry);
            }
        }
    }
    all
}

/// The further figures: workload, engine, what, median.
pub fn further(notes: &[Note]) -> Vec<(String, String, String, f64)> {
    let mut order: Vec<(&str, &str, &str)> = Vec::new();
    let mut values: BTreeMap<(&str, &str, &str), Vec<f64>> = BTreeMap::new();
    for note in notes {
        if let Note::Figure { workload, engine, what, value } = note {
            let key = (workload.as_str(), what.as_str(), engine.as_str());
            if !order.contains(&key) {
                order.push(key);
            }
            values.entry(key).or_default().push(*value);
        }
    }
    order.sort_by_key(|key| place(key.2));
    order.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let one = |key: (&str, &str, &str)| {
        let median = median(values.get(&key).cloned().unwrap_or_default());
        (key.0.to_owned(), key.2.to_owned(), key.1.to_owned(), median)
    };
    order.into_iter().map(one).collect()
}

/// A rate, a count: three digits and a unit.
pub fn short(n: f64) -> String {
    let (value, unit) = match n {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "K"),
        n => (n, ""),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// Bytes in binary units.
pub fn bytes(n: u64) -> String {
    let units = ["B", "K", "M", "G", "T"];
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 10.0 && unit > 0);
    format!("{value:.digits$}{}", units[unit])
}

/// Microseconds, as long as they must be.
pub fn micros(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{:.2}s", us / 1e6),
        us if us >= 1e4 => format!("{:.1}ms", us / 1e3),
        us if us >= 100.0 => format!("{us:.0}"),
        us => format!("{us:.2}"),
    }
}
