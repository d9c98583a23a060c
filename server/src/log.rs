//! Logs go to standard error, as text or as JSON, with the request's id.
use crate::config::Config;
use tracing_subscriber::EnvFilter;

/// Starts logging. A filter that is not understood counts as `info`.
pub fn start(config: &Config) {
    let filter = format!("{},sqlx=warn,hyper=warn,rustls=warn,h2=warn", config.log);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A log that cannot be written, as on a full disk, must not end a request.
    let builder = builder.log_internal_errors(false);
    let started = if config.log_json {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    // Started before: it stays as it is.
    let _ = started;
}
