//! Listens, and stops when it is told to.
use crate::app::{App, Layout, Shared};
use crate::first_bytes::FirstBytes;
use crate::{api, tls, webhooks};
use anyhow::Context;
use axum_server::tls_rustls::RustlsConfig;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A client must have sent its headers by then.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// How long requests in flight may take after a stop.
const GRACE: Duration = Duration::from_secs(30);
/// How often check-ins are written down.
const CHECK_INS_EVERY: Duration = Duration::from_secs(10);
/// How often uploads by link that were never completed are looked for.
const UPLOADS_EVERY: Duration = Duration::from_secs(3600);

/// Serves until a signal says stop.
pub async fn run(app: App) -> anyhow::Result<()> {
    let config = app.config.clone();
    let app: Shared = Arc::new(app);
    let listener = std::net::TcpListener::bind(&config.listen)
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let handle: Handle<SocketAddr> = Handle::new();
    tokio::spawn(stop_on_signal(handle.clone(), app.stop.clone()));
    let writer = tokio::spawn(keep_house(app.clone()));
    let webhooks = tokio::spawn(webhooks::deliver(app.clone()));
    let service = api::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let certificate = if config.plain_http { None } else { Some(certificate(&config).await?) };
    let scheme = if config.plain_http { "http" } else { "https" };
    println!("rota-server: listening on {scheme}://{address}");
    let within = HEADERS_WITHIN;
    match certificate {
        None => {
            let mut server =
                axum_server::from_tcp(listener)?.map(|inner| FirstBytes { inner, within }).handle(handle);
            limit(server.http_builder());
            server.serve(service).await?;
        }
        Some(certificate) => {
            let server = axum_server::from_tcp_rustls(listener, certificate)?;
            let mut server = server.map(|inner| FirstBytes { inner, within }).handle(handle);
            limit(server.http_builder());
            server.serve(service).await?;
        }
    }
    app.stop.cancel();
    let _ = tokio::join!(webhooks, writer);
    app.flush_check_ins().await;
    app.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn limit(builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>) {
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(64 << 10);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEADERS_WITHIN);
    builder.http2().max_header_list_size(32 << 10).max_concurrent_streams(64);
}

async fn certificate(config: &crate::config::Config) -> anyhow::Result<RustlsConfig> {
    let (chain, key) = match &config.tls {
        Some(given) => given.clone(),
        None => {
            let files = tls::ensure(&Layout::new(&config.data).tls(), &[])?;
            (files.chain, files.key)
        }
    };
    RustlsConfig::from_pem_file(&chain, &key).await.with_context(|| {
        format!("cannot use the certificate {} with the key {}", chain.display(), key.display())
    })
}

async fn stop_on_signal(handle: Handle<SocketAddr>, stop: CancellationToken) {
    use tokio::signal::unix::{signal, SignalKind};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping; requests in flight finish");
    stop.cancel();
    handle.graceful_shutdown(Some(GRACE));
}

async fn keep_house(app: Shared) {
    let mut seen = tokio::time::interval(CHECK_INS_EVERY);
    let mut uploads = tokio::time::interval(UPLOADS_EVERY);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = seen.tick() => app.flush_check_ins().await,
            _ = uploads.tick() => app.forget_uploads().await,
        }
    }
}
