//! The command line.
use crate::app::{App, Layout, Lock};
use crate::commands::{backup, check, health, users};
use crate::config::{Config, Values};
use crate::{api, init, serve, tls};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "rota-server",
    version,
    about = "Over-the-air updates for embedded Linux devices: the server"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// Configuration file [default: /etc/rota-server.toml, when it is there]
    #[arg(long, global = true, env = "ROTA_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of everything that is kept [default: /var/lib/rota-server]
    #[arg(long, global = true)]
    data: Option<PathBuf>,
}

#[derive(Args)]
struct ServeArgs {
    /// Address and port; port 0 takes a free one [default: 127.0.0.1:8443]
    #[arg(long)]
    listen: Option<String>,
    /// How clients reach this server, for links [default: as they say themselves]
    #[arg(long)]
    public_url: Option<String>,
    /// Certificate chain to use instead of one's own, PEM
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak plain HTTP, to a proxy in front that has the certificate
    #[arg(long)]
    plain_http: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys, certificate and first sign-in, as far as they are missing
    Init {
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
    Serve(ServeArgs),
    /// List, add, change and remove users
    #[command(subcommand)]
    User(users::Command),
    /// List and add tenants
    #[command(subcommand)]
    Tenant(users::TenantCommand),
    /// Write everything that is kept to one file; the server may run
    Backup {
        /// The file; it holds secrets
        file: PathBuf,
    },
    /// Make a data folder from a backup; there must be none yet
    Restore {
        /// The file
        file: PathBuf,
    },
    /// Hold data base and artifact files against each other
    Check {
        /// Remove files that belong to nothing; the server must not run
        #[arg(long)]
        repair: bool,
    },
    /// Ask the server whether it is ready; exit code 0 when it is
    Healthcheck,
    /// Print the description of the API, JSON
    Openapi,
}

/// Runs what the command line says.
pub fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut values = Values::load(cli.common.config.as_deref(), |key| std::env::var(key).ok())?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    values.set("data", cli.common.data.map(text));
    if let Command::Serve(args) = &cli.command {
        values.set("listen", args.listen.clone());
        values.set("public_url", args.public_url.clone());
        values.set("tls_cert", args.tls_cert.clone().map(text));
        values.set("tls_key", args.tls_key.clone().map(text));
        values.set("plain_http", args.plain_http.then(|| "true".into()));
    }
    let config = values.finish()?;
    crate::log::start(&config);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(execute(cli.command, config))
}

async fn execute(command: Command, config: Config) -> anyhow::Result<()> {
    match command {
        Command::Init { hosts, email, password } => set_up(config, &hosts, email.as_deref(), password).await,
        Command::Serve(_) => {
            let lock = Lock::take(&config.data)?;
            let app = App::open(config).await?;
            app.tidy().await?;
            if let Some((email, password)) = init::first_user(&app, None, None).await? {
                println!("rota-server: sign in as {email} with password {password}");
            }
            serve::run(app).await?;
            drop(lock);
            Ok(())
        }
        Command::User(command) => users::run(&existing(config).await?, command).await,
        Command::Tenant(command) => users::run_tenant(&existing(config).await?, command).await,
        Command::Backup { file } => backup::write(&existing(config).await?, &file).await,
        Command::Restore { file } => backup::restore(config, &file).await,
        Command::Check { repair } => {
            let data = config.data.clone();
            let app = existing(config).await?;
            let _lock = if repair { Some(Lock::take(&data)?) } else { None };
            check::run(&app, repair).await
        }
        Command::Healthcheck => health::ask(&config),
        Command::Openapi => {
            println!("{}", api::openapi().to_pretty_json()?);
            Ok(())
        }
    }
}

/// Opens data that is there. A folder that was mistyped must not pass for an empty server.
async fn existing(config: Config) -> anyhow::Result<App> {
    if !Layout::new(&config.data).database().exists() {
        anyhow::bail!("{} holds no data of rota-server; init or serve makes it", config.data.display());
    }
    App::open(config).await
}

async fn set_up(
    config: Config,
    hosts: &[String],
    email: Option<&str>,
    password: Option<String>,
) -> anyhow::Result<()> {
    let app = App::open(config).await?;
    let files = tls::ensure(&Layout::new(&app.config.data).tls(), hosts)?;
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
