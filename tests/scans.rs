//! Scans beside writers: the short run of `examples/histories.rs --scans`.

mod support;

use std::time::{Duration, Instant};
use support::histories::floor;
use support::scans::run;
use support::watchdog::Watchdog;

/// The time of the campaign in `cargo test`, and how many scans it judges at least.
const TIME: Duration = Duration::from_secs(5);
const ROUNDS: u64 = 200;

#[test]
fn scans_meet_what_stays_and_nothing_else() {
    let (floor, until) = (floor(), Instant::now() + TIME);
    let watchdog = Watchdog::new("scans", Duration::from_secs(120));
    let outcome = run(1, floor, &watchdog, |rounds| rounds >= ROUNDS && Instant::now() > until);
    let counts = outcome.unwrap_or_else(|error| {
        panic!(
            "VIOLATION, look for it with: cargo run --release --features sim --example histories -- --scans 100000\n\
             {error}"
        )
    });
    println!("{counts:?}");
    assert!(counts.judged_there > 1000 && counts.judged_absent > 1000, "{counts:?}");
    assert!(counts.pages_allocated > 0 && counts.pages_freed > 0 && counts.evictions > 0, "{counts:?}");
}
