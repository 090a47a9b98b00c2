//! The container side of a request, checked: strings become types here.

use crate::capability::{self, BadCapability};
use crate::ulimit::{self, BadUlimit};
use netmode_model::Code;
use netmode_model::api::ContainerSpec;
use oci_spec::runtime::{Capability, PosixRlimit};
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// Least memory that a container gets, in bytes (Docker's: runc itself needs it to start).
pub(crate) const LEAST_MEMORY: i64 = 6 << 20;

/// Weights of a control group (kernel, `kernel/sched/sched.h`: MIN_SHARES, MAX_SHARES).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Options that a tmpfs may be mounted with, without their values (tmpfs(5), mount(8)).
const TMPFS_OPTIONS: &[&str] = &[
    "rw",
    "ro",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "relatime",
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
];

/// A request that no container can be made of.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadSpec {
    /// Neither an image nor a root directory.
    #[error("nothing to run: name an image, or a root directory with --rootfs")]
    NoRoot,
    /// Both.
    #[error("the image {0:?} and --rootfs exclude each other; leave one out")]
    TwoRoots(String),
    /// A root directory without a command.
    #[error("--rootfs {0:?} has no command of its own; name one after it")]
    NoCommand(String),
    /// An image without a command.
    #[error("the image {0:?} names no command; name one after it")]
    NoImageCommand(String),
    /// Not absolute, or with `..` in it.
    #[error("the {what} {path:?} must be an absolute path without \"..\"; write it in full")]
    Relative {
        /// Which path.
        what: &'static str,
        /// As given.
        path: String,
    },
    /// The root directory, volume source or profile does not exist.
    #[error("the {what} {path:?} does not exist on this host; create it or correct the path")]
    NoSuchPath {
        /// Which path.
        what: &'static str,
        /// As given.
        path: String,
    },
    /// The root directory is something else.
    #[error("the root directory {0:?} is not a directory; name one that holds a file system")]
    NotADirectory(String),
    /// A volume that cannot be read.
    #[error("the volume {0:?} is not SOURCE:TARGET or SOURCE:TARGET:ro; write it like /srv/data:/data:ro")]
    Volume(String),
    /// A tmpfs that cannot be read.
    #[error("the tmpfs {given:?} has the option {option:?}, which is not allowed; leave it out")]
    TmpfsOption {
        /// As given.
        given: String,
        /// The option.
        option: String,
    },
    /// Two mounts in one place, or over the root.
    #[error(
        "nothing can be mounted on {0:?}: it is the root or is used by another volume or tmpfs; choose another target"
    )]
    Target(String),
    /// A variable without a name or value.
    #[error("the environment entry {0:?} is not KEY=VALUE; give it a name and a value")]
    Env(String),
    /// A NUL byte, which no argument can hold.
    #[error("the {0} holds a NUL byte; remove it")]
    Nul(&'static str),
    /// An unknown security option.
    #[error("the security option {0:?} is unknown; choose no-new-privileges, seccomp=unconfined or seccomp=FILE")]
    SecurityOpt(String),
    /// A capability.
    #[error(transparent)]
    Capability(#[from] BadCapability),
    /// A resource limit.
    #[error(transparent)]
    Ulimit(#[from] BadUlimit),
    /// Too little memory.
    #[error("{0} bytes of memory are too few to start a container; give it at least 6 MiB")]
    Memory(i64),
    /// More is kept than it may have.
    #[error("{reservation} bytes cannot be kept for a container that may have {limit}; keep less, or raise its limit")]
    Reservation {
        /// What is to be kept.
        reservation: i64,
        /// What it may have.
        limit: i64,
    },
    /// No such weight.
    #[error("a weight of {0} cannot be given to a container; choose a number from 2 to 262144")]
    Shares(u64),
    /// No such number of CPUs.
    #[error("{0} CPUs cannot be given; choose a number from 0.01 on")]
    Cpus(f64),
    /// The user or group is not in the container's files.
    #[error("the {what} {name:?} is not in the container's {file}; use a number, or one of the names there")]
    UnknownUser {
        /// `user` or `group`.
        what: &'static str,
        /// As given.
        name: String,
        /// Where it was looked up.
        file: &'static str,
    },
    /// Text that names no user.
    #[error("{0:?} is not USER or USER:GROUP; write names or numbers up to 2147483647")]
    User(String),
    /// A kernel variable that is not the container's own.
    #[error(
        "the sysctl {name:?} {why}; those below net. and those of IPC are a container's own, others are set on the host"
    )]
    Sysctl {
        /// The variable.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The seccomp profile cannot be used.
    #[error("the seccomp profile {} cannot be used: {why}; correct it, or use --security-opt seccomp=unconfined", path.display())]
    Seccomp {
        /// The profile.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The default profile is not installed.
    #[error("the seccomp profile {} is missing; install the package \"golang-github-containers-common\", or use --security-opt seccomp=unconfined", .0.display())]
    NoSeccomp(PathBuf),
}

impl BadSpec {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::TwoRoots(_) | Self::Target(_) => Code::Conflict,
            Self::NoSuchPath { .. } | Self::NotADirectory(_) => Code::NoSuchPath,
            Self::NoSeccomp(_) => Code::MissingProgram,
            Self::Ulimit(BadUlimit::AboveHard { .. }) => Code::Limit,
            _ => Code::Invalid,
        }
    }
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootSource {
    /// The host's own, under a temporary overlay.
    Host,
    /// A directory, used as it is.
    Dir(PathBuf),
    /// An image under an overlay that lives as long as the container.
    Image(String),
}

/// A directory or file of the host within the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) read_only: bool,
}

