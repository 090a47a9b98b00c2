//! The host's devices, for privileged containers.

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What the container has of its own below `/dev`.
const OWN: [&str; 6] = ["pts", "shm", "mqueue", "fd", "console", "init"];

/// Every device node below `/dev`.
pub(crate) fn of_host() -> Vec<LinuxDevice> {
    let mut all = Vec::new();
    collect(Path::new("/dev"), 3, &mut all);
    all
}

fn collect(dir: &Path, depth: u32, all: &mut Vec<LinuxDevice>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, Ok(meta)) = (entry.path(), entry.metadata()) else { continue };
        let is_own = OWN.iter().any(|own| entry.file_name() == *own) && dir == Path::new("/dev");
        if is_own {
            continue;
        }
        let kind = meta.file_type();
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, all);
        }
        let typ = match (kind.is_char_device(), kind.is_block_device()) {
            (true, _) => LinuxDeviceType::C,
            (_, true) => LinuxDeviceType::B,
            _ => continue,
        };
        let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        let (Ok(major), Ok(minor)) = (i64::try_from(major), i64::try_from(minor)) else { continue };
        let device = LinuxDeviceBuilder::default().path(&path).typ(typ).major(major).minor(minor);
        let device = device.file_mode(meta.mode() & 0o7777).uid(meta.uid()).gid(meta.gid());
        all.extend(device.build());
    }
}
