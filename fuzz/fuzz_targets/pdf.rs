#![no_main]

libfuzzer_sys::fuzz_target!(
    init: fuzz::expect_panics_of_pdf_parsers(),
    |bytes: &[u8]| sync_core::read::fuzzing::pdf(bytes)
);
