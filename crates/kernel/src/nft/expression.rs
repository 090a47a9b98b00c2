//! Rules as the kernel's expressions (linux/netfilter/nf_tables.h).

use super::padded;
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload, Register, Verdict,
    VerdictAttribute,
};
use netmode_model::IfName;
use netmode_model::flow::REFUSED;
use netmode_model::nft::{Action, DnatForm, Family, Field, Match, Number, Rule, TableFamily, Type};

/// Registers of four bytes begin at this number (`NFT_REG32_00`).
const FIRST: u32 = 8;

/// Connection states and status bits, linux/netfilter/nf_conntrack_common.h.
mod ct {
    pub(super) const STATE: u32 = 0;
    pub(super) const STATUS: u32 = 2;
    pub(super) const ESTABLISHED_RELATED: u32 = 1 << 1 | 1 << 2;
    pub(super) const NEW: u32 = 1 << 3;
    pub(super) const SRC_NAT: u32 = 1 << 4;
    pub(super) const DST_NAT: u32 = 1 << 5;
}

/// `NF_NAT_RANGE_*`, linux/netfilter/nf_nat.h.
mod nat {
    pub(super) const DNAT: u32 = 1;
    pub(super) const PROTO_SPECIFIED: u32 = 2;
    pub(super) const RANDOM_FULLY: u32 = 0x10;
    pub(super) const PROTO_OFFSET: u32 = 0x20;
}

/// `ETH_P_ARP`, linux/if_ether.h.
const ARP: u32 = 0x0806;

/// `NFPROTO_*`, linux/netfilter.h.
fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// `NFT_PAYLOAD_*_HEADER`, linux/netfilter/nf_tables.h.
mod header {
    pub(super) const LINK: u32 = 0;
    pub(super) const NETWORK: u32 = 1;
    pub(super) const TRANSPORT: u32 = 2;
}

/// EtherTypes, linux/if_ether.h.
fn ether_type(family: Family) -> u32 {
    match family {
        Family::V4 => 0x0800,
        Family::V6 => 0x86dd,
    }
}

/// The register that begins `slot` registers of four bytes after the first.
pub(super) fn register(slot: usize) -> Register {
    Register::Other(FIRST + slot as u32)
}

