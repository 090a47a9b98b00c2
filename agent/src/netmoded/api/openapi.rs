//! The OpenAPI document, made from the routes and types.

use super::{ecs, endpoints, events, flowlogs, groups, images, metrics, networks, streams, system, tasks, vpc};
use axum::Json;
use utoipa::OpenApi;

/// The document's root.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "netmode",
        description = "The network modes of Amazon ECS on any Linux machine",
        license(name = "Apache-2.0")
    ),
    paths(
        networks::version,
        networks::doctor,
        networks::list,
        networks::inspect,
        networks::create,
        networks::remove,
        networks::prune,
        networks::connect,
        networks::disconnect,
        networks::ports,
        tasks::create,
        tasks::plan,
        tasks::list,
        tasks::inspect,
        tasks::start,
        tasks::stop,
        tasks::kill,
        tasks::update,
        tasks::wait,
        tasks::remove,
        streams::logs,
        streams::attach,
        streams::exec,
        images::list,
        images::pull,
        images::remove,
        images::prune,
        images::login,
        vpc::subnets,
        vpc::subnet,
        vpc::create_subnet,
        vpc::remove_subnet,
        ecs::run,
        ecs::list,
        ecs::show,
        ecs::stop,
        ecs::remove,
        ecs::services,
        ecs::create_service,
        ecs::service,
        ecs::update_service,
        ecs::remove_service,
        events::list,
        ecs::instance,
        ecs::set_profile,
        groups::list,
        groups::show,
        groups::create,
        groups::remove,
        groups::authorize,
        groups::revoke,
        groups::open_to,
        groups::lists,
        groups::put_list,
        groups::remove_list,
        flowlogs::list,
        flowlogs::create,
        flowlogs::show,
        flowlogs::remove,
        vpc::enis,
        vpc::eni,
        vpc::remove_eni,
        endpoints::attach,
        endpoints::detach,
        endpoints::cni,
        metrics::metrics,
        metrics::stats,
        system::info,
        system::log_filter,
        system::reset_plan,
        system::reset,
    )
)]
struct Document;

/// The document.
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

/// The document as the repository keeps it.
pub fn text() -> String {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    /// `UPDATE_OPENAPI=1 cargo test -p netmode-agent` writes it anew.
    #[test]
    fn the_document_in_the_repository_is_of_this_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, super::text()).expect("docs/openapi.json can be written");
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(kept == super::text(), "docs/openapi.json is stale: run UPDATE_OPENAPI=1 cargo test -p netmode-agent");
    }
}
