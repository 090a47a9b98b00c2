//! Programs of others: IPAM plugins, and the plugins that had our names before.

use crate::Failure;
use netmode_model::cni::{Call, CniCode, CniError, field};
use nix::libc;
use serde_json::{Map, Value};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often a program that is just being written is tried (ETXTBSY), as libcni does.
const TRIES: u32 = 5;

/// What a program is called that had one of our names before ("netmode cni enable").
const KEPT: &str = ".before-netmode";

/// Somebody else's plugin.
pub struct Program<'a> {
    name: String,
    path: PathBuf,
    /// What it gets on standard input.
    text: &'a [u8],
}

impl<'a> Program<'a> {
    /// A program with what it gets on standard input.
    pub fn at(name: &str, path: PathBuf, text: &'a [u8]) -> Self {
        Self { name: name.to_owned(), path, text }
    }

    /// The plugin of a name that runtimes called before ours: kept beside it, or in a later directory of `CNI_PATH`.
    pub fn before_us(name: &str, call: &Call, text: &'a [u8]) -> Option<Self> {
        let of = |dir: &PathBuf| [dir.join(format!("{name}{KEPT}")), dir.join(name)];
        let found = call.path.iter().flat_map(of).find(|path| is_executable(path) && !is_own(path));
        found.map(|path| Self::at(name, path, text))
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
        let failed = |why: String| CniError::new(CniCode::Refused, format!("the plugin {} {why}", self.name));
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
pub fn is_own(path: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    let own = id(Path::new("/proc/self/exe"));
    own.is_some() && own == id(path)
}

/// Whether a path is a program.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
