//! Keys from the command line: files, tokens, and commands that sign.
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use base64::{engine::general_purpose::STANDARD, Engine as _};
use clap::{Args, ValueEnum};
use rota_artifact::{ecdsa_der_to_raw, token, Checksum, Error, KeyKind, SignKey, Signer, VerifyKey};

use crate::{
    fail::{During, Fail, ARGUMENTS, FEATURE, SYSTEM},
    files, output,
};

/// What an artifact is signed with.
#[derive(Args)]
pub struct SigningKey {
    /// The private key (PEM: PKCS#1, SEC1 or PKCS#8) to sign with: RSA, ECDSA P-256, or Ed25519, which only rota reads.
    #[arg(short, long)]
    pub key: Option<PathBuf>,
    /// The private key on a token, as a PKCS#11 URI (RFC 7512).
    #[arg(long, value_name = "URI", conflicts_with = "key")]
    pub key_pkcs11: Option<String>,
    /// A shell command that signs: it gets the manifest on its standard input and gives the signature on its standard
    /// output, as bytes or as base64. For RSA that is PKCS#1 v1.5 over SHA-256, for ECDSA either R and S or DER.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["key", "key_pkcs11"])]
    pub sign_command: Option<String>,
    /// What --sign-command gets: the manifest, or the 32 bytes of its SHA-256 digest.
    #[arg(long, value_enum, default_value_t = SignInput::Manifest, requires = "sign_command")]
    pub sign_input: SignInput,
    #[command(flatten)]
    pub services: Services,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum SignInput {
    Manifest,
    Digest,
}

/// What a signature is verified with.
#[derive(Args)]
pub struct VerificationKeys {
    /// A public key (PEM) to verify the signature with. Can be repeated.
    #[arg(short, long)]
    pub key: Vec<PathBuf>,
    /// A public key on a token, as a PKCS#11 URI (RFC 7512).
    #[arg(long, value_name = "URI")]
    pub key_pkcs11: Option<String>,
    #[command(flatten)]
    pub services: Services,
}

/// Key services that mender-artifact knows; here --sign-command speaks to them.
#[derive(Args)]
pub struct Services {
    #[arg(long, hide = true)]
    pub gcp_kms_key: Option<String>,
    #[arg(long, hide = true)]
    pub azure_key: Option<String>,
    #[arg(long, hide = true)]
    pub vault_transit_key: Option<String>,
    #[arg(long, hide = true)]
    pub keyfactor_signserver_worker: Option<String>,
}

/// What to sign with, if anything.
pub fn signer(arguments: &SigningKey) -> Result<Option<Box<dyn Signer>>, Fail> {
    refuse(&arguments.services)?;
    if let Some(uri) = &arguments.key_pkcs11 {
        let key = token::Key::new(uri).map_err(on_token)?;
        key.algorithm().map_err(on_token)?;
        return Ok(Some(Box::new(key)));
    }
    if let Some(command) = &arguments.sign_command {
        return Ok(Some(Box::new(SignCommand { command: command.clone(), input: arguments.sign_input })));
    }
    let Some(path) = &arguments.key else { return Ok(None) };
    let key = SignKey::from_pem(&files::read(path)?).during(ARGUMENTS, path.display())?;
    if key.verify_key().kind() == KeyKind::Ed25519 {
        output::warn(
            "warning: signatures by Ed25519 are rota's own; Mender's clients and tools refuse the artifact",
        );
    }
    Ok(Some(Box::new(key)))
}

/// The keys to verify with; a private key stands for its public half.
pub fn verify_keys(arguments: &VerificationKeys) -> Result<Vec<VerifyKey>, Fail> {
    refuse(&arguments.services)?;
    let of_file = |path: &PathBuf| verify_key(&files::read(path)?).during(ARGUMENTS, path.display());
    let mut keys: Vec<VerifyKey> = arguments.key.iter().map(of_file).collect::<Result<_, Fail>>()?;
    if let Some(uri) = &arguments.key_pkcs11 {
        let spki = token::Key::new(uri).and_then(|key| key.public_key()).map_err(on_token)?;
        keys.push(
            VerifyKey::from_spki(&spki).during(ARGUMENTS, uri.split(['?', ';']).next().unwrap_or(uri))?,
        );
    }
    Ok(keys)
}

/// Whether it is the arguments that are wrong, or the token.
fn on_token(error: token::Error) -> Fail {
    let code = match error {
        token::Error::Module { .. } | token::Error::Token { .. } => SYSTEM,
        _ => ARGUMENTS,
    };
    Fail::new(code, error)
}

fn verify_key(pem: &[u8]) -> Result<VerifyKey, Error> {
    VerifyKey::from_pem(pem)
        .or_else(|error| SignKey::from_pem(pem).map(|key| key.verify_key()).map_err(|_| error))
}

/// The key services that `mender-artifact` has built in are reached through a command here.
fn refuse(services: &Services) -> Result<(), Fail> {
    let flags = [
        (
            "--gcp-kms-key",
            &services.gcp_kms_key,
            "gcloud kms asymmetric-sign … --input-file - --signature-file -",
        ),
        ("--azure-key", &services.azure_key, "az keyvault key sign … --digest …"),
        (
            "--vault-transit-key",
            &services.vault_transit_key,
            "vault write -field=signature transit/sign/… input=…",
        ),
        ("--keyfactor-signserver-worker", &services.keyfactor_signserver_worker, "signclient signdocument …"),
    ];
    match flags.iter().find(|(_, value, _)| value.is_some()) {
        Some((flag, _, command)) => {
            let message = format!("{flag} is not built in; use --sign-command, for example with `{command}`, and the public key as a file to verify");
            Err(Fail::new(FEATURE, message))
        }
        None => Ok(()),
    }
}

/// A shell command that signs.
struct SignCommand {
    command: String,
    input: SignInput,
}

impl Signer for SignCommand {
    fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, Error> {
        let failed = |reason: String| Error::Signing { reason: format!("`{}`: {reason}", self.command) };
        let input = match self.input {
            SignInput::Manifest => manifest.to_vec(),
            SignInput::Digest => Checksum::of(manifest).0.to_vec(),
        };
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let stdin = child.stdin.take();
        // A command may end without reading its input; whether that is wrong is for its exit code to say.
        let feeder = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        let _ = feeder.join();
        if !output.status.success() {
            return Err(failed(format!("it ended with {}", output.status)));
        }
        if output.stdout.is_empty() {
            return Err(failed("it gave no signature".to_owned()));
        }
        let text: Vec<u8> =
            output.stdout.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let signature = STANDARD.decode(text).unwrap_or(output.stdout);
        Ok(ecdsa_der_to_raw(&signature).unwrap_or(signature))
    }
}
