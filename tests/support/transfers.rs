//! The kill campaign's other mode: four threads move money between accounts in two trees, by batches with preconditions.
//!
//! Before it applies a transfer, a thread tells the parent what it is about to write where: so the parent knows every
//! transfer that can have happened. An account's record names the transfer that wrote it, and each transfer says what
//! the records were before: from what a life recovers, the parent follows each account's history back to what the life before
//! left. The total must be what it was, both sides of a transfer there or neither, none of them refused by then, all that
//! were acknowledged among them, and each thread's transfers without a gap.

use super::kill::{Life, Sender, THREADS};
use super::oracle::State;
use super::rng::{Rng, mix};
use pagebox::{Batch, Error, Store, Tree};
use std::collections::{BTreeMap, BTreeSet};

const ACCOUNTS: u64 = 24;
const START: u64 = 1000;
/// Records between the accounts, so that each has a leaf of its own and not all are in memory.
const FILLERS: u64 = 160;

/// A transfer's name: life, thread, number.
type Id = [u64; 3];

/// What an account's record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    money: u64,
    /// Transfers so far.
    changes: u64,
    /// The last of them.
    last: Id,
}

/// A transfer as it was announced.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    /// The account that gives and the one that gets, each with its record before.
    sides: [(u64, Account); 2],
    sum: u64,
}

impl Account {
    const NEW: Account = Account { money: START, changes: 0, last: [0; 3] };

    fn words(&self) -> [u64; 5] {
        [self.money, self.changes, self.last[0], self.last[1], self.last[2]]
    }

    fn of_words(words: &[u64]) -> Option<Account> {
        let [money, changes, a, b, c] = words[..] else { return None };
        Some(Account { money, changes, last: [a, b, c] })
    }

    /// Lengths change with the content, so that leaves split and records move.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words().iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(40 + mix(self.changes ^ self.money) as usize % 400, b'$');
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Account> {
        let words: Vec<u64> = bytes.as_chunks().0.iter().take(5).map(|word| u64::from_le_bytes(*word)).collect();
        let account = Account::of_words(&words)?;
        (account.bytes() == bytes).then_some(account)
    }
}

impl Transfer {
    /// The record that it leaves on a side.
    fn after(&self, id: Id, side: usize) -> Account {
        let before = self.sides[side].1;
        let money = if side == 0 { before.money - self.sum } else { before.money + self.sum };
        Account { money, changes: before.changes + 1, last: id }
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("{:03} account {n}", mix(n) % 1000).into_bytes()
}

fn filler(n: u64) -> (Vec<u8>, Vec<u8>) {
    (format!("{:03} filler {n}", mix(n + 1000) % 1000).into_bytes(), vec![b'-'; 700])
}

// ---- the child -----------------------------------------------------------------------------------------------------

/// Makes the accounts if there are none, then moves money until the end.
pub(super) fn live(life: &Life, store: &Store, trees: &[Tree; 2], sender: &Sender) -> Result<(), String> {
    let tree = |n: u64| &trees[n as usize % 2];
    if tree(0).get(key(0)).map_err(|e| format!("get: {e}"))?.is_none() {
        let mut batch = Batch::new();
        for n in 0..ACCOUNTS {
            batch.insert(tree(n), key(n), Account::NEW.bytes());
        }
        store.apply(&batch).map_err(|e| format!("the accounts: {e}"))?;
        store.sync().map_err(|e| format!("sync: {e}"))?;
    }
    sender.send(b'S', &[]);
    for n in 0..FILLERS {
        let (key, value) = filler(n);
        if !tree(n).contains_key(&key).map_err(|e| format!("contains_key: {e}"))? {
            tree(n).insert(key, value).map_err(|e| format!("insert: {e}"))?;
        }
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || move_money(life, thread, store, trees, sender))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a writer panicked".to_owned())))
    })
}

