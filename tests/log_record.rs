//! What a change costs in the log.

#![cfg(feature = "btree")]

use pagebox::{Durability, Store};

/// The log bytes of one insert of a 24-byte key and a 150-byte value that splits nothing: at most 32 bytes more.
#[test]
fn an_insert_logs_its_key_its_value_and_at_most_32_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::options().durability(Durability::Manual).open(dir.path()).expect("a store");
    let tree = store.tree("t").expect("a tree");
    let key = |n: u64| {
        let mut key = [n as u8; 24];
        key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        key
    };
    let (mut sizes, mut before) = (Vec::new(), store.stats().end_lsn);
    for n in 0..2000 {
        tree.insert(key(n), [n as u8; 150]).expect("insert");
        let after = store.stats().end_lsn;
        sizes.push(after.get() - before.get());
        before = after;
    }
    sizes.sort_unstable();
    println!("log bytes of an insert: least {}, median {}, most {}", sizes[0], sizes[1000], sizes[1999]);
    assert!(sizes[0] >= 24 + 150, "the record does not hold key and value: {} bytes", sizes[0]);
    // Some of these inserts split a page; far from half of them.
    assert!(sizes[1900] <= 206, "{} bytes", sizes[1900]);
}
