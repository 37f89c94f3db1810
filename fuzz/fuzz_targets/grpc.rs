#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scheduler_svc::grpc::fuzzing::message(bytes));
