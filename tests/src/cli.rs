//! What a command answered, and what is asked of an answer.

use crate::wire::Ran;
use netmode_model::error::Code;
use serde_json::Value;

/// The end of a command.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command as a person would have typed it, nearly.
    pub command: String,
    /// Exit status; 128 + signal for one that was killed.
    pub status: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Output {
    /// Of a program that ended.
    ///
    /// # Panics
    /// If it did not end in time, or left its output open to something in the background: a shell's `$(…)` would hang.
    pub fn of(argv: &[&str], ran: Ran) -> Self {
        let command = argv.join(" ").chars().take(400).collect();
        let out = Self { command, status: ran.status, stdout: ran.stdout, stderr: ran.stderr };
        assert!(!ran.timed_out, "did not end in time: {out:#?}");
        assert!(!ran.left_open, "left its standard output or error open behind itself: {out:#?}");
        out
    }

    /// The same, if the status is 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// The same, if the status is this one.
    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "exit status of {self:#?}");
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {self:#?}"))
    }

    /// A refusal as a person should see it: this exit status, nothing on standard output, one line on standard error
    /// that has every one of the words.
    #[track_caller]
    pub fn refused(&self, status: i32, words: &[&str]) {
        if let Err(fault) = self.is_refusal(status, words) {
            panic!("{fault}");
        }
    }

    /// The same, as a question; the error says what is wrong with it.
    pub fn is_refusal(&self, status: i32, words: &[&str]) -> Result<(), String> {
        let sentence = self.stderr.trim_end();
        let missing: Vec<_> = words.iter().filter(|w| !sentence.to_lowercase().contains(&w.to_lowercase())).collect();
        let fault = if self.status != status {
            format!("exit status is not {status}")
        } else if sentence.lines().count() != 1 {
            "not one line for people".into()
        } else if !self.stdout.is_empty() {
            "something on standard output".into()
        } else if sentence.contains(['\u{1b}', '\r']) {
            "control characters".into()
        } else if !missing.is_empty() {
            format!("{missing:?} missing")
        } else {
            return Ok(());
        };
        Err(format!("{fault}: {self:?}"))
    }

    /// A refusal as a program should see it (`-o json`): this exit status and an object with this code.
    #[track_caller]
    pub fn refused_with(&self, status: i32, code: Code) {
        if let Err(fault) = self.is_refusal_with(status, code) {
            panic!("{fault}");
        }
    }

    /// The same, as a question.
    pub fn is_refusal_with(&self, status: i32, code: Code) -> Result<(), String> {
        let text = if self.stdout.trim().is_empty() { &self.stderr } else { &self.stdout };
        let json: Value = serde_json::from_str(text).map_err(|e| format!("{e}: no JSON in {self:?}"))?;
        let message = json["message"].as_str().is_some_and(|m| !m.is_empty());
        if self.status == status && json["code"] == code.as_str() && message {
            Ok(())
        } else {
            Err(format!("not status {status} with code {code} and a message: {self:?}"))
        }
    }
}
