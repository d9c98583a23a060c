//! Keys from the command line.
use rota_artifact::{SignKey, Signer, VerifyKey};

use crate::{
    cli::{SigningKey, VerificationKeys},
    fail::{During, Fail, ARGUMENTS},
    files,
};

/// What to sign with, if anything.
pub fn signer(arguments: &SigningKey) -> Result<Option<Box<dyn Signer>>, Fail> {
    let Some(path) = &arguments.key else { return Ok(None) };
    let key = SignKey::from_pem(&files::read(path)?).during(ARGUMENTS, path.display())?;
    Ok(Some(Box::new(key)))
}

/// The keys to verify with; a private key stands for its public half.
pub fn verify_keys(arguments: &VerificationKeys) -> Result<Vec<VerifyKey>, Fail> {
    arguments
        .key
        .iter()
        .map(|path| verify_key(&files::read(path)?).during(ARGUMENTS, path.display()))
        .collect()
}

fn verify_key(pem: &[u8]) -> Result<VerifyKey, rota_artifact::Error> {
    VerifyKey::from_pem(pem)
        .or_else(|error| SignKey::from_pem(pem).map(|key| key.verify_key()).map_err(|_| error))
}
