//! Replaces the signature of an artifact and leaves every other byte as it is.
use std::io::{self, BufReader, Read, Write};

use crate::{
    archive::{self, Archive, Member},
    reader::read_member,
    Error, Limits, Signature, Signer,
};

/// Copies the artifact with a new signature (artifact format: manifest.sig). `source` has to be known to be valid: run a
/// [`crate::Reader`] over it first.
pub fn resign(
    source: impl Read,
    signer: &dyn Signer,
    limits: &Limits,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut outer = Archive::new(BufReader::new(source), "the artifact");
    while let Some(member) = outer.next()? {
        match member.name.as_str() {
            "manifest.sig" => continue,
            "manifest" => {
                let manifest = read_member(&mut outer, &member, limits.manifest)?;
                write_member(&member, &mut manifest.as_slice(), out)?;
                let signature = Signature::make(signer, &manifest)?;
                let size = signature.len() as u64;
                let member = Member { name: "manifest.sig".to_owned(), size, ..member };
                write_member(&member, &mut signature.as_bytes(), out)?;
            }
            _ => write_member(&member, &mut outer, out)?,
        }
    }
    archive::write_end(out)?;
    Ok(out.flush()?)
}

fn write_member(member: &Member, content: &mut dyn Read, out: &mut dyn Write) -> Result<(), Error> {
    member.write(out)?;
    io::copy(content, out)?;
    Ok(archive::write_padding(out, member.size)?)
}
