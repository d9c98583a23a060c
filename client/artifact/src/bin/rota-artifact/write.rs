//! `write`: artifacts from the flags of the command line (artifact format: provides, depends, clears).
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use rota_artifact::{
    check_script_name, Augment, Compression, Data, Depends, Draft, Error, Header, Input, PayloadHeader,
    Script, Writer,
};

use serde_json::json;

use crate::{
    cli::{BootstrapArtifact, Common, Facts, ModuleImage, RootfsImage, Software, Write},
    fail::{During, Fail, ARGUMENTS, CREATE, VERSION},
    files, gzip, keys,
    output::{self, Output},
    progress::Progress,
    read::Style,
    snapshot,
};

const ROOTFS_IMAGE: &str = "rootfs-image";

pub fn run(what: &Write, style: &Style) -> Result<(), Fail> {
    match what {
        Write::RootfsImage(arguments) => rootfs_image(arguments, style),
        Write::ModuleImage(arguments) => module_image(arguments, style),
        Write::BootstrapArtifact(arguments) => bootstrap_artifact(arguments, style),
    }
}

fn rootfs_image(arguments: &RootfsImage, style: &Style) -> Result<(), Fail> {
    let RootfsImage { common, software, .. } = arguments;
    let progress = Progress::new("Writing", common.no_progress);
    let image = if arguments.file.starts_with("ssh://") {
        snapshot::input(&arguments.file, &arguments.ssh_args, &temporary(common), &progress)?
    } else {
        files::input(Path::new(&arguments.file), &temporary(common), &progress)?
    };
    count_passes(&progress, common);
    let filesystem = software.software_filesystem.as_deref().unwrap_or(ROOTFS_IMAGE);
    let name = software.software_name.as_deref().filter(|name| !name.is_empty());
    let prefix = name.map_or_else(|| filesystem.to_owned(), |name| format!("{filesystem}.{name}"));

    let mut payload =
        PayloadHeader { payload_type: Some(ROOTFS_IMAGE.to_owned()), ..PayloadHeader::default() };
    let mut clears = vec![format!("{prefix}.*")];
    if prefix == ROOTFS_IMAGE {
        clears.splice(0..0, ["artifact_group".to_owned(), "rootfs_image_checksum".to_owned()]);
    }
    add_facts(&mut payload, &prefix, clears, software, common);
    let checksum_key = match (arguments.no_checksum_provide, arguments.legacy_rootfs_image_checksum) {
        (true, _) => None,
        (false, true) => Some("rootfs_image_checksum".to_owned()),
        (false, false) => Some("rootfs-image.checksum".to_owned()),
    };
    let header = header(common, scripts(&arguments.script)?, payload);
    let draft = Draft { header, data: vec![Data::Files(vec![image])], checksum_key, augment: None };
    write(&draft, common, style)
}

fn module_image(arguments: &ModuleImage, style: &Style) -> Result<(), Fail> {
    let ModuleImage { common, software, .. } = arguments;
    let progress = Progress::new("Writing", common.no_progress);
    let inputs = |paths: &[PathBuf]| -> Result<Vec<Input<'_>>, Fail> {
        paths.iter().map(|path| files::input(path, &temporary(common), &progress)).collect()
    };
    let meta_data = arguments.meta_data.as_deref().map(files::read).transpose()?.unwrap_or_default();
    let mut payload = PayloadHeader {
        payload_type: Some(arguments.payload_type.clone()),
        meta_data,
        ..PayloadHeader::default()
    };
    let filesystem = software.software_filesystem.as_deref().unwrap_or(ROOTFS_IMAGE);
    let name = software.software_name.as_deref().filter(|name| !name.is_empty());
    let prefix = format!("{filesystem}.{}", name.unwrap_or(&arguments.payload_type));
    add_facts(&mut payload, &prefix, vec![format!("{prefix}.*")], software, common);

    let ModuleImage { augment_provides, augment_depends, augment_meta_data, augment_file, .. } = arguments;
    let nothing = augment_provides.is_empty() && augment_depends.is_empty() && augment_file.is_empty();
    if arguments.augment_type.is_none() && !(nothing && augment_meta_data.is_none()) {
        return Err(Fail::new(ARGUMENTS, "an augmented artifact needs --augment-type"));
    }
    let header = header(common, scripts(&arguments.script)?, payload);
    let data = vec![Data::Files(inputs(&arguments.file)?)];
    let augment = arguments.augment_type.as_ref().map(|augment_type| -> Result<Augment<'_>, Fail> {
        let meta_data =
            arguments.augment_meta_data.as_deref().map(files::read).transpose()?.unwrap_or_default();
        let payload = PayloadHeader {
            payload_type: Some(augment_type.clone()),
            provides: arguments.augment_provides.iter().cloned().collect(),
            depends: depends_map(&arguments.augment_depends),
            meta_data,
            ..PayloadHeader::default()
        };
        Ok(Augment { payloads: vec![payload], files: vec![inputs(&arguments.augment_file)?] })
    });
    let draft = Draft { header, data, checksum_key: None, augment: augment.transpose()? };
    count_passes(&progress, common);
    write(&draft, common, style)
}

