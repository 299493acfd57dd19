//! See `pagebox_fuzz::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pagebox_fuzz::log(data));
