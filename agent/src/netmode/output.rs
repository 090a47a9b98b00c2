//! Data on standard output.

use crate::args::{Format, Global};
use crate::failure::Failure;
use crate::table::table;
use crate::text::plain_json;
use netmode_model::Code;
use serde::Serialize;
use std::io::{self, Write};

/// How this call prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    /// Whether the format was asked for.
    pub(crate) chosen: bool,
}

impl Output {
    /// The format asked for, else `default`.
    pub(crate) fn of(global: &Global, default: Format) -> Self {
        Self { format: global.output.unwrap_or(default), quiet: global.quiet, chosen: global.output.is_some() }
    }

    /// Whether `-o json` was given.
    pub(crate) fn json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether a program reads it.
    pub(crate) fn structured(self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Prints the data as JSON or YAML, or the table that `rows` makes of it.
    pub(crate) fn listing<T: Serialize>(
        self,
        data: &T,
        headings: &[&str],
        rows: impl FnOnce() -> Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => print(&table(headings, &rows())),
            Format::Json | Format::Yaml => self.data(data),
        }
    }

    /// Prints the data as YAML if that was asked for, else as JSON.
    pub(crate) fn data<T: Serialize>(self, data: &T) -> Result<(), Failure> {
        print(&self.text(data)?)
    }

    /// The same as text.
    pub(crate) fn text<T: Serialize>(self, data: &T) -> Result<String, Failure> {
        let bad = |error: String| Failure::new(Code::State, format!("cannot write the answer: {error}"));
        if self.format == Format::Yaml {
            return serde_yaml_ng::to_string(data).map_err(|e| bad(e.to_string()));
        }
        let json = serde_json::to_string_pretty(data).map_err(|e| bad(e.to_string()))?;
        Ok(plain_json(&json) + "\n")
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_on(text).map(drop)
}

/// The same, and tells whether anybody still reads.
pub(crate) fn print_on(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(Code::State, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// Prints one item a line.
pub(crate) fn print_lines(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    print(&lines.into_iter().fold(String::new(), |out, line| out + &line + "\n"))
}
