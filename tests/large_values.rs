//! Values too long for a leaf: every length at which something changes, every operation, parts of them, budgets smaller
//! than one, damage, full disks, readers while they are overwritten, and no growth.

#![cfg(all(feature = "btree", feature = "sim"))]

mod large_support;
#[path = "support/over.rs"]
mod over;

use large_support::{all_ways, options, value};
use over::Over;
use pagebox::sim::SimDisk;
use pagebox::{Batch, Durability, Error, Site, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The longest value that a leaf keeps for a short key.
fn inline(page_size: usize) -> usize {
    page_size - 138 - 3 * (page_size / 6)
}

/// Lengths at and around everything that changes something.
fn lengths(page_size: usize) -> Vec<usize> {
    let mut around = vec![1, 100, inline(page_size)];
    for units in [1, 2, 3, 4, 7, 8, 16, 64] {
        around.push(units * page_size - 32);
        around.push(units * page_size);
    }
    // One page of a megabyte, and more of them.
    around.extend([(1 << 20) - 32, 1 << 20, (1 << 20) + 100_000, 3 << 20]);
    let mut all: Vec<usize> = around.into_iter().flat_map(|n| [n - 1, n, n + 1]).collect();
    all.push(0);
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn every_length_comes_back_in_every_way_and_after_a_reopening() {
    for page_size in [4096, 16384, 65536] {
        let dir = tempfile::tempdir().unwrap();
        let store = options(page_size).open(dir.path()).unwrap();
        let tree = store.tree("t").unwrap();
        let lengths = lengths(page_size);
        for (i, &len) in lengths.iter().enumerate() {
            let key = (i as u32).to_be_bytes();
            assert!(tree.insert(key, value(i as u64, len)).unwrap());
            all_ways(&tree, &key, &value(i as u64, len));
        }
        let report = store.check().unwrap();
        assert!(report.value_pages > 0 && report.records == lengths.len() as u64);
        store.close().unwrap();
        let store = options(page_size).open(dir.path()).unwrap();
        let tree = store.tree("t").unwrap();
        for (i, &len) in lengths.iter().enumerate() {
            all_ways(&tree, &(i as u32).to_be_bytes(), &value(i as u64, len));
        }
        assert_eq!(tree.len().unwrap(), lengths.len() as u64);
        assert_eq!(tree.remove_range(..).unwrap(), lengths.len() as u64);
        assert_eq!(store.check().unwrap().value_pages, 0);
    }
}

#[test]
fn the_space_of_a_value_is_its_length_and_less_than_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(4096).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    for len in [3000, 5000, 100_000, 700_000, 2 << 20] {
        tree.insert("k", value(1, len)).unwrap();
        let bytes = store.check().unwrap().value_pages as usize * 4096;
        let headers = 32 * (len / (1 << 18) + 1);
        assert!(bytes >= len && bytes < len + headers + 4096, "{len} bytes take {bytes}");
    }
}

#[test]
fn parts_of_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(4096).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    for len in [0usize, 1, 100, inline(4096), inline(4096) + 1, 4064, 4065, 300_000, (1 << 20) + 5, 3 << 20] {
        let whole = value(9, len);
        tree.insert("k", &whole).unwrap();
        let n = len as u64;
        let mut edges = vec![0, 1, 31, 32, 4063, 4064, 4065, 65_503, 65_504, 262_111, 262_112, 262_113, u64::MAX];
        edges.extend([n / 2, n.saturating_sub(1), n, n + 1]);
        let mut out = Vec::new();
        for &from in &edges {
            for &to in &edges {
                out.push(7);
                assert!(tree.get_range("k", from..to, &mut out).unwrap());
                let end = to.min(n);
                let expected = &whole[from.min(end) as usize..end as usize];
                assert!(out == expected, "{from}..{to} of {len}: {} bytes, expected {}", out.len(), expected.len());
            }
        }
        out.push(7);
        assert!(!tree.get_range("other", 0..9, &mut out).unwrap() && out.is_empty());
    }
}

