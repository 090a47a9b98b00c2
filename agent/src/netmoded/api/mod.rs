//! The API: HTTP with JSON on the unix socket.

mod access;
mod answer;
mod cause;
mod ecs;
mod endpoints;
mod events;
mod flowlogs;
mod groups;
mod images;
mod metrics;
mod networks;
pub mod openapi;
mod peer;
mod streams;
mod system;
mod tasks;
mod vpc;

use crate::agent::Agent;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use std::sync::Arc;

pub use peer::{Door, Peer};

/// Largest body of a request, in bytes.
pub const MAX_BODY: usize = 1 << 20;

/// Every route.
pub fn router(agent: Arc<Agent>) -> Router {
    Router::new()
        .route("/v1/version", get(networks::version))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/doctor", get(networks::doctor))
        .route("/v1/networks", get(networks::list).post(networks::create))
        .route("/v1/networks/prune", post(networks::prune))
        .route("/v1/networks/{name}", get(networks::inspect).delete(networks::remove))
        .route("/v1/networks/{name}/connect", post(networks::connect))
        .route("/v1/networks/{name}/disconnect", post(networks::disconnect))
        .route("/v1/metrics", get(metrics::metrics))
        .route("/v1/stats", get(metrics::stats))
        .route("/v1/system", get(system::info))
        .route("/v1/system/log-filter", put(system::log_filter))
        .route("/v1/system/reset", get(system::reset_plan).post(system::reset))
        .route("/v1/subnets", get(vpc::subnets).post(vpc::create_subnet))
        .route("/v1/subnets/{subnet}", get(vpc::subnet).delete(vpc::remove_subnet))
        .route("/v1/security-groups", get(groups::list).post(groups::create))
        .route("/v1/security-groups/{group}", get(groups::show).delete(groups::remove))
        .route("/v1/security-groups/{group}/authorize", post(groups::authorize))
        .route("/v1/security-groups/{group}/revoke", post(groups::revoke))
        .route("/v1/security-groups/effective/{task}", get(groups::open_to))
        .route("/v1/prefix-lists", get(groups::lists).post(groups::put_list))
        .route("/v1/prefix-lists/{list}", delete(groups::remove_list))
        .route("/v1/ecs/tasks", get(ecs::list).post(ecs::run))
        .route("/v1/ecs/tasks/{task}", get(ecs::show).delete(ecs::remove))
        .route("/v1/ecs/tasks/{task}/stop", post(ecs::stop))
        .route("/v1/ecs/services", get(ecs::services).post(ecs::create_service))
        .route("/v1/ecs/services/{service}", get(ecs::service).post(ecs::update_service).delete(ecs::remove_service))
        .route("/v1/events", get(events::list))
        .route("/v1/instance", get(ecs::instance).put(ecs::set_profile))
        .route("/v1/enis", get(vpc::enis))
        .route("/v1/enis/{eni}", get(vpc::eni).delete(vpc::remove_eni))
        .route("/v1/flow-logs", get(flowlogs::list).post(flowlogs::create))
        .route("/v1/flow-logs/{id}", get(flowlogs::show).delete(flowlogs::remove))
        .route("/v1/ports", get(networks::ports))
        .route("/v1/tasks", get(tasks::list).post(tasks::create))
        .route("/v1/tasks/plan", post(tasks::plan))
        .route("/v1/tasks/{task}", get(tasks::inspect).delete(tasks::remove))
        .route("/v1/tasks/{task}/start", post(tasks::start))
        .route("/v1/tasks/{task}/stop", post(tasks::stop))
        .route("/v1/tasks/{task}/kill", post(tasks::kill))
        .route("/v1/tasks/{task}/update", post(tasks::update))
        .route("/v1/tasks/{task}/wait", get(tasks::wait))
        .route("/v1/tasks/{task}/logs", get(streams::logs))
        .route("/v1/tasks/{task}/attach", get(streams::attach))
        .route("/v1/tasks/{task}/exec", post(streams::exec))
        .route("/v1/images", get(images::list).delete(images::remove))
        .route("/v1/images/pull", post(images::pull))
        .route("/v1/images/prune", post(images::prune))
        .route("/v1/registries/login", post(images::login))
        .route("/v1/endpoints", post(endpoints::attach))
        .route("/v1/endpoints", delete(endpoints::detach))
        .route("/v1/endpoints/cni", post(endpoints::cni))
        .fallback(answer::no_such_route)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::middleware::from_fn_with_state(agent.clone(), access::check))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(agent)
}
