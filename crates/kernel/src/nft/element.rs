//! Elements of sets and maps, to the kernel and back.

use super::expression::padded_name;
use super::{datatype, padded};
use crate::wire::{attr, attrs, text_of, u32_be};
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, SetElementAttribute, SetElementFlags, SetElementList, SetElementMessage,
};
use netmode_model::Mac;
use netmode_model::nft::{Datum, Element, Span, Type};
use netmode_model::port::Protocol;
use std::net::{Ipv4Addr, Ipv6Addr};

/// `NFTA_SET_ELEM_*`.
mod kind {
    pub(super) const KEY: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const FLAGS: u16 = 3;
    pub(super) const KEY_END: u16 = 10;
    /// `NFTA_DATA_VALUE`.
    pub(super) const VALUE: u16 = 1;
}

fn bytes(datum: &Datum, out: &mut Vec<u8>) {
    match datum {
        Datum::V4(ip) => out.extend(ip.octets()),
        Datum::V6(ip) => out.extend(ip.octets()),
        Datum::Proto(protocol) => out.push(protocol.number()),
        Datum::Port(port) => out.extend(port.to_be_bytes()),
        Datum::Name(name) => out.extend(padded_name(name)),
        Datum::Mac(mac) => out.extend(mac.octets()),
    }
}

/// The fields one behind the other; in a concatenation each is padded to four bytes.
fn joined<'a>(fields: impl ExactSizeIterator<Item = &'a Datum>) -> Vec<u8> {
    let pad = fields.len() > 1;
    let mut out = Vec::with_capacity(40);
    for field in fields {
        bytes(field, &mut out);
        if pad {
            out.resize(padded(out.len()), 0);
        }
    }
    out
}

fn low(span: &Span) -> &Datum {
    let (Span::One(datum) | Span::Range(datum, _)) = span;
    datum
}

fn high(span: &Span) -> &Datum {
    let (Span::One(datum) | Span::Range(_, datum)) = span;
    datum
}

/// The number after a big-endian one; `None` after the greatest.
fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(bytes);
        }
    }
    None
}

/// A message that adds or removes an element. `interval` is the set's flag.
///
/// A range of one field is a pair: its start with the data, and behind its end another one with a flag
/// (rbtree). A range of several fields is one element with a first and a last key (pipapo).
pub(super) fn message(table: &str, element: &Element, interval: bool, with_data: bool) -> SetElementMessage {
    let first = joined(element.key.iter().map(low));
    let mut start = Vec::with_capacity(3);
    let mut list = Vec::with_capacity(2);
    let mut end = None;
    if interval {
        let last = joined(element.key.iter().map(high));
        if element.key.len() > 1 {
            start.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(kind::VALUE, last)]));
        } else {
            end = successor(last);
        }
    }
    start.insert(0, SetElementAttribute::Key(DataAttribute::Value(first)));
    if with_data && !element.data.is_empty() {
        start.push(SetElementAttribute::Data(DataAttribute::Value(joined(element.data.iter()))));
    }
    list.push(ListAttribute::Element(start));
    list.extend(end.map(|end| {
        ListAttribute::Element(vec![
            SetElementAttribute::Key(DataAttribute::Value(end)),
            SetElementAttribute::Flags(SetElementFlags::IntervalEnd),
        ])
    }));
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.into()),
            SetElementList::Set(element.set.clone()),
            SetElementList::Elements(list),
        ],
    }
}

/// A set's shape as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) key: Vec<Type>,
    pub(super) data: Vec<Type>,
    pub(super) interval: bool,
}

/// Number of a concatenation of types.
pub(super) fn type_number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, t| (number << datatype::BITS) | one_type(*t))
}

fn one_type(t: Type) -> u32 {
    match t {
        Type::Ipv4Addr => datatype::IPV4_ADDR,
        Type::Ipv6Addr => datatype::IPV6_ADDR,
        Type::InetProto => datatype::INET_PROTO,
        Type::InetService => datatype::INET_SERVICE,
        Type::IfName => datatype::IFNAME,
        Type::EtherAddr => datatype::ETHER_ADDR,
    }
}

fn types(mut number: u32) -> Option<Vec<Type>> {
    const ALL: [Type; 6] =
        [Type::Ipv4Addr, Type::Ipv6Addr, Type::InetProto, Type::InetService, Type::IfName, Type::EtherAddr];
    let mut found = Vec::new();
    while number != 0 {
        let one = number & ((1 << datatype::BITS) - 1);
        found.insert(0, ALL.into_iter().find(|t| one_type(*t) == one)?);
        number >>= datatype::BITS;
    }
    Some(found)
}

