use super::*;
use std::collections::BTreeMap;

fn at(table: &str, chain: &str) -> ChainAt {
    ChainAt { family: TableFamily::Ip, table: table.into(), chain: chain.into() }
}

fn rule(handle: u64, always: bool, outcome: Outcome) -> SeenRule {
    SeenRule { handle, always, outcome, comment: None, group: None, link: None }
}

fn ours(handle: u64, pass: Pass) -> SeenRule {
    let settings = Settings::default();
    SeenRule {
        comment: Some(comment(&settings, pass)),
        group: Some(settings.group),
        ..rule(handle, false, Outcome::Accept)
    }
}

/// A table of iptables with these chains, whose FORWARD has a policy.
fn filter(drops: bool, chains: Vec<(&str, Vec<SeenRule>)>) -> Foreign {
    let base = BaseChain { at: at("filter", "FORWARD"), drops, owned: false };
    let chains: BTreeMap<_, _> = chains.into_iter().map(|(name, rules)| (at("filter", name), rules)).collect();
    Foreign { bases: vec![base], chains, legacy: vec![] }
}

fn changes(foreign: &Foreign) -> Vec<String> {
    let beside = compare(foreign, &[], &Settings::default(), true);
    beside.changes.iter().map(ToString::to_string).collect()
}

fn jump(chain: &str) -> Outcome {
    Outcome::Jump(chain.into())
}

#[test]
fn a_chain_that_lets_pass_is_left_alone() {
    assert!(changes(&filter(false, vec![("FORWARD", vec![rule(1, false, Outcome::Drop)])])).is_empty());
    assert!(changes(&filter(true, vec![("FORWARD", vec![rule(1, true, Outcome::Accept)])])).is_empty());
    assert!(changes(&Foreign::default()).is_empty());
}

