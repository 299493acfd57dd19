//! The parts of the simulated disk by themselves. What it promises as a whole is tested in `tests/sim_*.rs`.

use std::sync::Arc;

use super::image::{CHUNK, Image};
use super::inode::{Fate, Inode};
use super::names::{Change, Entry, Names, ROOT};
use super::rng::Rng;

fn bytes(byte: u8, n: usize) -> Arc<[u8]> {
    vec![byte; n].into()
}

#[test]
fn an_image_is_what_a_vector_would_be() {
    let mut rng = Rng::new(1);
    let (mut image, mut model) = (Image::default(), Vec::<u8>::new());
    for step in 0..4000u64 {
        let at = rng.below(20_000) as usize;
        let n = rng.pick(&[1, 100, 512, CHUNK, 9000]);
        match rng.below(5) {
            0 => {
                image.set_len(at as u64);
                model.resize(at, 0);
            }
            1 => {
                image.overlay_zeros(at as u64, n as u64);
                let end = model.len().min(at + n);
                model.get_mut(at..end).into_iter().for_each(|part| part.fill(0));
            }
            2 => {
                image.reserve(at as u64, n as u64);
                model.resize(model.len().max(at + n), 0);
            }
            _ => {
                let data = vec![step as u8 | 1; n];
                image.write(&data, at as u64);
                model.resize(model.len().max(at + n), 0);
                model[at..at + n].copy_from_slice(&data);
            }
        }
        let copy = image.clone();
        assert_eq!(image.len(), model.len() as u64);
        assert_eq!(image.to_vec(), model, "step {step}");
        image.write(b"only here", 0);
        assert_eq!(copy.to_vec(), model, "a copy does not see later writes");
        image = copy;
    }
}

#[test]
fn space_is_counted_by_chunks_and_holes_are_free() {
    let mut image = Image::default();
    image.set_len(10 << 20);
    assert_eq!(image.allocated_bytes(), 0);
    image.write(&[1; 10], 5000);
    image.write(&[1; 10], 5100);
    assert_eq!(image.allocated_bytes(), 4096);
    assert_eq!(image.fits(4096, 4096, 0), 4096, "there already");
    assert_eq!(image.fits(4000, 9000, 4096), 96 + 4096, "a new chunk, the one there, and no third");
    image.reserve(0, 8192);
    assert_eq!(image.allocated_bytes(), 8192);
    image.set_len(0);
    assert_eq!(image.allocated_bytes(), 0);
}

#[test]
fn a_synced_write_voids_older_versions_of_its_sectors_only() {
    let mut inode = Inode::default();
    inode.write(0, &bytes(1, 2048), 0, Fate::Pending);
    inode.sync(true);
    inode.write(1, &bytes(2, 2048), 0, Fate::Pending);
    inode.write(2, &bytes(3, 512), 512, Fate::Durable);
    assert_eq!(&inode.durable.to_vec()[..1024], [bytes(1, 512), bytes(3, 512)].concat());
    assert!(inode.writes[0].counts(0) && !inode.writes[0].counts(1) && inode.writes[0].counts(2));
    inode.write(3, &bytes(4, 2048), 0, Fate::Durable);
    assert!(inode.writes.is_empty(), "nothing of the pending write is left");
}

#[test]
fn a_synced_write_makes_the_length_to_read_it_durable_and_shorter_ones_impossible() {
    let mut inode = Inode::default();
    inode.set_len(0, 100_000);
    inode.set_len(1, 20_000);
    inode.write(2, &bytes(1, 100), 20_480, Fate::Durable);
    assert_eq!(inode.durable.len(), 20_580);
    assert_eq!(inode.lens.iter().map(|len| len.len).collect::<Vec<_>>(), [100_000, 20_580], "20,000 is not");
}

#[test]
fn the_length_cut_before_a_synced_write_stays_possible() {
    let mut inode = Inode::default();
    inode.write(0, &bytes(1, 8192), 0, Fate::Durable);
    inode.set_len(1, 1024);
    inode.write(2, &bytes(2, 512), 1024, Fate::Durable);
    assert_eq!(inode.durable.len(), 8192);
    assert_eq!(inode.lens.iter().map(|len| len.len).collect::<Vec<_>>(), [1536]);
}

#[test]
fn a_later_sync_does_not_redeem_what_a_failed_one_covered() {
    let mut inode = Inode::default();
    inode.write(0, &bytes(1, 1024), 0, Fate::Durable);
    inode.write(1, &bytes(2, 1024), 0, Fate::Pending);
    inode.sync(false);
    inode.sync(true);
    assert_eq!(inode.durable.to_vec(), *bytes(1, 1024));
    assert_eq!(inode.live.to_vec(), *bytes(2, 1024));
    inode.write(2, &bytes(3, 512), 512, Fate::Pending);
    inode.sync(true);
    assert_eq!(inode.durable.to_vec(), [bytes(1, 512), bytes(3, 512)].concat());
    assert_eq!(inode.writes.len(), 1, "the first sector's new version may still survive");
    inode.write(3, &bytes(4, 512), 0, Fate::Pending);
    inode.sync(true);
    assert!(inode.writes.is_empty() && inode.lens.is_empty());
    assert_eq!(inode.durable.to_vec(), [bytes(4, 512), bytes(3, 512)].concat());
}

#[test]
fn the_length_that_fresh_bytes_need_is_synced_with_them() {
    let mut inode = Inode::default();
    inode.write(0, &bytes(1, 4096), 0, Fate::Pending);
    inode.sync(false);
    inode.write(1, &bytes(2, 512), 512, Fate::Pending);
    inode.sync(true);
    assert_eq!(inode.durable.to_vec(), [bytes(0, 512), bytes(2, 512)].concat());
    assert_eq!(inode.lens.len(), 1, "the whole length may survive too");
}

#[test]
fn what_a_synced_entry_needs_is_durable_with_it() {
    let place = |name: &str| (ROOT, name.into());
    let away = (7, "f".into());
    let file = |ino| Entry { ino, directory: false };
    let mut names = Names::default();
    names.change(0, &Change::Create { at: place("d"), entry: Entry { ino: 7, directory: true } });
    names.change(1, &Change::Create { at: place("f"), entry: file(8) });
    names.sync(ROOT, true);
    names.change(2, &Change::Rename { from: place("f"), to: away.clone(), ino: 8 });
    names.change(3, &Change::Create { at: place("g"), entry: file(9) });
    names.sync(ROOT, true);
    assert_eq!(names.durable.get(&place("f")), Some(file(8)), "the other directory was not synced");
    assert_eq!(names.durable.get(&place("g")), Some(file(9)));
    names.change(4, &Change::Create { at: place("f"), entry: file(10) });
    names.sync(ROOT, true);
    assert_eq!(names.durable.get(&place("f")), Some(file(10)));
    assert_eq!(names.durable.get(&away), Some(file(8)), "else the new f could not be there");
    assert!(names.pending.is_empty());
}

#[test]
fn a_failed_directory_sync_leaves_its_changes_in_doubt() {
    let at = (ROOT, "f".into());
    let mut names = Names::default();
    names.change(0, &Change::Create { at: at.clone(), entry: Entry { ino: 8, directory: false } });
    names.sync(ROOT, false);
    names.sync(ROOT, true);
    assert_eq!(names.durable.get(&at), None);
    assert_eq!(names.pending.len(), 1);
    names.change(1, &Change::Remove { at: at.clone(), ino: 8 });
    names.sync(ROOT, true);
    assert!(names.pending.is_empty(), "settled by a later change of the same name");
    assert_eq!(names.durable.get(&at), None);
}