#[test]
fn every_operation_deals_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(4096).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let (a, b, small) = (value(1, 50_000), value(2, 50_000), b"small".to_vec());
    assert_eq!(tree.replace("k", &a).unwrap(), None);
    assert!(tree.replace("k", &b).unwrap().as_deref() == Some(&a[..]));
    assert!(tree.replace("k", &small).unwrap().as_deref() == Some(&b[..]));
    assert_eq!(tree.replace("k", &a).unwrap(), Some(small.clone()));
    // Compare and swap: as long but different, another length, absent, right.
    let conflict = |old: Option<&[u8]>, new: Option<&[u8]>| {
        let conflict = tree.compare_and_swap("k", old, new).unwrap().unwrap_err();
        assert!(conflict.current.as_deref() == Some(&a[..]));
    };
    conflict(Some(&b), Some(&b));
    conflict(Some(&small), None);
    conflict(None, Some(&b));
    assert!(tree.compare_and_swap("k", Some(&a), Some(&b)).unwrap().is_ok());
    assert!(tree.compare_and_swap("k", Some(&b), Some(&small)).unwrap().is_ok());
    assert!(tree.compare_and_swap("k", Some(&small), Some(&a)).unwrap().is_ok());
    assert!(tree.compare_and_swap("k", Some(&a), None).unwrap().is_ok());
    assert!(tree.compare_and_swap("k", None, Some(&b)).unwrap().is_ok());
    let before = tree.fetch_update("k", |old| Some([old.unwrap(), &a].concat())).unwrap();
    assert!(before.as_deref() == Some(&b[..]));
    assert!(tree.take("k").unwrap() == Some([&b[..], &a].concat()));
    assert_eq!(tree.take("k").unwrap(), None);
    // Batches, with requirements that have to be read.
    let mut batch = Batch::new();
    batch.insert(&tree, "x", &a).insert(&tree, "y", &b).insert(&tree, "z", &small).require(&tree, "x", None);
    store.apply(&batch).unwrap();
    assert!(matches!(store.apply(&batch), Err(Error::Conflict { .. })));
    let mut batch = Batch::new();
    batch.require(&tree, "x", Some(&b)).remove(&tree, "x").insert(&tree, "w", &b);
    assert!(matches!(store.apply(&batch), Err(Error::Conflict { key, .. }) if key == b"x"));
    let mut batch = Batch::new();
    batch.require(&tree, "x", Some(&a)).require(&tree, "y", Some(&b)).require(&tree, "z", Some(&small));
    batch.insert(&tree, "x", &b).remove(&tree, "y").insert(&tree, "z", &a);
    store.apply(&batch).unwrap();
    assert!(tree.get("x").unwrap().as_deref() == Some(&b[..]) && tree.get("z").unwrap().as_deref() == Some(&a[..]));
    assert_eq!(tree.get("y").unwrap(), None);
    assert!(tree.first().unwrap() == Some((b"x".to_vec(), b.clone())));
    assert!(tree.last().unwrap() == Some((b"z".to_vec(), a.clone())));
    assert!(tree.pop_first().unwrap() == Some((b"x".to_vec(), b.clone())));
    assert!(tree.pop_last().unwrap() == Some((b"z".to_vec(), a)));
    let report = store.check().unwrap();
    assert_eq!((report.records, report.value_pages), (0, 0));
}

#[test]
fn values_larger_than_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let small = || Store::options().page_size(4096).memory(2 << 20).durability(Durability::Manual);
    let whole = value(5, 16 << 20);
    let store = small().open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..500u32 {
        tree.insert(i.to_be_bytes(), value(u64::from(i), 300)).unwrap();
    }
    tree.insert("big", &whole).unwrap();
    let mut out = Vec::new();
    for from in (0..16u64 << 20).step_by(777_777) {
        assert!(tree.get_range("big", from..from + 5000, &mut out).unwrap());
        assert!(out == whole[from as usize..(from as usize + 5000).min(whole.len())]);
    }
    assert!(store.stats().resident_bytes <= 2 << 20);
    assert!(tree.get("big").unwrap().as_deref() == Some(&whole[..]));
    assert!(tree.compare_and_swap("big", Some(&whole), Some(b"x")).unwrap().is_ok());
    store.check().unwrap();
    store.close().unwrap();
}

