//! What devices call. Mender's paths, bodies and codes.
pub mod auth;
pub mod configuration;
pub mod download;
pub mod inventory;
pub mod next;
pub mod status;

use crate::app::Shared;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(next::get_v1, next::post_v1))
        .routes(routes!(next::post_v2))
        .routes(routes!(status::put))
        .routes(routes!(status::put_log))
        .routes(routes!(inventory::put, inventory::patch))
        .routes(routes!(configuration::get, configuration::put))
}

/// What needs no token: the request is signed, or the link is.
pub fn open_routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(auth::post))
        .routes(routes!(download::artifact))
        .routes(routes!(configuration::download))
}
