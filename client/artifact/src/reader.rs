//! Reads an artifact as a stream, member after member, and checks everything before it hands it out.
use std::io::{BufReader, Read};

use crate::{
    archive::{Archive, Member},
    decoder::Decoder,
    header::{check_file_name, Header},
    json,
    manifest::{compare, Manifest},
    payload::{Payload, Stored},
    read_header::read_header,
    Checksum, Compression, Error, Limits, Signature,
};

const BUFFER: usize = 64 << 10;
const SIGNATURE_MAX: u64 = 16 << 10;
const VERSION_MAX: u64 = 4 << 10;

/// A streaming reader. [`Reader::new`] reads up to the payloads; then come the payloads in order; [`Reader::finish`] says
/// whether everything was there. Nothing may be believed before that.
pub struct Reader<R: Read> {
    outer: Archive<BufReader<R>>,
    header: Header,
    signature: Option<Signature>,
    compression: Compression,
    state: State,
}

/// What is met while payloads are read.
pub(crate) struct State {
    pub manifest: Manifest,
    pub augment: Option<Manifest>,
    pub limits: Limits,
    pub files: Vec<Vec<FileSummary>>,
    /// The payload that is being read.
    pub open: Option<String>,
}

/// What was read of an artifact that is whole.
#[derive(Clone, Debug)]
pub struct Summary {
    /// For each payload its files, in the order of the archive.
    pub payloads: Vec<Vec<FileSummary>>,
    /// Size of the artifact in bytes.
    pub bytes: u64,
}

/// A payload file that was read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSummary {
    /// Its plain name.
    pub name: String,
    /// Its size in bytes, uncompressed.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: u64,
    /// Of its uncompressed content.
    pub sha256: Checksum,
}

impl<R: Read> Reader<R> {
    /// Reads and checks version, manifests, signature member and header; no payload byte is touched.
    pub fn new(source: R, limits: &Limits) -> Result<Self, Error> {
        let mut outer = Archive::new(BufReader::with_capacity(BUFFER, source), "the artifact");
        let member = expect(&mut outer, "version", |name| name == "version")?;
        let version_bytes = read_member(&mut outer, &member, VERSION_MAX)?;
        let version = json::version(&version_bytes)?;

        let member = expect(&mut outer, "manifest", |name| name == "manifest")?;
        let manifest_bytes = read_member(&mut outer, &member, limits.manifest)?;
        let mut manifest = Manifest::parse("manifest", &manifest_bytes, limits.files + 2)?;
        compare("version", manifest.meet("version")?, Checksum::of(&version_bytes))?;

        let expected = "manifest.sig, manifest-augment or header.tar";
        let mut member = next(&mut outer, expected)?;
        let mut signature = None;
        if member.name == "manifest.sig" {
            signature =
                Some(Signature::parse(&read_member(&mut outer, &member, SIGNATURE_MAX)?, manifest_bytes)?);
            member = next(&mut outer, "manifest-augment or header.tar")?;
        }
        let mut augment = None;
        if member.name == "manifest-augment" && version == 3 {
            let bytes = read_member(&mut outer, &member, limits.manifest)?;
            augment = Some(Manifest::parse("manifest-augment", &bytes, limits.files + 1)?);
            member = next(&mut outer, "header.tar")?;
        }
        if !member.name.starts_with("header.tar") {
            return Err(order(&member.name, if signature.is_some() { "header.tar" } else { expected }));
        }
        let compression = Compression::of_member(&member.name, "header.tar")?;
        let mut header = read_header(&mut outer, &member, "header.tar", version, &mut manifest, limits)?;
        if let Some(manifest) = &mut augment {
            let member =
                expect(&mut outer, "header-augment.tar", |name| name.starts_with("header-augment.tar"))?;
            let augmented =
                read_header(&mut outer, &member, "header-augment.tar", version, manifest, limits)?;
            header.augment(augmented)?;
        }
        for manifest in [Some(&manifest), augment.as_ref()].into_iter().flatten() {
            check_names(manifest, header.payloads.len())?;
        }
        let state = State { manifest, augment, limits: limits.clone(), files: Vec::new(), open: None };
        Ok(Self { outer, header, signature, compression, state })
    }

