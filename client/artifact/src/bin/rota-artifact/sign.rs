//! `sign`: a new signature, and every other byte as it was.
use rota_artifact::{resign, Limits, Reader};
use serde_json::json;

use crate::{
    cli::Sign,
    fail::{During, Fail, ARGUMENTS, CREATE, INVALID},
    files, keys,
    output::Output,
    progress::Progress,
    read::Style,
};

pub fn run(arguments: &Sign, style: &Style) -> Result<(), Fail> {
    let path = &arguments.artifact;
    let signer = keys::signer(&arguments.key)?;
    let signer = signer.ok_or_else(|| {
        Fail::new(ARGUMENTS, "no key to sign with; give -k, --key-pkcs11 or --sign-command")
    })?;
    let progress = Progress::new("Signing", false);

    let reader = Reader::new(files::open_artifact(path, &progress)?, &Limits::default());
    let reader = reader.during(INVALID, path.display())?;
    if reader.signature().is_some() && !arguments.force {
        let message = format!("{} is signed already; use --force to replace the signature", path.display());
        return Err(Fail::new(ARGUMENTS, message));
    }
    reader.validate().during(INVALID, path.display())?;

    let target = arguments.output_path.as_deref().unwrap_or(path);
    let mut output = Output::create(target)?;
    let source = files::open_artifact(path, &progress)?;
    resign(source, &*signer, &Limits::default(), output.writer()).during(CREATE, target.display())?;
    output.finish()?;
    style.done(target, || json!({"signed": target}))
}
