//! Routes of numbers.

use super::answer::{Answer, Json};
use crate::agent::{Agent, blocking};
use crate::{metrics, stats};
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use netmode_model::ApiError;
use netmode_model::stats::{StatsQuery, TaskStats};
use std::sync::Arc;

type App = State<Arc<Agent>>;

#[utoipa::path(get, path = "/v1/metrics", responses((status = 200, body = String, content_type = "application/openmetrics-text"), (status = "default", body = ApiError)))]
/// Metrics of the agent and of its tasks, in the text format of OpenMetrics.
pub async fn metrics(State(agent): App) -> Answer<Response> {
    let text = blocking(move || metrics::text(&agent)).await?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

#[utoipa::path(get, path = "/v1/stats", params(("task" = Option<String>, Query, description = "Names, ids or beginnings of ids, with commas between; every task that runs where none is given"), ("all" = Option<bool>, Query, description = "Stopped ones, too, where none is named")), responses((status = 200, body = [TaskStats]), (status = "default", body = ApiError)))]
/// What tasks use. Takes a fifth of a second: a share of a processor needs two looks.
pub async fn stats(State(agent): App, Query(query): Query<StatsQuery>) -> Answer<Json<Vec<TaskStats>>> {
    Ok(Json(stats::of_tasks(&agent, &query).await?))
}
