//! `/etc/hosts` and `/etc/resolv.conf` of a container (moby `etchosts`, `resolvconf`; ECS rules).

use crate::seat;
use std::fmt::Write;
use std::net::IpAddr;

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLine {
    /// The address.
    pub ip: IpAddr,
    /// The names, the one of most use first.
    pub names: Vec<String>,
}

/// `/etc/hosts`: localhost, the IPv6 block where the container has IPv6, `--add-host`, `--link`, itself.
pub fn etc_hosts(has_v6: bool, extra: &[HostLine], links: &[HostLine], own: &[HostLine]) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if has_v6 {
        text.push_str(
            "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for line in extra.iter().chain(links).chain(own) {
        let _ = writeln!(text, "{}\t{}", line.ip, line.names.join(" "));
    }
    text
}

/// What a container's resolver is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Name servers that were asked for.
    pub servers: Vec<IpAddr>,
    /// Search domains that were asked for.
    pub search: Vec<String>,
    /// Options that were asked for.
    pub options: Vec<String>,
}

/// `/etc/resolv.conf` on the default bridge.
///
/// What is not asked for comes from the host's file, without name servers on a loopback address, which mean
/// something else inside, and without IPv6 ones where the container has no IPv6. If none is left, public ones
/// stand in (moby `TransformForLegacyNw`).
pub fn resolv_conf(wanted: &Resolver, host_file: &str, has_v6: bool) -> String {
    let words = |key| lines_of(host_file, key);
    let mut servers = wanted.servers.clone();
    if servers.is_empty() {
        let of_host = words("nameserver").filter_map(|w| w.first()?.parse::<IpAddr>().ok());
        servers = of_host.filter(|ip| !ip.is_loopback() && (has_v6 || ip.is_ipv4())).collect();
    }
    if servers.is_empty() {
        let public = ["8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844"];
        let public = public.iter().filter_map(|s| s.parse().ok());
        servers = public.filter(|ip: &IpAddr| has_v6 || ip.is_ipv4()).collect();
    }
    let or_host = |wanted: &[String], key| match wanted {
        [] => words(key).last().unwrap_or_default(),
        given => given.to_vec(),
    };
    let (search, options) = (or_host(&wanted.search, "search"), or_host(&wanted.options, "options"));
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // "--dns-search ." asks for none.
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

/// `/etc/resolv.conf` where a resolver of ours is asked; the servers that were asked for are asked by that one.
///
/// On a network of one's own a name without dots is a container's, so it is not tried with the search domains first
/// (`ndots:0`, as Docker). In a VPC what is not asked for comes from the subnet alone, as its DHCP options would say.
pub fn resolv_conf_of(own: &seat::Resolver, wanted: &Resolver, host_file: &str) -> String {
    let server = own.asked_at.first().copied().unwrap_or(own.at);
    let in_vpc = own.at != seat::ON_BRIDGE;
    let search = match (&wanted.search[..], in_vpc) {
        ([], true) if own.search.is_empty() => vec![".".to_owned()],
        ([], true) => own.search.clone(),
        (given, _) => given.to_vec(),
    };
    let options = match (&wanted.options[..], in_vpc) {
        (given, true) => given.to_vec(),
        ([], false) => lines_of(host_file, "options").last().unwrap_or_default(),
        (given, false) => given.to_vec(),
    };
    let ndots = (!in_vpc && !options.iter().any(|o| o.starts_with("ndots:"))).then(|| "ndots:0".to_owned());
    let options: Vec<String> = options.into_iter().chain(ndots).collect();
    let host_file = if in_vpc { "" } else { host_file };
    resolv_conf(&Resolver { servers: vec![server.into()], search, options }, host_file, false)
}

/// The words after a keyword, line by line.
fn lines_of<'a>(file: &'a str, key: &'a str) -> impl Iterator<Item = Vec<String>> + 'a {
    let lines = file.lines().map(str::split_whitespace);
    lines.filter_map(move |mut l| (l.next() == Some(key)).then(|| l.map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_is_in_dockers_order() {
        let line = |ip: &str, names: &[&str]| HostLine {
            ip: ip.parse().unwrap(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
        };
        let text = etc_hosts(
            false,
            &[line("192.0.2.7", &["db"])],
            &[line("172.17.0.2", &["app", "0123456789ab", "gunicorn"])],
            &[line("172.17.0.3", &["web"])],
        );
        assert_eq!(
            text,
            "127.0.0.1\tlocalhost\n192.0.2.7\tdb\n172.17.0.2\tapp 0123456789ab gunicorn\n172.17.0.3\tweb\n"
        );
        assert!(etc_hosts(true, &[], &[], &[]).contains("::1\tlocalhost"));
    }

    #[test]
    fn loopback_and_unusable_servers_are_left_out() {
        let host = "nameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.net lan\noptions edns0\n";
        let text = resolv_conf(&Resolver::default(), host, false);
        assert_eq!(text, "nameserver 192.0.2.53\nsearch example.net lan\noptions edns0\n");
        assert!(resolv_conf(&Resolver::default(), host, true).contains("2001:db8::53"));
        let text = resolv_conf(&Resolver::default(), "nameserver 127.0.0.53\n", false);
        assert_eq!(text, "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
    }

    #[test]
    fn a_resolver_of_ours_is_the_only_server() {
        let mut own = seat::Resolver { at: seat::ON_BRIDGE, asked_at: vec![seat::ON_BRIDGE], search: vec![] };
        let host = "nameserver 192.0.2.53\nsearch lan\noptions edns0 trust-ad\n";
        let asked = Resolver { servers: vec!["192.0.2.1".parse().unwrap()], ..Resolver::default() };
        let text = resolv_conf_of(&own, &asked, host);
        assert_eq!(text, "nameserver 127.0.0.11\nsearch lan\noptions edns0 trust-ad ndots:0\n");
        let asked = Resolver { options: vec!["ndots:2".into()], search: vec![".".into()], ..Resolver::default() };
        assert_eq!(resolv_conf_of(&own, &asked, host), "nameserver 127.0.0.11\noptions ndots:2\n");

        (own.at, own.asked_at) = (seat::IN_VPC, vec!["10.0.2.2".parse().unwrap(), seat::IN_VPC]);
        own.search = vec!["netmode.internal".into()];
        let text = resolv_conf_of(&own, &Resolver::default(), host);
        assert_eq!(text, "nameserver 10.0.2.2\nsearch netmode.internal\n");
    }

    #[test]
    fn what_is_asked_for_replaces_the_hosts() {
        let wanted = Resolver {
            servers: vec!["127.0.0.1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
        };
        let text = resolv_conf(&wanted, "nameserver 192.0.2.53\nsearch lan\n", false);
        assert_eq!(text, "nameserver 127.0.0.1\noptions ndots:2\n");
    }
}
