//! From a profile in Docker's format to the filter of an OCI bundle.
//!
//! The profile that Debian ships (containers-common) is Podman's: it allows `mount`, `unshare`, `keyctl` and more to
//! everyone, as a user namespace stands behind it there. netmode's containers run as Docker's do, so what Docker
//! denies is taken out again ([`STRICTER`]).

use crate::capability;
use crate::spec::{BadSpec, SeccompChoice};
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSyscall,
    LinuxSyscallBuilder,
};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::Path;

/// Calls that Docker's default profile allows only with a capability, or never.
const STRICTER: &[(Option<&str>, &[&str])] = &[
    (
        Some("SYS_ADMIN"),
        &[
            "clone",
            "clone3",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "quotactl_fd",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (Some("SYS_BOOT"), &["reboot"]),
    (Some("SYS_NICE"), &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Some("SYS_PTRACE"), &["pidfd_getfd"]),
    (Some("SYSLOG"), &["syslog"]),
    (None, &["keyctl", "add_key", "request_key", "pivot_root"]),
];

/// Every `CLONE_NEW*` flag: clone(2) with one of them needs CAP_SYS_ADMIN.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const AF_NETLINK: u64 = 16;
const AF_VSOCK: u64 = 40;
const NETLINK_AUDIT: u64 = 9;
const NETLINK_NETFILTER: u64 = 12;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Vec<String>,
    name: Option<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The machine that a filter is made for.
#[derive(Debug, Clone, Copy)]
struct Machine {
    /// libseccomp's name.
    seccomp: &'static str,
    /// Go's name, which `arches` uses.
    go: &'static str,
    /// Major and minor number.
    kernel: (u32, u32),
}

impl Machine {
    fn here() -> Self {
        let release = nix::sys::utsname::uname().ok().map(|u| u.release().to_string_lossy().into_owned());
        let kernel = release.as_deref().and_then(kernel_version).unwrap_or((5, 15));
        let (seccomp, go) = match std::env::consts::ARCH {
            "aarch64" => ("SCMP_ARCH_AARCH64", "arm64"),
            "riscv64" => ("SCMP_ARCH_RISCV64", "riscv64"),
            "s390x" => ("SCMP_ARCH_S390X", "s390x"),
            "powerpc64" => ("SCMP_ARCH_PPC64LE", "ppc64le"),
            _ => ("SCMP_ARCH_X86_64", "amd64"),
        };
        Self { seccomp, go, kernel }
    }
}

/// `6.1.0-28-amd64` → (6, 1).
fn kernel_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The filter of a container; `None` for an unconfined one. `default` is the installed profile.
pub(crate) fn filter(
    choice: &SeccompChoice,
    default: &Path,
    capabilities: &HashSet<Capability>,
) -> Result<Option<LinuxSeccomp>, BadSpec> {
    let (path, stricter) = match choice {
        SeccompChoice::Unconfined => return Ok(None),
        SeccompChoice::Default => (default, true),
        SeccompChoice::File(path) => (path.as_path(), false),
    };
    let text = std::fs::read_to_string(path).map_err(|e| match (e.kind(), stricter) {
        (std::io::ErrorKind::NotFound, true) => BadSpec::NoSeccomp(path.into()),
        (std::io::ErrorKind::NotFound, false) => {
            BadSpec::NoSuchPath { what: "seccomp profile", path: path.display().to_string() }
        }
        _ => BadSpec::Seccomp { path: path.into(), why: e.to_string() },
    })?;
    let names = capabilities.iter().map(capability::full_name).collect();
    let made = resolve(&text, stricter, &names, Machine::here());
    made.map(Some).map_err(|why| BadSpec::Seccomp { path: path.into(), why })
}

fn resolve(text: &str, stricter: bool, caps: &HashSet<String>, machine: Machine) -> Result<LinuxSeccomp, String> {
    let mut profile: Profile = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if stricter {
        profile = tighten(profile, caps);
    }
    let errno = profile.default_errno_ret;
    let is_default = |r: &LinuxSyscall| {
        // A rule that says what is done anyway is refused by libseccomp.
        r.action() == profile.default_action && r.errno_ret().or(Some(EPERM)) == errno.or(Some(EPERM))
    };
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.iter().filter(|r| applies(r, caps, machine)) {
        let made = syscall(rule)?;
        if !is_default(&made) {
            syscalls.push(made);
        }
    }
    let mut architectures = profile.architectures;
    if architectures.is_empty() {
        architectures = arches(&profile.arch_map, machine)?;
    }
    let mut filter = LinuxSeccompBuilder::default().default_action(profile.default_action).syscalls(syscalls);
    if let Some(errno) = errno {
        filter = filter.default_errno_ret(errno);
    }
    if !architectures.is_empty() {
        filter = filter.architectures(architectures);
    }
    filter.build().map_err(|e| e.to_string())
}

fn arches(map: &[ArchMap], machine: Machine) -> Result<Vec<Arch>, String> {
    let Some(entry) = map.iter().find(|m| m.architecture == machine.seccomp) else {
        return Ok(Vec::new());
    };
    let names = std::iter::once(&entry.architecture).chain(entry.sub_architectures.iter().flatten());
    names
        .map(|n| serde_json::from_value(serde_json::Value::String(n.clone())).map_err(|e| format!("{n}: {e}")))
        .collect()
}

/// Docker's rule: every condition of `includes` must hold, and none of `excludes`.
fn applies(rule: &Rule, caps: &HashSet<String>, machine: Machine) -> bool {
    let arch = |list: &Option<Vec<String>>| list.as_ref().map(|l| l.iter().any(|a| a == machine.go));
    let new_enough = |min: &String| kernel_version(min).is_none_or(|needed| machine.kernel >= needed);
    let (with, without) = (&rule.includes, &rule.excludes);
    with.caps.iter().flatten().all(|c| caps.contains(c))
        && arch(&with.arches).is_none_or(|here| here || with.arches.as_ref().is_some_and(Vec::is_empty))
        && with.min_kernel.iter().all(new_enough)
        && !without.caps.iter().flatten().any(|c| caps.contains(c))
        && arch(&without.arches) != Some(true)
        && !without.min_kernel.iter().any(new_enough)
}

fn syscall(rule: &Rule) -> Result<LinuxSyscall, String> {
    let names: Vec<String> = rule.name.iter().chain(&rule.names).cloned().collect();
    let mut made = LinuxSyscallBuilder::default().names(names).action(rule.action);
    if let Some(errno) = rule.errno_ret {
        made = made.errno_ret(errno);
    }
    if let Some(args) = rule.args.as_ref().filter(|a| !a.is_empty()) {
        made = made.args(args.clone());
    }
    made.build().map_err(|e| e.to_string())
}

/// Makes Podman's profile as strict as Docker's.
fn tighten(mut profile: Profile, caps: &HashSet<String>) -> Profile {
    let has = |cap: Option<&str>| cap.is_some_and(|c| caps.contains(&format!("CAP_{c}")));
    let allows = |r: &Rule, name| r.action == LinuxSeccompAction::ScmpActAllow && r.names.iter().any(|n| n == name);
    let socket = profile.syscalls.iter().any(|r| allows(r, "socket"));
    let mut denied: HashSet<&str> =
        STRICTER.iter().filter(|(cap, _)| !has(*cap)).flat_map(|(_, names)| names.iter().copied()).collect();
    denied.insert("socket");
    for rule in profile.syscalls.iter_mut().filter(|r| r.action == LinuxSeccompAction::ScmpActAllow) {
        rule.names.retain(|n| !denied.contains(n.as_str()));
    }
    profile.syscalls.retain(|r| !r.names.is_empty() || r.name.is_some());
    let rule = |names: &str, action, errno_ret, args| Rule {
        names: vec![names.into()],
        name: None,
        action,
        errno_ret,
        args,
        includes: Filter::default(),
        excludes: Filter::default(),
    };
    if socket {
        let allowed = sockets(has(Some("AUDIT_WRITE")), has(Some("NET_ADMIN")));
        let allow = |args| rule("socket", LinuxSeccompAction::ScmpActAllow, None, Some(args));
        profile.syscalls.extend(allowed.into_iter().map(allow));
    }
    if !has(Some("SYS_ADMIN")) {
        let index = if std::env::consts::ARCH == "s390x" { 1 } else { 0 };
        let plain = arg(index, CLONE_NAMESPACES, Some(0), "SCMP_CMP_MASKED_EQ").into_iter().collect();
        profile.syscalls.push(rule("clone", LinuxSeccompAction::ScmpActAllow, None, Some(plain)));
        // Its flags lie behind a pointer, so they cannot be looked at; ENOSYS makes libc fall back on clone.
        profile.syscalls.push(rule("clone3", LinuxSeccompAction::ScmpActErrno, Some(ENOSYS), None));
    }
    profile.default_errno_ret = Some(EPERM);
    profile
}

/// What socket(2) may be called with. A socket into the hypervisor is no business of a container's, and whoever may not
/// set the kernel's filters needs no way to their code, where most holes of the last years were. Several conditions on
/// one argument cannot be joined by "and", so what is allowed is named.
fn sockets(audit: bool, netfilter: bool) -> Vec<Vec<LinuxSeccompArg>> {
    let family = |family, op| arg(0, family, None, op);
    let netlink = |protocol, op| [family(AF_NETLINK, "SCMP_CMP_EQ"), arg(2, protocol, None, op)];
    let mut allowed = vec![vec![family(AF_NETLINK, "SCMP_CMP_LT")], vec![family(AF_VSOCK, "SCMP_CMP_GT")]];
    allowed.extend((AF_NETLINK + 1..AF_VSOCK).map(|f| vec![family(f, "SCMP_CMP_EQ")]));
    let protocols = (0..=NETLINK_NETFILTER).filter(|p| match *p {
        NETLINK_AUDIT => audit,
        NETLINK_NETFILTER => netfilter,
        _ => true,
    });
    allowed.extend(protocols.map(|p| netlink(p, "SCMP_CMP_EQ").into()));
    allowed.push(netlink(NETLINK_NETFILTER, "SCMP_CMP_GT").into());
    allowed.into_iter().map(|args| args.into_iter().flatten().collect()).collect()
}

fn arg(index: usize, value: u64, value_two: Option<u64>, op: &str) -> Option<LinuxSeccompArg> {
    let mut object = serde_json::json!({"index": index, "value": value, "op": op});
    if let Some(two) = value_two {
        object["valueTwo"] = two.into();
    }
    serde_json::from_value(object).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read", "mount", "unshare", "clone", "clone3", "keyctl"], "action": "SCMP_ACT_ALLOW", "args": [],
             "includes": {}, "excludes": {}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": null}
        ]}"#;
    const AMD64: Machine = Machine { seccomp: "SCMP_ARCH_X86_64", go: "amd64", kernel: (6, 1) };

    fn rules(stricter: bool, caps: &[&str], machine: Machine) -> Vec<String> {
        let caps = caps.iter().map(|c| (*c).to_owned()).collect();
        let filter = resolve(PROFILE, stricter, &caps, machine).unwrap();
        let show = |r: &LinuxSyscall| {
            let args = r.args().as_ref().map_or(0, Vec::len);
            format!("{} {} {:?} {args}", r.names().join(","), r.action(), r.errno_ret())
        };
        filter.syscalls().iter().flatten().map(show).collect()
    }

    #[test]
    fn conditions_decide_what_remains() {
        let plain = rules(false, &["CAP_SYS_CHROOT"], AMD64);
        assert_eq!(plain[0], "read,mount,unshare,clone,clone3,keyctl SCMP_ACT_ALLOW None 0");
        assert_eq!(
            plain[1..4].join("; "),
            "ptrace SCMP_ACT_ALLOW None 0; arch_prctl SCMP_ACT_ALLOW None 0; chroot SCMP_ACT_ALLOW None 0"
        );
        let old_arm = Machine { seccomp: "SCMP_ARCH_AARCH64", go: "arm64", kernel: (4, 7) };
        let arm = rules(false, &[], old_arm);
        assert!(!arm.iter().any(|r| r.starts_with("ptrace") || r.starts_with("arch_prctl")), "{arm:?}");
        assert_eq!(arm[1], "chroot SCMP_ACT_ERRNO Some(1) 0");
    }

    #[test]
    fn the_default_is_as_strict_as_dockers() {
        let strict = rules(true, &[], AMD64);
        assert_eq!(strict[0], "read SCMP_ACT_ALLOW None 0");
        assert!(strict.contains(&"clone SCMP_ACT_ALLOW None 1".into()), "{strict:?}");
        assert!(strict.contains(&"clone3 SCMP_ACT_ERRNO Some(38) 0".into()));
        // Families but two, and netlink's protocols but two.
        let sockets = |rules: &[String]| {
            ["1", "2"].map(|n| rules.iter().filter(|r| **r == format!("socket SCMP_ACT_ALLOW None {n}")).count())
        };
        assert_eq!(sockets(&strict), [25, 12]);
        assert_eq!(sockets(&rules(true, &["CAP_NET_ADMIN", "CAP_AUDIT_WRITE"], AMD64)), [25, 14]);
        assert!(!strict.contains(&"socket SCMP_ACT_ALLOW None 0".into()));
        // EPERM is what happens anyway now.
        assert!(!strict.iter().any(|r| r.starts_with("chroot")));
        let admin = rules(true, &["CAP_SYS_ADMIN"], AMD64);
        assert_eq!(admin[0], "read,mount,unshare,clone,clone3 SCMP_ACT_ALLOW None 0");
    }

    #[test]
    fn architectures_follow_the_machine() {
        let filter = resolve(PROFILE, true, &HashSet::new(), AMD64).unwrap();
        assert_eq!(filter.architectures(), &Some(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86]));
        assert_eq!(filter.default_errno_ret(), Some(EPERM));
    }

    #[test]
    fn a_broken_or_missing_profile_is_named() {
        let missing = Path::new("/nonexistent/seccomp.json");
        let error = filter(&SeccompChoice::Default, missing, &HashSet::new()).unwrap_err();
        assert!(error.to_string().contains("golang-github-containers-common"), "{error}");
        let own = SeccompChoice::File(missing.into());
        assert!(matches!(filter(&own, missing, &HashSet::new()), Err(BadSpec::NoSuchPath { .. })));
        assert!(resolve("{", true, &HashSet::new(), AMD64).is_err());
    }

    #[test]
    fn kernel_versions() {
        assert_eq!(kernel_version("6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("4.8"), Some((4, 8)));
        assert_eq!(kernel_version("x"), None);
    }
}
