//! A key-value store on the command line.
//!
//! ```text
//! cargo run --release --example kvstore -- put hello world
//! cargo run --release --example kvstore -- get hello
//! ```
//!
//! Exit codes: 0 done; 1 failed, or no such key; 2 a wrong command line or bad input.

#[path = "kvstore/cli.rs"]
mod cli;
#[path = "kvstore/import.rs"]
mod import;
#[path = "kvstore/lines.rs"]
pub mod lines;

use clap::Parser;
use cli::{Cli, Command, Walk};
use pagebox::{Durability, Error, Range, Store, StoreOptions, Tree};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Why a command ends early: what to say on standard error, and the exit code.
pub struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn other(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: 1 }
    }

    fn bad_input(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), code: 2 }
    }

    fn with_note(self, note: String) -> Failure {
        Failure { text: format!("{} ({note})", self.text), ..self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::InvalidOption { .. }
            | Error::InvalidName { .. }
            | Error::KeyTooLarge { .. }
            | Error::ValueTooLarge { .. } => Failure::bad_input(error.to_string()),
            other => Failure::other(other.to_string()),
        }
    }
}

fn main() -> ExitCode {
    with_args(std::env::args_os().collect())
}

/// The command with its arguments, the program's name first; a wrong command line ends the process.
pub fn with_args(args: Vec<OsString>) -> ExitCode {
    let cli = Cli::parse_from(args);
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to be done when standard error is closed as well.
            let _ = writeln!(io::stderr(), "kvstore: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    // An import's lines are acknowledged by its own syncs. A command that only reads creates nothing.
    let durability = match (&cli.command, cli.relaxed) {
        (Command::Import { .. }, false) => Durability::Manual,
        (_, true) => Durability::Relaxed { within: Duration::from_millis(100) },
        (_, false) => Durability::Sync,
    };
    let creates = matches!(cli.command, Command::Put { .. } | Command::Import { .. });
    let input = match &cli.command {
        Command::Import { file } => Some(source(file.as_deref())?),
        _ => None,
    };
    let mut options: StoreOptions = Store::options().durability(durability).create(creates);
    if let Some(bytes) = cli.memory {
        options = options.memory(bytes);
    }
    if let Some(bytes) = cli.page_size {
        options = options.page_size(bytes);
    }
    let store = options.open(&cli.data_dir).map_err(|error| match error {
        Error::NotFound { .. } => Failure::other(format!("no store at {}", cli.data_dir.display())),
        other => other.into(),
    })?;
    let done = command(cli, &store, input);
    // A failed command's message is the better one; the store is closed either way.
    let closed = store.close().map_err(Failure::from);
    done.and(closed)
}

fn command(cli: &Cli, store: &Store, input: Option<Source>) -> Result<(), Failure> {
    match &cli.command {
        Command::Put { key, value } => {
            let value = match value {
                Some(value) => value.as_bytes().to_vec(),
                None => read_stdin()?,
            };
            store.tree(&cli.tree)?.insert(key.as_bytes(), value)?;
            Ok(())
        }
        Command::Get { key, raw } => {
            let value = reading(cli, store)?.map(|tree| tree.get(key.as_bytes())).transpose()?.flatten();
            let mut value = value.ok_or_else(|| no_such_key(key))?;
            if !raw {
                value.push(b'\n');
            }
            quietly(io::stdout().write_all(&value).and_then(|()| io::stdout().flush()))
        }
        Command::Del { key } => {
            let there = reading(cli, store)?.map(|tree| tree.remove(key.as_bytes())).transpose()?;
            if there == Some(true) { Ok(()) } else { Err(no_such_key(key)) }
        }
        Command::Scan(walk) => print(cli, store, walk, Tree::iter),
        Command::Range { start, end, walk } => {
            let upper = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_bytes()));
            print(cli, store, walk, |tree| tree.range((Bound::Included(start.as_bytes()), upper)))
        }
        Command::Prefix { prefix, walk } => print(cli, store, walk, |tree| tree.prefix(prefix.as_bytes())),
        Command::Import { .. } => {
            let input = input.ok_or_else(|| Failure::other("no input"))?;
            import::import(store, &store.tree(&cli.tree)?, BufReader::with_capacity(1 << 20, input)).map(drop)
        }
        Command::Export { file } => export(cli, store, file.as_deref()),
        Command::Checkpoint => Ok(store.checkpoint()?),
        Command::Sync => Ok(store.sync().map(drop)?),
        Command::Stats => quietly(writeln!(io::stdout(), "{:#?}", store.stats())),
        Command::Check => {
            let damages = store.check_all()?;
            if damages.is_empty() {
                return quietly(writeln!(io::stdout(), "{:#?}", store.check()?));
            }
            damages.iter().for_each(|damage| eprintln!("kvstore: {damage}"));
            Err(Failure::other(format!("{} damages found", damages.len())))
        }
    }
}

/// The tree for a command that must not create it.
fn reading(cli: &Cli, store: &Store) -> Result<Option<Tree>, Failure> {
    Ok(store.existing_tree(&cli.tree)?)
}

fn no_such_key(key: &OsStr) -> Failure {
    Failure::other(format!("no such key: {}", key.display()))
}

type Source = Box<dyn Read>;

/// The file to import, or standard input.
fn source(file: Option<&Path>) -> Result<Source, Failure> {
    match file {
        Some(path) if path != "-" => {
            Ok(Box::new(File::open(path).map_err(|e| Failure::other(format!("{}: {e}", path.display())))?))
        }
        _ => Ok(Box::new(io::stdin())),
    }
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    io::stdin().read_to_end(&mut value).map_err(|e| Failure::other(format!("standard input: {e}")))?;
    Ok(value)
}

/// Writes the records of a walk to standard output.
fn print(cli: &Cli, store: &Store, walk: &Walk, range: impl FnOnce(&Tree) -> Range) -> Result<(), Failure> {
    let Some(tree) = reading(cli, store)? else { return Ok(()) };
    let records = range(&tree);
    let limit = usize::try_from(walk.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let out = io::stdout().lock();
    if walk.reverse { write_records(records.rev().take(limit), out) } else { write_records(records.take(limit), out) }
}

/// Writes all records to a file, which appears under its name only when it is whole, or to standard output.
fn export(cli: &Cli, store: &Store, file: Option<&Path>) -> Result<(), Failure> {
    let records = reading(cli, store)?.map(|tree| tree.iter()).into_iter().flatten();
    let Some(path) = file.filter(|path| *path != "-") else { return write_records(records, io::stdout().lock()) };
    let failed = |e: io::Error| Failure::other(format!("{}: {e}", path.display()));
    let mut unfinished = path.to_path_buf().into_os_string();
    unfinished.push(".part");
    let unfinished = PathBuf::from(unfinished);
    let out = File::create(&unfinished).map_err(failed)?;
    write_records(records, &out)?;
    out.sync_all().and_then(|()| std::fs::rename(&unfinished, path)).map_err(failed)
}

/// Writes records as lines; a reader that went away ends it without a word.
fn write_records<W: Write>(
    records: impl Iterator<Item = pagebox::Result<(Vec<u8>, Vec<u8>)>>,
    out: W,
) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let mut line = Vec::new();
    for record in records {
        let (key, value) = record?;
        lines::format(&key, &value, &mut line);
        if let Err(error) = out.write_all(&line) {
            return quietly(Err(error));
        }
    }
    quietly(out.flush())
}

fn quietly(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::other(format!("write: {error}"))),
        _ => Ok(()),
    }
}
