//! Time and chance: the only places where the agent asks for either.

use netmode_model::Id;
use std::time::Duration;

/// Now, RFC 3339 in UTC, to the millisecond.
pub fn now() -> String {
    text(jiff::Timestamp::now())
}

/// A time as [`now`] writes it: such texts sort by time.
pub fn text(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Microseconds since 1970.
pub fn micros() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or_default()
}

/// The time after a while, as [`now`].
pub fn after(wait: Duration) -> String {
    text(jiff::Timestamp::now().saturating_add(wait).unwrap_or(jiff::Timestamp::MAX))
}

/// How long it is until a time of RFC 3339; nothing where that is over.
pub fn until(time: &str) -> Option<Duration> {
    let time = time.parse::<jiff::Timestamp>().ok()?;
    Some(Duration::try_from(time.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// How long it is since a time of RFC 3339; nothing where it is to come.
pub fn since(time: &str) -> Option<Duration> {
    let time = time.parse::<jiff::Timestamp>().ok()?;
    Some(Duration::try_from(jiff::Timestamp::now().duration_since(time)).unwrap_or_default())
}

/// A new random id.
///
/// # Errors
/// The kernel has no random numbers to give.
pub fn fresh_id() -> std::io::Result<Id> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(Id::from_bytes(bytes))
}

/// The id of this boot (random(4)): no network namespace outlives one.
///
/// # Errors
/// The kernel does not tell it.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
