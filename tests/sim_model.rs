//! The simulated disk against a small model of its own: whatever is done, no crash state is outside of what the fault
//! model allows, and everything synced is in every one of them.
//!
//! The model keeps, for each sector, the versions a crash may leave; for each file, the lengths; for the directory, the
//! entry changes since its sync, of which any subset that can happen may survive.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use pagebox::io::{Disk, DiskFile, OpenMode};
use pagebox::sim::{FaultOp, FaultPlan, SimDisk};

const SECTOR: usize = 512;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A version of something, and whether a sync that covered it failed.
#[derive(Clone)]
struct Version<T> {
    what: T,
    doubtful: bool,
}

/// What a crash may leave of one file. Versions are in order of time; the first is the durable one.
struct File {
    id: u64,
    handle: Arc<dyn DiskFile>,
    live: Vec<u8>,
    sectors: BTreeMap<usize, Vec<Version<Vec<u8>>>>,
    lens: Vec<Version<u64>>,
}

impl File {
    fn sector(&self, i: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.live.iter().skip(i * SECTOR).take(SECTOR).copied().collect();
        bytes.resize(SECTOR, 0);
        bytes
    }

    fn touched(&mut self, from: usize, to: usize, doubtful: bool) {
        for i in from / SECTOR..to.div_ceil(SECTOR) {
            let what = self.sector(i);
            let zero = || vec![Version { what: vec![0; SECTOR], doubtful: false }];
            self.sectors.entry(i).or_insert_with(zero).push(Version { what, doubtful });
        }
    }

    fn write(&mut self, at: usize, data: &[u8], doubtful: bool) {
        let (old, end) = (self.live.len(), at + data.len());
        self.live.resize(old.max(end), 0);
        self.live[at..end].copy_from_slice(data);
        self.touched(at, end, doubtful);
        if end > old {
            self.lens.push(Version { what: end as u64, doubtful });
        }
    }

    fn set_len(&mut self, len: usize) {
        let old = self.live.len();
        self.live.resize(len, 0);
        if len < old {
            self.touched(len, old, false);
        }
        if len != old {
            self.lens.push(Version { what: len as u64, doubtful: false });
        }
    }

    /// The sectors `only` (or all) are synced: their newest version that no failed sync covered is durable, and what
    /// came before it impossible. So is every length too short to read them.
    fn synced(&mut self, only: Option<(usize, usize)>) {
        let mut needed = 0;
        for (i, versions) in &mut self.sectors {
            if only.is_some_and(|(from, to)| *i < from / SECTOR || *i >= to.div_ceil(SECTOR)) {
                continue;
            }
            let fresh = versions.iter().rposition(|version| !version.doubtful).unwrap_or(0);
            if fresh > 0 {
                versions.drain(..fresh);
                needed = needed.max((i + 1) * SECTOR);
            }
        }
        let needed = needed.min(self.live.len()) as u64;
        if only.is_none() {
            let fresh = self.lens.iter().rposition(|version| !version.doubtful).unwrap_or(0);
            self.lens.drain(..fresh);
        }
        self.lens[0].what = self.lens[0].what.max(needed);
        let base = self.lens.remove(0);
        self.lens.retain(|version| version.what >= needed);
        let durable = base.what as usize;
        self.lens.insert(0, base);
        // What a durable length cuts off does not come back with a later one.
        for (i, versions) in &mut self.sectors {
            let keep = durable.saturating_sub(i * SECTOR).min(SECTOR);
            versions[0].what[keep..].fill(0);
        }
    }

    fn sync_failed(&mut self) {
        self.sectors.values_mut().for_each(|versions| versions.iter_mut().skip(1).for_each(|v| v.doubtful = true));
        self.lens.iter_mut().skip(1).for_each(|version| version.doubtful = true);
    }

    fn check(&self, left: &[u8], garbage: bool, what: &str) {
        let durable = self.lens[0].what as usize;
        assert!(self.lens.iter().any(|v| v.what as usize == left.len()), "{what}: length {}", left.len());
        for (i, bytes) in left.chunks(SECTOR).enumerate() {
            let zero = [Version { what: vec![0; SECTOR], doubtful: false }];
            let versions = self.sectors.get(&i).map_or(&zero[..], |versions| &versions[..]);
            let anything = garbage && i * SECTOR >= durable.next_multiple_of(SECTOR);
            let allowed = anything || versions.iter().any(|v| v.what[..bytes.len()] == *bytes);
            assert!(allowed, "{what}: sector {i} of {} versions, length {}", versions.len(), left.len());
        }
    }
}

