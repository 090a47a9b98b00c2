//! Routes.

use super::{NEW, RouteSocket};
use crate::wire::Refused;
use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netmode_model::op::{MAIN_TABLE, Prohibit, Route, RouteOptions};
use nix::errno::Errno;
use rtnetlink::RouteMessageBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl RouteSocket {
    pub(crate) fn add_route(&mut self, route: &Route) -> Result<(), Refused> {
        let index = self.index(&route.dev)?;
        self.request(Message::NewRoute(message(route, index)?), NEW)
    }

    pub(crate) fn delete_route(&mut self, route: &Route) -> Result<(), Refused> {
        let index = self.index(&route.dev)?;
        let mut message = message(route, index)?;
        // Whoever added it; the kernel compares these only if they are given.
        message.header.protocol = RouteProtocol::Unspec;
        message.header.scope = RouteScope::NoWhere;
        self.request(Message::DelRoute(message), 0)
    }

    pub(crate) fn add_prohibit(&mut self, route: &Prohibit) -> Result<(), Refused> {
        self.request(Message::NewRoute(refusing(RouteType::Prohibit, route.to, route.table)), NEW)
    }

    pub(crate) fn delete_prohibit(&mut self, route: &Prohibit) -> Result<(), Refused> {
        self.request(Message::DelRoute(refusing(RouteType::Prohibit, route.to, route.table)), 0)
    }

    pub(crate) fn add_blackhole(&mut self, to: IpNetwork) -> Result<(), Refused> {
        self.request(Message::NewRoute(refusing(RouteType::BlackHole, to, MAIN_TABLE)), NEW)
    }

    pub(crate) fn delete_blackhole(&mut self, to: IpNetwork) -> Result<(), Refused> {
        self.request(Message::DelRoute(refusing(RouteType::BlackHole, to, MAIN_TABLE)), 0)
    }
}

fn refusing(kind: RouteType, to: IpNetwork, table: u32) -> RouteMessage {
    let mut message = match to {
        IpNetwork::V4(to) => {
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to.network(), to.prefix()).build()
        }
        IpNetwork::V6(to) => {
            RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to.network(), to.prefix()).build()
        }
    };
    message.header.kind = kind;
    in_table(message, table)
}

fn message(route: &Route, index: u32) -> Result<RouteMessage, Refused> {
    let mixed = || Refused::new(Errno::EINVAL, "destination and gateway are of different families");
    let six = match (route.to, route.via) {
        (Some(to), Some(via)) if to.is_ipv6() != via.is_ipv6() => return Err(mixed()),
        (Some(to), _) => to.is_ipv6(),
        (None, via) => matches!(via, Some(IpAddr::V6(_))),
    };
    if six {
        let mut builder = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(index);
        if let Some(IpNetwork::V6(to)) = route.to {
            builder = builder.destination_prefix(to.network(), to.prefix());
        }
        if let Some(IpAddr::V6(via)) = route.via {
            builder = builder.gateway(via);
        }
        return Ok(finished(builder.build(), route));
    }
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(index);
    if let Some(IpNetwork::V4(to)) = route.to {
        builder = builder.destination_prefix(to.network(), to.prefix());
    }
    match route.via {
        Some(IpAddr::V4(via)) => builder = builder.gateway(via),
        // Without a gateway the destination is on the link; IPv4 refuses a wider scope only for a gateway,
        // but shows and looks up this one as ip(8) makes it.
        _ => builder = builder.scope(RouteScope::Link),
    }
    Ok(finished(builder.build(), route))
}

/// With what few routes have.
fn finished(message: RouteMessage, route: &Route) -> RouteMessage {
    let RouteOptions { onlink, priority, mtu, advmss, scope } = route.options;
    let mut message = in_table(message, route.table);
    if onlink {
        message.header.flags.insert(RouteFlags::Onlink);
    }
    if let Some(scope) = scope {
        message.header.scope = RouteScope::from(scope);
    }
    message.attributes.extend(priority.map(RouteAttribute::Priority));
    let metrics: Vec<_> = mtu.map(RouteMetric::Mtu).into_iter().chain(advmss.map(RouteMetric::Advmss)).collect();
    if !metrics.is_empty() {
        message.attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

fn in_table(mut message: RouteMessage, table: u32) -> RouteMessage {
    // The header has one byte for it; RT_TABLE_UNSPEC where that is not enough.
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.attributes.push(RouteAttribute::Table(table));
    message
}