/// A fresh tmpfs within the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tmpfs {
    pub(crate) target: PathBuf,
    pub(crate) options: Vec<String>,
}

/// Which system calls are filtered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SeccompChoice {
    /// The configured profile, made as strict as Docker's.
    Default,
    /// None.
    Unconfined,
    /// A profile of the user's.
    File(PathBuf),
}

/// A request whose every part has been understood.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) root: RootSource,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) tmpfs: Vec<Tmpfs>,
    pub(crate) capabilities: HashSet<Capability>,
    pub(crate) rlimits: Vec<PosixRlimit>,
    pub(crate) seccomp: SeccompChoice,
    pub(crate) no_new_privileges: bool,
    /// CPU time per 100 ms, in µs.
    pub(crate) cpu_quota: Option<i64>,
}

/// What the host allows, read once by the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    /// Bounding set of this process, one bit per capability.
    pub(crate) bounding: u64,
}

impl Allowed {
    /// The limits of this process. What cannot be read allows everything; the kernel has the last word.
    pub(crate) fn here() -> Self {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let bounding = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self { bounding: bounding.unwrap_or(u64::MAX) }
    }
}

/// Checks everything that can be judged without looking at the file system.
pub(crate) fn check(spec: &ContainerSpec, allowed: Allowed) -> Result<Checked, BadSpec> {
    let root = root(spec)?;
    check_text(spec)?;
    let volumes = spec.volumes.iter().map(|v| volume(v)).collect::<Result<Vec<_>, _>>()?;
    let tmpfs = spec.tmpfs.iter().map(|t| parse_tmpfs(t)).collect::<Result<Vec<_>, _>>()?;
    check_targets(volumes.iter().map(|v| &v.target).chain(tmpfs.iter().map(|t| &t.target)))?;
    let capabilities = capability::choose(&spec.cap_add, &spec.cap_drop, spec.privileged, allowed.bounding)?;
    let rlimits = ulimit::parse_all(&spec.ulimits, capability::has(allowed.bounding, "SYS_RESOURCE"))?;
    let (mut seccomp, no_new_privileges) = security(&spec.security_opt)?;
    if spec.privileged && seccomp == SeccompChoice::Default {
        seccomp = SeccompChoice::Unconfined;
    }
    if let Some(bytes) = spec.memory.filter(|b| *b < LEAST_MEMORY) {
        return Err(BadSpec::Memory(bytes));
    }
    if let (Some(reservation), Some(limit)) = (spec.memory_reservation, spec.memory)
        && reservation > limit
    {
        return Err(BadSpec::Reservation { reservation, limit });
    }
    if let Some(shares) = spec.cpu_shares.filter(|s| !SHARES.contains(s)) {
        return Err(BadSpec::Shares(shares));
    }
    let cpu_quota = spec.cpus.map(cpu_quota).transpose()?;
    Ok(Checked { root, volumes, tmpfs, capabilities, rlimits, seccomp, no_new_privileges, cpu_quota })
}

fn root(spec: &ContainerSpec) -> Result<RootSource, BadSpec> {
    match (&spec.image, &spec.rootfs) {
        (None, None) => Err(BadSpec::NoRoot),
        (Some(image), Some(_)) => Err(BadSpec::TwoRoots(image.clone())),
        (Some(image), None) => Ok(RootSource::Image(image.clone())),
        (None, Some(dir)) => {
            let has_command = !spec.command.is_empty() || spec.entrypoint.as_ref().is_some_and(|e| !e.is_empty());
            if !has_command {
                return Err(BadSpec::NoCommand(dir.clone()));
            }
            let path = absolute("root directory", dir)?;
            Ok(if path == Path::new("/") { RootSource::Host } else { RootSource::Dir(path) })
        }
    }
}

