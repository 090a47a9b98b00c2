//! What a namespace holds.

use super::{RouteSocket, rule};
use crate::wire::{Frame, Refused, attr, attrs, text_of, u32_at};
use ipnetwork::IpNetwork;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_core::NetlinkPayload::InnerMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType};
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netmode_model::op::{Blackhole, LinkFlag, PolicyRule, Prohibit, Route, RouteOptions};
use netmode_model::state::{AddrState, LinkState};
use netmode_model::{IfName, Mac, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One namespace's part of an observation.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) links: Vec<LinkState>,
    pub(crate) addrs: Vec<AddrState>,
    pub(crate) routes: Vec<Route>,
    pub(crate) prohibited: BTreeSet<Prohibit>,
    pub(crate) blackholes: BTreeSet<Blackhole>,
    pub(crate) rules: Vec<PolicyRule>,
}

/// A route of any table that leads somewhere, or refuses.
pub(crate) struct Path {
    pub(crate) table: u32,
    pub(crate) to: Option<IpNetwork>,
    pub(crate) via: Option<IpAddr>,
    /// Absent for several next hops.
    pub(crate) oif: Option<u32>,
    pub(crate) metric: u32,
    pub(crate) options: RouteOptions,
    pub(crate) six: bool,
    /// `RTN_UNICAST`, `RTN_PROHIBIT` or `RTN_BLACKHOLE`.
    pub(crate) kind: RouteType,
}

impl Path {
    fn leads(&self) -> bool {
        self.kind == RouteType::Unicast
    }
}

/// Attributes of RTM_NEWLINK, linux/if_link.h.
mod ifla {
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_SLAVE_KIND: u16 = 4;
    pub(super) const INFO_SLAVE_DATA: u16 = 5;
    pub(super) const BRPORT_MODE: u16 = 4;
    pub(super) const BRPORT_ISOLATED: u16 = 33;
}

impl RouteSocket {
    /// Everything of the socket's namespace that a plan can change.
    pub(crate) fn facts(&mut self, at: &Place) -> Result<Facts, Refused> {
        let mut links = self.links(at)?;
        // Only where the links say that there is a bucket: a dump for each of a thousand namespaces takes its time.
        if links.iter().any(|link| link.rate.is_some()) {
            let rates: BTreeMap<u32, u64> = self.rates()?.into_iter().collect();
            links.iter_mut().for_each(|link| link.rate = rates.get(&link.index).copied());
        }
        let names: BTreeMap<u32, &IfName> = links.iter().map(|link| (link.index, &link.name)).collect();
        let addrs = self
            .addresses()?
            .into_iter()
            .filter_map(|(index, addr)| Some(AddrState { at: at.clone(), dev: (*names.get(&index)?).clone(), addr }));
        let addrs = addrs.collect();
        let (paths, refused): (Vec<_>, Vec<_>) = self.every_path()?.into_iter().partition(Path::leads);
        let of_kind = |kind: RouteType| refused.iter().filter(move |path| path.kind == kind);
        let prohibit = |path: &Path| Some(Prohibit { table: path.table, to: path.to? });
        let prohibited = of_kind(RouteType::Prohibit).filter_map(prohibit).collect();
        let blackhole = |path: &Path| Some(Blackhole { at: at.clone(), to: path.to? });
        let blackholes = of_kind(RouteType::BlackHole).filter_map(blackhole).collect();
        let routes = paths.into_iter().filter_map(|path| {
            let dev = (*names.get(&path.oif?)?).clone();
            let (to, via, table, options) = (path.to, path.via, path.table, path.options);
            Some(Route { at: at.clone(), to, via, dev, table, options })
        });
        let routes = routes.collect();
        let rules = if *at == Place::Host { self.rules()? } else { Vec::new() };
        Ok(Facts { links, addrs, routes, prohibited, blackholes, rules })
    }