fn bootstrap_artifact(BootstrapArtifact { common }: &BootstrapArtifact, style: &Style) -> Result<(), Fail> {
    let Facts { depends, provides, clears_provides, .. } = &common.facts;
    let payload = PayloadHeader {
        payload_type: None,
        provides: provides.iter().cloned().collect(),
        depends: depends_map(depends),
        clears: (!clears_provides.is_empty()).then(|| clears_provides.clone()),
        ..PayloadHeader::default()
    };
    let header = header(common, Vec::new(), payload);
    let draft = Draft { header, data: vec![Data::Files(Vec::new())], checksum_key: None, augment: None };
    write(&draft, common, style)
}

/// What the flags provide, depend on and clear, and the defaults for a software whose keys begin with `prefix`.
fn add_facts(
    payload: &mut PayloadHeader,
    prefix: &str,
    clears: Vec<String>,
    software: &Software,
    common: &Common,
) {
    if !software.no_default_software_version {
        let version = software.software_version.as_ref().unwrap_or(&common.artifact_name);
        payload.provides.insert(format!("{prefix}.version"), version.clone());
    }
    let Facts { depends, provides, clears_provides, .. } = &common.facts;
    payload.provides.extend(provides.iter().cloned());
    payload.depends = depends_map(depends);
    let defaults = if software.no_default_clears_provides { Vec::new() } else { clears };
    let clears: Vec<String> = clears_provides.iter().cloned().chain(defaults).collect();
    payload.clears = (!clears.is_empty()).then_some(clears);
}

/// A key that is given twice has its last value.
pub fn depends_map(pairs: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    pairs.iter().map(|(key, value)| (key.clone(), vec![value.clone()])).collect()
}

fn header(common: &Common, scripts: Vec<Script>, payload: PayloadHeader) -> Header {
    let facts = &common.facts;
    Header {
        version: 3,
        artifact_name: common.artifact_name.clone(),
        artifact_group: facts.provides_group.clone().filter(|group| !group.is_empty()),
        depends: Depends {
            device_types: common.compatible_types.clone(),
            artifact_names: facts.artifact_name_depends.clone(),
            artifact_groups: facts.depends_groups.clone(),
        },
        scripts,
        payloads: vec![payload],
        augmented: false,
    }
}

/// State scripts from files and folders, in the order of their names.
fn scripts(paths: &[PathBuf]) -> Result<Vec<Script>, Fail> {
    let mut found = Vec::new();
    for path in paths {
        let act = format!("cannot read {}", path.display());
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        for entry in fs::read_dir(path).during(ARGUMENTS, &act)? {
            found.push(entry.during(ARGUMENTS, &act)?.path());
        }
    }
    let script = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        check_script_name(&name).during(ARGUMENTS, path.display())?;
        Ok(Script { name, bytes: files::read(path)? })
    };
    let mut scripts: Vec<Script> = found.iter().map(script).collect::<Result<_, Fail>>()?;
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scripts)
}

/// Without compression the size is known before, so that nothing is spooled: the files are hashed, and then read again.
fn count_passes(progress: &Progress, common: &Common) {
    if common.compression == Compression::None.option() {
        progress.twice();
    }
}

fn temporary(common: &Common) -> PathBuf {
    common.tmp.clone().unwrap_or_else(|| files::temporary_for(&common.output_path))
}

pub fn compression(name: &str) -> Result<Compression, Fail> {
    let all = "none, gzip, lzma, zstd_fastest, zstd_fast, zstd_better, zstd_best";
    let unknown =
        || Fail::new(ARGUMENTS, format_args!("unknown compression {name:?}, expected one of {all}"));
    Compression::from_option(name).ok_or_else(unknown)
}

fn write(draft: &Draft, common: &Common, style: &Style) -> Result<(), Fail> {
    if common.format_version != 3 {
        let found = common.format_version;
        return Err(Fail::new(
            VERSION,
            format_args!("artifacts of version {found} cannot be written, only of version 3, which all clients since Mender 2.0 read; version 2 can be read"),
        ));
    }
    if common.artifact_name.contains(char::is_whitespace) {
        return Err(Fail::new(ARGUMENTS, "the artifact's name has white space"));
    }
    let signer = keys::signer(&common.key)?;
    let writer = Writer {
        compression: compression(&common.compression)?,
        encoder: &gzip::encoder,
        spool: &|| {
            let folder = temporary(common);
            let act = |error| io::Error::other(format!("temporary file in {}: {error}", folder.display()));
            Ok(Box::new(tempfile::tempfile_in(&folder).map_err(files::plain).map_err(act)?))
        },
        signer: signer.as_deref(),
        modified: files::source_date_epoch().unwrap_or(0),
    };
    let mut output = Output::create(&common.output_path)?;
    let act = format!("cannot write {}", common.output_path.display());
    let written = writer.write(draft, output.writer());
    // What no artifact can have is a wrong argument; the rest is the fault of disk or signer.
    let code = if matches!(written, Err(Error::Io(_) | Error::Signing { .. })) { CREATE } else { ARGUMENTS };
    let summary = written.during(code, act)?;
    check_size(summary.bytes, common)?;
    output.finish()?;
    style.done(&common.output_path, || json!({"written": common.output_path, "bytes": summary.bytes}))
}

fn check_size(bytes: u64, common: &Common) -> Result<(), Fail> {
    match (common.max_artifact_size, common.warn_artifact_size) {
        (Some(most), _) if bytes > most => Err(Fail::new(
            CREATE,
            format_args!("the artifact has {bytes} bytes, the limit is {most}; nothing was written"),
        )),
        (_, Some(most)) if bytes > most => {
            output::warn(format_args!("warning: the artifact has {bytes} bytes, more than {most}"));
            Ok(())
        }
        _ => Ok(()),
    }
}