pub(super) fn be(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

pub(super) fn other(name: &str, attributes: Vec<DefaultNla>) -> Expressions {
    Expressions::Other { expression_type: name.into(), attributes }
}

fn value(bytes: &[u8]) -> DataAttribute {
    DataAttribute::Value(bytes.to_vec())
}

pub(super) fn meta(key: MetaKey, to: Register) -> Expressions {
    Expressions::Meta(vec![Meta::DestinationRegister(to), Meta::Key(key)])
}

pub(super) fn cmp(negate: bool, bytes: &[u8]) -> Expressions {
    compare(if negate { Operator::NotEqual } else { Operator::Equal }, bytes)
}

fn compare(operator: Operator, bytes: &[u8]) -> Expressions {
    Expressions::Cmp(vec![Cmp::SourceRegister(register(0)), Cmp::Op(operator), Cmp::Data(value(bytes))])
}

/// `register & mask ^ xor`, four bytes.
fn octets(ip: std::net::IpAddr) -> Vec<u8> {
    match ip {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn bitwise(mask: &[u8], xor: &[u8]) -> Expressions {
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(register(0)),
        Bitwise::DestinationRegister(register(0)),
        Bitwise::Length(mask.len() as u32),
        Bitwise::Mask(value(mask)),
        Bitwise::Xor(value(xor)),
    ])
}

fn payload(base: u32, offset: u32, len: u32, to: Register) -> Expressions {
    Expressions::Payload(vec![
        Payload::DestinationRegister(to),
        Payload::Base(base),
        Payload::Offset(offset),
        Payload::Len(len),
    ])
}

fn load(field: Field, to: Register) -> Expressions {
    use header::{LINK, NETWORK, TRANSPORT};
    match field {
        Field::Saddr(Family::V4) => payload(NETWORK, 12, 4, to),
        Field::Daddr(Family::V4) => payload(NETWORK, 16, 4, to),
        Field::Saddr(Family::V6) => payload(NETWORK, 8, 16, to),
        Field::Daddr(Family::V6) => payload(NETWORK, 24, 16, to),
        Field::L4Proto => meta(MetaKey::L4Proto, to),
        Field::Sport => payload(TRANSPORT, 0, 2, to),
        Field::Dport => payload(TRANSPORT, 2, 2, to),
        Field::EtherSaddr => payload(LINK, 6, 6, to),
        Field::ArpSaddrEther => payload(NETWORK, 8, 6, to),
        Field::ArpSaddrIp => payload(NETWORK, 14, 4, to),
        Field::NdTarget => payload(TRANSPORT, 8, 16, to),
        Field::NdLladdr => payload(TRANSPORT, 26, 6, to),
        Field::Iifname => meta(MetaKey::Iifname, to),
        Field::Oifname => meta(MetaKey::Oifname, to),
    }
}

fn size(field: Field) -> usize {
    match field {
        Field::Saddr(Family::V4) | Field::Daddr(Family::V4) | Field::ArpSaddrIp => Type::Ipv4Addr.size(),
        Field::Saddr(Family::V6) | Field::Daddr(Family::V6) | Field::NdTarget => Type::Ipv6Addr.size(),
        Field::L4Proto => Type::InetProto.size(),
        Field::Sport | Field::Dport => Type::InetService.size(),
        Field::EtherSaddr | Field::ArpSaddrEther | Field::NdLladdr => Type::EtherAddr.size(),
        Field::Iifname | Field::Oifname => Type::IfName.size(),
    }
}

/// What a packet must have been shown to be before a part of it is looked at.
fn within(field: Field) -> Option<Within> {
    match field {
        Field::Saddr(family) | Field::Daddr(family) => Some(Within::Ip(family)),
        Field::ArpSaddrEther | Field::ArpSaddrIp => Some(Within::Arp),
        _ => None,
    }
}

/// How a number is loaded and compared.
struct Loaded {
    load: Expressions,
    bytes: Vec<u8>,
    /// What the packet must have been shown to be before.
    within: Within,
    l4proto: Option<u8>,
}

fn number(number: Number, value: u32) -> Loaded {
    use header::{LINK, NETWORK, TRANSPORT};
    let to = register(0);
    let part = |base, offset, len: usize, within, l4proto| Loaded {
        load: payload(base, offset, len as u32, to),
        bytes: value.to_be_bytes()[4 - len..].to_vec(),
        within,
        l4proto,
    };
    let around = |key, bytes| Loaded { load: meta(key, to), bytes, within: Within::Any, l4proto: None };
    let (four, six) = (Within::Ip(Family::V4), Within::Ip(Family::V6));
    match number {
        Number::Iifgroup => around(MetaKey::Iifgroup, value.to_ne_bytes().to_vec()),
        Number::L4Proto => around(MetaKey::L4Proto, vec![value as u8]),
        Number::EtherType => part(LINK, 12, 2, Within::Any, None),
        Number::ArpOperation => part(NETWORK, 6, 2, Within::Arp, None),
        Number::Ip6NextHeader => part(NETWORK, 6, 1, six, None),
        Number::Ip6Length => part(NETWORK, 4, 2, six, None),
        Number::UdpSport => part(TRANSPORT, 0, 2, Within::Any, Some(17)),
        Number::UdpDport => part(TRANSPORT, 2, 2, Within::Any, Some(17)),
        Number::IcmpType => part(TRANSPORT, 0, 1, four, Some(1)),
        Number::Icmp6Type => part(TRANSPORT, 0, 1, six, Some(58)),
        Number::IcmpCode => part(TRANSPORT, 1, 1, four, Some(1)),
        Number::Icmp6Code => part(TRANSPORT, 1, 1, six, Some(58)),
        Number::NdOption => part(TRANSPORT, 24, 1, Within::Any, None),
    }
}

/// The layer that a part of a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Any,
    Ip(Family),
    Arp,
}

/// A link's name as the kernel compares it: 16 bytes, zeros behind.
pub(super) fn padded_name(name: &IfName) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    bytes
}

/// The type of a family's addresses.
fn address(family: Family) -> Type {
    match family {
        Family::V4 => Type::Ipv4Addr,
        Family::V6 => Type::Ipv6Addr,
    }
}

/// `dreg`: where a map's data goes; none for a set.
fn lookup(set: &str, dreg: Option<Register>, negate: bool) -> Expressions {
    /// `NFT_LOOKUP_F_INV`.
    const INVERTED: u32 = 1;
    let mut attributes = vec![Lookup::Set(set.into()), Lookup::SourceRegister(register(0))];
    attributes.extend(dreg.map(Lookup::DestinationRegister));
    attributes.extend(negate.then_some(Lookup::Flags(INVERTED)));
    Expressions::Lookup(attributes)
}

pub(super) fn verdict(attributes: Vec<VerdictAttribute>) -> Expressions {
    let data = DataAttribute::Verdict(attributes);
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), Immediate::Data(data)])
}

/// Any of the bits is set.
fn ct_bits(key: u32, bits: u32) -> [Expressions; 3] {
    let load = other("ct", vec![be(1, u32::from(register(0))), be(2, key)]);
    [load, bitwise(&bits.to_ne_bytes(), &[0; 4]), cmp(true, &[0; 4])]
}

