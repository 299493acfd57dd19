//! The suites: which groups, how large, how often.

use crate::data::{Data, Keys};
use crate::lab::Params;

/// A piece of a suite: a group and its sizes.
fn piece(group: &str, records: u64, value_len: usize, cache_mib: u64, seconds: f64, threads: &[usize]) -> Params {
    Params {
        group: group.to_owned(),
        suffix: String::new(),
        records,
        data: Data { keys: Keys::Random24, value_len },
        cache_mib,
        seconds,
        threads: threads.to_vec(),
        only: Vec::new(),
    }
}

/// A suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Scaled down, for daily use.
    Quick,
    /// The sizes of the published tables.
    Full,
}

impl Suite {
    /// Rounds unless told otherwise.
    pub fn rounds(self) -> u32 {
        match self {
            Suite::Quick => 3,
            Suite::Full => 5,
        }
    }

    /// The pieces, in the order in which they are run.
    pub fn pieces(self) -> Vec<Params> {
        let leanstore = |records, seconds| {
            let mut piece = piece("leanstore", records, 120, 4096, seconds, &[1, 2]);
            piece.data.keys = Keys::Dense8;
            piece
        };
        let suffixed = |mut piece: Params, suffix: &str| {
            piece.suffix = suffix.to_owned();
            piece
        };
        match self {
            Suite::Quick => vec![
                piece("redb", 50_000, 150, 1024, 0.0, &[]),
                piece("resident", 100_000, 150, 1024, 0.05, &[1, 2]),
                leanstore(200_000, 0.1),
                piece("writes", 50_000, 150, 1024, 0.1, &[1, 2]),
                piece("loads", 50_000, 150, 1024, 0.0, &[]),
                suffixed(piece("ycsb", 50_000, 100, 1024, 0.05, &[1, 4]), "_100b"),
                piece("commits", 10_000, 150, 256, 0.1, &[1, 4, 16]),
                piece("beyond", 0, 1000, 4, 0.05, &[2]),
                piece("queue", 5_000, 150, 256, 0.1, &[]),
                piece("counter", 16, 8, 256, 0.1, &[1, 4]),
                piece("large", 50_000, 150, 256, 0.0, &[]),
                piece("cold", 50_000, 150, 256, 0.0, &[]),
            ],
            Suite::Full => vec![
                piece("redb", 5_000_000, 150, 4096, 0.0, &[]),
                piece("resident", 5_000_000, 150, 4096, 0.5, &[1, 2]),
                leanstore(10_000_000, 1.0),
                piece("writes", 5_000_000, 150, 4096, 1.0, &[1, 2]),
                piece("loads", 1_000_000, 150, 4096, 0.0, &[]),
                suffixed(piece("ycsb", 10_000_000, 100, 4096, 0.5, &[1, 4, 16]), "_100b"),
                suffixed(piece("ycsb", 65_536, 2048, 64, 0.5, &[1, 16]), "_2k"),
                piece("commits", 1_000_000, 150, 1024, 0.5, &[1, 2, 4, 16, 64]),
                piece("beyond", 0, 1000, 32, 0.5, &[2]),
                piece("queue", 50_000, 150, 1024, 2.0, &[]),
                piece("counter", 16, 8, 256, 0.5, &[1, 2, 4, 16]),
                piece("large", 800_000, 150, 1024, 0.0, &[]),
                piece("cold", 1_000_000, 150, 1024, 0.0, &[]),
            ],
        }
    }
}
