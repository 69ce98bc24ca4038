//! The program that libFuzzer drives: feeds the target named by `D8_FUZZ_TARGET`.
#![no_main]
// The macro exports the symbol that libFuzzer calls.
#![allow(unsafe_code)]

use std::sync::LazyLock;

static TARGET: LazyLock<d8_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("D8_FUZZ_TARGET").unwrap_or_default();
    d8_fuzz::target(&name).unwrap_or_else(|| panic!("D8_FUZZ_TARGET is `{name}`, which is no target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
