//! `header.tar`: a compressed archive, small enough to be kept (artifact format: header).
use std::io::{self, BufRead, BufReader, Read};

use crate::{
    archive::{Archive, Member},
    decoder::Decoder,
    header::{check_script_name, Header, PayloadHeader, Script},
    json::{self, HeaderInfo},
    manifest::{compare, Manifest},
    reader::read_member,
    Compression, Error, Hasher, Limits,
};

/// Reads the member `header.tar*` (or `header-augment.tar*`, as `stem` says) that `outer` stands at.
pub(crate) fn read_header<R: Read>(
    outer: &mut Archive<BufReader<R>>,
    member: &Member,
    stem: &str,
    version: u64,
    manifest: &mut Manifest,
    limits: &Limits,
) -> Result<Header, Error> {
    let compression = Compression::of_member(&member.name, stem)?;
    if member.size > limits.header {
        return Err(Error::Limit {
            what: format!("the size of {}", member.name),
            limit: limits.header,
            found: member.size,
        });
    }
    let expected = manifest.meet(&member.name)?;
    let mut stored = Hashed { source: outer, hasher: Hasher::default() };
    let parsed = Decoder::new(compression, &mut stored, &member.name, limits).and_then(|decoder| {
        let source =
            Bounded { source: decoder, name: &member.name, left: limits.header, limit: limits.header };
        let mut archive = Archive::new(source, &member.name);
        let augment = stem == "header-augment.tar";
        let header = HeaderReader { archive: &mut archive, version, augment, limits, json: 0 }.read()?;
        archive.finish()?;
        Ok(header)
    });
    let trailing = io::copy(&mut stored, &mut io::sink())?;
    // A damaged member is reported as such, not as the syntax error that the damage may have led to.
    compare(&member.name, expected, stored.hasher.finish())?;
    match parsed {
        Ok(_) if trailing > 0 => Err(Error::Trailing { after: member.name.clone() }),
        parsed => parsed,
    }
}

/// Reads the members of a header in their order.
struct HeaderReader<'a, R> {
    archive: &'a mut Archive<R>,
    version: u64,
    augment: bool,
    limits: &'a Limits,
    /// Bytes of JSON that were parsed into memory; together they stay below the limit of meta-data.
    json: u64,
}

