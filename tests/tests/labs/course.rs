//! One lab in a sandbox of its own.

use crate::text::{self, Block};
use netmode_tests::sandbox::repository;
use netmode_tests::{Lab, Output, need};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// What the package installs, by hand.
const INSTALL: &str = "cp /opt/netmode/bin/netmode /opt/netmode/bin/netmoded /usr/local/bin/
mkdir -p /usr/local/lib/netmode/cni
cp /opt/netmode/bin/netmode-cni /usr/local/lib/netmode/cni/netmode";
/// Where its labs lie.
const LABS: &str = "/usr/local/share/netmode/labs";

/// A machine on which one lab is gone through.
pub struct Course {
    pub machine: Lab,
    pub number: String,
    name: String,
    faults: usize,
    /// Names of checks that have failed at least once.
    failed: BTreeSet<String>,
    blocks: Vec<Block>,
    /// Index of the first block that was not run.
    next: usize,
}

impl Course {
    /// Starts the lab; `None` if a program is missing that it needs.
    pub fn begin(number: u32) -> Option<Self> {
        let machine = Lab::with().no_agent().start();
        machine.sh(INSTALL);
        copy(&machine, &repository().join("vagrant/labs"), LABS);
        let labs = machine.json(&["lab", "ls"]);
        let lab =
            labs.as_array().unwrap().iter().find(|lab| lab["number"] == number).expect("the lab is listed").clone();
        if let Some(missing) = lab["missing"].as_str() {
            note_missing(missing);
            return None;
        }
        let name = lab["name"].as_str().unwrap().to_owned();
        let faults = usize::try_from(lab["faults"].as_u64().unwrap()).unwrap();
        let blocks = text::blocks(&text::read(&name));
        assert!(faults > 0 && !blocks.is_empty(), "{lab}");
        let course =
            Self { machine, number: number.to_string(), name, faults, failed: BTreeSet::new(), blocks, next: 0 };
        let beginning = course.lab(&["start", "--no-shell"]).success().stdout;
        assert!(beginning.contains(&format!("# Lab {number} ")) && beginning.contains("\nhost\n"), "{beginning}");
        assert!(!beginning.contains("Leave: exit"), "there is no shell to leave: {beginning}");
        Some(course)
    }

    /// `netmode lab WORDS NUMBER`.
    pub fn lab(&self, words: &[&str]) -> Output {
        self.machine.netmode(&[&["lab"], words, &[&self.number]].concat())
    }

    /// The checks, each for itself: those that do not pass, with what is said about them.
    pub fn failing(&self) -> Vec<Value> {
        let out = self.lab(&["check", "--all", "-o", "json"]);
        let checks = out.json();
        let failing: Vec<Value> =
            checks.as_array().unwrap().iter().filter(|check| check["result"] != "passed").cloned().collect();
        assert_eq!(out.status, i32::from(!failing.is_empty()), "{out:?}");
        failing
    }

    fn fails(&mut self, when: &str) {
        let failing = self.failing();
        assert!(!failing.is_empty(), "{}: every check passes {when}", self.name);
        self.failed.extend(failing.iter().map(|check| check["check"].as_str().unwrap().to_owned()));
    }

    #[track_caller]
    fn passes(&self, when: &str) {
        let mut failing = self.failing();
        // What was started a moment ago may take its time beside a build.
        for _ in 0..5 {
            if failing.is_empty() {
                return;
            }
            failing = self.failing();
        }
        assert!(failing.is_empty(), "{} {when}: {failing:#?}\n{}", self.name, self.lab(&["picture"]).stdout);
    }

    pub fn all_checks_fail_somewhere_at_the_start(&mut self) {
        self.fails("at the start");
        let said = self.lab(&["check"]).exits(1).stdout;
        assert!(said.contains("FAIL") && said.contains("netmode lab hint"), "{said}");
    }

    pub fn text_before_the_solution(&mut self) {
        self.text(false);
    }

    pub fn text_behind_the_solution(&mut self) {
        self.text(true);
        self.passes("behind the text");
    }

    /// Runs the text's commands up to the mark of the solution, or those behind it.
    fn text(&mut self, behind: bool) {
        while let Some(block) = self.blocks.get(self.next).filter(|block| block.solved == behind).cloned() {
            self.next += 1;
            if !block.needs.is_empty() && self.machine.run(&["which", &block.needs]).status != 0 {
                continue;
            }
            let outputs: Vec<String> = block.commands.iter().map(|command| self.type_in(command)).collect();
            text::compare(&self.name, &block, &outputs);
        }
    }

    /// What a command shows in the lab's shell.
    pub fn type_in(&self, command: &str) -> String {
        self.lab(&["shell", "-c", &format!("exec 2>&1\n{command}")]).stdout
    }

    pub fn hints(&self) {
        let first = self.lab(&["hint"]).success().stdout;
        let second = self.lab(&["hint"]).success().stdout;
        assert!(first.starts_with("Hint 1 of ") && second.starts_with("Hint 2 of "), "{first}{second}");
    }

    pub fn solve(&self) {
        self.assert_shown("solution.sh", &self.lab(&["solve"]).success());
        self.passes("with the solution");
        let said = self.lab(&["check"]).success().stdout;
        assert!(said.contains("netmode lab break"), "{said}");
        let next = self.number.parse::<u32>().unwrap() + 1;
        assert!(next > 12 || said.contains(&format!("netmode lab start {next}")), "where to go on: {said}");
    }

