//! The tree of a picture: from the host outward, along bridges and pairs, each link once.

use super::picture::{Link, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What is being drawn.
struct Drawing<'a> {
    spaces: &'a BTreeMap<String, Space>,
    /// Namespace and index of the links that are drawn.
    seen: BTreeSet<(String, u64)>,
    out: String,
}

/// The whole picture: the host's tree, then whatever nothing leads to.
pub(super) fn draw(spaces: &BTreeMap<String, Space>) -> String {
    let mut drawing = Drawing { spaces, seen: BTreeSet::new(), out: String::new() };
    let others = spaces.keys().filter(|key| *key != "host");
    for key in std::iter::once("host").chain(others.map(String::as_str)) {
        drawing.space(key);
    }
    drawing.out
}

impl<'a> Drawing<'a> {
    fn space(&mut self, key: &'a str) {
        let Some(space) = self.spaces.get(key) else { return };
        let own = |link: &&Link| link.name != "lo";
        let tops = self.tops(key);
        if tops.is_empty() && space.links.iter().any(|link| own(&link)) {
            return; // drawn already, from the other end
        }
        let lo = space
            .links
            .iter()
            .find(|link| link.name == "lo")
            .map_or("nothing", |lo| if lo.up { "lo alone" } else { "lo alone, down" });
        let alone = if tops.is_empty() { format!("   {lo}") } else { String::new() };
        let _ = writeln!(self.out, "{}{alone}", space.title());
        self.children(&tops, "");
    }

    /// Links that nothing of their namespace contains, and that are not drawn yet.
    fn tops(&self, key: &'a str) -> Vec<(&'a str, &'a Link)> {
        let links = self.spaces.get(key).map(|space| space.links.as_slice()).unwrap_or_default();
        let top = |link: &&Link| {
            link.name != "lo" && link.master.is_none() && !self.seen.contains(&(key.to_owned(), link.index))
        };
        links.iter().filter(top).map(|link| (key, link)).collect()
    }

    fn children(&mut self, links: &[(&'a str, &'a Link)], indent: &str) {
        for (n, (key, link)) in links.iter().enumerate() {
            let last = n + 1 == links.len();
            let _ = write!(self.out, "{indent}{}", if last { "└─ " } else { "├─ " });
            let below = format!("{indent}{}", if last { "   " } else { "│  " });
            self.link(key, link, &below);
        }
    }

    /// The rest of a link's line, and what hangs on it.
    fn link(&mut self, key: &'a str, link: &'a Link, indent: &str) {
        if !self.seen.insert((key.to_owned(), link.index)) {
            let _ = writeln!(self.out, "{}", link.title());
            return;
        }
        let space = &self.spaces[key];
        let mut below: Vec<_> = space.links.iter().filter(|port| port.master.as_ref() == Some(&link.name)).collect();
        below.retain(|port| !self.seen.contains(&(key.to_owned(), port.index)));
        let mut below: Vec<(&str, &Link)> = below.into_iter().map(|port| (key, port)).collect();
        let _ = write!(self.out, "{}", link.title());
        if let Some((there, peer)) = self.peer(key, link) {
            self.seen.insert((there.to_owned(), peer.index));
            let _ = write!(self.out, " ──── {}  {}", peer.title(), self.spaces[there].title());
            below.extend(self.tops(there));
        }
        self.out.push('\n');
        self.children(&below, indent);
    }

    /// The other end of a pair, unless it is drawn already.
    fn peer(&self, key: &str, link: &Link) -> Option<(&'a str, &'a Link)> {
        let (index, id) = link.peer?;
        let there = match id {
            None => key,
            Some(id) => self.spaces[key].ids.get(&id)?,
        };
        let (there, space) = self.spaces.get_key_value(there)?;
        let peer = space.links.iter().find(|link| link.index == index)?;
        (!self.seen.contains(&(there.clone(), index))).then_some((there.as_str(), peer))
    }
}

impl Space {
    fn title(&self) -> String {
        if self.note.is_empty() { self.name.clone() } else { format!("{} ({})", self.name, self.note) }
    }
}

impl Link {
    fn title(&self) -> String {
        let mut text = self.name.clone();
        if !matches!(self.kind.as_str(), "" | "veth") {
            let network = self.network.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let _ = write!(text, " [{}{network}]", self.kind);
        }
        for address in &self.addresses {
            let _ = write!(text, " {address}");
        }
        if !self.up {
            text.push_str(" down");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, index: u64, peer: Option<(u64, Option<i64>)>, master: Option<&str>, address: &str) -> Link {
        let addresses = if address.is_empty() { vec![] } else { vec![address.to_owned()] };
        let kind = if peer.is_some() {
            "veth"
        } else if name.starts_with("br") {
            "bridge"
        } else {
            ""
        };
        let master = master.map(String::from);
        Link { name: name.into(), index, peer, master, kind: kind.into(), network: None, addresses, up: true }
    }

    fn space(name: &str, links: Vec<Link>, ids: &[(i64, &str)]) -> (String, Space) {
        let ids = ids.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        (name.into(), Space { name: name.into(), links, ids, note: String::new() })
    }

    #[test]
    fn a_bridge_its_pairs_and_a_namespace_with_nothing() {
        let spaces = BTreeMap::from([
            space(
                "host",
                vec![
                    link("lo", 1, None, None, "127.0.0.1/8"),
                    link("br0", 2, None, None, "10.0.0.1/24"),
                    link("va", 3, Some((2, Some(0))), Some("br0"), ""),
                ],
                &[(0, "a")],
            ),
            space(
                "a",
                vec![link("lo", 1, None, None, ""), link("eth0", 2, Some((3, Some(5))), None, "10.0.0.2/24")],
                &[(5, "host")],
            ),
            space("job", vec![link("lo", 1, None, None, "127.0.0.1/8")], &[]),
        ]);
        let drawn = draw(&spaces);
        assert_eq!(drawn, "host\n└─ br0 [bridge] 10.0.0.1/24\n   └─ va ──── eth0 10.0.0.2/24  a\njob   lo alone\n");
    }
}
