//! Descriptors that outlive the agent.
//!
//! What is sent over a unix socket (SCM_RIGHTS, unix(7)) lives in its queue until it is received, whatever becomes of
//! the sender. Both ends of one pair are held open by somebody else: systemd's descriptor store, or a process that does
//! nothing but that. The agent puts a bundle into the queue for each endpoint; its successor finds them there.
//!
//! A bundle is a pair of its own, with sockets in its queue, so that it can be emptied out of turn: when the endpoint
//! goes, its ports must be free at once.

use crate::hold::Inherited;
use crate::scm;
use nix::sys::socket::sockopt::SndBufForce;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const CHUNK: usize = 250;

/// Bytes that a queue may hold; a message of descriptors counts for about 1 KiB.
const QUEUE: usize = 64 << 20;

/// So many emptied bundles may stay in the queue beyond the number of full ones.
const STALE: usize = 64;

/// The queue that outlives the agent.
#[derive(Debug)]
pub struct Keeper {
    out: OwnedFd,
    back: OwnedFd,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    /// What a successor is to find.
    bundles: HashMap<u64, Arc<OwnedFd>>,
    stale: usize,
}

/// What one endpoint has in the queue. Dropping it takes it out.
#[derive(Debug)]
pub struct Bundle {
    keeper: Arc<Keeper>,
    number: u64,
    queue: Arc<OwnedFd>,
}

impl Keeper {
    /// A new pair, both ends of which somebody else has to be given.
    ///
    /// # Errors
    /// Without a descriptor to spare.
    pub fn new() -> io::Result<Arc<Self>> {
        let (out, back) = pair()?;
        Ok(Self::of(out, back))
    }

    /// The pair that an agent before this one made: where descriptors go in, and where they come out.
    pub fn of(out: OwnedFd, back: OwnedFd) -> Arc<Self> {
        Arc::new(Self { out, back, inside: Mutex::default() })
    }

    /// Both ends: where descriptors go in, and where they come out.
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.out.as_fd(), self.back.as_fd()]
    }

    /// Takes everything that an agent before this one left. Copies stay in the queue until [`Inherited::clear`]: should
    /// this agent fail to start, the next one finds them again.
    pub fn inherit(self: &Arc<Self>) -> Inherited {
        let mut all = Vec::new();
        for bundle in drain(self.back.as_fd()) {
            all.extend(drain(bundle.as_fd()));
        }
        let copies: Vec<BorrowedFd<'_>> = all.iter().map(AsFd::as_fd).collect();
        let inherited = Inherited::with(self.keep(&copies).ok());
        all.into_iter().for_each(|fd| inherited.add(fd));
        inherited
    }

    /// Leaves copies of descriptors where a successor finds them.
    ///
    /// # Errors
    /// The queue is full, or the kernel has no room for more descriptors under way (ETOOMANYREFS).
    pub fn keep(self: &Arc<Self>, fds: &[BorrowedFd<'_>]) -> io::Result<Bundle> {
        let (into, queue) = pair()?;
        fds.chunks(CHUNK).try_for_each(|chunk| scm::send(into.as_fd(), chunk))?;
        let mut inside = self.inside();
        scm::send(self.out.as_fd(), &[queue.as_fd()])?;
        let queue = Arc::new(queue);
        inside.next += 1;
        let number = inside.next;
        inside.bundles.insert(number, Arc::clone(&queue));
        Ok(Bundle { keeper: Arc::clone(self), number, queue })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Emptied bundles stay in the queue, which knows no other order than its own: now and then it is made anew.
    fn forget(&self, number: u64) {
        let mut inside = self.inside();
        inside.bundles.remove(&number);
        inside.stale += 1;
        if inside.stale <= inside.bundles.len() + STALE {
            return;
        }
        inside.stale = 0;
        drop(drain(self.back.as_fd()));
        for bundle in inside.bundles.values() {
            if let Err(error) = scm::send(self.out.as_fd(), &[bundle.as_fd()]) {
                tracing::warn!(%error, "a successor will not find the sockets of an endpoint");
            }
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        drop(drain(self.queue.as_fd()));
        self.keeper.forget(self.number);
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (out, back) = socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?;
    // Without CAP_NET_ADMIN the usual 200 KiB do for most.
    let _ = setsockopt(&out, SndBufForce, &QUEUE);
    Ok((out, back))
}

/// Everything that a queue holds. Bytes that end or break mean the same: no more.
fn drain(queue: BorrowedFd<'_>) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    let mut byte = [0; 1];
    loop {
        match scm::receive::<CHUNK>(queue, &mut byte) {
            Ok((0, _)) | Err(_) => return all,
            Ok((_, fds)) => all.extend(fds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hold::hold_range;
    use netmode_model::{HostAddr, PortRange, Protocol};

    fn is_free(port: u16) -> bool {
        std::net::TcpListener::bind(("0.0.0.0", port)).is_ok()
    }

    /// Ports that nobody has at this moment.
    fn range() -> PortRange {
        let first = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        PortRange::new(first.min(65_000), first.min(65_000) + 1).unwrap()
    }

    #[test]
    fn what_is_kept_outlives_its_maker_and_goes_with_its_bundle() {
        let keeper = Keeper::new().unwrap();
        let ports = range();
        let held = hold_range(&Inherited::default(), Protocol::Tcp, HostAddr::Any, ports).unwrap();
        let fds: Vec<BorrowedFd<'_>> = held.iter().filter_map(crate::hold::Held::fd).collect();
        let bundle = keeper.keep(&fds).unwrap();
        drop(held);
        assert!(!is_free(ports.first()), "the queue holds it");
        drop(bundle);
        assert!(is_free(ports.first()), "it is free with the bundle");
    }

    #[test]
    fn a_successor_finds_the_sockets_by_what_they_are_bound_to() {
        let keeper = Keeper::new().unwrap();
        let ports = range();
        let held = hold_range(&Inherited::default(), Protocol::Udp, HostAddr::Any, ports).unwrap();
        let fds: Vec<BorrowedFd<'_>> = held.iter().filter_map(crate::hold::Held::fd).collect();
        let bundle = keeper.keep(&fds).unwrap();
        drop(held);
        // The agent dies: its handles are gone, the pair stays.
        std::mem::forget(bundle);
        let inherited = keeper.inherit();
        assert!(inherited.take(Protocol::Tcp, HostAddr::Any, ports.first()).is_none());
        let again = hold_range(&inherited, Protocol::Udp, HostAddr::Any, ports).unwrap();
        assert_eq!(again.len(), 2);
        assert!(inherited.is_empty());
    }

    #[test]
    fn the_queue_does_not_grow_with_what_is_gone() {
        let keeper = Keeper::new().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let stays = keeper.keep(&[null.as_fd()]).unwrap();
        for _ in 0..10 * STALE {
            drop(keeper.keep(&[null.as_fd()]).unwrap());
        }
        let found = drain(keeper.back.as_fd());
        assert!(found.len() <= 2 * STALE, "{}", found.len());
        assert_eq!(found.iter().map(|b| drain(b.as_fd()).len()).sum::<usize>(), 1, "and what stays is still there");
        drop(stays);
    }
}
