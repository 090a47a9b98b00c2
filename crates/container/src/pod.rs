//! What the containers of a pod have in common (Kubernetes' and podman's word; a task of ECS): files of `/etc`, a control
//! group with limits for all of them together, and, where it is asked for, the processes and the IPC that they see.
//!
//! A process namespace lives as long as its first process, so a pod that has one gets a process that does nothing but
//! bury the dead: `catatonit -P`, as podman has it. Without one there is no such process.

use crate::bundle::{Machine, slice};
use crate::containers::{Containers, cgroups, inside};
use crate::error::ContainerError;
use crate::layout::private_dir;
use crate::spec::{BadSpec, CPU_PERIOD, cpu_quota};
use crate::{Netns, NewContainer, State, program};
use netmode_model::Id;
use netmode_model::api::ContainerSpec;
use nix::mount::{MsFlags, mount};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The program that keeps namespaces.
const KEEPER: &str = "catatonit";

/// Where it lies in its container.
const KEEPER_INSIDE: &str = "/keeper";

/// Option of the tmpfs for shared memory (Docker's default).
pub(crate) const MEMORY_SIZE: &str = "size=65536k";

/// Whose processes or IPC a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Namespace {
    /// Its own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// Those of its pod.
    Pod,
}

/// What a container has in common with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The pod, see [`Containers::make_pod`].
    pub pod: Id,
    /// Processes.
    pub pid: Namespace,
    /// Message queues, semaphores and shared memory.
    pub ipc: Namespace,
    /// `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname` are the same files: those of the first.
    pub files: bool,
}

/// A pod to be made.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pod {
    /// Bytes that all containers together may have.
    pub memory: Option<i64>,
    /// CPUs that all containers together may have.
    pub cpus: Option<f64>,
    /// It has process and IPC namespaces of its own.
    pub namespaces: bool,
}

/// The namespace that a container is put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Space {
    Own,
    Host,
    Pod {
        /// The file that stands for it.
        namespace: PathBuf,
        /// Its tmpfs for shared memory.
        memory: PathBuf,
    },
}

impl Containers {
    /// Makes what containers will have in common, or finds it made. What was made is taken back if it fails.
    ///
    /// # Errors
    /// The program that keeps namespaces is missing, or the kernel refuses.
    pub fn make_pod(&self, id: Id, pod: &Pod) -> Result<(), ContainerError> {
        let bundle = self.layout().bundle(id);
        private_dir(&bundle)?;
        let limited = limit(id, pod);
        let made = limited.and_then(|()| if pod.namespaces { self.keep_namespaces(id, &bundle) } else { Ok(()) });
        if made.is_err()
            && let Err(left) = self.remove_pod(id)
        {
            tracing::warn!(%id, %left, "a failed pod leaves something behind");
        }
        made
    }

    /// Takes away what containers had in common. They have been removed, or have ended at least.
    ///
    /// # Errors
    /// See [`Containers::remove`].
    pub fn remove_pod(&self, id: Id) -> Result<(), ContainerError> {
        let removed = self.remove(id);
        for group in cgroups().map(|group| group.join(id.to_string())) {
            // Those of containers that were being made when the agent ended as well.
            inside(&group).chain([group]).for_each(|dir| _ = fs::remove_dir(dir));
        }
        // Where `set-property --runtime` keeps what it was told (systemd.unit(5)).
        let limits = Path::new("/run/systemd/system.control").join(format!("{}.d", slice(id)));
        if limits.exists() {
            let _ = program::look("systemctl", &["revert", &slice(id)], self.config().timeout);
            let _ = program::look("systemctl", &["stop", &slice(id)], self.config().timeout);
        }
        removed
    }

    fn keep_namespaces(&self, id: Id, bundle: &Path) -> Result<(), ContainerError> {
        match self.state(id) {
            Ok(State::Running(_)) => return Ok(()),
            Err(ContainerError::NotFound(_)) => {}
            // The agent ended while it made it, or it was killed, and its containers with it.
            _ => {
                self.remove(id)?;
                private_dir(bundle)?;
            }
        }
        let (rootfs, memory) = (bundle.join("keeper"), bundle.join("shm"));
        private_dir(&rootfs)?;
        private_dir(&memory)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let options = format!("mode=1777,{MEMORY_SIZE}");
        mount(Some("shm"), &memory, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|e| ContainerError::Mount { what: "a tmpfs", path: memory.clone(), source: e.into() })?;
        let spec = ContainerSpec {
            rootfs: Some(rootfs.display().to_string()),
            command: vec![KEEPER_INSIDE.into(), "-P".into()],
            volumes: vec![format!("{}:{KEEPER_INSIDE}:ro", program::find(KEEPER)?.display())],
            cap_drop: vec!["ALL".into()],
            read_only: true,
            ..ContainerSpec::default()
        };
        let prepared = self.prepare(&NewContainer {
            id,
            name: "keeper",
            spec: &spec,
            image: None,
            netns: Netns::Empty,
            pod: Some(Membership { pod: id, pid: Namespace::Own, ipc: Namespace::Own, files: false }),
            hostname: None,
            etc_hosts: None,
            resolv_conf: None,
            sysctls: BTreeMap::new(),
            extra_env: Vec::new(),
        })?;
        self.create(&prepared)?;
        self.start(id)
    }

