//! What the fuzz targets do with bytes: whatever they are, the answer is a value or a typed error, never a panic, a hang
//! or an allocation that a length field asked for.
//!
//! ```text
//! cargo +nightly fuzz run log
//! ```

mod bytes;
#[path = "../../examples/kvstore/lines.rs"]
mod kvstore_lines;

pub use bytes::{copies, log, page, pages_file, superblock};

/// The line form: what parses is written back to a line that parses to the same record.
pub fn lines(data: &[u8]) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for line in data.split(|b| *b == b'\n') {
        if kvstore_lines::parse(line, &mut key, &mut value).is_err() {
            continue;
        }
        let mut out = Vec::new();
        kvstore_lines::format(&key, &value, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        let (mut k, mut v) = (Vec::new(), Vec::new());
        assert_eq!(kvstore_lines::parse(&out, &mut k, &mut v), Ok(()));
        assert_eq!((k, v), (key.clone(), value.clone()));
    }
}