impl Shape {
    /// Of an `NFT_MSG_NEWSET` message of the table; `None` for a set with types that we never use.
    pub(super) fn read(attributes: &[u8], table: &str) -> Option<Self> {
        let [table_attr, name, flags, key_type, data_type] = [1, 2, 3, 4, 6];
        if text_of(attr(attributes, table_attr)?) != table {
            return None;
        }
        Some(Self {
            name: text_of(attr(attributes, name)?),
            key: types(u32_be(attr(attributes, key_type)?))?,
            data: attr(attributes, data_type).map_or(Some(Vec::new()), |t| types(u32_be(t)))?,
            interval: attr(attributes, flags).is_some_and(|f| u32_be(f) & 4 != 0),
        })
    }

    /// Elements of one or more `NFT_MSG_NEWSETELEM` messages, already read by [`raw`].
    pub(super) fn elements(&self, raw: Vec<Raw>) -> Vec<Element> {
        if self.interval && self.key.len() == 1 {
            return self.pairs(raw);
        }
        let one = |raw: Raw| {
            let first = split(&self.key, &raw.key)?;
            let last = raw.key_end.map_or_else(|| Some(first.clone()), |end| split(&self.key, &end))?;
            let key = first.into_iter().zip(last).map(|(a, b)| if a == b { Span::One(a) } else { Span::Range(a, b) });
            Some(Element { set: self.name.clone(), key: key.collect(), data: split(&self.data, &raw.data)? })
        };
        raw.into_iter().filter_map(one).collect()
    }

    /// Joins starts with the nearest end behind them; without one a range goes up to the greatest value.
    fn pairs(&self, raw: Vec<Raw>) -> Vec<Element> {
        let (ends, starts): (Vec<Raw>, Vec<Raw>) = raw.into_iter().partition(|r| r.end);
        let mut ends: Vec<Vec<u8>> = ends.into_iter().map(|r| r.key).collect();
        ends.sort_unstable();
        let one = |raw: Raw| {
            let behind = ends.get(ends.partition_point(|end| *end <= raw.key));
            let last = behind.map_or_else(|| vec![0xff; raw.key.len()], |end| predecessor(end.clone()));
            let (a, b) = (split(&self.key, &raw.key)?.pop()?, split(&self.key, &last)?.pop()?);
            let key = vec![if a == b { Span::One(a) } else { Span::Range(a, b) }];
            Some(Element { set: self.name.clone(), key, data: split(&self.data, &raw.data)? })
        };
        starts.into_iter().filter_map(one).collect()
    }
}

fn predecessor(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != 0xff {
            break;
        }
    }
    bytes
}

/// An element's parts as bytes.
#[derive(Debug, Default)]
pub(super) struct Raw {
    key: Vec<u8>,
    key_end: Option<Vec<u8>>,
    data: Vec<u8>,
    end: bool,
}

/// The elements of an `NFT_MSG_NEWSETELEM` message. The netlink crate's own decoder takes time in the
/// square of the number of elements.
pub(super) fn raw(attributes: &[u8]) -> Vec<Raw> {
    /// `NFTA_SET_ELEM_LIST_ELEMENTS`.
    const ELEMENTS: u16 = 3;
    let inner = |value| attr(value, kind::VALUE).map(<[u8]>::to_vec).unwrap_or_default();
    let list = attr(attributes, ELEMENTS).unwrap_or_default();
    let one = |element| {
        let mut raw = Raw::default();
        for (kind, value) in attrs(element) {
            match kind {
                kind::KEY => raw.key = inner(value),
                kind::KEY_END => raw.key_end = Some(inner(value)),
                kind::DATA => raw.data = inner(value),
                kind::FLAGS => raw.end = u32_be(value) & SetElementFlags::IntervalEnd.bits() != 0,
                _ => {}
            }
        }
        raw
    };
    attrs(list).map(|(_, element)| one(element)).collect()
}

/// The fields of a key or of data.
fn split(types: &[Type], mut bytes: &[u8]) -> Option<Vec<Datum>> {
    let pad = types.len() > 1;
    let mut out = Vec::with_capacity(types.len());
    for t in types {
        out.push(datum(*t, bytes.get(..t.size())?)?);
        bytes = bytes.get(if pad { padded(t.size()) } else { t.size() }..).unwrap_or_default();
    }
    Some(out)
}

fn datum(t: Type, bytes: &[u8]) -> Option<Datum> {
    Some(match t {
        Type::Ipv4Addr => Datum::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        Type::Ipv6Addr => Datum::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        Type::InetProto => Datum::Proto(Protocol::from_number(*bytes.first()?)?),
        Type::InetService => Datum::Port(u16::from_be_bytes(bytes.try_into().ok()?)),
        Type::IfName => Datum::Name(text_of(bytes).parse().ok()?),
        Type::EtherAddr => Datum::Mac(Mac::from_octets(bytes.try_into().ok()?)),
    })
}
