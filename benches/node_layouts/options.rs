//! What to measure.

use crate::keys::{KINDS, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    ColdHits,
    ColdMisses,
    WarmHits,
    WarmMisses,
    Insert,
}

pub const PHASES: [(Phase, &str); 5] = [
    (Phase::ColdHits, "cold-hits"),
    (Phase::ColdMisses, "cold-misses"),
    (Phase::WarmHits, "warm-hits"),
    (Phase::WarmMisses, "warm-misses"),
    (Phase::Insert, "insert"),
];

#[derive(Clone, Debug)]
pub struct Options {
    pub kinds: Vec<Kind>,
    pub values: Vec<usize>,
    /// Page sizes in bytes.
    pub pages: Vec<usize>,
    pub phases: Vec<Phase>,
    pub keys: usize,
    pub cold_bytes: usize,
    pub queries: usize,
    pub rounds: usize,
}

impl Options {
    fn short() -> Options {
        Options {
            kinds: vec![Kind::Random, Kind::Urls],
            values: vec![24],
            pages: vec![16 << 10],
            phases: PHASES.map(|(phase, _)| phase).to_vec(),
            keys: 100_000,
            cold_bytes: 64 << 20,
            queries: 50_000,
            rounds: 5,
        }
    }

    fn full() -> Options {
        Options {
            kinds: KINDS.to_vec(),
            values: vec![8, 24, 150],
            pages: vec![4 << 10, 16 << 10, 64 << 10],
            keys: 1_000_000,
            cold_bytes: 256 << 20,
            queries: 200_000,
            rounds: 7,
            ..Options::short()
        }
    }

    /// Panics on what it does not know.
    pub fn from_args(args: impl Iterator<Item = String>) -> Options {
        let args: Vec<_> = args.filter(|arg| arg != "--bench").collect();
        let mut options = if args.iter().any(|arg| arg == "--full") { Options::full() } else { Options::short() };
        let mut args = args.into_iter().filter(|arg| arg != "--full");
        while let Some(flag) = args.next() {
            let value = args.next().unwrap_or_else(|| panic!("{flag} wants a value"));
            let numbers = || value.split(',').map(|n| n.parse::<usize>().expect("a number")).collect::<Vec<_>>();
            match flag.as_str() {
                "--kinds" => options.kinds = named(&value, KINDS.map(|kind| (kind, kind.name())).as_slice()),
                "--phases" => options.phases = named(&value, &PHASES),
                "--values" => options.values = numbers(),
                "--pages" => options.pages = numbers().into_iter().map(|kib| kib << 10).collect(),
                "--keys" => options.keys = numbers()[0],
                "--cold-mib" => options.cold_bytes = numbers()[0] << 20,
                "--queries" => options.queries = numbers()[0],
                "--rounds" => options.rounds = numbers()[0].max(1),
                _ => panic!("{flag} is unknown"),
            }
        }
        assert!(options.values.iter().all(|&value| value >= 8), "a value starts with eight bytes that are read");
        options
    }
}

fn named<T: Copy>(list: &str, of: &[(T, &str)]) -> Vec<T> {
    let one = |name: &str| of.iter().find(|(_, known)| *known == name).unwrap_or_else(|| panic!("no {name}")).0;
    list.split(',').map(one).collect()
}
