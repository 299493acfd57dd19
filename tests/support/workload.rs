//! Workloads: streams of steps, decided by a seed, that make a tree grow, split, shrink, merge, move its pages out of
//! memory and reuse their space.

use super::oracle::{State, Txn, Write};
use super::rng::{Rng, mix};

/// What a workload looks like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Batches of records at the beginning, so that the store is larger than its memory from then on.
    pub fill: u64,
    /// How many trees the keys are spread over.
    pub trees: u8,
    /// How many different keys there are in each tree.
    pub keys: u64,
    /// The longest key, in bytes.
    pub max_key: usize,
    /// The longest value, in bytes.
    pub max_value: usize,
    /// Share of values that are longer than a page, in percent, and the longest of those, in bytes.
    pub large: u64,
    pub max_large: usize,
    /// How many steps a phase of growing or shrinking lasts.
    pub phase: u64,
    /// Share of batches among the writes, in percent.
    pub batches: u64,
    /// Share of reads among the steps, in percent.
    pub reads: u64,
    /// Steps between checkpoints, about; 0 for none.
    pub checkpoint_every: u64,
    /// Steps between syncs, about; 0 for none.
    pub sync_every: u64,
    /// Steps between closing and opening again, about; 0 for none.
    pub reopen_every: u64,
    /// Steps between removals of all records of a tree, about; 0 for none.
    pub clear_every: u64,
    /// Steps between drops of a tree, about; 0 for none.
    pub drop_every: u64,
    /// Steps between loads of sorted records, about; 0 for none.
    pub load_every: u64,
}

impl Shape {
    /// A shape drawn from a seed, for a store with these limits on keys and values.
    pub fn draw(rng: &mut Rng, max_key: usize, max_value: usize) -> Shape {
        let sometimes = |rng: &mut Rng, n: u64| if rng.percent(70) { n / 2 + rng.below(n) } else { 0 };
        Shape {
            fill: *rng.pick(&[0, 30, 45, 60]),
            trees: rng.between(1, 4) as u8,
            keys: *rng.pick(&[12, 250, 600, 1200]),
            max_key: *rng.pick(&[24, 64, max_key]),
            max_value: *rng.pick(&[8, 150, 150, 600, max_value]),
            large: *rng.pick(&[0, 0, 3, 10, 30]),
            max_large: max_value * *rng.pick(&[1, 3, 12]),
            phase: rng.between(40, 200),
            batches: *rng.pick(&[0, 10, 10, 40]),
            reads: *rng.pick(&[0, 10, 30]),
            checkpoint_every: sometimes(rng, 120),
            sync_every: 2 + rng.below(40),
            reopen_every: sometimes(rng, 200),
            clear_every: sometimes(rng, 400),
            drop_every: sometimes(rng, 150),
            load_every: sometimes(rng, 40),
        }
    }
}

/// How a transaction is carried out; the effect on the records is in the transaction itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Tree::insert` or `Tree::remove`.
    Plain,
    /// `Tree::replace` or `Tree::take`: the value before comes back and is checked.
    Returning,
    /// `Tree::compare_and_swap` against the value the model holds.
    Swap,
    /// `Tree::fetch_update`.
    Update,
    /// One `Batch` with all the writes.
    Batch,
    /// `Tree::remove_range` over everything; each write is a transaction of its own, in the order of the keys.
    Clear(u8),
    /// `Tree::remove_range` over part of the records, from the first key to the last, both included; as `Clear`.
    Cut(u8),
    /// `Tree::bulk_load`: each record is a transaction of its own, in the order of the keys.
    Load(u8),
    /// `Store::drop_tree`: all records of the tree go in one transaction. With the flag, a handle to it lives on.
    Drop(u8, bool),
}

/// One step of a workload.
#[derive(Clone, Debug)]
pub enum Step {
    /// A change.
    Change(Call, Txn),
    /// A point read, checked against the model.
    Get(u8, Vec<u8>),
    /// A walk over at most so many records from a key on (or down from it, if the flag is set), checked against the model.
    Walk(u8, Vec<u8>, usize, bool),
    /// `Store::sync`.
    Sync,
    /// `Store::checkpoint`.
    Checkpoint,
    /// `Store::close` and open again.
    Reopen,
}

/// Draws the steps of a workload.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: Rng,
    shape: Shape,
    step: u64,
}

impl Generator {
    /// The stream of steps of one seed.
    pub fn new(rng: Rng, shape: Shape) -> Generator {
        Generator { rng, shape, step: 0 }
    }

    /// The key with a number: its length depends on the number alone, so that updates find it again.
    pub fn key(&self, n: u64) -> Vec<u8> {
        let bits = mix(n ^ 0x6b65_7900);
        let mut key = format!("k/{n:05x}").into_bytes();
        let want = match bits % 16 {
            0 => self.shape.max_key,
            1..=4 => 9 + (bits >> 8) as usize % 24,
            _ => 9 + (bits >> 8) as usize % 8,
        };
        while key.len() < want.min(self.shape.max_key) {
            key.push(b'a' + (key.len() % 23) as u8);
        }
        key
    }

    /// A value that no other step writes.
    fn value(&mut self) -> Vec<u8> {
        let large = self.rng.percent(self.shape.large);
        let len = match self.rng.below(20) {
            _ if large => self.rng.below(self.shape.max_large as u64 + 1) as usize,
            0 => 0,
            1 => self.shape.max_value,
            2..=4 => self.rng.below(self.shape.max_value as u64 + 1) as usize,
            _ => self.rng.below(self.shape.max_value.min(200) as u64 + 1) as usize,
        };
        let mut value = format!("{:x}.", self.step).into_bytes();
        let noise = self.rng.below(256) as u8;
        value.resize(len.max(value.len()), noise);
        value.truncate(len);
        value
    }