    /// Links are read by a raw walk: a message holds a hundred attributes, and an unknown one of a newer
    /// kernel must not hide a link.
    pub(crate) fn links(&mut self, at: &Place) -> Result<Vec<LinkState>, Refused> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let found = self.netlink.dump(Message::GetLink(request), |frame| read_link(frame, at))?;
        let names: BTreeMap<u32, IfName> = found.iter().map(|(link, _)| (link.index, link.name.clone())).collect();
        let with_master = |(mut link, master): (LinkState, Option<u32>)| {
            link.master = master.and_then(|index| names.get(&index).cloned());
            link
        };
        Ok(found.into_iter().map(with_master).collect())
    }

    /// One link; ENODEV if it is not there. Its master is named by a second request.
    pub(crate) fn link_state(&mut self, at: &Place, dev: &IfName) -> Result<Option<LinkState>, Refused> {
        let mut request = LinkMessage::default();
        request.attributes.push(LinkAttribute::IfName(dev.as_str().into()));
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let Some((mut link, master)) = self.netlink.get(Message::GetLink(request), |frame| read_link(frame, at))?
        else {
            return Ok(None);
        };
        if let Some(index) = master {
            let mut request = LinkMessage::default();
            request.header.index = index;
            let master = self.netlink.get(Message::GetLink(request), |frame| read_link(frame, at))?;
            link.master = master.map(|(master, _)| master.name);
        }
        Ok(Some(link))
    }

    /// The MTU of one link. A dump of all is quadratic: for each veth the kernel searches the number of its peer's
    /// namespace.
    pub(crate) fn mtu_of(&mut self, index: u32) -> Result<Option<u32>, Refused> {
        Ok(self.at_index(index)?.map(|link| link.mtu))
    }

    pub(crate) fn name_of(&mut self, index: u32) -> Result<Option<IfName>, Refused> {
        Ok(self.at_index(index)?.map(|link| link.name))
    }

    fn at_index(&mut self, index: u32) -> Result<Option<LinkState>, Refused> {
        let mut request = LinkMessage::default();
        request.header.index = index;
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let link = self.netlink.get(Message::GetLink(request), |frame| read_link(frame, &Place::Host))?;
        Ok(link.map(|(link, _)| link))
    }

    /// Index of the link, and address.
    pub(crate) fn addresses(&mut self) -> Result<Vec<(u32, IpNetwork)>, Refused> {
        self.netlink.dump(Message::GetAddress(AddressMessage::default()), |frame| match decode(frame)? {
            Message::NewAddress(m) => {
                // IFA_LOCAL is the own address on a point-to-point link, IFA_ADDRESS the peer's.
                let local = m.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(ip) => Some(*ip),
                    _ => None,
                });
                let address = m.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Address(ip) => Some(*ip),
                    _ => None,
                });
                Some((m.header.index, IpNetwork::new(local.or(address)?, m.header.prefix_len).ok()?))
            }
            _ => None,
        })
    }

    /// Unicast routes of every table.
    pub(crate) fn paths(&mut self) -> Result<Vec<Path>, Refused> {
        Ok(self.every_path()?.into_iter().filter(Path::leads).collect())
    }

    fn every_path(&mut self) -> Result<Vec<Path>, Refused> {
        self.netlink.dump(Message::GetRoute(RouteMessage::default()), |frame| match decode(frame)? {
            Message::NewRoute(m) => read_path(&m),
            _ => None,
        })
    }

    fn rules(&mut self) -> Result<Vec<PolicyRule>, Refused> {
        self.netlink.dump(Message::GetRule(RuleMessage::default()), |frame| match decode(frame)? {
            Message::NewRule(m) => rule::read(&m),
            _ => None,
        })
    }
}

/// What cannot be decoded is nothing of ours.
fn decode(frame: &Frame<'_>) -> Option<Message> {
    match NetlinkMessage::<Message>::deserialize(frame.whole) {
        Ok(NetlinkMessage { payload: InnerMessage(inner), .. }) => Some(inner),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%error, "left out what the kernel says");
            None
        }
    }
}

