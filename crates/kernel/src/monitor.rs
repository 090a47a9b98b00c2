//! What others change on the host, as it happens.

use crate::kernel::{Kernel, locked};
use crate::nft;
use crate::route::kind_of;
use crate::wire::{Frame, Netlink, attr, frames, text_of, u32_at};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netmode_model::IfName;
use netmode_model::state::is_wire;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Something changed. Reading back what exists is the receiver's work: a message tells that, not what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A link came, changed or went.
    Link {
        /// Its number.
        index: u32,
        /// Its name.
        name: Option<IfName>,
        /// It is there no more.
        gone: bool,
        /// It is up (`IFF_UP`), and has not just left its bridge.
        stands: bool,
        /// It came or changed, and leads to a network outside by itself.
        wire: bool,
    },
    /// A link with an alias is gone, of the host or of any namespace that it knows a number of.
    Unlinked {
        /// ifalias.
        alias: String,
    },
    /// An address came or went.
    Address {
        /// Number of its link.
        index: u32,
        /// It is there no more.
        gone: bool,
    },
    /// A default route of the main table came or went.
    Route,
    /// A policy routing rule came or went, or a route that refuses went.
    Rule,
    /// Somebody else wrote one of our tables.
    Table,
    /// Somebody changed chains of his own that forwarded packets meet.
    Foreign,
    /// Messages were lost because they came faster than they were read: anything may have changed.
    Lost,
}

/// Messages of the route family, linux/rtnetlink.h; each has a NEW, and a DEL one higher.
mod rtm {
    pub(super) const NEWLINK: u16 = 16;
    pub(super) const DELLINK: u16 = 17;
    pub(super) const NEWADDR: u16 = 20;
    pub(super) const DELADDR: u16 = 21;
    pub(super) const NEWROUTE: u16 = 24;
    pub(super) const DELROUTE: u16 = 25;
    pub(super) const NEWRULE: u16 = 32;
    pub(super) const DELRULE: u16 = 33;
}

/// `RTNLGRP_*`: links, IPv4 and IPv6 addresses, routes, rules.
const ROUTE_GROUPS: [u32; 7] = [1, 5, 9, 7, 11, 8, 19];

/// `NFNLGRP_NFTABLES`.
const TABLE_GROUP: u32 = 7;

/// `RTNLGRP_LINK`.
const LINK_GROUP: u32 = 1;

/// A burst of changes must fit: 1,000 links that go send 6 MB.
const BUFFER: usize = 8 << 20;

/// Datagrams that are read at once; others wait for the thread as well.
const AT_ONCE: usize = 64;

/// What we did ourselves, and what of others matters.
struct Own {
    /// The sockets that we write with.
    ports: [u32; 2],
    /// Our tables.
    tables: [String; 2],
    /// Tables of others that were found to matter.
    watched: Arc<Mutex<nft::Watched>>,
}

/// Listens for changes.
pub struct Monitor {
    route: AsyncFd<Netlink>,
    everywhere: AsyncFd<Netlink>,
    tables: AsyncFd<Netlink>,
    own: Own,
    queue: VecDeque<Change>,
}

impl Monitor {
    /// Begins to listen in the namespace of the calling thread, which must be the one that `kernel` was opened
    /// in, within a tokio runtime. Changes of our table that `kernel` itself makes are left out.
    ///
    /// # Errors
    /// The sockets cannot be opened.
    pub fn open(kernel: &Kernel) -> io::Result<Self> {
        Ok(Self {
            route: listen(NETLINK_ROUTE, &ROUTE_GROUPS, false)?,
            everywhere: listen(NETLINK_ROUTE, &[LINK_GROUP], true)?,
            tables: listen(NETLINK_NETFILTER, &[TABLE_GROUP], false)?,
            own: Own {
                ports: [kernel.owner_port(), kernel.guest_port()],
                tables: kernel.table_names().map(str::to_owned),
                watched: kernel.watched.clone(),
            },
            queue: VecDeque::new(),
        })
    }

    /// The next change. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// The sockets cannot be read any more.
    pub async fn next(&mut self) -> io::Result<Change> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(change);
            }
            let (own, queue) = (&self.own, &mut self.queue);
            tokio::select! {
                ready = self.route.readable_mut() => read(&mut ready?, queue, route_change)?,
                ready = self.everywhere.readable_mut() => read(&mut ready?, queue, unlinked)?,
                ready = self.tables.readable_mut() => {
                    read(&mut ready?, queue, |frame| table_change(frame, own))?;
                }
            }
        }
    }
}

fn listen(protocol: isize, groups: &[u32], everywhere: bool) -> io::Result<AsyncFd<Netlink>> {
    let netlink = Netlink::open(protocol)?;
    netlink.set_buffers(BUFFER)?;
    if everywhere {
        netlink.listen_everywhere()?;
    }
    netlink.join(groups)?;
    // SAFETY: `as_raw_fd` always gives the descriptor of the socket that the value owns, and the value is kept,
    // never replaced, until it is dropped together with its registration.
    let registered = unsafe { AsyncFd::register_with_interest(netlink, Interest::READABLE) };
    registered.map_err(|e| io::Error::other(e.to_string()))
}

