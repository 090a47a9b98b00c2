//! Names of sets and maps.

use netmode_model::nft::Family;

/// Names of the links that are our bridges.
pub const BRIDGES: &str = "bridges";
/// Pairs of a bridge with itself: traffic that comes and goes by the same bridge.
pub const SAME_BRIDGE: &str = "same_bridge";

/// Names of those of our bridges that lead nowhere else.
pub const INTERNAL: &str = "internal";

/// The flowtable that established connections of containers go by, where the configuration names links for it.
pub const FLOWTABLE: &str = "fast_path";

/// Names of the links of CNI's networks, open to everybody who has a route to them.
pub const OPEN: &str = "open";
/// Names of those links between which no connection begins.
pub const APART: &str = "apart";

/// Names of the links that the host has on the VPC's subnets.
pub const ENIS: &str = "enis";
/// IPv6 prefixes that no connection begins to from outside of the VPC.
pub const EGRESS_ONLY: &str = "egress_only6";

/// Name of the set of the addresses of a family that tasks have on the VPC's subnets.
pub fn tasks(family: Family) -> &'static str {
    match family {
        Family::V4 => "tasks4",
        Family::V6 => "tasks6",
    }
}

/// Name of the set of the VPC's prefixes of a family.
pub fn vpc(family: Family) -> &'static str {
    match family {
        Family::V4 => "vpc4",
        Family::V6 => "vpc6",
    }
}

/// Name of the set of those of the VPC's prefixes whose tasks leave the VPC with the host's address.
pub fn vpc_nat(family: Family) -> &'static str {
    match family {
        Family::V4 => "vpc_nat4",
        Family::V6 => "vpc_nat6",
    }
}

/// Sets of CNI's attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guests {
    /// Addresses that others see the host's address of.
    Masquerade,
    /// Pairs of prefixes, from and to, between which they are seen themselves.
    Plain,
    /// Addresses behind published ports that neighbours and the host's loopback reach under the gateway's address.
    Hairpin,
    /// Addresses behind published ports that everybody reaches under the host's address.
    Behind,
}

/// Name of a set of CNI's attachments.
pub fn guests(set: Guests, family: Family) -> &'static str {
    match (set, family) {
        (Guests::Masquerade, Family::V4) => "guest_masq4",
        (Guests::Masquerade, Family::V6) => "guest_masq6",
        (Guests::Plain, Family::V4) => "guest_plain4",
        (Guests::Plain, Family::V6) => "guest_plain6",
        (Guests::Hairpin, Family::V4) => "guest_hairpin4",
        (Guests::Hairpin, Family::V6) => "guest_hairpin6",
        (Guests::Behind, Family::V4) => "guest_behind4",
        (Guests::Behind, Family::V6) => "guest_behind6",
    }
}

/// Name of the set of links between which this host forwards nothing of a family: those that were there before the
/// agent switched forwarding on.
pub fn closed(family: Family) -> &'static str {
    match family {
        Family::V4 => "closed4",
        Family::V6 => "closed6",
    }
}

/// The forms of publication, in the order in which their maps are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One port to one port: a hash map.
    Port,
    /// A range to the same range: an interval map whose data is the address alone.
    Range,
    /// A range to a shifted range: an interval map whose data is an address and an offset.
    Shift,
}

/// Every form, in order.
pub const FORMS: [Form; 3] = [Form::Port, Form::Range, Form::Shift];

/// Name of the set of our prefixes of a family.
pub fn subnets(family: Family) -> &'static str {
    match family {
        Family::V4 => "subnets4",
        Family::V6 => "subnets6",
    }
}

/// Name of the set of our prefixes of a family, each with its bridge.
pub fn home(family: Family) -> &'static str {
    match family {
        Family::V4 => "home4",
        Family::V6 => "home6",
    }
}

/// Name of the map of a form, for mappings with a host address or without.
pub fn map(form: Form, with_address: bool, family: Family) -> &'static str {
    match (form, with_address, family) {
        (Form::Port, true, Family::V4) => "port_addr4",
        (Form::Port, false, Family::V4) => "port_any4",
        (Form::Range, true, Family::V4) => "range_addr4",
        (Form::Range, false, Family::V4) => "range_any4",
        (Form::Shift, true, Family::V4) => "shift_addr4",
        (Form::Shift, false, Family::V4) => "shift_any4",
        (Form::Port, true, Family::V6) => "port_addr6",
        (Form::Port, false, Family::V6) => "port_any6",
        (Form::Range, true, Family::V6) => "range_addr6",
        (Form::Range, false, Family::V6) => "range_any6",
        (Form::Shift, true, Family::V6) => "shift_addr6",
        (Form::Shift, false, Family::V6) => "shift_any6",
    }
}

/// Ranges or single ports, with a host address or without.
pub(super) const SHADOWS: [(bool, bool); 4] = [(false, true), (false, false), (true, true), (true, false)];

/// Name of the set of published ports that containers' own connections could be given.
pub fn shadow(range: bool, with_address: bool, family: Family) -> &'static str {
    match (range, with_address, family) {
        (false, true, Family::V4) => "held_addr4",
        (false, false, Family::V4) => "held_any4",
        (true, true, Family::V4) => "held_range_addr4",
        (true, false, Family::V4) => "held_range_any4",
        (false, true, Family::V6) => "held_addr6",
        (false, false, Family::V6) => "held_any6",
        (true, true, Family::V6) => "held_range_addr6",
        (true, false, Family::V6) => "held_range_any6",
    }
}
