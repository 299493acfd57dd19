//! The smallest legal budget, found by asking: a budget below the floor is `InvalidOption`.

use pagebox::{Error, Result, Store, StoreOptions};
use std::path::Path;

/// The smallest budget, in bytes, with which `open` succeeds: a search that opens about twenty stores.
pub fn smallest(mut open: impl FnMut(usize) -> Result<Store>) -> usize {
    let mut legal = |bytes: usize| match open(bytes) {
        Ok(store) => {
            drop(store);
            true
        }
        Err(Error::InvalidOption { .. }) => false,
        Err(other) => panic!("opening with a budget of {bytes} bytes: {other}"),
    };
    let mut high = 64 << 10;
    while !legal(high) {
        high *= 2;
        assert!(high <= 1 << 30, "no budget up to 1 GiB is enough");
    }
    let mut low = high / 2;
    while high - low > 4096 {
        let middle = low + (high - low) / 2;
        if legal(middle) { high = middle } else { low = middle }
    }
    high
}

/// The smallest budget of a store in a directory that is made for the search and removed after it.
pub fn smallest_on_files(options: &StoreOptions) -> usize {
    let dir = tempfile::tempdir().expect("a directory for the search");
    smallest_in(dir.path(), options)
}

/// The smallest budget of a store in `dir`.
pub fn smallest_in(dir: &Path, options: &StoreOptions) -> usize {
    smallest(|bytes| options.clone().memory(bytes).open(dir.join("floor")))
}
