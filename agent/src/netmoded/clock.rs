//! Time and chance: the only places where the agent asks for either.

use netmode_model::Id;

/// Now, RFC 3339 in UTC, to the millisecond.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
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
