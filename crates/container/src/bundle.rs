//! The OCI bundle: Docker's defaults in the terms of the runtime specification.

use crate::Netns;
use crate::pod::{Namespace, Space};
use crate::spec::{BadSpec, CPU_PERIOD, Checked};
use crate::user::Account;
use netmode_model::Id;
use netmode_model::api::ContainerSpec;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, Linux, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDevice, LinuxDeviceCgroupBuilder,
    LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder, LinuxSeccomp, Mount, MountBuilder, Process, RootBuilder, Spec, UserBuilder,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Hidden from every container (Docker's list).
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Read-only in every container (Docker's list).
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Where the small init lies in the container; `/dev` is a tmpfs, so nothing is left in the root file system.
pub(crate) const INIT: &str = "/dev/init";

/// Everything that a bundle is made of, decided already.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) id: Id,
    pub(crate) spec: &'a ContainerSpec,
    pub(crate) checked: &'a Checked,
    pub(crate) netns: &'a Netns,
    /// The pod that it belongs to.
    pub(crate) pod: Option<Id>,
    pub(crate) pid: Space,
    pub(crate) ipc: Space,
    pub(crate) hostname: &'a str,
    pub(crate) sysctls: &'a BTreeMap<String, String>,
    pub(crate) account: &'a Account,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) rootfs: &'a Path,
    /// Files bound into `/etc`: target and source.
    pub(crate) etc: Vec<(PathBuf, PathBuf)>,
    /// The host's own file system: `/run` is covered, and these directories are hidden.
    pub(crate) host_root: Option<Vec<PathBuf>>,
    pub(crate) init: Option<PathBuf>,
    pub(crate) seccomp: Option<LinuxSeccomp>,
    /// Devices of the host, for a privileged container.
    pub(crate) devices: Vec<LinuxDevice>,
    pub(crate) machine: Machine,
}

/// How this machine groups processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// PID 1 is systemd, which wants to make the scopes itself.
    pub(crate) systemd: bool,
    /// One hierarchy: a container can have a view of its own.
    pub(crate) cgroup2: bool,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let first = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        // sd_booted(3)
        let systemd = first.trim() == "systemd" && Path::new("/run/systemd/system").is_dir();
        let kind = nix::sys::statfs::statfs("/sys/fs/cgroup").map(|s| s.filesystem_type());
        Self { systemd, cgroup2: kind == Ok(nix::sys::statfs::CGROUP2_SUPER_MAGIC) }
    }

    /// Name of the control group: a path, or what becomes `netmode-ID.scope`; in that of its pod, if it has one.
    fn cgroup(self, id: Id, pod: Option<Id>) -> PathBuf {
        match (self.systemd, pod) {
            (true, None) => format!("system.slice:netmode:{id}").into(),
            (true, Some(pod)) => format!("{}:netmode:{id}", slice(pod)).into(),
            (false, None) => format!("/netmode/{id}").into(),
            (false, Some(pod)) => format!("/netmode/{pod}/{id}").into(),
        }
    }
}

/// Longest value of a kernel variable.
const MOST_VALUE: usize = 256;

/// The unit of systemd that the scopes of a pod are in.
pub(crate) fn slice(pod: Id) -> String {
    format!("netmode-{pod}.slice")
}

/// Variables of the kernel that belong to an IPC namespace.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Kernel variables must be the container's own, or its pod's. `of_host`: its network is the host's.
pub(crate) fn check_sysctls(sysctls: &BTreeMap<String, String>, of_host: bool, ipc: Namespace) -> Result<(), BadSpec> {
    for (name, value) in sysctls {
        let bad = |why| BadSpec::Sysctl { name: name.chars().take(64).collect(), why };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
        if !name.bytes().all(plain) || name.contains("..") || value.contains(['\0', '\n']) || value.len() > MOST_VALUE {
            return Err(bad("is not a name of a kernel variable"));
        }
        if name.starts_with("net.") {
            if of_host {
                return Err(bad("would change the host's own network, which the container shares"));
            }
        } else if !IPC_SYSCTLS.contains(&name.as_str()) && !name.starts_with("fs.mqueue.") {
            return Err(bad("belongs to the whole host and not to the container"));
        } else if ipc == Namespace::Host {
            return Err(bad("would change the host's own IPC, which the container shares"));
        }
    }
    Ok(())
}

