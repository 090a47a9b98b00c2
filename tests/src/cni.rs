//! CNI calls, as runtimes make them.

use crate::Lab;
use crate::cli::Output;
use serde_json::{Value, json};

/// The names that the executable has in a lab.
pub const PLUGINS: [&str; 14] = [
    "netmode",
    "bridge",
    "loopback",
    "host-local",
    "static",
    "portmap",
    "firewall",
    "tuning",
    "bandwidth",
    "macvlan",
    "ipvlan",
    "vlan",
    "ptp",
    "host-device",
];

/// Directory of the plugins in a lab.
pub const DIR: &str = "/run/lab/cni";

/// Puts the executable under all its names into [`DIR`].
pub fn install(lab: &Lab) {
    let names = PLUGINS.join(" ");
    lab.sh(&format!("mkdir -p {DIR}; for name in {names}; do ln -sf $(command -v netmode-cni) {DIR}/$name; done"));
}

/// A call. What is not said is what most runtimes say: container `c1`, link `eth0`, namespace `/run/netns/c1`.
#[derive(Debug, Clone)]
pub struct Call {
    plugin: String,
    container: String,
    netns: Option<String>,
    ifname: String,
    args: String,
    path: String,
    dir: String,
    on: String,
    config: Value,
}

impl Call {
    /// Of a plugin with a configuration.
    pub fn of(plugin: &str, config: &Value) -> Self {
        Self {
            plugin: plugin.into(),
            container: "c1".into(),
            netns: None,
            ifname: "eth0".into(),
            args: String::new(),
            path: DIR.into(),
            dir: DIR.into(),
            on: "host".into(),
            config: config.clone(),
        }
    }

    /// For another container; its namespace is the one of that name.
    pub fn container(self, container: &str) -> Self {
        Self { container: container.into(), ..self }
    }

    /// With another namespace.
    pub fn netns(self, netns: &str) -> Self {
        Self { netns: Some(netns.into()), ..self }
    }

    /// With another link.
    pub fn ifname(self, ifname: &str) -> Self {
        Self { ifname: ifname.into(), ..self }
    }

    /// With arguments of the environment.
    pub fn args(self, args: &str) -> Self {
        Self { args: args.into(), ..self }
    }

    /// With directories of other plugins before ours.
    pub fn path(self, path: &str) -> Self {
        Self { path: format!("{path}:{DIR}"), ..self }
    }

    /// With plugins of another directory.
    pub fn dir(self, dir: &str) -> Self {
        Self { path: dir.into(), dir: dir.into(), ..self }
    }

    /// By a runtime on another machine.
    pub fn on(self, place: &str) -> Self {
        Self { on: place.into(), ..self }
    }

    /// With keys added to the configuration, or others in their place; null takes one away.
    pub fn with(mut self, keys: &Value) -> Self {
        let all = self.config.as_object_mut().expect("an object");
        for (key, value) in keys.as_object().expect("an object") {
            match value {
                Value::Null => drop(all.remove(key)),
                value => drop(all.insert(key.clone(), value.clone())),
            }
        }
        self
    }

    /// The configuration.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Runs it.
    pub fn run(&self, lab: &Lab, verb: &str) -> Output {
        let netns = self.netns.clone().unwrap_or_else(|| format!("/run/netns/{}", self.container));
        let env = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", &self.container),
            ("CNI_NETNS", &netns),
            ("CNI_IFNAME", &self.ifname),
            ("CNI_PATH", &self.path),
            ("CNI_ARGS", &self.args),
        ];
        lab.at(&self.on).run_with(&[&format!("{}/{}", self.dir, self.plugin)], &self.config.to_string(), &env)
    }

    /// ADD; answers the result.
    #[track_caller]
    pub fn add(&self, lab: &Lab) -> Value {
        self.run(lab, "ADD").success().json()
    }

    /// DEL, which says nothing.
    #[track_caller]
    pub fn del(&self, lab: &Lab) {
        assert_eq!(self.run(lab, "DEL").success().stdout, "", "DEL says nothing");
    }

    /// CHECK with the result of ADD, which says nothing.
    #[track_caller]
    pub fn check(&self, lab: &Lab, result: &Value) {
        let checked = self.clone().with(&json!({"prevResult": result})).run(lab, "CHECK").success();
        assert_eq!(checked.stdout, "", "CHECK says nothing");
    }

    /// CHECK with the result of ADD, refused with words.
    #[track_caller]
    pub fn check_fails(&self, lab: &Lab, result: &Value, words: &[&str]) {
        let checked = self.clone().with(&json!({"prevResult": result})).run(lab, "CHECK");
        assert_refused(&checked, 101, words);
    }
}

/// A list of plugins of one network, called one behind the other as libcni does.
#[derive(Debug, Clone)]
pub struct List {
    /// The calls in order.
    pub calls: Vec<Call>,
}

impl List {
    /// Of a list as it lies in a file.
    pub fn of(list: &Value) -> Self {
        let plugins = list["plugins"].as_array().expect("plugins");
        let one = |plugin: &Value| {
            let keys = json!({"cniVersion": list["cniVersion"], "name": list["name"]});
            Call::of(plugin["type"].as_str().expect("a type"), plugin).with(&keys)
        };
        Self { calls: plugins.iter().map(one).collect() }
    }

    /// Each call changed.
    pub fn each(self, change: impl Fn(Call) -> Call) -> Self {
        Self { calls: self.calls.into_iter().map(change).collect() }
    }

    /// ADD of all; answers the last result.
    #[track_caller]
    pub fn add(&self, lab: &Lab) -> Value {
        let mut result = Value::Null;
        for call in &self.calls {
            result = call.clone().with(&json!({"prevResult": result})).add(lab);
        }
        result
    }

    /// DEL of all, the last first.
    #[track_caller]
    pub fn del(&self, lab: &Lab, result: &Value) {
        self.calls.iter().rev().for_each(|call| call.clone().with(&json!({"prevResult": result})).del(lab));
    }

    /// CHECK of all.
    #[track_caller]
    pub fn check(&self, lab: &Lab, result: &Value) {
        self.calls.iter().for_each(|call| call.check(lab, result));
    }
}

/// One error document of a code, with words.
#[track_caller]
pub fn assert_refused(out: &Output, code: u32, words: &[&str]) {
    let document: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
    assert_eq!((out.status, &document["code"]), (1, &code.into()), "{out:?}");
    for word in words {
        assert!(document["msg"].as_str().is_some_and(|m| m.contains(word)), "{word:?} in {document}");
    }
}