#[test]
fn the_rules_as_commands() {
    let plain = filter(true, vec![("FORWARD", vec![rule(1, false, Outcome::Drop)])]);
    let native = Foreign {
        bases: vec![BaseChain { at: at("site", "forward"), drops: false, owned: false }],
        chains: [(at("site", "forward"), vec![rule(7, false, Outcome::Accept), rule(8, true, Outcome::Drop)])].into(),
        legacy: vec![],
    };
    let text = [changes(&plain), changes(&native)].concat().join("\n");
    insta::assert_snapshot!(text, @r#"
    iptables -A FORWARD -m devgroup --src-group 0x6e6d -m comment --comment "netmode/default/from" -j ACCEPT
    iptables -A FORWARD -m devgroup --dst-group 0x6e6d -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -m comment --comment "netmode/default/to" -j ACCEPT
    nft insert rule ip site forward position 8 iifgroup 28269 counter accept comment '"netmode/default/from"'
    nft insert rule ip site forward position 8 oifgroup 28269 ct status expected,seen-reply,snat,dnat counter accept comment '"netmode/default/to"'
    "#);
}

#[test]
fn the_place_is_before_what_ends_the_chain_and_behind_the_users_own() {
    let forward = vec![rule(1, true, jump("DOCKER-USER")), rule(2, true, jump("DOCKER-ISOLATION"))];
    let user = vec![rule(11, false, Outcome::Drop), rule(12, true, Outcome::Return)];
    let isolation = vec![rule(21, true, Outcome::Return)];
    let docker = filter(
        true,
        vec![("FORWARD", forward.clone()), ("DOCKER-USER", user.clone()), ("DOCKER-ISOLATION", isolation)],
    );
    let text = changes(&docker);
    assert!(text[0].starts_with("iptables -I DOCKER-USER 2 "), "{text:?}");
    assert!(text[1].starts_with("iptables -I DOCKER-USER 3 "), "{text:?}");

    // ufw comes after Docker: behind the rules of both.
    let mut both = docker.clone();
    both.chains.get_mut(&at("filter", "FORWARD")).unwrap().push(rule(3, true, jump("ufw-before-forward")));
    both.chains.insert(at("filter", "ufw-before-forward"), vec![rule(31, true, jump("ufw-user-forward"))]);
    both.chains.insert(at("filter", "ufw-user-forward"), vec![rule(32, false, Outcome::Drop)]);
    assert!(changes(&both)[0].starts_with("iptables -A ufw-user-forward "), "{:?}", changes(&both));

    // A chain that drops everything may be led to from elsewhere, so nothing is put in there.
    let logged = vec![rule(1, false, Outcome::Drop), rule(2, true, jump("LOGDROP"))];
    let drop = vec![rule(41, true, Outcome::On), rule(42, true, Outcome::Drop)];
    let logged = filter(false, vec![("FORWARD", logged), ("LOGDROP", drop)]);
    assert!(changes(&logged)[0].starts_with("iptables -I FORWARD 2 "), "{:?}", changes(&logged));
}

#[test]
fn what_stands_is_left_and_what_stands_wrong_is_moved() {
    let with = |rules: Vec<SeenRule>| changes(&filter(true, vec![("FORWARD", rules)]));
    let stranger = || rule(1, false, Outcome::Drop);
    assert!(with(vec![stranger(), ours(2, Pass::From), ours(3, Pass::To)]).is_empty());
    assert!(with(vec![stranger(), ours(3, Pass::To), ours(2, Pass::From)]).is_empty());
    for wrong in [
        vec![ours(2, Pass::From), ours(3, Pass::To), stranger()],
        vec![stranger(), ours(2, Pass::From)],
        vec![stranger(), ours(2, Pass::From), ours(3, Pass::To), ours(4, Pass::To)],
        vec![ours(2, Pass::From), stranger(), ours(3, Pass::To)],
        vec![stranger(), ours(2, Pass::From), SeenRule { group: Some(1), ..ours(3, Pass::To) }],
        vec![stranger(), ours(2, Pass::From), SeenRule { outcome: Outcome::Drop, ..ours(3, Pass::To) }],
    ] {
        let old = wrong.iter().filter(|r| r.comment.is_some()).count();
        let text = with(wrong.clone());
        let deleted = text.iter().filter(|t| t.starts_with("nft delete rule ip filter FORWARD handle ")).count();
        assert_eq!((deleted, text.len()), (old, old + 2), "{wrong:?}: {text:?}");
        assert!(text[old..].iter().all(|t| t.starts_with("iptables -A FORWARD ")), "{text:?}");
    }
}

#[test]
fn nothing_is_left_where_nothing_is_wanted() {
    let whole = filter(true, vec![("FORWARD", vec![ours(2, Pass::From), ours(3, Pass::To)])]);
    assert_eq!(compare(&whole, &[], &Settings::default(), false).changes.len(), 2);
    let open = filter(false, vec![("FORWARD", vec![ours(2, Pass::From), ours(3, Pass::To)])]);
    assert_eq!(compare(&open, &[], &Settings::default(), true).changes.len(), 2, "nothing drops any more");
    let unused = vec![("FORWARD", vec![]), ("DOCKER-USER", vec![ours(2, Pass::From), ours(3, Pass::To)])];
    let moved = changes(&filter(true, unused));
    assert_eq!(moved.len(), 4, "nothing leads there any more: {moved:?}");
}

#[test]
fn an_owned_table_and_firewalld_are_not_written() {
    let mut owned = filter(true, vec![("FORWARD", vec![])]);
    owned.bases[0].owned = true;
    let beside = compare(&owned, &[], &Settings::default(), true);
    assert!(beside.changes.is_empty() && beside.shut[0].way == Way::Owned);

    let (forward, zones) = (at(FIREWALLD, "filter_FORWARD"), at(FIREWALLD, "filter_FORWARD_ZONES"));
    let bridge: IfName = "nm0".parse().unwrap();
    let of = |link: &str| {
        let link = Some(link.parse().unwrap());
        SeenRule { link, ..rule(5, false, Outcome::Goto("filter_FWD_netmode".into())) }
    };
    let firewalld = |zone: Vec<SeenRule>| Foreign {
        bases: vec![BaseChain { at: forward.clone(), drops: false, owned: false }],
        chains: [
            (forward.clone(), vec![rule(1, true, jump("filter_FORWARD_ZONES")), rule(2, true, Outcome::Drop)]),
            (zones.clone(), zone),
        ]
        .into(),
        legacy: vec![],
    };
    let asked = |zone| compare(&firewalld(zone), std::slice::from_ref(&bridge), &Settings::default(), true);
    assert_eq!(asked(vec![]).shut[0].way, Way::Firewalld { unknown: vec![bridge.clone()], stale: vec![] });
    assert_eq!(asked(vec![of("nm0"), of("eth0")]).shut[0].way, Way::Firewalld { unknown: vec![], stale: vec![] });
    let gone = "nm0123456789a";
    let stale = vec![gone.parse().unwrap()];
    assert_eq!(asked(vec![of("nm0"), of(gone)]).shut[0].way, Way::Firewalld { unknown: vec![], stale });
    assert!(asked(vec![]).changes.is_empty());
}
