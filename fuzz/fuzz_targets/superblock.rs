//! See `pagebox_fuzz::superblock`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagebox_fuzz::superblock(data));
