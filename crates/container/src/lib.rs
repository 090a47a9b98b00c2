//! Containers: from a request to a running process and back to nothing.
//!
//! The only crate that starts programs. A container's life is a handful of calls:
//!
//! ```text
//! prepare ─► create ─► start ─► wait ─► remove
//!   │          │         └ kill, exec, attach, logs
//!   │          └ conmon is started; the first process exists in its namespaces and waits
//!   └ all checks, image, overlay, bundle; no process yet
//! ```
//!
//! Nothing is kept in memory that matters: conmon and the container are nobody's children here, and everything is
//! found again from files, so an agent that is restarted goes on where it was. Calls block and are meant for a
//! worker thread, except those that wait for something to happen, which are `async`.
#![forbid(unsafe_code)]

mod bundle;
mod capability;
mod containers;
mod credential_helper;
mod devices;
mod error;
mod exec;
mod exits;
mod firewalld;
mod image;
mod images;
mod keep;
mod layout;
mod logs;
mod pod;
mod prepare;
mod process;
mod program;
mod readable;
mod rooted;
mod rootfs;
mod runtime;
mod seccomp;
mod session;
mod spec;
mod ulimit;
mod usage;
mod user;

pub use capability::BadCapability;
pub use containers::{Containers, signal};
pub use credential_helper::{Action, HelperError, credential_helper};
pub use error::ContainerError;
pub use exec::{Execution, Killer};
pub use firewalld::{Firewalld, FirewalldError, ZONE as FIREWALLD_ZONE};
pub use image::{
    Image, ImageConfig, ImageError, ImageName, Reference, RemovedImage, StoredImage, is_file, registry_name,
};
pub use keep::{KeepProcess, end_kept, find_kept};
pub use logs::{Extent, Logs};
pub use pod::{Membership, Namespace, Pod};
pub use program::{ProgramError, find_program, look};
pub use session::{Input, Output, Session};
pub use spec::BadSpec;
pub use ulimit::BadUlimit;
pub use usage::Usage;

use netmode_model::Id;
use netmode_model::api::{ContainerSpec, Stream};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Which programs are driven and where files lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The OCI runtime, a name or an absolute path.
    pub runtime: String,
    /// The monitor.
    pub conmon: String,
    /// Reads images.
    pub skopeo: String,
    /// Unpacks images.
    pub umoci: String,
    /// Bundles and sockets; dies with the machine.
    pub run_dir: PathBuf,
    /// Images, logs and writable layers.
    pub state_dir: PathBuf,
    /// The seccomp profile of containers that ask for none, in Docker's format.
    pub seccomp_profile: PathBuf,
    /// The soft limit of open files (`RLIMIT_NOFILE`) of containers that ask for none; the hard one is our own. Without:
    /// both are our own.
    pub open_files: Option<u64>,
    /// How long the runtime may take for one call before it is killed.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: "runc".into(),
            conmon: "conmon".into(),
            skopeo: "skopeo".into(),
            umoci: "umoci".into(),
            run_dir: "/run/netmode".into(),
            state_dir: "/var/lib/netmode".into(),
            seccomp_profile: "/usr/share/containers/seccomp.json".into(),
            open_files: None,
            // Sixteen at once on one slow processor take more than ten.
            timeout: Duration::from_secs(30),
        }
    }
}

/// The network namespace of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Netns {
    /// The one that the agent is in.
    Host,
    /// One that exists by the time of [`Containers::create`].
    Path(PathBuf),
    /// One of its own with nothing in it.
    Empty,
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct NewContainer<'a> {
    /// Its id; names every directory.
    pub id: Id,
    /// What people call it; shown in messages only.
    pub name: &'a str,
    /// What runs.
    pub spec: &'a ContainerSpec,
    /// The image by its digest, where it has been found already; else `spec.image` is looked up.
    pub image: Option<String>,
    /// Where.
    pub netns: Netns,
    /// What it has in common with others.
    pub pod: Option<Membership>,
    /// Host name; the host's own with [`Netns::Host`], else the short id, where none is given.
    pub hostname: Option<String>,
    /// Content of `/etc/hosts`; what the root file system has where none is given.
    /// It can be replaced later, see [`Containers::set_hosts`].
    pub etc_hosts: Option<String>,
    /// Content of `/etc/resolv.conf`; what the root file system has where none is given.
    pub resolv_conf: Option<String>,
    /// Kernel variables, besides the two that every network namespace of containers gets.
    pub sysctls: BTreeMap<String, String>,
    /// `KEY=VALUE`, after the image's and the user's.
    pub extra_env: Vec<String>,
}

/// A container with a root file system and a bundle, and without a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The container.
    pub id: Id,
    /// The image it is made of; `None` for a directory.
    pub image: Option<Image>,
    /// The command with its arguments, entry point included.
    pub command: Vec<String>,
    /// The root file system as the host sees it.
    pub rootfs: PathBuf,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit status; 128 + signal for one that was killed; 255 where nobody saw it end.
    pub code: i32,
    /// Nobody saw it end: conmon was killed before the container, or the machine went down.
    pub lost: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has a bundle and no process.
    Prepared,
    /// Its first process waits to be started; the pid.
    Created(i32),
    /// It runs; the pid.
    Running(i32),
    /// It ended.
    Ended(Exit),
}

/// Bytes of one stream of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where they came from: standard output or standard error.
    pub stream: Stream,
    /// The bytes as they were written.
    pub bytes: Vec<u8>,
}
