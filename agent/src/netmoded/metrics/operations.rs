//! What the agent did, how it ended and how long it took: counted as it happens, by atomics alone.

use netmode_model::{ApiError, Mode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A namespace gets an endpoint.
    Attach,
    /// An endpoint is taken away.
    Detach,
    /// A task is made: its network and its container.
    Create,
    /// A task's container is started, by hand or by its restart policy.
    Start,
    /// A task is ended by hand.
    Stop,
    /// A task is removed.
    Remove,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Attach, Self::Detach, Self::Create, Self::Start, Self::Stop, Self::Remove];

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As asked for.
    Ok,
    /// It was asked for what cannot be, or not now: the caller's to change.
    Refused,
    /// The kernel, the disk or a program failed.
    Failed,
}

impl Ended {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Refused, Self::Failed];

    /// Its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// That of work that goes on past failures.
    pub fn whole<T>(failures: &[T]) -> Self {
        if failures.is_empty() { Self::Ok } else { Self::Failed }
    }

    /// That of a result: errors that HTTP calls the client's are refusals.
    pub fn of<T>(result: &Result<T, ApiError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(error) if error.code.status() < 500 => Self::Refused,
            Err(_) => Self::Failed,
        }
    }
}

/// Every mode, in the order of their numbers.
pub const MODES: [Mode; 4] = [Mode::Awsvpc, Mode::Bridge, Mode::Host, Mode::None];

/// Upper bounds of the buckets, in microseconds: an attach takes one or two milliseconds, a start a hundred, a stop up to
/// ten seconds.
const BOUNDS: [u64; 13] =
    [500, 1_000, 2_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000];

/// Durations of one operation in one mode.
#[derive(Debug, Default)]
struct Durations {
    /// One for each bound, and one for what is beyond.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// Durations as they are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds, each with what is between it and the one before.
    pub buckets: Vec<(f64, u64)>,
    /// Seconds in all.
    pub sum: f64,
    /// How many in all.
    pub count: u64,
}

#[derive(Debug, Default)]
struct Cell {
    ended: [AtomicU64; Ended::ALL.len()],
    durations: Durations,
}

/// Counts since the agent was started.
#[derive(Debug, Default)]
pub struct Operations([[Cell; MODES.len()]; Operation::ALL.len()]);

/// How often an operation ended how, and how long it took, in one mode.
#[derive(Debug)]
pub struct Counted {
    /// The operation.
    pub operation: Operation,
    /// The mode.
    pub mode: Mode,
    /// In the order of [`Ended::ALL`].
    pub ended: [u64; Ended::ALL.len()],
    /// The durations of all of them.
    pub durations: Histogram,
}

impl Operations {
    fn cell(&self, operation: Operation, mode: Mode) -> &Cell {
        let mode = MODES.iter().position(|m| *m == mode).unwrap_or_default();
        &self.0[operation as usize][mode]
    }

    /// Counts one that has ended.
    pub fn count(&self, operation: Operation, mode: Mode, ended: Ended, took: Duration) {
        let cell = self.cell(operation, mode);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        cell.ended[ended as usize].fetch_add(1, Ordering::Relaxed);
        cell.durations.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        cell.durations.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Waits for one and counts it.
    ///
    /// # Errors
    /// The operation's own.
    pub async fn timed<T>(
        &self,
        operation: Operation,
        mode: Mode,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let begun = Instant::now();
        let result = work.await;
        self.count(operation, mode, Ended::of(&result), begun.elapsed());
        result
    }

    /// Everything that was counted; what never happened is among it, so that its first time is seen as a change.
    pub fn all(&self) -> Vec<Counted> {
        let pairs = Operation::ALL.into_iter().flat_map(|o| MODES.into_iter().map(move |m| (o, m)));
        let one = |(operation, mode)| {
            let cell = self.cell(operation, mode);
            let ended = std::array::from_fn(|n| cell.ended[n].load(Ordering::Relaxed));
            Counted { operation, mode, ended, durations: cell.durations.now() }
        };
        pairs.map(one).collect()
    }
}

impl Durations {
    fn now(&self) -> Histogram {
        let seconds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = seconds.zip(counts).collect();
        // Of the buckets that were read, so that they agree while somebody counts.
        let count = buckets.iter().map(|(_, count)| count).sum();
        Histogram { buckets, sum: self.micros.load(Ordering::Relaxed) as f64 / 1e6, count }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use netmode_model::Code;

    #[test]
    fn an_end_is_counted_once_and_its_time_in_one_bucket() {
        let operations = Operations::default();
        operations.count(Operation::Attach, Mode::Bridge, Ended::Ok, Duration::from_micros(1_000));
        operations.count(Operation::Attach, Mode::Bridge, Ended::Refused, Duration::from_micros(1_001));
        operations.count(Operation::Attach, Mode::Bridge, Ended::Failed, Duration::from_secs(60));
        let all = operations.all();
        assert_eq!(all.len(), 24);
        let own = all.iter().find(|c| c.operation == Operation::Attach && c.mode == Mode::Bridge).unwrap();
        assert_eq!(own.ended, [1, 1, 1]);
        let filled: Vec<_> = own.durations.buckets.iter().filter(|(_, n)| *n > 0).map(|(bound, _)| *bound).collect();
        assert_eq!(filled, [0.001, 0.002, f64::INFINITY]);
        assert_eq!((own.durations.count, own.durations.sum), (3, 60.002001));
        assert!(all.iter().filter(|c| c.mode != Mode::Bridge).all(|c| c.durations.count == 0));
    }

    #[test]
    fn what_the_caller_can_change_is_a_refusal() {
        let ended = |code| Ended::of(&Err::<(), _>(ApiError::new(code, "")));
        assert_eq!([Code::PortTaken, Code::UnknownMode].map(ended), [Ended::Refused; 2]);
        assert_eq!([Code::Kernel, Code::State].map(ended), [Ended::Failed; 2]);
        assert_eq!(Ended::of(&Ok(())), Ended::Ok);
    }
}
