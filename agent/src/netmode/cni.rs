//! `netmode cni`: whether runtimes find our plugins under the reference's names.
//!
//! A runtime takes the program that has a plugin's name in its directory. Enabling puts a link to ours there; what has the
//! name already keeps its content under another one, and comes back when it is disabled.

use crate::failure::Failure;
use crate::output::Output;
use clap::{Args, Subcommand};
use netmode_model::Code;
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The names of the reference's plugins that ours has.
const NAMES: [&str; 13] = [
    "bandwidth",
    "bridge",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "static",
    "tuning",
    "vlan",
];

/// Where runtimes look unless they are told otherwise: containerd's and Kubernetes' default, Debian's, Fedora's.
const DIRECTORIES: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/// What another package's program is called while ours has its name.
const KEPT: &str = ".before-netmode";

/// `netmode cni`.
#[derive(Debug, Subcommand)]
pub(crate) enum CniCommand {
    /// Give runtimes our plugins under the reference's names; what is there is kept, not overwritten
    Enable(Directories),
    /// Put back what was there before
    Disable(Directories),
    /// Show whose plugin each name is
    Status(Directories),
}

/// Where the plugins are.
#[derive(Debug, Args)]
pub(crate) struct Directories {
    /// A directory of CNI plugins, instead of /opt/cni/bin, /usr/lib/cni and /usr/libexec/cni, as far as they exist
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Vec<PathBuf>,
}

/// One name in one directory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    directory: PathBuf,
    name: &'static str,
    provider: Provider,
    /// Whether the program that had the name before is kept beside it.
    kept: bool,
}

/// Whose plugin a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Provider {
    Netmode,
    Other,
    None,
}

pub(crate) fn cni(command: &CniCommand, output: Output) -> Result<(), Failure> {
    match command {
        CniCommand::Enable(directories) => {
            let program = program()?;
            each(directories, |dir, name| enable(dir, name, &program))
        }
        CniCommand::Disable(directories) => each(directories, disable),
        CniCommand::Status(directories) => status(directories, output),
    }
}

impl Directories {
    /// Those that were named, or those of the usual ones that exist.
    fn all(&self) -> Result<Vec<PathBuf>, Failure> {
        if let Some(missing) = self.dir.iter().find(|dir| !dir.is_dir()) {
            let text = format!("{} is no directory; name one that a runtime takes its plugins from", missing.display());
            return Err(Failure::invalid(text));
        }
        if !self.dir.is_empty() {
            // A link is looked for where a runtime looks, whatever the working directory of either is.
            return self.dir.iter().map(|dir| dir.canonicalize().map_err(|e| failed(dir, &e))).collect();
        }
        let usual: Vec<PathBuf> = DIRECTORIES.iter().map(PathBuf::from).filter(|dir| dir.is_dir()).collect();
        if usual.is_empty() {
            let text = format!(
                "none of {} is there; make the one that your runtime uses, or name it with --dir",
                DIRECTORIES.join(", ")
            );
            return Err(Failure::invalid(text));
        }
        Ok(usual)
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let next = if error.kind() == io::ErrorKind::PermissionDenied { "; use sudo" } else { "" };
    Failure::new(Code::State, format!("cannot change {}: {error}{next}", path.display()))
}

/// Does it for every name in every directory. Each by itself: one that fails keeps no other from being done.
fn each(directories: &Directories, act: impl Fn(&Path, &str) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut first = Ok(());
    for dir in directories.all()? {
        for name in NAMES {
            let done = act(&dir, name);
            first = first.and(done);
        }
    }
    first
}

/// The CNI executable: where it was installed with this program, or beside it.
fn program() -> Result<PathBuf, Failure> {
    let own =
        std::env::current_exe().map_err(|e| Failure::new(Code::State, format!("cannot tell where netmode is: {e}")))?;
    let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
    let candidates = [beside.join("../lib/netmode/cni/netmode"), beside.join("netmode-cni")];
    let found = candidates.iter().find(|path| path.is_file()).and_then(|path| path.canonicalize().ok());
    found.ok_or_else(|| {
        let text = format!("{} is not there; install the package anew", candidates[0].display());
        Failure::new(Code::NotFound, text)
    })
}

/// Whether a path is a link to our executable, whether that is there or not.
fn is_ours(path: &Path) -> bool {
    let target = fs::read_link(path).ok();
    target.is_some_and(|target| target.ends_with("netmode/cni/netmode") || target.ends_with("netmode-cni"))
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn kept(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}{KEPT}"))
}

fn enable(dir: &Path, name: &str, program: &Path) -> Result<(), Failure> {
    let (path, kept) = (dir.join(name), kept(dir, name));
    if is_ours(&path) || !exists(&path) {
        return put(dir, name, program);
    }
    if exists(&kept) {
        // A newer one was installed over our link: what was kept is its older release.
        fs::remove_file(&kept).map_err(|e| failed(&kept, &e))?;
    }
    // Never without a program of that name, and never without the other one's content.
    fs::hard_link(&path, &kept).map_err(|e| failed(&kept, &e))?;
    put(dir, name, program)
}

/// Has a name be our link, in one step.
fn put(dir: &Path, name: &str, program: &Path) -> Result<(), Failure> {
    let (path, fresh) = (dir.join(name), dir.join(format!(".{name}.netmode-new")));
    let _ = fs::remove_file(&fresh);
    symlink(program, &fresh).and_then(|()| fs::rename(&fresh, &path)).map_err(|e| failed(&path, &e))
}

fn disable(dir: &Path, name: &str) -> Result<(), Failure> {
    let (path, kept) = (dir.join(name), kept(dir, name));
    match (is_ours(&path) || !exists(&path), exists(&kept)) {
        (true, true) => fs::rename(&kept, &path).map_err(|e| failed(&path, &e)),
        (true, false) if exists(&path) => fs::remove_file(&path).map_err(|e| failed(&path, &e)),
        // Its package has put a newer one there: the older is of no use any more.
        (false, true) => fs::remove_file(&kept).map_err(|e| failed(&kept, &e)),
        _ => Ok(()),
    }
}

fn status(directories: &Directories, output: Output) -> Result<(), Failure> {
    let mut entries = Vec::new();
    for directory in directories.all()? {
        for name in NAMES {
            let path = directory.join(name);
            let provider = match (is_ours(&path), exists(&path)) {
                (true, _) => Provider::Netmode,
                (false, true) => Provider::Other,
                (false, false) => Provider::None,
            };
            let kept = exists(&kept(&directory, name));
            entries.push(Entry { directory: directory.clone(), name, provider, kept });
        }
    }
    output.listing(&entries, &["DIRECTORY", "PLUGIN", "WHOSE", "KEPT"], || {
        let row = |entry: &Entry| {
            let whose = match entry.provider {
                Provider::Netmode => "netmode",
                Provider::Other => "another package",
                Provider::None => "nobody",
            };
            let kept = if entry.kept { format!("{}{KEPT}", entry.name) } else { String::new() };
            vec![entry.directory.display().to_string(), entry.name.into(), whose.into(), kept]
        };
        entries.iter().map(row).collect()
    })
}
