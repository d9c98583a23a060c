//! `dump`: unpacks an artifact and says how to write it again.
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rota_artifact::{Header, PayloadHeader};
use serde_json::json;

use crate::{
    cli::Dump,
    fail::{During, Fail, CREATE},
    original::Original,
    output::print,
    read::Style,
};

pub fn run(arguments: &Dump, style: &Style) -> Result<(), Fail> {
    let folders: BTreeMap<usize, PathBuf> =
        arguments.files.iter().map(|folder| (0, folder.clone())).collect();
    let original = Original::read(&arguments.artifact, &folders)?;
    let Header { scripts, payloads, .. } = &original.header;
    let mut dumped = Vec::new();
    if let Some(folder) = &arguments.scripts {
        for script in scripts {
            dumped.push(("--script", dump(folder, &script.name, &script.bytes, 0o755)?));
        }
    }
    if let Some(folder) = arguments.meta_data.as_ref().filter(|_| !payloads[0].meta_data.is_empty()) {
        dumped.push(("--meta-data", dump(folder, "0000.meta-data", &payloads[0].meta_data, 0o644)?));
    }
    if let Some(folder) = &arguments.files {
        dumped.extend(original.payloads[0].iter().map(|file| ("--file", folder.join(&file.name))));
    }
    let dumped = dumped.into_iter().flat_map(|(flag, path)| [flag.to_owned(), path.display().to_string()]);
    let command: Vec<String> =
        command_line(&original.header, &payloads[0]).into_iter().chain(dumped).collect();
    if style.json {
        print(format_args!("{}\n", json!({"command": command})))?;
    } else if arguments.print_cmdline {
        print(command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ") + "\n")?;
    } else if arguments.print0_cmdline {
        print(command.join("\0") + "\0")?;
    }
    Ok(())
}

fn dump(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf, Fail> {
    let path = folder.join(name);
    let write = || {
        fs::create_dir_all(folder)?;
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
    };
    write().during(CREATE, format_args!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A word for the shell: in quotes only where it has to be, for it may be split by an unquoted `$(…)` as well.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,=@%+*".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The arguments that write the artifact, as `mender-artifact` prints them: defaults are off, everything is spelled out.
fn command_line(header: &Header, payload: &PayloadHeader) -> Vec<String> {
    let mut line = vec!["write".to_owned()];
    line.push(if payload.payload_type.is_some() { "module-image" } else { "bootstrap-artifact" }.to_owned());
    let mut add = |flag: &str, value: &str| line.extend([flag.to_owned(), value.to_owned()]);
    add("--artifact-name", &header.artifact_name);
    header.artifact_group.iter().for_each(|group| add("--provides-group", group));
    header.depends.artifact_names.iter().for_each(|name| add("--artifact-name-depends", name));
    header.depends.device_types.iter().for_each(|device| add("--device-type", device));
    header.depends.artifact_groups.iter().for_each(|group| add("--depends-groups", group));
    if let Some(payload_type) = &payload.payload_type {
        add("--type", payload_type);
        line.push("--no-default-software-version".to_owned());
    }
    let mut add = |flag: &str, value: &str| line.extend([flag.to_owned(), value.to_owned()]);
    payload.provides.iter().for_each(|(key, value)| add("--provides", &format!("{key}:{value}")));
    let depends =
        payload.depends.iter().flat_map(|(key, values)| values.iter().map(move |value| (key, value)));
    depends.for_each(|(key, value)| add("--depends", &format!("{key}:{value}")));
    if payload.payload_type.is_some() {
        line.push("--no-default-clears-provides".to_owned());
    }
    let clears = payload.clears.iter().flatten();
    clears.for_each(|glob| line.extend(["--clears-provides".to_owned(), glob.clone()]));
    line
}
