//! Routes of security groups and prefix lists.

use super::answer::{Answer, Body, Json};
use crate::agent::{Agent, blocking};
use crate::events::told;
use crate::vpc::{self, effective, with_ids};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use netmode_engine::vpc::GroupError;
use netmode_model::ApiError;
use netmode_model::group::{Direction, EffectiveReply, GroupRequest, GroupView, PrefixList, Rule, RulesRequest};
use std::sync::Arc;

type App = State<Arc<Agent>>;

#[utoipa::path(get, path = "/v1/security-groups", responses((status = 200, body = [GroupView])))]
/// Security groups.
pub async fn list(State(agent): App) -> Json<Vec<GroupView>> {
    Json(agent.engine.groups().groups.values().map(|g| agent.engine.group_view(g)).collect())
}

#[utoipa::path(get, path = "/v1/security-groups/{group}", params(("group" = String, Path, description = "Name or id")), responses((status = 200, body = GroupView), (status = "default", body = ApiError)))]
/// A security group.
pub async fn show(State(agent): App, Path(group): Path<String>) -> Answer<Json<GroupView>> {
    let groups = agent.engine.groups();
    let found = groups.find(&group).ok_or_else(|| GroupError::NotFound(group.chars().take(64).collect()));
    Ok(Json(agent.engine.group_view(found.map_err(ApiError::from)?)))
}

#[utoipa::path(post, path = "/v1/security-groups", request_body = GroupRequest, responses((status = 201, body = GroupView), (status = "default", body = ApiError)))]
/// Makes a security group: nothing comes in, everything may go out.
pub async fn create(State(agent): App, Body(request): Body<GroupRequest>) -> Answer<(StatusCode, Json<GroupView>)> {
    let made = blocking(move || {
        let group = with_ids(8, |fresh| agent.engine.create_group(&request, fresh))?;
        told::group(&agent, "created", &group.id, &group.name, "was made");
        Ok::<_, ApiError>(agent.engine.group_view(&group))
    });
    Ok((StatusCode::CREATED, Json(made.await??)))
}

#[utoipa::path(delete, path = "/v1/security-groups/{group}", params(("group" = String, Path, description = "Name or id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Removes a security group that nobody carries or names.
pub async fn remove(State(agent): App, Path(group): Path<String>) -> Answer<StatusCode> {
    let removed = blocking(move || {
        let before = agent.engine.groups();
        agent.engine.remove_group(&group)?;
        if let Some(gone) = before.find(&group) {
            told::group(&agent, "removed", &gone.id, &gone.name, "was removed");
        }
        Ok::<_, GroupError>(())
    });
    removed.await?.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/v1/security-groups/{group}/authorize", request_body = RulesRequest, params(("group" = String, Path, description = "Name or id")), responses((status = 200, body = [Rule]), (status = "default", body = ApiError)))]
/// Adds rules, one for each peer; all or none.
pub async fn authorize(
    State(agent): App,
    Path(group): Path<String>,
    Body(request): Body<RulesRequest>,
) -> Answer<Json<Vec<Rule>>> {
    let added = blocking(move || {
        let most = request.cidrs.len() + request.groups.len() + request.prefix_lists.len();
        let added = with_ids(most, |fresh| agent.engine.authorize(&group, &request, fresh))?;
        changed(&agent, &group, "lets pass", &added);
        Ok::<_, ApiError>(added)
    });
    Ok(Json(added.await??))
}

#[utoipa::path(post, path = "/v1/security-groups/{group}/revoke", request_body = RulesRequest, params(("group" = String, Path, description = "Name or id")), responses((status = 200, body = [Rule]), (status = "default", body = ApiError)))]
/// Takes rules away; all or none. Connections that they have let pass go on, unless they are to be cut.
pub async fn revoke(
    State(agent): App,
    Path(group): Path<String>,
    Body(request): Body<RulesRequest>,
) -> Answer<Json<Vec<Rule>>> {
    let removed = blocking(move || {
        let removed = agent.engine.revoke(&group, &request)?;
        changed(&agent, &group, "does not let pass any more", &removed);
        if request.cut {
            vpc::cut(&agent, &group)?;
        }
        Ok::<_, ApiError>(removed)
    });
    Ok(Json(removed.await??))
}

/// Tells what of a group's rules came or went.
fn changed(agent: &Agent, reference: &str, verb: &str, rules: &[Rule]) {
    let groups = agent.engine.groups();
    let Some(group) = groups.find(reference) else { return };
    let way = |rule: &Rule| if rule.direction == Direction::Ingress { "from" } else { "to" };
    let words: Vec<String> = rules.iter().map(|r| format!("{} {} {}", r.traffic, way(r), r.peer)).collect();
    told::group(agent, "changed", &group.id, &group.name, &format!("{verb} {}", words.join(", ")));
}

#[utoipa::path(get, path = "/v1/security-groups/effective/{task}", params(("task" = String, Path, description = "Name or id")), responses((status = 200, body = EffectiveReply), (status = "default", body = ApiError)))]
/// What is open to a task, and by which rule.
pub async fn open_to(State(agent): App, Path(task): Path<String>) -> Answer<Json<EffectiveReply>> {
    let record = agent.tasks.find(&task)?.now();
    Ok(Json(effective::of(&agent, &record)))
}

#[utoipa::path(get, path = "/v1/prefix-lists", responses((status = 200, body = [PrefixList])))]
/// Prefix lists.
pub async fn lists(State(agent): App) -> Json<Vec<PrefixList>> {
    Json(agent.engine.groups().lists.values().cloned().collect())
}

#[utoipa::path(post, path = "/v1/prefix-lists", request_body = PrefixList, responses((status = 200, body = PrefixList), (status = "default", body = ApiError)))]
/// Makes a prefix list, or gives one of that name other entries.
pub async fn put_list(State(agent): App, Body(request): Body<PrefixList>) -> Answer<Json<PrefixList>> {
    let name = super::answer::named("prefix list", &request.prefix_list_name)?;
    let made = blocking(move || {
        let known = agent.engine.groups().find_list(&name).is_some();
        let list = with_ids(8, |fresh| agent.engine.put_list(&name, &request.entries, fresh))?;
        let (action, what) = if known { ("changed", "got other entries") } else { ("created", "was made") };
        told::group(&agent, action, &list.prefix_list_id, &list.prefix_list_name, what);
        Ok::<_, ApiError>(list)
    });
    Ok(Json(made.await??))
}

#[utoipa::path(delete, path = "/v1/prefix-lists/{list}", params(("list" = String, Path, description = "Name or id")), responses((status = 204), (status = "default", body = ApiError)))]
/// Removes a prefix list that no rule names.
pub async fn remove_list(State(agent): App, Path(list): Path<String>) -> Answer<StatusCode> {
    let removed = blocking(move || {
        let before = agent.engine.groups();
        agent.engine.remove_list(&list)?;
        if let Some(gone) = before.find_list(&list) {
            told::group(&agent, "removed", &gone.prefix_list_id, &gone.prefix_list_name, "was removed");
        }
        Ok::<_, GroupError>(())
    });
    removed.await?.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}
