//! `read` and `validate`.
use std::{fmt, path::Path};

use rota_artifact::{FileSummary, Header, KeyKind, Limits, PayloadHeader, Reader, Summary, VerifyKey};
use serde_json::{json, Value};

use crate::{
    cli::Read,
    fail::{Code, During, Fail, ARGUMENTS, INVALID},
    files, keys,
    output::print,
    progress::Progress,
};

/// How results are printed.
pub struct Style {
    /// As JSON.
    pub json: bool,
    /// As `mender-artifact` prints them.
    pub as_mender: bool,
}

impl Style {
    /// Reports in JSON what was done; as text, success is silent. `output` is what was written.
    pub fn done(&self, output: &Path, facts: impl FnOnce() -> Value) -> Result<(), Fail> {
        if self.json && output != Path::new("-") {
            return print_json(&facts());
        }
        Ok(())
    }
}

/// What became of the signature.
enum Verdict {
    Unsigned,
    /// A key was given, so there should be a signature.
    Missing,
    NoKey,
    Verified(VerifyKey),
    Failed(String),
}

/// All that there is to know of an artifact that was read to its end.
struct Facts {
    header: Header,
    summary: Summary,
    verdict: Verdict,
    /// The type of device that is asked for.
    device_type: Option<String>,
}

fn facts(arguments: &Read, code: Code) -> Result<Facts, Fail> {
    let keys = keys::verify_keys(&arguments.keys)?;
    let act = arguments.artifact.display();
    let progress = Progress::new("Reading", arguments.no_progress);
    let source = files::open_artifact(&arguments.artifact, &progress)?;
    let reader = Reader::new(source, &Limits::default()).during(code, &act)?;
    let header = reader.header().clone();
    let verdict = match reader.signature() {
        None if keys.is_empty() => Verdict::Unsigned,
        None => Verdict::Missing,
        Some(_) if keys.is_empty() => Verdict::NoKey,
        Some(signature) => match signature.verify(&keys) {
            Ok(index) => Verdict::Verified(keys[index].clone()),
            Err(error) => Verdict::Failed(error.to_string()),
        },
    };
    let summary = reader.validate().during(code, &act)?;
    Ok(Facts { header, summary, verdict, device_type: arguments.device_type.clone() })
}

pub fn validate(arguments: &Read, style: &Style) -> Result<(), Fail> {
    let facts = facts(arguments, INVALID)?;
    facts.check(arguments)?;
    if matches!(facts.verdict, Verdict::NoKey) {
        let message = "the artifact is signed; give the public key with -k to verify the signature";
        return Err(Fail::new(INVALID, format_args!("{}: {message}", arguments.artifact.display())));
    }
    if style.json {
        return print_json(&facts.json());
    }
    print(format_args!("Artifact file '{}' validated successfully\n", arguments.artifact.display()))
}

pub fn read(arguments: &Read, style: &Style) -> Result<(), Fail> {
    let facts = facts(arguments, ARGUMENTS)?;
    match style {
        Style { json: true, .. } => print_json(&facts.json())?,
        Style { as_mender: true, .. } => print(&facts)?,
        _ => print(format_args!("{facts}\n{}", facts.conclusion()))?,
    }
    // mender-artifact has said it, and ends well.
    if style.as_mender {
        return Ok(());
    }
    facts.check(arguments)
}

impl Facts {
    /// Does it install on the type of device that is asked for?
    fn installs(&self) -> Option<bool> {
        self.device_type.as_ref().map(|device| self.header.depends.device_types.contains(device))
    }

