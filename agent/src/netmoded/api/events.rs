//! What has happened, as a list or as a stream of server-sent events (WHATWG HTML, "Server-sent events").

use super::answer::{Answer, Failed, Json};
use crate::agent::Agent;
use crate::clock;
use crate::events::{Follower, Span};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use netmode_agent::moment;
use netmode_model::{ApiError, Code, Event};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;

/// Where a client that comes back says what it has read last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Options of GET /v1/events.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventQuery {
    /// Go on as things happen.
    follow: bool,
    /// Only what happened then or later.
    since: Option<String>,
    /// Only what happened before then.
    until: Option<String>,
}

fn refused(text: String) -> Failed {
    Failed(ApiError::new(Code::Invalid, text))
}

impl EventQuery {
    fn span(&self) -> Result<Span, Failed> {
        let time = |key: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let shown: String = text.chars().take(64).collect();
            let wrong = || refused(format!("{key} {shown:?} is not allowed: {}", moment::FORMS));
            moment::since(text, Timestamp::now()).map(|time| Some(clock::text(time))).ok_or_else(wrong)
        };
        Ok(Span { since: time("since", &self.since)?, until: time("until", &self.until)? })
    }
}

/// The event that a client has read last.
fn last_read(headers: &HeaderMap) -> Result<Option<u64>, Failed> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    let wrong = || refused("Last-Event-ID is the id of an event, a number; leave it out to begin anew".into());
    number.map(Some).ok_or_else(wrong)
}

#[utoipa::path(get, path = "/v1/events", params(("follow" = Option<bool>, Query, description = "Go on as things happen, as server-sent events; so does the header Accept: text/event-stream, and Last-Event-ID resumes"), ("since" = Option<String>, Query, description = "Only what happened then or later: RFC 3339, or how long ago as 10m"), ("until" = Option<String>, Query, description = "Only what happened before then; not with follow")), responses((status = 200, body = [Event]), (status = "default", body = ApiError)))]
/// What has happened, the oldest first, as far as it is remembered.
pub async fn list(
    State(agent): State<Arc<Agent>>,
    query: Result<Query<EventQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer<Response> {
    let Query(query) = query.map_err(|e| refused(format!("{}; see /v1/openapi.json", e.body_text())))?;
    let span = query.span()?;
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if !query.follow && !accepted.contains("text/event-stream") {
        let events = agent.events.of(&span);
        return Ok(Json(events.iter().map(Arc::as_ref).collect::<Vec<&Event>>()).into_response());
    }
    if span.until.is_some() {
        return Err(refused("until and follow exclude each other; leave one of them out".into()));
    }
    let follower = match last_read(&headers)? {
        Some(last) => agent.events.after(last),
        None => agent.events.since(&span),
    };
    Ok(Sse::new(sent(agent, follower)).keep_alive(KeepAlive::default()).into_response())
}

/// Events as they are sent.
fn sent(agent: Arc<Agent>, follower: Follower) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let pieces = stream::unfold((agent, follower), |(agent, mut follower)| async {
        let piece = follower.next(&agent.events).await;
        Some((stream::iter(piece), (agent, follower)))
    });
    // Text that is no JSON does not come about: an event has but texts and numbers.
    let one = |event: Arc<Event>| {
        let sent = sse::Event::default().event(event.kind.as_str()).id(event.sequence.to_string());
        sent.json_data(&*event).unwrap_or_default()
    };
    pieces.flatten().map(move |event| Ok(one(event)))
}
