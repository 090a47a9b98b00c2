//! CNI calls of every kind: no panic, no hang. The harness is the tests'.
#![no_main]

#[path = "../../tests/cni/harness.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::serve(input));
