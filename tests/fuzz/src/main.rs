//! The program that libFuzzer runs. It runs the target in `D8_FUZZ_TARGET`.
#![no_main]
// The macro exports a symbol that libFuzzer calls, which counts as unsafe code.
#![allow(unsafe_code)]

use std::sync::LazyLock;

static TARGET: LazyLock<d8_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("D8_FUZZ_TARGET").unwrap_or_default();
    d8_fuzz::target(&name).unwrap_or_else(|| panic!("D8_FUZZ_TARGET is `{name}`, which is not a target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