#[derive(Clone)]
enum Change {
    Create(String, u64),
    Remove(String, u64),
    Rename(String, String, u64),
}

type Names = BTreeMap<String, u64>;

fn apply(names: &mut Names, change: &Change) {
    match change {
        Change::Create(name, id) if !names.contains_key(name) => {
            names.insert(name.clone(), *id);
        }
        Change::Remove(name, id) if names.get(name) == Some(id) => {
            names.remove(name);
        }
        Change::Rename(from, to, id) if names.get(from) == Some(id) => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
        _ => {}
    }
}

struct World {
    disk: SimDisk,
    rng: Rng,
    files: BTreeMap<u64, File>,
    names: Names,
    durable: Names,
    pending: Vec<Change>,
    created: u64,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/").join(name)
}

impl World {
    fn new(seed: u64) -> World {
        World {
            disk: SimDisk::new(seed),
            rng: Rng(seed),
            files: BTreeMap::new(),
            names: Names::new(),
            durable: Names::new(),
            pending: Vec::new(),
            created: 0,
        }
    }

    fn changed(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    /// A new file; its first sector says which one it is and is never written again.
    fn create(&mut self, name: &str) {
        self.created += 1;
        let id = self.created;
        let mut first = vec![0xEE; SECTOR];
        first[..8].copy_from_slice(&id.to_le_bytes());
        let handle = self.disk.open(&path(name), OpenMode::CreateNew).unwrap();
        handle.write_at_sync(&first, 0).unwrap();
        let lens = vec![Version { what: 0, doubtful: false }];
        let mut file = File { id, handle, live: Vec::new(), sectors: BTreeMap::new(), lens };
        file.write(0, &first, false);
        file.synced(Some((0, SECTOR)));
        self.files.insert(id, file);
        self.changed(Change::Create(name.to_owned(), id));
    }

    fn step(&mut self) {
        let name = ["x", "y", "z"][self.rng.below(3) as usize];
        let Some(id) = self.names.get(name).copied() else { return self.create(name) };
        match self.rng.below(24) {
            kind @ 0..19 => self.change_file(id, kind),
            19 => {
                self.disk.remove(&path(name)).unwrap();
                self.changed(Change::Remove(name.to_owned(), id));
            }
            20 | 21 => {
                let to = ["x", "y", "z", "w"][self.rng.below(4) as usize];
                self.disk.rename(&path(name), &path(to)).unwrap();
                if to != name {
                    self.changed(Change::Rename(name.to_owned(), to.to_owned(), id));
                }
            }
            _ => self.sync_dir(),
        }
        if self.pending.len() > 6 {
            self.sync_dir();
        }
    }

    fn change_file(&mut self, id: u64, kind: u64) {
        let aligned = self.rng.below(2) == 0;
        let at = SECTOR + self.rng.below(6000) as usize;
        let at = if aligned { at / SECTOR * SECTOR } else { at };
        let len = if aligned { 1024 } else { 1 + self.rng.below(1500) as usize };
        let data = vec![self.rng.next() as u8 | 1; len];
        let file = self.files.get_mut(&id).expect("every name has a file");
        let fail_sync = || FaultPlan::new().fail(FaultOp::Sync, 1, ErrorKind::Other);
        match kind {
            0..=8 => {
                file.handle.write_at(&data, at as u64).unwrap();
                file.write(at, &data, false);
            }
            9 | 10 => {
                file.handle.write_at_sync(&data, at as u64).unwrap();
                file.write(at, &data, false);
                file.synced(Some((at, at + len)));
            }
            11 | 12 => {
                file.handle.set_len(at as u64).unwrap();
                file.set_len(at);
            }
            13 => {
                file.handle.allocate(at as u64, 4096).unwrap();
                file.set_len(file.live.len().max(at + 4096));
            }
            14 => {
                file.handle.sync_all().unwrap();
                file.synced(None);
            }
            15 | 16 => {
                file.handle.sync_data().unwrap();
                file.synced(None);
            }
            17 => {
                self.disk.set_faults(fail_sync());
                assert!(file.handle.sync_data().is_err());
                file.sync_failed();
            }
            _ => {
                self.disk.set_faults(fail_sync());
                assert!(file.handle.write_at_sync(&data, at as u64).is_err());
                file.write(at, &data, true);
            }
        }
    }

    fn sync_dir(&mut self) {
        self.disk.sync_dir(&PathBuf::from("/")).unwrap();
        self.durable = self.names.clone();
        self.pending.clear();
    }

    fn possible_names(&self) -> BTreeSet<Names> {
        let after = |subset: u32| {
            let mut names = self.durable.clone();
            let chosen = self.pending.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1);
            chosen.for_each(|(_, change)| apply(&mut names, change));
            names
        };
        (0..1u32 << self.pending.len()).map(after).collect()
    }

