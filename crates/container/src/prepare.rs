//! From a request to a bundle: every check of bad input happens here, before anything else of the task is changed.

use crate::bundle::{self, Machine, Parts};
use crate::containers::Containers;
use crate::error::ContainerError;
use crate::image::{Image, ImageConfig, ImageError};
use crate::layout::{RECORD_VERSION, Record, private_dir, write_mode, write_private};
use crate::rooted::{Found, Rooted};
use crate::spec::{self, Allowed, BadSpec, Checked, RootSource};
use crate::user::{self, Account};
use crate::{Netns, NewContainer, Prepared, devices, process, program, rootfs, seccomp, ulimit};
use netmode_model::api::ContainerSpec;
use oci_spec::runtime::LinuxSeccomp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Small inits that need nothing of the container's libraries, the first one found is used.
const INITS: [&str; 3] = ["tini-static", "catatonit", "tini"];

impl Containers {
    /// Checks what can be checked without touching anything.
    ///
    /// # Errors
    /// [`ContainerError::Spec`] with the first thing that is wrong.
    pub fn validate(spec: &ContainerSpec) -> Result<(), ContainerError> {
        spec::check(spec, Allowed::here()).map(drop).map_err(ContainerError::from)
    }

    /// Checks kernel variables: those of a container's own network and IPC can be set, the host's cannot.
    ///
    /// # Errors
    /// [`ContainerError::Spec`] with the first that cannot be.
    pub fn check_sysctls(
        sysctls: &BTreeMap<String, String>,
        of_host: bool,
        ipc: crate::Namespace,
    ) -> Result<(), ContainerError> {
        bundle::check_sysctls(sysctls, of_host, ipc).map_err(ContainerError::from)
    }

    /// Makes the root file system and the bundle. What was made is taken back if it fails.
    ///
    /// The namespace of [`Netns::Path`] need not exist yet. A container that ended can be prepared again: it keeps
    /// its log and, made of an image, its files.
    ///
    /// # Errors
    /// Whatever is wrong with the request, its image, its user or its command; a program that is missing; a disk
    /// that is full.
    pub fn prepare(&self, new: &NewContainer<'_>) -> Result<Prepared, ContainerError> {
        let mut checked = spec::check(new.spec, Allowed::here())?;
        checked.rlimits.extend(ulimit::open_files(&checked.rlimits, self.config().open_files));
        spec::check_paths(&checked)?;
        spec::check_env(&new.extra_env)?;
        let ipc = new.pod.map_or_else(Default::default, |p| p.ipc);
        bundle::check_sysctls(&new.sysctls, new.netns == Netns::Host, ipc)?;
        let needs = Needs::find(self, new.spec, &checked)?;
        let image = match &checked.root {
            RootSource::Image(reference) => Some(match &new.image {
                // The name may stand for another image by now.
                Some(id) => self.stored_image(id).ok_or_else(|| ImageError::NotHere(id.clone()))?,
                None => self.image(reference)?,
            }),
            _ => None,
        };
        let is_new = self.make_place(new.id)?;
        let made = self.prepare_files(new, &checked, needs, image);
        if made.is_err() {
            // Only what this call made.
            let errors = if is_new { self.remove_files(new.id) } else { self.remove_bundle(new.id) };
            for error in errors {
                tracing::warn!(id = %new.id, %error, "a failed container leaves something behind");
            }
        }
        made
    }

    fn prepare_files(
        &self,
        new: &NewContainer<'_>,
        checked: &Checked,
        needs: Needs,
        image: Option<Image>,
    ) -> Result<Prepared, ContainerError> {
        let layout = self.layout();
        let (bundle, container) = (layout.bundle(new.id), layout.container(new.id));
        private_dir(&bundle)?;
        private_dir(&container)?;
        let rootfs = match (&checked.root, &image) {
            (RootSource::Dir(dir), _) => dir.clone(),
            (RootSource::Host, _) => rootfs::mount_host(&bundle)?,
            (RootSource::Image(_), Some(image)) => {
                let merged = bundle.join("rootfs");
                rootfs::mount_overlay(&image.rootfs, &container, &merged)?;
                merged
            }
            (RootSource::Image(reference), None) => return Err(BadSpec::NoImageCommand(reference.clone()).into()),
        };
        let default = ImageConfig::default();
        let config = image.as_ref().map_or(&default, |i| &i.config);
        let root = Rooted::open(&rootfs).map_err(ContainerError::file("open", &rootfs))?;
        let account = user::resolve(new.spec.user.as_deref().or(config.user.as_deref()), &root)?;
        let run = Run::decide(new, config, &account, &root)?;
        let command = run.args.clone();
        self.write_bundle(new, checked, needs, &account, run, &rootfs)?;
        let (tty, stdin) = (new.spec.tty, new.spec.stdin);
        let record = Record { v: RECORD_VERSION, tty, stdin, init: None, monitor: None, started: false };
        layout.write_record(new.id, &record)?;
        Ok(Prepared { id: new.id, image, command, rootfs })
    }