    /// Commands are shown as they stand in the script, so that they can be copied.
    fn assert_shown(&self, script: &str, shown: &Output) {
        let script = std::fs::read_to_string(repository().join("vagrant/labs").join(&self.name).join(script)).unwrap();
        for line in script.lines() {
            assert!(shown.stdout.lines().any(|l| l.strip_prefix("$ ").unwrap_or(l) == line), "{line:?} in {shown:?}");
        }
    }

    /// Each fault can be put in, found and repaired, and put in again.
    pub fn faults(&mut self) {
        for seed in 0..self.faults {
            let broken = |course: &Self| course.lab(&["break", "--seed", &seed.to_string()]).success().stdout;
            let said = broken(self);
            self.is_repaired(&said);
            let said = broken(self);
            self.lab(&["solve"]).success();
            self.passes(&format!("with the fault repaired a second time ({said})"));
        }
    }

    /// Without a number each fault comes once before one comes again, and none comes twice in a row.
    pub fn faults_by_chance(&mut self) {
        let seed = |said: &str| said.split_once("--seed ").unwrap().1.split(' ').next().unwrap().to_owned();
        let mut seen = Vec::new();
        for n in 0..=self.faults {
            let said = self.lab(&["break"]).success().stdout;
            assert!(said.contains(&format!("had {} of {} faults ", n % self.faults + 1, self.faults)), "{said}");
            seen.push(seed(&said));
            self.is_repaired(&said);
        }
        assert_eq!(seen[..self.faults].iter().collect::<BTreeSet<_>>().len(), self.faults, "{seen:?}");
        assert!(self.faults == 1 || seen.windows(2).all(|two| two[0] != two[1]), "{seen:?}");
    }

    fn is_repaired(&mut self, said: &str) {
        self.fails(&format!("with a fault ({said})"));
        self.lab(&["hint"]).success();
        let shown = self.lab(&["solve"]).success();
        assert!(shown.stdout.lines().any(|line| line.starts_with("$ ")), "{shown:?}");
        self.passes(&format!("with the fault repaired ({said})"));
    }

    /// A short cut that looks like the solution: the solution, changed by `sed`, must fail this check.
    pub fn short_cut(&self, check: &str, sed: &str) {
        self.lab(&["reset"]).success();
        let done =
            self.type_in(&format!("sed '{sed}' {LABS}/{}/solution.sh >/tmp/short.sh; sh -eu /tmp/short.sh", self.name));
        let is_it = |failing: &[Value]| failing.len() == 1 && failing[0]["check"] == check;
        let mut failing = self.failing();
        for _ in 0..5 {
            // As in `passes`.
            if is_it(&failing) {
                return;
            }
            failing = self.failing();
        }
        assert!(is_it(&failing), "{check:?} with {sed:?}: {done}\n{failing:#?}");
    }

    pub fn every_check_was_seen_to_fail(&self) {
        let report = self.machine.json(&["lab", "report"]);
        let never: Vec<&Value> = report
            .as_array()
            .unwrap()
            .iter()
            .map(|line| &line["check"])
            .filter(|check| !self.failed.contains(check.as_str().unwrap()))
            .collect();
        assert!(never.is_empty(), "{}: a check that cannot fail: {never:?}", self.name);
    }

    pub fn report(&self) {
        let lines = self.machine.json(&["lab", "report"]);
        let lines = lines.as_array().unwrap();
        assert!(!lines.is_empty() && lines.iter().all(|line| line["lab"] == *self.name && line["result"] == "passed"));
        let csv = self.machine.netmode(&["lab", "report"]).success().stdout;
        let csv: Vec<&str> = csv.lines().collect();
        assert_eq!(csv.len(), lines.len() + 1, "one line for each check, and the headings: {csv:#?}");
        assert!(csv[0].starts_with("learner,lab,check,result,") && csv[1].contains(&self.name), "{csv:#?}");
        assert!(lines.iter().all(|line| line["reason"].is_null() && line["solved"] == true), "{lines:#?}");
        assert!(lines.iter().all(|line| line["faults"] == self.faults && line["faultsFound"] == 0), "{lines:#?}");
        self.machine.netmode(&["lab", "report", "--dir", "/tmp"]).success();
        assert!(self.machine.read("/tmp/report.csv").lines().count() == csv.len());
        assert!(self.machine.read("/tmp/report.json").starts_with('['));
    }

    pub fn reset(&mut self) {
        let begun = Instant::now();
        self.lab(&["reset"]).success();
        // Noted, not asserted: the limit of a second is for an idle machine.
        eprintln!("{}: reset in {} ms", self.name, begun.elapsed().as_millis());
        self.fails("behind a reset");
    }

    pub fn stop(&self) {
        assert_eq!(self.lab(&["stop"]).success().stdout, format!("lab {} ended\n", self.number));
        let left = self
            .machine
            .sh("pgrep -a netmoded || :; find /sys/fs/cgroup -name 'netmode-lab-*'; ip netns | grep '^nm-' || :");
        assert_eq!(left, "", "left behind");
        self.lab(&["check"]).refused(1, &["does not run", "netmode lab start"]);
    }
}

fn note_missing(missing: &str) {
    need!(false, missing);
}

/// Copies a directory of the repository into the machine.
fn copy(machine: &Lab, from: &Path, to: &str) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let inside = format!("{to}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            copy(machine, &path, &inside);
        } else {
            machine.write(&inside, &std::fs::read_to_string(&path).unwrap());
        }
    }
}
