//! Passwords: argon2id, at most two at work at a time, because each takes 19 MiB.
use argon2::password_hash::{rand_core::OsRng, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::Argon2;
use tokio::sync::Semaphore;

static AT_WORK: Semaphore = Semaphore::const_new(2);

/// Least and most characters of a password.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// The hash to store.
pub async fn hash(password: &str) -> String {
    let password = password.to_owned();
    work(move || {
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        hash.map(|hash| hash.to_string()).unwrap_or_default()
    })
    .await
}

/// Whether the password is the one that was hashed. Without a hash it takes as long, and is not: so that a sign-in does
/// not tell which addresses are known.
pub async fn matches(password: &str, hash: Option<&str>) -> bool {
    let (password, hash) = (password.to_owned(), hash.map(str::to_owned));
    work(move || match hash.as_deref().map(PasswordHash::new) {
        Some(Ok(hash)) => Argon2::default().verify_password(password.as_bytes(), &hash).is_ok(),
        _ => {
            let salt = SaltString::generate(&mut OsRng);
            let _ = Argon2::default().hash_password(password.as_bytes(), &salt);
            false
        }
    })
    .await
}

async fn work<T: Send + Default + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let _permit = AT_WORK.acquire().await;
    tokio::task::spawn_blocking(act).await.unwrap_or_default()
}
