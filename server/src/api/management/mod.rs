//! What users call. Mender's paths, bodies and codes, and in the same style what Mender lacks.
pub mod artifacts;
pub mod deployments;
pub mod devauth;
pub mod device_deployments;
pub mod inventory;
pub mod login;
pub mod releases;

use crate::app::Shared;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().merge(useradm()).merge(devauth()).merge(inventory()).merge(deployments())
}

/// What needs no token: the request has a password, or the link is signed.
pub fn open_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(login::login))
}

fn useradm() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(login::logout))
}

fn devauth() -> OpenApiRouter<Shared> {
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
    OpenApiRouter::new().routes(routes!(inventory::list)).routes(routes!(inventory::get, inventory::delete))
}

fn deployments() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .merge(uploads())
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::get, artifacts::describe, artifacts::delete))
        .routes(routes!(artifacts::download))
        .routes(routes!(artifacts::storage))
        .routes(routes!(releases::all_v1))
        .routes(routes!(releases::list_v1))
        .routes(routes!(deployments::list, deployments::create))
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

/// Uploads have a limit of their own.
fn uploads() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(artifacts::all, artifacts::upload))
        .layer(axum::extract::DefaultBodyLimit::disable())
}
