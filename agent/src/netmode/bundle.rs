//! `netmode debug bundle`: what somebody needs who looks for a fault, in one tar, without secrets.
//!
//! Works with the agent dead: whatever cannot be had is a line in the bundle that says why.

mod scrub;

use crate::doctor;
use crate::failure::Failure;
use crate::output::print;
use crate::system_args::BundleArgs;
use jiff::Timestamp;
use netmode_agent::config::Config;
use netmode_client::Client;
use netmode_engine::store::Kind;
use netmode_model::Code;
use scrub::{log_tail, quotes, record};
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a program that looks may take.
const LOOK: Duration = Duration::from_secs(10);

/// How long the agent may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most records of a kind.
const MOST_RECORDS: usize = 1000;

const README: &str = "\
Made by \"netmode debug bundle\". Left out: environment variables, arguments of commands, values of labels,
and whatever has the name of a secret. Look through it before you give it to somebody.
";

/// Programs that show the kernel's state, and the file that each fills.
const PROGRAMS: [(&str, &str, &[&str]); 11] = [
    ("kernel/links.txt", "ip", &["-d", "-s", "link"]),
    ("kernel/addresses.txt", "ip", &["addr"]),
    ("kernel/routes.txt", "ip", &["route", "show", "table", "all"]),
    ("kernel/routes6.txt", "ip", &["-6", "route", "show", "table", "all"]),
    ("kernel/rules.txt", "ip", &["rule"]),
    ("kernel/rules6.txt", "ip", &["-6", "rule"]),
    ("kernel/neighbours.txt", "ip", &["neigh"]),
    ("kernel/namespaces.txt", "ip", &["netns"]),
    ("kernel/table.txt", "nft", &["list", "table", "inet", "netmode"]),
    ("kernel/source-guard.txt", "nft", &["list", "table", "bridge", "netmode"]),
    ("kernel/chains.txt", "nft", &["list", "chains"]),
];

/// Gathers and writes.
pub(crate) fn bundle(client: &Client, args: &BundleArgs) -> Result<(), Failure> {
    // One that hangs is a fault to be looked for; it is not waited for again and again.
    let client = &client.clone().with_timeouts(PATIENCE, PATIENCE);
    let mut files = vec![("README.txt".to_owned(), README.into())];
    files.extend(agent(client));
    files.extend(configuration(&args.config));
    files.extend(records(client));
    files.extend(PROGRAMS.iter().map(|(file, program, words)| ((*file).to_owned(), looked(program, words))));
    if let Some(log) = &args.log {
        files.push(("log.txt".into(), log_tail(log)?));
    }
    write(args.file.as_deref(), &files)
}

/// What the agent says of itself and of what it has.
fn agent(client: &Client) -> Vec<(String, String)> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let versions = json!({
        "client": env!("CARGO_PKG_VERSION"),
        "agent": said(client.version()),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "osRelease": read("/etc/os-release"),
    });
    let doctor = doctor::look(client).map(|mut findings| {
        // The sentence on a bad configuration quotes it.
        findings.iter_mut().for_each(|f| f.message = quotes(&f.message));
        findings
    });
    let all = [
        ("version.json", versions),
        ("doctor.json", said(doctor)),
        ("agent/info.json", said(client.system())),
        ("agent/tasks.json", said(client.tasks(true))),
        ("agent/networks.json", said(client.networks())),
        ("agent/ports.json", said(client.ports())),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), pretty(record(value)))).collect()
}

/// An answer, or why there is none.
fn said<T: Serialize, E: std::fmt::Display>(answer: Result<T, E>) -> Value {
    match answer {
        Ok(value) => serde_json::to_value(value).unwrap_or_else(|e| json!({ "error": e.to_string() })),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn pretty(value: Value) -> String {
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

/// Every file of the configuration as JSON: comments may hold anything.
fn configuration(path: &Path) -> Vec<(String, String)> {
    let drop_ins = files_in(&path.with_file_name("netmode.d"), "toml");
    let one = |file: &PathBuf| {
        let name = format!("config/{}.json", file.file_name().unwrap_or_default().to_string_lossy());
        let text = std::fs::read_to_string(file).map_err(|e| e.to_string());
        let read = text.and_then(|t| toml::from_str::<Value>(&t).map_err(|e| quotes(e.message())));
        (name, pretty(record(read.unwrap_or_else(|e| json!({ "error": e })))))
    };
    let mut out: Vec<_> = std::iter::once(path.to_path_buf()).chain(drop_ins).map(|file| one(&file)).collect();
    let check = Config::load(path).err().map_or_else(|| "can be used".to_owned(), |e| quotes(&e.to_string()));
    out.push(("config/check.txt".into(), check + "\n"));
    out
}

/// Records as they are on disk, where the caller may read them.
fn records(client: &Client) -> Vec<(String, String)> {
    let info = client.system().ok();
    let run_dir = info.as_ref().map_or("/run/netmode", |i| i.run_dir.as_str());
    let state_dir = info.as_ref().map_or("/var/lib/netmode", |i| i.state_dir.as_str());
    let mut out = Vec::new();
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for dir in Kind::ALL.map(|kind| kind.within(Path::new(run_dir), Path::new(state_dir))) {
        for file in files_in(&dir, "json").into_iter().take(MOST_RECORDS) {
            let name = format!("records/{}/{}", name_of(&dir), name_of(&file));
            let bytes = std::fs::read(&file).map_err(|e| e.to_string());
            let value = bytes.and_then(|b| serde_json::from_slice::<Value>(&b).map_err(|e| e.to_string()));
            out.push((name, pretty(record(value.unwrap_or_else(|e| json!({ "error": e }))))));
        }
    }
    out
}

fn files_in(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|f| f.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

fn looked(program: &str, words: &[&str]) -> String {
    netmode_container::look(program, words, LOOK).unwrap_or_else(|error| format!("{error}\n"))
}

/// Writes the tar; an existing file is never written over.
fn write(file: Option<&Path>, files: &[(String, String)]) -> Result<(), Failure> {
    let now = Timestamp::now();
    let name = format!("netmode-debug-{}.tar", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = file.unwrap_or(Path::new(&name));
    let failed = |error: io::Error| {
        let next = if error.kind() == io::ErrorKind::AlreadyExists { "; name another file" } else { "" };
        let error = error.to_string();
        let why = error.split(" (os error").next().unwrap_or_default();
        Failure::new(Code::State, format!("cannot write {}: {why}{next}", path.display()))
    };
    if path == Path::new("-") {
        return tar(io::stdout().lock(), files, now).map_err(failed);
    }
    let out: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    tar(out, files, now).map_err(failed)?;
    print(&format!("{}\n", path.display()))
}

fn tar(out: impl Write, files: &[(String, String)], now: Timestamp) -> io::Result<()> {
    let mut tar = tar::Builder::new(out);
    for (name, text) in files {
        let mut head = tar::Header::new_gnu();
        head.set_size(text.len() as u64);
        head.set_mode(0o600);
        head.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        tar.append_data(&mut head, Path::new("netmode-debug").join(name), text.as_bytes())?;
    }
    tar.into_inner()?.flush()
}