/// Environment, working directory and the NUL bytes that no exec takes.
fn check_text(spec: &ContainerSpec) -> Result<(), BadSpec> {
    check_env(&spec.env)?;
    if let Some(dir) = &spec.workdir {
        absolute("working directory", dir)?;
    }
    let arguments = spec.command.iter().chain(spec.entrypoint.iter().flatten());
    if arguments.into_iter().any(|a| a.contains('\0')) {
        return Err(BadSpec::Nul("command"));
    }
    Ok(())
}

/// Every entry must be `KEY=VALUE`.
pub(crate) fn check_env(env: &[String]) -> Result<(), BadSpec> {
    match env.iter().find(|e| e.find('=').is_none_or(|at| at == 0) || e.contains('\0')) {
        Some(bad) => Err(BadSpec::Env(bad.clone())),
        None => Ok(()),
    }
}

/// An absolute path in which every step goes down.
pub(crate) fn absolute(what: &'static str, text: &str) -> Result<PathBuf, BadSpec> {
    let path = Path::new(text);
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain && !text.contains('\0') {
        // Collecting drops "." and doubled or trailing slashes, so that equal places compare equal.
        Ok(path.components().collect())
    } else {
        Err(BadSpec::Relative { what, path: text.into() })
    }
}

fn volume(text: &str) -> Result<Volume, BadSpec> {
    let bad = || BadSpec::Volume(text.into());
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [source, target] | [source, target, "rw"] => (source, target, false),
        [source, target, "ro"] => (source, target, true),
        _ => return Err(bad()),
    };
    if source.is_empty() || target.is_empty() {
        return Err(bad());
    }
    Ok(Volume { source: absolute("volume source", source)?, target: absolute("volume target", target)?, read_only })
}

fn parse_tmpfs(text: &str) -> Result<Tmpfs, BadSpec> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    // Docker's defaults; later options win in mount(2), and an option given twice is given last.
    let mut all: Vec<String> = ["nosuid", "nodev", "noexec"].map(String::from).into();
    for option in options.split(',').filter(|o| !o.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'%');
        if !TMPFS_OPTIONS.contains(&name) || !plain {
            return Err(BadSpec::TmpfsOption { given: text.into(), option: option.into() });
        }
        all.retain(|o| o.strip_prefix("no") != Some(name));
        all.push(option.into());
    }
    Ok(Tmpfs { target: absolute("tmpfs target", target)?, options: all })
}

fn check_targets<'a>(targets: impl Iterator<Item = &'a PathBuf>) -> Result<(), BadSpec> {
    let mut seen = HashSet::new();
    for target in targets {
        if target == Path::new("/") || !seen.insert(target) {
            return Err(BadSpec::Target(target.display().to_string()));
        }
    }
    Ok(())
}

/// The seccomp profile and whether no_new_privs is set: only on request, as setuid programs need it unset.
fn security(options: &[String]) -> Result<(SeccompChoice, bool), BadSpec> {
    let mut chosen = (SeccompChoice::Default, false);
    for option in options {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => chosen.1 = true,
            ("no-new-privileges", "false") => chosen.1 = false,
            ("seccomp", "unconfined") => chosen.0 = SeccompChoice::Unconfined,
            ("seccomp", file) if !file.is_empty() => {
                chosen.0 = SeccompChoice::File(absolute("seccomp profile", file)?);
            }
            _ => return Err(BadSpec::SecurityOpt(option.clone())),
        }
    }
    Ok(chosen)
}

/// Length of the period that CPU time is counted in, in µs (kernel default).
pub(crate) const CPU_PERIOD: u64 = 100_000;

pub(crate) fn cpu_quota(cpus: f64) -> Result<i64, BadSpec> {
    if !(0.01..=100_000.0).contains(&cpus) {
        return Err(BadSpec::Cpus(cpus));
    }
    // At most 10^10, so nothing is cut off.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "bounded above")]
    let quota = (cpus * CPU_PERIOD as f64).round() as i64;
    Ok(quota)
}

