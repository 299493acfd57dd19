//! The tables in the terminal.

use crate::engine::Kind;
use crate::record::{Note, Run};
use crate::summary::{self, Contest, bytes, micros, short};
use std::fmt::Write;

/// Columns, each as wide as its widest cell; the first two to the left, numbers to the right.
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// With these titles.
    pub fn new(titles: &[&str]) -> Columns {
        Columns { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// One more line.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// All lines, for the terminal.
    pub fn text(&self) -> String {
        let count = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |i: usize| {
            self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[i] - cell.chars().count());
                // Writing into a string cannot fail.
                let _ = if i == 0 { write!(line, "{cell}{pad}") } else { write!(line, "  {pad}{cell}") };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// All lines, as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | "));
            if n == 0 {
                let rule = row.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "---:" });
                let _ = writeln!(text, "|{}|", rule.collect::<Vec<_>>().join("|"));
            }
        }
        text
    }
}

/// All figures of a contest, an engine a line.
pub fn contest(contest: &Contest) -> Columns {
    let mut columns = Columns::new(&[
        "engine",
        "ops/s",
        "± %",
        "× best peer",
        "p50 µs",
        "p99",
        "p99.9",
        "max",
        "cpu s",
        "rss",
        "disk",
        "written",
    ]);
    for figure in &contest.figures {
        let row = &figure.row;
        columns.row(vec![
            row.engine.clone(),
            short(row.ops_per_s),
            format!("{:.0}", figure.spread * 50.0),
            contest.ratio(figure).map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
            micros(row.p50_us),
            micros(row.p99_us),
            micros(row.p999_us),
            micros(row.max_us),
            format!("{:.2}", row.cpu_s),
            bytes(row.rss_bytes),
            bytes(row.disk_bytes),
            bytes(row.written_bytes),
        ]);
    }
    columns
}

/// Every contest a line, every engine a column: operations a second, and how pagebox stands.
pub fn overview(contests: &[Contest]) -> Columns {
    let mut names: Vec<String> = Vec::new();
    for figure in contests.iter().flat_map(|contest| &contest.figures) {
        if !names.contains(&figure.row.engine) {
            names.push(figure.row.engine.clone());
        }
    }
    let kind_order = |name: &String| match summary::kind(name) {
        Kind::Engine => 0,
        Kind::Yardstick => 1,
        Kind::Bare => 2,
    };
    names.sort_by_key(kind_order);
    let mut titles = vec!["workload", "threads", "pagebox × best peer", "best peer"];
    titles.extend(names.iter().map(String::as_str));
    let mut columns = Columns::new(&titles);
    for contest in contests {
        let best = contest.best_peer();
        let ratio = contest.of("pagebox").and_then(|figure| contest.ratio(figure));
        let mut row = vec![
            contest.workload.clone(),
            contest.threads.to_string(),
            ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
            best.map_or_else(|| "-".into(), |best| best.row.engine.clone()),
        ];
        row.extend(names.iter().map(|name| contest.of(name).map_or_else(|| "-".into(), |f| short(f.row.ops_per_s))));
        columns.row(row);
    }
    columns
}

/// Further figures; where bare memory has one of the same kind, as a share of that.
pub fn further(all: &[(String, String, String, f64)]) -> Columns {
    let mut columns = Columns::new(&["workload", "engine", "what", "value", "of bare memory"]);
    for (workload, engine, what, value) in all {
        let bare = all.iter().find(|other| (&other.0, other.1.as_str(), &other.2) == (workload, "memory", what));
        let share = bare.map_or_else(String::new, |(.., bare)| format!("{:.0}%", 100.0 * value / bare));
        columns.row(vec![workload.clone(), engine.clone(), what.clone(), format!("{value:.2}"), share]);
    }
    columns
}

/// Everything, for the end of a run.
pub fn print(run: &Run) {
    println!("Machine and versions");
    crate::report::machine(run).iter().for_each(|line| println!("  {line}"));
    let contests = summary::contests(&run.rows);
    for one in &contests {
        let records = one.figures.first().map_or(0, |figure| figure.row.records);
        let rounds = one.figures.iter().map(|figure| figure.rounds).max().unwrap_or(0);
        println!("\n{}, {} threads, {} records, {rounds} rounds", one.workload, one.threads, short(records as f64));
        print!("{}", contest(one).text());
    }
    println!("\nSettings");
    let mut shown = Vec::new();
    for note in &run.notes {
        if let Note::Settings { engine, settings, .. } = note
            && !shown.contains(&(engine, settings))
        {
            shown.push((engine, settings));
            println!("  {engine}: {settings}");
        }
    }
    let further = summary::further(&run.notes);
    if !further.is_empty() {
        println!("\nFurther figures");
        print!("{}", self::further(&further).text());
    }
    let missing = summary::missing(&run.notes);
    for (title, failed) in [("FAILED", true), ("Not offered", false)] {
        let lines = missing.iter().filter(|entry| entry.3 == failed);
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            println!("\n{title}");
        }
        for (workload, engine, threads, _, why) in lines {
            println!("  {engine}: {workload}, {threads} threads: {why}");
        }
    }
    println!("\nOperations a second; pagebox against the best peer (engines only; yardsticks and the bare are none)");
    print!("{}", overview(&contests).text());
}
