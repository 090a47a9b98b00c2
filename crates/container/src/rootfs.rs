//! Root file systems: overlays over images and over the host itself.

use crate::error::ContainerError;
use crate::layout::private_dir;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Mounts an overlay: writes go to `work/upper`, `lower` stays as it is.
pub(crate) fn mount_overlay(lower: &Path, work: &Path, merged: &Path) -> Result<(), ContainerError> {
    let (upper, workdir) = (work.join("upper"), work.join("work"));
    for dir in [&upper, &workdir, &merged.to_owned()] {
        private_dir(dir)?;
    }
    // The upper directory is what the top will look like: /tmp stays everybody's.
    let like = fs::metadata(lower).map_err(ContainerError::file("read", lower))?;
    chown(&upper, Some(like.uid()), Some(like.gid())).map_err(ContainerError::file("change", &upper))?;
    // An image's top that says nothing of others was made by unpacking, not by the image.
    let mode = if like.mode() & 0o077 == 0 { 0o755 } else { like.mode() & 0o7777 };
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(&upper, mode).map_err(ContainerError::file("change", &upper))?;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), workdir.display());
    mount(Some("overlay"), merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|e| failed("an overlay", merged, e))
}

fn failed(what: &'static str, path: &Path, errno: nix::errno::Errno) -> ContainerError {
    ContainerError::Mount { what, path: path.into(), source: errno.into() }
}

/// Mounts the host's own file system below `bundle/rootfs`, with all writes in a tmpfs that dies with the mount.
///
/// An overlay shows one file system and not what is mounted on it, so a separate `/usr`, `/home` or `/var` gets an
/// overlay of its own. `/proc`, `/sys`, `/dev` and `/run` are left empty: the container has its own.
pub(crate) fn mount_host(bundle: &Path) -> Result<PathBuf, ContainerError> {
    let (scratch, merged) = (bundle.join("scratch"), bundle.join("rootfs"));
    private_dir(&scratch)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &scratch, Some("tmpfs"), flags, Some("mode=700"))
        .map_err(|e| failed("a tmpfs", &scratch, e))?;
    mount_overlay(Path::new("/"), &scratch.join("root"), &merged)?;
    let table = fs::read("/proc/self/mountinfo").map_err(ContainerError::file("read", "/proc/self/mountinfo"))?;
    for (n, inner) in host_mounts(&table).iter().enumerate() {
        add_host_mount(inner, &scratch.join(n.to_string()), &merged)?;
    }
    Ok(merged)
}

fn add_host_mount(host: &Path, work: &Path, merged: &Path) -> Result<(), ContainerError> {
    let Ok(relative) = host.strip_prefix("/") else { return Ok(()) };
    let target = merged.join(relative);
    let (Ok(from), Ok(to)) = (host.symlink_metadata(), target.symlink_metadata()) else { return Ok(()) };
    if from.is_dir() && to.is_dir() && !host.as_os_str().as_bytes().iter().any(|b| b":,\\".contains(b)) {
        if mount_overlay(host, work, &target).is_ok() {
            return Ok(());
        }
        // Some file systems cannot lie under an overlay.
    } else if from.is_dir() != to.is_dir() || from.is_symlink() || to.is_symlink() {
        return Ok(());
    }
    bind_read_only(host, &target)
}

fn bind_read_only(source: &Path, target: &Path) -> Result<(), ContainerError> {
    let none = None::<&str>;
    let bind = mount(Some(source), target, none, MsFlags::MS_BIND, none);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    bind.and_then(|()| mount(none, target, none, flags, none)).map_err(|e| failed("a host file system", target, e))
}

/// File systems that are views of the kernel or belong to other containers.
const NOT_SHOWN: &[&str] = &[
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "pstore",
    "configfs",
    "fusectl",
    "mqueue",
    "hugetlbfs",
    "autofs",
    "binfmt_misc",
    "rpc_pipefs",
    "nsfs",
    "overlay",
    "efivarfs",
];

/// Mount points of the host that belong to its file system as people see it, outermost first.
fn host_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = mounts(mountinfo)
        .filter(|(point, kind)| {
            let own = ["/proc", "/sys", "/dev", "/run"].iter().any(|p| point.starts_with(p));
            // Deeper ones are other programs' (snapshots, volumes of containers): there may be thousands.
            let near = (2..=3).contains(&point.components().count());
            near && !own && !NOT_SHOWN.contains(&kind.as_str())
        })
        .map(|(point, _)| point)
        .collect();
    points.sort();
    points.dedup();
    points
}

/// Mount point and file system type of each line (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &[u8]) -> impl Iterator<Item = (PathBuf, String)> {
    mountinfo.split(|b| *b == b'\n').filter_map(|line| {
        let mut fields = line.split(|b| *b == b' ');
        let point = unescape(fields.nth(4)?);
        let kind = fields.skip_while(|f| *f != b"-").nth(1)?;
        Some((point, String::from_utf8_lossy(kind).into_owned()))
    })
}

/// The kernel writes space, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        if let Some(byte) = octal.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Unmounts everything at and below a directory, newest first. What is in use goes when its last user does.
pub(crate) fn unmount_below(dir: &Path) -> Vec<ContainerError> {
    let table = match fs::read("/proc/self/mountinfo") {
        Ok(table) => table,
        Err(e) => return vec![ContainerError::file("read", "/proc/self/mountinfo")(e)],
    };
    let mut points: Vec<PathBuf> = mounts(&table).map(|(p, _)| p).filter(|p| p.starts_with(dir)).collect();
    points.reverse();
    let detach = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    let gone = [nix::errno::Errno::EINVAL, nix::errno::Errno::ENOENT];
    points
        .into_iter()
        .filter_map(|p| umount2(&p, detach).err().filter(|e| !gone.contains(e)).map(|e| (p, e)))
        .map(|(path, e)| ContainerError::File { doing: "unmount", path, source: e.into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"1 0 8:1 / / rw - ext4 /dev/a rw\n\
        2 1 0:5 / /proc rw shared:3 - proc proc rw\n\
        3 1 8:2 / /usr ro,relatime shared:1 master:2 - ext4 /dev/b ro\n\
        4 1 8:3 / /home/some\\040one rw - ext4 /dev/c rw\n\
        5 1 0:9 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw\n\
        6 1 0:9 / /run/user/0 rw - tmpfs tmpfs rw\n\
        7 1 8:4 / /a/b/c/d rw - ext4 /dev/d rw\n";

    #[test]
    fn mount_points_are_read() {
        let all: Vec<_> = mounts(TABLE).collect();
        assert_eq!(all.len(), 7);
        assert_eq!(all[2], ("/usr".into(), "ext4".into()));
        assert_eq!(all[3].0, PathBuf::from("/home/some one"));
    }

    #[test]
    fn only_the_hosts_own_file_systems_are_shown() {
        assert_eq!(host_mounts(TABLE), [PathBuf::from("/home/some one"), PathBuf::from("/usr")]);
    }
}
