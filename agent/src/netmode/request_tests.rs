//! Requests as they go over the wire, flag by flag.

use super::*;
use crate::args::{Cli, Command};
use clap::Parser;
use serde_json::{Value, json};

fn caller() -> Caller {
    Caller { directory: "/home/me".into(), variables: [("TOKEN".to_string(), "secret".to_string())].into() }
}

fn request(words: &[&str]) -> Result<RunRequest> {
    let line = ["netmode", "run"].iter().chain(words);
    match Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{words:?}: {error}")).command {
        Command::Run(args) => run(&args, &caller()),
        other => panic!("{other:?}"),
    }
}

/// What the request says beyond the defaults.
fn told(words: &[&str]) -> Value {
    fn differing(value: Value, default: &Value) -> Option<Value> {
        match (value, default) {
            (value, default) if value == *default => None,
            (Value::Object(map), Value::Object(defaults)) => {
                let fields = map.into_iter().filter_map(|(key, value)| {
                    let default = defaults.get(&key).unwrap_or(&Value::Null);
                    differing(value, default).map(|value| (key, value))
                });
                Some(Value::Object(fields.collect()))
            }
            (value, _) => Some(value),
        }
    }
    let request = request(words).unwrap_or_else(|failure| panic!("{words:?}: {failure}"));
    let default = serde_json::to_value(RunRequest::default()).unwrap();
    differing(serde_json::to_value(request).unwrap(), &default).unwrap()
}

#[test]
fn the_image_ends_the_flags() {
    assert_eq!(
        told(&["--rm", "./app.tar", "ls", "-l", "--rm", "-o", "json"]),
        json!({"autoRemove": true, "container": {"image": "/home/me/app.tar", "command": ["ls", "-l", "--rm", "-o", "json"]}})
    );
    assert_eq!(
        told(&["--rootfs", "/", "ip", "-br", "a"]),
        json!({"container": {"rootfs": "/", "command": ["ip", "-br", "a"]}})
    );
    assert_eq!(
        told(&["--rootfs", "fs", "--entrypoint", "sh"]),
        json!({"container": {"rootfs": "/home/me/fs", "entrypoint": ["sh"]}})
    );
    assert_eq!(told(&["--entrypoint", "", "x"]), json!({"container": {"image": "x", "entrypoint": []}}));
}

#[test]
fn the_three_names_of_the_mode_are_one_flag() {
    for flag in ["--mode", "--network", "--net"] {
        assert_eq!(told(&[flag, "host", "x"]), json!({"network": "host", "container": {"image": "x"}}));
    }
    assert_eq!(told(&["--net", "container:web", "x"])["network"], "container:web");
    assert_eq!(told(&["--net", "ns:ns/x", "x"])["network"], "ns:/home/me/ns/x");
    assert_eq!(told(&["--mode", "awsvpc", "x"])["network"], "awsvpc");
    assert_eq!(told(&["--mode", "default", "x"]), json!({"container": {"image": "x"}}));
}

#[test]
fn every_flag_of_the_network_arrives() {
    assert_eq!(
        told(&[
            "-p",
            "8080:80",
            "-p",
            "127.0.0.1::53/udp",
            "--publish",
            "[::1]:8000-8001:80-81",
            "-P",
            "--expose",
            "90-99/udp",
            "--hostname",
            "h",
            "--dns",
            "192.0.2.53",
            "--dns",
            "2001:db8::53",
            "--dns-search",
            "a.test",
            "--dns-option",
            "ndots:1",
            "--add-host",
            "db:192.0.2.1",
            "--add-host",
            "gw=host-gateway",
            "--link",
            "db:database",
            "--network-alias",
            "w",
            "--ip",
            "172.17.0.9",
            "--ip6",
            "2001:db8::9",
            "--mac-address",
            "02-42-AC-11-00-09",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "--port-env",
            "PORT",
            "--name",
            "web-1",
            "x",
        ]),
        json!({
            "name": "web-1",
            "container": {"image": "x"},
            "net": {
                "ports": ["8080:80/tcp", "127.0.0.1::53/udp", "[::1]:8000-8001:80-81/tcp"],
                "publishAll": true,
                "expose": ["90-99/udp"],
                "portEnv": "PORT",
                "hostname": "h",
                "dns": ["192.0.2.53", "2001:db8::53"],
                "dnsSearch": ["a.test"],
                "dnsOptions": ["ndots:1"],
                "addHosts": ["db:192.0.2.1", "gw:host-gateway"],
                "links": ["db:database"],
                "networkAliases": ["w"],
                "ip": "172.17.0.9",
                "ip6": "2001:db8::9",
                "macAddress": "02:42:ac:11:00:09",
                "sysctls": {"net.ipv4.ip_forward": "1"},
            }
        })
    );
}

