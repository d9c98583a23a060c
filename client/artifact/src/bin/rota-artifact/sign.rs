//! `sign`: a new signature, and every other byte as it was.
use std::io::Seek;

use rota_artifact::{resign, Limits, Reader};
use serde_json::json;

use crate::{
    cli::Sign,
    fail::{During, Fail, ARGUMENTS, CREATE, INVALID, OPEN},
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

    let mut source = files::open_to_reread(path)?;
    progress.expect(2 * source.metadata().during(OPEN, path.display())?.len());
    let reader = Reader::new(progress.watch(&source), &Limits::default());
    let reader = reader.during(INVALID, path.display())?;
    if reader.signature().is_some() && !arguments.force {
        let message = format!("{} is signed already; use --force to replace the signature", path.display());
        return Err(Fail::new(ARGUMENTS, message));
    }
    reader.validate().during(INVALID, path.display())?;

    let target = arguments.output_path.as_deref().unwrap_or(path);
    let mut output = Output::create(target)?;
    source.rewind().during(OPEN, path.display())?;
    resign(progress.watch(&source), &*signer, &Limits::default(), output.writer())
        .during(CREATE, target.display())?;
    output.finish()?;
    style.done(target, || json!({"signed": target}))
}
