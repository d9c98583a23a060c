//! The HTTP interface.
pub mod device;
pub mod error;
pub mod extract;
pub mod management;
mod middleware;
pub mod origin;
pub mod peer;

use crate::app::Shared;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::get;
use axum::Router;
use http::StatusCode;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Most bytes of a body that is not an upload.
const BODY: usize = 1 << 20;

/// All routes with their description. Each is written once, at its handler.
fn described() -> OpenApiRouter<Shared> {
    let device = nest("/api/devices", device::routes(), Some("device"));
    let user = nest("/api/management", management::routes(), Some("user"));
    let open = nest("/api/devices", device::open_routes(), None);
    let sign_in = nest("/api/management", management::open_routes(), None);
    device.merge(user).merge(open).merge(sign_in)
}

/// Puts routes below `path` and notes the token that they need.
fn nest(path: &str, routes: OpenApiRouter<Shared>, token: Option<&str>) -> OpenApiRouter<Shared> {
    let mut nested = OpenApiRouter::new().nest(path, routes);
    let security = token.map(|token| vec![SecurityRequirement::new(token, Vec::<String>::new())]);
    for item in nested.get_openapi_mut().paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().filter_map(Option::as_mut) {
            operation.security = security.clone().or(Some(Vec::new()));
        }
    }
    nested
}

/// The description of the API.
pub fn openapi() -> OpenApi {
    let mut api = described().into_openapi();
    api.info.title = "rota-server".into();
    api.info.version = env!("CARGO_PKG_VERSION").into();
    api.info.description = Some("Over-the-air updates: the device and the management API.".into());
    let components = api.components.get_or_insert_with(Default::default);
    for kind in ["user", "device"] {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme(kind, SecurityScheme::Http(scheme));
    }
    api
}

/// Everything that this server answers.
pub fn router(app: Shared) -> Router {
    let (routes, _) = described().split_for_parts();
    routes
        .route("/health/live", get(|| async { StatusCode::NO_CONTENT }))
        .route("/health/ready", get(ready))
        .fallback(|| async { error::Fault::new(StatusCode::NOT_FOUND, "no such path") })
        .method_not_allowed_fallback(|| async { error::of_status(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn(middleware::request))
        .with_state(app)
}

async fn ready(State(app): State<Shared>) -> error::Result<StatusCode> {
    app.store.ready().await?;
    Ok(StatusCode::NO_CONTENT)
}
