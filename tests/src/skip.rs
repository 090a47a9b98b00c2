//! Tests that this machine cannot run.
//!
//! A skip is a line of the file `$NETMODE_SKIPS`, which `make test` prints and counts. With `STRICT=1` (CI) a skip is a
//! failure, unless it is the kernel that lacks the feature.

use std::io::Write;

/// Ends the test that calls it, as one that this machine cannot run, if the condition does not hold.
///
/// `need!(kernel: condition, "what the kernel lacks")` is a skip even in CI; `need!(condition, "what is missing")` is a
/// failure there.
#[macro_export]
macro_rules! need {
    (kernel: $condition:expr, $lack:expr) => {
        if !$condition {
            $crate::skip::note(module_path!(), $lack);
            return;
        }
    };
    ($condition:expr, $lack:expr) => {
        if !$condition {
            assert!(std::env::var_os("STRICT").is_none_or(|v| v != "1"), "cannot run here: {}", $lack);
            $crate::skip::note(module_path!(), $lack);
            return;
        }
    };
}

/// Adds the line of a skipped test.
pub fn note(module: &str, lack: &str) {
    let thread = std::thread::current();
    let line = format!("{module}::{}: {lack}\n", thread.name().unwrap_or("?"));
    eprint!("skipped: {line}");
    let Some(path) = std::env::var_os("NETMODE_SKIPS") else { return };
    let file = std::fs::File::options().create(true).append(true).open(path);
    // One write: lines of tests that run beside this one do not mix.
    if let Err(e) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("skip not noted: {e}");
    }
}

/// Whether the kernel has a protocol (`/proc/net/protocols`).
pub fn kernel_has_protocol(name: &str) -> bool {
    let list = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().next() == Some(name))
}

/// The running kernel's version: major, minor.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
