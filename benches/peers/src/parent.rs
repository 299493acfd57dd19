//! The parent's side: the rounds A B C A B C, each engine's turn in a process of its own, with a time limit; whatever
//! happens to one is noted and does not stop the others.

use crate::engine::{self, Entry};
use crate::lab::{Params, Spec};
use crate::machine::Machine;
use crate::record::{Message, Note, Run};
use crate::workload::{self, Group};
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What is to be run.
pub struct Plan {
    /// The pieces in their order.
    pub pieces: Vec<Params>,
    /// The engines in their order.
    pub engines: Vec<&'static Entry>,
    /// Rounds of each piece.
    pub rounds: u32,
    /// Where data may lie.
    pub data_dir: PathBuf,
    /// The longest an engine's turn may take.
    pub limit: Duration,
    /// Begin no turn after this long.
    pub within: Option<Duration>,
}

/// How a turn ended.
enum Turn {
    Done,
    /// It crashed, hung, or failed as a whole: not asked again in this group.
    Lost,
}

/// Says on standard error how far things are.
struct Progress {
    started: Instant,
    turns: usize,
    total: usize,
    shown: String,
}

impl Progress {
    fn show(&mut self, what: &str) {
        if what == self.shown {
            return;
        }
        self.shown = what.to_owned();
        let elapsed = self.started.elapsed();
        let left = elapsed.mul_f64((self.total - self.turns) as f64 / self.turns.max(1) as f64);
        let time = |t: Duration| format!("{}:{:02}", t.as_secs() / 60, t.as_secs() % 60);
        let eta = if self.turns > 2 { format!(", about {} left", time(left)) } else { String::new() };
        let line = format!("[{}/{}] {} {what}{eta}", self.turns, self.total, time(elapsed));
        let mut out = std::io::stderr().lock();
        // Nobody to read it is no reason to stop.
        let _ = if out.is_terminal() { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
    }

    fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

/// Runs the plan, adding to `run`; what the run has already is not done again.
pub fn race(run: &mut Run, plan: &Plan) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&plan.data_dir)?;
    let machine = Machine::here(&plan.data_dir);
    run.note(Note::Machine { machine, command: std::env::args().skip(1).collect::<Vec<_>>().join(" ") })?;
    for entry in &plan.engines {
        let version = engine::version(entry.package).map_or_else(String::new, str::to_owned);
        run.note(Note::Version { engine: entry.name.to_owned(), version })?;
    }
    let total = plan.pieces.iter().map(|params| {
        let group = workload::find(&params.group);
        let takers = plan.engines.iter().filter(|entry| group.is_some_and(|group| (group.takes)(entry))).count();
        takers * (plan.rounds as usize + usize::from(group.is_some_and(|group| group.loads)))
    });
    let mut progress = Progress { started: Instant::now(), turns: 0, total: total.sum(), shown: String::new() };
    for params in &plan.pieces {
        let group = workload::find(&params.group).ok_or_else(|| format!("no workload is called {}", params.group))?;
        let dir = plan.data_dir.join(format!("{}{}", params.group, params.suffix));
        let result = piece(run, plan, params, group, &dir, &mut progress);
        remove(&dir)?;
        result?;
    }
    progress.end();
    Ok(())
}

fn remove(dir: &Path) -> std::io::Result<()> {
    if dir.exists() { fs::remove_dir_all(dir) } else { Ok(()) }
}

/// All rounds of one piece.
fn piece(
    run: &mut Run,
    plan: &Plan,
    params: &Params,
    group: &Group,
    dir: &Path,
    progress: &mut Progress,
) -> Result<(), Box<dyn Error>> {
    let done = |entry: &Entry, round| Note::Done {
        group: format!("{}{}", params.group, params.suffix),
        engine: entry.name.to_owned(),
        round,
        params: serde_json::to_string(params).unwrap_or_default(),
    };
    // Who has rounds left.
    let mut engines: Vec<_> = plan.engines.iter().copied().filter(|entry| (group.takes)(entry)).collect();
    engines.retain(|entry| (1..=plan.rounds).any(|round| !run.is_done(&done(entry, round))));
    for round in u32::from(!group.loads)..=plan.rounds {
        for entry in engines.clone() {
            progress.turns += 1;
            if run.is_done(&done(entry, round)) && round > 0 {
                continue;
            }
            if plan.within.is_some_and(|within| progress.started.elapsed() > within) {
                progress.show("the time is up");
                return Ok(());
            }
            let spec = Spec { engine: entry.name.to_owned(), round, dir: dir.join(entry.name), params: params.clone() };
            let what = format!("{}{} round {round}/{}: {}", params.group, params.suffix, plan.rounds, entry.name);
            match turn(run, plan, &spec, &what, progress)? {
                Turn::Done if round > 0 => run.note(done(entry, round))?,
                Turn::Done => {}
                Turn::Lost => engines.retain(|other| other.name != entry.name),
            }
            // What is loaded anew each time need not lie about until then.
            if !entry.reopens || !group.loads {
                remove(&dir.join(entry.name))?;
            }
        }
    }
    Ok(())
}

/// One child, from start to end.
fn turn(run: &mut Run, plan: &Plan, spec: &Spec, what: &str, progress: &mut Progress) -> Result<Turn, Box<dyn Error>> {
    fs::create_dir_all(&spec.dir)?;
    let errors = spec.dir.join("stderr");
    let mut child = Command::new(std::env::current_exe()?)
        .args(["child", &serde_json::to_string(spec)?])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&errors)?)
        .spawn()?;
    progress.show(what);
    let group = format!("{}{}", spec.params.group, spec.params.suffix);
    let (started, mut doing, mut rows) = (Instant::now(), (group.clone(), 0), 0);
    let deadline = started + plan.limit;
    let lines = lines_of(&mut child)?;
    let lost = loop {
        let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                break Some(format!("not done after {} s: ended", plan.limit.as_secs()));
            }
        };
        match serde_json::from_str(&line) {
            Ok(Message::Begin { workload, threads }) => {
                progress.show(&format!("{what}: {workload}"));
                doing = (workload, threads);
            }
            Ok(Message::Row(row)) => {
                rows += 1;
                run.row(row)?;
            }
            Ok(Message::Note(note)) => run.note(note)?,
            Ok(Message::Progress(word)) => progress.show(&format!("{what}: {word}")),
            // An engine that prints is no failure.
            Err(_) => {}
        }
    };
    let status = child.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    run.note(Note::Took { group, engine: spec.engine.clone(), round: spec.round, seconds })?;
    let text = fs::read_to_string(&errors).unwrap_or_default();
    let last = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("note: ")).collect::<Vec<_>>();
    let last = last[last.len().saturating_sub(3)..].join("; ");
    let lost = lost.or_else(|| (!status.success()).then(|| format!("{status}: {last}")));
    let Some(why) = lost else { return Ok(Turn::Done) };
    let (workload, threads) = doing;
    let missing = Note::Missing {
        workload,
        engine: spec.engine.clone(),
        threads,
        round: spec.round,
        failed: true,
        why: format!("{why} (after {rows} figures of this round; not asked again in this group)"),
    };
    run.note(missing)?;
    Ok(Turn::Lost)
}

/// The child's lines, as they come.
fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<String>, Box<dyn Error>> {
    let out = child.stdout.take().ok_or("the child has no output")?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    Ok(receive)
}
