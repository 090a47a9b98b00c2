//! `netmode-cni`: the CNI executable.
//!
//! This release answers VERSION (CNI 1.1.0, "VERSION: probe plugin version support"). Every other command is
//! refused with error 100, so that a runtime never takes a container for attached that is not.
#![forbid(unsafe_code)]

use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;

/// Versions of the specification whose VERSION answer this is.
const SUPPORTED: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// First of the codes that plugins may give a meaning of their own.
const NOT_IN_THIS_RELEASE: u32 = 100;

fn main() -> ExitCode {
    let command = std::env::var("CNI_COMMAND").unwrap_or_default();
    let mut input = String::new();
    let version = match std::io::stdin().take(1 << 20).read_to_string(&mut input) {
        Ok(_) => version_of(&input),
        Err(_) => "1.1.0".into(),
    };
    let (answer, code) = answer(&command, &version);
    println!("{answer}");
    code
}

/// The version that the caller speaks.
fn version_of(input: &str) -> String {
    let config: Value = serde_json::from_str(input).unwrap_or_default();
    config.get("cniVersion").and_then(Value::as_str).unwrap_or("1.1.0").to_owned()
}

fn answer(command: &str, version: &str) -> (Value, ExitCode) {
    match command {
        "VERSION" => (json!({"cniVersion": version, "supportedVersions": SUPPORTED}), ExitCode::SUCCESS),
        other => {
            let msg = format!("{other:?} is not in this release of netmode; use another plugin until the next one");
            (json!({"cniVersion": version, "code": NOT_IN_THIS_RELEASE, "msg": msg}), ExitCode::FAILURE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_answered_and_the_rest_refused() {
        let (version, _) = answer("VERSION", &version_of(r#"{"cniVersion":"0.4.0"}"#));
        assert_eq!(version["cniVersion"], "0.4.0");
        let (refusal, _) = answer("ADD", &version_of(""));
        assert_eq!(refusal["code"], NOT_IN_THIS_RELEASE);
    }
}
