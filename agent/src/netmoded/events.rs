//! What has happened is told: kept in memory for a while, and handed to those who follow.
//!
//! An event is published where the thing has happened, after its record. Publishing is a push behind a short lock; a
//! follower reads at its own pace from what is kept, and one that is too slow is told how many it has lost.

mod by;
mod ring;
pub mod told;

pub use by::{By, carry, scope, spawn, within};

use crate::clock;
use netmode_model::event::Text;
use netmode_model::{Event, EventKind};
use ring::Ring;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Most events that a follower takes at once.
const PIECE: usize = 256;

/// An event before it is published.
#[must_use = "it is not published yet"]
pub struct New(Event);

/// An event of now, by whom the work at hand is done.
pub fn new(
    kind: EventKind,
    action: &'static str,
    id: impl ToString,
    name: impl ToString,
    message: impl Into<String>,
) -> New {
    let By { actor, cause } = By::current();
    New(Event {
        sequence: 0,
        time: clock::now(),
        kind,
        action: action.into(),
        id: id.to_string(),
        name: name.to_string(),
        message: message.into(),
        cause,
        actor,
        attributes: Default::default(),
    })
}

impl New {
    /// With one more fact.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.0.attributes.insert(key.into(), value.to_string());
        self
    }

    /// With one more fact, where there is one.
    pub fn with_some(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// For another reason than the work at hand.
    pub fn because(mut self, cause: impl Into<Text>) -> Self {
        self.0.cause = cause.into();
        self
    }

    /// At another time.
    pub fn at(mut self, time: String) -> Self {
        self.0.time = time;
        self
    }
}

/// What of the past is asked for: times as [`clock::now`] writes them.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// Then or later.
    pub since: Option<String>,
    /// Before then.
    pub until: Option<String>,
}

impl Span {
    fn holds(&self, event: &Event) -> bool {
        self.since.as_ref().is_none_or(|since| event.time >= *since)
            && self.until.as_ref().is_none_or(|until| event.time < *until)
    }
}

/// The events of an agent.
#[derive(Debug)]
pub struct Events {
    ring: Mutex<Ring>,
    /// Number of the next event.
    next: watch::Sender<u64>,
}

impl Events {
    /// None yet. The numbers begin with the microseconds since 1970: those of a later agent are higher than those of the
    /// one before, which told less than one in a microsecond.
    pub fn new() -> Self {
        Self::from(clock::micros())
    }

    fn from(first: u64) -> Self {
        Self { ring: Mutex::new(Ring::new(first)), next: watch::Sender::new(first) }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells an event.
    pub fn publish(&self, New(event): New) {
        let next = self.ring().push(event);
        // Two that come here at once may do so in the wrong order.
        self.next.send_if_modified(|known| {
            let later = *known < next;
            *known = next.max(*known);
            later
        });
    }

    /// What is kept of a time, the oldest first.
    pub fn of(&self, span: &Span) -> Vec<Arc<Event>> {
        let kept = self.ring().kept();
        kept.into_iter().filter(|event| span.holds(event)).collect()
    }

    /// Follows what happens, beginning with what is kept since a time.
    pub fn since(&self, span: &Span) -> Follower {
        let (kept, next) = {
            let ring = self.ring();
            (ring.kept(), ring.next())
        };
        let first = kept.iter().find(|event| span.holds(event));
        self.follower(first.map_or(next, |event| event.sequence))
    }

    /// Follows what happens after an event.
    pub fn after(&self, sequence: u64) -> Follower {
        self.follower(sequence.saturating_add(1))
    }

    fn follower(&self, at: u64) -> Follower {
        let changes = self.next.subscribe();
        // A number that is to come yet is of nobody: it would keep what happens from being told.
        let at = at.min(*self.next.borrow());
        Follower { at, changes }
    }
}

/// Somebody who follows.
#[derive(Debug)]
pub struct Follower {
    /// Number of the next event.
    at: u64,
    changes: watch::Receiver<u64>,
}

impl Follower {
    /// Waits for what comes next: some events, the first of which may tell that others were lost.
    pub async fn next(&mut self, events: &Events) -> Vec<Arc<Event>> {
        loop {
            self.changes.borrow_and_update();
            let part = events.ring().from(self.at, PIECE);
            if let Some(last) = part.events.last() {
                let lost = part.lost(self.at);
                self.at = last.sequence + 1;
                return lost.map(Arc::new).into_iter().chain(part.events).collect();
            }
            if self.changes.changed().await.is_err() {
                // Not while the agent lives.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> New {
        new(EventKind::Task, "created", "1", name, "it was made")
    }

    fn names(events: &[Arc<Event>]) -> Vec<&str> {
        events.iter().map(|e| e.name.as_str()).collect()
    }

    #[tokio::test]
    async fn a_follower_gets_what_was_and_what_comes() {
        let events = Events::from(7);
        events.publish(event("a"));
        let mut follower = events.since(&Span::default());
        assert_eq!(names(&follower.next(&events).await), ["a"]);
        events.publish(event("b"));
        events.publish(event("c"));
        let told = follower.next(&events).await;
        assert_eq!(names(&told), ["b", "c"]);
        assert_eq!(told[0].sequence, 8);
        let mut resumed = events.after(8);
        assert_eq!(names(&resumed.next(&events).await), ["c"]);
        let mut ahead = events.after(u64::MAX);
        events.publish(event("d"));
        assert_eq!(names(&ahead.next(&events).await), ["d"]);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_how_many_it_lost() {
        let events = Events::from(1);
        let mut follower = events.since(&Span::default());
        for n in 0..ring::KEPT + 10 {
            events.publish(event(&n.to_string()));
        }
        let told = follower.next(&events).await;
        assert_eq!((told[0].kind, &*told[0].action), (EventKind::Stream, "lost"));
        assert_eq!(told[0].attributes["count"], "10");
        assert_eq!(told[1].name, "10");
        assert_eq!(told.len(), 1 + PIECE);
        assert_eq!(follower.next(&events).await[0].name, (10 + PIECE).to_string(), "and told once");
    }

    #[tokio::test]
    async fn the_agent_before_is_told_of_without_a_number() {
        let events = Events::from(1_000_000);
        events.publish(event("a"));
        let told = events.after(5).next(&events).await;
        assert_eq!(told[0].kind, EventKind::Stream);
        assert!(!told[0].attributes.contains_key("count"), "{:?}", told[0]);
        assert_eq!(told[1].name, "a");
    }

    #[test]
    fn times_bound_what_is_listed() {
        let events = Events::from(1);
        for second in 0..4 {
            events.publish(event(&second.to_string()).at(format!("2026-01-31T12:00:0{second}.000Z")));
        }
        let at = |second: u8| Some(format!("2026-01-31T12:00:0{second}.000Z"));
        assert_eq!(names(&events.of(&Span { since: at(1), until: at(3) })), ["1", "2"]);
        assert_eq!(names(&events.of(&Span { since: at(3), until: None })), ["3"]);
    }
}