/// A file written with a large budget, in pages of a megabyte, is read with any.
#[test]
fn a_small_budget_reads_what_a_large_one_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(4096).memory(64 << 20).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let values: Vec<Vec<u8>> = [70_000, 1 << 19, 1 << 20, 5 << 20].map(|n| value(n as u64, n)).into();
    for (i, v) in values.iter().enumerate() {
        tree.insert([i as u8], v).unwrap();
    }
    store.close().unwrap();
    let store = options(4096).memory(400 << 10).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    for (i, v) in values.iter().enumerate() {
        all_ways(&tree, &[i as u8], v);
        let mut out = Vec::new();
        assert!(tree.get_range([i as u8], 69_000..69_100, &mut out).unwrap() && out == v[69_000..69_100]);
    }
    // And writes: in smaller pages.
    tree.insert("n", &values[3]).unwrap();
    all_ways(&tree, b"n", &values[3]);
    store.check().unwrap();
}

#[test]
fn a_thousand_overwrites_do_not_grow_the_file() {
    for (len, durability) in [(40_000, Durability::Manual), (300_000, Durability::Sync)] {
        let dir = tempfile::tempdir().unwrap();
        let store = options(4096).durability(durability).open(dir.path()).unwrap();
        let tree = store.tree("t").unwrap();
        let mut pages = 0;
        for i in 0..1000u64 {
            tree.insert([(i % 5) as u8], value(i, len + (i * 37 % 5000) as usize)).unwrap();
            if i == 250 {
                pages = store.stats().file_pages;
            }
        }
        let end = store.stats().file_pages;
        assert!(end <= pages + (1 << 20) / 4096, "from {pages} to {end} pages");
        assert!(end * 4096 < 5 * (len as u64 + 5000) + (6 << 20), "{end} pages for five values of {len}");
        store.check().unwrap();
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_names_its_page_and_harms_no_other_key() {
    let temp = tempfile::tempdir().unwrap();
    let sound = temp.path().join("sound");
    let store = options(4096).open(&sound).unwrap();
    let tree = store.tree("t").unwrap();
    let whole = value(3, 900_000);
    tree.insert("bad", &whole).unwrap();
    tree.insert("good", value(4, 900_000)).unwrap();
    tree.insert("inline", "x").unwrap();
    store.close().unwrap();
    let bytes = std::fs::read(sound.join("pages")).unwrap();
    for from in [0, 300_000, 500_000, 899_900] {
        let places: Vec<usize> =
            (0..bytes.len() - 64).filter(|&at| bytes[at..].starts_with(&whole[from..from + 64])).collect();
        let &[at] = &places[..] else { panic!("at {places:?}") };
        let dir = temp.path().join(from.to_string());
        copy_dir(&sound, &dir);
        let mut damaged = bytes.clone();
        damaged[at + 7] ^= 1 << (from % 8);
        std::fs::write(dir.join("pages"), damaged).unwrap();
        let store = options(4096).open(&dir).unwrap();
        let tree = store.tree("t").unwrap();
        let site = match tree.get("bad") {
            Err(Error::Corrupted { site: Site::Page(page), .. }) => page,
            other => panic!("{:?}", other.map(|value| value.map(|value| value.len()))),
        };
        assert!(site.get() * 4096 <= at as u64 && at as u64 - site.get() * 4096 <= 1 << 20, "{site:?}, damage at {at}");
        assert!(matches!(tree.get_with("bad", |_| panic!("called with damaged bytes")), Err(Error::Corrupted { .. })));
        let mut out = Vec::new();
        let part = from as u64..from as u64 + 64;
        assert!(tree.get_range("bad", part, &mut out).is_err() && out.is_empty());
        assert!(matches!(tree.range("bad"..="bad").next(), Some(Err(Error::Corrupted { .. }))));
        assert!(tree.get("good").unwrap() == Some(value(4, 900_000)));
        assert_eq!(tree.get("inline").unwrap().as_deref(), Some(&b"x"[..]));
        let damages = store.check_all().unwrap();
        assert!(damages.iter().any(|d| matches!(d, Error::Corrupted { site: Site::Page(p), .. } if *p == site)));
        // What cannot be read is not taken, but it can be removed.
        assert!(matches!(tree.take("bad"), Err(Error::Corrupted { .. })));
        assert!(tree.remove("bad").unwrap());
        store.check().unwrap();
    }
}

/// On a disk that fills up in the middle of a value: refused, all as before, and it heals.
#[test]
fn a_full_disk_leaves_all_as_before() {
    let disk = SimDisk::new(7);
    disk.set_history(false);
    let options = || options(4096).disk(Arc::new(disk.clone())).log_segment_bytes(64 << 10).max_log_bytes(512 << 10);
    let store = options().open("/s").unwrap();
    let tree = store.tree("t").unwrap();
    tree.insert("a", value(1, 100_000)).unwrap();
    store.checkpoint().unwrap();
    let used = disk.used_bytes();
    for more in [0, 4096, 50_000, 120_000, 400_000] {
        disk.set_space_limit(Some(used + more));
        for (key, len) in [("a", 1 << 20), ("b", 1 << 20), ("b", 3 << 20)] {
            match tree.insert(key, value(9, len)) {
                Err(Error::NoSpace { .. }) => {}
                other => panic!("{other:?} with {more} bytes left"),
            }
            let mut batch = Batch::new();
            batch.insert(&tree, "c", "small").insert(&tree, key, value(9, len));
            assert!(matches!(store.apply(&batch), Err(Error::NoSpace { .. })));
            assert!(tree.get("a").unwrap() == Some(value(1, 100_000)));
            assert!(!tree.contains_key("b").unwrap() && !tree.contains_key("c").unwrap());
        }
        store.check().unwrap();
    }
    disk.set_space_limit(None);
    tree.insert("b", value(2, 3 << 20)).unwrap();
    assert!(tree.get("b").unwrap() == Some(value(2, 3 << 20)));
    store.check().unwrap();
}

/// Readers see one version, whole, while writers overwrite it and checkpoints give its space to the next.
#[test]
fn readers_while_values_are_overwritten_and_space_is_reused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(options(4096).memory(3 << 20).open(dir.path()).unwrap());
    let tree = store.tree("t").unwrap();
    // One version is one byte, but for its length: a mixture shows.
    let versioned = |n: u64| vec![(n % 251) as u8; 30_000 + (n % 7) as usize * 60_000];
    let one = |v: &[u8]| {
        let n = v[0];
        assert!(v.iter().all(|&b| b == n), "a value of two versions");
        assert!((v.len() - 30_000).is_multiple_of(60_000));
    };
    for k in 0..4u8 {
        tree.insert([k], versioned(u64::from(k))).unwrap();
    }
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let over = Over(&stop);
        for r in 0..3u8 {
            let (tree, stop, reads) = (tree.clone(), &stop, &reads);
            scope.spawn(move || {
                let mut out = Vec::new();
                let mut i = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    let key = [(i % 4) as u8];
                    match (i + u64::from(r)) % 4 {
                        0 => drop(tree.get_with(key, one).unwrap()),
                        1 => {
                            if tree.get_into(key, &mut out).unwrap() {
                                one(&out);
                            }
                        }
                        2 => {
                            if tree.get_range(key, 1000..90_000, &mut out).unwrap() {
                                assert!(out.iter().all(|&b| b == out[0]), "a part of two versions");
                            }
                        }
                        _ => tree.iter().for_each(|pair| one(&pair.unwrap().1)),
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                    i += 1;
                }
            });
        }
        let checkpointer = {
            let (store, stop) = (store.clone(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    store.checkpoint().unwrap();
                }
            })
        };
        for n in 0..1200u64 {
            let key = [(n % 4) as u8];
            match n % 5 {
                0 => drop(tree.replace(key, versioned(n)).unwrap().inspect(|v| one(v))),
                1 if n % 25 == 1 => drop(tree.take(key).unwrap().inspect(|v| one(v))),
                _ => drop(tree.insert(key, versioned(n)).unwrap()),
            }
        }
        drop(over);
        checkpointer.join().unwrap();
    });
    assert!(reads.load(Ordering::Relaxed) > 100);
    store.checkpoint().unwrap();
    assert_eq!(store.stats().pending_pages, 0);
    store.check().unwrap();
}

