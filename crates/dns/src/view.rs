//! What the clients of a resolver see.

use crate::book::Zones;
use crate::upstream::Servers;
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Before the domain of a zone whose names are whole: those of a VPC. No network has a name with a slash.
pub const VPC: &str = "vpc/";

/// What becomes of questions about names that are nobody's here.
#[derive(Debug, Clone)]
pub enum Forward {
    /// REFUSED: not a packet leaves the host.
    Never,
    /// Others are asked.
    To(Arc<Servers>),
}

/// What the clients of a resolver see of the names that there are.
#[derive(Debug, Clone)]
pub struct View {
    /// Zones whose names are known without a suffix, the first that has a name wins.
    pub zones: Vec<Arc<str>>,
    /// Prefixes of their networks: others are not asked about addresses in them.
    pub prefixes: Vec<IpNetwork>,
    /// Names of its own for other names (links), in lower case.
    pub links: BTreeMap<String, String>,
    /// Domain that everything of ours is in, in lower case: others are not asked about it.
    pub domain: Arc<str>,
    /// Most addresses in one answer.
    pub most: usize,
    /// What becomes of other names.
    pub forward: Forward,
}

/// What is known of a name or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// This.
    Known(T),
    /// It is ours to know, and there is none.
    Nothing,
    /// It is not ours.
    Elsewhere,
}

impl View {
    /// The addresses of a name, which is in lower case and without the dot of the root.
    pub fn addresses<'z>(&self, zones: &'z Zones, name: &str) -> Found<&'z [(netmode_model::Id, IpAddr)]> {
        let name = self.links.get(name).map_or(name, String::as_str);
        let bare = name.strip_suffix(&*self.domain).and_then(|rest| rest.strip_suffix('.'));
        let spellings = [Some(name), bare];
        let known = spellings.into_iter().flatten().find_map(|name| self.within(zones, name));
        match known {
            Some(owned) => Found::Known(owned),
            None if bare.is_some() || name == &*self.domain || !name.contains('.') => Found::Nothing,
            None if of_other_zone(zones, name) || self.would_be_an_enis(name) => Found::Nothing,
            None => Found::Elsewhere,
        }
    }

    /// A name that interfaces of the client's own VPC have, whoever has it.
    fn would_be_an_enis(&self, name: &str) -> bool {
        let own = self.zones.iter().filter_map(|zone| zone.strip_prefix(VPC));
        let bare = own.filter_map(|zone| name.strip_suffix(zone)?.strip_suffix('.'));
        bare.into_iter().any(|bare| !bare.contains('.') && (bare.starts_with("ip-") || bare.starts_with("i-")))
    }

    /// `NAME` or `NAME.ZONE` in one of its zones.
    fn within<'z>(&self, zones: &'z Zones, name: &str) -> Option<&'z [(netmode_model::Id, IpAddr)]> {
        let suffixed = |zone: &Arc<str>| {
            let bare = name.strip_suffix(&**zone)?.strip_suffix('.')?;
            zones.addresses(zone, bare)
        };
        let plain = self.zones.iter().find_map(|zone| zones.addresses(zone, name));
        plain.or_else(|| self.zones.iter().find_map(suffixed))
    }

    /// What an address is called.
    pub fn name_of<'z>(&self, zones: &'z Zones, ip: IpAddr) -> Found<&'z str> {
        let own = |(zone, _): &(&str, &str)| self.zones.iter().any(|z| **z == **zone);
        let mut pointers = zones.pointers(ip).peekable();
        let known_at_all = pointers.peek().is_some();
        match pointers.find(own) {
            Some((_, name)) => Found::Known(name),
            None if known_at_all || self.prefixes.iter().any(|prefix| prefix.contains(ip)) => Found::Nothing,
            None => Found::Elsewhere,
        }
    }
}

/// Whether somebody on a network that the client is not on has the name `NAME.NETWORK`. Whoever asks for it is not told,
/// and others are not asked. A network may well have the name of a domain of the world, so its name alone does not tell.
fn of_other_zone(zones: &Zones, name: &str) -> bool {
    let dots = name.match_indices('.').map(|(at, _)| at);
    dots.map(|at| (&name[..at], &name[at + 1..])).any(|(bare, zone)| {
        let in_vpc = || zones.addresses(&format!("{VPC}{zone}"), name);
        zones.addresses(zone, bare).or_else(in_vpc).is_some()
    })
}
