//! docs/benchmarks.md and its pictures, from a saved run.

use crate::published;
use crate::record::{Note, Run};
use crate::summary::{self, Contest, short};
use crate::table::{self, Columns};
use crate::{plot, workload};
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const HEAD: &str = "\
# Benchmarks

This page is written by a program from a saved run; do not edit it. To repeat the run and write the page anew:

```sh
cargo run --release --manifest-path benches/peers/Cargo.toml -- full     # hours; goes on where it was interrupted
cargo run --release --manifest-path benches/peers/Cargo.toml -- report   # the page only, from benches/peers/saved/full
```

`--features rocksdb` adds RocksDB (a C++ compiler, libclang, a quarter of an hour). `-- quick` runs everything scaled down
in a few minutes. What each engine was told and why, and how each workload is done, is in
[benches/peers/README.md](../benches/peers/README.md).

**Read ratios, not rates.** All engines ran in the same run, in alternating rounds, with the same keys in the same order,
the same checks of every answer and the same memory, each in a process of its own. A figure is the median of the rounds;
± is half the distance from the slowest to the fastest round. Latencies are of single steps, in microseconds unless marked.
`× best peer` compares with the fastest other engine; in-memory yardsticks and the bare device take no part in that.
`disk` counts allocated blocks of all files, logs included; `written` is the kernel's count for the process.
";

/// Writes the page into `docs` and the pictures beside it.
pub fn write(run: &Run, docs: &Path) -> Result<(), Box<dyn Error>> {
    if run.rows.is_empty() {
        return Err("the saved run has no figures".into());
    }
    let pictures = docs.join("benchmarks");
    fs::create_dir_all(&pictures)?;
    let contests = summary::contests(&run.rows);
    let mut page = HEAD.to_owned();
    page.push_str("\n## Machine and versions\n\n");
    machine(run).iter().try_for_each(|line| writeln!(page, "- {line}"))?;
    standing(&contests, &mut page)?;
    writeln!(page, "\n## Overview\n\nOperations a second.\n\n{}", table::overview(&contests).markdown())?;
    beside_published(&contests, &mut page)?;
    for group in workload::GROUPS {
        let of_group = |contest: &&Contest| group.rows.iter().any(|row| is_row(&contest.workload, row));
        let held: Vec<&Contest> = contests.iter().filter(of_group).collect();
        if held.is_empty() {
            continue;
        }
        writeln!(page, "\n## {}: {}\n", group.name, group.about)?;
        let picture = format!("{}.svg", group.name);
        if plot::draw(&held, &pictures.join(&picture))? {
            writeln!(page, "![{}](benchmarks/{picture})", group.name)?;
        }
        for contest in held {
            let records = contest.figures.first().map_or(0, |figure| figure.row.records);
            let rounds: Vec<usize> = contest.figures.iter().map(|figure| figure.rounds).collect();
            let (least, most) = (rounds.iter().min().unwrap_or(&0), rounds.iter().max().unwrap_or(&0));
            let rounds = if least == most { most.to_string() } else { format!("{least} to {most}") };
            let Contest { workload, threads, .. } = contest;
            writeln!(
                page,
                "\n**{workload}**, {threads} thread(s), {} records, {rounds} rounds\n",
                short(records as f64)
            )?;
            page.push_str(&table::contest(contest).markdown());
        }
    }
    rest(run, &mut page)?;
    fs::write(docs.join("benchmarks.md"), page)?;
    println!("\nwritten: {} and {}", docs.join("benchmarks.md").display(), pictures.display());
    Ok(())
}

/// Whether `workload` is `row`, perhaps with a suffix that tells sizes apart.
fn is_row(workload: &str, row: &str) -> bool {
    match workload.strip_prefix(row) {
        Some("") => true,
        // The only suffixes are of the sizes of records; `_uniform` is part of a name.
        Some(rest) => rest.starts_with("_1") || rest.starts_with("_2") || rest.starts_with("_6"),
        None => false,
    }
}

/// The machines a run was made on, a line each, with the parts it was made in; and the engines' versions.
pub fn machine(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    // One run may have been made in many parts.
    let mut machines: Vec<(String, Vec<&str>, Vec<&str>)> = Vec::new();
    for note in &run.notes {
        if let Note::Machine { machine: m, command } = note {
            let one = format!(
                "{} × {}, {} MiB of memory, Linux {}, {}; {}",
                m.processors, m.processor, m.memory_mib, m.kernel, m.disk, m.rustc
            );
            let at = machines.iter().position(|(machine, ..)| *machine == one).unwrap_or_else(|| {
                machines.push((one, Vec::new(), Vec::new()));
                machines.len() - 1
            });
            let (_, loads, commands) = &mut machines[at];
            loads.push(&m.load);
            if !commands.contains(&command.as_str()) {
                commands.push(command);
            }
        }
    }
    for (machine, loads, commands) in machines {
        let commands = commands.iter().map(|command| format!("`{command}`")).collect::<Vec<_>>().join(", ");
        let (parts, loads) = (loads.len(), loads.join(", "));
        lines.push(format!("{machine}; made in {parts} part(s): {commands}; load at their starts: {loads}"));
    }
    let mut versions: Vec<String> = Vec::new();
    for note in &run.notes {
        if let Note::Version { engine, version } = note {
            let one = format!("{engine} {version}").trim().to_owned();
            if !versions.contains(&one) {
                versions.push(one);
            }
        }
    }
    lines.push(versions.join(", "));
    lines
}

