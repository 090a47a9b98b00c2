//! Pins: bind mounts of namespaces on files, as `ip netns` makes and shows them.

use crate::wire::Refused;
use netmode_model::NetnsName;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const NOTHING: Option<&str> = None;

/// The directory of the pins.
#[derive(Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
    ready: OnceLock<()>,
}

impl Pins {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, ready: OnceLock::new() }
    }

    fn path(&self, name: &NetnsName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    /// Pins the namespace that the calling thread is in, and returns a descriptor of it.
    pub(super) fn add(&self, name: &NetnsName) -> Result<OwnedFd, Refused> {
        self.prepare()?;
        let path = self.path(name);
        let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        drop(open(&path, flags, Mode::empty())?);
        let pinned = mount(Some("/proc/thread-self/ns/net"), &path, NOTHING, MsFlags::MS_BIND, NOTHING)
            .and_then(|()| open("/proc/thread-self/ns/net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()));
        pinned.map_err(|errno| {
            let _ = self.remove(name);
            errno.into()
        })
    }

    /// Opens a pin that is there.
    pub(super) fn open(&self, name: &NetnsName) -> Result<OwnedFd, Refused> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let fd = open(&self.path(name), flags, Mode::empty())?;
        super::fd::require_netns(fd.as_fd(), name.as_str()).map_err(|e| Refused::new(Errno::EINVAL, e.to_string()))?;
        Ok(fd)
    }

    /// Takes a pin away; one that is not there is an error (ENOENT).
    pub(crate) fn remove(&self, name: &NetnsName) -> Result<(), Refused> {
        let path = self.path(name);
        match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // EINVAL: the file is there, but nothing is mounted on it (a crash between the two steps).
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(nix::unistd::unlink(&path)?)
    }

    /// Every pin in the directory that is a network namespace.
    pub(crate) fn list(&self) -> Result<BTreeSet<NetnsName>, Refused> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(e) => return Err(e.into()),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<NetnsName>().ok());
        Ok(names.filter(|name| self.open(name).is_ok()).collect())
    }

    /// Takes the directory away as well, if nobody has a pin in it.
    pub(crate) fn put_away(&self) {
        let empty = std::fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_none());
        // Not lazily: a pin that comes at this moment keeps it. Who pins next makes it again.
        if empty && matches!(umount2(&self.dir, MntFlags::UMOUNT_NOFOLLOW), Ok(()) | Err(Errno::EINVAL)) {
            let _ = std::fs::remove_dir(&self.dir);
        }
    }

    /// Makes the directory, and a shared mount of it, so that a pin taken away here is gone for everybody
    /// who holds a copy of the mount tree. Same steps as iproute2 `ipnetns.c`, same lock against its race.
    fn prepare(&self) -> Result<(), Refused> {
        if self.ready.get().is_some() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&self.dir)?;
        let _lock = Flock::lock(File::open(&self.dir)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let share = |dir: &Path| mount(Some(""), dir, Some("none"), MsFlags::MS_SHARED | MsFlags::MS_REC, NOTHING);
        match share(&self.dir) {
            // Not a mount point yet. Its mount leaves the group of the one around it before it is shared: as a
            // member every pin would be mounted there as well, and looked for in all copies of that one.
            Err(Errno::EINVAL) => {
                mount(Some(&self.dir), &self.dir, Some("none"), MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)?;
                mount(NOTHING, &self.dir, NOTHING, MsFlags::MS_PRIVATE, NOTHING)?;
                share(&self.dir)?;
            }
            other => other?,
        }
        self.ready.get_or_init(|| ());
        Ok(())
    }
}
