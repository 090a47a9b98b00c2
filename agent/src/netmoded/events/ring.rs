//! What is kept of events.

use crate::clock;
use netmode_model::{Event, EventKind};
use std::collections::VecDeque;
use std::sync::Arc;

/// Events that are kept. Nothing is set aside for them before they come; all of them take about 2 MB.
pub const KEPT: usize = 2048;

/// The newest events, with consecutive numbers.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Number of the first event ever.
    begun: u64,
    /// Number of the next one.
    next: u64,
}

/// Some of what is kept.
#[derive(Debug)]
pub struct Part {
    /// The events, the oldest first.
    pub events: Vec<Arc<Event>>,
    begun: u64,
}

impl Ring {
    /// An empty one, whose first event will have this number.
    pub fn new(first: u64) -> Self {
        Self { events: VecDeque::new(), begun: first, next: first }
    }

    /// Adds an event, and tells the number of the next one.
    pub fn push(&mut self, mut event: Event) -> u64 {
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        event.sequence = self.next;
        self.events.push_back(Arc::new(event));
        self.next += 1;
        self.next
    }

    /// Number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Everything that is kept, the oldest first.
    pub fn kept(&self) -> Vec<Arc<Event>> {
        self.events.iter().cloned().collect()
    }

    /// So many from a number on.
    pub fn from(&self, at: u64, most: usize) -> Part {
        let first = self.next - self.events.len() as u64;
        let skipped = usize::try_from(at.saturating_sub(first)).unwrap_or(usize::MAX);
        Part { events: self.events.iter().skip(skipped).take(most).cloned().collect(), begun: self.begun }
    }
}

impl Part {
    /// What whoever wanted events from a number on is told of those that are not kept any more.
    pub fn lost(&self, wanted: u64) -> Option<Event> {
        let first = self.events.first().filter(|first| first.sequence > wanted)?;
        let of_before = wanted < self.begun;
        let count = first.sequence - wanted.max(self.begun);
        let message = match (of_before, count) {
            (true, _) => "events before these were lost: those of an agent before this one are not kept".to_owned(),
            (false, 1) => "1 event was lost: it came faster than it was read".to_owned(),
            (false, count) => format!("{count} events were lost: they came faster than they were read"),
        };
        let count = (!of_before).then(|| ("count".to_owned(), count.to_string()));
        Some(Event {
            // Whoever resumes after it goes on with the first that is kept.
            sequence: first.sequence - 1,
            time: clock::now(),
            kind: EventKind::Stream,
            action: "lost".into(),
            id: String::new(),
            name: String::new(),
            message,
            cause: "the reader was too slow or away".into(),
            actor: "agent".into(),
            attributes: count.into_iter().collect(),
        })
    }
}
