//! The program `rota-server`.
#![forbid(unsafe_code)]

fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("ROTA_LOG")
                .unwrap_or_else(|_| "info,sqlx=warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    if let Err(error) = rota_server::cli::run() {
        eprintln!("rota-server: {error:#}");
        std::process::exit(1);
    }
}
