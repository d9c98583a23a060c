//! Whatever an artifact claims, memory stays bounded, and the error names what passed which limit.
#[path = "common/craft.rs"]
#[allow(dead_code)]
mod craft;

use std::io::Write;

use craft::{gzip, Craft, Member};
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use rota_artifact::{Error, Limits, Reader};

fn validate(craft: &Craft, limits: &Limits) -> Result<(), Error> {
    let bytes = craft.bytes();
    Reader::new(bytes.as_slice(), limits).and_then(|reader| reader.validate().map(drop))
}

/// The limit that was passed, by what the error says of it.
#[track_caller]
fn passes_limit(craft: &Craft, limits: Limits, named: &str) {
    match validate(craft, &limits) {
        Err(Error::Limit { what, .. }) => assert!(what.contains(named), "{what}"),
        other => panic!("{named}: {other:?}"),
    }
}

fn with_header(members: Vec<Member>) -> Craft {
    let mut craft = Craft::default();
    craft.header.extend(members);
    craft
}

#[test]
fn each_limit_is_kept() {
    let craft = Craft::default();
    validate(&craft, &Limits::default()).unwrap();
    passes_limit(&craft, Limits { manifest: 100, ..Limits::default() }, "the size of manifest");
    passes_limit(&craft, Limits { header: 1000, ..Limits::default() }, "the size of header.tar");
    passes_limit(&craft, Limits { meta_data: 50, ..Limits::default() }, "the size of header-info");
    let meta_data = with_header(vec![("headers/0000/meta-data", b"{\"a\": \"many bytes\"}".to_vec())]);
    validate(&meta_data, &Limits::default()).unwrap();
    let script = vec![("scripts/ArtifactInstall_Enter_00", vec![b'#'; 2000])];
    let mut scripts = Craft::default();
    scripts.header.splice(1..1, script);
    passes_limit(&scripts, Limits { script: 1999, ..Limits::default() }, "the size of scripts/");
    let files = Craft { data: vec![("a", vec![]), ("b", vec![]), ("c", vec![])], ..Craft::default() };
    passes_limit(&files, Limits { files: 2, ..Limits::default() }, "number of files");
}

#[test]
fn json_is_bounded_over_all_members() {
    let member = format!("{{\"type\":\"mod\",\"x\":\"{}\"}}", "x".repeat(600));
    let limits = Limits { meta_data: 700, ..Limits::default() };
    passes_limit(&Craft::default().type_info(&member), limits, "the size of headers/0000/type-info");
}

#[test]
fn a_header_that_decompresses_without_end_is_stopped() {
    let mut bomb = craft::tar(&Craft::default().header);
    bomb.resize(bomb.len() + (80 << 20), 0);
    let bomb = gzip(&bomb);
    assert!(bomb.len() < 1 << 20);
    let craft = Craft { header_name: "header.tar.gz", header_bytes: Some(bomb), ..Craft::default() };
    assert!(matches!(validate(&craft, &Limits::default()), Err(Error::Trailing { .. })));
    let zeros = vec![("headers/0000/meta-data", vec![b' '; 80 << 20])];
    let bomb = gzip(&craft::tar(&with_header(zeros).header));
    let craft = Craft { header_name: "header.tar.gz", header_bytes: Some(bomb), ..Craft::default() };
    passes_limit(
        &craft,
        Limits { meta_data: 1 << 30, ..Limits::default() },
        "decompressed size of header.tar.gz",
    );
}

fn xz(bytes: &[u8], dictionary: u32) -> Vec<u8> {
    let mut filters = Filters::new();
    filters.lzma2(LzmaOptions::new_preset(1).unwrap().dict_size(dictionary));
    let stream = Stream::new_stream_encoder(&filters, Check::Crc64).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(log).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_decoder_that_needs_too_much_names_the_need() {
    let archive = craft::tar(&Craft::default().data);
    let payload = |name, bytes| Craft { data_name: name, data_bytes: Some(bytes), ..Craft::default() };
    let (xz_name, zstd_name) = ("data/0000.tar.xz", "data/0000.tar.zst");
    for (name, fits, too_large, need) in [
        (xz_name, xz(&archive, 64 << 20), xz(&archive, 96 << 20), 96 << 20),
        (zstd_name, zstd(&archive, 26), zstd(&archive, 27), 128 << 20),
    ] {
        validate(&payload(name, fits), &Limits::default()).unwrap();
        match validate(&payload(name, too_large), &Limits::default()) {
            Err(error @ Error::DecoderMemory { needed, limit, .. }) => {
                assert_eq!((needed, limit), (Some(need), 64 << 20));
                assert!(error.to_string().contains(&format!("needs {need} bytes of memory")));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    // A later frame asks for more than the first did.
    let later = [zstd(&archive[..512], 20), zstd(&archive[512..], 27)].concat();
    let refused = validate(&payload(zstd_name, later), &Limits::default());
    assert!(matches!(refused, Err(Error::DecoderMemory { needed: None, .. })), "{refused:?}");
}

#[test]
fn concatenated_streams_are_one() {
    let archive = craft::tar(&Craft::default().data);
    let (first, second) = archive.split_at(700);
    for (name, bytes) in [
        ("data/0000.tar.gz", [gzip(first), gzip(second)].concat()),
        ("data/0000.tar.xz", [xz(first, 1 << 20), xz(second, 1 << 20)].concat()),
        ("data/0000.tar.zst", [zstd(first, 20), zstd(second, 20)].concat()),
    ] {
        validate(&Craft { data_name: name, data_bytes: Some(bytes), ..Craft::default() }, &Limits::default())
            .unwrap();
    }
}
