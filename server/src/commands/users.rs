//! `user` and `tenant`: who may sign in, without signing in.
use crate::api::management::users::checked_email;
use crate::app::App;
use crate::store::tenants::DEFAULT;
use crate::store::users::{User, UserFilter};
use crate::store::Tenant;
use crate::{keys, password};
use anyhow::{bail, Context};
use clap::{Args, Subcommand};

#[derive(Args)]
pub struct Of {
    /// Whose users
    #[arg(long, default_value = DEFAULT)]
    tenant: String,
}

#[derive(Subcommand)]
pub enum Command {
    /// List users
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Add a user; prints the password when none is given
    Add {
        email: String,
        #[arg(long, env = "ROTA_PASSWORD", hide_env_values = true)]
        password: Option<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Give a user another password, and sign it out everywhere
    Password {
        email: String,
        #[arg(long, env = "ROTA_PASSWORD", hide_env_values = true)]
        password: Option<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a user
    Remove {
        email: String,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Subcommand)]
pub enum TenantCommand {
    /// List tenants
    List,
    /// Add a tenant; prints the token that its devices send
    Add {
        /// Letters, digits, hyphens and underscores
        id: String,
    },
}

pub async fn run(app: &App, command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { of } => {
            for user in app.store.users(&tenant(app, &of).await?, &UserFilter::default()).await? {
                println!("{}  {}", user.id, user.email);
            }
        }
        Command::Add { email, password, of } => {
            let tenant = tenant(app, &of).await?;
            let email = checked_email(&email).map_err(|fault| anyhow::anyhow!(fault.message))?;
            let word = word(password)?;
            let added = app.store.add_user(&tenant, &email, &password::hash(&word).await).await;
            match added {
                Err(error) if error.is_duplicate() => bail!("a user {email} exists"),
                other => other.map(|_| println!("sign in:  {email}\npassword: {word}"))?,
            }
        }
        Command::Password { email, password, of } => {
            let tenant = tenant(app, &of).await?;
            let user = find(app, &tenant, &email).await?;
            let word = word(password)?;
            let hash = password::hash(&word).await;
            app.store.change_user(&tenant, &user.id, None, Some(&hash), None).await?;
            println!("password: {word}");
        }
        Command::Remove { email, of } => {
            let tenant = tenant(app, &of).await?;
            let user = find(app, &tenant, &email).await?;
            app.store.remove_user(&tenant, &user.id).await?;
        }
    }
    app.store.close().await;
    Ok(())
}

pub async fn run_tenant(app: &App, command: TenantCommand) -> anyhow::Result<()> {
    match command {
        TenantCommand::List => {
            for tenant in app.store.tenants().await? {
                println!("{}", tenant.id());
            }
        }
        TenantCommand::Add { id } => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
                bail!("{id}: expected 1 to 64 letters, digits, hyphens and underscores");
            }
            if app.store.tenant(&id).await?.is_some() {
                bail!("a tenant {id} exists");
            }
            let token = keys::random_text(32);
            app.store.add_tenant(&id, &id, &token).await?;
            println!("{token}");
        }
    }
    app.store.close().await;
    Ok(())
}

async fn tenant(app: &App, of: &Of) -> anyhow::Result<Tenant> {
    app.store.tenant(&of.tenant).await?.with_context(|| format!("no tenant {}", of.tenant))
}

async fn find(app: &App, tenant: &Tenant, email: &str) -> anyhow::Result<User> {
    let filter = UserFilter { emails: vec![email.to_lowercase()], ..Default::default() };
    app.store.users(tenant, &filter).await?.pop().with_context(|| format!("no user {email}"))
}

fn word(given: Option<String>) -> anyhow::Result<String> {
    let word = given.unwrap_or_else(|| keys::random_text(16));
    let (least, most) = (password::LENGTHS.start(), password::LENGTHS.end());
    if !password::LENGTHS.contains(&word.chars().count()) {
        bail!("password: expected {least} to {most} characters");
    }
    Ok(word)
}
