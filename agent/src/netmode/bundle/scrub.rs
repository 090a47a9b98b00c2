//! What must not leave the machine in a bundle.

use crate::failure::Failure;
use netmode_model::Code;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// So much of the end of a log, in bytes.
const TAIL: u64 = 256 << 10;

const LEFT_OUT: &str = "(left out)";

/// Words in the name of something secret.
const SECRET: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "credential", "auth", "apikey", "privatekey"];

fn is_secret(name: &str) -> bool {
    let name: String = name.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    SECRET.iter().any(|word| name.contains(word))
}

/// A record, an answer or a configuration without environment, arguments, values of labels, and secrets by name.
pub(crate) fn record(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter_map(|(k, v)| member(k, v)).collect()),
        Value::Array(all) => all.into_iter().map(record).collect(),
        other => other,
    }
}

fn member(key: String, value: Value) -> Option<(String, Value)> {
    let value = match key.as_str() {
        "env" | "environment" | "extraEnv" => return None,
        "command" | "entrypoint" | "args" => first_word(value),
        "labels" | "Labels" => names_only(value),
        name if is_secret(name) => json!(LEFT_OUT),
        _ => record(value),
    };
    Some((key, value))
}

/// The program, and how many arguments it has.
fn first_word(value: Value) -> Value {
    match value {
        Value::Array(words) if !words.is_empty() => json!([words[0], format!("({} arguments)", words.len() - 1)]),
        Value::String(_) => json!(LEFT_OUT),
        other => other,
    }
}

fn names_only(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, _)| (key, json!(LEFT_OUT))).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// A sentence without what it quotes.
pub(crate) fn quotes(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split('"').enumerate() {
        out.push_str(match n % 2 {
            0 => part,
            _ => "\"…\"",
        });
    }
    out
}

/// The end of a log, its lines cut where one speaks of a secret.
pub(crate) fn log_tail(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        let error = error.to_string();
        let why = error.split(" (os error").next().unwrap_or_default();
        Failure::new(Code::NoSuchPath, format!("cannot read the log {}: {why}", path.display()))
    };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(|line| cut(line) + "\n").collect())
}

fn cut(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    match SECRET.iter().filter_map(|word| lower.find(word)).min() {
        Some(at) => format!("{}{LEFT_OUT}", &line[..at]),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_arguments_labels_and_secrets_are_left_out() {
        let value = json!({
            "name": "web", "request": {"container": {"env": ["A=hunter2"], "command": ["app", "--pw", "hunter2"],
            "labels": {"key": "hunter2"}, "image": "x"}, "net": {"ports": ["80"]}},
            "registry": [{"authToken": "hunter2", "Pass-Word": "hunter2", "host": "r"}],
        });
        let clean = record(value);
        assert!(!clean.to_string().contains("hunter2"), "{clean}");
        assert_eq!(clean["request"]["container"]["command"], json!(["app", "(2 arguments)"]));
        assert_eq!(clean["request"]["container"]["labels"], json!({"key": LEFT_OUT}));
        assert_eq!(clean["request"]["net"], json!({"ports": ["80"]}));
        assert_eq!(clean["registry"][0]["host"], "r");
    }

    #[test]
    fn quoted_text_and_lines_with_secrets_are_cut() {
        assert_eq!(
            quotes("f:3: key: invalid type: string \"hunter2\", expected u32"),
            "f:3: key: invalid type: string \"…\", expected u32"
        );
        assert_eq!(cut("task web: Password: hunter2"), "task web: (left out)");
        assert_eq!(cut("all is well"), "all is well");
    }
}
