//! A log with the least of a store around it: two superblock copies, checkpoints, and an oracle of what was appended.

use super::*;
use pagebox::Error;
use pagebox::io::OpenMode;
use pagebox::sim::SimDisk;

/// A small generator: the same seed, the same life.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

const SUPERBLOCK: &str = "/superblock";

fn words(point: &RecoveryPoint, serial: u64) -> [u64; 7] {
    let at = point.from;
    let mut words = [
        serial,
        at.lsn.get(),
        at.segment,
        at.offset,
        u64::from(at.prev_crc),
        point.incarnation,
        point.accepted_end.get(),
    ];
    words[4] |= checksum(&words) << 32;
    words
}

fn checksum(words: &[u64; 7]) -> u64 {
    words.iter().fold(7, |sum, word| Rng(sum ^ (word & 0xffff_ffff_ffff)).next()) & 0xffff_ffff
}

/// The newer superblock, its serial, and the older one's place.
pub fn read_superblock(disk: &SimDisk) -> Option<(RecoveryPoint, u64, WalPosition)> {
    let file = disk.open(Path::new(SUPERBLOCK), OpenMode::Read).ok()?;
    let mut copies = Vec::new();
    for slot in 0..2u64 {
        let mut bytes = [0; 56];
        if file.read_at(&mut bytes, slot * 4096).ok()? < 56 {
            continue;
        }
        let mut w = [0u64; 7];
        for (word, chunk) in w.iter_mut().zip(bytes.chunks(8)) {
            *word = u64::from_le_bytes(chunk.try_into().unwrap());
        }
        let sum = w[4] >> 32;
        w[4] &= 0xffff_ffff;
        if w[0] == 0 || checksum(&w) != sum {
            continue;
        }
        let from = WalPosition { lsn: Lsn::new(w[1]), segment: w[2], offset: w[3], prev_crc: w[4] as u32 };
        let point = RecoveryPoint {
            store_id: STORE,
            from,
            incarnation: w[5],
            accepted_end: Lsn::new(w[6]),
            proven: from.lsn,
            end_known: false,
        };
        copies.push((w[0], point));
    }
    copies.sort_by_key(|copy| copy.0);
    let (serial, point) = copies.pop()?;
    let older = copies.pop().map_or(point.from, |(_, older)| older.from);
    Some((point, serial, older))
}

/// One session of a log.
pub struct Life {
    pub disk: SimDisk,
    pub log: Wal,
    pub point: RecoveryPoint,
    serial: u64,
    /// The older superblock's place.
    older: WalPosition,
    /// All records of this timeline, in order: number and LSN.
    pub appended: Vec<(u64, Lsn)>,
    next: u64,
}

pub fn options() -> WalOptions {
    WalOptions::default().segment_bytes(32 << 10).max_log_bytes(8 * (32 << 10)).buffer_bytes(16 << 10)
}

impl Life {
    pub fn begin(disk: &SimDisk) -> Result<Life> {
        let log = Wal::create(Arc::new(disk.clone()), Path::new(DIR), STORE, 1, options())?;
        let mut life = Life {
            disk: disk.clone(),
            log,
            point: first_point(),
            serial: 0,
            older: WalPosition::FIRST,
            appended: Vec::new(),
            next: 1,
        };
        disk.open(Path::new(SUPERBLOCK), OpenMode::Create).and_then(|_| disk.sync_dir(Path::new("/"))).unwrap();
        life.write_superblock()?;
        life.write_superblock()?;
        Ok(life)
    }

