//! The fuzz targets with bytes from a seed, a few seconds of them: what a fuzzer has to find must not be found by chance.
//! Panics are the failures; `fuzz/` runs the same functions for as long as one likes.

#![cfg(all(feature = "btree", feature = "sim"))]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;
#[path = "support/rng.rs"]
#[allow(dead_code)]
mod rng;

use rng::Rng;
use std::time::{Duration, Instant};

/// Feeds a target inputs from a seed for a while: a place and then few bytes or many, of a sort that hits something.
fn feed(seed: u64, time: Duration, target: fn(&[u8])) {
    let until = Instant::now() + time;
    let mut rng = Rng::new(seed);
    let mut inputs = 0u32;
    while Instant::now() < until {
        let mut input = (rng.next() as u32).to_le_bytes().to_vec();
        let len = *rng.pick(&[0, 1, 1, 4, 16, 64, 512, 4096, 9000]);
        match rng.below(4) {
            0 => input.extend(std::iter::repeat_n(0, len)),
            1 => input.extend(std::iter::repeat_n(0xff, len)),
            _ => input.extend(rng.bytes(len)),
        }
        // A failing input is shown by the harness together with the panic.
        println!("seed {seed}, input {inputs}: {:?}..", &input[..input.len().min(12)]);
        target(&input);
        inputs += 1;
    }
}

const TIME: Duration = Duration::from_millis(1500);

#[test]
fn foreign_bytes_in_the_log() {
    feed(1, TIME, fuzz::log);
}

#[test]
fn foreign_bytes_in_a_superblock() {
    feed(2, TIME, fuzz::superblock);
}

#[test]
fn foreign_bytes_in_the_page_file() {
    feed(3, TIME, fuzz::pages_file);
}

#[test]
fn foreign_bytes_among_copies() {
    feed(6, TIME, fuzz::copies);
}

#[test]
fn foreign_bytes_as_a_page() {
    feed(4, TIME / 4, fuzz::page);
}

#[test]
fn foreign_bytes_as_lines() {
    feed(5, TIME / 4, fuzz::lines);
}