/// A reader in a callback holds back reuse, no writer and no checkpoint; when it is gone, the space comes back.
#[test]
fn a_callback_keeps_what_it_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(4096).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    let old = value(1, 100_000);
    tree.insert("k", &old).unwrap();
    tree.get_with("k", |v| {
        for n in 2..40 {
            tree.insert("k", value(n, 100_000)).unwrap();
            store.checkpoint().unwrap();
            tree.get_with("k", |new| assert!(new == value(n, 100_000))).unwrap();
        }
        assert!(v == old, "the callback's bytes stay");
        assert!(store.stats().pending_pages > 0);
        assert!(tree.remove("k").unwrap());
        assert!(v == old);
    })
    .unwrap();
    // So does an iterator that stands before a large value.
    for k in 0..3u8 {
        tree.insert([k], value(u64::from(k), 50_000)).unwrap();
    }
    let mut pairs = tree.iter();
    assert!(pairs.next().unwrap().unwrap() == (vec![0], value(0, 50_000)));
    for round in 0..20 {
        tree.insert([1], value(round, 50_000)).unwrap();
        store.checkpoint().unwrap();
    }
    assert!(pairs.next().unwrap().unwrap() == (vec![1], value(1, 50_000)), "the leaf as it was when it was read");
    drop(pairs);
    store.checkpoint().unwrap();
    assert_eq!(store.stats().pending_pages, 0);
    assert_eq!(store.check().unwrap().value_pages, 3 * 50_032u64.div_ceil(4096));
}

