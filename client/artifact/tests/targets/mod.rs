//! The fuzz targets: bytes from outside, which may do anything but make the library panic, or take memory without bound.
//! `cargo fuzz` and the bounded loop of the test suite share them.
use rota_artifact::{ecdsa_der_to_raw, Limits, Reader, SignKey, Signature, Signer, Summary, VerifyKey};

use crate::craft::{gzip, tar, Craft};

/// A target: its name, what it does with the bytes, and seeds to begin with.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 7] = [
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
    Target { name: "key", run: key, seeds: keys },
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

/// The DER of a key, in each of the envelopes that a file may name.
pub fn key(bytes: &[u8]) {
    for label in ["PUBLIC KEY", "RSA PUBLIC KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"] {
        let body = Signature::encode(bytes);
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let _ = VerifyKey::from_pem(pem.as_bytes()).map(|key| key.verifies(b"manifest", &[7; 64]));
        let _ = SignKey::from_pem(pem.as_bytes()).map(|key| key.sign(b"manifest").map(|_| key.verify_key()));
    }
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

/// A value of DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = match value.len() as u16 {
        short @ 0..=0x7f => vec![short as u8],
        one @ 0x80..=0xff => vec![0x81, one as u8],
        two => [&[0x82][..], &two.to_be_bytes()].concat(),
    };
    [&[tag][..], &length, &value].concat()
}

/// Keys that are none, but look like one to the end: EC (SEC1, PKCS#8, public), RSA (PKCS#1, PKCS#8, public), Ed25519.
fn keys() -> Vec<Vec<u8>> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let (integer, octets, bits, oid) = (0x02, 0x04, 0x03, 0x06);
    let number = |value: &[u8]| der(integer, &[value]);
    let envelope = |algorithm: &[u8], key: &[u8]| {
        der(0x30, &[&number(&[0]), &der(0x30, &[algorithm]), &der(octets, &[key])])
    };
    let public =
        |algorithm: &[u8], key: &[u8]| der(0x30, &[&der(0x30, &[algorithm]), &der(bits, &[&[0], key])]);
    let (ec_id, rsa_id) = ([der(oid, &[EC]), der(oid, &[P256])].concat(), der(oid, &[RSA]));
    let point = [&[4][..], &[1; 64]].concat();
    let sec1 = der(
        0x30,
        &[
            &number(&[1]),
            &der(octets, &[&[1; 32]]),
            &der(0xa0, &[&der(oid, &[P256])]),
            &der(0xa1, &[&der(bits, &[&[0], &point])]),
        ],
    );
    let modulus = number(&[&[0][..], &[0xd1; 256]].concat());
    let numbers = [number(&[0]), modulus.clone(), number(&[1, 0, 1]), number(&[3; 256]), number(&[5; 128])];
    let pkcs1 =
        der(0x30, &[&numbers.concat(), &number(&[5; 128]), &number(&[3]), &number(&[3]), &number(&[3])]);
    let rsa_public = der(0x30, &[&modulus, &number(&[1, 0, 1])]);
    let ed25519 = der(oid, &[&[0x2b, 0x65, 0x70]]);
    vec![
        envelope(&ec_id, &sec1),
        public(&ec_id, &point),
        sec1,
        envelope(&rsa_id, &pkcs1),
        public(&rsa_id, &rsa_public),
        pkcs1,
        rsa_public,
        envelope(&ed25519, &der(octets, &[&[7; 32]])),
        public(&ed25519, &[7; 32]),
    ]
}
