//! What the campaigns, the model tests and the benchmarks share: a seeded generator, workloads, and the oracle that says
//! which states a crash may leave behind.

// Every test binary and example includes this module and uses its own part of it.
#![allow(dead_code)]

pub mod budget;
#[cfg(feature = "sim")]
pub mod crash;
#[cfg(feature = "sim")]
pub mod histories;
pub mod hooked;
pub mod kill;
pub mod killer;
pub mod linear;
pub mod oracle;
pub mod rng;
pub mod run;
#[cfg(feature = "sim")]
pub mod scans;
pub mod transfers;
#[cfg(feature = "sim")]
pub mod unsteady;
pub mod watchdog;
pub mod workload;