    fn write_bundle(
        &self,
        new: &NewContainer<'_>,
        checked: &Checked,
        needs: Needs,
        account: &Account,
        run: Run,
        rootfs: &Path,
    ) -> Result<(), ContainerError> {
        let layout = self.layout();
        let bundle = layout.bundle(new.id);
        let is_host = checked.root == RootSource::Host;
        let shared = new.pod.filter(|p| p.files).map(|p| layout.bundle(p.pod));
        let etc = etc_files(new, shared.as_deref().unwrap_or(&bundle), &run.hostname, is_host)?;
        let parts = Parts {
            id: new.id,
            spec: new.spec,
            checked,
            netns: &new.netns,
            pod: new.pod.map(|p| p.pod),
            pid: self.space(new.pod, "pid", |p| p.pid)?,
            ipc: self.space(new.pod, "ipc", |p| p.ipc)?,
            hostname: &run.hostname,
            sysctls: &new.sysctls,
            account,
            args: run.args,
            env: run.env,
            cwd: run.cwd,
            rootfs,
            etc,
            host_root: is_host.then(|| vec![layout.run.clone(), layout.state.clone()]),
            init: needs.init,
            seccomp: needs.seccomp,
            devices: if new.spec.privileged { devices::of_host() } else { Vec::new() },
            machine: Machine::here(),
        };
        let path = bundle.join("config.json");
        let broken = |text: String| ContainerError::Record { path: path.clone(), text };
        let spec = bundle::build(&parts).map_err(|e| broken(e.to_string()))?;
        let text = serde_json::to_vec(&spec).map_err(|e| broken(e.to_string()))?;
        write_private(&path, &text)
    }
}

/// What must be installed, found before anything is made.
struct Needs {
    init: Option<PathBuf>,
    seccomp: Option<LinuxSeccomp>,
}

impl Needs {
    fn find(containers: &Containers, spec: &ContainerSpec, checked: &Checked) -> Result<Self, ContainerError> {
        let config = containers.config();
        program::find(&config.runtime)?;
        program::find(&config.conmon)?;
        let seccomp = seccomp::filter(&checked.seccomp, &config.seccomp_profile, &checked.capabilities)?;
        let init = spec.init.then(find_init).transpose()?;
        Ok(Self { init, seccomp })
    }
}

fn find_init() -> Result<PathBuf, ContainerError> {
    let missing = program::find(INITS[0]);
    Ok(INITS.iter().find_map(|name| program::find(name).ok()).map_or(missing, Ok)?)
}

/// The first process.
struct Run {
    args: Vec<String>,
    env: Vec<String>,
    cwd: PathBuf,
    hostname: String,
}

impl Run {
    fn decide(
        new: &NewContainer<'_>,
        image: &ImageConfig,
        account: &Account,
        root: &Rooted,
    ) -> Result<Self, ContainerError> {
        let spec = new.spec;
        let hostname = new.hostname.clone().unwrap_or_else(|| match new.netns {
            Netns::Host => host_name(),
            Netns::Path(_) | Netns::Empty => new.id.short(),
        });
        let layers: [&[String]; 3] = [image.env.as_deref().unwrap_or_default(), &spec.env, &new.extra_env];
        let env = process::environment(&hostname, spec.tty, &layers, &account.home);
        let args = process::arguments(spec, image);
        let from_image = image.working_dir.as_deref().filter(|d| d.starts_with('/'));
        let cwd = PathBuf::from(spec.workdir.as_deref().or(from_image).unwrap_or("/"));
        let Some(command) = args.first() else {
            return Err(BadSpec::NoImageCommand(spec.image.clone().unwrap_or_default()).into());
        };
        // What a volume or tmpfs covers cannot be seen from here: there the runtime has the word.
        if spec.volumes.is_empty() && spec.tmpfs.is_empty() {
            check_command(root, command, &cwd, process::value(&env, "PATH").unwrap_or_default())?;
        }
        Ok(Self { args, env, cwd, hostname })
    }
}

fn check_command(root: &Rooted, command: &str, cwd: &Path, path: &str) -> Result<(), ContainerError> {
    match root.find_command(command, cwd, path) {
        Found::Executable => Ok(()),
        Found::Nothing => Err(ContainerError::CommandNotFound(command.into())),
        Found::NotExecutable => {
            let why = "it is not a file with an execute bit".into();
            Err(ContainerError::CommandNotExecutable { command: command.into(), why })
        }
    }
}

fn host_name() -> String {
    nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_else(|_| "localhost".into())
}

/// Writes the files that are bound into `/etc`, unless another container of the pod has; the target and the source of
/// each.
fn etc_files(
    new: &NewContainer<'_>,
    dir: &Path,
    hostname: &str,
    is_host: bool,
) -> Result<Vec<(PathBuf, PathBuf)>, ContainerError> {
    // On a host root resolv.conf is often a link into /run, which is covered: its content is what counts.
    let resolv =
        new.resolv_conf.clone().or_else(|| is_host.then(|| std::fs::read_to_string("/etc/resolv.conf").ok())?);
    let shares_names = new.netns == Netns::Host && new.hostname.is_none();
    let files = [
        ("hosts", new.etc_hosts.clone()),
        ("resolv.conf", resolv),
        ("hostname", (!shares_names).then(|| format!("{hostname}\n"))),
    ];
    let mut made = Vec::new();
    for (name, content) in files {
        if let Some(content) = content {
            let source = dir.join(name);
            if !source.exists() {
                write_mode(&source, content.as_bytes(), 0o644)?;
            }
            made.push((Path::new("/etc").join(name), source));
        }
    }
    Ok(made)
}
