//! What users call. Mender's paths, bodies and codes, and in the same style what Mender lacks.
pub mod artifacts;
pub mod configuration;
pub mod connect;
pub mod deployments;
pub mod devauth;
pub mod device_deployments;
pub mod directupload;
pub mod events;
pub mod generate;
pub mod groups;
pub mod integrations;
pub mod inventory;
pub mod login;
pub mod releases;
pub mod search;
pub mod settings;
pub mod users;

use crate::app::Shared;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(users())
        .merge(devices())
        .merge(inventory())
        .merge(artifacts())
        .merge(releases())
        .merge(deployments())
        .merge(configuration())
        .merge(integrations())
        .routes(routes!(events::listen))
}

/// What needs no token: the request has a password, or the link is signed.
pub fn open_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(login::login))
}

/// Large bodies: they have limits of their own, in size and time.
pub fn uploads() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(artifacts::all, artifacts::upload))
        .routes(routes!(generate::generate))
}

/// The same, by a signed link.
pub fn open_uploads() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(directupload::send))
}

fn users() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(login::logout))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::get, users::put, users::remove))
        .routes(routes!(users::get_me, users::put_me))
        .routes(routes!(users::put_me_v2))
        .routes(routes!(users::plans))
        .routes(routes!(users::plan_binding))
        .routes(routes!(settings::get, settings::post))
        .routes(routes!(settings::get_me, settings::post_me))
        .routes(routes!(settings::tokens, settings::make_token))
        .routes(routes!(settings::remove_token))
}

fn devices() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(devauth::list, devauth::preauthorize))
        .routes(routes!(devauth::search))
        .routes(routes!(devauth::count))
        .routes(routes!(devauth::get, devauth::decommission))
        .routes(routes!(devauth::dismiss))
        .routes(routes!(devauth::get_status, devauth::put_status))
        .routes(routes!(devauth::revoke))
        .routes(routes!(devauth::limit))
}

fn inventory() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(inventory::list))
        .routes(routes!(inventory::get, inventory::delete))
        .routes(routes!(groups::put_tags, groups::patch_tags))
        .routes(routes!(groups::get_group, groups::put_group))
        .routes(routes!(groups::leave_group))
        .routes(routes!(groups::groups))
        .routes(routes!(groups::dissolve))
        .routes(routes!(groups::members, groups::join, groups::leave))
        .routes(routes!(search::search))
        .routes(routes!(search::attributes))
        .routes(routes!(search::statistics))
        .routes(routes!(search::identities))
}

fn artifacts() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::list_v2))
        .routes(routes!(artifacts::get, artifacts::describe, artifacts::delete))
        .routes(routes!(artifacts::download))
        .routes(routes!(artifacts::storage))
        .routes(routes!(directupload::ask))
        .routes(routes!(directupload::complete))
}

fn releases() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(releases::all_v1))
        .routes(routes!(releases::list_v1))
        .routes(routes!(releases::list, releases::delete))
        .routes(routes!(releases::get, releases::note))
        .routes(routes!(releases::tag))
        .routes(routes!(releases::tags))
        .routes(routes!(releases::types))
        .routes(routes!(releases::software))
        .routes(routes!(releases::software_tags))
}

fn deployments() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(deployments::list, deployments::create))
        .routes(routes!(deployments::list_v2))
        .routes(routes!(deployments::create_for_group))
        .routes(routes!(deployments::statistics_of_many))
        .routes(routes!(deployments::get))
        .routes(routes!(deployments::abort))
        .routes(routes!(deployments::statistics))
        .routes(routes!(device_deployments::all))
        .routes(routes!(device_deployments::list))
        .routes(routes!(device_deployments::ids))
        .routes(routes!(device_deployments::log))
        .routes(routes!(device_deployments::why))
        .routes(routes!(device_deployments::history, device_deployments::abort_device))
        .routes(routes!(device_deployments::forget))
}

fn configuration() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(configuration::get, configuration::put))
        .routes(routes!(configuration::deploy))
        .routes(routes!(connect::get))
        .routes(routes!(connect::download))
        .routes(routes!(connect::upload))
        .routes(routes!(connect::check_update))
        .routes(routes!(connect::send_inventory))
}

fn integrations() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(integrations::list, integrations::add))
        .routes(routes!(integrations::remove))
        .routes(routes!(integrations::credentials))
        .routes(routes!(integrations::events))
        .routes(routes!(integrations::forget_device))
        .routes(routes!(integrations::states))
        .routes(routes!(integrations::state, integrations::set_state))
}