#[test]
fn every_flag_of_the_container_arrives() {
    assert_eq!(
        told(&[
            "-it",
            "-e",
            "A=1",
            "-e",
            "TOKEN",
            "-e",
            "UNSET",
            "-v",
            "./data:/data:ro",
            "-v",
            "/x:/y",
            "--tmpfs",
            "/tmp:size=1m",
            "-w",
            "/srv",
            "-u",
            "1000:1000",
            "--cap-add",
            "NET_ADMIN",
            "--cap-drop",
            "ALL",
            "--label",
            "a=b=c",
            "-l",
            "flag",
            "--restart",
            "no",
            "--memory",
            "1g",
            "--cpus",
            "1.5",
            "--pids-limit",
            "-1",
            "--read-only",
            "--ulimit",
            "nofile=1024:2048",
            "--init",
            "--pull",
            "never",
            "--security-opt",
            "no-new-privileges",
            "--security-opt",
            "seccomp=profile.json",
            "--privileged",
            "x",
        ]),
        json!({
            "container": {
                "image": "x",
                "env": ["A=1", "TOKEN=secret"],
                "volumes": ["/home/me/data:/data:ro", "/x:/y"],
                "tmpfs": ["/tmp:size=1m"],
                "workdir": "/srv",
                "user": "1000:1000",
                "stdin": true,
                "tty": true,
                "capAdd": ["NET_ADMIN"],
                "capDrop": ["ALL"],
                "privileged": true,
                "securityOpt": ["no-new-privileges", "seccomp=/home/me/profile.json"],
                "readOnly": true,
                "memory": 1_073_741_824,
                "cpus": 1.5,
                "pidsLimit": -1,
                "ulimits": ["nofile=1024:2048"],
                "init": true,
                "restart": "no",
                "labels": {"a": "b=c", "flag": ""},
            }
        })
    );
}