    /// Fails when a key was given and the signature is not by it, or it is for other devices than that asked for.
    fn check(&self, arguments: &Read) -> Result<(), Fail> {
        if let (Some(false), Some(device)) = (self.installs(), &self.device_type) {
            let (path, types) = (arguments.artifact.display(), self.header.depends.device_types.join(", "));
            return Err(Fail::new(INVALID, format_args!("{path}: it is for {types}, not for {device}")));
        }
        let fault = match &self.verdict {
            Verdict::Missing => "a key was given, but the artifact is not signed",
            Verdict::Failed(reason) => reason,
            Verdict::Unsigned | Verdict::NoKey | Verdict::Verified(_) => return Ok(()),
        };
        Err(Fail::new(INVALID, format_args!("{}: {fault}", arguments.artifact.display())))
    }

    fn signature(&self) -> &'static str {
        match &self.verdict {
            Verdict::Unsigned | Verdict::Missing => "no signature",
            Verdict::NoKey => {
                "signed but no key for verification provided; please use `-k` option for providing verification key"
            }
            Verdict::Verified(_) => "signed and verified correctly",
            Verdict::Failed(_) => "signed; verification using provided key failed",
        }
    }

    /// What a person wants to know.
    fn conclusion(&self) -> String {
        let signed = match &self.verdict {
            Verdict::Unsigned | Verdict::Missing => "no; devices with verification keys refuse it".to_owned(),
            Verdict::NoKey => "yes, not verified (no key given)".to_owned(),
            Verdict::Failed(_) => "yes, but NOT by the given key".to_owned(),
            Verdict::Verified(key) => format!("yes, by the {} key {}", kind(key), key.fingerprint()),
        };
        let (types, conditions) = (self.header.depends.device_types.join(", "), self.conditions());
        let bytes = self.summary.bytes;
        let answer = match (self.installs(), &self.device_type) {
            (Some(true), Some(device)) => format!("Installs on {device}: yes{conditions}\n"),
            (Some(false), Some(device)) => format!("Installs on {device}: NO\n"),
            _ => String::new(),
        };
        format!("Installs on: {types}{conditions}\n{answer}Signed: {signed}\nSize: {bytes} bytes, all checksums are right\n")
    }

    fn conditions(&self) -> String {
        let depends = &self.header.depends;
        let listed = [("artifact", &depends.artifact_names), ("group", &depends.artifact_groups)];
        let mut conditions: Vec<String> = listed
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(what, values)| format!("{what} {}", values.join(" or ")))
            .collect();
        for payload in &self.header.payloads {
            conditions.extend(
                payload.depends.iter().map(|(key, values)| format!("{key} = {}", values.join(" or "))),
            );
        }
        if conditions.is_empty() {
            return String::new();
        }
        format!(", when the device has {}", conditions.join(", "))
    }

    fn json(&self) -> Value {
        let header = &self.header;
        let (status, key) = match &self.verdict {
            Verdict::Unsigned | Verdict::Missing => ("none", None),
            Verdict::NoKey => ("not verified", None),
            Verdict::Failed(_) => ("invalid", None),
            Verdict::Verified(key) => ("verified", Some(key)),
        };
        let payloads = header.payloads.iter().zip(&self.summary.payloads).map(|(payload, files)| {
            json!({
                "type": payload.payload_type,
                "provides": payload.provides,
                "depends": payload.depends,
                "clears_provides": payload.clears,
                "meta_data": serde_json::from_slice::<Value>(&payload.meta_data).ok(),
                "files": files.iter().map(file_json).collect::<Vec<_>>(),
            })
        });
        json!({
            "artifact_name": header.artifact_name,
            "format_version": header.version,
            "signature": {
                "status": status,
                "key": key.map(|key| json!({"kind": kind(key), "fingerprint": key.fingerprint().to_string()})),
            },
            "augmented": header.augmented,
            "installs": self.installs(),
            "compatible_types": header.depends.device_types,
            "provides_group": header.artifact_group,
            "depends_artifacts": header.depends.artifact_names,
            "depends_groups": header.depends.artifact_groups,
            "state_scripts": header.scripts.iter().map(|script| &script.name).collect::<Vec<_>>(),
            "payloads": payloads.collect::<Vec<_>>(),
            "bytes": self.summary.bytes,
        })
    }
}

