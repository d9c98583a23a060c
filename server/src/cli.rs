//! The command line.
use crate::app::{App, Layout};
use crate::config::Config;
use crate::{init, serve, tls};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "rota-server",
    version,
    about = "Over-the-air updates for embedded Linux devices: the server"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Data {
    /// Folder of everything that is kept
    #[arg(long, env = "ROTA_DATA", default_value = "/var/lib/rota-server")]
    data: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys, certificate and first sign-in, as far as they are missing
    Init {
        #[command(flatten)]
        data: Data,
        /// Name or address that the certificate is for, besides localhost (may be repeated)
        #[arg(long = "host", value_name = "NAME_OR_IP")]
        hosts: Vec<String>,
        /// Address that the first user signs in with
        #[arg(long)]
        email: Option<String>,
        /// The first user's password, instead of a random one
        #[arg(long, env = "ROTA_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
    /// Serve devices and users
    Serve {
        #[command(flatten)]
        data: Data,
        /// Address and port; port 0 takes a free one
        #[arg(long, env = "ROTA_LISTEN", default_value = "127.0.0.1:8443")]
        listen: String,
    },
}

/// Runs what the command line says.
pub fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Init { data, hosts, email, password } => {
                set_up(data.data, &hosts, email.as_deref(), password).await
            }
            Command::Serve { data, listen } => {
                let app = App::open(Config { listen, ..Config::new(data.data) }).await?;
                if let Some((email, password)) = init::first_user(&app, None, None).await? {
                    println!("rota-server: sign in as {email} with password {password}");
                }
                serve::run(app).await
            }
        }
    })
}

async fn set_up(
    data: PathBuf,
    hosts: &[String],
    email: Option<&str>,
    password: Option<String>,
) -> anyhow::Result<()> {
    let app = App::open(Config::new(data.clone())).await?;
    let files = tls::ensure(&Layout::new(&data).tls(), hosts)?;
    println!("CA:       {}", files.ca.display());
    match init::first_user(&app, email, password).await? {
        Some((email, password)) => {
            println!("sign in:  {email}");
            println!("password: {password}");
        }
        None => println!("sign in:  as before"),
    }
    app.store.close().await;
    Ok(())
}
