//! Kernel variables below `/proc/sys`, of the namespace that the calling thread is in.

use crate::wire::Refused;
use nix::errno::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

/// Only network variables follow the thread's namespace; anything else would be the machine's.
fn path(key: &str) -> Result<PathBuf, Refused> {
    let plain = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain || !key.starts_with("net/") {
        return Err(Refused::new(Errno::EINVAL, format!("{key:?} is not a network variable")));
    }
    Ok(PathBuf::from("/proc/sys").join(key))
}

/// The value without the newline behind it.
pub(crate) fn read(key: &str) -> Result<String, Refused> {
    let mut text = String::new();
    File::open(path(key)?)?.read_to_string(&mut text)?;
    Ok(text.trim_end().to_owned())
}

/// One write, as the kernel wants it.
pub(crate) fn write(key: &str, value: &str) -> Result<(), Refused> {
    Ok(File::options().write(true).open(path(key)?)?.write_all(value.as_bytes())?)
}

/// Tabs and spaces are the same between numbers (`ip_local_port_range` is written with a space and read with a tab).
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// Writes a value and returns the one that was there; `None` if it was that already.
pub(crate) fn exchange(key: &str, value: &str) -> Result<Option<String>, Refused> {
    let previous = read(key)?;
    if same(&previous, value) {
        return Ok(None);
    }
    write(key, value)?;
    Ok(Some(previous))
}

/// Writes `previous` if the value is still `ours`: what another has changed meanwhile is his.
pub(crate) fn restore(key: &str, ours: &str, previous: &str) -> Result<(), Refused> {
    if same(&read(key)?, ours) { write(key, previous) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_variables_have_a_path() {
        for bad in ["kernel/core_pattern", "net/../kernel/x", "/net/x", "net//x", "net/"] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert!(path("net/ipv4/conf/nm0.1/forwarding").is_ok());
    }
}