fn move_money(life: &Life, thread: u64, store: &Store, trees: &[Tree; 2], sender: &Sender) -> Result<(), String> {
    let tree = |n: u64| &trees[n as usize % 2];
    let read = |n: u64| -> Result<Account, String> {
        let bytes = tree(n).get(key(n)).map_err(|e| format!("get: {e}"))?.ok_or(format!("account {n} is gone"))?;
        Account::parse(&bytes).ok_or(format!("account {n} holds {bytes:?}"))
    };
    let mut unsent = Vec::new();
    for n in 0.. {
        let mut rng = Rng::of(life.seed, &[life.number, thread, n]);
        let from = rng.below(ACCOUNTS);
        let to = (from + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
        let sides = [(from, read(from)?), (to, read(to)?)];
        let transfer = Transfer { sides, sum: rng.below(sides[0].1.money + 1) };
        let words = sides.map(|(n, account)| [&[n][..], &account.words()].concat());
        sender.send_numbers(b'I', &[&[thread, n, transfer.sum][..], &words[0], &words[1]].concat());
        let mut batch = Batch::new();
        for (side, (account, before)) in sides.iter().enumerate() {
            batch.require(tree(*account), key(*account), Some(&before.bytes()));
            batch.insert(tree(*account), key(*account), transfer.after([life.number, thread, n], side).bytes());
        }
        match store.apply(&batch) {
            Ok(()) => unsent.push(n),
            Err(Error::Conflict { .. }) => sender.send_numbers(b'X', &[thread, n]),
            Err(error) => return Err(format!("thread {thread}, transfer {n}: {error}")),
        }
        if unsent.len() as u64 == life.window {
            if life.window > 1 {
                store.sync().map_err(|e| format!("sync: {e}"))?;
            }
            unsent.drain(..).for_each(|n| sender.send_numbers(b'T', &[thread, n]));
        }
    }
    Ok(())
}

// ---- the parent ----------------------------------------------------------------------------------------------------

/// What a child said of its transfers.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The accounts are there, and durable.
    set_up: bool,
    /// By thread and number.
    announced: BTreeMap<(u64, u64), Transfer>,
    refused: BTreeSet<(u64, u64)>,
    acknowledged: BTreeSet<(u64, u64)>,
}

