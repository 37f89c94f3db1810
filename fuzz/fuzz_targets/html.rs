#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| sync_core::read::fuzzing::html(text));