impl<R: Read> HeaderReader<'_, R> {
    fn read(&mut self) -> Result<Header, Error> {
        let member = self.next("header-info")?;
        if member.name != "header-info" {
            return Err(self.order(&member.name, "header-info"));
        }
        let bytes = self.read_json(&member)?;
        let info = json::header_info(self.version, "header-info", &bytes)?;
        if info.payload_types.len() > self.limits.files {
            let (limit, found) = (self.limits.files as u64, info.payload_types.len() as u64);
            return Err(Error::Limit { what: "the number of payloads".to_owned(), limit, found });
        }
        let (scripts, mut member) = self.read_scripts()?;
        let mut payloads = Vec::new();
        for (index, payload_type) in info.payload_types.iter().enumerate() {
            let (payload, next) = self.read_payload(index, payload_type, member)?;
            payloads.push(payload);
            member = next;
        }
        if let Some(member) = member {
            return Err(self.order(&member.name, "the end"));
        }
        check_empty_payloads(&payloads, &scripts)?;
        let HeaderInfo { artifact_name, artifact_group, depends, .. } = info;
        let augmented = self.augment;
        Ok(Header {
            version: self.version,
            artifact_name,
            artifact_group,
            depends,
            scripts,
            payloads,
            augmented,
        })
    }

    /// All scripts, and the member that follows them.
    fn read_scripts(&mut self) -> Result<(Vec<Script>, Option<Member>), Error> {
        let mut scripts: Vec<Script> = Vec::new();
        while let Some(member) = self.archive.next()? {
            let Some(name) = member.name.strip_prefix("scripts/").filter(|_| !self.augment) else {
                return Ok((scripts, Some(member)));
            };
            check_script_name(name)?;
            if scripts.iter().any(|script| script.name == name) {
                return Err(Error::Duplicate { file: "header.tar".to_owned(), name: member.name });
            }
            if scripts.len() == self.limits.files {
                let limit = self.limits.files as u64;
                return Err(Error::Limit {
                    what: "the number of state scripts".to_owned(),
                    limit,
                    found: limit + 1,
                });
            }
            let bytes = read_member(self.archive, &member, self.limits.script)?;
            scripts.push(Script { name: name.to_owned(), bytes });
        }
        Ok((scripts, None))
    }

    /// The members of one payload, of which `member` is the first, and the member that follows them.
    fn read_payload(
        &mut self,
        index: usize,
        payload_type: &Option<String>,
        mut member: Option<Member>,
    ) -> Result<(PayloadHeader, Option<Member>), Error> {
        let path = |file: &str| format!("headers/{index:04}/{file}");
        let mut files = Vec::new();
        if self.version == 2 {
            let found = self.require(member, &path("files"))?;
            files = json::files(&found.name, &self.read_json(&found)?)?;
            member = self.archive.next()?;
        }
        let found = self.require(member, &path("type-info"))?;
        let mut payload = json::type_info(&found.name, &self.read_json(&found)?, payload_type)?;
        payload.files = files;
        member = self.archive.next()?;
        if let Some(found) = member.as_ref().filter(|member| member.name == path("meta-data")) {
            payload.meta_data = read_member(self.archive, found, self.limits.meta_data)?;
            if !payload.meta_data.is_empty() {
                json::check_meta_data(&found.name, &payload.meta_data)?;
            }
            member = self.archive.next()?;
        }
        Ok((payload, member))
    }

    fn next(&mut self, expected: &str) -> Result<Member, Error> {
        let member = self.archive.next()?;
        member.ok_or_else(|| self.order("the end", expected))
    }

    fn require(&self, member: Option<Member>, expected: &str) -> Result<Member, Error> {
        match member {
            Some(member) if member.name == expected => Ok(member),
            Some(member) => Err(self.order(&member.name, expected)),
            None => Err(self.order("the end", expected)),
        }
    }

    fn read_json(&mut self, member: &Member) -> Result<Vec<u8>, Error> {
        let left = self.limits.meta_data.saturating_sub(self.json);
        self.json += member.size.min(left);
        read_member(self.archive, member, left)
    }

    fn order(&self, found: &str, expected: &str) -> Error {
        let archive = if self.augment { "header-augment.tar" } else { "header.tar" };
        Error::Order { archive: archive.to_owned(), found: found.to_owned(), expected: expected.to_owned() }
    }
}

/// An empty payload sets provides and does nothing else (artifact format: bootstrap artifact).
fn check_empty_payloads(payloads: &[PayloadHeader], scripts: &[Script]) -> Result<(), Error> {
    for (index, payload) in payloads.iter().enumerate().filter(|(_, payload)| payload.payload_type.is_none())
    {
        if !payload.meta_data.is_empty() {
            return Err(Error::json(
                &format!("headers/{index:04}/meta-data"),
                "an empty payload cannot have meta-data",
            ));
        }
        if let Some(script) = scripts.first() {
            return Err(Error::json(
                &script.name,
                "an artifact with an empty payload cannot have state scripts",
            ));
        }
    }
    Ok(())
}

/// Hashes what is read through it.
struct Hashed<R> {
    source: R,
    hasher: Hasher,
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What was filled is still there: no byte is read for this.
        if let Ok(bytes) = self.source.fill_buf() {
            self.hasher.update(&bytes[..count]);
        }
        self.source.consume(count);
    }
}

/// Refuses to give more than a limit: compressed data may claim any size.
struct Bounded<'a, R> {
    source: R,
    name: &'a str,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| Error::Limit {
            what: format!("the decompressed size of {}", self.name),
            limit: self.limit,
            found: self.limit + count as u64,
        })?;
        Ok(count)
    }
}
