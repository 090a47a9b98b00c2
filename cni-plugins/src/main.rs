//! `netmode-cni`: the CNI executable. It reads a call, has the agent serve it, and prints the answer.
//!
//! It answers to several names: the one it is called by is the plugin's `type`. It understands calls, and refuses wrong
//! ones as the specification says (CNI 1.1.0); whether there is a plugin of that name, and what it does, the agent knows.
#![forbid(unsafe_code)]

mod about;
mod agent;
mod input;
mod ipam;
mod program;
mod serve;

use netmode_model::cni::{Call, CniCode, CniError, Config, Verb, Version};
use serde_json::{Map, Value};
use std::io::Write;
use std::process::ExitCode;

/// Why a call is refused.
enum Failure {
    /// By us.
    Ours(CniError),
    /// By the IPAM plugin; its error is passed on.
    Theirs(Map<String, Value>),
}

impl From<CniError> for Failure {
    fn from(error: CniError) -> Self {
        Self::Ours(error)
    }
}

fn main() -> ExitCode {
    let name = about::name(std::env::args_os().next());
    if std::env::var_os("CNI_COMMAND").is_none_or(|command| command.is_empty()) {
        // Whoever calls without a command wants to know who this is (the reference's convention).
        about::tell(&name);
        return ExitCode::SUCCESS;
    }
    let call = Call::read(|variable| std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned()));
    match call {
        Ok(Call { verb: Verb::Version, .. }) => {
            // Nobody waits for what may come later: the answer is as good without it.
            print(&Version::answer(Config::version_of(&input::at_hand())), ExitCode::SUCCESS)
        }
        Ok(call) => match input::all() {
            Ok(text) => {
                let version = Config::version_of(&text).unwrap_or(Version::NEWEST);
                match answer(&name, &call, &text) {
                    Ok(Some(result)) => print(&result, ExitCode::SUCCESS),
                    Ok(None) => ExitCode::SUCCESS,
                    Err(error) => refuse(&error, version),
                }
            }
            Err(error) => refuse(&error.into(), Version::NEWEST),
        },
        Err(error) => refuse(&error.into(), Config::version_of(&input::at_hand()).unwrap_or(Version::NEWEST)),
    }
}

/// Serves a call.
fn answer(name: &str, call: &Call, text: &[u8]) -> Result<Option<Value>, Failure> {
    let config = Config::read(text)?;
    let since = match call.verb {
        Verb::Check => Version::V040,
        Verb::Gc | Verb::Status => Version::V110,
        _ => Version::V010,
    };
    if config.version < since {
        let (verb, has) = (call.verb.as_str(), config.version.as_str());
        let text = format!("{verb} is there from version {} on, the configuration has {has}", since.as_str());
        return Err(CniError::new(CniCode::Version, text).into());
    }
    serve::serve(name, call, &config, text)
}

fn refuse(failure: &Failure, version: Version) -> ExitCode {
    let document = match failure {
        Failure::Ours(error) => error.document(version),
        Failure::Theirs(error) => {
            let mut error = error.clone();
            error.insert("cniVersion".into(), version.as_str().into());
            Value::Object(error)
        }
    };
    print(&document, ExitCode::FAILURE)
}

/// One document, and nothing else; a caller that has gone is no reason to panic.
fn print(document: &Value, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(format!("{document}\n").as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
