//! Opening and closing.

use super::background;
use super::catalog::Catalog;
use super::checkpoint::Pressure;
use super::engine::{Engine, Head};
use super::files::Files;
use super::observer::WalRule;
use super::options::{DEFAULT_PAGE_SIZE, StoreOptions};
use super::recovery::{Recovered, Source};
use super::running::Running;
use super::running::in_callback_of;
use super::store_api::{Inner, Store};
use super::superblock::{Found, Superblock};
use crate::error::{Error, Result};
use crate::io::{Disk, DiskLock, LockKind, OpenMode};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Mutex};
use crate::telemetry::Counter;
use crate::threading::Threads;
use std::path::Path;

/// Opens or creates the store in `dir`; the options are validated.
pub(crate) fn open(options: StoreOptions, dir: &Path) -> Result<Store> {
    let disk = options.medium();
    let files = Files::new(dir);
    let (lock, found) = enter(&options, &disk, &files)?;
    let mode = if options.read_only { OpenMode::Read } else { OpenMode::ReadWrite };
    let page_file =
        disk.open(&files.pages, mode).map_err(|e| Error::io("open the page file", Some(&files.pages), e))?;
    let direct_file = disk.open_direct(&files.pages, mode);
    let direct_file = direct_file.map_err(|e| Error::io("open the page file", Some(&files.pages), e))?;
    options.check_direct(&*direct_file, &files.pages)?;
    let found = match found {
        Some(found) => found,
        None => Superblock::read(&*page_file)?,
    };
    let page_size = found.newest.page_size as usize;
    if let Some(wanted) = options.page_size.filter(|&wanted| wanted != page_size) {
        let reason = format!("{wanted} bytes, but the store was created with {page_size}");
        return Err(Error::InvalidOption { option: "page_size", reason });
    }
    let (wal, pool) = options.plan(page_size, disk.deterministic())?;
    let source =
        Source { files: &files, disk: &disk, page_file: &page_file, direct_file, options: &options, found, wal, pool };
    let recovered = source.recover()?;
    let engine = engine(&options, &disk, &files, &found, recovered);
    begin_writing(&engine, &disk, &found)?;
    let catalog = Arc::new(Catalog::open(&engine)?);
    if engine.wal.is_some() {
        // Not before the catalog: a new store's first page is its root. Nothing else was allocated yet.
        engine.pool.allocator().keep_places(engine.head.lock().superblock.snapshot());
    }
    let threads = Threads::new(engine.stop.clone());
    let inner = Inner { engine, catalog, threads, lock: Mutex::new(Some(lock)) };
    if inner.engine.wal.is_some() && !inner.engine.deterministic {
        // Dropping `inner` on a failure stops those that did start.
        background::start(&inner.threads, &inner.engine, &inner.catalog)?;
    } else {
        inner.catalog.free_dropped(&inner.engine, true);
    }
    Ok(Store { inner: Arc::new(inner) })
}

/// Looks at the directory, takes the lock, and creates the files if need and may be. Nothing is touched in a directory
/// that is not a store's, nor before the options fit; what only the medium can say no to, it is asked in a new store's directory,
/// before the store has its name.
fn enter(options: &StoreOptions, disk: &Arc<dyn Disk>, files: &Files) -> Result<(Box<dyn DiskLock>, Option<Found>)> {
    let there = files.inspect(&**disk)?;
    let may_create = options.create && !options.read_only;
    if !there && !may_create {
        return Err(Error::NotFound { what: format!("a store in {}", files.dir.display()) });
    }
    let plan = options.plan(options.page_size.unwrap_or(DEFAULT_PAGE_SIZE), disk.deterministic());
    if !there {
        plan.as_ref().map_err(Clone::clone)?;
        files.make_dir(&**disk)?;
    }
    let kind = if options.read_only { LockKind::Shared } else { LockKind::Exclusive };
    let lock = files.take_lock(&**disk, kind, options.lock_timeout)?;
    // Again, under the lock: somebody may have created the store meanwhile.
    if !files.inspect(&**disk)? {
        if !may_create {
            return Err(Error::NotFound { what: format!("a store in {}", files.dir.display()) });
        }
        files.create(disk, options, plan?.0)?;
    } else if !options.read_only {
        files.settle_names(&**disk)?;
    }
    Ok((lock, None))
}