/// Makes `config.json`.
pub(crate) fn build(parts: &Parts<'_>) -> Result<Spec, OciSpecError> {
    let mut spec = Spec::default();
    spec.set_version("1.0.2".into())
        .set_hostname(Some(parts.hostname.into()))
        .set_root(Some(RootBuilder::default().path(parts.rootfs).readonly(parts.spec.read_only).build()?))
        .set_process(Some(process(parts)?))
        .set_mounts(Some(mounts(parts)?))
        .set_linux(Some(linux(parts)?));
    if parts.machine.systemd {
        spec.set_annotations(Some(scope_properties()));
    }
    Ok(spec)
}

/// What runc asks systemd for besides what it always does (runc, `docs/systemd.md`). By itself it takes the scope out
/// of the order in which a machine is shut down: a container whose first process has no handler for SIGTERM then holds
/// the shutdown up for 90 s. The agent is ended before, so that it does not start again what the shutdown has ended.
fn scope_properties() -> HashMap<String, String> {
    [("DefaultDependencies", "true"), ("TimeoutStopUSec", "uint64 10000000"), ("Before", "['netmode.service']")]
        .map(|(name, value)| (format!("org.systemd.property.{name}"), value.to_owned()))
        .into()
}

fn process(parts: &Parts<'_>) -> Result<Process, OciSpecError> {
    let mut args = parts.args.clone();
    if parts.init.is_some() {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let checked = parts.checked;
    make_process(
        parts.account,
        Invocation { args, env: parts.env.clone(), cwd: parts.cwd.clone(), tty: parts.spec.tty },
        &checked.capabilities,
        checked.no_new_privileges,
    )
    .map(|mut p| {
        p.set_rlimits(Some(checked.rlimits.clone()).filter(|l| !l.is_empty()));
        p
    })
}

/// What is executed.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: PathBuf,
    pub(crate) tty: bool,
}

/// A process of a container, the first or one of `exec`.
pub(crate) fn make_process(
    account: &Account,
    what: Invocation,
    capabilities: &HashSet<Capability>,
    no_new_privileges: bool,
) -> Result<Process, OciSpecError> {
    let user = UserBuilder::default().uid(account.uid).gid(account.gid).additional_gids(account.groups.clone());
    // As execve(2) does for anyone but root: nothing but the bounding set, for setuid programs to draw from.
    let held = if account.uid == 0 { capabilities.clone() } else { HashSet::new() };
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(capabilities.clone())
        .effective(held.clone())
        .permitted(held)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let mut process = Process::default();
    process
        .set_terminal(Some(what.tty))
        .set_user(user.build()?)
        .set_args(Some(what.args))
        .set_env(Some(what.env))
        .set_cwd(what.cwd)
        .set_capabilities(Some(sets))
        .set_no_new_privileges(Some(no_new_privileges))
        .set_rlimits(None);
    Ok(process)
}

fn mount(kind: &str, source: &Path, target: &Path, options: &[&str]) -> Result<Mount, OciSpecError> {
    let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
    MountBuilder::default().destination(target).typ(kind).source(source).options(options).build()
}