/// Any of the bits of a connection's status is set.
pub(super) fn ct_status(bits: u32) -> [Expressions; 3] {
    ct_bits(ct::STATUS, bits)
}

/// Expressions of a rule in a table of a family, in order.
pub(super) fn rule(table: TableFamily, rule: &Rule) -> Vec<Expressions> {
    let mut encoder = Encoder { out: Vec::new(), table, within: Within::Any, l4proto: None };
    rule.matches.iter().for_each(|m| encoder.condition(m));
    encoder.action(&rule.action);
    encoder.out
}

struct Encoder {
    out: Vec<Expressions>,
    table: TableFamily,
    /// What the packet is known to be.
    within: Within,
    /// What `meta l4proto` is known to be.
    l4proto: Option<u8>,
}

impl Encoder {
    /// A field of the IPv4 header must not be looked for in an IPv6 packet. nft(8) adds this condition of itself where
    /// the rule has none. In a bridge's table it is the frame's EtherType: `meta protocol` would be that behind a VLAN
    /// tag.
    fn require(&mut self, within: Within) {
        if self.within == within || within == Within::Any {
            return;
        }
        let ether_type = match within {
            Within::Ip(family) if self.table == TableFamily::Inet => {
                self.out.push(meta(MetaKey::Nfproto, register(0)));
                self.out.push(cmp(false, &[nfproto(family)]));
                self.within = within;
                return;
            }
            Within::Ip(family) => ether_type(family),
            Within::Arp => ARP,
            Within::Any => return,
        };
        self.is(Number::EtherType, ether_type, false);
    }

    fn is(&mut self, what: Number, value: u32, negate: bool) {
        let Loaded { load, bytes, within, l4proto } = number(what, value);
        self.require(within);
        if let Some(protocol) = l4proto.filter(|p| self.l4proto != Some(*p)) {
            self.is(Number::L4Proto, protocol.into(), false);
        }
        self.out.push(load);
        self.out.push(cmp(negate, &bytes));
        match what {
            _ if negate => {}
            Number::EtherType if value == ARP => self.within = Within::Arp,
            Number::EtherType if value == ether_type(Family::V4) => self.within = Within::Ip(Family::V4),
            Number::EtherType if value == ether_type(Family::V6) => self.within = Within::Ip(Family::V6),
            Number::L4Proto => self.l4proto = Some(value as u8),
            _ => {}
        }
    }

    /// Loads fields one behind the other, each padded to whole registers.
    fn load(&mut self, fields: &[Field]) {
        fields.iter().filter_map(|f| within(*f)).for_each(|w| self.require(w));
        let mut slot = 0;
        for field in fields {
            self.out.push(load(*field, register(slot)));
            slot += padded(size(*field)) / 4;
        }
    }

    fn ct_bits(&mut self, key: u32, bits: u32) {
        self.out.extend(ct_bits(key, bits));
    }

    fn condition(&mut self, condition: &Match) {
        match condition {
            Match::Family(family) => self.require(Within::Ip(*family)),
            Match::DaddrLocal => {
                // NFTA_FIB_DREG, _RESULT (NFT_FIB_RESULT_ADDRTYPE), _FLAGS (NFTA_FIB_F_DADDR).
                self.out.push(other("fib", vec![be(1, u32::from(register(0))), be(2, 3), be(3, 2)]));
                self.out.push(cmp(false, &u32::from(libc::RTN_LOCAL).to_ne_bytes()));
            }
            Match::Prefix { field, prefix, negate } => {
                self.load(&[*field]);
                let (mask, network) = (octets(prefix.mask()), octets(prefix.network()));
                if mask.iter().any(|byte| *byte != 0xff) {
                    self.out.push(bitwise(&mask, &vec![0; mask.len()]));
                }
                self.out.push(cmp(*negate, &network));
            }
            Match::Iif { name, negate } => {
                self.load(&[Field::Iifname]);
                self.out.push(cmp(*negate, &padded_name(name)));
            }
            Match::Oif { name, negate } => {
                self.load(&[Field::Oifname]);
                self.out.push(cmp(*negate, &padded_name(name)));
            }
            Match::Ports { field, first, last } if first == last => {
                self.load(&[*field]);
                self.out.push(cmp(false, &first.to_be_bytes()));
            }
            Match::Ports { field, first, last } => {
                self.load(&[*field]);
                // Network order: bytes compare as the numbers do.
                self.out.push(compare(Operator::GreatherThanEqual, &first.to_be_bytes()));
                self.out.push(compare(Operator::LessThanEqual, &last.to_be_bytes()));
            }
            Match::In { fields, set, negate } => {
                self.load(fields);
                self.out.push(lookup(set, None, *negate));
            }
            Match::Established => self.ct_bits(ct::STATE, ct::ESTABLISHED_RELATED),
            Match::New => self.ct_bits(ct::STATE, ct::NEW),
            Match::Dnat => self.ct_bits(ct::STATUS, ct::DST_NAT),
            Match::Snat => self.ct_bits(ct::STATUS, ct::SRC_NAT),
            Match::Is { number, value, negate } => self.is(*number, *value, *negate),
        }
    }

