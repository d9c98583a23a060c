//! The mutation matrix: broken artifacts, what Debian's mender-artifact says of them, and what we say. We are never more
//! lenient; where we are stricter, the table has the reason.
mod common;

use base64::{engine::general_purpose::STANDARD, Engine as _};
use common::{
    craft::{append, gzip, line, tar, Craft},
    Folder,
};
use rota_artifact::{ecdsa_der_to_raw, Error, Limits, Reader, VerifyKey};

/// One line of the table.
struct Mutation {
    name: &'static str,
    bytes: Vec<u8>,
    mender: Verdict,
    /// `Ok`, or the kind of our error.
    ours: &'static str,
    /// Why we differ; empty where we do not.
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Accepts,
    Refuses,
}
use Verdict::{Accepts, Refuses};

/// A mutation that both see alike.
fn same(name: &'static str, ours: &'static str, bytes: Vec<u8>) -> Mutation {
    let mender = if ours == "Ok" { Accepts } else { Refuses };
    Mutation { name, bytes, mender, ours, reason: "" }
}

/// A mutation that only we refuse.
fn stricter(name: &'static str, ours: &'static str, reason: &'static str, bytes: Vec<u8>) -> Mutation {
    Mutation { name, bytes, mender: Accepts, ours, reason }
}

fn craft(change: impl FnOnce(&mut Craft)) -> Vec<u8> {
    let mut craft = Craft::default();
    change(&mut craft);
    craft.bytes()
}

/// The artifact with its manifest's text changed.
fn manifest(change: impl FnOnce(String) -> String) -> Vec<u8> {
    craft(|craft| craft.manifest = Some(change(craft.fitting_manifest()).into_bytes()))
}

