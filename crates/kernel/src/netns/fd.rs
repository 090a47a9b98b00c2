//! A namespace by its descriptor, checked.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::statfs::fstatfs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// `NSFS_MAGIC`, linux/magic.h.
const NSFS: i64 = 0x6e73_6673;

mod ioctl {
    // NS_GET_NSTYPE, ioctl_ns(2): the CLONE_NEW* flag of a namespace.
    nix::ioctl_none_bad!(ns_get_nstype, nix::request_code_none!(0xb7, 0x3));
    // NS_GET_USERNS: a descriptor of the user namespace that owns a namespace.
    nix::ioctl_none_bad!(ns_get_userns, nix::request_code_none!(0xb7, 0x1));
    // NS_GET_OWNER_UID: who made a user namespace.
    nix::ioctl_read_bad!(ns_get_owner_uid, nix::request_code_none!(0xb7, 0x4), libc::uid_t);
}

/// A descriptor of a network namespace that a container may be attached to.
#[derive(Debug)]
pub struct NetnsFd(OwnedFd);

/// The namespace cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetnsError {
    /// Nothing there, or not to be opened.
    #[error("cannot open the namespace {path}: {errno}", path = path.display(), errno = errno.desc())]
    Open {
        /// What was asked for.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// A plain file, a directory, a socket, …
    #[error("{0} is not a namespace")]
    NotANamespace(String),
    /// A namespace of processes, mounts, …
    #[error("{0} is a namespace, but not a network namespace")]
    WrongKind(String),
    /// The agent works here: a container's links would be made in the host.
    #[error("{0} is the agent's own network namespace")]
    AgentsOwn(String),
    /// The machine's first namespace.
    #[error("{0} is the machine's own network namespace")]
    Inits(String),
    /// The namespace could not be looked at.
    #[error("cannot look at the namespace {0}: {errno}", errno = .1.desc())]
    Unreadable(String, Errno),
}

impl NetnsFd {
    /// Opens a namespace by a path such as `/run/netns/x` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// See [`NetnsError`].
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        // O_NONBLOCK: a FIFO put there by somebody must not hold us up.
        let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
            .map_err(|errno| NetnsError::Open { path: path.into(), errno })?;
        Self::checked(fd, path.display().to_string())
    }

    /// Takes a descriptor that somebody else opened, such as one received over a socket.
    ///
    /// # Errors
    /// See [`NetnsError`].
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NetnsError> {
        Self::checked(fd, "the descriptor".into())
    }

    /// Looks for a namespace by its [inode](Self::inode): among the pins of ip-netns(8), and those that processes are in
    /// (namespaces(7)). The number may be another namespace's by now.
    pub fn of_inode(inode: u64) -> Option<Self> {
        let entries = |dir: &str| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let processes = entries("/proc").map(|process| process.join("ns/net"));
        let paths = entries("/run/netns").chain(processes);
        let is_it = |path: &PathBuf| identity_of(path).is_ok_and(|(_, found)| found == inode);
        // What a path leads to can change between the look and the opening.
        let same = |fd: &Self| fd.inode() == Ok(inode);
        paths.filter(is_it).find_map(|path| Self::open(&path).ok().filter(same))
    }

    fn checked(fd: OwnedFd, name: String) -> Result<Self, NetnsError> {
        require_netns(fd.as_fd(), &name)?;
        let inode = identity(fd.as_fd()).map_err(|e| NetnsError::Unreadable(name.clone(), e))?;
        // The calling thread is where the agent is; only the pool's threads ever are elsewhere.
        if Ok(inode) == identity_of(Path::new("/proc/thread-self/ns/net")) {
            return Err(NetnsError::AgentsOwn(name));
        }
        // Not readable without CAP_SYS_PTRACE over init; then it cannot be compared.
        if Ok(inode) == identity_of(Path::new("/proc/1/ns/net")) {
            return Err(NetnsError::Inits(name));
        }
        Ok(Self(fd))
    }

    /// The user who made the user namespace that this namespace belongs to; 0 for what root made on the host.
    ///
    /// # Errors
    /// EPERM for a user namespace that is not within the agent's; otherwise of ioctl_ns(2).
    pub fn owner(&self) -> Result<u32, Errno> {
        // SAFETY: the request takes no argument, and the descriptor is open.
        let user = unsafe { ioctl::ns_get_userns(self.0.as_raw_fd())? };
        // SAFETY: the kernel has just made this descriptor for this process; nobody else knows it.
        let user = unsafe { OwnedFd::from_raw_fd(user) };
        let mut uid: libc::uid_t = libc::uid_t::MAX;
        // SAFETY: the kernel writes one uid_t to where the pointer points, which lives until the call returns.
        unsafe { ioctl::ns_get_owner_uid(user.as_raw_fd(), &raw mut uid)? };
        Ok(uid)
    }

    /// The inode number, by which the kernel tells namespaces apart while they live.
    ///
    /// # Errors
    /// The error of `fstat(2)`.
    pub fn inode(&self) -> Result<u64, Errno> {
        identity(self.as_fd()).map(|(_, inode)| inode)
    }
}

impl AsFd for NetnsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<NetnsFd> for OwnedFd {
    fn from(fd: NetnsFd) -> Self {
        fd.0
    }
}

/// The inode number of the namespace that the calling thread is in.
///
/// # Errors
/// The error of `stat(2)`; without `/proc` there is none to be had.
pub fn own_inode() -> Result<u64, Errno> {
    identity_of(Path::new("/proc/thread-self/ns/net")).map(|(_, inode)| inode)
}

/// Whether the descriptor is of a network namespace.
pub(super) fn require_netns(fd: BorrowedFd<'_>, name: &str) -> Result<(), NetnsError> {
    let unreadable = |e| NetnsError::Unreadable(name.to_owned(), e);
    // File-system magics are of type c_long or c_uint depending on the C library.
    if fstatfs(fd).map_err(unreadable)?.filesystem_type().0 as i64 != NSFS {
        return Err(NetnsError::NotANamespace(name.to_owned()));
    }
    // SAFETY: the request takes no argument, and `fd` is open for as long as it is borrowed.
    match unsafe { ioctl::ns_get_nstype(fd.as_raw_fd()) } {
        Ok(libc::CLONE_NEWNET) => Ok(()),
        Ok(_) => Err(NetnsError::WrongKind(name.to_owned())),
        Err(e) => Err(unreadable(e)),
    }
}

fn identity(fd: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    fstat(fd).map(|s| (s.st_dev, s.st_ino))
}

fn identity_of(path: &Path) -> Result<(u64, u64), Errno> {
    stat(path).map(|s| (s.st_dev, s.st_ino))
}
