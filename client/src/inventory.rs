//! What the device tells of itself: built-in basics, and what the programs in the inventory folders print.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::device::Device;
use crate::identity::{add, key_values};
use crate::net::api::short;
use crate::sys::process::{self, Output};
use crate::sys::{host, process::Ended};
use crate::update::handler::known_types;
use crate::update::journal::{Attempt, Verdict};
use crate::update::Engine;

/// How long one program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest value, in characters.
const VALUE: usize = 1000;
/// Most output of one program that is read, in bytes.
const OUTPUT: usize = 64 << 10;

/// Attributes by name; a value is a text or a list of texts.
pub type Attributes = BTreeMap<String, Value>;

/// Collects everything. A program that fails is left out with a warning.
pub fn collect(engine: &mut Engine) -> Attributes {
    let mut attributes = Attributes::new();
    let paths = engine.device.paths.clone();
    // The first to name an attribute decides: ours over the product's over Mender's.
    let basics = basics(engine);
    let ours = programs(&paths.lib.join("inventory"), "");
    let mender = programs(&paths.mender.join("inventory"), "mender-inventory-");
    for source in [basics].into_iter().chain(ours).chain(mender) {
        for (name, value) in source {
            attributes.entry(name).or_insert(value);
        }
    }
    attributes
}

fn basics(engine: &mut Engine) -> Attributes {
    let mut basics = Attributes::new();
    let version = env!("CARGO_PKG_VERSION");
    for (name, value) in engine.reported_provides() {
        add(&mut basics, &name, &value);
    }
    let faults = engine.faults();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            basics.insert(name.to_owned(), short(value, VALUE).into());
        }
    };
    set("hostname", &host::name());
    set("kernel", &host::kernel());
    set("rota_version", version);
    set("mender_client_version", version);
    set("device_type", engine.device.config.device_type.as_deref().unwrap_or_default());
    if let Ok(boot) = engine.device.boot() {
        set("bootloader", boot.capabilities().name);
    }
    set("state", &state(&mut engine.device));
    if let Ok(view) = engine.device.view() {
        set("booted_slot", &view.booted.to_string());
        set("committed_slot", &view.boot.committed.to_string());
    }
    if let Some(attempt) = engine.journal.record.attempts.last() {
        set("last_attempt", &summary(attempt));
    }
    let modules = known_types(&engine.device.paths).into_iter().map(Value::from).collect();
    basics.insert("update_modules".into(), Value::Array(modules));
    if !faults.is_empty() {
        let faults = faults.iter().map(|fault| Value::from(short(fault, VALUE))).collect();
        basics.insert("faults".into(), Value::Array(faults));
    }
    basics
}

/// How booted and committed slot stand to each other, in one word.
fn state(device: &mut Device) -> String {
    device.view().map_or_else(|_| "unknown".to_owned(), |view| view.standing().name().to_owned())
}

/// An attempt in one line.
pub fn summary(attempt: &Attempt) -> String {
    let artifact = if attempt.artifact.is_empty() { "an artifact" } else { &attempt.artifact };
    match &attempt.verdict {
        Some(Verdict::Success(None)) => format!("{artifact}: installed and committed"),
        Some(Verdict::Success(Some(remark))) => format!("{artifact}: installed and committed; {remark}"),
        Some(Verdict::Failure(why)) => format!("{artifact}: failed: {why}"),
        None => format!("{artifact}: not finished"),
    }
}

/// What the programs of a folder print, one after the other.
fn programs(folder: &Path, prefix: &str) -> Vec<Attributes> {
    let programs = crate::update::executables(folder).into_iter();
    let named = programs
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    named
        .filter_map(|program| {
            let mut text = String::new();
            let ended = process::run(&mut Command::new(&program), LIMIT, &mut |output, line| {
                if output == Output::Out && text.len() < OUTPUT {
                    text.push_str(&short(line, VALUE));
                    text.push('\n');
                }
            });
            match ended {
                Ok(Ended::Exited(0)) => Some(key_values(&text)),
                Ok(ended) => {
                    log::warn!("inventory: {} {ended}", program.display());
                    None
                }
                Err(error) => {
                    log::warn!("inventory: {}: {error}", program.display());
                    None
                }
            }
        })
        .collect()
}