fn mounts(parts: &Parts<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let system = |kind: &str, source: &str, target: &str, options: &[&str]| {
        mount(kind, Path::new(source), Path::new(target), options)
    };
    let sys = if parts.spec.privileged { "rw" } else { "ro" };
    let mut all = vec![
        system("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"])?,
        system("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        system(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        system("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", sys])?,
        system("cgroup", "cgroup", "/sys/fs/cgroup", &[sys, "nosuid", "noexec", "nodev"])?,
    ];
    all.extend(ipc_mounts(parts)?);
    if parts.host_root.is_some() {
        all.push(system("tmpfs", "tmpfs", "/run", &["nosuid", "nodev", "mode=755", "size=65536k"])?);
    }
    if let Some(init) = &parts.init {
        all.push(mount("bind", init, Path::new(INIT), &["bind", "ro"])?);
    }
    all.extend(own_mounts(parts)?);
    Ok(all)
}

/// Message queues and shared memory, of whoever's IPC namespace it is.
fn ipc_mounts(parts: &Parts<'_>) -> Result<[Mount; 2], OciSpecError> {
    let options = ["nosuid", "noexec", "nodev"];
    let bound = ["rbind", "nosuid", "noexec", "nodev"];
    let (queues, memory) = (Path::new("/dev/mqueue"), Path::new("/dev/shm"));
    let of_namespace = || mount("mqueue", Path::new("mqueue"), queues, &options);
    Ok(match &parts.ipc {
        Space::Own => [
            of_namespace()?,
            mount(
                "tmpfs",
                Path::new("shm"),
                memory,
                &["nosuid", "noexec", "nodev", "mode=1777", crate::pod::MEMORY_SIZE],
            )?,
        ],
        Space::Host => [mount("bind", queues, queues, &bound)?, mount("bind", memory, memory, &bound)?],
        Space::Pod { memory: shared, .. } => [of_namespace()?, mount("bind", shared, memory, &bound)?],
    })
}

/// Volumes, tmpfs and the files of `/etc`; what lies deeper is mounted later.
fn own_mounts(parts: &Parts<'_>) -> Result<Vec<Mount>, OciSpecError> {
    let mut own = Vec::new();
    for volume in &parts.checked.volumes {
        let access = if volume.read_only { "ro" } else { "rw" };
        own.push(mount("bind", &volume.source, &volume.target, &["rbind", "rprivate", access])?);
    }
    for tmpfs in &parts.checked.tmpfs {
        let options: Vec<&str> = tmpfs.options.iter().map(String::as_str).collect();
        own.push(mount("tmpfs", Path::new("tmpfs"), &tmpfs.target, &options)?);
    }
    let taken: HashSet<PathBuf> = own.iter().map(|m| m.destination().clone()).collect();
    for (target, source) in parts.etc.iter().filter(|(target, _)| !taken.contains(target)) {
        own.push(mount("bind", source, target, &["rbind", "rprivate", "rw"])?);
    }
    own.sort_by_key(|m| m.destination().components().count());
    Ok(own)
}

fn linux(parts: &Parts<'_>) -> Result<Linux, OciSpecError> {
    let privileged = parts.spec.privileged;
    let list = |paths: &[&str]| if privileged { Vec::new() } else { paths.iter().map(|p| (*p).to_owned()).collect() };
    let mut masked: Vec<String> = list(&MASKED);
    masked.extend(parts.host_root.iter().flatten().map(|p| p.display().to_string()));
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(parts)?)
        .resources(resources(parts)?)
        .cgroups_path(parts.machine.cgroup(parts.id, parts.pod))
        .masked_paths(masked)
        .readonly_paths(list(&READ_ONLY))
        .sysctl(sysctls(parts));
    if let Some(filter) = &parts.seccomp {
        linux = linux.seccomp(filter.clone());
    }
    if !parts.devices.is_empty() {
        linux = linux.devices(parts.devices.clone());
    }
    linux.build()
}

