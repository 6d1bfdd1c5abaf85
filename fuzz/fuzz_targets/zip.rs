//! See `tests/it/fuzz/mod.rs`.
#![no_main]

#[path = "../../tests/it/fuzz/mod.rs"]
mod fuzz;

libfuzzer_sys::fuzz_target!(
    init: fuzz::hand_out(fuzz::named("zip")),
    |bytes: &[u8]| (fuzz::named("zip").check)(bytes)
);