/// Who wins: every contest in which pagebox is behind the best peer, the worst first, and in how many it is not.
fn standing(contests: &[Contest], page: &mut String) -> Result<(), Box<dyn Error>> {
    let ratio = |contest: &Contest| contest.of("pagebox").and_then(|figure| contest.ratio(figure));
    let all: Vec<(&Contest, f64)> = contests.iter().filter_map(|contest| Some((contest, ratio(contest)?))).collect();
    let mut behind: Vec<&(&Contest, f64)> = all.iter().filter(|(_, ratio)| *ratio < 1.0).collect();
    behind.sort_by(|a, b| a.1.total_cmp(&b.1));
    let ahead = all.len() - behind.len();
    writeln!(
        page,
        "\n## Where pagebox stands\n\nAhead of every peer in {ahead} of {} contests. Behind in:\n",
        all.len()
    )?;
    let mut columns = Columns::new(&["workload", "threads", "pagebox × best peer", "best peer"]);
    for (contest, ratio) in behind {
        let best = contest.best_peer().map_or_else(|| "-".into(), |best| best.row.engine.clone());
        columns.row(vec![contest.workload.clone(), contest.threads.to_string(), format!("{ratio:.2}"), best]);
    }
    page.push_str(&columns.markdown());
    page.push_str(REASONS);
    Ok(())
}

const REASONS: &str = "\n\
Why, as far as it is known: each page that is not in memory is copied from the system's cache and summed, where LMDB's memory is \
that cache; each page that was changed is written back behind the log, and its copy with it, where Bf-Tree keeps changed records \
without their pages. A large value \
is written, synced, and named by a record that is synced too; one of several pages is put together in a buffer for its reader, where \
others lend it from a map or keep it in one piece. \
Opening a closed store reads its superblocks, catalog and free space from a cold file and syncs both superblocks before it may \
write; opening after a kill applies the log to the pages it changed, where LMDB has no log. \
An iterator of a range owns what it yields: it copies leaf by leaf, which costs most where it is left after ten records.\n";

/// redb's table as its own program makes it, and as this one does.
fn beside_published(contests: &[Contest], page: &mut String) -> Result<(), Box<dyn Error>> {
    let find = |step: &published::Step| {
        contests.iter().find(|contest| (contest.workload.as_str(), contest.threads) == (step.workload, step.threads))
    };
    if !published::TABLE.iter().any(|step| find(step).is_some()) {
        return Ok(());
    }
    page.push_str(
        "\n## Against redb's own harness\n\nEach engine as a multiple of redb: in this run / in a run of redb's own \
         benchmark program on another machine of this size (an AMD EPYC). They should agree as far as the reasons below go.\n\n",
    );
    let mut titles = vec!["step", "threads"];
    titles.extend(&published::ENGINES[1..]);
    let mut columns = Columns::new(&titles);
    for step in published::TABLE {
        let Some(contest) = find(step) else { continue };
        let Some(redb) = contest.of("redb") else { continue };
        let mut row = vec![step.workload.to_owned(), step.threads.to_string()];
        for (engine, theirs) in published::ENGINES.iter().zip(step.ops_per_s).skip(1) {
            let ours = contest.of(engine).map(|figure| figure.row.ops_per_s / redb.row.ops_per_s);
            let ours = ours.map_or_else(|| "-".to_owned(), |ours| format!("{ours:.2}"));
            row.push(format!("{ours} / {:.2}", theirs / step.ops_per_s[0]));
        }
        columns.row(row);
    }
    page.push_str(&columns.markdown());
    page.push_str(NOTES);
    Ok(())
}

const NOTES: &str = "\n\
Known reasons to differ: here every byte of every value read is checked, there the first; reads are of random records, there \
of the first million in their order; each engine runs in a process of its own; RocksDB and fjall are raced without \
transactions, there with them; sorted inserts use table ingestion in both of these here, single writes there; SQLite has a \
memory map here; the threads share one million reads here, there they read every record. Durable commits compare the two disks as \
much as the engines: here a synced write takes some 40 µs, there some 90, so what an engine does beside its syncs weighs more (LMDB \
and SQLite sync once or twice a commit, redb twice, with checksums; fjall's and RocksDB's batches are one write and one sync, \
where the processor counts). Removals and loads of LMDB copy pages: the slower memory of this machine shows.\n";

/// Further figures, settings, and what is missing.
fn rest(run: &Run, page: &mut String) -> Result<(), Box<dyn Error>> {
    let further = summary::further(&run.notes);
    if !further.is_empty() {
        let columns = table::further(&further);
        writeln!(page, "\n## Further figures\n\n{}", columns.markdown())?;
    }
    page.push_str("\n## Settings\n\n");
    let mut shown = Vec::new();
    for note in &run.notes {
        if let Note::Settings { group, engine, settings } = note {
            match shown.iter_mut().find(|(e, s, _): &&mut (_, _, Vec<_>)| (*e, *s) == (engine, settings)) {
                Some((_, _, groups)) if !groups.contains(&group) => groups.push(group),
                Some(_) => {}
                None => shown.push((engine, settings, vec![group])),
            }
        }
    }
    shown.sort_by_key(|(engine, ..)| summary::place(engine));
    for (engine, settings, groups) in shown {
        let groups = groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ");
        writeln!(page, "- **{engine}** ({groups}): {settings}")?;
    }
    let missing = summary::missing(&run.notes);
    for (title, failed) in [("Failed", true), ("Not offered by the engine", false)] {
        let mut lines = missing.iter().filter(|entry| entry.3 == failed).peekable();
        if lines.peek().is_some() {
            writeln!(page, "\n## {title}\n")?;
        }
        for (workload, engine, threads, _, why) in lines {
            writeln!(page, "- {engine}: {workload}, {threads} thread(s): {why}")?;
        }
    }
    Ok(())
}
