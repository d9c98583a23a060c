//! Artifacts that the server makes itself: for one file, and for a device's configuration.
use rota_artifact::{Compression, Data, Depends, Draft, Error, Header, Input, PayloadHeader, Writer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// A file to be installed by the update module `single-file`.
pub struct SingleFile {
    pub artifact_name: String,
    pub device_types: Vec<String>,
    /// What the file is called on the device.
    pub filename: String,
    /// Folder on the device.
    pub dest_dir: String,
    pub software_filesystem: String,
    pub software_name: String,
    pub software_version: String,
    /// Where its content is now.
    pub content: PathBuf,
    /// Seconds since 1970.
    pub modified: u64,
}

impl SingleFile {
    /// Writes the artifact, uncompressed, so that its size is known before its content is read.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let size = std::fs::metadata(&self.content)?.len();
        let line = |name: &str, text: &str| {
            let text = format!("{text}\n");
            let open_text = text.clone();
            Input {
                name: name.to_owned(),
                size: text.len() as u64,
                mode: 0o644,
                modified: self.modified,
                open: Box::new(move || -> io::Result<Box<dyn Read>> {
                    Ok(Box::new(io::Cursor::new(open_text.clone().into_bytes())))
                }),
            }
        };
        let content = Input {
            name: self.filename.clone(),
            size,
            mode: 0o644,
            modified: self.modified,
            open: Box::new(|| -> io::Result<Box<dyn Read>> { Ok(Box::new(File::open(&self.content)?)) }),
        };
        let files = vec![
            line("dest_dir", &self.dest_dir),
            line("filename", &self.filename),
            line("permissions", "644"),
            content,
        ];
        let software = format!("{}.{}", self.software_filesystem, self.software_name);
        let provides = BTreeMap::from([(format!("{software}.version"), self.software_version.clone())]);
        let payload = PayloadHeader {
            payload_type: Some("single-file".into()),
            provides,
            clears: Some(vec![format!("{software}.*")]),
            ..Default::default()
        };
        let header = header(&self.artifact_name, self.device_types.clone(), payload);
        write(header, files, self.modified, out)
    }
}

/// The artifact that brings a configuration to one device (device API: configuration deployment download).
/// The same arguments give the same bytes, so that a cut download can go on.
pub fn configuration(
    name: &str,
    device_type: &str,
    configuration: &Map<String, Value>,
    modified: u64,
) -> Result<Vec<u8>, Error> {
    let payload = PayloadHeader {
        payload_type: Some("mender-configure".into()),
        provides: BTreeMap::from([("data-partition.mender-configure.version".into(), name.to_owned())]),
        clears: Some(vec!["data-partition.mender-configure.*".into()]),
        meta_data: serde_json::to_vec(configuration).unwrap_or_default(),
        ..Default::default()
    };
    let mut bytes = Vec::new();
    write(header(name, vec![device_type.to_owned()], payload), Vec::new(), modified, &mut bytes)?;
    Ok(bytes)
}

fn header(name: &str, device_types: Vec<String>, payload: PayloadHeader) -> Header {
    Header {
        version: 3,
        artifact_name: name.to_owned(),
        artifact_group: None,
        depends: Depends { device_types, ..Default::default() },
        scripts: Vec::new(),
        payloads: vec![payload],
        augmented: false,
    }
}

fn write(header: Header, files: Vec<Input<'_>>, modified: u64, out: &mut dyn Write) -> Result<(), Error> {
    let draft = Draft { header, data: vec![Data::Files(files)], checksum_key: None, augment: None };
    let writer = Writer {
        compression: Compression::None,
        encoder: &|compression, out| compression.encoder(out),
        spool: &|| Ok(Box::new(io::Cursor::new(Vec::new()))),
        signer: None,
        modified,
    };
    writer.write(&draft, out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_a_good_artifact() {
        let map = Map::from_iter([("timezone".to_owned(), Value::from("UTC"))]);
        let bytes = configuration("c-1", "devA", &map, 1_700_000_000).unwrap();
        assert_eq!(bytes, configuration("c-1", "devA", &map, 1_700_000_000).unwrap());
        let (name, detail) = crate::parse::artifact(bytes.as_slice()).unwrap();
        assert_eq!(name, "c-1");
        assert_eq!(detail.updates[0].meta_data["timezone"], "UTC");
        assert_eq!(detail.artifact_provides["data-partition.mender-configure.version"], "c-1");

        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("f");
        std::fs::write(&content, "hello").unwrap();
        let single = SingleFile {
            artifact_name: "r".into(),
            device_types: vec!["a".into(), "b".into()],
            filename: "motd".into(),
            dest_dir: "/etc".into(),
            software_filesystem: "rootfs-image".into(),
            software_name: "single-file".into(),
            software_version: "r".into(),
            content,
            modified: 1_700_000_000,
        };
        let mut bytes = Vec::new();
        single.write(&mut bytes).unwrap();
        let (_, detail) = crate::parse::artifact(bytes.as_slice()).unwrap();
        assert_eq!(detail.device_types_compatible, ["a", "b"]);
        let files: Vec<_> =
            detail.updates[0].files.iter().map(|file| (file.name.as_str(), file.size)).collect();
        assert_eq!(files, [("dest_dir", 5), ("filename", 5), ("permissions", 4), ("motd", 5)]);
    }
}