fn engine(
    options: &StoreOptions,
    disk: &Arc<dyn Disk>,
    files: &Files,
    found: &Found,
    recovered: Recovered,
) -> Arc<Engine> {
    let Recovered { page_store, pool, wal, superblock, end, records } = recovered;
    Arc::new(Engine {
        files: files.clone(),
        page_file: page_store.file(),
        page_store,
        pool,
        wal,
        end_at_open: end,
        durability: options.durability,
        deterministic: disk.deterministic(),
        head: Mutex::new(Head { superblock, next_copy: 1 - found.newest_at }),
        redo: AtomicU64::new(superblock.redo.get()),
        next_tree: AtomicU32::new(superblock.next_tree),
        running: Running::new(),
        stop: Arc::default(),
        log_wants: AtomicBool::new(false),
        space_wants: AtomicBool::new(false),
        awaited: AtomicU32::new(0),
        checkpoints: AtomicU64::new(0),
        dropped_damaged: AtomicU64::new(0),
        recovered: records,
        reads: Counter::new(),
        writes: Counter::new(),
        batches: Counter::new(),
    })
}

/// The step after which groups may be written (W4): both superblocks durably carry the new incarnation and the accepted
/// end of the log. Then what only the older copy needed is given up.
fn begin_writing(engine: &Arc<Engine>, disk: &Arc<dyn Disk>, found: &Found) -> Result<()> {
    let Some(wal) = &engine.wal else { return Ok(()) };
    let mut head = engine.head.lock();
    let next = head.superblock;
    head.superblock = found.older.unwrap_or(found.newest);
    engine.write_superblocks(&mut head, next)?;
    engine.pool.allocator().release_pending(next.redo);
    wal.release_below(next.place.lsn)?;
    drop(head);
    wal.set_pressure(Arc::new(Pressure(Arc::downgrade(engine))));
    disk.observe(Arc::new(WalRule {
        pages: engine.files.pages.clone(),
        page_size: engine.pool.page_size(),
        wal: Arc::downgrade(wal),
    }));
    Ok(())
}

impl Inner {
    /// Waits for running calls, ends the background, makes a last checkpoint and lets go of the directory, also when that
    /// fails.
    ///
    /// # Errors
    /// `Closed` if it was closed before; `InvalidOption` from inside a callback; what the checkpoint met.
    pub(crate) fn close(&self) -> Result<()> {
        let engine = &self.engine;
        if in_callback_of(engine.id()) {
            let reason = "close was called from inside a callback of this store".to_owned();
            return Err(Error::InvalidOption { option: "close", reason });
        }
        if !engine.running.close() {
            return Err(Error::Closed);
        }
        engine.stop.stop();
        if let Some(wal) = &engine.wal {
            wal.nudge_flusher();
            wal.nudge_preparer();
        }
        engine.pool.wake_provider();
        engine.page_store.wake_syncer();
        self.threads.join();
        // Also if the medium panics in what follows.
        let panics = Panics(self);
        self.catalog.tidy(engine);
        let result = match &engine.wal {
            None => Ok(true),
            // The log first: if the checkpoint finds no space, nothing is lost all the same.
            Some(wal) => wal.commit(wal.position()).and_then(|()| engine.last_checkpoint()),
        };
        std::mem::forget(panics);
        self.let_go(&result);
        result.map(|_| ())
    }

    /// Gives the directory up once nobody writes to it any more. `ending`: whether no page was left dirty, or why not.
    fn let_go(&self, ending: &Result<bool>) {
        let engine = &self.engine;
        if let Some(wal) = &engine.wal {
            wal.clear_pressure();
        }
        // Reads that are still on their way must not evict, and so write, what the next owner of the lock may have
        // changed; after a checkpoint that left no page dirty there is nothing to write.
        match ending {
            Err(error) => engine.poison(error),
            Ok(closed) if !closed => engine.poison(&Error::Closed),
            Ok(_) => {}
        }
        // Whoever is in the middle of that has not seen the poison; nor has who writes the log for a sync point.
        engine.pool.wait_for_turns();
        if let Some(wal) = &engine.wal {
            wal.wait_for_flush();
        }
        drop(self.lock.lock().take());
        if let Some(wal) = &engine.wal {
            // Nobody is left who would.
            wal.wake_ready();
        }
    }
}

/// A close that ends by a panic.
struct Panics<'i>(&'i Inner);

impl Drop for Panics<'_> {
    fn drop(&mut self) {
        self.0.let_go(&Err(Error::Closed));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Best effort: who wants to know calls `close`. What fails here, recovery mends.
        let _ = self.close();
    }
}
