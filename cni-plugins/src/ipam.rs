//! The delegated IPAM plugin: found in `CNI_PATH`, called with the environment and the input that we were called with
//! (specification, section "Plugin Delegation").

use crate::Failure;
use netmode_model::cni::{Call, CniCode, CniError, Config, field};
use nix::libc;
use serde_json::{Map, Value};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Plugins of ours that give addresses: they need no process of their own.
const OURS: [&str; 2] = ["host-local", "static"];

/// How often a program that is just being written is tried (ETXTBSY), as libcni does.
const TRIES: u32 = 5;

/// Who gives addresses.
pub enum Delegate<'a> {
    /// Nobody.
    Nobody,
    /// A plugin of ours, by its name.
    Ours(String),
    /// Somebody else's.
    Theirs(Program<'a>),
}

/// Somebody else's plugin.
pub struct Program<'a> {
    name: String,
    path: PathBuf,
    /// What it gets on standard input.
    text: &'a [u8],
}

impl<'a> Delegate<'a> {
    /// The one that a configuration names.
    ///
    /// # Errors
    /// It is not there.
    pub fn of(call: &Call, config: &Config, text: &'a [u8]) -> Result<Self, CniError> {
        let Some(name) = config.keys().object("ipam")?.text("type")?.map(str::to_owned) else {
            return Ok(Self::Nobody);
        };
        let bad = |why: &str| CniError::new(CniCode::InvalidConfig, format!("ipam type {name:?} {why}"));
        if name.contains('/') || name == "." || name == ".." {
            return Err(bad("cannot be the name of a plugin"));
        }
        let executable = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        let found = call.path.iter().map(|dir| dir.join(&name)).find(executable);
        let path = found.ok_or_else(|| bad("is in none of the directories of CNI_PATH"))?;
        match (is_own(&path), OURS.contains(&name.as_str())) {
            (false, _) => Ok(Self::Theirs(Program { name, path, text })),
            (true, true) => Ok(Self::Ours(name)),
            // It would call itself again and again.
            (true, false) => Err(bad("is no plugin that gives addresses")),
        }
    }
}

impl Program<'_> {
    /// Has it serve the call's own verb.
    ///
    /// # Errors
    /// Its refusal.
    pub fn serve(&self) -> Result<Option<Value>, Failure> {
        self.run(None)
    }

    /// Has it take back what it gave. What failed before is what is told.
    pub fn take_back(&self) {
        let _ = self.run(Some("DEL"));
    }

    fn run(&self, verb: Option<&str>) -> Result<Option<Value>, Failure> {
        let failed = |why: String| CniError::new(CniCode::Refused, format!("the IPAM plugin {} {why}", self.name));
        let mut command = Command::new(&self.path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(verb) = verb {
            command.env("CNI_COMMAND", verb);
        }
        let mut tries = 0;
        let mut child = loop {
            match command.spawn() {
                Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => break other.map_err(|e| failed(format!("cannot be started: {e}")))?,
            }
        };
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read all of it has seen enough.
            let _ = stdin.write_all(self.text);
        }
        let done = child.wait_with_output().map_err(|e| failed(format!("cannot be waited for: {e}")))?;
        let answer = serde_json::from_slice::<Value>(&done.stdout).ok();
        match (done.status.success(), answer) {
            (true, answer) => Ok(answer),
            (false, Some(Value::Object(error))) if is_error(&error) => Err(Failure::Theirs(error)),
            (false, _) => Err(failed(format!("ended with {} and no error of CNI's", done.status)).into()),
        }
    }
}

fn is_error(error: &Map<String, Value>) -> bool {
    field(error, "code").is_some_and(Value::is_u64)
}

/// Whether a file is this executable, under whatever name.
fn is_own(path: &PathBuf) -> bool {
    let id = |path: &PathBuf| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let own = id(&PathBuf::from("/proc/self/exe"));
    own.is_some() && own == id(path)
}
