//! The feature table, row 67: the mode by what a task needs.

use netmode_model::error::Code;
use netmode_tests::Lab;

fn advised(lab: &Lab, flags: &[&str]) -> String {
    lab.netmode(&[&["advise", "-q"], flags].concat()).success().stdout.trim().to_owned()
}

#[test]
fn row_67_the_mode_follows_from_what_a_task_needs() {
    // Advice needs no agent.
    let lab = Lab::with().no_agent().start();
    for (flags, mode) in [
        (&["--same-port-on-every-copy"][..], "awsvpc"),
        (&["--own-address", "--rules-per-task", "--outbound"], "awsvpc"),
        (&["--dynamic-ports", "--many-tasks"], "bridge"),
        (&["--different-ports"], "bridge"),
        (&["--top-speed", "--host-port"], "host"),
        (&["--no-network"], "none"),
    ] {
        assert_eq!(advised(&lab, flags), mode, "{flags:?}");
    }

    let told = lab.netmode(&["advise", "--dynamic-ports", "--names"]).success();
    assert!(told.stdout.starts_with("bridge: netmode run "), "{told:#?}");
    for mode in ["not awsvpc", "not host", "not none"] {
        assert!(told.stdout.lines().any(|line| line.starts_with(mode)), "{mode} in {told:#?}");
    }
    let json = lab.json(&["advise", "--top-speed", "--own-address"]);
    assert_eq!(json["mode"], "awsvpc");
    assert_eq!(json["reasons"][0]["need"], "own-address");
    let others: Vec<_> = json["others"].as_array().into_iter().flatten().map(|o| o["mode"].as_str()).collect();
    assert_eq!(others, [Some("bridge"), Some("host"), Some("none")]);

    lab.netmode(&["advise", "--no-network", "--own-address"]).refused(1, &["--no-network", "--own-address", "exclude"]);
    lab.netmode(&["advise", "--no-network", "--outbound", "-o", "json"]).refused_with(1, Code::Conflict);
    lab.netmode(&["advise", "--teleport"]).refused(2, &["--teleport", "netmode advise --help"]);

    let table = lab.netmode(&["advise"]).success().stdout;
    assert!(table.starts_with("NEED"), "{table}");
    let help = lab.netmode(&["advise", "--help"]).success().stdout;
    for line in table.lines().skip(1) {
        let flag = line.split_whitespace().next().unwrap_or_default();
        assert!(flag.starts_with("--") && help.contains(flag), "{flag} is no flag of {help}");
    }
    assert_eq!(lab.json(&["advise"])[0]["modes"]["bridge"]["fit"], "no");
}
