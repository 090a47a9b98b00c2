//! What each mode does, as commands; and that nothing stays when it is taken back.
#![allow(clippy::unwrap_used)]

use netmode_engine::endpoint::{NetnsUse, Owner, OwnerKind};
use netmode_engine::recorder::{Paper, Recorder};
use netmode_engine::settings::{BridgeSettings, HostFacts};
use netmode_engine::store::{FileStore, Kind, Store};
use netmode_engine::{Attach, AttachError, Engine, Network, Settings};
use netmode_model::api::NetOptions;
use netmode_model::{Code, Id, Mode, RequestedMode};
use proptest::prelude::*;
use std::sync::Arc;

struct Lab {
    engine: Engine,
    kernel: Recorder,
    store: Arc<FileStore>,
    dir: std::path::PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn lab(ipv6: Option<&str>, pool: &str) -> Lab {
    let pools = vec![pool.parse().unwrap()];
    let bridge = BridgeSettings { ipv6: ipv6.map(|p| p.parse().unwrap()), pools, ..BridgeSettings::default() };
    let settings = Settings { bridge, ..Settings::default() };
    let facts = HostFacts { prefixes: vec![], egress_mtu: 1500 };
    let net = Network::default_bridge(&settings, &facts, Id::from_bytes([9; 16]), String::new()).unwrap();
    let unique = format!("netmode-plans-{}-{:p}", std::process::id(), &raw const settings);
    let dir =
        std::env::temp_dir().join(format!("{unique}-{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
    let store = Arc::new(FileStore::open(&dir.join("run"), &dir.join("state")).unwrap());
    let kernel = Recorder::default();
    let outside = Arc::new(kernel.clone());
    let engine = Engine::new(settings, vec![net], Default::default(), outside.clone(), outside, store.clone());
    Lab { engine, kernel, store, dir }
}

static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn request(n: u8, mode: &str, net: NetOptions) -> Attach {
    let requested: RequestedMode = mode.parse().unwrap();
    let id = Id::from_bytes([n; 16]);
    let netns = match requested.effective() {
        Mode::Host => NetnsUse::Host,
        _ => NetnsUse::Own(format!("nm-{}", id.short()).parse().unwrap()),
    };
    let owner = Owner { kind: OwnerKind::Task, id, name: format!("task-{n}"), uid: 0 };
    let (interface, network) = ("eth0".parse().unwrap(), "bridge".to_owned());
    Attach {
        id,
        owner,
        netns,
        inode: None,
        interface,
        requested,
        network,
        or_else: Vec::new(),
        groups: Vec::new(),
        default_route: true,
        net,
        now: String::new(),
        begun: std::time::Instant::now(),
    }
}

fn ports(specs: &[&str]) -> NetOptions {
    NetOptions { ports: specs.iter().map(|s| s.parse().unwrap()).collect(), ..NetOptions::default() }
}

fn text(lab: &Lab, mode: &str, net: NetOptions) -> String {
    lab.engine.plan(&request(1, mode, net)).unwrap().1.to_string()
}

#[test]
fn plans_as_commands() {
    let four = lab(None, "172.17.0.0/16");
    insta::assert_snapshot!("none", text(&four, "none", NetOptions::default()));
    insta::assert_snapshot!("host", text(&four, "host", ports(&["8080:8080"])));
    insta::assert_snapshot!("bridge", text(&four, "bridge", NetOptions::default()));
    assert_eq!(text(&four, "default", NetOptions::default()), text(&four, "bridge", NetOptions::default()));
    insta::assert_snapshot!("bridge_ports", text(&four, "bridge", ports(&["8080:80", "80", "127.0.0.1:53:53/udp"])));
    insta::assert_snapshot!(
        "bridge_ranges",
        text(&four, "bridge", ports(&["8000-8099:8000-8099", "9000-9099:80-179", "100-199:1100-1199", "2-4:1-3/udp"]))
    );
    let chosen = NetOptions {
        ip: Some("172.17.0.77".parse().unwrap()),
        mac_address: Some("02:00:00:00:00:77".parse().unwrap()),
        ..NetOptions::default()
    };
    insta::assert_snapshot!("bridge_chosen_addresses", text(&four, "bridge", chosen));
    let six = lab(Some("fd00:17::/64"), "172.17.0.0/16");
    insta::assert_snapshot!(
        "bridge_dual_stack",
        text(&six, "bridge", ports(&["8080:80", "[::1]:53:53/udp", "7-9:7-9"]))
    );
}

#[test]
fn the_bridge_network_as_commands() {
    let lab = lab(Some("fd00:17::/64"), "172.17.0.0/16");
    let net = lab.engine.networks().remove(0);
    let mut ops = netmode_engine::bridge::host_up(lab.engine.settings(), |_| true);
    ops.extend(netmode_engine::bridge::network_up(&net, lab.engine.settings()));
    let text = ops.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(text);
}

#[test]
fn a_failure_at_any_step_leaves_nothing() {
    for n in 0.. {
        let lab = lab(Some("fd00:17::/64"), "172.17.0.0/24");
        lab.kernel.refuse_at(n);
        let result = lab.engine.attach(&request(1, "bridge", ports(&["8080:80", "9000-9009:80-89", "81"])));
        if result.is_ok() {
            assert!(n > 10, "the plan has that many steps");
            return;
        }
        let paper = lab.kernel.paper();
        assert_eq!((paper.holds.len(), paper.held.len()), (0, 0), "step {n} left {:?}", paper.holds);
        assert!(lab.store.list_bytes(Kind::Endpoint).unwrap().is_empty());
        let again = lab.engine.attach(&request(2, "bridge", ports(&["8080:80"]))).unwrap().0;
        assert_eq!(again.address().unwrap().to_string(), "172.17.0.2", "the address was given back");
    }
}

#[test]
fn a_record_that_stays_is_told() {
    let lab = lab(None, "172.17.0.0/24");
    let (endpoint, failures) = lab.engine.attach(&request(1, "bridge", NetOptions::default())).unwrap();
    assert_eq!(failures, []);
    let record = lab.dir.join(format!("run/endpoints/{}.json", endpoint.id));
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir_all(record.join("x")).unwrap();
    let told = lab.engine.detach(endpoint.id);
    assert_eq!(told.iter().map(|e| e.step.clone()).collect::<Vec<_>>(), [format!("rm {}", record.display())]);
}

#[test]
fn refusals_name_the_owner_and_change_nothing() {
    let lab = lab(None, "172.17.0.0/29");
    lab.engine.attach(&request(1, "bridge", ports(&["8080:80"]))).unwrap();
    let before = lab.kernel.paper();
    let refuse =
        |mode: &str, net: NetOptions| -> AttachError { lab.engine.attach(&request(7, mode, net)).unwrap_err() };
    let ip = |ip: &str| NetOptions { ip: Some(ip.parse().unwrap()), ..NetOptions::default() };
    let taken = refuse("bridge", ports(&["9000:80", "8000-8100:80-180"]));
    assert_eq!(
        taken.to_string(),
        "cannot publish tcp 0.0.0.0:8080: already published by task task-1; choose another host port or stop it with \"netmode stop task-1\""
    );
    let cases = [
        (taken, Code::PortTaken),
        (refuse("bridge", ports(&["81:80", "81:82"])), Code::InvalidPort),
        (refuse("bridge", ports(&["[::1]:81:80"])), Code::UnsupportedInMode),
        (refuse("host", ports(&["81:80"])), Code::UnsupportedInMode),
        (refuse("host", ports(&["8080"])), Code::PortTaken),
        (refuse("host", ip("172.17.0.3")), Code::UnsupportedInMode),
        (refuse("none", ports(&["81:80"])), Code::UnsupportedInMode),
        (refuse("bridge", ip("172.17.0.0")), Code::AddressTaken),
        (refuse("bridge", ip("172.17.0.1")), Code::AddressTaken),
        (refuse("bridge", ip("172.17.0.7")), Code::AddressTaken),
        (refuse("bridge", ip("172.17.0.2")), Code::AddressTaken),
        (refuse("bridge", ip("10.0.0.1")), Code::AddressOutside),
        (
            refuse(
                "bridge",
                NetOptions { mac_address: Some("02:42:ac:11:00:02".parse().unwrap()), ..NetOptions::default() },
            ),
            Code::MacTaken,
        ),
        (
            refuse("bridge", NetOptions { ip6: Some("fd00::2".parse().unwrap()), ..NetOptions::default() }),
            Code::UnsupportedInMode,
        ),
    ];
    for (error, code) in cases {
        assert_eq!(error.code(), code, "{error}");
    }
    assert_eq!(lab.kernel.paper(), before);
    for n in 2..6 {
        lab.engine.attach(&request(n, "bridge", NetOptions::default())).unwrap();
    }
    let full = refuse("bridge", NetOptions::default());
    assert_eq!(full.code(), Code::PoolExhausted, "{full}");
    assert!(
        full.to_string().starts_with("the address no free addresses")
            || full.to_string().starts_with("no free addresses"),
        "{full}"
    );
}

#[test]
fn an_address_is_free_again_only_when_its_link_is_gone() {
    let lab = lab(None, "172.17.0.0/24");
    let first = lab.engine.attach(&request(1, "bridge", ports(&["80:80"]))).unwrap().0;
    assert!(lab.engine.detach(first.id).is_empty());
    let second = lab.engine.attach(&request(2, "bridge", ports(&["80:80"]))).unwrap().0;
    assert_eq!(second.address().unwrap().to_string(), "172.17.0.3");
    assert!(lab.engine.link_gone(&first.link.unwrap().host_dev).is_some());
    let third = lab.engine.attach(&request(3, "bridge", NetOptions::default())).unwrap().0;
    assert_eq!(third.address().unwrap().to_string(), "172.17.0.2");
}

#[test]
fn neighbours_are_told_only_what_they_may_not_know() {
    let lab = lab(None, "172.17.0.0/24");
    let told = |n, mac: Option<&str>| {
        let net = NetOptions { mac_address: mac.map(|m| m.parse().unwrap()), ..NetOptions::default() };
        let (endpoint, _) = lab.engine.attach(&request(n, "bridge", net)).unwrap();
        lab.engine.detach(endpoint.id);
        let link = endpoint.link.unwrap();
        assert!(lab.engine.link_gone(&link.host_dev).is_some());
        link.announce
    };
    assert!(!told(1, None), "a derived hardware address is the one everybody knows");
    assert!(told(2, Some("02:00:00:00:00:07")), "a chosen one is news");
    assert!(told(3, None), "and so is the derived one after it");
    assert!(!told(4, None));
}

fn option() -> impl Strategy<Value = (String, NetOptions)> {
    let spec = prop::sample::select(vec![
        "80",
        "8080:80",
        "9000-9009:80-89",
        "7000-7009:7000-7009/udp",
        "2-4:1-3",
        "127.0.0.1::5",
    ]);
    let mode = prop::sample::select(vec!["bridge", "none", "host", "default"]);
    (mode, prop::collection::vec(spec, 0..4)).prop_map(|(mode, specs)| {
        let specs = if mode == "none" { vec![] } else { specs };
        (mode.to_owned(), ports(&specs))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn attach_then_detach_leaves_the_kernel_as_it_was(options in prop::collection::vec(option(), 1..8), v6 in any::<bool>()) {
        let lab = lab(v6.then_some("fd00:17::/64"), "172.17.0.0/24");
        let mut standing = Vec::new();
        for (n, (mode, net)) in options.into_iter().enumerate() {
            if let Ok((endpoint, _)) = lab.engine.attach(&request(n as u8 + 1, &mode, net)) {
                standing.push(endpoint.id);
            }
        }
        for id in standing {
            prop_assert!(lab.engine.detach(id).is_empty());
            prop_assert!(lab.engine.detach(id).is_empty(), "twice is no error");
        }
        let Paper { holds, held, .. } = lab.kernel.paper();
        prop_assert!(holds.is_empty(), "left: {holds:?}");
        prop_assert!(held.is_empty());
        prop_assert!(lab.store.list_bytes(Kind::Endpoint).unwrap().is_empty());
    }
}