    /// What the artifact says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How the header is compressed, which is how the payloads are, too, as a rule.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The signature of the manifest, when there is one. It is *not* verified yet.
    pub fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// The next payload; the one before has to be read to its end. `None` after the last.
    pub fn next_payload(&mut self) -> Result<Option<Payload<'_, R>>, Error> {
        if let Some(name) = &self.state.open {
            return Err(Error::Unfinished { name: name.clone() });
        }
        let index = self.state.files.len();
        let Some(header) = self.header.payloads.get(index) else { return Ok(None) };
        let stem = format!("data/{index:04}.tar");
        self.state.open = Some(stem.clone()); // until it was read to its end; what fails stays open
        self.state.files.push(Vec::new());
        let member = expect(&mut self.outer, &stem, |name| name.starts_with(&stem))?;
        let compression = Compression::of_member(&member.name, &stem)?;
        let stored = Stored { compression, offset: self.outer.total(), size: member.size };
        let files = Decoder::new(compression, &mut self.outer, &member.name, &self.state.limits)?;
        Ok(Some(Payload::new(index, header, stored, Archive::new(files, &member.name), &mut self.state)))
    }

    /// Every manifest entry was met, and the archive ended properly. Has to be called (and be `Ok`) before anything is believed.
    pub fn finish(mut self) -> Result<Summary, Error> {
        if let Some(name) = self.state.open {
            return Err(Error::Unfinished { name });
        }
        if self.state.files.len() < self.header.payloads.len() {
            return Err(Error::Unfinished { name: format!("data/{:04}.tar", self.state.files.len()) });
        }
        if let Some(member) = self.outer.next()? {
            return Err(order(&member.name, "the end"));
        }
        self.outer.finish()?;
        self.state.manifest.finish("")?;
        self.state.augment.iter().try_for_each(|manifest| manifest.finish(""))?;
        Ok(Summary { payloads: self.state.files, bytes: self.outer.total() })
    }

    /// Reads all that is left, keeps nothing of it, and finishes.
    pub fn validate(mut self) -> Result<Summary, Error> {
        let mut buffer = vec![0; BUFFER];
        while let Some(mut payload) = self.next_payload()? {
            while let Some(mut file) = payload.next_file()? {
                while file.read(&mut buffer)? > 0 {}
            }
        }
        self.finish()
    }
}

/// No manifest may list what cannot be in the artifact: that is known before the first payload byte.
fn check_names(manifest: &Manifest, payloads: usize) -> Result<(), Error> {
    for name in manifest.names().filter(|name| !manifest.is_met(name)) {
        let parts = name.strip_prefix("data/").and_then(|rest| rest.split_once('/'));
        match parts.and_then(|(number, file)| Some((number, number.parse::<usize>().ok()?, file))) {
            Some((number, index, file)) if number == format!("{index:04}") && index < payloads => {
                check_file_name(file)?
            }
            _ => return Err(Error::Missing { name: name.to_owned() }),
        }
    }
    Ok(())
}

fn next<R: Read>(outer: &mut Archive<R>, expected: &str) -> Result<Member, Error> {
    outer.next()?.ok_or_else(|| order("the end", expected))
}

fn expect<R: Read>(
    outer: &mut Archive<R>,
    expected: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<Member, Error> {
    let member = next(outer, expected)?;
    if fits(&member.name) {
        return Ok(member);
    }
    Err(order(&member.name, expected))
}

fn order(found: &str, expected: &str) -> Error {
    Error::Order {
        archive: "the artifact".to_owned(),
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}

/// The whole of a small member.
pub(crate) fn read_member<R: Read>(
    archive: &mut Archive<R>,
    member: &Member,
    limit: u64,
) -> Result<Vec<u8>, Error> {
    if member.size > limit {
        return Err(Error::Limit { what: format!("the size of {}", member.name), limit, found: member.size });
    }
    // The buffer grows with what is there, not with what the header claims.
    let mut bytes = Vec::new();
    archive.read_to_end(&mut bytes)?;
    Ok(bytes)
}
