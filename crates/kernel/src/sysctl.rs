//! Kernel variables below `/proc/sys/net`.

use crate::wire::Refused;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// Longest value that is read; the kernel's own limit for strings is a page.
const LONGEST: usize = 4096;

/// The network variables of one namespace, to be used only while the thread stands in it.
///
/// The way to them is looked up once.
pub(crate) struct Variables(OwnedFd);

impl Variables {
    /// Of the namespace that the calling thread stands in, by an instance of procfs.
    pub(crate) fn open(proc: &OwnedFd) -> Result<Self, Refused> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(openat(proc, "sys/net", flags, Mode::empty())?))
    }

    fn file(&self, key: &str, mode: OFlag) -> Result<File, Refused> {
        let path = below(key)?;
        Ok(openat(&self.0, path, mode | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)?)
    }

    /// The value without the newline behind it.
    pub(crate) fn read(&self, key: &str) -> Result<String, Refused> {
        value(&self.file(key, OFlag::O_RDONLY)?)
    }

    /// One write, as the kernel wants it.
    pub(crate) fn write(&self, key: &str, value: &str) -> Result<(), Refused> {
        put(&self.file(key, OFlag::O_WRONLY)?, value)
    }

    /// Writes a value and returns the one that was there; `None` if it was that already.
    pub(crate) fn exchange(&self, key: &str, new: &str) -> Result<Option<String>, Refused> {
        let file = self.file(key, OFlag::O_RDWR)?;
        let previous = value(&file)?;
        if same(&previous, new) {
            return Ok(None);
        }
        put(&file, new)?;
        Ok(Some(previous))
    }

    /// Writes `previous` if the value is still `ours`: what another has changed meanwhile is his.
    pub(crate) fn restore(&self, key: &str, ours: &str, previous: &str) -> Result<(), Refused> {
        let file = self.file(key, OFlag::O_RDWR)?;
        if same(&value(&file)?, ours) { put(&file, previous) } else { Ok(()) }
    }
}

/// Only network variables follow the thread's namespace; anything else would be the machine's.
fn below(key: &str) -> Result<&str, Refused> {
    let plain = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    let path = key.strip_prefix("net/").filter(|_| plain);
    path.ok_or_else(|| Refused::new(Errno::EINVAL, format!("{key:?} is not a network variable")))
}

fn value(file: &File) -> Result<String, Refused> {
    let mut bytes = [0; LONGEST];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned())
}

/// At the beginning, whatever was read before: the kernel refuses writes elsewhere (`sysctl_writes_strict`).
fn put(file: &File, value: &str) -> Result<(), Refused> {
    Ok(file.write_all_at(value.as_bytes(), 0)?)
}

/// Tabs and spaces are the same between numbers (`ip_local_port_range` is written with a space and read with a tab).
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_variables_have_a_path() {
        for bad in ["kernel/core_pattern", "net/../kernel/x", "/net/x", "net//x", "net/", "net"] {
            assert!(below(bad).is_err(), "{bad}");
        }
        assert!(below("net/ipv4/conf/nm0.1/forwarding").is_ok());
    }
}
