//! Packets of every kind: no panic, no hang, no reply that is none. The harness is the tests'.
#![no_main]

#[path = "../../tests/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::serve(input));
