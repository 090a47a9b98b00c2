//! What a container uses of the machine: its control group, read (cgroups(7)).

use crate::containers::Containers;
use netmode_model::Id;
use std::fs;
use std::path::{Path, PathBuf};

/// What a container has used, and what it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time, in nanoseconds.
    pub cpu: u64,
    /// Of that in its own code, in nanoseconds.
    pub cpu_user: u64,
    /// Of that in the kernel, in nanoseconds.
    pub cpu_system: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Most bytes of memory; the machine's where there is no limit.
    pub memory_limit: u64,
    /// Bytes of it that are files' and could be given back (`inactive_file`).
    pub memory_cache: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from block devices.
    pub read: u64,
    /// Bytes written to block devices.
    pub written: u64,
}

const ROOT: &str = "/sys/fs/cgroup";

/// Nanoseconds of a clock tick of `cpuacct.stat` (`USER_HZ` is 100 on every architecture of today).
const TICK: u64 = 10_000_000;

impl Containers {
    /// What a container uses; `None` if it does not run.
    pub fn usage(&self, id: Id) -> Option<Usage> {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", self.pid(id)?)).ok()?;
        Some(match unified(&text) {
            Some(group) => of_unified(&group),
            None => of_hierarchies(&text),
        })
    }
}

/// The group of a process where version 2 is all that there is.
fn unified(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let only = text.lines().count() == 1;
    only.then(|| Path::new(ROOT).join(path))
}

/// The group of a process in a hierarchy of version 1.
fn of_controller(text: &str, controller: &str) -> Option<PathBuf> {
    let fields = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(":/"));
    let (named, path) = fields.into_iter().find(|(names, _)| names.split(',').any(|name| name == controller))?;
    // Some mount the pair under its joint name, some each half.
    let mounted = [controller, named].map(|name| Path::new(ROOT).join(name));
    mounted.into_iter().map(|mount| mount.join(path)).find(|group| group.exists())
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The value behind a key of a flat file.
fn keyed(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
    found.unwrap_or_default()
}

fn of_unified(group: &Path) -> Usage {
    let micros = |key| keyed(&group.join("cpu.stat"), key) * 1000;
    let io = fs::read_to_string(group.join("io.stat")).unwrap_or_default();
    let bytes = |key: &str| io.split_whitespace().filter_map(|w| w.strip_prefix(key)?.parse::<u64>().ok()).sum();
    Usage {
        cpu: micros("usage_usec "),
        cpu_user: micros("user_usec "),
        cpu_system: micros("system_usec "),
        memory: number(&group.join("memory.current")).unwrap_or_default(),
        memory_limit: number(&group.join("memory.max")).unwrap_or_else(memory_of_machine),
        memory_cache: keyed(&group.join("memory.stat"), "inactive_file "),
        pids: number(&group.join("pids.current")).unwrap_or_default(),
        read: bytes("rbytes="),
        written: bytes("wbytes="),
    }
}

fn of_hierarchies(text: &str) -> Usage {
    let file = |controller: &str, name: &str| of_controller(text, controller).map(|group| group.join(name));
    let value = |controller, name| file(controller, name).and_then(|file| number(&file)).unwrap_or_default();
    let key = |controller, name, key| file(controller, name).map(|file| keyed(&file, key)).unwrap_or_default();
    let served = file("blkio", "blkio.throttle.io_service_bytes_recursive");
    let served = served.and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let bytes = |kind: &str| {
        let of_kind = served.lines().filter_map(|line| line.split_once(kind));
        of_kind.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
    };
    let limit = value("memory", "memory.limit_in_bytes");
    Usage {
        cpu: value("cpuacct", "cpuacct.usage"),
        cpu_user: key("cpuacct", "cpuacct.stat", "user ") * TICK,
        cpu_system: key("cpuacct", "cpuacct.stat", "system ") * TICK,
        memory: value("memory", "memory.usage_in_bytes"),
        // No limit is the greatest number of whole pages.
        memory_limit: memory_of_machine().min(if limit == 0 { u64::MAX } else { limit }),
        memory_cache: key("memory", "memory.stat", "total_inactive_file "),
        pids: value("pids", "pids.current"),
        read: bytes(" Read "),
        written: bytes(" Write "),
    }
}

fn memory_of_machine() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_stands_behind_its_controller() {
        let old = "12:memory:/netmode/a\n4:cpu,cpuacct:/netmode/a\n0::/x\n";
        assert_eq!(unified(old), None);
        assert_eq!(
            unified("0::/system.slice/netmode-a.scope\n"),
            Some(Path::new(ROOT).join("system.slice/netmode-a.scope"))
        );
        assert_eq!(of_controller(old, "pids"), None);
    }
}