impl Heard {
    /// How many transfers were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// Takes in a frame of this mode; false if it is none.
    pub(super) fn frame(&mut self, tag: u8, body: &[u8]) -> Result<bool, String> {
        let words: Vec<u64> = body.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        match (tag, &words[..]) {
            (b'S', []) => self.set_up = true,
            (b'X', &[thread, n]) => drop(self.refused.insert((thread, n))),
            (b'T', &[thread, n]) => drop(self.acknowledged.insert((thread, n))),
            (b'I', &[thread, n, sum, ref sides @ ..]) if sides.len() == 12 => {
                let side = |words: &[u64]| Account::of_words(&words[1..]).map(|account| (words[0], account));
                let (Some(from), Some(to)) = (side(&sides[..6]), side(&sides[6..])) else {
                    return Err("a short transfer".to_owned());
                };
                self.announced.insert((thread, n), Transfer { sides: [from, to], sum });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What the next life must find: the accounts that were verified, and the transfers announced since.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    settled: Vec<Account>,
    pending: Heard,
    /// The life whose transfers are pending.
    life: u64,
}

impl Ledger {
    /// Judges what a life recovered, and expects its own transfers from now on.
    pub(super) fn meet(&mut self, life: &Life, recovered: &State, heard: Heard) -> Result<(), String> {
        let accounts = accounts(recovered)?;
        if accounts.is_empty() {
            if self.pending.set_up || !self.settled.is_empty() {
                return Err("the accounts are gone".to_owned());
            }
        } else {
            self.verify(&accounts)?;
        }
        self.settled = accounts;
        self.pending = heard;
        self.life = life.number;
        Ok(())
    }

    fn verify(&self, found: &[Account]) -> Result<(), String> {
        let total: u64 = found.iter().map(|account| account.money).sum();
        if total != ACCOUNTS * START {
            return Err(format!("the total is {total} instead of {}: {found:?}", ACCOUNTS * START));
        }
        // Sides of transfers that the accounts' histories name.
        let mut sides: BTreeMap<(u64, u64), Vec<usize>> = BTreeMap::new();
        for (n, account) in (0..).zip(found) {
            let settled = self.settled.get(n as usize).unwrap_or(&Account::NEW);
            let mut at = *account;
            while at != *settled {
                let error =
                    |what: &str| Err(format!("account {n}: {what}: {at:?}, found {account:?}, before {settled:?}"));
                let [life, thread, number] = at.last;
                let Some(transfer) = self.pending.announced.get(&(thread, number)).filter(|_| life == self.life) else {
                    return error("a record that no transfer of the last life left");
                };
                let Some(side) = (0..2).find(|side| transfer.sides[*side].0 == n) else {
                    return error("a record of a transfer between others");
                };
                if transfer.after(at.last, side) != at || at.changes <= settled.changes {
                    return error("a record that is not what its transfer left");
                }
                sides.entry((thread, number)).or_default().push(side);
                at = transfer.sides[side].1;
            }
        }
        for (id, seen) in &sides {
            if seen.len() != 2 || seen[0] == seen[1] {
                return Err(format!("a transfer is there by half: {id:?} {:?}", self.pending.announced.get(id)));
            }
            if self.pending.refused.contains(id) {
                return Err(format!("a transfer is there that was refused: {id:?}"));
            }
        }
        for id in &self.pending.acknowledged {
            if !sides.contains_key(id) {
                return Err(format!("a transfer is lost that was acknowledged: {id:?}"));
            }
        }
        // A thread went on only after its last transfer was done or refused.
        for &(thread, last) in sides.keys() {
            for id in (0..last).map(|n| (thread, n)).filter(|id| !self.pending.refused.contains(id)) {
                if !sides.contains_key(&id) {
                    return Err(format!("transfer {id:?} is lost, and a later one of its thread, {last}, is there"));
                }
            }
        }
        Ok(())
    }
}

/// All accounts, or none.
fn accounts(state: &State) -> Result<Vec<Account>, String> {
    let mut found = Vec::new();
    for n in 0..ACCOUNTS {
        if let Some(bytes) = state.get(&((n % 2) as u8, key(n))) {
            found.push(Account::parse(bytes).ok_or(format!("account {n} holds {bytes:?}"))?);
        }
    }
    for ((_, key), value) in state.iter().filter(|((_, key), _)| String::from_utf8_lossy(key).contains("filler")) {
        if *value != filler(0).1 {
            return Err(format!("{key:?} holds {value:?}"));
        }
    }
    if found.is_empty() || found.len() as u64 == ACCOUNTS {
        Ok(found)
    } else {
        Err(format!("{} of {ACCOUNTS} accounts are there, and they were made at once", found.len()))
    }
}

// ---- the judge's own test ------------------------------------------------------------------------------------------

/// A ledger in which account 0 is to give 10 to account 1, and what it leaves behind.
fn one_transfer() -> (Ledger, Vec<Account>) {
    let transfer = Transfer { sides: [(0, Account::NEW), (1, Account::NEW)], sum: 10 };
    let mut ledger = Ledger { settled: vec![Account::NEW; ACCOUNTS as usize], life: 3, ..Ledger::default() };
    ledger.pending.announced.insert((1, 0), transfer);
    let mut after = ledger.settled.clone();
    (0..2).for_each(|side| after[side] = transfer.after([3, 1, 0], side));
    (ledger, after)
}

/// Whether the judge knows right from wrong.
pub fn test_the_judge() {
    let (mut ledger, after) = one_transfer();
    let before = ledger.settled.clone();
    assert_eq!(ledger.verify(&after), Ok(()));
    assert_eq!(ledger.verify(&before), Ok(()), "nobody acknowledged it");
    // By half: the money does not add up; and where it does, the other side's record is missing.
    let mut half = after.clone();
    half[1] = before[1];
    assert!(ledger.verify(&half).is_err());
    half[2].money += 10;
    assert!(ledger.verify(&half).is_err());
    ledger.pending.acknowledged.insert((1, 0));
    assert!(ledger.verify(&before).is_err(), "lost");
    assert_eq!(ledger.verify(&after), Ok(()));
    ledger.pending.acknowledged.clear();
    ledger.pending.refused.insert((1, 0));
    assert!(ledger.verify(&after).is_err(), "refused");
    ledger.pending.refused.clear();
    ledger.life = 4;
    assert!(ledger.verify(&after).is_err(), "of a life long gone");
    // A thread's transfers have no gap, but for what was refused.
    let (mut ledger, mut after) = one_transfer();
    let second = Transfer { sides: [(2, Account::NEW), (3, Account::NEW)], sum: 5 };
    ledger.pending.announced.insert((1, 1), second);
    (0..2).for_each(|side| after[2 + side] = second.after([3, 1, 1], side));
    assert_eq!(ledger.verify(&after), Ok(()));
    (after[0], after[1]) = (Account::NEW, Account::NEW);
    assert!(ledger.verify(&after).is_err());
    ledger.pending.refused.insert((1, 0));
    assert_eq!(ledger.verify(&after), Ok(()));
}
