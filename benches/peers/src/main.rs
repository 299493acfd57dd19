//! Races pagebox against the engines people would pick instead. See README.md.

mod cli;
mod data;
mod engine;
mod lab;
mod machine;
mod measure;
mod parent;
mod plot;
mod published;
mod random;
mod record;
mod report;
mod suite;
mod summary;
mod table;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
