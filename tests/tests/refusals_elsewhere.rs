//! Bad input to everything but `run`: the other commands, the API, the agent itself, and a machine that lacks something.

use netmode_model::error::Code;
use netmode_tests::lab::CONFIG;
use netmode_tests::machine::Machine;
use netmode_tests::{Lab, eventually};

const RUN: [&str; 5] = ["run", "-d", "--rootfs", "/", "true"];

#[test]
fn tasks_that_are_not_there_or_in_the_wrong_state() {
    let lab = Lab::start();
    lab.serve("web", &[], &["tcp/80"]);
    lab.netmode(&["run", "--name", "ended", "--rootfs", "/", "true"]).success();
    let before = Machine::settled(&lab);
    for command in [
        &["inspect", "nobody"][..],
        &["logs", "nobody"],
        &["stop", "nobody"],
        &["kill", "nobody"],
        &["wait", "nobody"],
        &["rm", "nobody"],
        &["port", "nobody"],
        &["start", "nobody"],
        &["rm", "../web"],
        &["inspect", "$(id)"],
    ] {
        lab.netmode(command).refused(1, &[command[1]]);
        before.assert_unchanged(&lab, &command.join(" "));
    }
    lab.netmode(&["exec", "nobody", "true"]).refused(125, &["nobody"]);
    lab.netmode(&["-o", "json", "exec", "nobody", "true"]).refused_with(125, Code::NotFound);
    lab.netmode(&["-o", "json", "stop", "nobody"]).refused_with(1, Code::NotFound);

    lab.netmode(&["exec", "ended", "true"]).refused(125, &["ended", "stopped"]);
    lab.netmode(&["-o", "json", "exec", "ended", "true"]).refused_with(125, Code::WrongState);
    lab.netmode(&["kill", "ended"]).refused(1, &["ended", "stopped"]);
    lab.netmode(&["rm", "web"]).refused(1, &["web", "running", "netmode stop web"]);
    lab.netmode(&["kill", "-s", "SIGFOO", "web"]).refused(1, &["SIGFOO"]);
    before.assert_unchanged(&lab, "commands for a task in the wrong state");
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    let lab = Lab::start();
    for command in [
        &["frobnicate"][..],
        &["run", "--no-such-flag", "--rootfs", "/", "true"],
        &["ps", "--no-such-flag"],
        &["stop"],
        &["exec"],
        &["run"],
        &["-o", "xml", "ps"],
    ] {
        let out = lab.netmode(command);
        assert_eq!((out.status, out.stdout.as_str()), (2, ""), "{out:#?}");
        assert!(!out.stderr.is_empty() && out.stderr.contains("netmode"), "{out:#?}");
    }
}

#[test]
fn an_agent_that_does_not_run() {
    let lab = Lab::with().no_agent().start();
    let words = ["/run/netmode/netmode.sock", "netmoded"];
    lab.netmode(&RUN).refused(125, &words);
    lab.netmode(&["exec", "web", "true"]).refused(125, &words);
    for command in [&["ps"][..], &["inspect", "web"], &["port", "ls"], &["network", "ls"]] {
        lab.netmode(command).refused(1, &words);
    }
    lab.netmode(&["-o", "json", "ps"]).refused_with(1, Code::AgentUnreachable);
    lab.netmode(&["--socket", "/srv/other.sock", "ps"]).refused(1, &["/srv/other.sock"]);
    lab.netmode_with(&["ps"], "", &[("NETMODE_SOCKET", "/srv/env.sock")]).refused(1, &["/srv/env.sock"]);
    // A socket that nobody serves is the same as none.
    lab.sh("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/srv/dead.sock\")'");
    lab.netmode(&["--socket", "/srv/dead.sock", "ps"]).refused(1, &["/srv/dead.sock", "netmoded"]);
    let doctor = lab.netmode(&["doctor"]);
    assert!(doctor.status > 0 && doctor.stdout.contains("agent"), "doctor works with the agent dead: {doctor:#?}");
}

#[test]
fn a_caller_without_privilege() {
    let lab = Lab::start();
    lab.serve("web", &[], &["tcp/80"]);
    let before = Machine::settled(&lab);
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let run = lab.run(&[&nobody[..], &["netmode"], &RUN].concat());
    run.refused(125, &["/run/netmode/netmode.sock", "group"]);
    lab.run(&[&nobody[..], &["netmode", "rm", "-f", "web"]].concat()).refused(1, &["/run/netmode/netmode.sock"]);
    let agent = lab.run(&[&nobody[..], &["netmoded", "--run-dir", "/tmp/r", "--state-dir", "/tmp/s"]].concat());
    agent.refused(1, &["root"]);
    before.assert_unchanged(&lab, "an unprivileged caller");
    assert_eq!(lab.sh("stat -c %a /run/netmode/netmode.sock").trim(), "660");
}

