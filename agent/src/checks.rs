//! Checks of the machine that need no agent: `netmode doctor` does them when the agent is dead, and the agent
//! does them with its own. They only read.

use crate::config::Config;
use netmode_engine::store::Kind;
use netmode_kernel::features::Feature;
use netmode_model::api::{Finding, Level};
use nix::sys::statvfs::statvfs;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The oldest kernel that netmode runs on.
const FLOOR: (u32, u32) = (5, 15);

/// Free space below which a file system is nearly full: an unpacked image, and the records beside it.
const LOW: u64 = 512 << 20;

/// Free space below which no record can be relied upon to be written.
const NONE: u64 = 4 << 20;

/// A line of the doctor.
pub fn finding(level: Level, object: &str, message: impl Into<String>, fix: Option<&str>) -> Finding {
    Finding { level, object: object.into(), message: message.into(), fix: fix.map(Into::into) }
}

/// The kernel's version.
pub fn kernel() -> Option<Finding> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next()?, numbers.next()?);
    let text = format!("Linux {release}; {}.{} or newer is needed", FLOOR.0, FLOOR.1);
    Some(match version >= FLOOR {
        true => finding(Level::Ok, "kernel", text, None),
        false => finding(Level::Fail, "kernel", text, Some("apt-get upgrade")),
    })
}

/// A feature of the kernel that was tried.
pub fn feature(feature: Feature) -> Finding {
    let object = format!("kernel {}", feature.name);
    match feature.missing {
        None => finding(Level::Ok, &object, "there", None),
        Some(why) => finding(Level::Warn, &object, format!("missing ({why}); instead: {}", feature.fallback), None),
    }
}

/// Whether packets are forwarded at all.
pub fn forwarding() -> Finding {
    let object = "sysctl net.ipv4.ip_forward";
    match std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward") {
        Ok(text) if text.trim() == "1" => finding(Level::Ok, object, "1", None),
        _ => finding(
            Level::Fail,
            object,
            "is off: containers reach nothing beyond the bridge",
            Some("sysctl -w net.ipv4.ip_forward=1"),
        ),
    }
}

/// Whether the configuration could be read now; the agent may have started with another one.
pub fn configuration(path: &Path) -> Finding {
    match Config::load(path) {
        Ok(_) if path.exists() => finding(Level::Ok, "configuration", path.display().to_string(), None),
        Ok(_) => finding(Level::Ok, "configuration", format!("{} does not exist: all defaults", path.display()), None),
        Err(error) => finding(Level::Fail, "configuration", error.to_string(), Some("netmode config check")),
    }
}

/// Free space and free inodes below a directory that the agent writes to.
pub fn disk(path: &Path) -> Option<Finding> {
    let object = format!("disk {}", path.display());
    let seen = statvfs(path).ok()?;
    let free = seen.blocks_available() as u64 * seen.fragment_size() as u64;
    // A file system without a table of inodes says 0 of 0.
    let inodes = (seen.files() > 0).then(|| seen.files_available() as u64);
    let text = format!("{} MiB free", free >> 20);
    let fix = "netmode ps -a";
    Some(match (free, inodes) {
        (_, Some(0)) => finding(Level::Fail, &object, "no inode is free: no record can be written", Some(fix)),
        (0..NONE, _) => finding(Level::Fail, &object, format!("{text}: no record can be written"), Some(fix)),
        (NONE..LOW, _) => finding(Level::Warn, &object, text, Some(fix)),
        _ => finding(Level::Ok, &object, text, None),
    })
}

/// Whether the records can be read, and which were set aside.
pub fn records(run_dir: &Path, state_dir: &Path) -> Vec<Finding> {
    Kind::ALL.into_iter().filter_map(|kind| records_of(&kind.within(run_dir, state_dir))).collect()
}

fn records_of(dir: &Path) -> Option<Finding> {
    let object = format!("records {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // Before the first start there are none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(finding(Level::Warn, &object, error.to_string(), Some("sudo netmode doctor"))),
    };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let of = |extension: &'static str| files.iter().filter(move |f| f.extension().is_some_and(|e| e == extension));
    let torn = |f: &&PathBuf| std::fs::read(f).is_ok_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_err());
    if let Some(bad) = of("json").find(torn) {
        let text = format!("{} is no JSON; the agent sets it aside at its next start", bad.display());
        return Some(finding(Level::Fail, &object, text, Some("systemctl restart netmode")));
    }
    Some(match of("torn").next() {
        Some(aside) => {
            let text = format!("{} could not be read and was set aside", aside.display());
            finding(Level::Warn, &object, text, Some(&format!("rm {}", aside.display())))
        }
        None => finding(Level::Ok, &object, format!("{} readable", of("json").count()), None),
    })
}

/// Whether the group of the socket exists.
pub fn group(name: &str) -> Finding {
    let object = format!("group {name}");
    match crate::group::gid(name) {
        Some(_) => finding(Level::Ok, &object, "exists", None),
        None => {
            let text = "does not exist: the socket is for root alone";
            finding(Level::Warn, &object, text, Some(&format!("groupadd --system {name}")))
        }
    }
}

/// Whether the seccomp profile is there: without it only unconfined containers can be made.
pub fn seccomp(path: &Path) -> Finding {
    let text = path.display().to_string();
    match path.is_file() {
        true => finding(Level::Ok, "seccomp profile", text, None),
        false => finding(
            Level::Fail,
            "seccomp profile",
            format!("{text} is missing: no container can be made without --security-opt seccomp=unconfined"),
            Some("apt-get install golang-github-containers-common"),
        ),
    }
}

/// Programs that were looked for: the first `needed` of them are those without which nothing runs.
pub fn programs<E: std::fmt::Display>(found: Vec<(String, Result<PathBuf, E>)>, needed: usize) -> Vec<Finding> {
    let row = |(n, (program, found)): (usize, (String, Result<PathBuf, E>))| {
        let object = format!("program {program}");
        let level = if n < needed { Level::Fail } else { Level::Warn };
        match found {
            Ok(path) => finding(Level::Ok, &object, path.display().to_string(), None),
            Err(missing) => {
                finding(level, &object, missing.to_string(), Some("apt-get install runc conmon skopeo umoci"))
            }
        }
    };
    found.into_iter().enumerate().map(row).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_and_one_that_was_set_aside_are_named() {
        let dir = std::env::temp_dir().join(format!("netmode-checks-{}", std::process::id()));
        let tasks = dir.join("state/tasks");
        std::fs::create_dir_all(&tasks).unwrap();
        let look = || records(&dir.join("run"), &dir.join("state"));
        std::fs::write(tasks.join("a.json"), "{}").unwrap();
        assert_eq!(
            look().iter().map(|f| (f.level, f.message.as_str())).collect::<Vec<_>>(),
            [(Level::Ok, "1 readable")]
        );
        std::fs::write(tasks.join("b.torn"), "{").unwrap();
        assert!(look()[0].level == Level::Warn && look()[0].message.contains("b.torn"), "{:?}", look());
        std::fs::write(tasks.join("c.json"), "{\"v\":").unwrap();
        assert!(look()[0].level == Level::Fail && look()[0].message.contains("c.json"), "{:?}", look());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_configuration_that_cannot_be_read_is_a_failure_and_a_missing_one_is_none() {
        let missing = configuration(Path::new("/nonexistent/netmode.toml"));
        assert_eq!((missing.level, missing.message.contains("all defaults")), (Level::Ok, true));
        assert_eq!(group("no-such-group-here").level, Level::Warn);
        assert_eq!(disk(Path::new("/nonexistent")), None);
    }
}
