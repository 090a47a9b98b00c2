//! One call of CNI as bytes: six variables of the environment, each ended by a NUL, and standard input behind them. Shared
//! by the test of many inputs and the fuzz target.

use ipnetwork::IpNetwork;
use netmode_engine::cni::{Ask, Plugin, static_addresses};
use netmode_engine::{Host, Settings};
use netmode_model::cni::{Call, CniError, CniResult, Config, Version, valid};
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{Id, IfName, Mac, Observed, Place};

/// The names of the plugins that plan something.
pub const PLUGINS: [&str; 11] = [
    "bridge",
    "ptp",
    "macvlan",
    "ipvlan",
    "vlan",
    "host-device",
    "loopback",
    "portmap",
    "firewall",
    "tuning",
    "bandwidth",
];

const VARIABLES: [&str; 6] = ["CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH"];

/// A host with a bridge and a link to the LAN.
struct Fake;

fn link(name: &str, kind: Option<&str>) -> LinkState {
    LinkState {
        at: Place::Host,
        index: 7,
        name: name.parse().expect("a name"),
        mac: Some(Mac::from_octets([2, 0, 0, 0, 0, 7])),
        mtu: 1500,
        up: true,
        kind: kind.map(str::to_owned),
        master: None,
        alias: None,
        group: 0,
        hairpin: None,
        isolated: None,
        rate: None,
        flags: vec![],
        queue: 1000,
    }
}

impl Host for Fake {
    fn link(&self, dev: &IfName) -> Result<Option<LinkState>, OpError> {
        Ok(match dev.as_str() {
            "br9" => Some(link("br9", Some("bridge"))),
            "veth0" => Some(link("veth0", Some("veth"))),
            "lan0" => Some(link("lan0", None)),
            _ => None,
        })
    }
    fn links(&self) -> Result<Vec<LinkState>, OpError> {
        Ok(vec![link("br9", Some("bridge")), link("lan0", None)])
    }
    fn addresses(&self, _: u32) -> Result<Vec<IpNetwork>, OpError> {
        Ok(vec!["10.1.2.1/24".parse().expect("a prefix")])
    }
    fn egress(&self) -> Result<Option<IfName>, OpError> {
        Ok("lan0".parse().ok())
    }
}

/// Serves a call as far as it is pure. Whatever it is, the answer is one document, or none.
pub fn serve(input: &[u8]) {
    let mut parts = input.splitn(VARIABLES.len() + 1, |byte| *byte == 0);
    let values: Vec<String> =
        VARIABLES.iter().map(|_| String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned()).collect();
    let stdin = parts.next().unwrap_or_default();
    let variable = |name: &str| VARIABLES.iter().position(|known| *known == name).map(|at| values[at].clone());
    let version = Config::version_of(stdin).unwrap_or(Version::NEWEST);
    if let Err(error) = planned(variable, stdin) {
        let document = error.document(version).to_string();
        assert!(document.starts_with('{') && !error.message.is_empty(), "{document}");
    }
}

fn planned(variable: impl Fn(&str) -> Option<String>, stdin: &[u8]) -> Result<(), CniError> {
    let call = Call::read(variable)?;
    let config = Config::read(stdin)?;
    let _ = valid(&config)?;
    let previous = config.previous()?;
    let settings = Settings::default();
    let at = Place::Netns("c1".parse().expect("a name"));
    let inside = Observed { links: vec![LinkState { at: at.clone(), ..link("lo", None) }], ..Observed::default() };
    let ipam = static_addresses(&call, &config).ok();
    for plugin in PLUGINS.iter().filter_map(|name| name.parse::<Plugin>().ok()) {
        let ask = Ask {
            call: &call,
            config: &config,
            id: Id::from_bytes([7; 16]),
            at: &at,
            inside: &inside,
            previous: previous.as_ref(),
            ipam: ipam.as_ref(),
            settings: &settings,
            published: &[],
            host: &Fake,
        };
        let _ = plugin.status(&config, &Fake);
        let Ok(planned) = plugin.plan(&ask) else { continue };
        let text: Vec<String> = planned.ops.iter().map(ToString::to_string).collect();
        assert!(text.iter().all(|line| !line.is_empty()));
        let result = planned.result.map(|result: CniResult| result.document(config.version));
        assert!(
            result.is_none_or(
                |result| result.is_ok_and(|document| document.is_object()) || config.version < Version::V030
            )
        );
    }
    Ok(())
}
