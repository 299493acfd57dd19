//! See `pagebox_fuzz::lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagebox_fuzz::lines(data));