    /// Whether something that happens about every `every` steps happens now.
    fn due(&mut self, every: u64) -> bool {
        every > 0 && self.rng.below(every) == 0
    }

    /// The next step, given the records as they stand.
    pub fn next(&mut self, now: &State) -> Step {
        self.step += 1;
        if self.step <= self.shape.fill {
            return self.filling();
        }
        if self.due(self.shape.reopen_every) {
            return Step::Reopen;
        }
        if self.due(self.shape.checkpoint_every) {
            return Step::Checkpoint;
        }
        if self.due(self.shape.sync_every) {
            return Step::Sync;
        }
        let tree = self.rng.below(self.shape.trees.into()) as u8;
        if self.due(self.shape.clear_every) {
            return Step::Change(Call::Clear(tree), removal_of(now, tree));
        }
        if self.due(self.shape.drop_every) {
            return Step::Change(Call::Drop(tree, self.rng.percent(30)), removal_of(now, tree));
        }
        if self.due(self.shape.load_every) {
            return self.load(tree, now);
        }
        if self.rng.percent(self.shape.reads) {
            let at = self.rng.below(self.shape.keys);
            let key = self.key(at);
            return if self.rng.percent(60) {
                Step::Get(tree, key)
            } else {
                Step::Walk(tree, key, self.rng.between(1, 60) as usize, self.rng.percent(50))
            };
        }
        self.change(tree, now)
    }

    /// Six records of half a kilobyte and more.
    fn filling(&mut self) -> Step {
        let writes = (0..6).map(|_| {
            let tree = self.rng.below(self.shape.trees.into()) as u8;
            let n = self.rng.below(self.shape.keys);
            let mut value = self.value();
            value.resize(self.rng.between(400, 1400) as usize, b'f');
            Write { tree, key: self.key(n), value: Some(value) }
        });
        Step::Change(Call::Batch, writes.collect())
    }

    /// Records behind all others of a tree; or, when there are many of those, the removal of a run of them.
    fn load(&mut self, tree: u8, now: &State) -> Step {
        let loaded: Vec<&Vec<u8>> =
            now.range((tree, b"m/".to_vec())..(tree, b"m0".to_vec())).map(|((_, key), _)| key).collect();
        if loaded.len() > 900 || self.rng.percent(30) && !loaded.is_empty() {
            let from = if self.rng.percent(40) { 0 } else { self.rng.below(loaded.len() as u64) as usize };
            let to = if self.rng.percent(40) {
                loaded.len()
            } else {
                loaded.len().min(from + 1 + self.rng.below(300) as usize)
            };
            let txn = loaded[from..to].iter().map(|key| Write { tree, key: key.to_vec(), value: None }).collect();
            return Step::Change(Call::Cut(tree), txn);
        }
        let last = loaded.last().and_then(|key| std::str::from_utf8(&key[2..8]).ok()?.parse::<u64>().ok());
        let n = match self.rng.below(4) {
            0 => self.rng.below(6),
            1 => self.rng.below(40),
            _ => self.rng.below(500),
        };
        let large = self.rng.percent(20);
        let txn = (0..n).map(|i| {
            let mut key = format!("m/{:06}", last.map_or(0, |last| last + 1) + i).into_bytes();
            let pad = mix(i ^ self.step) % 40;
            key.resize(key.len() + if pad == 0 { self.shape.max_key - 8 } else { pad as usize % 16 }, b'm');
            let value = if large { self.value() } else { vec![i as u8; self.rng.below(120) as usize] };
            Write { tree, key, value: Some(value) }
        });
        let txn = txn.collect();
        Step::Change(Call::Load(tree), txn)
    }

    /// A change of one key or a batch of several, growing or shrinking as the phase has it.
    fn change(&mut self, tree: u8, now: &State) -> Step {
        let growing = (self.step / self.shape.phase).is_multiple_of(2);
        let removals = if growing { 15 } else { 75 };
        if self.rng.percent(self.shape.batches) {
            let writes = self.rng.between(1, 9);
            let start = self.rng.below(self.shape.keys);
            let near = self.rng.percent(50);
            let mut txn = Txn::new();
            for i in 0..writes {
                let n = if near { (start + i) % self.shape.keys } else { self.rng.below(self.shape.keys) };
                let tree = if near { tree } else { self.rng.below(self.shape.trees.into()) as u8 };
                let key = self.key(n);
                let value = if self.rng.percent(removals) { None } else { Some(self.value()) };
                txn.push(Write { tree, key, value });
            }
            return Step::Change(Call::Batch, txn);
        }
        // Shrinking removes neighbours one after the other, so that pages become empty and merge.
        let n = if growing { self.rng.below(self.shape.keys) } else { self.step % self.shape.keys };
        let mut key = self.key(n);
        let remove = self.rng.percent(removals);
        if remove && !growing && self.rng.percent(50) {
            key = next_key(now, tree, &key).unwrap_or(key);
        }
        let call = *self.rng.pick(&[Call::Plain, Call::Plain, Call::Plain, Call::Returning, Call::Swap, Call::Update]);
        let value = if remove { None } else { Some(self.value()) };
        Step::Change(call, vec![Write { tree, key, value }])
    }
}

/// The removal of every record of a tree.
fn removal_of(now: &State, tree: u8) -> Txn {
    now.range((tree, Vec::new())..)
        .take_while(|((t, _), _)| *t == tree)
        .map(|((_, key), _)| Write { tree, key: key.clone(), value: None })
        .collect()
}

/// The first key of a tree from `key` on.
fn next_key(now: &State, tree: u8, key: &[u8]) -> Option<Vec<u8>> {
    let ((found, key), _) = now.range((tree, key.to_vec())..).next()?;
    (*found == tree).then(|| key.clone())
}
