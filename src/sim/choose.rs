//! What a seed lets survive. All ways of choosing stay within the model; they differ in which corner they look into.
//!
//! Independent coins for every sector hardly ever leave "all but one write", "everything up to here", or "the rename
//! without the bytes" behind, and those are the states that find bugs. So a seed first draws a strategy.

use std::collections::BTreeMap;

use super::inode::PendingLen;
use super::names::Ino;
use super::rng::Rng;

/// What of one write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    None,
    /// The first so many sectors.
    First(u64),
    /// The sectors from there on.
    From(u64),
    /// All sectors but this one.
    But(u64),
    /// This sector alone.
    Only(u64),
    /// Each sector in so many of 256 cases.
    Each(u64),
}

impl Keep {
    /// Whether the `i`-th sector survives.
    pub(super) fn sector(self, i: usize, rng: &mut Rng) -> bool {
        let i = i as u64;
        match self {
            Keep::All => true,
            Keep::None => false,
            Keep::First(n) => i < n,
            Keep::From(n) => i >= n,
            Keep::But(n) => i != n,
            Keep::Only(n) => i == n,
            Keep::Each(parts) => rng.chance(parts),
        }
    }

    /// Part of a write of `sectors` sectors.
    fn torn(sectors: usize, rng: &mut Rng) -> Keep {
        let at = rng.below(sectors as u64);
        match rng.below(5) {
            0 => Keep::First(at),
            1 => Keep::From(at),
            2 => Keep::But(at),
            3 => Keep::Only(at),
            _ => Keep::Each(128),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Strategy {
    /// Nothing pending survives.
    Lost,
    /// Everything survives.
    All,
    /// A coin for each sector, length and entry change.
    Coins,
    /// Each file has odds of its own.
    PerFile,
    /// What came before an operation survives; of that one perhaps a part.
    Before { cut: u64, torn: bool },
    /// What came from an operation on survives.
    After { cut: u64 },
    /// Everything but one operation, or a part of it.
    AllBut { victim: u64, torn: bool },
    /// One operation only, or a part of it.
    Only { victim: u64, torn: bool },
    /// Entry changes but no bytes and no lengths.
    Entries,
    /// Bytes and lengths but no entry changes.
    Bytes,
    /// Whole writes mostly, some of them torn.
    Torn,
    /// Lengths and entry changes, no bytes.
    Lengths,
    /// Bytes and entry changes, no lengths.
    Contents,
}

/// Draws what survives, item by item.
pub(super) struct Chooser {
    strategy: Strategy,
    odds: BTreeMap<Ino, u64>,
    pub(super) rng: Rng,
}

impl Chooser {
    /// Draws a strategy; `pending` are the operations that a crash may undo, ascending.
    pub(super) fn new(mut rng: Rng, pending: &[u64]) -> Chooser {
        let (kind, torn) = (rng.below(16), rng.chance(128));
        let op = if pending.is_empty() { 0 } else { rng.pick(pending) };
        let strategy = match kind {
            0 => Strategy::Lost,
            1 => Strategy::All,
            2 | 3 => Strategy::Coins,
            4 | 5 => Strategy::PerFile,
            6 | 7 => Strategy::Before { cut: op, torn },
            8 => Strategy::After { cut: op },
            9 | 10 => Strategy::AllBut { victim: op, torn },
            11 => Strategy::Only { victim: op, torn },
            12 => Strategy::Entries,
            13 => Strategy::Bytes,
            14 => Strategy::Torn,
            _ if torn => Strategy::Lengths,
            _ => Strategy::Contents,
        };
        Chooser { strategy, odds: BTreeMap::new(), rng }
    }

    fn odds_of(&mut self, ino: Ino) -> u64 {
        let rng = &mut self.rng;
        *self.odds.entry(ino).or_insert_with(|| rng.pick(&[0, 16, 128, 240, 256]))
    }

    /// What of a write of `sectors` sectors survives.
    pub(super) fn write(&mut self, ino: Ino, seq: u64, sectors: usize) -> Keep {
        let all_if = |yes: bool| if yes { Keep::All } else { Keep::None };
        match self.strategy {
            Strategy::Lost | Strategy::Entries | Strategy::Lengths => Keep::None,
            Strategy::All | Strategy::Bytes | Strategy::Contents => Keep::All,
            Strategy::Coins => Keep::Each(128),
            Strategy::PerFile => Keep::Each(self.odds_of(ino)),
            Strategy::Before { cut, torn: true } | Strategy::AllBut { victim: cut, torn: true } if seq == cut => {
                Keep::torn(sectors, &mut self.rng)
            }
            Strategy::Only { victim, torn: true } if seq == victim => Keep::torn(sectors, &mut self.rng),
            Strategy::Before { cut, .. } => all_if(seq < cut),
            Strategy::After { cut } => all_if(seq >= cut),
            Strategy::AllBut { victim, .. } => all_if(seq != victim),
            Strategy::Only { victim, .. } => all_if(seq == victim),
            Strategy::Torn => match self.rng.below(8) {
                0 | 1 => Keep::torn(sectors, &mut self.rng),
                2 => Keep::None,
                _ => Keep::All,
            },
        }
    }

    /// Which length survives, of the durable one and those pending.
    pub(super) fn length(&mut self, ino: Ino, durable: u64, pending: &[PendingLen]) -> u64 {
        let latest = |keeps: &dyn Fn(u64) -> bool| {
            pending.iter().rev().find(|change| keeps(change.seq)).map_or(durable, |change| change.len)
        };
        match self.strategy {
            Strategy::Lost | Strategy::Entries | Strategy::Contents => durable,
            Strategy::All | Strategy::Bytes | Strategy::Lengths => latest(&|_| true),
            Strategy::PerFile => {
                let odds = self.odds_of(ino);
                if self.rng.chance(odds) { latest(&|_| true) } else { self.any_length(durable, pending) }
            }
            Strategy::Coins => self.any_length(durable, pending),
            Strategy::Torn if self.rng.chance(64) => self.any_length(durable, pending),
            Strategy::Torn => latest(&|_| true),
            // A torn write's length is drawn apart from its sectors.
            Strategy::Before { cut, torn: true } if self.rng.chance(128) => latest(&|seq| seq <= cut),
            Strategy::Before { cut, .. } => latest(&|seq| seq < cut),
            Strategy::After { cut } => latest(&|seq| seq >= cut),
            Strategy::AllBut { torn: true, .. } if self.rng.chance(128) => latest(&|_| true),
            Strategy::AllBut { victim, .. } => latest(&|seq| seq != victim),
            Strategy::Only { torn: true, .. } if self.rng.chance(128) => durable,
            Strategy::Only { victim, .. } => latest(&|seq| seq == victim),
        }
    }

    fn any_length(&mut self, durable: u64, pending: &[PendingLen]) -> u64 {
        let at = self.rng.below(pending.len() as u64 + 1) as usize;
        pending.get(at).map_or(durable, |change| change.len)
    }

    /// Whether an entry change survives.
    pub(super) fn entry(&mut self, seq: u64) -> bool {
        match self.strategy {
            Strategy::Lost | Strategy::Bytes => false,
            Strategy::All | Strategy::Lengths | Strategy::Contents => true,
            Strategy::Coins | Strategy::PerFile => self.rng.chance(128),
            Strategy::Entries | Strategy::Torn => self.rng.chance(208),
            Strategy::Before { cut, .. } => seq < cut,
            Strategy::After { cut } => seq >= cut,
            Strategy::AllBut { victim, .. } => seq != victim,
            Strategy::Only { victim, .. } => seq == victim,
        }
    }
}
