#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sync_core::read::fuzzing::xml(bytes));
