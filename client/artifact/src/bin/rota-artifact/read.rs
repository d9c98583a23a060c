//! `read` and `validate`.
use std::path::Path;

use rota_artifact::{FileSummary, Header, KeyKind, Limits, PayloadHeader, Reader, Summary, VerifyKey};
use serde_json::{json, Value};

use crate::{
    cli::Read,
    fail::{During, Fail, ARGUMENTS, INVALID},
    files, keys,
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
    pub fn done(&self, output: &Path, facts: impl FnOnce() -> Value) {
        if self.json && output != Path::new("-") {
            println!("{}", facts());
        }
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
}

fn facts(arguments: &Read, code: u8) -> Result<Facts, Fail> {
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
    Ok(Facts { header, summary, verdict })
}

pub fn validate(arguments: &Read, style: &Style) -> Result<(), Fail> {
    let facts = facts(arguments, INVALID)?;
    facts.check(arguments)?;
    if matches!(facts.verdict, Verdict::NoKey) {
        let message = "the artifact is signed; give the public key with -k to verify the signature";
        return Err(Fail::new(INVALID, format_args!("{}: {message}", arguments.artifact.display())));
    }
    if style.json {
        println!("{}", facts.json());
    } else {
        println!("Artifact file '{}' validated successfully", arguments.artifact.display());
    }
    Ok(())
}

pub fn read(arguments: &Read, style: &Style) -> Result<(), Fail> {
    let facts = facts(arguments, ARGUMENTS)?;
    if style.json {
        println!("{}", facts.json());
    } else {
        facts.print();
        if !style.as_mender {
            facts.print_conclusion();
        }
    }
    // mender-artifact has said it, and ends well.
    if style.as_mender {
        return Ok(());
    }
    facts.check(arguments)
}

impl Facts {
    /// Fails when a key was given and the signature is not by it.
    fn check(&self, arguments: &Read) -> Result<(), Fail> {
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

    /// The text of `mender-artifact read`.
    fn print(&self) {
        let header = &self.header;
        println!(
            "Mender artifact:\n  Name: {}\n  Format: mender\n  Version: {}",
            header.artifact_name, header.version
        );
        println!("  Signature: {}", self.signature());
        println!("  Compatible devices: '[{}]'", header.depends.device_types.join(" "));
        if header.version > 2 {
            println!("  Provides group: {}", header.artifact_group.as_deref().unwrap_or_default());
            println!("  Depends on one of artifact(s): [{}]", header.depends.artifact_names.join(", "));
            println!("  Depends on one of group(s): [{}]", header.depends.artifact_groups.join(", "));
        }
        println!("  State scripts:");
        header.scripts.iter().for_each(|script| println!("    {}", script.name));
        println!("\nUpdates:");
        for (index, (payload, files)) in header.payloads.iter().zip(&self.summary.payloads).enumerate() {
            println!("    {index}:");
            print_payload(payload, files);
        }
    }

    /// What a person wants to know.
    fn print_conclusion(&self) {
        let types = self.header.depends.device_types.join(", ");
        println!("\nInstalls on: {types}{}", self.conditions());
        match &self.verdict {
            Verdict::Unsigned | Verdict::Missing => {
                println!("Signed: no; devices with verification keys refuse it")
            }
            Verdict::NoKey => println!("Signed: yes, not verified (no key given)"),
            Verdict::Failed(_) => println!("Signed: yes, but NOT by the given key"),
            Verdict::Verified(key) => println!("Signed: yes, by the {} key {}", kind(key), key.fingerprint()),
        }
        println!("Size: {} bytes, all checksums are right", self.summary.bytes);
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

fn print_payload(payload: &PayloadHeader, files: &[FileSummary]) {
    println!("    Type:   {}", payload.payload_type.as_deref().unwrap_or("Empty type"));
    print_map("Provides", payload.provides.iter().map(|(key, value)| (key, value.clone())));
    let depends = payload.depends.iter().map(|(key, values)| match values.as_slice() {
        [one] => (key, one.clone()),
        many => (key, format!("[{}]", many.join(" "))),
    });
    print_map("Depends", depends);
    if let Some(clears) = payload.clears.as_ref().filter(|clears| !clears.is_empty()) {
        let quoted: Vec<String> = clears.iter().map(|glob| format!("\"{glob}\"")).collect();
        println!("    Clears Provides: [{}]", quoted.join(", "));
    }
    match serde_json::from_slice::<Value>(&payload.meta_data) {
        Ok(meta_data) => println!("    Metadata:\n\t{}", format!("{meta_data:#}").replace('\n', "\n\t")),
        Err(_) => println!("    Metadata: Nothing"),
    }
    if files.is_empty() {
        println!("    Files: None");
        return;
    }
    println!("    Files:");
    for file in files {
        println!("      name:     {}\n      size:     {}", file.name, file.size);
        println!("      modified: {}\n      checksum: {}", utc(file.modified), file.sha256);
    }
}

fn print_map<'a>(title: &str, entries: impl Iterator<Item = (&'a String, String)>) {
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return println!("    {title}: Nothing");
    }
    println!("    {title}:");
    entries.iter().for_each(|(key, value)| println!("\t{key}: {value}"));
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
