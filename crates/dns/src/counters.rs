//! What was answered.

use std::sync::atomic::{AtomicU64, Ordering};

/// Response codes of RFC 1035 §4.1.1 and those of RFC 2136 that have a name, by number.
const NAMES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/// Answers by their response code, and questions that were asked of others.
#[derive(Debug, Default)]
pub struct Counters {
    codes: [AtomicU64; NAMES.len()],
    other: AtomicU64,
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    /// Counts a reply by its header (the low four bits of byte 3).
    pub(crate) fn replied(&self, reply: &[u8]) {
        let code = usize::from(reply.get(3).copied().unwrap_or_default() & 0xf);
        self.codes.get(code).unwrap_or(&self.other).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forwarded(&self) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Replies by the name of their response code.
    pub fn by_code(&self) -> Vec<(&'static str, u64)> {
        let named = NAMES.iter().zip(&self.codes).map(|(name, count)| (*name, count.load(Ordering::Relaxed)));
        named.chain([("other", self.other.load(Ordering::Relaxed))]).collect()
    }

    /// Questions that others were asked.
    pub fn forwards(&self) -> u64 {
        self.forwarded.load(Ordering::Relaxed)
    }

    /// Packets that were no question.
    pub fn drops(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
