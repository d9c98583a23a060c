//! Artifacts to upload.
use rota_artifact::{Compression, Data, Depends, Draft, Header, Input, PayloadHeader, Writer};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

/// What makes artifacts differ.
pub struct Plan<'a> {
    pub name: &'a str,
    pub device_types: &'a [&'a str],
    pub payload_type: &'a str,
    pub depends: &'a [(&'a str, &'a str)],
    /// Name and content.
    pub file: (&'a str, &'a [u8]),
}

impl Default for Plan<'_> {
    fn default() -> Self {
        let file: (&str, &[u8]) = ("content", b"hello\n");
        Plan { name: "rel-1", device_types: &["devA"], payload_type: "test", depends: &[], file }
    }
}

/// An artifact of one payload with one file.
pub fn make(plan: &Plan) -> Vec<u8> {
    let depends = plan.depends.iter().map(|(key, value)| (key.to_string(), vec![value.to_string()]));
    let payload = PayloadHeader {
        payload_type: Some(plan.payload_type.into()),
        provides: BTreeMap::from([(format!("rootfs-image.{}.version", plan.payload_type), plan.name.into())]),
        depends: depends.collect(),
        clears: Some(vec![format!("rootfs-image.{}.*", plan.payload_type)]),
        ..Default::default()
    };
    let device_types = plan.device_types.iter().map(|one| one.to_string()).collect();
    let header = Header {
        version: 3,
        artifact_name: plan.name.into(),
        artifact_group: None,
        depends: Depends { device_types, ..Default::default() },
        scripts: Vec::new(),
        payloads: vec![payload],
        augmented: false,
    };
    let (name, content) = plan.file;
    let input = Input {
        name: name.into(),
        size: content.len() as u64,
        mode: 0o755,
        modified: 1_700_000_000,
        open: Box::new(move || -> std::io::Result<Box<dyn Read>> {
            Ok(Box::new(Cursor::new(content.to_vec())))
        }),
    };
    let draft = Draft { header, data: vec![Data::Files(vec![input])], checksum_key: None, augment: None };
    let writer = Writer {
        compression: Compression::None,
        encoder: &|compression, out| compression.encoder(out),
        spool: &|| Ok(Box::new(Cursor::new(Vec::new()))),
        signer: None,
        modified: 1_700_000_000,
    };
    let mut bytes = Vec::new();
    writer.write(&draft, &mut bytes).unwrap();
    bytes
}

/// The artifact `name` for `devA`.
pub fn named(name: &str) -> Vec<u8> {
    make(&Plan { name, ..Default::default() })
}

/// Bytes without an order.
pub fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

const BOUNDARY: &str = "rota-test-boundary";

/// A multipart form with the file `artifact` at its end: its content type and itself.
pub fn form(fields: &[(&str, &[u8])], artifact: &[u8]) -> (String, Vec<u8>) {
    form_with("artifact", fields, artifact)
}

/// The same with another name for the file.
pub fn form_with(file: &str, fields: &[(&str, &[u8])], content: &[u8]) -> (String, Vec<u8>) {
    let mut body = fields_only(fields);
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{file}\"; filename=\"x\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}

/// The fields before the file; the form is not ended.
pub fn fields_only(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body
}
