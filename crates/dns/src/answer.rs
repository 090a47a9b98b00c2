//! From a packet to a reply, without I/O.

use crate::book::Zones;
use crate::view::{Forward, Found, View};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::IpAddr;

/// How long an answer may be kept, in seconds: a container that is started again may have another address.
const TTL: u32 = 5;

/// Longest reply by UDP to who does not say what it takes (RFC 1035 §4.2.1), in bytes.
const PLAIN: u16 = 512;

/// Longest reply by UDP that needs no fragment anywhere (DNS flag day 2020), in bytes.
const MOST: u16 = 1232;

/// Length of the header (RFC 1035 §4.1.1), in bytes.
const HEADER: usize = 12;

/// What a packet came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram: a long reply is cut, and the client asks again by TCP.
    Udp,
    /// A stream.
    Tcp,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This is sent back.
    Reply(Vec<u8>),
    /// Others are asked, by what it came by. The longest reply that the client takes, in bytes.
    Forward(usize),
    /// Nothing: it was no question.
    Drop,
}

/// Decides what becomes of a packet.
pub fn answer(packet: &[u8], zones: &Zones, view: &View, carrier: Carrier) -> Verdict {
    // What is no question is not answered: two servers would answer each other for ever.
    if packet.len() < HEADER || packet[2] & 0x80 != 0 {
        return Verdict::Drop;
    }
    let Ok(query) = Message::from_vec(packet) else { return Verdict::Reply(bare(packet, ResponseCode::FormErr)) };
    if query.metadata.op_code != OpCode::Query {
        return Verdict::Reply(bare(packet, ResponseCode::NotImp));
    }
    if query.queries.len() != 1 {
        return Verdict::Reply(bare(packet, ResponseCode::FormErr));
    }
    let most = longest(&query, carrier);
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Verdict::Reply(finish(reply_to(&query, view), ResponseCode::BADVERS, most));
    }
    match look(&query, zones, view) {
        Some((code, answers)) => {
            let mut reply = reply_to(&query, view);
            reply.metadata.authoritative = code != ResponseCode::Refused;
            reply.add_answers(answers);
            Verdict::Reply(finish(reply, code, most))
        }
        None => Verdict::Forward(most),
    }
}

/// The reply to a question that others could not answer.
pub fn failure(packet: &[u8]) -> Vec<u8> {
    bare(packet, ResponseCode::ServFail)
}

/// What is known here; `None` where others are to be asked.
fn look(query: &Message, zones: &Zones, view: &View) -> Option<(ResponseCode, Vec<Record>)> {
    let question = query.queries.first()?;
    let (name, kind) = (question.name(), question.query_type());
    let refused = Some((ResponseCode::Refused, Vec::new()));
    if question.query_class() != DNSClass::IN || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
        return refused;
    }
    let elsewhere = || match view.forward {
        Forward::Never => refused.clone(),
        // Who asks for everything gets the least: its use is in attacks (RFC 8482).
        Forward::To(_) if kind == RecordType::ANY => Some((ResponseCode::NotImp, Vec::new())),
        Forward::To(_) => None,
    };
    let nothing = Some((ResponseCode::NXDomain, Vec::new()));
    if let Some(ip) = reverse(name) {
        return match view.name_of(zones, ip) {
            Found::Known(target) => Some((ResponseCode::NoError, pointer(name, target, kind))),
            Found::Nothing => nothing,
            Found::Elsewhere => elsewhere(),
        };
    }
    let known = plain(name).map_or(Found::Elsewhere, |plain| view.addresses(zones, &plain));
    match known {
        Found::Known(owned) => {
            let ips = owned.iter().map(|(_, ip)| *ip).collect();
            Some((ResponseCode::NoError, records(name, ips, kind, view.most)))
        }
        Found::Nothing => nothing,
        // A label that nobody here can have, alone: others would have to ask the root.
        Found::Elsewhere if name.num_labels() < 2 && kind != RecordType::NS => nothing,
        Found::Elsewhere => elsewhere(),
    }
}

/// A name as names are kept: in lower case and without the dot of the root. One with other characters than names of
/// containers have is nobody's.
fn plain(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if !label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|b| char::from(b.to_ascii_lowercase())));
    }
    Some(text)
}

/// The whole address that a name of `in-addr.arpa` or `ip6.arpa` stands for.
fn reverse(name: &Name) -> Option<IpAddr> {
    let last = name.iter().next_back()?;
    if !last.eq_ignore_ascii_case(b"arpa") {
        return None;
    }
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

fn pointer(name: &Name, target: &str, kind: RecordType) -> Vec<Record> {
    let target = Name::from_ascii(target).map(|mut target| {
        target.set_fqdn(true);
        target
    });
    match (target, kind) {
        (Ok(target), RecordType::PTR) => vec![Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)))],
        (_, RecordType::ANY) => vec![least(name)],
        _ => Vec::new(),
    }
}

/// Addresses of the family that was asked for, in another order each time.
fn records(name: &Name, ips: Vec<IpAddr>, kind: RecordType, most: usize) -> Vec<Record> {
    if kind == RecordType::ANY {
        return vec![least(name)];
    }
    let data = |ip: IpAddr| match (ip, kind) {
        (IpAddr::V4(ip), RecordType::A) => Some(RData::A(A(ip))),
        (IpAddr::V6(ip), RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
        _ => None,
    };
    let mut all: Vec<RData> = ips.into_iter().filter_map(data).collect();
    fastrand::shuffle(&mut all);
    all.truncate(most);
    all.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)).collect()
}

/// The whole answer to ANY (RFC 8482 §4.2).
fn least(name: &Name) -> Record {
    Record::from_rdata(name.clone(), TTL, RData::HINFO(HINFO::new("RFC8482".into(), String::new())))
}

fn longest(query: &Message, carrier: Carrier) -> usize {
    let udp = query.edns.as_ref().map_or(PLAIN, |edns| edns.max_payload().clamp(PLAIN, MOST));
    usize::from(if carrier == Carrier::Tcp { u16::MAX } else { udp })
}

fn reply_to(query: &Message, view: &View) -> Message {
    let mut reply = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = matches!(view.forward, Forward::To(_));
    reply.metadata.checking_disabled = query.metadata.checking_disabled;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MOST);
        reply.set_edns(edns);
    }
    reply
}

fn finish(mut reply: Message, code: ResponseCode, most: usize) -> Vec<u8> {
    reply.metadata.response_code = code;
    if let Some(edns) = &mut reply.edns {
        edns.set_rcode_high(code.high());
    }
    let whole = reply.to_vec().unwrap_or_default();
    if whole.len() <= most && !whole.is_empty() {
        return whole;
    }
    reply.truncate().to_vec().unwrap_or_default()
}

/// A header alone: id, question bit and opcode of the packet, and a response code.
fn bare(packet: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut header = vec![0; HEADER];
    header[..2].copy_from_slice(&packet[..2]);
    header[2] = 0x80 | packet[2] & 0x79;
    header[3] = code.low();
    header
}
