//! Looking into a root file system without ever leaving it.
//!
//! An image may hold symbolic links such as `/etc/passwd -> /root/secret`. openat2(2) with `RESOLVE_IN_ROOT` takes
//! them as the container will, and never steps out of the directory.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, fstat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Most that is read of a file such as `/etc/passwd`.
const MOST_BYTES: u64 = 4 << 20;

/// A root file system.
#[derive(Debug)]
pub(crate) struct Rooted(OwnedFd);

/// What a path of the command search leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A regular file with an execute bit.
    Executable,
    /// Something else.
    NotExecutable,
    /// Nothing.
    Nothing,
}

impl Rooted {
    /// Opens the directory that will be `/`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    fn at(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // EAGAIN: a rename elsewhere made the kernel unsure whether ".." escaped.
        loop {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
    }

    /// The text of a regular file; `None` where there is none.
    pub(crate) fn read(&self, path: &Path) -> Option<String> {
        // O_PATH first: opening a FIFO or a device of an image would block or do things.
        let fd = self.at(path, OFlag::O_PATH).ok()?;
        if fstat(&fd).ok()?.st_mode & nix::libc::S_IFMT != nix::libc::S_IFREG {
            return None;
        }
        let file = File::from(self.at(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?);
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What a path leads to.
    pub(crate) fn look(&self, path: &Path) -> Found {
        let Some(stat) = self.at(path, OFlag::O_PATH).ok().and_then(|fd| fstat(fd).ok()) else {
            return Found::Nothing;
        };
        let is_file = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG;
        if is_file && stat.st_mode & 0o111 != 0 { Found::Executable } else { Found::NotExecutable }
    }

    /// What the first word of a command leads to, as execvp(3) would find it.
    pub(crate) fn find_command(&self, command: &str, cwd: &Path, path: &str) -> Found {
        if command.contains('/') {
            return self.look(&cwd.join(command));
        }
        let mut best = Found::Nothing;
        for dir in path.split(':').filter(|d| d.starts_with('/')) {
            match self.look(&Path::new(dir).join(command)) {
                Found::Executable => return Found::Executable,
                Found::NotExecutable => best = Found::NotExecutable,
                Found::Nothing => {}
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn links_do_not_lead_out() {
        let dir = std::env::temp_dir().join(format!("nm-rooted-{}", std::process::id()));
        fs::create_dir_all(dir.join("root/etc")).unwrap();
        fs::create_dir_all(dir.join("root/bin")).unwrap();
        fs::write(dir.join("secret"), "outside").unwrap();
        fs::write(dir.join("root/secret"), "inside").unwrap();
        fs::write(dir.join("root/bin/tool"), "x").unwrap();
        let root = Rooted::open(&dir.join("root")).unwrap();
        for (i, target) in ["/secret", "../../../secret", "../secret"].into_iter().enumerate() {
            symlink(target, dir.join(format!("root/etc/l{i}"))).unwrap();
            assert_eq!(root.read(Path::new(&format!("/etc/l{i}"))).as_deref(), Some("inside"), "{target}");
        }
        assert_eq!(root.read(Path::new("/etc")), None);
        assert_eq!(root.find_command("tool", Path::new("/"), "/usr/bin:/bin"), Found::NotExecutable);
        fs::set_permissions(dir.join("root/bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(root.find_command("tool", Path::new("/"), "/usr/bin:/bin"), Found::Executable);
        assert_eq!(root.find_command("./tool", Path::new("/bin"), ""), Found::Executable);
        assert_eq!(root.find_command("none", Path::new("/"), "/bin"), Found::Nothing);
        assert_eq!(root.look(Path::new("/bin")), Found::NotExecutable);
        fs::remove_dir_all(dir).unwrap();
    }
}
