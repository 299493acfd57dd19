//! See `pagebox_fuzz::copies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagebox_fuzz::copies(data));
