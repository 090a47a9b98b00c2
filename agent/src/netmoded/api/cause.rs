//! What a request is told as in events: by the command that makes it.

use crate::api::Peer;
use crate::events::By;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;

/// Who asks for what.
pub fn of(peer: &Peer, request: &Request) -> By {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    match command(request.method(), path) {
        Some(command) => By::caller(peer.uid, command),
        None => By::caller(peer.uid, format!("{} {path}", request.method())),
    }
}

fn command(method: &Method, path: &str) -> Option<&'static str> {
    Some(match (method.as_str(), path) {
        ("POST", "/v1/tasks") => "netmode run",
        ("POST", "/v1/tasks/{task}/start") => "netmode start",
        ("POST", "/v1/tasks/{task}/stop") => "netmode stop",
        ("POST", "/v1/tasks/{task}/kill") => "netmode kill",
        ("POST", "/v1/tasks/{task}/update") => "netmode update",
        ("DELETE", "/v1/tasks/{task}") => "netmode rm",
        ("POST", "/v1/networks") => "netmode network create",
        ("POST", "/v1/networks/prune") => "netmode network prune",
        ("DELETE", "/v1/networks/{name}") => "netmode network rm",
        ("POST", "/v1/networks/{name}/connect") => "netmode network connect",
        ("POST", "/v1/networks/{name}/disconnect") => "netmode network disconnect",
        ("POST", "/v1/subnets") => "netmode subnet create",
        ("DELETE", "/v1/subnets/{subnet}") => "netmode subnet rm",
        ("POST", "/v1/security-groups") => "netmode sg create",
        ("DELETE", "/v1/security-groups/{group}") => "netmode sg rm",
        ("POST", "/v1/security-groups/{group}/authorize") => "netmode sg authorize",
        ("POST", "/v1/security-groups/{group}/revoke") => "netmode sg revoke",
        ("POST", "/v1/prefix-lists") => "netmode prefix-list create",
        ("DELETE", "/v1/prefix-lists/{list}") => "netmode prefix-list rm",
        ("POST", "/v1/ecs/tasks") => "netmode task run",
        ("POST", "/v1/ecs/tasks/{task}/stop") => "netmode task stop",
        ("DELETE", "/v1/ecs/tasks/{task}") => "netmode task rm",
        ("POST", "/v1/ecs/services") => "netmode service create",
        ("POST", "/v1/ecs/services/{service}") => "netmode service update",
        ("DELETE", "/v1/ecs/services/{service}") => "netmode service rm",
        ("POST", "/v1/endpoints") => "netmode attach",
        ("DELETE", "/v1/endpoints") => "netmode detach",
        ("POST", "/v1/system/reset") => "netmode system reset",
        _ => return None,
    })
}
