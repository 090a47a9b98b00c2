//! What the engine asks of the world. The agent joins these to the kernel; tests join them to a
//! [`crate::recorder::Recorder`].

use ipnetwork::IpNetwork;
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{Final, HostAddr, IfName, Inverse, Mac, NetnsName, Observed, Op, PortRange, Protocol};
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Carries out operations.
pub trait Apply: Send + Sync {
    /// Carries the operations out in order.
    ///
    /// # Errors
    /// The first refusal; everything before it has been taken back then, newest first.
    fn apply(&self, ops: &[Op]) -> Result<Vec<Inverse>, OpError>;

    /// Takes operations back, newest first; goes on past failures and returns all of them.
    fn undo(&self, inverses: Vec<Inverse>) -> Vec<OpError>;

    /// Carries out what cannot be taken back; goes on past failures and returns all of them.
    fn finish(&self, steps: &[Final]) -> Vec<OpError>;

    /// Who on a link of the host has an address already, as far as an answer comes at once.
    ///
    /// # Errors
    /// The kernel refused to ask.
    fn neighbour(&self, _dev: &IfName, _ip: IpAddr) -> Result<Option<Mac>, OpError> {
        Ok(None)
    }
}

/// Reads the kernel's state.
pub trait Observe: Send + Sync {
    /// A snapshot of the host, of the namespaces named and of our table.
    ///
    /// # Errors
    /// The kernel refused a dump.
    fn observe(&self, namespaces: &[NetnsName]) -> Result<Observed, OpError>;
}

/// Single facts of the host, for plans that depend on what somebody else has made.
pub trait Host: Send + Sync {
    /// A link of the host.
    ///
    /// # Errors
    /// The kernel refused the question.
    fn link(&self, dev: &IfName) -> Result<Option<LinkState>, OpError>;

    /// Every link of the host: a walk, for what cannot be asked by name.
    ///
    /// # Errors
    /// The kernel refused the dump.
    fn links(&self) -> Result<Vec<LinkState>, OpError>;

    /// Addresses of a link of the host, by its number.
    ///
    /// # Errors
    /// The kernel refused the dump.
    fn addresses(&self, index: u32) -> Result<Vec<IpNetwork>, OpError>;

    /// The link that the host's default route leaves by.
    ///
    /// # Errors
    /// The kernel refused the dump.
    fn egress(&self) -> Result<Option<IfName>, OpError>;
}

/// Holds ports against everybody else: the executor of reservations.
pub trait Hold: Send + Sync {
    /// Takes every port of a range, or none of them. With `answering` also a socket on `[::1]` for each port,
    /// for traffic that the kernel cannot translate.
    ///
    /// # Errors
    /// Why not, with the port that stands in the way.
    fn hold(&self, protocol: Protocol, host: HostAddr, ports: PortRange, answering: bool) -> Result<Kept, HoldFailure>;

    /// Leaves what an endpoint holds where the agent's successor finds it. Dropping the answer takes it away again.
    fn keep(&self, _kept: &[&Kept]) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    /// Who has a port that could not be held, in words. Slow: asked only for an error that somebody reads.
    fn holder(&self, _protocol: Protocol, _port: u16) -> Option<String> {
        None
    }
}

/// What holds ports.
pub trait Sockets: Send + Sync {
    /// The sockets, as far as there are some.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

impl Sockets for () {}

/// Sockets that are held; dropping it lets them go.
pub struct Kept {
    /// Whether sockets hold the ports, or only a record does (SCTP without its module).
    pub by_socket: bool,
    /// What holds them.
    pub sockets: Box<dyn Sockets>,
    /// Sockets on the host's `[::1]`, by host port: TCP listens. They are the agent's to serve.
    pub answering: Vec<(u16, OwnedFd)>,
}

impl Kept {
    /// Ports that nothing but a record keeps.
    pub fn by_record() -> Self {
        Self { by_socket: false, sockets: Box::new(()), answering: Vec::new() }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept {{ by_socket: {} }}", self.by_socket)
    }
}

/// Why ports cannot be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldFailure {
    /// A process outside of netmode has the port (EADDRINUSE).
    #[error("port {port} is in use by {}", holder.as_deref().unwrap_or("another process"))]
    Taken {
        /// The port.
        port: u16,
        /// `process PID (COMMAND)`, where it could be found.
        holder: Option<String>,
    },
    /// The host has no such address (EADDRNOTAVAIL).
    #[error("this host has no such address")]
    NoSuchAddress,
    /// The limit of open files is reached (EMFILE, ENFILE).
    #[error("the limit of {limit} open files is reached")]
    Limit {
        /// RLIMIT_NOFILE.
        limit: u64,
    },
    /// Something else.
    #[error("{}", std::io::Error::from_raw_os_error(*errno))]
    Other {
        /// The kernel's error number.
        errno: i32,
    },
}
