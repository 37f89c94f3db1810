#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| sync_core::read::fuzzing::dates_and_amounts(text));