#[test]
fn access_by_the_policy_table() {
    let row = |who: &str, what: &str| format!("[[api.access]]\n{who}\nallow = \"{what}\"\n");
    let policy = row("uid = 1000", "read") + &row("uid = 1001", "all") + &row("gid = 4242\nopen_host = true", "all");
    let lab = Lab::with().config(&policy).first("groupadd netmode").start();
    lab.serve("web", &[], &["tcp/80"]);
    let before = Machine::settled(&lab);
    let group = lab.sh("getent group netmode | cut -d: -f3").trim().to_owned();
    let by = |uid: &str, words: &[&str]| {
        let user = ["setpriv", "--reuid", uid, "--regid", &group, "--clear-groups", "--", "netmode"];
        lab.run(&[&user[..], words].concat())
    };
    by("1000", &["ps"]).success();
    by("1000", &["inspect", "web"]).success();
    by("1000", &["rm", "-f", "web"]).refused(1, &["1000", "[[api.access]]"]);
    by("1000", &RUN).refused(125, &["1000", "[[api.access]]"]);
    by("1000", &["exec", "web", "true"]).refused(125, &["1000"]);
    by("1000", &[&["-o", "json"][..], &RUN].concat()).refused_with(125, Code::Forbidden);
    before.assert_unchanged(&lab, "a reader who wants to write");
    by("1001", &["ps"]).success();
    let host_root = by("1001", &["run", "-v", "/:/host", "--rootfs", "/", "true"]);
    assert_ne!(host_root.status, 0, "the host's files are for root: {host_root:#?}");
    for mode in ["pidMode", "ipcMode"] {
        let text =
            format!(r#"{{"family": "f", "{mode}": "host", "containerDefinitions": [{{"name": "a", "image": "x"}}]}}"#);
        lab.write("/tmp/taskdef.json", &text);
        by("1001", &["task", "run", "-f", "/tmp/taskdef.json"]).refused(1, &[mode, "root", "open_host"]);
    }
    // A supplementary group counts, and the policy may open the host.
    let member = |groups: &str| {
        let user = ["setpriv", "--reuid", "1002", "--regid", "1002", "--groups", groups, "--", "netmode"];
        lab.run(&[&user[..], &["run", "--rm", "--rootfs", "/", "echo", "hi"]].concat())
    };
    member(&group).refused(125, &["1002", "[[api.access]]"]);
    assert_eq!(member(&format!("{group},4242")).success().stdout, "hi\n");
}

#[test]
fn requests_that_are_no_requests() {
    let lab = Lab::start();
    lab.serve("web", &[], &["tcp/80"]);
    let before = Machine::settled(&lab);
    let bad: [(&str, &str, u16, Code, &str); 7] = [
        ("/v1/tasks", "{", 400, Code::BadRequest, "JSON"),
        ("/v1/tasks", "", 400, Code::Invalid, "nothing to run"),
        ("/v1/tasks", r#"{"bogus":1}"#, 400, Code::BadRequest, "bogus"),
        ("/v1/tasks", r#"{"net":{"port":["80:80"]}}"#, 400, Code::BadRequest, "port"),
        ("/v1/tasks", r#"{"net":{"ports":["0:0"]},"container":{"rootfs":"/"}}"#, 400, Code::InvalidPort, "0"),
        ("/v1/tasks", r#"{"network":"foo","container":{"rootfs":"/"}}"#, 400, Code::UnknownMode, "foo"),
        ("/v1/tasks/web/kill", r#"{"signal":"TERM","now":true}"#, 400, Code::BadRequest, "now"),
    ];
    for (path, body, status, code, word) in bad {
        let (got, reply) = lab.api("POST", path, Some(body));
        assert_eq!((got, &reply["code"]), (status, &code.as_str().into()), "{path} {body}: {reply}");
        assert!(reply["message"].as_str().is_some_and(|m| m.contains(word)), "{path} {body}: {reply}");
    }
    for (method, path, status) in
        [("GET", "/v1/nothing", 404), ("PUT", "/v1/tasks", 405), ("GET", "/v1/tasks/nobody", 404)]
    {
        let (got, reply) = lab.api(method, path, None);
        assert_eq!(got, status, "{method} {path}: {reply}");
        assert!(reply["code"].is_string() && reply["message"].is_string(), "{method} {path}: {reply}");
    }
    // A body of 100 MB: refused, not read into memory.
    let rss = || -> u64 { lab.sh(&format!("ps -o rss= -p {}", lab.agent_pid())).trim().parse().expect("KiB") };
    let small = rss();
    let send = |how: &str| {
        lab.sh(&format!(
            "truncate -s 100M /tmp/big; curl -sS --max-time 30 --unix-socket /run/netmode/netmode.sock -X POST {how} \
             -H 'Content-Type: application/json' -w '\\n%{{http_code}}' http://netmode/v1/tasks 2>&1 || :"
        ))
    };
    let told = send("--data-binary @/tmp/big");
    assert!(told.contains("413") && told.contains("too-large"), "its length is told beforehand: {told}");
    // In pieces, the answer may be lost to a caller who goes on sending; it is cut off all the same.
    let pieces = send("-T /tmp/big -H 'Transfer-Encoding: chunked'");
    assert!(!pieces.ends_with("\n201") && !pieces.ends_with("\n200"), "{pieces}");
    assert!(rss() < small + 20_000, "{} KiB after {small}", rss());
    before.assert_unchanged(&lab, "requests that are no requests");
    assert_eq!(lab.api("GET", "/v1/version", None).0, 200, "and the agent goes on");
}

#[test]
fn a_caller_who_stalls_does_not_stop_others() {
    let lab = Lab::start();
    let stalled = "import socket, time\nss = []\nfor _ in range(200):\n    s = socket.socket(socket.AF_UNIX)\n    \
                   s.connect('/run/netmode/netmode.sock'); s.send(b'POST /v1/tasks HTTP/1.1\\r\\nContent-Le'); ss.append(s)\n\
                   print('stalled', flush=True)\ntime.sleep(60)\n";
    lab.write("/srv/stalled.py", stalled);
    lab.spawn(&["python3", "/srv/stalled.py"], "/run/lab/stalled.log");
    eventually("200 callers stall", 5.0, || lab.read("/run/lab/stalled.log").contains("stalled"));
    lab.run(&["timeout", "30", "netmode", "ps"]).success();
    assert_eq!(lab.sh("pgrep -cf '[/]srv/stalled.py'").trim(), "1", "they still stall");
}

#[test]
fn programs_that_are_missing() {
    for (program, hide) in [("runc", "/usr/sbin/runc"), ("conmon", "/usr/bin/conmon")] {
        let lab = Lab::with().first(&format!("mv {hide} {hide}.gone")).start();
        let before = Machine::settled(&lab);
        for how in [&["run"][..], &["run", "-d", "-p", "8080:80"]] {
            let command = [how, &["--rootfs", "/", "true"]].concat();
            lab.netmode(&command).refused(125, &[program, "install"]);
            lab.netmode(&[&["-o", "json"], &command[..]].concat()).refused_with(125, Code::MissingProgram);
            before.assert_unchanged(&lab, &format!("run without {program}"));
        }
        let doctor = lab.netmode(&["doctor"]);
        assert_eq!(doctor.status, 2, "{doctor:#?}");
        assert!(doctor.stdout.contains(program) && doctor.stdout.contains("fail"), "{doctor:#?}");
    }
}

#[test]
fn configurations_that_stop_the_start() {
    let cases: [(&str, &[&str]); 10] = [
        ("[bridge]\nnaem = \"x\"", &[CONFIG, "2", "naem"]),
        ("[bridge\n", &[CONFIG, "1"]),
        ("[bridge]\npools = [\"172.17.0.0/33\"]", &[CONFIG, "2", "pools"]),
        ("[bridge]\nname = \"a-name-that-is-too-long\"", &[CONFIG, "2", "name"]),
        ("[bridge]\nipv6 = \"172.17.0.0/16\"", &[CONFIG, "2", "ipv6"]),
        ("[bridge]\nipv6 = \"fd00:17::/65\"", &[CONFIG, "bridge.ipv6", "/64"]),
        ("\n[ports]\nrange = \"9-1\"", &[CONFIG, "3", "range"]),
        ("[firewall]\nmark = 3", &[CONFIG, "mark"]),
        ("[firewall]\nowner = \"maybe\"", &[CONFIG, "2", "owner"]),
        ("[nonsense]\nx = 1", &[CONFIG, "1", "nonsense"]),
    ];
    let lab = Lab::with().no_agent().start();
    let mut faults = vec![];
    for (text, words) in cases {
        lab.write(CONFIG, text);
        let out = lab.run(&["timeout", "5", "netmoded"]);
        faults.extend(out.is_refusal(1, words).err().map(|fault| format!("{text:?}: {fault}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    // A drop-in is named as itself.
    lab.write(CONFIG, "");
    lab.write("/etc/netmode/netmode.d/10-site.toml", "[bridge]\nmtu = \"big\"");
    lab.run(&["timeout", "5", "netmoded"]).refused(1, &["netmode.d/10-site.toml", "2", "mtu"]);
    assert!(
        lab.sh("ip link; ls /run/netmode 2>/dev/null || :").lines().all(|l| !l.contains("nm0")),
        "nothing was made"
    );
}