fn namespaces(parts: &Parts<'_>) -> Result<Vec<LinuxNamespace>, OciSpecError> {
    use LinuxNamespaceType as T;
    let fresh = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
    let joined = |kind, path: &Path| LinuxNamespaceBuilder::default().typ(kind).path(path).build();
    let mut all = vec![fresh(T::Uts)?, fresh(T::Mount)?];
    if parts.machine.cgroup2 {
        all.push(fresh(T::Cgroup)?);
    }
    for (kind, space) in [(T::Pid, &parts.pid), (T::Ipc, &parts.ipc)] {
        match space {
            Space::Own => all.push(fresh(kind)?),
            Space::Pod { namespace, .. } => all.push(joined(kind, namespace)?),
            Space::Host => {}
        }
    }
    match parts.netns {
        Netns::Path(path) => all.push(joined(T::Network, path)?),
        Netns::Empty => all.push(fresh(T::Network)?),
        Netns::Host => {}
    }
    Ok(all)
}

/// In a namespace of its own anyone may ping and listen on low ports; the host's settings stay as they are
/// (Docker's `oci_linux.go`).
fn sysctls(parts: &Parts<'_>) -> HashMap<String, String> {
    let mut all = HashMap::new();
    if !matches!(parts.netns, Netns::Host) {
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    }
    all.extend(parts.sysctls.iter().map(|(k, v)| (k.clone(), v.clone())));
    all
}