/// The text of `mender-artifact read`.
impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let header = &self.header;
        writeln!(
            f,
            "Mender artifact:\n  Name: {}\n  Format: mender\n  Version: {}",
            header.artifact_name, header.version
        )?;
        writeln!(f, "  Signature: {}", self.signature())?;
        writeln!(f, "  Compatible devices: '[{}]'", header.depends.device_types.join(" "))?;
        if header.version > 2 {
            writeln!(f, "  Provides group: {}", header.artifact_group.as_deref().unwrap_or_default())?;
            writeln!(f, "  Depends on one of artifact(s): [{}]", header.depends.artifact_names.join(", "))?;
            writeln!(f, "  Depends on one of group(s): [{}]", header.depends.artifact_groups.join(", "))?;
        }
        writeln!(f, "  State scripts:")?;
        header.scripts.iter().try_for_each(|script| writeln!(f, "    {}", script.name))?;
        writeln!(f, "\nUpdates:")?;
        for (index, (payload, files)) in header.payloads.iter().zip(&self.summary.payloads).enumerate() {
            writeln!(f, "    {index}:")?;
            write_payload(f, payload, files)?;
        }
        Ok(())
    }
}

fn print_json(value: &Value) -> Result<(), Fail> {
    print(format_args!("{value}\n"))
}

fn file_json(file: &FileSummary) -> Value {
    json!({"name": file.name, "size": file.size, "modified": file.modified, "sha256": file.sha256.to_string()})
}

fn kind(key: &VerifyKey) -> &'static str {
    match key.kind() {
        KeyKind::Rsa => "RSA",
        KeyKind::EcdsaP256 => "ECDSA P-256",
        KeyKind::Ed25519 => "Ed25519",
    }
}

fn write_payload(f: &mut fmt::Formatter, payload: &PayloadHeader, files: &[FileSummary]) -> fmt::Result {
    writeln!(f, "    Type:   {}", payload.payload_type.as_deref().unwrap_or("Empty type"))?;
    write_map(f, "Provides", payload.provides.iter().map(|(key, value)| (key, value.clone())))?;
    let depends = payload.depends.iter().map(|(key, values)| match values.as_slice() {
        [one] => (key, one.clone()),
        many => (key, format!("[{}]", many.join(" "))),
    });
    write_map(f, "Depends", depends)?;
    if let Some(clears) = payload.clears.as_ref().filter(|clears| !clears.is_empty()) {
        let quoted: Vec<String> = clears.iter().map(|glob| format!("\"{glob}\"")).collect();
        writeln!(f, "    Clears Provides: [{}]", quoted.join(", "))?;
    }
    match serde_json::from_slice::<Value>(&payload.meta_data) {
        Ok(meta_data) => writeln!(f, "    Metadata:\n\t{}", format!("{meta_data:#}").replace('\n', "\n\t"))?,
        Err(_) => writeln!(f, "    Metadata: Nothing")?,
    }
    if files.is_empty() {
        return writeln!(f, "    Files: None");
    }
    writeln!(f, "    Files:")?;
    for file in files {
        writeln!(f, "      name:     {}\n      size:     {}", file.name, file.size)?;
        writeln!(f, "      modified: {}\n      checksum: {}", utc(file.modified), file.sha256)?;
    }
    Ok(())
}

fn write_map<'a>(
    f: &mut fmt::Formatter,
    title: &str,
    entries: impl Iterator<Item = (&'a String, String)>,
) -> fmt::Result {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return writeln!(f, "    {title}: Nothing");
    }
    writeln!(f, "    {title}:")?;
    entries.try_for_each(|(key, value)| writeln!(f, "\t{key}: {value}"))
}

/// A time as `2026-11-24 06:58:58 +0000 UTC`.
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // Civil calendar from days: years of 365.2425 days that begin in March, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} +0000 UTC",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}
