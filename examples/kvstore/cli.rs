//! The command line.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// A key-value store in a directory.
#[derive(Parser)]
#[command(name = "kvstore", max_term_width = 100)]
pub struct Cli {
    /// The store's directory; writing commands create it
    #[arg(long, global = true, default_value = "./pagebox-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Memory budget, such as 64MiB [default: 256MiB]
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub memory: Option<usize>,
    /// Page size of a new store, such as 4K; an existing one must have it
    #[arg(long, global = true, value_name = "SIZE", value_parser = size)]
    pub page_size: Option<usize>,
    /// Acknowledge writes before they are durable; they are within 100 ms, and when the command ends
    #[arg(long, global = true)]
    pub relaxed: bool,
    /// The tree that the command works on
    #[arg(long, global = true, default_value = "main", value_name = "NAME")]
    pub tree: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Store a value under a key
    Put {
        key: OsString,
        /// The value; read from standard input, to its end, if not given
        value: Option<OsString>,
    },
    /// Print the value of a key
    Get {
        key: OsString,
        /// Print the value's bytes alone, without a newline after them
        #[arg(long)]
        raw: bool,
    },
    /// Remove a key
    Del { key: OsString },
    /// Print all records in key order, as escaped key<TAB>value lines
    Scan(Walk),
    /// Print the records from START on, up to but not including END
    Range {
        start: OsString,
        /// Up to the last key if not given
        end: Option<OsString>,
        #[command(flatten)]
        walk: Walk,
    },
    /// Print the records whose keys begin with PREFIX
    Prefix {
        prefix: OsString,
        #[command(flatten)]
        walk: Walk,
    },
    /// Apply key<TAB>value lines in order; prints "durable N" whenever N lines are safe
    Import {
        /// The file to read; standard input if not given, or if it is -
        file: Option<PathBuf>,
    },
    /// Write all records in key order, in the form that import reads
    Export {
        /// The file to write; standard output if not given, or if it is -
        file: Option<PathBuf>,
    },
    /// Write all changed pages, so that opening has no log to replay
    Checkpoint,
    /// Make everything written durable
    Sync,
    /// Print the store's figures
    Stats,
    /// Verify every page, every tree and the free space
    Check,
}

#[derive(Args)]
pub struct Walk {
    /// Print at most so many records
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// From the last key to the first
    #[arg(long)]
    pub reverse: bool,
}

/// A number of bytes: plain, or with K, M, G, KiB, MiB or GiB (powers of 1,024) or KB, MB, GB (powers of 1,000).
fn size(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: usize =
        text[..digits].parse().map_err(|_| "a number of bytes, such as 4096, 4K or 64MiB".to_owned())?;
    let unit: usize = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        other => return Err(format!("unknown unit {other:?}: use K, M, G, KiB, MiB, GiB, KB, MB or GB")),
    };
    number.checked_mul(unit).ok_or_else(|| "more bytes than can be addressed".to_owned())
}