type Ready<'a> = tokio::io::unix::AsyncFdReadyMutGuard<'a, Netlink>;

/// Reads what is there, and leaves the socket readable where that is too much at once; equal neighbours become one.
fn read(
    ready: &mut Ready<'_>,
    queue: &mut VecDeque<Change>,
    change: impl Fn(&Frame<'_>) -> Option<Change>,
) -> io::Result<()> {
    for _ in 0..AT_ONCE {
        match ready.get_inner_mut().receive(libc::MSG_DONTWAIT) {
            Ok(Some(bytes)) => {
                for change in frames(bytes).filter_map(|frame| change(&frame)) {
                    if queue.back() != Some(&change) {
                        queue.push_back(change);
                    }
                }
            }
            Ok(None) => {
                ready.clear_ready();
                return Ok(());
            }
            Err(e) if e.raw_os_error() == Some(Errno::ENOBUFS as i32) => queue.push_back(Change::Lost),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// `struct rtmsg`: length of the destination's prefix, and the table; the type comes seventh. Every link that comes up brings routes of its
/// own; they lead nowhere out.
fn is_default(frame: &Frame<'_>) -> bool {
    const MAIN: u8 = 254;
    frame.body.get(1) == Some(&0) && frame.body.get(4) == Some(&MAIN)
}

/// A link that is gone and had an alias: what is said of links that come and change is nobody's concern here.
fn unlinked(frame: &Frame<'_>) -> Option<Change> {
    let whole = i32::from(*frame.body.first()?) == libc::AF_UNSPEC;
    let alias = attr(frame.body.get(16..)?, libc::IFLA_IFALIAS).filter(|_| frame.kind == rtm::DELLINK && whole)?;
    Some(Change::Unlinked { alias: text_of(alias) })
}

fn route_change(frame: &Frame<'_>) -> Option<Change> {
    match frame.kind {
        rtm::NEWLINK | rtm::DELLINK => {
            let attributes = frame.body.get(16..)?;
            let name = attr(attributes, libc::IFLA_IFNAME).and_then(|n| text_of(n).parse().ok());
            // Those of family AF_BRIDGE are of ports and tell less: a DELLINK that the link is no port any more.
            let whole = i32::from(frame.body[0]) == libc::AF_UNSPEC;
            let (came, gone) = (frame.kind == rtm::NEWLINK, frame.kind == rtm::DELLINK && whole);
            let stands = came && u32_at(frame.body, 8) & libc::IFF_UP as u32 != 0;
            let kind = attr(attributes, libc::IFLA_LINKINFO).and_then(kind_of);
            let wire = came && whole && is_wire(kind.as_deref());
            Some(Change::Link { index: u32_at(frame.body, 4), name, gone, stands, wire })
        }
        // `struct ifaddrmsg`: the link's number comes after four bytes.
        rtm::NEWADDR | rtm::DELADDR => {
            Some(Change::Address { index: u32_at(frame.body, 4), gone: frame.kind == rtm::DELADDR })
        }
        // One that comes does no harm.
        rtm::DELROUTE if frame.body.get(7) == Some(&libc::RTN_PROHIBIT) => Some(Change::Rule),
        rtm::NEWROUTE | rtm::DELROUTE => is_default(frame).then_some(Change::Route),
        rtm::NEWRULE | rtm::DELRULE => Some(Change::Rule),
        _ => None,
    }
}

/// Messages of nf_tables, linux/netfilter/nf_tables.h.
mod nft_msg {
    pub(super) const NEWCHAIN: u16 = 3;
    pub(super) const DELCHAIN: u16 = 5;
    pub(super) const NEWRULE: u16 = 6;
    pub(super) const DELRULE: u16 = 8;
    pub(super) const DELTABLE: u16 = 2;
    pub(super) const NEWGEN: u16 = 15;
}

/// Every message of nf_tables but the closing NEWGEN begins with the table's name. Of tables of others little is told:
/// kube-proxy writes thousands of rules into `nat`, and sets change all the time.
fn table_change(frame: &Frame<'_>, own: &Own) -> Option<Change> {
    let kind = frame.kind & 0xff;
    if own.ports.contains(&frame.port) || kind == nft_msg::NEWGEN {
        return None;
    }
    let table = attr(frame.body.get(4..)?, 1).map(text_of)?;
    if own.tables.contains(&table) {
        return Some(Change::Table);
    }
    let (family, attributes) = nft::parts(frame)?;
    let watched = || locked(&own.watched).contains(&(family, table));
    let matters = match kind {
        nft_msg::NEWCHAIN | nft_msg::DELCHAIN => nft::on_forward(attributes) || watched(),
        nft_msg::NEWRULE | nft_msg::DELRULE | nft_msg::DELTABLE => watched(),
        _ => false,
    };
    matters.then_some(Change::Foreign)
}