    /// Opens after a crash: what is found must be a piece of `before`, all records ever appended there, from the
    /// superblock's place on, and reach to `acknowledged` at least. Returns `None` for a store that never was.
    pub fn recover(disk: &SimDisk, before: &[(u64, Lsn)], acknowledged: Lsn) -> Result<Option<Life>> {
        let Some((mut point, serial, older)) = read_superblock(disk) else {
            assert_eq!(acknowledged, Lsn::NONE, "something was acknowledged before there was a superblock");
            return Ok(None);
        };
        let dir = Path::new(DIR);
        let (tail, found) = scan(disk, dir, &point)?;
        let end = tail.end().lsn;
        assert!(end >= acknowledged, "acknowledged up to {acknowledged}, recovered up to {end}");
        let expected: Vec<_> = before.iter().copied().filter(|(_, lsn)| *lsn > point.from.lsn && *lsn <= end).collect();
        assert_eq!(found, expected, "what is recovered is what was appended, up to the end");
        let appended: Vec<_> = before.iter().copied().filter(|(_, lsn)| *lsn <= end).collect();
        let next = before.last().map_or(1, |(n, _)| n + 1);

        let tail = tail.keep_from(older.segment);
        (point.incarnation, point.accepted_end) = (tail.highest_incarnation() + 1, end);
        let log = Wal::open_at(Arc::new(disk.clone()), dir, STORE, tail, point.incarnation, options())?;
        assert_eq!(log.durable_lsn(), end);
        // What the older superblock copy needs is still there, should the newer one be lost (C1).
        let from_older = RecoveryPoint { from: older, ..point };
        assert_eq!(scan(disk, dir, &from_older)?.0.end().lsn, end);
        let mut life = Life { disk: disk.clone(), log, point, serial, older, appended, next };
        life.write_superblock()?;
        Ok(Some(life))
    }

    fn write_superblock(&mut self) -> Result<()> {
        self.serial += 1;
        let failed = |e: std::io::Error| panic!("superblock: {e}");
        let file = self.disk.open(Path::new(SUPERBLOCK), OpenMode::ReadWrite).unwrap_or_else(failed);
        let mut bytes = Vec::new();
        words(&self.point, self.serial).iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        file.write_at(&bytes, (self.serial % 2) * 4096).unwrap();
        file.sync_data().unwrap();
        Ok(())
    }

    /// Moves the redo place to a random durable LSN and gives up what both superblocks are beyond.
    pub fn checkpoint(&mut self, rng: &mut Rng) -> Result<()> {
        let (low, high) = (self.point.from.lsn.get(), self.log.durable_lsn().get());
        let redo = Lsn::new(if rng.0 == 0 || rng.below(2) == 0 { high } else { low + rng.below(high - low + 1) });
        let place = self.log.locate(redo).expect("the log reaches back to the redo LSN");
        assert!(place.lsn <= redo);
        self.older = self.point.from;
        if place.lsn > self.point.from.lsn {
            self.point.from = place;
        }
        self.point.proven = self.point.from.lsn;
        self.write_superblock()?;
        self.log.release_below(self.older.lsn)?;
        Ok(())
    }

    pub fn append(&mut self, extra: usize) -> Result<Lsn> {
        let n = self.next;
        let mut buffer = Vec::new();
        let record = build(&mut buffer, n, extra);
        if matches!(self.log.reserve(record.len()), Err(Error::NoSpace { .. })) {
            self.log.commit(Lsn::MAX)?;
            self.disk.mark(self.log.durable_lsn().get());
            // Two, since both superblocks must be beyond what is released.
            self.checkpoint(&mut Rng(0))?;
            self.checkpoint(&mut Rng(0))?;
        }
        let permit = self.log.reserve(record.len())?;
        let lsn = self.log.append(permit, record);
        self.next += 1;
        self.appended.push((n, lsn));
        Ok(lsn)
    }

    /// Appends, commits and checkpoints at random; every acknowledgement is marked on the disk.
    pub fn run(&mut self, rng: &mut Rng, steps: u64) -> Result<()> {
        for _ in 0..steps {
            match rng.below(12) {
                0 => self.checkpoint(rng)?,
                1..=6 => {
                    let lsn = self.append(rng.below(200) as usize)?;
                    self.log.commit(lsn)?;
                    self.disk.mark(lsn.get());
                }
                7 => {
                    // More than a buffer: an append has to flush.
                    for _ in 0..rng.below(6) {
                        self.append(7_000)?;
                    }
                }
                _ => {
                    for _ in 0..rng.below(8) {
                        self.append(rng.below(2_000) as usize)?;
                    }
                }
            }
        }
        Ok(())
    }
}
