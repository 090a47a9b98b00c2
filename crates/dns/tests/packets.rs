//! What becomes of packets: those that clients send, and those that nobody should.
#![allow(missing_docs, clippy::unwrap_used)]

mod harness;

use harness::{ask, code, question, view, zones};
use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::RecordType;
use netmode_dns::answer::{Carrier, Verdict, answer};
use proptest::prelude::*;

#[test]
fn names_of_ones_own_networks_are_known() {
    for name in ["web", "WEB.", "web.shop", "web.netmode.internal", "web.shop.netmode.internal", "www"] {
        let reply = ask(name, RecordType::A);
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        assert_eq!(reply.answers.len(), 2, "{name}");
        assert!(reply.metadata.authoritative);
    }
    assert_eq!(ask("web", RecordType::AAAA).answers.len(), 1);
    // A name that is there without an address of the kind is no name that is not there.
    let reply = ask("db", RecordType::AAAA);
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!((code("db", RecordType::MX)), ResponseCode::NoError);
}

#[test]
fn names_of_other_networks_are_not() {
    for name in ["secret", "secret.back", "secret.netmode.internal", "nobody", "netmode.internal", "my host"] {
        assert_eq!(code(name, RecordType::A), ResponseCode::NXDomain, "{name}");
    }
    for name in ["ip-10-3-0-4.corp.test", "api.corp.test"] {
        assert_eq!(code(name, RecordType::A), ResponseCode::NXDomain, "{name} is of a VPC");
    }
    assert_eq!(code("2.0.2.10.in-addr.arpa", RecordType::PTR), ResponseCode::NXDomain, "of another network");
    assert_eq!(code("77.0.1.10.in-addr.arpa", RecordType::PTR), ResponseCode::NXDomain, "nobody's yet");
}

#[test]
fn names_of_a_vpc_are_whole() {
    let mut of_vpc = view(true);
    of_vpc.zones = vec!["vpc/corp.test".into()];
    let say = |name: &str| answer(&question(name, RecordType::A).to_vec().unwrap(), &zones(), &of_vpc, Carrier::Udp);
    let code = |name: &str| match say(name) {
        Verdict::Reply(reply) => Some(Message::from_vec(&reply).unwrap().metadata.response_code),
        _ => None,
    };
    assert_eq!(code("ip-10-3-0-4.corp.test"), Some(ResponseCode::NoError));
    assert_eq!(code("ip-10-3-0-5.corp.test"), Some(ResponseCode::NXDomain), "nobody's, and nobody else is asked");
    assert_eq!(code("www.corp.test"), None, "the zone may be one of the world's");
    assert_eq!(code("secret.back"), Some(ResponseCode::NXDomain));
}

#[test]
fn addresses_have_names() {
    let reply = ask("2.0.1.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(reply.answers[0].data.to_string(), "web-1.");
    let reply = ask("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa", RecordType::PTR);
    assert_eq!(reply.answers[0].data.to_string(), "web-1.");
}

#[test]
fn the_order_changes() {
    let first = |_| ask("web", RecordType::A).answers[0].data.to_string();
    let seen: std::collections::BTreeSet<String> = (0..100).map(first).collect();
    assert_eq!(seen.len(), 2);
}

#[test]
fn other_names_are_forwarded_or_refused() {
    let packet = question("example.com", RecordType::A).to_vec().unwrap();
    let forwarding = answer(&packet, &zones(), &view(true), Carrier::Udp);
    assert_eq!(forwarding, Verdict::Forward(512));
    let Verdict::Reply(reply) = answer(&packet, &zones(), &view(false), Carrier::Udp) else { panic!() };
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert!(!reply.metadata.recursion_available);
}

#[test]
fn a_long_answer_is_cut_by_udp_alone() {
    let mut query = question("many", RecordType::A);
    let verdict = |query: &Message, carrier| {
        let Verdict::Reply(reply) = answer(&query.to_vec().unwrap(), &zones(), &view(true), carrier) else { panic!() };
        (reply.len(), Message::from_vec(&reply).unwrap())
    };
    let (length, reply) = verdict(&query, Carrier::Udp);
    assert!(length <= 512 && reply.metadata.truncation && reply.answers.is_empty());
    let (_, reply) = verdict(&query, Carrier::Tcp);
    assert_eq!((reply.metadata.truncation, reply.answers.len()), (false, 200));
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    query.set_edns(edns);
    let (length, reply) = verdict(&query, Carrier::Udp);
    assert!(length <= 1232 && reply.metadata.truncation && reply.edns.is_some());
}

#[test]
fn what_nobody_should_ask_is_refused() {
    assert_eq!(code("web", RecordType::AXFR), ResponseCode::Refused);
    assert_eq!(code("web", RecordType::IXFR), ResponseCode::Refused);
    let reply = ask("web", RecordType::ANY);
    assert_eq!(reply.answers.len(), 1, "the least that may be said (RFC 8482)");
    assert_eq!(reply.answers[0].record_type(), RecordType::HINFO);
    assert_eq!(code("example.com", RecordType::ANY), ResponseCode::NotImp);

    let mut query = question("web", RecordType::A);
    let mut edns = Edns::new();
    edns.set_version(1);
    query.set_edns(edns);
    // 16 is BADVERS in a reply with EDNS, and BADSIG in one with TSIG.
    assert_eq!(u16::from(harness::reply(&query).metadata.response_code), 16);
    let mut query = question("web", RecordType::A);
    query.metadata.op_code = OpCode::Update;
    assert_eq!(harness::reply(&query).metadata.response_code, ResponseCode::NotImp);
    let mut two = question("web", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(harness::reply(&two).metadata.response_code, ResponseCode::FormErr);
}

#[test]
fn what_is_malformed_is_told_so_and_what_is_no_question_is_not_answered() {
    let good = question("web", RecordType::A).to_vec().unwrap();
    let say = |packet: &[u8]| answer(packet, &zones(), &view(true), Carrier::Udp);
    assert_eq!(say(&[]), Verdict::Drop);
    assert_eq!(say(&good[..11]), Verdict::Drop);
    let mut reply = good.clone();
    reply[2] |= 0x80;
    assert_eq!(say(&reply), Verdict::Drop, "a reply");
    // A label of 64 bytes: the length byte 0x40 is none that RFC 1035 knows.
    let mut long = good[..12].to_vec();
    long.push(64);
    long.extend([b'a'; 64]);
    long.extend([0, 0, 1, 0, 1]);
    // A name that points to itself.
    let mut around = good[..12].to_vec();
    around.extend([0xc0, 12, 0, 1, 0, 1]);
    for bad in [&good[..20], &long, &around] {
        let Verdict::Reply(reply) = say(bad) else { panic!("{bad:?}") };
        assert_eq!(reply[3] & 0xf, 1, "FORMERR");
        assert_eq!(reply[..2], good[..2]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        harness::serve(&bytes);
    }

    /// What looks like a question for longer than random bytes do.
    #[test]
    fn a_question_with_some_bytes_changed(at in proptest::collection::vec((0usize..60, any::<u8>()), 1..6), tail in 0usize..60) {
        let mut packet = question("web.shop.netmode.internal", RecordType::A).to_vec().unwrap();
        for (place, byte) in at {
            let place = place % packet.len();
            packet[place] = byte;
        }
        packet.truncate(packet.len().saturating_sub(tail / 4));
        harness::serve(&packet);
    }
}
