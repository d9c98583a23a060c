//! What a first start makes.
use crate::app::App;
use crate::store::tenants::DEFAULT;
use crate::store::Tenant;
use crate::{keys, password};

/// The address of the first user when none is given.
pub const EMAIL: &str = "admin@localhost";

/// Makes the default tenant, and its first user when it has none. Returns the user's address and password when it was made.
pub async fn first_user(
    app: &App,
    email: Option<&str>,
    given: Option<String>,
) -> anyhow::Result<Option<(String, String)>> {
    let tenant: Tenant = app.store.add_tenant(DEFAULT, DEFAULT, &keys::random_text(32)).await?;
    if app.store.user_count(&tenant).await? > 0 {
        return Ok(None);
    }
    let email = email.unwrap_or(EMAIL).to_lowercase();
    let word = given.unwrap_or_else(|| keys::random_text(16));
    if !password::LENGTHS.contains(&word.chars().count()) {
        anyhow::bail!(
            "the password has {} characters; {} to {} are allowed",
            word.chars().count(),
            password::LENGTHS.start(),
            password::LENGTHS.end()
        );
    }
    app.store.add_user(&tenant, &email, &password::hash(&word).await).await?;
    Ok(Some((email, word)))
}