/// The artifact with its outer members changed.
fn members(change: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Vec<u8> {
    let mut members = Craft::default().members();
    change(&mut members);
    tar(&members)
}

fn info(json: &str) -> Vec<u8> {
    Craft::default().header_info(json).bytes()
}

fn type_info(json: &str) -> Vec<u8> {
    Craft::default().type_info(json).bytes()
}

/// The header with one more member at the end.
fn more_header(name: &'static str, bytes: &[u8]) -> Vec<u8> {
    craft(|craft| craft.header.push((name, bytes.to_vec())))
}

fn script(name: &'static str) -> Vec<u8> {
    craft(|craft| craft.header.insert(1, (name, b"#!/bin/sh\n".to_vec())))
}

fn data(files: Vec<(&'static str, &'static str)>) -> Vec<u8> {
    craft(|craft| {
        craft.data = files.into_iter().map(|(name, text)| (name, text.as_bytes().to_vec())).collect()
    })
}

fn container() -> Vec<Mutation> {
    let whole = Craft::default().bytes();
    let typed = |flag: u8| {
        let mut out = Vec::new();
        Craft::default().members().iter().for_each(|(name, bytes)| append(&mut out, name, b'0', bytes));
        append(&mut out, "more", flag, b"");
        out.extend([0; 1024]);
        out
    };
    let mut damaged = whole.clone();
    damaged[148] ^= 1;
    // Binary, with a digit above those that fit into 64 bits: readers that drop it see another size.
    let mut huge = whole.clone();
    let size = whole[124..135].iter().fold(0, |size, digit| size << 3 | u64::from(digit - b'0'));
    huge[124..128].copy_from_slice(&[0x80, 0, 0, 1]);
    huge[128..136].copy_from_slice(&size.to_be_bytes());
    huge[148..156].fill(b' ');
    let sum: u32 = huge[..512].iter().map(|byte| u32::from(*byte)).sum();
    huge[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    vec![
        same("untouched", "Ok", whole.clone()),
        same("empty file", "Truncated", Vec::new()),
        same("not a tar", "Tar", vec![b'x'; 4096]),
        same("truncated in the header", "Truncated", whole[..2200].to_vec()),
        same("truncated in the payload", "Truncated", whole[..whole.len() - 2048].to_vec()),
        stricter(
            "no end of archive",
            "Truncated",
            "a cut-off artifact must not pass",
            whole[..whole.len() - 1024].to_vec(),
        ),
        stricter(
            "data after the end",
            "Trailing",
            "unchecked bytes could be taken for something",
            [&whole[..], b"junk"].concat(),
        ),
        same("zeros after the end", "Ok", [&whole[..], &[0; 9216]].concat()),
        same("damaged tar header", "Tar", damaged),
        same("size beyond 64 bits", "Tar", huge),
        same("header before manifest", "Order", members(|members| members.swap(1, 2))),
        same("version last", "Order", members(|members| members.rotate_left(1))),
        same("no manifest", "Order", members(|members| drop(members.remove(1)))),
        same("no header", "Order", members(|members| drop(members.remove(2)))),
        same("no data", "Order", members(|members| drop(members.remove(3)))),
        same(
            "unknown member after version",
            "Order",
            members(|members| members.insert(1, ("junk".into(), vec![]))),
        ),
        same("unknown member at the end", "Order", members(|members| members.push(("junk".into(), vec![])))),
        stricter(
            "one payload too many",
            "Order",
            "no header says what it is",
            members(|members| members.push(("data/0001.tar".into(), vec![0; 1024]))),
        ),
        same("payload with wrong number", "Order", members(|members| members[3].0 = "data/0001.tar".into())),
        same("folder at the end", "TarMember", typed(b'5')),
        same("symbolic link at the end", "TarMember", typed(b'2')),
        same("unknown compression", "Compression", craft(|craft| craft.data_name = "data/0000.tar.bz2")),
    ]
}

fn version() -> Vec<Mutation> {
    let version = |json: &str| craft(|craft| craft.version = json.as_bytes().to_vec());
    vec![
        same("version with line end", "Ok", version("{\"format\":\"mender\",\"version\":3}\n")),
        same("version with unknown field", "Json", version(r#"{"format":"mender","version":3,"x":1}"#)),
        same("version is no JSON", "Json", version("3")),
        same("version 1", "Version", version(r#"{"format":"mender","version":1}"#)),
        same("version 4", "Version", version(r#"{"format":"mender","version":4}"#)),
        stricter(
            "other format",
            "Format",
            "the field is there to be checked",
            version(r#"{"format":"other","version":3}"#),
        ),
        stricter(
            "text after version's JSON",
            "Json",
            "it would be signed, and unread",
            version(r#"{"format":"mender","version":3} x"#),
        ),
    ]
}

fn manifests() -> Vec<Mutation> {
    let other = "0".repeat(64);
    let replaced = |name: &'static str| {
        let other = other.clone();
        manifest(move |text| {
            let lines = text.lines().map(|line| {
                if line.ends_with(name) {
                    format!("{other}  {name}\n")
                } else {
                    format!("{line}\n")
                }
            });
            lines.collect()
        })
    };
    let without = |name: &'static str| {
        manifest(move |text| {
            text.lines().filter(|line| !line.ends_with(name)).map(|line| format!("{line}\n")).collect()
        })
    };
    vec![
        same("wrong checksum of a file", "Checksum", replaced("data/0000/file1")),
        same("wrong checksum of the header", "Checksum", replaced("header.tar")),
        same("wrong checksum of version", "Checksum", replaced("version")),
        same("file not listed", "Unlisted", without("file1")),
        same("header not listed", "Unlisted", without("header.tar")),
        same("version not listed", "Unlisted", without("version")),
        same("listed file is missing", "Missing", manifest(|text| line(b"", "data/0000/zzz") + &text)),
        same("listed file of no payload", "Missing", manifest(|text| line(b"", "data/0001/file1") + &text)),
        same(
            "listed twice",
            "Duplicate",
            manifest(|text| text.clone() + text.lines().next().unwrap() + "\n"),
        ),
        same("upper-case checksum", "Manifest", manifest(|text| text[..64].to_uppercase() + &text[64..])),
        same("one space", "Manifest", manifest(|text| text.replace("  ", " "))),
        same("empty manifest", "Unlisted", manifest(|_| String::new())),
        same("last line without end", "Manifest", manifest(|text| text.trim_end().to_owned())),
        same(
            "path with a folder",
            "FileName",
            manifest(|text| text.replace("data/0000/file1", "data/0000/d/file1")),
        ),
        stricter("empty line", "Manifest", "the grammar has none", manifest(|text| text + "\n")),
        same("CR before the line end", "Manifest", manifest(|text| text.replace('\n', "\r\n"))),
        same("short checksum", "Manifest", manifest(|text| text[1..].to_owned())),
    ]
}

fn header_infos() -> Vec<Mutation> {
    const PROVIDES: &str = r#""artifact_provides":{"artifact_name":"rel-1"}"#;
    const DEPENDS: &str = r#""artifact_depends":{"device_type":["devA"]}"#;
    const PAYLOADS: &str = r#""payloads":[{"type":"mod"}]"#;
    let object = |fields: &[&str]| info(&format!("{{{}}}", fields.join(",")));
    let named = |name: &str| {
        object(&[PAYLOADS, &format!(r#""artifact_provides":{{"artifact_name":"{name}"}}"#), DEPENDS])
    };
    vec![
        same("header-info with unknown field", "Json", object(&[PAYLOADS, PROVIDES, DEPENDS, r#""x":1"#])),
        same("header-info is no JSON", "Json", info("x")),
        same("header-info is a list", "Json", info("[]")),
        stricter(
            "payload type with a path",
            "Json",
            "an update module is run by this name",
            object(&[r#""payloads":[{"type":"../mod"}]"#, PROVIDES, DEPENDS]),
        ),
        same("no payloads", "Json", object(&[PROVIDES, DEPENDS])),
        same("empty payloads", "Json", object(&[r#""payloads":[]"#, PROVIDES, DEPENDS])),
        stricter(
            "more payloads than headers",
            "Order",
            "mender-artifact read panics over it",
            object(&[r#""payloads":[{"type":"mod"},{"type":"mod"}]"#, PROVIDES, DEPENDS]),
        ),
        same(
            "no device type",
            "Json",
            object(&[PAYLOADS, PROVIDES, r#""artifact_depends":{"device_type":[]}"#]),
        ),
        stricter("no artifact_depends", "Json", "Mender's client requires it", object(&[PAYLOADS, PROVIDES])),
        stricter("no artifact_provides", "Json", "without it there is no name", object(&[PAYLOADS, DEPENDS])),
        stricter("empty artifact name", "Json", "no release can be named so", named("")),
        stricter("name longer than 256 bytes", "Json", "no data base holds it", named(&"x".repeat(257))),
        stricter("name that cannot be printed", "Json", "it would spoil logs", named(r"a\u0007")),
        stricter(
            "text after header-info's JSON",
            "Json",
            "it would be signed, and unread",
            info(&format!("{{{PAYLOADS},{PROVIDES},{DEPENDS}}} x")),
        ),
        stricter("field twice", "Json", "which one holds?", object(&[PAYLOADS, PROVIDES, PROVIDES, DEPENDS])),
        stricter(
            "empty device type",
            "Json",
            "no device has it",
            object(&[PAYLOADS, PROVIDES, r#""artifact_depends":{"device_type":[""]}"#]),
        ),
        same(
            "wrong type of a field",
            "Json",
            object(&[PAYLOADS, PROVIDES, r#""artifact_depends":{"device_type":"devA"}"#]),
        ),
    ]
}

fn type_infos() -> Vec<Mutation> {
    vec![
        same("type-info is no JSON", "Json", type_info("x")),
        same("type-info with unknown field", "Ok", type_info(r#"{"type":"mod","x":1}"#)),
        same("type-info without lists", "Ok", type_info(r#"{"type":"mod"}"#)),
        stricter(
            "type-info of another type",
            "Json",
            "later mender-artifact refuse it, too",
            type_info(r#"{"type":"other"}"#),
        ),
        same("type-info with empty type", "Ok", type_info(r#"{"type":""}"#)),
        same("provides with a list", "Json", type_info(r#"{"type":"mod","artifact_provides":{"a":["b"]}}"#)),
        same("depends with a list", "Ok", type_info(r#"{"type":"mod","artifact_depends":{"a":["b","c"]}}"#)),
        same("depends with a number", "Json", type_info(r#"{"type":"mod","artifact_depends":{"a":1}}"#)),
        same("clears with null", "Ok", type_info(r#"{"type":"mod","clears_artifact_provides":null}"#)),
        same("clears with a string", "Json", type_info(r#"{"type":"mod","clears_artifact_provides":"*"}"#)),
        stricter(
            "name among the payload's provides",
            "Json",
            "two places could name two releases",
            type_info(r#"{"type":"mod","artifact_provides":{"artifact_name":"x"}}"#),
        ),
        stricter(
            "device type among the payload's depends",
            "Json",
            "two places could name two device types",
            type_info(r#"{"type":"mod","artifact_depends":{"device_type":"x"}}"#),
        ),
        same("no type-info", "Order", craft(|craft| drop(craft.header.pop()))),
        same("header-info missing", "Order", craft(|craft| drop(craft.header.remove(0)))),
        same(
            "files in version 3",
            "Order",
            craft(|craft| craft.header.insert(1, ("headers/0000/files", b"{\"files\":[]}".to_vec()))),
        ),
        same("unknown member in the header", "Order", more_header("headers/0000/junk", b"")),
        same(
            "header of a payload too many",
            "Order",
            more_header("headers/0001/type-info", br#"{"type":"mod"}"#),
        ),
        same("meta-data", "Ok", more_header("headers/0000/meta-data", br#"{"a":[1,{"b":null}]}"#)),
        same("empty meta-data", "Ok", more_header("headers/0000/meta-data", b"")),
        same("meta-data is a list", "Json", more_header("headers/0000/meta-data", b"[]")),
        same("meta-data is no JSON", "Json", more_header("headers/0000/meta-data", b"{")),
        stricter(
            "text after meta-data's JSON",
            "Json",
            "it would be signed, and unread",
            more_header("headers/0000/meta-data", b"{} x"),
        ),
    ]
}

fn scripts() -> Vec<Mutation> {
    const CLIENT: &str = "Mender's client refuses it";
    vec![
        same("script", "Ok", script("scripts/ArtifactInstall_Enter_00_a.b-c")),
        same("script without text", "Ok", script("scripts/ArtifactRollbackReboot_Error_99")),
        stricter("script of no state", "ScriptName", CLIENT, script("scripts/junk")),
        stricter(
            "script of a state of the device",
            "ScriptName",
            CLIENT,
            script("scripts/Download_Enter_00"),
        ),
        stricter("script with one digit", "ScriptName", CLIENT, script("scripts/ArtifactInstall_Enter_0")),
        stricter("script with empty text", "ScriptName", CLIENT, script("scripts/ArtifactInstall_Enter_00_")),
        stricter(
            "script twice",
            "Duplicate",
            "one would overwrite the other",
            craft(|craft| {
                let script = ("scripts/ArtifactInstall_Enter_00", b"x".to_vec());
                craft.header.splice(1..1, [script.clone(), script]);
            }),
        ),
        same("script in a folder", "ScriptName", script("scripts/../ArtifactInstall_Enter_00")),
    ]
}

fn payloads() -> Vec<Mutation> {
    let archive = tar(&Craft::default().data);
    let packed = |bytes: Vec<u8>| {
        craft(|craft| (craft.data_name, craft.data_bytes) = ("data/0000.tar.gz", Some(bytes)))
    };
    let whole = gzip(&archive);
    let mut damaged = whole.clone();
    let crc = damaged.len() - 8;
    damaged[crc] ^= 1;
    let header = |name, bytes| craft(|craft| (craft.header_name, craft.header_bytes) = (name, Some(bytes)));
    let plain_header = tar(&Craft::default().header);
    // A header that extends the next one: of PAX (this file, or all), of GNU (name, link).
    let extended = |flag: u8, text: &[u8]| {
        let mut data = Vec::new();
        append(&mut data, "extension", flag, text);
        append(&mut data, "file1", b'0', b"hello\n");
        data.extend([0; 1024]);
        craft(|craft| craft.data_bytes = Some(data))
    };
    const KEPT: &str = "it would have to be kept in memory";
    vec![
        stricter("extension header x", "TarMember", KEPT, extended(b'x', b"20 mtime=1700000000\n")),
        same("extension header g", "TarMember", extended(b'g', b"20 mtime=1700000000\n")),
        stricter("extension header L", "TarMember", KEPT, extended(b'L', b"file1\0")),
        stricter("extension header K", "TarMember", KEPT, extended(b'K', b"file1\0")),
        same("sparse file of GNU", "TarMember", extended(b'S', b"")),
        same("two files", "Ok", data(vec![("a", "1"), ("b", "2")])),
        same("no file", "Ok", data(vec![])),
        same("empty file in the payload", "Ok", data(vec![("a", "")])),
        stricter(
            "file twice",
            "Duplicate",
            "one would overwrite the other",
            craft(|craft| {
                craft.manifest = Some(craft.fitting_manifest().into_bytes());
                craft.data.push(("file1", b"hello\n".to_vec()));
            }),
        ),
        same("file in a folder", "FileName", data(vec![("d/f", "1")])),
        same("file named ..", "FileName", data(vec![("..", "1")])),
        same("file with a forbidden character", "FileName", data(vec![("a+b", "1")])),
        same("payload in gzip", "Ok", packed(whole.clone())),
        same(
            "payload in two gzip members",
            "Ok",
            packed([gzip(&archive[..700]), gzip(&archive[700..])].concat()),
        ),
        stricter("wrong gzip checksum", "Compressed", "it says that the data are damaged", packed(damaged)),
        stricter(
            "truncated gzip",
            "Compressed",
            "a cut-off payload must not pass",
            packed(whole[..whole.len() - 9].to_vec()),
        ),
        stricter(
            "junk after gzip",
            "Compressed",
            "unchecked bytes could be taken for something",
            packed([&whole[..], b"junk"].concat()),
        ),
        same("payload is no gzip", "Compressed", packed(archive.clone())),
        same("payload is no tar", "Truncated", craft(|craft| craft.data_bytes = Some(Vec::new()))),
        stricter(
            "payload without end",
            "Truncated",
            "a cut-off payload must not pass",
            craft(|craft| craft.data_bytes = Some(archive[..1024].to_vec())),
        ),
        same("header in gzip", "Ok", header("header.tar.gz", gzip(&plain_header))),
        same("header is no gzip", "Compressed", header("header.tar.gz", plain_header.clone())),
        same("header of unknown compression", "Compression", header("header.tar.bz2", plain_header)),
        same("header of 2^60 bytes", "Limit", {
            let mut bytes = Craft::default().bytes();
            let at = 4 * 512; // version, manifest, each with its header
            let mut header = tar::Header::new_ustar();
            header.as_mut_bytes().copy_from_slice(&bytes[at..at + 512]);
            header.set_size(1 << 60);
            header.set_cksum();
            bytes[at..at + 512].copy_from_slice(header.as_bytes());
            bytes
        }),
    ]
}

/// The name of the error's variant.
fn kind(result: &Result<(), Error>) -> String {
    match result {
        Ok(()) => "Ok".to_owned(),
        Err(error) => format!("{error:?}").split([' ', '{', '(']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn we_are_never_more_lenient_than_mender_artifact() {
    let folder = Folder::new("mutations");
    let tables = [container, version, manifests, header_infos, type_infos, scripts, payloads];
    let mut wrong = Vec::new();
    for Mutation { name, bytes, mender, ours, reason } in tables.into_iter().flat_map(|table| table()) {
        folder.file("m.mender", &bytes);
        let theirs = folder.sh("mender-artifact validate m.mender");
        let found = if theirs.out().contains("validated successfully") { Accepts } else { Refuses };
        let result =
            Reader::new(bytes.as_slice(), &Limits::default()).and_then(|reader| reader.validate().map(drop));
        if found != mender
            || kind(&result) != ours
            || (reason.is_empty() && (mender == Accepts) != (ours == "Ok"))
        {
            let said = result.map_or_else(|error| error.to_string(), |()| "fine".to_owned());
            wrong.push(format!("{name}: mender-artifact {found:?} ({}), we say {said}", theirs.err().trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Signatures over the manifest: what both say with the right key, and with another one.
#[test]
fn signatures_get_the_same_verdict() {
    let folder = Folder::new("mutated-signatures");
    ["rsa2048", "rsa3072", "p256"].iter().for_each(|kind| folder.key(kind));
    let craft = Craft::default();
    let manifest = folder.file("manifest", craft.fitting_manifest());
    let sign = |key: &str| {
        let manifest = manifest.to_str().unwrap();
        folder.run("openssl", &["dgst", "-sha256", "-sign", key, "-out", "signature", manifest]).good();
        std::fs::read(folder.path().join("signature")).unwrap()
    };
    let encode = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
    let rsa = sign("rsa2048.pem");
    // mender-artifact takes DER of 70 to 72 bytes only, though shorter ones are as right; we take them all.
    let der = std::iter::repeat_with(|| sign("p256.pem")).find(|der| der.len() >= 70).unwrap();
    let raw = ecdsa_der_to_raw(&der).unwrap();
    let flipped: Vec<u8> =
        rsa.iter().enumerate().map(|(at, byte)| if at == 100 { byte ^ 1 } else { *byte }).collect();
    let cases: [(&str, Vec<u8>, &str, bool); 10] = [
        ("RSA", encode(&rsa), "rsa2048.pub", true),
        ("ECDSA, R and S", encode(&raw), "p256.pub", true),
        ("another key", encode(&rsa), "rsa3072.pub", false),
        ("a key of another kind", encode(&rsa), "p256.pub", false),
        ("a flipped bit", encode(&flipped), "rsa2048.pub", false),
        ("a short signature", encode(&rsa[1..]), "rsa2048.pub", false),
        ("empty", Vec::new(), "rsa2048.pub", false),
        ("no base64", b"!".repeat(344), "rsa2048.pub", false),
        ("no padding", encode(&rsa).strip_suffix(b"==").unwrap().to_vec(), "rsa2048.pub", false),
        ("R and S of zeros", encode(&[0; 64]), "p256.pub", false),
    ];
    let verdicts = |signature: Vec<u8>, key: &str| {
        let bytes = Craft { signature: Some(signature), ..craft.clone() }.bytes();
        folder.file("s.mender", &bytes);
        let theirs = folder
            .run("mender-artifact", &["validate", "-k", key, "s.mender"])
            .out()
            .contains("validated successfully");
        let key = VerifyKey::from_pem(&std::fs::read(folder.path().join(key)).unwrap()).unwrap();
        let ours = Reader::new(bytes.as_slice(), &Limits::default())
            .and_then(|reader| reader.signature().unwrap().verify(&[key]).and(reader.validate().map(drop)));
        (theirs, ours.is_ok())
    };
    for (name, signature, key, expected) in cases {
        assert_eq!(verdicts(signature, key), (expected, expected), "{name}");
    }
    // DER is what hardware keys make: Mender's clients accept it, mender-artifact 3.9.0 does not.
    assert_eq!(verdicts(encode(&der), "p256.pub"), (false, true), "ECDSA, DER");
}

/// Mender's own client takes no line end in the signature's text, mender-artifact does: we are with the client.
#[test]
fn a_line_end_in_the_signature_is_refused() {
    let text = [STANDARD.encode([7; 256]), "\n".to_owned()].concat().into_bytes();
    let bytes = Craft { signature: Some(text), ..Craft::default() }.bytes();
    assert!(matches!(Reader::new(bytes.as_slice(), &Limits::default()), Err(Error::SignatureSyntax { .. })));
}
