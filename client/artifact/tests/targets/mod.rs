//! The fuzz targets: bytes from outside, which may do anything but make the library panic, or take memory without bound.
//! `cargo fuzz` and the bounded loop of the test suite share them.
use rota_artifact::{ecdsa_der_to_raw, Limits, Reader, SignKey, Signature, Summary, VerifyKey};

use crate::craft::{gzip, tar, Craft};

/// A target: its name, what it does with the bytes, and seeds to begin with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 6] = [
    Target { name: "reader", run: reader, seeds: artifacts },
    Target {
        name: "manifest",
        run: manifest,
        seeds: || vec![Craft::default().fitting_manifest().into_bytes()],
    },
    Target { name: "json", run: json, seeds: jsons },
    Target { name: "header", run: header, seeds: || archives(&tar(&Craft::default().header)) },
    Target { name: "payload", run: payload, seeds: || archives(&tar(&Craft::default().data)) },
    Target { name: "signature", run: signature, seeds: signatures },
];

/// Small limits find what passes them soon.
fn read(bytes: &[u8]) -> Option<Summary> {
    let limits = Limits { header: 1 << 20, decoder_memory: 1 << 20, ..Limits::default() };
    let reader = Reader::new(bytes, &limits).ok()?;
    let _ = reader.header().matches("devA", &Default::default());
    let key = VerifyKey::from_p256_point(&[4; 65]).ok()?;
    let _ = reader.signature().map(|signature| signature.verify(&[key]));
    reader.validate().ok()
}

/// A whole artifact.
pub fn reader(bytes: &[u8]) {
    if let Some(summary) = read(bytes) {
        assert!(summary.bytes <= bytes.len() as u64, "more was read than there is");
    }
}

/// The text of a manifest.
pub fn manifest(bytes: &[u8]) {
    read(&Craft { manifest: Some(bytes.to_vec()), ..Craft::default() }.bytes());
}

/// A JSON member; the first byte says which.
pub fn json(bytes: &[u8]) {
    let Some((which, json)) = bytes.split_first() else { return };
    let mut craft = Craft::default();
    match which % 4 {
        0 => craft.version = json.to_vec(),
        1 => craft.header[0].1 = json.to_vec(),
        2 => craft.header[1].1 = json.to_vec(),
        _ => craft.header.push(("headers/0000/meta-data", json.to_vec())),
    }
    read(&craft.bytes());
}

/// The member of a header; the first byte says how it is compressed.
pub fn header(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let name = ["header.tar", "header.tar.gz", "header.tar.xz", "header.tar.zst"][usize::from(which % 4)];
    read(&Craft { header_name: name, header_bytes: Some(bytes.to_vec()), ..Craft::default() }.bytes());
}

/// The member of a payload; the first byte says how it is compressed.
pub fn payload(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let name = ["data/0000.tar", "data/0000.tar.gz", "data/0000.tar.xz", "data/0000.tar.zst"]
        [usize::from(which % 4)];
    read(&Craft { data_name: name, data_bytes: Some(bytes.to_vec()), ..Craft::default() }.bytes());
}

/// `manifest.sig`, signatures and keys.
pub fn signature(bytes: &[u8]) {
    read(&Craft { signature: Some(bytes.to_vec()), ..Craft::default() }.bytes());
    let _ = ecdsa_der_to_raw(bytes);
    let _ = VerifyKey::from_pem(bytes).map(|key| key.verifies(b"manifest", bytes));
    let _ = VerifyKey::from_spki(bytes);
    let _ = SignKey::from_pem(bytes);
}

fn artifacts() -> Vec<Vec<u8>> {
    let header = tar(&Craft::default().header);
    let packed =
        Craft { header_name: "header.tar.gz", header_bytes: Some(gzip(&header)), ..Craft::default() };
    let signed = Craft { signature: Some(Signature::encode(&[7; 64]).into_bytes()), ..Craft::default() };
    vec![Craft::default().bytes(), packed.bytes(), signed.bytes()]
}

fn jsons() -> Vec<Vec<u8>> {
    let craft = Craft::default();
    let members = [&craft.version, &craft.header[0].1, &craft.header[1].1];
    let meta_data = br#"{"a":[1,-2.5e3,{"b":null}],"c":"\u00e4"}"#.to_vec();
    let members = members.into_iter().cloned().chain([meta_data]);
    members.enumerate().map(|(which, json)| [&[which as u8], json.as_slice()].concat()).collect()
}

/// The archive in every compression.
fn archives(plain: &[u8]) -> Vec<Vec<u8>> {
    let mut xz = Vec::new();
    liblzma::copy_encode(plain, &mut xz, 1).unwrap();
    let zstd = zstd::encode_all(plain, 3).unwrap();
    let packed = [plain.to_vec(), gzip(plain), xz, zstd];
    packed.into_iter().enumerate().map(|(which, bytes)| [&[which as u8], bytes.as_slice()].concat()).collect()
}

fn signatures() -> Vec<Vec<u8>> {
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";
    let der = [&[0x30, 0x44, 0x02, 0x20][..], &[1; 32], &[0x02, 0x20], &[2; 32]].concat();
    let texts = [Signature::encode(&[7; 64]), Signature::encode(&der), PUBLIC.to_owned()];
    texts.map(String::into_bytes).into_iter().chain([der]).collect()
}
