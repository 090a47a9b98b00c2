use super::*;
use netmode_model::group::Rule as GroupRule;

fn groups() -> Groups {
    let rule = |n: u8, direction, traffic: &str, peer| GroupRule {
        id: format!("sgr-{n}"),
        direction,
        traffic: traffic.parse().unwrap(),
        peer,
        description: None,
    };
    let cidr = |text: &str| Peer::Cidr(text.parse().unwrap());
    let (web, db) = ("sg-0aaaaaaaaaaaaaaaa", "sg-0bbbbbbbbbbbbbbbb");
    let group = |id: &str, name: &str, rules| Group {
        v: 1,
        id: id.into(),
        name: name.into(),
        description: String::new(),
        rules,
    };
    let list = PrefixList {
        prefix_list_id: "pl-0cccccccccccccccc".into(),
        prefix_list_name: "office".into(),
        entries: vec!["198.51.100.0/24".parse().unwrap()],
    };
    let of_web = vec![
        rule(1, Direction::Ingress, "tcp:80", cidr("0.0.0.0/0")),
        rule(2, Direction::Ingress, "tcp:8000-8099", Peer::PrefixList(list.prefix_list_id.clone())),
        rule(3, Direction::Egress, "all", cidr("0.0.0.0/0")),
        rule(4, Direction::Egress, "all", cidr("::/0")),
    ];
    let of_db = vec![
        rule(5, Direction::Ingress, "tcp:5432", Peer::Group(web.into())),
        rule(6, Direction::Ingress, "icmp:8/0", cidr("10.0.0.0/8")),
        rule(7, Direction::Egress, "udp", cidr("10.0.2.2/32")),
    ];
    let all = [group(web, "web", of_web), group(db, "db", of_db)];
    Groups {
        groups: all.into_iter().map(|g| (g.id.clone(), g)).collect(),
        lists: [(list.prefix_list_id.clone(), list)].into(),
    }
}

#[test]
fn the_hosts_table_as_text() {
    insta::assert_snapshot!(host_ruleset(&groups(), &Settings::default()).to_string());
}

#[test]
fn the_table_of_a_task_on_a_bridge_as_text() {
    let link: EndpointLink = serde_json::from_value(serde_json::json!({
        "network": "bridge", "bridge": "nm0", "announce": false, "hostDev": "nm2", "interface": "eth0",
        "mac": "02:42:ac:11:00:02", "mtu": 1500, "addrs": ["172.17.0.2/16", "fd00:17::2/64"],
        "gateways": ["172.17.0.1", "fd00:17::1"], "groups": ["sg-0bbbbbbbbbbbbbbbb"],
    }))
    .unwrap();
    let (ruleset, _) = task_table(TableName::inet("netmode_walls"), &link, &groups(), &[], &[]);
    let text = ruleset.to_string();
    let hooks = text.find("chain input_walls").unwrap();
    insta::assert_snapshot!(text[hooks..]);
}

#[test]
fn a_tasks_table_as_text() {
    let link: EndpointLink = serde_json::from_value(serde_json::json!({
        "network": "subnet-1", "bridge": "nm1", "announce": false, "hostDev": "nm2", "interface": "eth0",
        "mac": "02:42:0a:00:02:04", "mtu": 1500, "addrs": ["10.0.2.4/24", "fd00:2::4/64"], "gateways": [],
        "eni": {"id": "eni-1", "subnet": "10.0.2.0/24", "backend": "macvlan:bridge", "parent": "eth0",
                "vlan": null, "name": ""},
        "groups": ["sg-0bbbbbbbbbbbbbbbb"],
    }))
    .unwrap();
    let mut web = link.clone();
    web.addrs = vec!["10.0.2.9/24".parse().unwrap()];
    web.groups = vec!["sg-0aaaaaaaaaaaaaaaa".into()];
    let other = Endpoint {
        v: 1,
        id: netmode_model::Id::from_bytes([1; 16]),
        owner: crate::Owner {
            kind: crate::endpoint::OwnerKind::Task,
            id: netmode_model::Id::from_bytes([1; 16]),
            name: "web".into(),
            uid: 0,
        },
        mode: netmode_model::Mode::Awsvpc,
        requested: netmode_model::RequestedMode::Awsvpc,
        progress: crate::endpoint::Progress::Ready,
        netns: crate::NetnsUse::Host,
        inode: None,
        link: Some(web),
        ports: vec![],
        created: String::new(),
    };
    let vpc = ["fd00:2::/64".parse().unwrap()];
    let (ruleset, elements) = task_table(TableName::inet("netmode_walls"), &link, &groups(), &[other], &vpc);
    let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(format!("{ruleset}{}", elements.join("\n")));
}
