//! RocksDB, as its tuning guide and redb's benchmark set it up: one LRU cache that memtables are charged to, Bloom filters
//! of ten bits, index and filter blocks in the cache, blocks of 16 KiB, LZ4, as many background threads as processors.
//!
//! A durable write has `WriteOptions::sync`; a buffered one goes to the log unsynced. Sorted loads are written as table
//! files and ingested. Reading and writing as one step is guarded by a lock in here, since the plain database (not one of
//! its transactional ones) is raced.

use super::{Commit, Each, Engine, Items, Op, Order, Result, Session, Setup, View, Walk};
use crate::data::Key;
use parking_lot::Mutex;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, SstFileWriter, WriteBatch, WriteBufferManager,
    WriteOptions,
};
use std::path::PathBuf;

pub struct Rocks {
    db: DB,
    options: Options,
    dir: PathBuf,
    step: Mutex<()>,
    settings: String,
}

/// Records to a batch of a load.
const BATCH: usize = 1000;

pub fn open(setup: &Setup) -> Result<Rocks> {
    let cache_bytes = usize::try_from(setup.cache_bytes)?;
    let memtables = cache_bytes / 4;
    let cache = Cache::new_lru_cache(cache_bytes);
    let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(memtables, false, cache.clone());
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_block_size(16 << 10);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_manager(&buffers);
    options.set_write_buffer_size((memtables / 4).clamp(1 << 20, 64 << 20));
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_bytes_per_sync(1 << 20);
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    options.increase_parallelism(i32::try_from(processors)?);
    options.set_use_direct_reads(setup.direct);
    options.set_use_direct_io_for_flush_and_compaction(setup.direct);
    if setup.longest.1 >= 4096 {
        options.set_enable_blob_files(true);
    }
    let db = DB::open(&options, &setup.dir)?;
    let settings = format!(
        "LRU cache {} MiB, memtables charged to it (limit {} MiB); blocks 16 KiB; Bloom 10; LZ4; {} background threads; \
         blob files {}; durable: sync = true; buffered: sync = false; {}",
        cache_bytes >> 20,
        memtables >> 20,
        processors,
        if setup.longest.1 >= 4096 { "on" } else { "off" },
        if setup.direct { "direct I/O" } else { "page cache" },
    );
    Ok(Rocks { db, options, dir: setup.dir.clone(), step: Mutex::new(()), settings })
}

fn write_options(commit: Commit) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(commit == Commit::Durable);
    options
}

impl Rocks {
    fn ingest(&self, items: &mut dyn Items) -> Result<()> {
        let path = self.dir.join("sorted.sst");
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&path)?;
        while let Some((key, value)) = items.next() {
            writer.put(key, value)?;
        }
        writer.finish()?;
        Ok(self.db.ingest_external_file(vec![path])?)
    }

    fn batches(&self, items: &mut dyn Items) -> Result<()> {
        let options = write_options(Commit::Buffered);
        let mut batch = WriteBatch::default();
        while let Some((key, value)) = items.next() {
            batch.put(key, value);
            if batch.len() == BATCH {
                self.db.write_opt(std::mem::take(&mut batch), &options)?;
            }
        }
        Ok(self.db.write_opt(batch, &options)?)
    }
}

impl Engine for Rocks {
    fn settings(&self) -> String {
        self.settings.clone()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let (durable, buffered) = (write_options(Commit::Durable), write_options(Commit::Buffered));
        Ok(Box::new(Thread { engine: self, durable, buffered }))
    }
    fn load(&self, order: Order, items: &mut dyn Items) -> Result<()> {
        match order {
            Order::Random => self.batches(items)?,
            Order::Sorted => self.ingest(items)?,
        }
        self.sync()
    }
    fn unload(&self, items: &mut dyn Items) -> Result<()> {
        let options = write_options(Commit::Buffered);
        let mut batch = WriteBatch::default();
        while let Some((key, _)) = items.next() {
            batch.delete(key);
            if batch.len() == BATCH {
                self.db.write_opt(std::mem::take(&mut batch), &options)?;
            }
        }
        self.db.write_opt(batch, &options)?;
        self.sync()
    }
    fn len(&self) -> Result<u64> {
        let mut records = self.db.raw_iterator();
        records.seek_to_first();
        let mut n = 0;
        while records.valid() {
            n += 1;
            records.next();
        }
        records.status()?;
        Ok(n)
    }
    fn sync(&self) -> Result<()> {
        Ok(self.db.flush_wal(true)?)
    }
    fn compact(&mut self) -> Result<()> {
        self.db.flush()?;
        self.db.compact_range::<&[u8], &[u8]>(None, None);
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<()> {
        self.db.flush()?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

struct Thread<'a> {
    engine: &'a Rocks,
    durable: WriteOptions,
    buffered: WriteOptions,
}

impl Thread<'_> {
    fn options(&self, commit: Commit) -> &WriteOptions {
        match commit {
            Commit::Durable => &self.durable,
            Commit::Buffered => &self.buffered,
        }
    }
}

impl Session for Thread<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.engine.db.get_pinned(key)?.map(|value| found(&value)).is_some())
    }
    fn view(&mut self) -> Result<Box<dyn View + '_>> {
        Ok(Box::new(Reader(&self.engine.db)))
    }
    fn write(&mut self, ops: &[Op<'_>], commit: Commit) -> Result<()> {
        let (db, options) = (&self.engine.db, self.options(commit));
        match *ops {
            [Op::Put(key, value)] => db.put_opt(key, value, options)?,
            [Op::Del(key)] => db.delete_opt(key, options)?,
            ref ops => {
                let mut batch = WriteBatch::default();
                for op in ops {
                    match *op {
                        Op::Put(key, value) => batch.put(key, value),
                        Op::Del(key) => batch.delete(key),
                    }
                }
                db.write_opt(batch, options)?;
            }
        }
        Ok(())
    }
    fn update(&mut self, key: &[u8], change: &mut dyn FnMut(Option<&[u8]>) -> Vec<u8>, commit: Commit) -> Result<()> {
        let _one = self.engine.step.lock();
        let value = change(self.engine.db.get_pinned(key)?.as_deref());
        Ok(self.engine.db.put_opt(key, value, self.options(commit))?)
    }
    fn pop_first(&mut self, commit: Commit, taken: Each<'_>) -> Result<bool> {
        let _one = self.engine.step.lock();
        let mut records = self.engine.db.raw_iterator();
        records.seek_to_first();
        let Some((key, value)) = records.item() else { return Ok(records.status().map(|()| false)?) };
        taken(key, value);
        self.engine.db.delete_opt(key, self.options(commit))?;
        Ok(true)
    }
}

struct Reader<'a>(&'a DB);

impl View for Reader<'_> {
    fn get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.0.get_pinned(key)?.map(|value| found(&value)).is_some())
    }
    fn get_many(&mut self, keys: &[Key], found: &mut dyn FnMut(usize, Option<&[u8]>)) -> Result<()> {
        let Some(family) = self.0.cf_handle("default") else {
            return Err(super::Fail::failed("no default column family"));
        };
        for (i, value) in self.0.batched_multi_get_cf(family, keys, false).into_iter().enumerate() {
            found(i, value?.as_deref());
        }
        Ok(())
    }
    fn walk(&mut self, from: &[u8], limit: u64, _how: Walk, each: Each<'_>) -> Result<u64> {
        let mut records = self.0.raw_iterator();
        records.seek(from);
        let mut seen = 0;
        while seen < limit {
            let Some((key, value)) = records.item() else { break };
            each(key, value);
            seen += 1;
            records.next();
        }
        records.status()?;
        Ok(seen)
    }
}
