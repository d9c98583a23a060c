//! Artifacts made by hand, right or wrong in any place.
use std::io::Write;

use rota_artifact::Checksum;

/// The parts of an artifact. What is `None` is made to fit the rest.
#[derive(Clone)]
pub struct Craft {
    pub version: Vec<u8>,
    pub manifest: Option<Vec<u8>>,
    pub signature: Option<Vec<u8>>,
    pub header: Vec<Member>,
    pub header_name: &'static str,
    pub header_bytes: Option<Vec<u8>>,
    pub data: Vec<Member>,
    pub data_name: &'static str,
    pub data_bytes: Option<Vec<u8>>,
}

pub type Member = (&'static str, Vec<u8>);

impl Default for Craft {
    fn default() -> Self {
        let info = br#"{"payloads":[{"type":"mod"}],"artifact_provides":{"artifact_name":"rel-1"},"artifact_depends":{"device_type":["devA"]}}"#;
        let type_info = br#"{"type":"mod","artifact_provides":{"rootfs-image.mod.version":"rel-1"},"clears_artifact_provides":["rootfs-image.mod.*"]}"#;
        Self {
            version: br#"{"format":"mender","version":3}"#.to_vec(),
            manifest: None,
            signature: None,
            header: vec![("header-info", info.to_vec()), ("headers/0000/type-info", type_info.to_vec())],
            header_name: "header.tar",
            header_bytes: None,
            data: vec![("file1", b"hello\n".to_vec())],
            data_name: "data/0000.tar",
            data_bytes: None,
        }
    }
}

impl Craft {
    /// The outer members in their order.
    pub fn members(&self) -> Vec<(String, Vec<u8>)> {
        let header = self.header_bytes.clone().unwrap_or_else(|| tar(&self.header));
        let data = self.data_bytes.clone().unwrap_or_else(|| tar(&self.data));
        let fitting = || {
            let files = self.data.iter().map(|(name, bytes)| line(bytes, &format!("data/0000/{name}")));
            let rest = [line(&header, self.header_name), line(&self.version, "version")];
            files.chain(rest).collect::<String>().into_bytes()
        };
        let manifest = self.manifest.clone().unwrap_or_else(fitting);
        let mut members =
            vec![("version".to_owned(), self.version.clone()), ("manifest".to_owned(), manifest)];
        members.extend(self.signature.iter().map(|signature| ("manifest.sig".to_owned(), signature.clone())));
        members.push((self.header_name.to_owned(), header));
        members.push((self.data_name.to_owned(), data));
        members
    }

    pub fn bytes(&self) -> Vec<u8> {
        tar(&self.members())
    }

    /// The manifest that fits.
    pub fn fitting_manifest(&self) -> String {
        let craft = Self { manifest: None, ..self.clone() };
        String::from_utf8(craft.members().swap_remove(1).1).unwrap()
    }

    pub fn header_info(self, json: &str) -> Self {
        self.header_member("header-info", json.as_bytes())
    }

    pub fn type_info(self, json: &str) -> Self {
        self.header_member("headers/0000/type-info", json.as_bytes())
    }

    /// Replaces a member of the header.
    fn header_member(mut self, name: &str, bytes: &[u8]) -> Self {
        self.header.iter_mut().filter(|member| member.0 == name).for_each(|member| member.1 = bytes.to_vec());
        self
    }
}

/// A line of a manifest.
pub fn line(bytes: &[u8], path: &str) -> String {
    format!("{}  {path}\n", Checksum::of(bytes))
}

/// An archive of plain files.
pub fn tar(members: &[(impl AsRef<str>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    members.iter().for_each(|(name, bytes)| append(&mut out, name.as_ref(), b'0', bytes));
    out.extend([0; 1024]);
    out
}

/// Appends a member with a type flag.
pub fn append(out: &mut Vec<u8>, name: &str, flag: u8, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_cksum();
    out.extend(header.as_bytes());
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
