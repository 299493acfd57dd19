//! From a state and a seed to a state that a crash may leave: durable images, what survived of the pending writes put
//! over them, a length that was pending or durable, and the entry changes that survived.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::choose::{Chooser, Keep};
use super::image::{CHUNK, Image, SECTOR};
use super::inode::Inode;
use super::names::{Ino, Names, Tree};
use super::rng::Rng;
use super::state::State;

/// What a crash in `state` may leave, chosen by `rng`. Cost: proportional to what is not synced.
pub(super) fn crash(state: &State, rng: Rng, garbage: bool) -> State {
    // A file that no name can lead to after any crash has no say: whether it is still remembered depends on who has it
    // open, which a state computed from the history does not know.
    let mentioned = state.names.mentioned();
    let inodes = || state.inodes.iter().filter(|(ino, _)| mentioned.contains(ino));
    let files: Vec<&Inode> = inodes().map(|(_, inode)| &**inode).collect();
    let mut choose = Chooser::new(rng, &pending(&state.names, &files));
    let mut tree: Tree = state.names.durable.clone();
    for pending in &state.names.pending {
        if choose.entry(pending.seq) {
            tree.apply(&pending.change);
        }
    }
    let named = tree.prune();
    let garbage = garbage && choose.rng.chance(96);
    let mut left = State { next_ino: state.next_ino, ..State::new() };
    for (ino, inode) in inodes().filter(|(ino, _)| named.contains(ino)) {
        let mut image = surviving(*ino, inode, &mut choose);
        if garbage {
            spoil(&mut image, inode, &files, &mut choose.rng);
        }
        left.inodes.insert(*ino, Arc::new(Inode { live: image.clone(), durable: image, ..Inode::default() }));
    }
    name_inodes(&mut left, &tree);
    left.names = Names { live: tree.clone(), durable: tree, pending: Vec::new() };
    left
}

/// The operations that a crash may undo, ascending.
fn pending(names: &Names, files: &[&Inode]) -> Vec<u64> {
    let mut seqs: BTreeSet<u64> = names.pending.iter().map(|pending| pending.seq).collect();
    for inode in files {
        seqs.extend(inode.writes.iter().map(|write| write.seq));
        seqs.extend(inode.lens.iter().map(|len| len.seq));
    }
    seqs.into_iter().collect()
}

/// What is left of one file. Putting what survives in the order of the operations reaches every version of a sector: the
/// last one that survives is the one that is seen.
fn surviving(ino: Ino, inode: &Inode, choose: &mut Chooser) -> Image {
    let mut image = inode.durable.clone();
    image.set_len(choose.length(ino, inode.durable.len(), &inode.lens));
    for write in &inode.writes {
        match choose.write(ino, write.seq, write.sectors()) {
            Keep::All => write.put_all(&mut image),
            Keep::None => {}
            keep => {
                for i in 0..write.sectors() {
                    if keep.sector(i, &mut choose.rng) && write.counts(i) {
                        write.put(i, &mut image);
                    }
                }
            }
        }
    }
    image
}

/// Where the file has grown but no bytes were ever acknowledged, zeros may as well be what the medium held before:
/// anything, old bytes of other files included.
fn spoil(image: &mut Image, inode: &Inode, files: &[&Inode], rng: &mut Rng) {
    let mut at = inode.durable.len().next_multiple_of(SECTOR as u64);
    while at < image.len() {
        let run = rng.pick(&[1, 8, 8, 64]) * SECTOR as u64;
        if rng.chance(128) {
            let mut bytes = vec![0; run.min(image.len() - at) as usize];
            let mut there = bytes.clone();
            image.peek(&mut there, at);
            dirt(&mut bytes, files, rng);
            for (old, new) in there.chunks_mut(SECTOR).zip(bytes.chunks(SECTOR)) {
                if old.iter().all(|byte| *byte == 0) {
                    old.copy_from_slice(new);
                }
            }
            image.overlay(&there, at);
        }
        at += run;
    }
}

fn dirt(bytes: &mut [u8], files: &[&Inode], rng: &mut Rng) {
    match rng.below(3) {
        0 => bytes.fill(0xFF),
        1 => bytes.chunks_mut(8).for_each(|word| word.copy_from_slice(&rng.next().to_le_bytes()[..word.len()])),
        _ => {
            let files: Vec<&&Inode> = files.iter().filter(|inode| inode.durable.len() > 0).collect();
            if let Some(inode) = files.get(rng.below(files.len() as u64) as usize) {
                let chunk = rng.below(inode.durable.len().div_ceil(CHUNK as u64));
                inode.durable.peek(bytes, chunk * CHUNK as u64);
            }
        }
    }
}

/// Tells every file the path that leads to it.
fn name_inodes(state: &mut State, tree: &Tree) {
    let mut todo = vec![(super::names::ROOT, std::path::PathBuf::from("/"))];
    while let Some((dir, path)) = todo.pop() {
        for (name, entry) in tree.list(dir) {
            let path = path.join(name);
            if entry.directory {
                todo.push((entry.ino, path));
            } else {
                state.inode(entry.ino).path = path;
            }
        }
    }
}
