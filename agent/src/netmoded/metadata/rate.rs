//! How fast a task may ask.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Requests a second, and how many more may come at once (ECS agent, `taskMetadataSteadyStateRate` and `…BurstRate`).
const RATE: (f64, f64) = (40.0, 60.0);

/// So many requests may come now, since when.
#[derive(Debug)]
pub(super) struct Bucket(Mutex<(f64, Instant)>);

impl Bucket {
    pub(super) fn new() -> Self {
        Self(Mutex::new((RATE.1, Instant::now())))
    }

    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let more = now.duration_since(bucket.1).as_secs_f64() * RATE.0;
        *bucket = ((bucket.0 + more).min(RATE.1), now);
        let enough = bucket.0 >= 1.0;
        if enough {
            bucket.0 -= 1.0;
        }
        enough
    }
}