/// Checks that the paths of the host are there.
pub(crate) fn check_paths(checked: &Checked) -> Result<(), BadSpec> {
    if let RootSource::Dir(dir) = &checked.root {
        let text = dir.display().to_string();
        match dir.metadata() {
            Err(_) => return Err(BadSpec::NoSuchPath { what: "root directory", path: text }),
            Ok(meta) if !meta.is_dir() => return Err(BadSpec::NotADirectory(text)),
            Ok(_) => {}
        }
    }
    for volume in &checked.volumes {
        if volume.source.metadata().is_err() {
            return Err(BadSpec::NoSuchPath { what: "volume source", path: volume.source.display().to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(edit: impl FnOnce(&mut ContainerSpec)) -> Result<Checked, BadSpec> {
        let mut spec =
            ContainerSpec { rootfs: Some("/srv/root".into()), command: vec!["true".into()], ..Default::default() };
        edit(&mut spec);
        check(&spec, Allowed { bounding: u64::MAX })
    }

    #[test]
    fn the_root_is_an_image_or_a_directory() {
        assert_eq!(run(|_| {}).unwrap().root, RootSource::Dir("/srv/root".into()));
        assert_eq!(run(|s| s.rootfs = Some("//".into())).unwrap().root, RootSource::Host);
        assert_eq!(run(|s| s.rootfs = None).unwrap_err(), BadSpec::NoRoot);
        assert!(matches!(run(|s| s.image = Some("x.tar".into())).unwrap_err(), BadSpec::TwoRoots(_)));
        assert!(matches!(run(|s| s.command.clear()).unwrap_err(), BadSpec::NoCommand(_)));
        for bad in ["relative", "", "/a/../b"] {
            assert!(matches!(run(|s| s.rootfs = Some(bad.into())), Err(BadSpec::Relative { .. })), "{bad}");
        }
    }

    #[test]
    fn volumes_and_tmpfs() {
        let checked = run(|s| {
            s.volumes = vec!["/a:/b".into(), "/c/:/d/:ro".into()];
            s.tmpfs = vec!["/t".into(), "/u:size=64m,exec".into()];
        })
        .unwrap();
        assert_eq!(checked.volumes[1], Volume { source: "/c".into(), target: "/d".into(), read_only: true });
        assert_eq!(checked.tmpfs[0].options, ["nosuid", "nodev", "noexec"]);
        assert_eq!(checked.tmpfs[1].options, ["nosuid", "nodev", "size=64m", "exec"]);
        for bad in ["/a", "/a:", ":/b", "/a:/b:xx", "/a:/b:ro:z"] {
            assert!(matches!(run(|s| s.volumes = vec![bad.into()]), Err(BadSpec::Volume(_))), "{bad}");
        }
        assert!(matches!(run(|s| s.volumes = vec!["name:/b".into()]), Err(BadSpec::Relative { .. })));
        assert!(matches!(run(|s| s.tmpfs = vec!["/t:size=1;rm".into()]), Err(BadSpec::TmpfsOption { .. })));
        let twice = run(|s| s.volumes = vec!["/a:/x".into(), "/b:/x/".into()]).unwrap_err();
        assert_eq!((twice.clone(), twice.code()), (BadSpec::Target("/x".into()), Code::Conflict));
    }

    #[test]
    fn security_options() {
        assert!(!run(|_| {}).unwrap().no_new_privileges);
        assert!(run(|s| s.security_opt = vec!["no-new-privileges".into()]).unwrap().no_new_privileges);
        let file = run(|s| s.security_opt = vec!["seccomp=/p.json".into()]).unwrap();
        assert_eq!(file.seccomp, SeccompChoice::File("/p.json".into()));
        for bad in ["", "seccomp", "seccomp=", "apparmor=x", "no-new-privileges=maybe"] {
            assert!(matches!(run(|s| s.security_opt = vec![bad.into()]), Err(BadSpec::SecurityOpt(_))), "{bad}");
        }
        assert_eq!(run(|s| s.privileged = true).unwrap().seccomp, SeccompChoice::Unconfined);
    }

    #[test]
    fn numbers_out_of_range() {
        assert!(matches!(run(|s| s.memory = Some(1024)), Err(BadSpec::Memory(1024))));
        let more = run(|s| (s.memory, s.memory_reservation) = (Some(64 << 20), Some(65 << 20)));
        assert!(matches!(more, Err(BadSpec::Reservation { .. })));
        assert!(matches!(run(|s| s.cpu_shares = Some(1)), Err(BadSpec::Shares(1))));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(run(|s| s.cpus = Some(bad)), Err(BadSpec::Cpus(_))), "{bad}");
        }
        assert_eq!(run(|s| s.cpus = Some(1.5)).unwrap().cpu_quota, Some(150_000));
    }

    #[test]
    fn environment_and_nul_bytes() {
        for bad in ["X", "=1", "A=\0"] {
            assert!(matches!(run(|s| s.env = vec![bad.into()]), Err(BadSpec::Env(_))), "{bad}");
        }
        assert!(matches!(run(|s| s.command.push("\0".into())), Err(BadSpec::Nul(_))));
    }
}
