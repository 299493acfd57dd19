//! See `pagebox_fuzz::pages_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagebox_fuzz::pages_file(data));
