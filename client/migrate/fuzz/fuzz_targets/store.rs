#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rota_migrate_fuzz::targets::store(bytes));
