//! A view of `/proc` of a worker's own.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How many namespaces are looked at by one instance.
const WORN: usize = 64;

/// An instance of procfs that is mounted nowhere.
///
/// Every namespace has its own `/proc/sys/net/ipv6/conf/eth0`, all of the same name in the same directory, and a
/// look-up goes through those that were seen before (`proc_sys_compare`): 0.9 ms after 800 namespaces, and it
/// grows. A new instance has seen none. Making one takes 16 µs.
pub(super) struct Proc {
    root: OwnedFd,
    seen: usize,
}

impl Proc {
    pub(super) fn open() -> Result<Self, Errno> {
        // Kernels before 5.2 and sandboxes do not have it: then the machine's, only slower.
        let machines = |_| open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        Ok(Self { root: instance().or_else(machines)?, seen: 0 })
    }

    /// Its root, to look at one namespace more.
    pub(super) fn look(&mut self) -> &OwnedFd {
        self.seen += 1;
        &self.root
    }

    /// Takes a new one if this has seen many. Letting one go takes time: not within a request.
    pub(super) fn renew(&mut self) {
        if self.seen >= WORN
            && let Ok(new) = Self::open()
        {
            *self = new;
        }
    }
}

/// `mount -t proc`, without a place.
fn instance() -> Result<OwnedFd, Errno> {
    /// `FSOPEN_CLOEXEC`, `FSCONFIG_CMD_CREATE`, `FSMOUNT_CLOEXEC`, linux/mount.h.
    const CLOEXEC: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    let nothing = std::ptr::null::<libc::c_char>();
    // SAFETY: the name is a C string, and the kernel only reads it.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), CLOEXEC) };
    let context = owned(context)?;
    // SAFETY: the command takes neither key nor value; both are null and the last argument is 0.
    let made = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), CREATE, nothing, nothing, 0) };
    Errno::result(made)?;
    // SAFETY: the descriptor is that of a file system that was just made; no memory is passed.
    let root = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) };
    owned(root)
}

fn owned(fd: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(fd)?;
    // SAFETY: the system call that returned it made the descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}