    fn check(&self, crashed: &SimDisk, possible: &BTreeSet<Names>, garbage: bool, what: &str) {
        let mut names = Names::new();
        for (path, bytes) in crashed.contents() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let file = self.files.get(&id).unwrap_or_else(|| panic!("{what}: {name} has lost its first bytes"));
            assert_eq!(file.id, id);
            file.check(&bytes, garbage, &format!("{what}, {name}, file {id}"));
            names.insert(name, id);
        }
        assert!(possible.contains(&names), "{what}: impossible names {names:?}");
    }

    /// What is visible is the newest version of everything.
    fn check_visible(&self, what: &str) {
        for (name, id) in &self.names {
            let file = &self.files[id];
            let mut bytes = vec![0; file.live.len() + 1];
            let handle = self.disk.open(&path(name), OpenMode::Read).unwrap();
            assert_eq!(handle.read_at(&mut bytes, 0).unwrap(), file.live.len(), "{what}");
            assert!(bytes[..file.live.len()] == file.live, "{what}");
        }
    }
}

fn run(seed: u64, steps: u64, garbage: bool) -> u64 {
    let mut world = World::new(seed);
    world.disk.set_garbage(garbage);
    let mut states = 0;
    for step in 0..steps {
        world.step();
        let possible = world.possible_names();
        for crash in 0..6 {
            let what = format!("seed {seed}, step {step}, crash {crash}");
            world.check(&world.disk.crash(crash), &possible, garbage, &what);
            states += 1;
        }
        world.check_visible(&format!("seed {seed}, step {step}"));
    }
    states
}

#[test]
fn no_crash_state_is_outside_of_the_model() {
    let states: u64 = (0..40).map(|seed| run(seed, 120, seed % 2 == 0)).sum();
    assert_eq!(states, 40 * 120 * 6);
}

#[test]
fn a_crashed_disk_is_at_rest_and_independent() {
    let mut world = World::new(77);
    (0..100).for_each(|_| world.step());
    let crashed = world.disk.crash(3);
    let contents = crashed.contents();
    for seed in 0..50 {
        assert_eq!(crashed.crash(seed).contents(), contents, "nothing is pending after a crash");
    }
    for path in contents.keys() {
        assert_eq!(crashed.read_file(path).unwrap(), contents[path]);
        crashed.open(path, OpenMode::ReadWrite).unwrap().write_at_sync(b"second life", 0).unwrap();
    }
    assert_eq!(world.disk.crash(3).contents(), contents);
}

#[test]
fn the_same_seed_and_calls_give_the_same_states() {
    let make = || {
        let mut world = World::new(5);
        (0..200).for_each(|_| world.step());
        world
    };
    let (a, b) = (make(), make());
    assert_eq!(a.disk.history_len(), b.disk.history_len());
    let mut different = BTreeSet::new();
    for seed in 0..100 {
        let left = a.disk.crash(seed).contents();
        assert_eq!(left, b.disk.crash(seed).contents());
        assert_eq!(left, a.disk.crash_at(a.disk.history_len(), seed).contents());
        different.insert(left);
    }
    assert!(different.len() > 20, "only {} different states", different.len());
}

#[test]
fn the_past_is_what_it_was_when_it_was_the_present() {
    let mut world = World::new(9);
    let mut then = BTreeMap::new();
    for _ in 0..600 {
        world.step();
        let index = world.disk.history_len();
        then.insert(index, [0, 1, 2].map(|seed| world.disk.crash(seed).contents()));
        // Closing a removed file must make no difference.
        let World { files, names, .. } = &mut world;
        files.retain(|id, _| id % 2 == 0 || names.values().any(|named| named == id));
    }
    for (index, states) in then {
        for (seed, state) in (0..).zip(states) {
            assert_eq!(world.disk.crash_at(index, seed).contents(), state, "operation {index}, seed {seed}");
        }
    }
}
