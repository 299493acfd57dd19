//! Making room ends (B4). A batch that needed room in two neighbours, at whose border a record of nearly half a page lies,
//! passed that record from one to the other for ever: each shift made room for one of its keys and took it from another.

use pagebox::{Batch, Durability, Store};
use std::sync::mpsc;
use std::time::Duration;

fn key(i: usize) -> String {
    format!("k{i:02}")
}

#[test]
fn a_batch_into_two_full_neighbours_ends() {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let dir = tempfile::tempdir().unwrap();
        let options = Store::options().memory(4 << 20).page_size(16 << 10).durability(Durability::Manual);
        let store = options.open(dir.path()).unwrap();
        let tree = store.tree("t").unwrap();
        // A full leaf and one beside it, then room for the large record between them in either, but not in both.
        for i in 0..24 {
            tree.insert(key(i), [1u8; 1000]).unwrap();
        }
        for i in 9..16 {
            tree.remove(key(i)).unwrap();
        }
        tree.insert(key(12), [2u8; 7000]).unwrap();
        let written = store.stats().end_lsn.get();
        let mut batch = Batch::new();
        batch.insert(&tree, "k01a", [3u8; 1400]);
        batch.insert(&tree, "k17a", [4u8; 1400]);
        store.apply(&batch).unwrap();
        store.check().unwrap();
        let values: Vec<usize> = tree.iter().map(|pair| pair.unwrap().1.len()).collect();
        assert_eq!(values.iter().sum::<usize>(), 17 * 1000 + 7000 + 2 * 1400);
        done.send(store.stats().end_lsn.get() - written).unwrap();
    });
    let logged = ended.recv_timeout(Duration::from_secs(60)).expect("the batch ends, and nothing fails");
    assert!(logged < 100_000, "{logged} bytes of log");
}
