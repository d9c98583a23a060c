//! `healthcheck`: for containers, that have nothing else to ask with.
use crate::config::Config;
use anyhow::{bail, Context};
use std::time::Duration;

/// Asks the server of this configuration whether it is ready.
pub fn ask(config: &Config) -> anyhow::Result<()> {
    let (host, port) = config.listen.rsplit_once(':').context("listen: expected ADDRESS:PORT")?;
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let scheme = if config.plain_http { "http" } else { "https" };
    let url = format!("{scheme}://{host}:{port}/health/ready");
    // It is this machine that is asked; whose certificate it has does not matter here.
    let tls = ureq::tls::TlsConfig::builder().disable_verification(true).build();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(5)))
        .http_status_as_error(false)
        .tls_config(tls)
        .build()
        .new_agent();
    let status = agent.get(&url).call().with_context(|| format!("{url} does not answer"))?.status();
    if !status.is_success() {
        bail!("{url} answers {status}");
    }
    Ok(())
}
