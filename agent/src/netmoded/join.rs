//! Where the engine meets the kernel: the engine's traits, carried out by Linux.

use netmode_engine::{Apply, Hold, HoldFailure, Kept, Observe};
use netmode_kernel::hold::{self, Held, HoldError};
use netmode_kernel::{Kernel, Scope};
use netmode_model::op::OpError;
use netmode_model::{Final, HostAddr, Inverse, NetnsName, Observed, Op, Place, PortRange, Protocol};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// What is done behind the reply waits so long for more of its kind: a look at all tracked connections costs
/// about 10 ms, however many ports it is for, and deleting a link 15, however many are deleted with it. Telling a
/// thousand neighbours takes 4.
const GATHER: Duration = Duration::from_millis(5);

/// And so long after the last time, so that it takes a fifth of one processor at most.
const PAUSE: Duration = Duration::from_millis(50);

/// `IFLA_GROUP` of links that are about to be deleted; nobody else's.
const DOOMED: u32 = 0x6e6d_6472;

/// The kernel, as the engine sees it.
#[derive(Clone)]
pub struct Linux {
    kernel: Arc<Kernel>,
    behind: Sender<Final>,
}

impl Linux {
    /// Joins the kernel, and starts the thread for what is done behind replies.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(kernel: Arc<Kernel>) -> std::io::Result<Self> {
        let (behind, steps) = mpsc::channel();
        let shared = kernel.clone();
        std::thread::Builder::new().name("behind".into()).spawn(move || work_behind(&shared, &steps))?;
        Ok(Self { kernel, behind })
    }
}

fn work_behind(kernel: &Kernel, steps: &Receiver<Final>) {
    let mut last: Option<Instant> = None;
    while let Ok(first) = steps.recv() {
        let since = last.map_or(PAUSE, |l| l.elapsed());
        std::thread::sleep(GATHER.max(PAUSE.saturating_sub(since)));
        let (links, flows): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(steps.try_iter()).partition(|s| matches!(s, Final::LinkDrop { .. }));
        let failures = kernel.finish(&flows).into_iter().chain(drop_links(kernel, &links));
        for failure in failures {
            tracing::warn!(%failure, "not done behind the reply");
        }
        last = Some(Instant::now());
    }
}

fn drop_links(kernel: &Kernel, links: &[Final]) -> Vec<OpError> {
    let index = |step: &Final| match step {
        Final::LinkDrop { dev } => kernel.link(&Place::Host, dev).ok().flatten().map(|l| l.index),
        _ => None,
    };
    let indexes: Vec<u32> = links.iter().filter_map(index).collect();
    if indexes.is_empty() { Vec::new() } else { kernel.delete_links(&indexes, DOOMED).err().into_iter().collect() }
}

impl Apply for Linux {
    fn apply(&self, ops: &[Op]) -> Result<Vec<Inverse>, OpError> {
        self.kernel.apply(ops).map_err(|failed| {
            for left in &failed.undo {
                tracing::warn!(%left, "could not be taken back");
            }
            failed.error
        })
    }

    fn undo(&self, inverses: Vec<Inverse>) -> Vec<OpError> {
        self.kernel.undo(inverses)
    }

    fn finish(&self, steps: &[Final]) -> Vec<OpError> {
        let later = |s: &Final| !matches!(s, Final::NetnsDrop { .. });
        let (behind, now): (Vec<_>, Vec<_>) = steps.iter().cloned().partition(later);
        for step in behind {
            // The thread lives as long as this does.
            let _ = self.behind.send(step);
        }
        self.kernel.finish(&now)
    }
}

impl Observe for Linux {
    fn observe(&self, namespaces: &[NetnsName]) -> Result<Observed, OpError> {
        self.kernel.observe(Scope { namespaces, table: true })
    }
}

impl Hold for Linux {
    fn hold(&self, protocol: Protocol, host: HostAddr, ports: PortRange, answering: bool) -> Result<Kept, HoldFailure> {
        // Binding would do for a multicast or broadcast address, too, and with ip_nonlocal_bind for any.
        if let Some(ip) = host.specific().filter(|ip| !ip.is_loopback()) {
            let addresses = self.kernel.host_addresses().map_err(|e| HoldFailure::Other { errno: e.errno })?;
            if !addresses.iter().any(|a| a.ip() == ip) {
                return Err(HoldFailure::NoSuchAddress);
            }
        }
        let (held, answering) = match answering {
            true => hold::hold_range_answering(protocol, host, ports),
            false => hold::hold_range(protocol, host, ports).map(|held| (held, Vec::new())),
        }
        .map_err(failure)?;
        let by_socket = held.iter().all(|h| !matches!(h, Held::Recorded));
        Ok(Kept { by_socket, sockets: Box::new(held), answering })
    }

    fn holder(&self, protocol: Protocol, port: u16) -> Option<String> {
        hold::who_holds(protocol, port).map(|h| format!("process {} ({})", h.pid, h.command))
    }
}

fn failure(error: HoldError) -> HoldFailure {
    match error {
        HoldError::Taken { port, .. } => HoldFailure::Taken { port, holder: None },
        HoldError::NoSuchAddress { .. } => HoldFailure::NoSuchAddress,
        HoldError::Limit { limit } => HoldFailure::Limit { limit },
        HoldError::Other { errno, .. } => HoldFailure::Other { errno: errno as i32 },
    }
}