/// A crash at any operation of the disk, with every write lost that may be: a reference always has its content.
#[test]
fn a_reference_is_never_durable_before_its_content() {
    for durability in [Durability::Manual, Durability::Sync] {
        let disk = SimDisk::new(3);
        let options = |disk: &SimDisk| options(4096).durability(durability).disk(Arc::new(disk.clone()));
        let store = options(&disk).open("/s").unwrap();
        let tree = store.tree("t").unwrap();
        for n in 0..12u64 {
            tree.insert([(n % 3) as u8], value(n, 9000 + n as usize * 3000)).unwrap();
            if n % 4 == 3 {
                store.sync().unwrap();
                store.checkpoint().unwrap();
            }
        }
        for at in 0..=disk.history_len() {
            for seed in 0..3 {
                let crashed = disk.crash_at(at, seed);
                let store = options(&crashed).open("/s").unwrap();
                store.check().unwrap();
                let Some(tree) = store.existing_tree("t").unwrap() else { continue };
                for pair in tree.iter() {
                    let (key, found) = pair.unwrap();
                    let n = (found.len() as u64 - 9000) / 3000;
                    assert!(n % 3 == u64::from(key[0]) && found == value(n, found.len()));
                }
            }
        }
    }
}

/// Fragmented free space is used, in runs, before the file grows without need.
#[test]
fn a_cut_up_file_still_takes_long_values() {
    let dir = tempfile::tempdir().unwrap();
    let store = options(4096).open(dir.path()).unwrap();
    let tree = store.tree("t").unwrap();
    for i in 0..64u64 {
        tree.insert([i as u8], value(i, 250_000)).unwrap();
    }
    for i in (0..64u8).step_by(2) {
        tree.remove([i]).unwrap();
    }
    store.checkpoint().unwrap();
    let before = store.stats();
    let long = value(99, 1_600_000);
    tree.insert("long", &long).unwrap();
    all_ways(&tree, b"long", &long);
    assert!(store.stats().file_pages - before.file_pages < 100, "{before:?}");
    store.check().unwrap();
    let model: BTreeMap<u8, Vec<u8>> =
        (0..64).filter(|i| i % 2 == 1).map(|i| (i, value(u64::from(i), 250_000))).collect();
    for (k, v) in model {
        assert!(tree.get([k]).unwrap() == Some(v));
    }
}

/// What `take` gives back is the value it removed, however often the leaf changes under the search: attempts that are in vain
/// find other values, or none.
#[test]
fn a_value_taken_while_others_change_its_leaf() {
    let disk = SimDisk::new(3);
    let store = options(4096).disk(Arc::new(disk)).open("/store").unwrap();
    let tree = store.tree("t").unwrap();
    let (stop, wrong) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                tree.insert(format!("a{:02}", i * 7 % 60), b"small").unwrap();
                tree.remove(format!("a{:02}", (i * 7 + 30) % 60)).unwrap();
            }
        });
        let began = std::time::Instant::now();
        for i in (0..20_000).take_while(|_| began.elapsed().as_secs() < 5) {
            let large = value(i, 3000);
            tree.insert("k", &large).unwrap();
            let taken = tree.take("k").unwrap();
            wrong.fetch_add(u64::from(taken.as_ref() != Some(&large)), Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong.into_inner(), 0);
}
