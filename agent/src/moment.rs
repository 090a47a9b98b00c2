//! Times as people write them: moments, or how long ago.

use jiff::{SignedDuration, Timestamp};

/// What a time may be, for whoever gave another one.
pub const FORMS: &str = "write a time as 2026-01-31T12:00:00Z, or how long ago as 10m";

/// `2026-01-31T12:00:00Z`, or how long ago, as docker takes it: `90s`, `1h30m`.
pub fn since(text: &str, now: Timestamp) -> Option<Timestamp> {
    let ago = || text.parse::<SignedDuration>().ok().filter(|d| !d.is_negative());
    text.parse().ok().or_else(|| now.checked_sub(ago()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_is_a_time_or_a_while() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-01-31T12:00:00Z");
        assert_eq!(since("10m", now), Some(at("2026-01-31T11:50:00Z")));
        assert_eq!(since("1h30m", now), Some(at("2026-01-31T10:30:00Z")));
        assert_eq!(since("2026-01-31T12:00:00+01:00", now), Some(at("2026-01-31T11:00:00Z")));
        for bad in ["", "yesterday", "-5m", "10", "2026-13-01"] {
            assert_eq!(since(bad, now), None, "{bad}");
        }
    }
}
