//! See `pagebox_fuzz::page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagebox_fuzz::page(data));