fn resources(parts: &Parts<'_>) -> Result<LinuxResources, OciSpecError> {
    let spec = parts.spec;
    let everything = LinuxDeviceCgroupBuilder::default().allow(spec.privileged).access("rwm").build()?;
    let mut resources = LinuxResourcesBuilder::default().devices(vec![everything]);
    let mut memory = LinuxMemoryBuilder::default();
    if let Some(bytes) = spec.memory {
        memory = memory.limit(bytes);
    }
    if let Some(bytes) = spec.memory_reservation {
        memory = memory.reservation(bytes);
    }
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(quota) = parts.checked.cpu_quota {
        cpu = cpu.quota(quota).period(CPU_PERIOD);
    }
    if let Some(shares) = spec.cpu_shares {
        cpu = cpu.shares(shares);
    }
    resources = resources.memory(memory.build()?).cpu(cpu.build()?);
    if let Some(most) = spec.pids_limit {
        let limit = if most <= 0 { -1 } else { most };
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    resources.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Allowed, check};

    fn made(edit: impl FnOnce(&mut ContainerSpec), netns: &Netns, machine: Machine) -> serde_json::Value {
        let mut spec = ContainerSpec { rootfs: Some("/r".into()), command: vec!["true".into()], ..Default::default() };
        edit(&mut spec);
        let checked = check(&spec, Allowed { bounding: u64::MAX }).unwrap();
        let uid = spec.user.as_deref().map_or(0, |u| u.parse().unwrap());
        let account = Account { uid, gid: 0, groups: vec![], home: "/root".into() };
        let parts = Parts {
            id: Id::from_bytes([1; 16]),
            spec: &spec,
            checked: &checked,
            netns,
            pod: None,
            pid: Space::Own,
            ipc: Space::Own,
            hostname: "box",
            sysctls: &BTreeMap::new(),
            account: &account,
            args: spec.command.clone(),
            env: vec!["A=1".into()],
            cwd: "/".into(),
            rootfs: Path::new("/r"),
            etc: vec![("/etc/hosts".into(), "/b/hosts".into())],
            host_root: None,
            init: spec.init.then(|| "/usr/bin/tini-static".into()),
            seccomp: None,
            devices: vec![],
            machine,
        };
        serde_json::to_value(build(&parts).unwrap()).unwrap()
    }

    const OLD: Machine = Machine { systemd: false, cgroup2: false };
    const NEW: Machine = Machine { systemd: true, cgroup2: true };

    fn netns() -> Netns {
        Netns::Path("/run/netns/nm-x".into())
    }

    #[test]
    fn a_new_namespace_gets_the_two_sysctls_and_the_hosts_does_not() {
        let own = made(|_| {}, &netns(), OLD);
        assert_eq!(own["linux"]["sysctl"]["net.ipv4.ping_group_range"], "0 2147483647");
        assert_eq!(own["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
        let kinds = |v: &serde_json::Value| {
            let all = v["linux"]["namespaces"].as_array().unwrap().clone();
            all.iter().map(|n| n["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(kinds(&own), "uts mount pid ipc network");
        let host = made(|_| {}, &Netns::Host, NEW);
        assert_eq!(host["linux"]["sysctl"], serde_json::json!({}));
        assert_eq!(kinds(&host), "uts mount cgroup pid ipc");
    }

    #[test]
    fn capabilities_and_privileges() {
        let plain = made(|_| {}, &Netns::Host, OLD);
        let caps = |v: &serde_json::Value, set: &str| v["process"]["capabilities"][set].as_array().unwrap().len();
        assert_eq!((caps(&plain, "bounding"), caps(&plain, "effective"), caps(&plain, "inheritable")), (13, 13, 0));
        assert!(!plain.to_string().contains("CAP_NET_RAW"));
        assert_eq!(plain["process"]["noNewPrivileges"], false);
        assert_eq!(plain["process"].get("rlimits"), None);
        assert_eq!(plain["linux"]["resources"]["devices"][0]["allow"], false);
        let web = made(|s| s.user = Some("33".into()), &Netns::Host, OLD);
        assert_eq!((caps(&web, "bounding"), caps(&web, "effective")), (13, 0));
        let all = made(|s| s.privileged = true, &Netns::Host, OLD);
        assert_eq!(all["linux"]["maskedPaths"], serde_json::json!([]));
        assert_eq!(caps(&all, "effective"), 41);
    }

    #[test]
    fn mounts_lie_in_order() {
        let spec = made(
            |s| {
                s.volumes = vec!["/a:/etc/x/y".into(), "/b:/etc".into()];
                s.tmpfs = vec!["/t:size=1m".into()];
                s.init = true;
            },
            &Netns::Host,
            OLD,
        );
        let targets: Vec<&str> =
            spec["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
        assert_eq!(targets[7..], ["/dev/init", "/etc", "/t", "/etc/hosts", "/etc/x/y"]);
        assert_eq!(spec["process"]["args"], serde_json::json!(["/dev/init", "--", "true"]));
        let own = made(|s| s.volumes = vec!["/mine:/etc/hosts".into()], &Netns::Host, OLD);
        assert_eq!(own["mounts"].as_array().unwrap().iter().filter(|m| m["destination"] == "/etc/hosts").count(), 1);
    }

    #[test]
    fn resources_and_control_groups() {
        let limits = |s: &mut ContainerSpec| {
            s.memory = Some(64 << 20);
            s.cpus = Some(0.5);
            s.pids_limit = Some(0);
        };
        let old = made(limits, &Netns::Host, OLD);
        let id = Id::from_bytes([1; 16]);
        assert_eq!(old["linux"]["cgroupsPath"], format!("/netmode/{id}"));
        assert_eq!(old["linux"]["resources"]["memory"]["limit"], 64 << 20);
        assert_eq!(old["linux"]["resources"]["cpu"]["quota"], 50_000);
        assert_eq!(old["linux"]["resources"]["pids"]["limit"], -1);
        assert_eq!(made(|_| {}, &Netns::Host, NEW)["linux"]["cgroupsPath"], format!("system.slice:netmode:{id}"));
    }

    #[test]
    fn only_the_containers_own_variables_may_be_set() {
        let set = |name: &str, netns: &Netns| {
            check_sysctls(&[(name.to_owned(), "1".into())].into(), *netns == Netns::Host, Namespace::Own)
        };
        assert!(set("net.ipv4.ip_forward", &netns()).is_ok());
        assert!(set("kernel.shmmax", &Netns::Host).is_ok());
        for (name, ns) in [
            ("net.ipv4.ip_forward", Netns::Host),
            ("kernel.panic", netns()),
            ("net.x;y", netns()),
            ("net./../a", netns()),
        ] {
            assert!(matches!(set(name, &ns), Err(BadSpec::Sysctl { .. })), "{name}");
        }
    }
}