    fn action(&mut self, action: &Action) {
        /// `NF_DROP` and `NF_ACCEPT`, linux/netfilter.h.
        const DROP: Verdict = Verdict::Other(0);
        const ACCEPT: Verdict = Verdict::Other(1);
        match action {
            Action::Accept => self.out.push(verdict(vec![VerdictAttribute::Code(ACCEPT)])),
            Action::Refuse(prefix) => {
                // NFTA_LOG_GROUP, NFTA_LOG_PREFIX.
                let text = [prefix.as_bytes(), &[0]].concat();
                let group = DefaultNla::new(1, REFUSED.to_be_bytes().to_vec());
                self.out.push(other("log", vec![group, DefaultNla::new(2, text)]));
                self.action(&Action::Drop);
            }
            Action::Drop => {
                self.count();
                self.out.push(verdict(vec![VerdictAttribute::Code(DROP)]));
            }
            Action::Count => self.count(),
            Action::Counted(action) => {
                self.count();
                self.action(action);
            }
            Action::Jump(chain) => {
                let to = VerdictAttribute::Chain(chain.clone());
                self.out.push(verdict(vec![VerdictAttribute::Code(Verdict::Jump), to]));
            }
            Action::FlowAdd(flowtable) => {
                // NFTA_FLOW_TABLE_NAME.
                let name = [flowtable.as_bytes(), &[0]].concat();
                self.out.push(other("flow_offload", vec![DefaultNla::new(1, name)]));
            }
            Action::MarkOr(bit) => {
                self.out.push(meta(MetaKey::Mark, register(0)));
                self.out.push(bitwise(&(!bit).to_ne_bytes(), &bit.to_ne_bytes()));
                self.out.push(Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(register(0))]));
            }
            Action::Masquerade { ports: None } => self.out.push(other("masq", vec![be(1, nat::RANDOM_FULLY)])),
            Action::Masquerade { ports: Some((first, last)) } => self.masquerade(*first, *last),
            Action::DnatBy { fields, map, form } => self.dnat(fields, map, *form),
        }
    }

    /// `NFTA_COUNTER_BYTES`, `NFTA_COUNTER_PACKETS`, from zero on.
    fn count(&mut self) {
        let zero = |kind| DefaultNla::new(kind, vec![0; 8]);
        self.out.push(other("counter", vec![zero(1), zero(2)]));
    }

    fn masquerade(&mut self, first: u16, last: u16) {
        let mut load = |slot, port: u16| {
            let data = Immediate::Data(value(&port.to_be_bytes()));
            self.out.push(Expressions::Immediate(vec![Immediate::DestinationRegister(register(slot)), data]));
        };
        load(0, first);
        load(1, last);
        let at = |kind, slot| be(kind, u32::from(register(slot)));
        // NFTA_MASQ_FLAGS, _REG_PROTO_MIN, _REG_PROTO_MAX.
        let flags = be(1, nat::RANDOM_FULLY | nat::PROTO_SPECIFIED);
        self.out.push(other("masq", vec![flags, at(2, 0), at(3, 1)]));
    }

    fn dnat(&mut self, fields: &[Field], map: &str, form: DnatForm) {
        let (DnatForm::AddrPort(family) | DnatForm::Addr(family) | DnatForm::Shift(family)) = form;
        self.require(Within::Ip(family));
        self.load(fields);
        self.out.push(lookup(map, Some(register(0)), false));
        let port = address(family).size() / 4;
        let at = |kind, slot| be(kind, u32::from(register(slot)));
        // NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN, _REG_PROTO_MIN, _REG_PROTO_MAX, _FLAGS.
        let mut attributes = vec![be(1, nat::DNAT), be(2, u32::from(nfproto(family))), at(3, 0)];
        match form {
            DnatForm::Addr(_) => {}
            DnatForm::AddrPort(_) => attributes.push(at(5, port)),
            DnatForm::Shift(_) => attributes.extend([at(5, port), at(6, port + 1), be(7, nat::PROTO_OFFSET)]),
        }
        self.out.push(other("nat", attributes));
    }
}
