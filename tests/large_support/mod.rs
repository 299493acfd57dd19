//! What tests of large values share.

use pagebox::{Durability, Store, StoreOptions, Tree};
use std::ops::ControlFlow;

pub fn options(page_size: usize) -> StoreOptions {
    Store::options().page_size(page_size).memory(8 << 20).durability(Durability::Manual)
}

/// A value that says which it is and where one is in it.
pub fn value(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    for i in 0..len.div_ceil(8) as u64 {
        let mixed = (seed << 32 ^ i).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bytes.extend_from_slice(&(mixed ^ mixed >> 29).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub fn all_ways(tree: &Tree, key: &[u8], expected: &[u8]) {
    assert!(tree.get(key).unwrap().as_deref() == Some(expected), "get");
    let mut out = vec![1, 2, 3];
    assert!(tree.get_into(key, &mut out).unwrap() && out == expected, "get_into");
    assert_eq!(tree.get_with(key, |v| v == expected).unwrap(), Some(true), "get_with");
    assert!(tree.contains_key(key).unwrap());
    let mut seen = 0;
    tree.get_many(&[key], |_, v| seen += usize::from(v == Some(expected))).unwrap();
    assert_eq!(seen, 1, "get_many");
    let mut walks = 0;
    let f = |k: &[u8], v: &[u8]| {
        assert!(k == key && v == expected);
        walks += 1;
        ControlFlow::Continue(())
    };
    tree.scan(key..=key, f).unwrap();
    tree.scan_rev(key..=key, |k, v| {
        assert!(k == key && v == expected);
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(walks, 1, "scan");
    let pairs: Vec<_> = tree.range(key..=key).chain(tree.prefix(key).rev()).collect::<Result<_, _>>().unwrap();
    assert!(pairs.iter().all(|(k, v)| k == key && v == expected) && !pairs.is_empty(), "range");
}
