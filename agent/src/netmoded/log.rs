//! The log on standard error, and its filter, which can be changed while the agent runs.

use netmode_model::{ApiError, Code};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry, reload};

/// Words that are a level (tracing's, and `off`).
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is logged where nothing else is said.
const DEFAULT: &str = "info";

/// Longest filter.
const LONGEST: usize = 1000;

/// Form of the log.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// An object on each line.
    Json,
}

/// Puts another filter in the place of the one in force.
type Replace = Box<dyn Fn(Targets) -> Result<(), String> + Send + Sync>;

/// The filter in force.
pub struct LogFilter {
    text: Mutex<String>,
    replace: Replace,
}

impl LogFilter {
    /// Starts logging, by the filter of `NETMODE_LOG` or from level `info` on.
    pub fn start(format: LogFormat) -> Self {
        let wanted = std::env::var("NETMODE_LOG").ok().filter(|text| parse(text).is_ok());
        let text = wanted.unwrap_or_else(|| DEFAULT.into());
        let (filter, handle) = reload::Layer::new(parse(&text).unwrap_or_default());
        let lines = fmt::layer().with_writer(std::io::stderr);
        match format {
            LogFormat::Text => registry().with(filter).with(lines.with_ansi(false)).init(),
            LogFormat::Json => registry().with(filter).with(lines.json()).init(),
        }
        let replace: Replace = Box::new(move |filter| handle.reload(filter).map_err(|e| e.to_string()));
        Self { text: Mutex::new(text), replace }
    }

    /// The filter in force, as text.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the filter until the agent ends.
    ///
    /// # Errors
    /// It is neither a level nor a list of `TARGET=LEVEL`; the filter before stays.
    pub fn set(&self, wanted: &str) -> Result<(), ApiError> {
        let filter = parse(wanted).map_err(|why| ApiError::new(Code::Invalid, why))?;
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        (self.replace)(filter).map_err(|e| ApiError::new(Code::Unavailable, format!("the log filter stays: {e}")))?;
        *text = wanted.into();
        Ok(())
    }
}

/// A level, or levels by target: `info,netmoded::life=debug`.
///
/// The library takes a word that it does not know for the name of a target: a misspelt level would be silence.
fn parse(text: &str) -> Result<Targets, String> {
    let level = |word: &str| LEVELS.contains(&word);
    let target = |word: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
        !word.is_empty() && word.bytes().all(plain)
    };
    let known = |part: &str| match part.rsplit_once('=') {
        Some((of, word)) => target(of) && level(word),
        None => level(part),
    };
    let shown: String = text.chars().take(80).collect();
    let bad = format!(
        "{shown:?} is no log level: write one of {}, or TARGET=LEVEL with commas between, such as \
         info,netmoded::life=debug",
        LEVELS.join(", ")
    );
    if text.len() > LONGEST || !text.split(',').all(known) {
        return Err(bad);
    }
    text.parse().map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_misspelt_level_is_refused_and_not_taken_for_a_target() {
        for good in ["info", "off", "info,netmoded::life=debug", "netmode_engine=trace,warn"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "info,", "netmoded=loud", "=debug", "INFO ", "a[b=debug"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
