//! The HTTP interface.
pub mod device;
mod drain;
pub mod error;
pub mod extract;
pub mod form;
pub mod management;
mod middleware;
pub mod origin;
pub mod peer;

use crate::app::Shared;
use crate::keys;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::routing::get;
use axum::Router;
use http::{HeaderMap, StatusCode};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Most bytes of a body that is not an upload.
const BODY: usize = 1 << 20;

/// A request must be answered by then, except for uploads. Streams have been answered when they begin.
const WITHIN: Duration = Duration::from_secs(60);

/// All routes with their description. Each is written once, at its handler.
fn described() -> OpenApiRouter<Shared> {
    let within = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, WITHIN);
    let short = nest("/api/devices", device::routes(), Some("device"))
        .merge(nest("/api/management", management::routes(), Some("user")))
        .merge(nest("/api/devices", device::open_routes(), None))
        .merge(nest("/api/management", management::open_routes(), None))
        .layer(within);
    nest("/api/management", management::uploads(), Some("user"))
        .merge(nest("/api/management", management::open_uploads(), None))
        .layer(DefaultBodyLimit::disable())
        .merge(short)
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
        .route("/metrics", get(metrics))
        .route("/api/openapi.json", get(description))
        .fallback(|| async { error::Fault::new(StatusCode::NOT_FOUND, "no such path") })
        .method_not_allowed_fallback(|| async { error::of_status(StatusCode::METHOD_NOT_ALLOWED) })
        .layer(DefaultBodyLimit::max(BODY))
        .layer(CatchPanicLayer::new())
        .layer(axum::middleware::from_fn_with_state(app.clone(), middleware::request))
        .with_state(app)
}

/// Made once: it does not change while the program runs.
async fn description() -> axum::Json<&'static OpenApi> {
    static API: OnceLock<OpenApi> = OnceLock::new();
    axum::Json(API.get_or_init(openapi))
}

async fn ready(State(app): State<Shared>) -> error::Result<StatusCode> {
    app.store.ready().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// For who has the token, or is on this machine when there is none. A request that a proxy passed on is not of this machine.
async fn metrics(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> error::Result<String> {
    let allowed = match &app.config.metrics_token {
        Some(token) => extract::bearer(&headers).is_some_and(|given| keys::equal(given, token)),
        None => peer.ip().is_loopback() && !headers.contains_key("x-forwarded-for"),
    };
    if !allowed {
        return Err(error::Fault::unauthorized());
    }
    Ok(crate::metrics::text(&app).await?)
}