#[test]
fn bad_values_are_refused_with_a_sentence_before_the_agent_is_asked() {
    let refused = |flag: &str, value: &str| match request(&[flag, value, "x"]) {
        Err(failure) => {
            assert!(!failure.message.contains('\n'), "{failure}");
            assert_eq!(failure.status(true), 125);
            (failure.code, failure.message)
        }
        Ok(request) => panic!("{flag} {value}: {request:?}"),
    };
    for (flag, value, code, part) in [
        ("-p", "8080:0", Code::InvalidPort, "cannot publish \"8080:0\": \"0\" is not a port"),
        ("-p", "65536:80", Code::InvalidPort, "\"65536\" is not a port"),
        ("-p", "90-80:90-80", Code::InvalidPort, "the range 90-80 is reversed"),
        ("-p", "8000-8002:80-81", Code::InvalidPort, "differ in length"),
        ("-p", "80/icmp", Code::InvalidPort, "unknown protocol \"icmp\""),
        ("--expose", "0", Code::InvalidPort, "--expose"),
        ("--expose", "80/x", Code::InvalidPort, "unknown protocol"),
        ("--mode", "a b", Code::UnknownMode, "unknown network mode \"a b\""),
        ("--name", "a;b", Code::Invalid, "--name: the name \"a;b\" is not allowed"),
        ("--name", "<b>", Code::Invalid, "is not allowed"),
        ("--name", &"x".repeat(129), Code::Invalid, "at most 128"),
        ("--mac-address", "02:42", Code::Invalid, "is not a MAC address"),
        ("--mac-address", "01:00:5e:00:00:01", Code::Invalid, "multicast"),
        ("--ip", "172.17.0", Code::Invalid, "\"172.17.0\" is not an IPv4 address"),
        ("--ip6", "172.17.0.1", Code::Invalid, "is not an IPv6 address"),
        ("--dns", "localhost", Code::Invalid, "--dns: \"localhost\" is not an IP address"),
        ("--add-host", "db", Code::Invalid, "write NAME:ADDRESS"),
        ("--sysctl", "net.x", Code::Invalid, "write KEY=VALUE"),
        ("--port-env", "1PORT", Code::Invalid, "no name of an environment variable"),
        ("--env", "=x", Code::Invalid, "a variable needs a name"),
        ("--env-file", "missing", Code::NoSuchPath, "cannot read the env-file missing: No such file or directory"),
        ("--volume", "data:/data", Code::Invalid, "begin it with"),
        ("--volume", "/data", Code::Invalid, "write SOURCE:TARGET"),
        ("--volume", "/data:x", Code::Invalid, "absolute path"),
        ("--tmpfs", "tmp", Code::Invalid, "absolute path"),
        ("--workdir", "srv", Code::Invalid, "absolute path"),
        ("--label", "=x", Code::Invalid, "write KEY=VALUE"),
        ("--memory", "1x", Code::Invalid, "such as 512m"),
        ("--cpus", "none", Code::Invalid, "such as 1.5"),
        ("--pids-limit", "0", Code::Invalid, "or -1"),
        ("--ulimit", "nofile", Code::Invalid, "write NAME=SOFT"),
        ("--restart", "sometimes", Code::Invalid, "unknown restart policy \"sometimes\""),
    ] {
        let (found, message) = refused(flag, value);
        assert_eq!(found, code, "{flag} {value}: {message}");
        assert!(message.contains(part), "{flag} {value}: {message}");
    }
    assert!(request(&["--rootfs", "/"]).unwrap_err().message.contains("needs a command"));
    assert!(request(&[""]).unwrap_err().message.contains("the image has no name"));
}

#[test]
fn exec_and_attach_make_their_requests() {
    let command = |words: &[&str]| Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{e}")).command;
    let Command::Exec(args) =
        command(&["netmode", "exec", "-it", "-e", "A=1", "-u", "0", "-w", "/", "web", "sh", "-c", "id"])
    else {
        panic!()
    };
    let (task, request) = exec(&args, &caller()).unwrap();
    assert_eq!(task, "web");
    assert_eq!(
        serde_json::to_value(request).unwrap(),
        json!({"command": ["sh", "-c", "id"], "env": ["A=1"], "workdir": "/", "user": "0", "stdin": true, "tty": true})
    );
    let Command::Attach(args) =
        command(&["netmode", "attach", "--netns", "/run/netns/blue", "--mode", "bridge", "-p", "80"])
    else {
        panic!()
    };
    let request = serde_json::to_value(attach(&args).unwrap()).unwrap();
    assert_eq!(request["owner"], "blue");
    assert_eq!(request["netns"], json!({"fd": 0}));
    assert_eq!(request["interface"], "eth0");
    assert_eq!(request["mode"], "bridge");
    assert_eq!(request["net"]["ports"], json!(["80/tcp"]));
    let Command::Attach(args) = command(&["netmode", "attach", "--netns", "/proc/1/ns/net"]) else { panic!() };
    assert!(attach(&args).unwrap_err().message.contains("give --owner NAME"));
}

#[test]
fn wrong_usage_is_told_from_bad_values() {
    for words in [
        &["netmode"][..],
        &["netmode", "run"],
        &["netmode", "run", "--bogus", "x"],
        &["netmode", "run", "--name"],
        &["netmode", "exec", "web"],
        &["netmode", "port"],
        &["netmode", "stop", "-t", "soon", "web"],
        &["netmode", "attach"],
        &["netmode", "bogus"],
    ] {
        assert!(Cli::try_parse_from(words).is_err(), "{words:?}");
    }
}