    /// The namespace of a kind that a container is to be in.
    pub(crate) fn space(
        &self,
        membership: Option<Membership>,
        kind: &str,
        which: impl FnOnce(&Membership) -> Namespace,
    ) -> Result<Space, ContainerError> {
        let Some(membership) = membership else { return Ok(Space::Own) };
        Ok(match which(&membership) {
            Namespace::Own => Space::Own,
            Namespace::Host => Space::Host,
            Namespace::Pod => {
                let pod = membership.pod;
                let keeper = self.pid(pod).filter(|_| matches!(self.state(pod), Ok(State::Running(_))));
                let keeper = keeper.ok_or(ContainerError::NotRunning(pod))?;
                Space::Pod {
                    namespace: format!("/proc/{keeper}/ns/{kind}").into(),
                    memory: self.layout().bundle(pod).join("shm"),
                }
            }
        })
    }
}

/// Puts the limits of a pod in force, in the control group that those of its containers will be in.
fn limit(id: Id, pod: &Pod) -> Result<(), ContainerError> {
    let quota = pod.cpus.map(cpu_quota).transpose()?;
    if pod.memory.is_some_and(|bytes| bytes < crate::spec::LEAST_MEMORY) {
        return Err(BadSpec::Memory(pod.memory.unwrap_or_default()).into());
    }
    match Machine::here() {
        Machine { systemd: true, .. } => limit_slice(id, pod.memory, quota),
        Machine { cgroup2: true, .. } => limit_unified(id, pod.memory, quota),
        _ => limit_legacy(id, pod.memory, quota),
    }
}

/// systemd(1) makes the control groups and wants to be asked; the limits are gone after a reboot, as the pod is.
fn limit_slice(id: Id, memory: Option<i64>, quota: Option<i64>) -> Result<(), ContainerError> {
    let percent = |us: i64| us * 100 / i64::try_from(CPU_PERIOD).unwrap_or(i64::MAX);
    let memory = memory.map(|bytes| format!("MemoryMax={bytes}"));
    let quota = quota.map(|us| format!("CPUQuota={}%", percent(us).max(1)));
    let slice = slice(id);
    let properties: Vec<&str> = memory.iter().chain(&quota).map(String::as_str).collect();
    if properties.is_empty() {
        return Ok(());
    }
    let args = [&["set-property", "--runtime", slice.as_str()][..], &properties].concat();
    program::look("systemctl", &args, std::time::Duration::from_secs(10)).map(drop).map_err(Into::into)
}

/// cgroups(7), version 2. Controllers are handed down from the top.
fn limit_unified(id: Id, memory: Option<i64>, quota: Option<i64>) -> Result<(), ContainerError> {
    let root = Path::new("/sys/fs/cgroup");
    let (all, own) = (root.join("netmode"), root.join("netmode").join(id.to_string()));
    make(&own)?;
    if memory.is_some() || quota.is_some() {
        write(&root.join("cgroup.subtree_control"), "+cpu +memory")?;
        write(&all.join("cgroup.subtree_control"), "+cpu +memory")?;
    }
    if let Some(bytes) = memory {
        write(&own.join("memory.max"), &bytes.to_string())?;
    }
    quota.map_or(Ok(()), |us| write(&own.join("cpu.max"), &format!("{us} {CPU_PERIOD}")))
}

/// cgroups(7), version 1: a hierarchy for each controller.
fn limit_legacy(id: Id, memory: Option<i64>, quota: Option<i64>) -> Result<(), ContainerError> {
    let own = |controller: &str| -> Result<PathBuf, ContainerError> {
        let group = Path::new("/sys/fs/cgroup").join(controller).join("netmode").join(id.to_string());
        make(&group).map(|()| group)
    };
    if let Some(bytes) = memory {
        write(&own("memory")?.join("memory.limit_in_bytes"), &bytes.to_string())?;
    }
    if let Some(us) = quota {
        let group = own("cpu")?;
        write(&group.join("cpu.cfs_period_us"), &CPU_PERIOD.to_string())?;
        write(&group.join("cpu.cfs_quota_us"), &us.to_string())?;
    }
    Ok(())
}

fn make(dir: &Path) -> Result<(), ContainerError> {
    fs::create_dir_all(dir).map_err(ContainerError::file("create", dir))
}

fn write(path: &Path, value: &str) -> Result<(), ContainerError> {
    fs::write(path, value).map_err(ContainerError::file("write", path))
}
