//! Artifacts for tests.

use std::collections::BTreeMap;
use std::io::{self, Cursor};

use rota_artifact::{
    Compression, Data, Depends, Draft, Header, Input, PayloadHeader, Script, Signer, Writer,
};

pub const DEVICE_TYPE: &str = "test-board";

/// What an artifact shall be like; the default is a good one.
pub struct Artifact<'a> {
    pub name: &'a str,
    pub image: &'a [u8],
    pub device_type: &'a str,
    pub payload_type: &'a str,
    pub scripts: Vec<Script>,
    pub compression: Compression,
    pub signer: Option<&'a dyn Signer>,
    /// Further facts.
    pub provides: Vec<(&'a str, &'a str)>,
}

impl<'a> Artifact<'a> {
    pub fn new(name: &'a str, image: &'a [u8]) -> Artifact<'a> {
        Artifact {
            name,
            image,
            device_type: DEVICE_TYPE,
            payload_type: "rootfs-image",
            scripts: Vec::new(),
            compression: Compression::None,
            signer: None,
            provides: Vec::new(),
        }
    }

    pub fn bytes(self) -> Vec<u8> {
        let mut facts = BTreeMap::from([("rootfs-image.version".to_owned(), self.name.to_owned())]);
        facts.extend(self.provides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let payload = PayloadHeader {
            payload_type: Some(self.payload_type.to_owned()),
            provides: facts,
            clears: Some(vec!["rootfs-image.*".into()]),
            ..PayloadHeader::default()
        };
        let header = Header {
            version: 3,
            artifact_name: self.name.to_owned(),
            artifact_group: None,
            depends: Depends { device_types: vec![self.device_type.to_owned()], ..Depends::default() },
            scripts: self.scripts,
            payloads: vec![payload],
            augmented: false,
        };
        let image = self.image;
        let file = Input {
            name: "rootfs.ext4".into(),
            size: image.len() as u64,
            mode: 0o644,
            modified: 0,
            open: Box::new(move || Ok(Box::new(image))),
        };
        write(header, vec![Data::Files(vec![file])], self.compression, self.signer)
    }
}

/// The bytes of an artifact.
pub fn write(
    header: Header,
    data: Vec<Data<'_>>,
    compression: Compression,
    signer: Option<&dyn Signer>,
) -> Vec<u8> {
    let draft = Draft { header, data, checksum_key: None, augment: None };
    let writer = Writer {
        compression,
        encoder: &|compression, out| compression.encoder(out),
        spool: &|| -> io::Result<_> { Ok(Box::new(Cursor::new(Vec::new()))) },
        signer,
        modified: 0,
    };
    let mut bytes = Vec::new();
    writer.write(&draft, &mut bytes).unwrap();
    bytes
}

/// Bytes that are not all the same.
pub fn image(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// An artifact that only sets provides.
pub fn empty(name: &str, facts: &[(&str, &str)], signer: Option<&dyn Signer>) -> Vec<u8> {
    let provides = facts.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let header = Header {
        version: 3,
        artifact_name: name.to_owned(),
        artifact_group: None,
        depends: Depends { device_types: vec![DEVICE_TYPE.to_owned()], ..Depends::default() },
        scripts: Vec::new(),
        payloads: vec![PayloadHeader { provides, ..PayloadHeader::default() }],
        augmented: false,
    };
    write(header, vec![Data::Files(Vec::new())], Compression::None, signer)
}
