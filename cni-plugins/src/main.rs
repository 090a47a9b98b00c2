//! `netmode-cni`: the CNI executable. It reads a call, has the agent serve it, and prints the answer.
//!
//! It answers to several names: the one it is called by is the plugin's `type`. This release serves the plugin `netmode`.
//! Under another name it understands calls, and refuses wrong ones as the specification
//! says (CNI 1.1.0); what would change something is refused with error 100, so that a runtime never takes a container
//! for attached that is not.
#![forbid(unsafe_code)]

mod about;
mod input;
mod serve;

use netmode_model::cni::{Call, CniCode, CniError, Config, Verb, Version};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

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
            Err(error) => refuse(&error, Version::NEWEST),
        },
        Err(error) => refuse(&error, Config::version_of(&input::at_hand()).unwrap_or(Version::NEWEST)),
    }
}

/// Serves a call.
fn answer(name: &str, call: &Call, text: &[u8]) -> Result<Option<Value>, CniError> {
    let config = Config::read(text)?;
    let since = match call.verb {
        Verb::Check => Version::V040,
        Verb::Gc | Verb::Status => Version::V110,
        _ => Version::V010,
    };
    if config.version < since {
        let (verb, has) = (call.verb.as_str(), config.version.as_str());
        let text = format!("{verb} is there from version {} on, the configuration has {has}", since.as_str());
        return Err(CniError::new(CniCode::Version, text));
    }
    if name == about::OWN {
        return serve::serve(call, &config);
    }
    let verb = call.verb.as_str();
    let message =
        format!("{verb} of {name:?} is not in this release of netmode; use another plugin until the next one");
    Err(CniError::new(CniCode::NotInThisRelease, message))
}

fn refuse(error: &CniError, version: Version) -> ExitCode {
    print(&error.document(version), ExitCode::FAILURE)
}

/// One document, and nothing else; a caller that has gone is no reason to panic.
fn print(document: &Value, code: ExitCode) -> ExitCode {
    match std::io::stdout().write_all(format!("{document}\n").as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}
