//! `modify`: another name, other facts, or another configuration in the image.
use std::{collections::BTreeMap, fs::File, path::PathBuf};

use rota_artifact::{Header, Limits, Reader};

use crate::{
    cli::{Facts, Modify},
    fail::{During, Fail, ARGUMENTS, FEATURE, INVALID},
    files,
    image::{configure, is_artifact, Image},
    original::Original,
    read::Style,
    write::depends_map,
};

pub fn run(arguments: &Modify, style: &Style) -> Result<(), Fail> {
    let path = &arguments.file;
    let open = || format!("cannot open {}", path.display());
    if !is_artifact(path).during(INVALID, open())? {
        if !arguments.facts.is_empty() || arguments.meta_data.is_some() {
            return Err(Fail::new(
                ARGUMENTS,
                format_args!("{}: only an artifact has such facts", path.display()),
            ));
        }
        let image = Image::Disk(path.clone());
        configure(&image, arguments)?;
        return image.finish(&arguments.rewrite, style);
    }
    let reader = Reader::new(File::open(path).during(INVALID, open())?, &Limits::default());
    let reader = reader.during(INVALID, path.display())?;
    // The name of the release is in a root file system, too.
    let renames_image = arguments.artifact_name.is_some()
        && reader.header().payloads[0].payload_type.as_deref() == Some("rootfs-image");
    let (original, folders, _folder) = if renames_image || arguments.configures() {
        let image = Image::open(path, arguments.rewrite.tmp.as_deref())?;
        if arguments.configures() || image.file_systems("/").is_ok() {
            configure(&image, arguments)?;
        }
        match image {
            Image::Artifact { original, folder } => {
                (*original, BTreeMap::from([(0, PathBuf::from(folder.path()))]), Some(folder))
            }
            Image::Disk(_) => return Ok(()),
        }
    } else {
        (Original::read(path, &BTreeMap::new())?, BTreeMap::new(), None)
    };
    original.check_writable()?;
    let header = change(original.header.clone(), arguments)?;
    original.rewrite(header, folders, &arguments.rewrite, style)
}

/// The header with what the flags say: a flag replaces what was there, clears are added.
fn change(mut header: Header, arguments: &Modify) -> Result<Header, Fail> {
    let Facts { artifact_name_depends, provides_group, depends_groups, depends, provides, clears_provides } =
        &arguments.facts;
    if let Some(name) = &arguments.artifact_name {
        header.artifact_name.clone_from(name);
    }
    if let Some(group) = provides_group {
        header.artifact_group = Some(group.clone()).filter(|group| !group.is_empty());
    }
    for (given, place) in [
        (artifact_name_depends, &mut header.depends.artifact_names),
        (depends_groups, &mut header.depends.artifact_groups),
    ] {
        if !given.is_empty() {
            place.clone_from(given);
        }
    }
    let [payload] = header.payloads.as_mut_slice() else {
        return Err(Fail::new(FEATURE, "an artifact with several payloads cannot be modified"));
    };
    if !provides.is_empty() {
        payload.provides = provides.iter().cloned().collect();
    }
    if !depends.is_empty() {
        payload.depends = depends_map(depends);
    }
    if !clears_provides.is_empty() {
        payload.clears.get_or_insert_with(Vec::new).extend(clears_provides.iter().cloned());
    }
    for glob in &arguments.delete_clears_provides {
        let clears = payload.clears.iter_mut().flatten();
        if !clears.into_iter().any(|found| found == glob) {
            return Err(Fail::new(ARGUMENTS, format_args!("the payload does not clear {glob:?}")));
        }
        payload.clears.iter_mut().for_each(|clears| clears.retain(|found| found != glob));
    }
    if let Some(path) = &arguments.meta_data {
        payload.meta_data = files::read(path)?;
    }
    Ok(header)
}