fn read_link(frame: &Frame<'_>, at: &Place) -> Option<(LinkState, Option<u32>)> {
    let body = frame.body;
    let mut link = LinkState {
        at: at.clone(),
        index: u32_at(body, 4),
        // Replaced below; a link always has a name.
        name: "lo".parse().ok()?,
        mac: None,
        mtu: 0,
        up: u32_at(body, 8) & libc::IFF_UP as u32 != 0,
        kind: None,
        master: None,
        alias: None,
        group: 0,
        hairpin: None,
        isolated: None,
        rate: None,
        flags: Vec::new(),
        queue: 0,
    };
    let on = [(libc::IFF_PROMISC, LinkFlag::Promisc), (libc::IFF_ALLMULTI, LinkFlag::Allmulti)];
    link.flags.extend(on.into_iter().filter(|(bit, _)| u32_at(body, 8) & *bit as u32 != 0).map(|(_, flag)| flag));
    let mut master = None;
    for (kind, value) in attrs(body.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text_of(value).parse().ok()?,
            libc::IFLA_ADDRESS => {
                let octets: Option<[u8; 6]> = value.try_into().ok();
                link.mac = octets.filter(|o| *o != [0; 6]).map(Mac::from_octets);
            }
            libc::IFLA_MTU => link.mtu = u32_at(value, 0),
            libc::IFLA_MASTER => master = Some(u32_at(value, 0)),
            // How fast the link does not tell.
            libc::IFLA_QDISC if text_of(value) == super::rate::KIND => link.rate = Some(0),
            libc::IFLA_IFALIAS => link.alias = Some(text_of(value)),
            libc::IFLA_TXQLEN => link.queue = u32_at(value, 0),
            libc::IFLA_GROUP => link.group = u32_at(value, 0),
            libc::IFLA_LINKINFO => {
                link.kind = kind_of(value);
                if attr(value, ifla::INFO_SLAVE_KIND).is_some_and(|kind| text_of(kind) == "bridge") {
                    let port = attr(value, ifla::INFO_SLAVE_DATA).unwrap_or_default();
                    let flag = |kind| attr(port, kind).and_then(<[u8]>::first).map(|on| *on != 0);
                    link.hairpin = flag(ifla::BRPORT_MODE);
                    link.isolated = flag(ifla::BRPORT_ISOLATED);
                }
            }
            _ => {}
        }
    }
    Some((link, master))
}

/// The kind of a link, of its `IFLA_LINKINFO`.
pub(crate) fn kind_of(info: &[u8]) -> Option<String> {
    attr(info, ifla::INFO_KIND).map(text_of)
}

fn read_path(message: &RouteMessage) -> Option<Path> {
    let header = &message.header;
    let six = header.address_family == AddressFamily::Inet6;
    let kind = header.kind;
    let known = matches!(kind, RouteType::Unicast | RouteType::Prohibit | RouteType::BlackHole);
    if !known || !(six || header.address_family == AddressFamily::Inet) {
        return None;
    }
    let any = if six { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let options = RouteOptions { onlink: header.flags.contains(RouteFlags::Onlink), ..RouteOptions::default() };
    let table = u32::from(header.table);
    let mut path = Path { table, to: None, via: None, oif: None, metric: 0, options, six, kind };
    let mut destination = any;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = ip(to)?,
            RouteAttribute::Gateway(via) => path.via = ip(via),
            RouteAttribute::Oif(index) => path.oif = Some(*index),
            RouteAttribute::Table(table) => path.table = *table,
            RouteAttribute::Priority(metric) => path.metric = *metric,
            RouteAttribute::Metrics(metrics) => {
                for metric in metrics {
                    match metric {
                        RouteMetric::Mtu(mtu) => path.options.mtu = Some(*mtu),
                        RouteMetric::Advmss(size) => path.options.advmss = Some(*size),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    // IPv6 shows its default one (`IP6_RT_PRIO_USER`) where none was given.
    let unsaid = if six { 1024 } else { 0 };
    path.options.priority = Some(path.metric).filter(|metric| *metric != unsaid);
    let default = header.destination_prefix_length == 0 && path.via.is_some();
    path.to = if default { None } else { IpNetwork::new(destination, header.destination_prefix_length).ok() };
    Some(path)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
