//! Checking a whole store: superblocks, every tree, every page's image on disk, and that each page of the file is exactly
//! one thing: a tree's, a large value's, free, pending, or reserved (the allocator's snapshot is).

use super::recovery::read_snapshot;
use super::report::CheckReport;
use super::store_api::Inner;
use super::superblock::Superblock;
use crate::btree::{BTree, Dropped, TreeCheck};
use crate::error::{Error, Result, Site};
use crate::page::header;
use crate::pool::Extent;
use crate::types::{Lsn, PageId, SizeClass, TreeId};

/// How often a page that does not verify is looked at again, with changed pages written out in between: one that was
/// being written is no damage.
const LOOKS: usize = 3;

/// Everything found: what is there, and every damage.
///
/// # Errors
/// What keeps it from checking at all: `Closed`, `Poisoned`, `Io`, `NoSpace`, `PoolExhausted`.
pub(crate) fn check(inner: &Inner) -> Result<(CheckReport, Vec<Error>)> {
    let engine = &inner.engine;
    let _call = engine.running.enter()?;
    engine.check_poison()?;
    // What is left of dropped trees holds still meanwhile.
    let _freeing = inner.catalog.freeing.lock();
    let (report, damages) = (CheckReport::default(), Vec::new());
    let mut check = Check { inner, report, damages, pages: Vec::new(), values: Vec::new() };
    check.superblocks()?;
    check.trees()?;
    check.images()?;
    check.space();
    Ok((check.report, check.damages))
}

struct Check<'a> {
    inner: &'a Inner,
    report: CheckReport,
    damages: Vec<Error>,
    /// The pages of all trees.
    pages: Vec<PageId>,
    /// The extents of all large values; their pages were verified with the trees.
    values: Vec<Extent>,
}

impl Check<'_> {
    /// Keeps damage and goes on; anything else ends the check.
    fn note(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(damage @ (Error::Corrupted { .. } | Error::UnsupportedFormat { .. })) => {
                self.damages.push(damage);
                Ok(())
            }
            other => other,
        }
    }

    /// Both copies, and the snapshot they name. No checkpoint writes them meanwhile.
    fn superblocks(&mut self) -> Result<()> {
        let engine = &self.inner.engine;
        let head = engine.lock_head();
        let found = Superblock::read(&*engine.page_file);
        let snapshot = read_snapshot(&engine.page_store, &head.superblock).map(|_| ());
        drop(head);
        let copies = match found {
            Ok(found) if found.older.is_none() => {
                Err(Error::corrupted(Site::Superblock, "one of the two copies does not verify"))
            }
            other => other.map(|_| ()),
        };
        self.note(copies)?;
        self.note(snapshot)
    }

    fn trees(&mut self) -> Result<()> {
        let catalog = &self.inner.catalog;
        self.tree(&catalog.tree)?;
        // The catalog's own entries are no records of the user's.
        self.report.records = 0;
        let mut trees: Vec<(TreeId, PageId, bool)> = Vec::new();
        let listed = catalog.entries(|id, root, dropped| trees.push((id, root, dropped)));
        self.note(listed)?;
        for (id, root, dropped) in trees {
            let tree = BTree::open(self.inner.engine.pool.clone(), None, id, root);
            if dropped {
                let Dropped { pages, values, errors, .. } = tree.check_dropped()?;
                self.report.dropped_pages += pages.len() as u64 + values.iter().map(|run| run.units).sum::<u64>();
                self.pages.extend(pages);
                self.values.extend(values);
                self.damages.extend(errors);
            } else {
                let handle = catalog.registry.lock().values().find(|tree| tree.id() == id).cloned();
                let counted = handle.as_ref().map_or(Ok(None), BTree::counted_len)?;
                let records = self.tree(&tree)?;
                // Only if nothing was counted meanwhile: then there were as many all along.
                if let (Some(handle), Some((mark, Some(n)))) = (&handle, counted)
                    && n != records
                    && handle.counted_len()?.is_some_and(|(now, _)| now == mark)
                {
                    let detail = format!("the root of a tree of {records} pairs, of which {n} were counted");
                    self.damages.push(Error::corrupted(Site::Page(root), detail));
                }
            }
        }
        Ok(())
    }

    /// Checks one tree; how many pairs it has.
    fn tree(&mut self, tree: &BTree) -> Result<u64> {
        let TreeCheck { pages, records, errors, values, .. } = tree.check()?;
        self.report.trees += 1;
        self.report.tree_pages += pages.len() as u64;
        self.report.records += records;
        self.report.value_pages += values.iter().map(|extent| extent.units).sum::<u64>();
        self.values.extend(values);
        self.pages.extend(pages);
        self.damages.extend(errors);
        Ok(records)
    }

    /// Every page of a tree as it lies on disk, once everything changed is written out.
    fn images(&mut self) -> Result<()> {
        let engine = &self.inner.engine;
        let end = engine.position();
        let pages = std::mem::take(&mut self.pages);
        if engine.wal.is_some() {
            engine.pool.flush_all()?;
        }
        for &id in &pages {
            let mut image = engine.pool.verify_stored(id, SizeClass::ZERO);
            for _ in 1..LOOKS {
                if image.is_ok() || engine.wal.is_none() {
                    break;
                }
                engine.pool.flush_all()?;
                image = engine.pool.verify_stored(id, SizeClass::ZERO);
            }
            self.note(image)?;
            let in_memory = self.lsn(id).and_then(|lsn| match lsn > end {
                true => Err(Error::corrupted(Site::Page(id), format!("holds {lsn}, but the log ends at {end}"))),
                false => Ok(()),
            });
            self.note(in_memory)?;
        }
        self.pages = pages;
        Ok(())
    }

    fn lsn(&self, id: PageId) -> Result<Lsn> {
        let page = self.inner.engine.pool.shared(id, SizeClass::ZERO)?;
        Ok(Lsn::new(page.reader().u64(header::LSN).unwrap_or(0)))
    }

    /// Free space ∪ pending ∪ reserved ∪ pages of trees ∪ large values = all pages, and disjoint.
    fn space(&mut self) {
        let map = self.inner.engine.pool.allocator().map();
        let sum = |extents: &[Extent]| extents.iter().map(|extent| extent.units).sum();
        self.report.free_pages = sum(&map.free);
        self.report.pending_pages = sum(&map.pending);
        self.report.snapshot_pages = sum(&map.reserved);
        let mut all: Vec<(Extent, &str)> = Vec::new();
        all.extend(map.free.iter().map(|&extent| (extent, "free")));
        all.extend(map.pending.iter().map(|&extent| (extent, "pending")));
        all.extend(map.reserved.iter().map(|&extent| (extent, "reserved")));
        all.extend(self.pages.iter().map(|&id| (Extent::new(id, 1), "a tree's")));
        all.extend(self.values.iter().map(|&extent| (extent, "a large value's")));
        all.sort_unstable();
        let mut at = (map.first, "the page file's head");
        for (extent, what) in all.into_iter().chain([(Extent::new(map.end, 0), "the end")]) {
            if extent.start > at.0 {
                let lost = extent.start.get() - at.0.get();
                let detail = format!("{lost} pages from {} on are neither free nor any tree's", at.0);
                self.damages.push(Error::corrupted(Site::FreeSpace, detail));
            } else if extent.start < at.0 {
                let detail = format!("page {} is {what} and {} at once", extent.start, at.1);
                self.damages.push(Error::corrupted(Site::FreeSpace, detail));
            }
            at = (at.0.max(extent.end()), what);
        }
    }
}
