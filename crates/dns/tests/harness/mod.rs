//! Zones, a view and packets: also those of the fuzz target.
#![allow(dead_code)]

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use netmode_dns::answer::{Carrier, Verdict, answer};
use netmode_dns::{Book, Entry, Forward, Servers, View, Zones};
use netmode_model::Id;
use std::sync::{Arc, OnceLock};

/// `web-1` and `web-2`, both `web`, and `db` on the network `shop`; `secret` on `back`; 200 addresses of `many`.
pub fn zones() -> Zones {
    static ZONES: OnceLock<Zones> = OnceLock::new();
    ZONES.get_or_init(make).clone()
}

fn make() -> Zones {
    let book = Book::default();
    let entry = |zone: &str, names: &[&str], ips: &[&str]| Entry {
        zone: zone.into(),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
    };
    book.put(Id::from_bytes([1; 16]), vec![entry("shop", &["web-1", "web"], &["10.1.0.2", "fd00:1::2"])]);
    book.put(Id::from_bytes([2; 16]), vec![entry("shop", &["web-2", "web"], &["10.1.0.3"])]);
    book.put(Id::from_bytes([3; 16]), vec![entry("shop", &["db"], &["10.1.0.4"])]);
    book.put(Id::from_bytes([4; 16]), vec![entry("back", &["secret"], &["10.2.0.2"])]);
    let eni = entry("vpc/corp.test", &["ip-10-3-0-4.corp.test", "api.corp.test"], &["10.3.0.4"]);
    book.put(Id::from_bytes([5; 16]), vec![eni]);
    for n in 0..200 {
        book.put(Id::from_bytes([n + 50; 16]), vec![entry("shop", &["many"], &[&format!("10.1.1.{n}")])]);
    }
    Zones::clone(&book.now())
}

/// What a container on `shop` sees, with the link `www` to `web`.
pub fn view(forward: bool) -> View {
    View {
        zones: vec!["shop".into()],
        prefixes: vec!["10.1.0.0/16".parse().unwrap()],
        links: [("www".to_owned(), "web".to_owned())].into(),
        domain: "netmode.internal".into(),
        most: usize::MAX,
        forward: if forward { Forward::To(Arc::new(Servers::Fixed(Vec::new()))) } else { Forward::Never },
    }
}

pub fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let labels = name.trim_end_matches('.').split('.').map(str::as_bytes);
    message.add_query(Query::query(Name::from_labels(labels).unwrap(), kind));
    message
}

pub fn reply(query: &Message) -> Message {
    match answer(&query.to_vec().unwrap(), &zones(), &view(true), Carrier::Udp) {
        Verdict::Reply(reply) => Message::from_vec(&reply).unwrap(),
        other => panic!("{other:?}"),
    }
}

pub fn ask(name: &str, kind: RecordType) -> Message {
    reply(&question(name, kind))
}

pub fn code(name: &str, kind: RecordType) -> ResponseCode {
    ask(name, kind).metadata.response_code
}

/// Any bytes: no panic, and what is sent back is a reply with the number that was asked with, and no longer than the
/// client takes.
pub fn serve(packet: &[u8]) {
    for carrier in [Carrier::Udp, Carrier::Tcp] {
        if let Verdict::Reply(reply) = answer(packet, &zones(), &view(true), carrier) {
            assert!(reply.len() >= 12 && reply[..2] == packet[..2] && reply[2] & 0x80 != 0);
            assert!(carrier == Carrier::Tcp || reply.len() <= 1232);
        }
    }
}
