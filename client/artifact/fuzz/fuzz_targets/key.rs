#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rota_artifact_fuzz::targets::key(bytes));
