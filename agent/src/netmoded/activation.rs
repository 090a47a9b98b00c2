//! Descriptors that the service manager hands over at the start (sd_listen_fds(3)): the API's socket, and what an
//! agent before this one left in its store.

use listenfd::ListenFd;
use nix::libc;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// What came with the start.
pub struct Activation {
    fds: ListenFd,
    names: Vec<String>,
}

impl Activation {
    /// Reads the environment. To be called before any thread is started.
    pub fn from_env() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).collect();
        Self { fds: ListenFd::from_env(), names }
    }

    /// The API's socket: the first descriptor that is not from the store.
    ///
    /// # Errors
    /// It is no listening unix socket.
    pub fn take_listener(&mut self) -> io::Result<Option<UnixListener>> {
        let stored = |name: &String| crate::legacy::STORED.contains(&name.as_str());
        let first = (0..self.fds.len()).find(|n| !self.names.get(*n).is_some_and(stored));
        first.map_or(Ok(None), |n| self.fds.take_unix_listener(n))
    }

    /// Descriptors from the store, all of them or none.
    pub fn take_stored(&mut self, names: [&str; 2]) -> Option<[OwnedFd; 2]> {
        let [first, second] = names.map(|name| self.names.iter().position(|n| n == name));
        let mut take = |at: Option<usize>| {
            self.fds.take_custom::<OwnedFd>(at?, libc::AF_UNIX, libc::SOCK_STREAM, "end of a unix socket pair").ok()?
        };
        Some([take(first)?, take(second)?])
    }

    /// Whether a service manager with a store started this.
    pub fn has_manager(&self) -> bool {
        std::env::var_os("NOTIFY_SOCKET").is_some() && Path::new("/run/systemd/system").exists()
    }
}
