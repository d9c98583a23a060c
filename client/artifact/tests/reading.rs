//! The reader's contract: what is handed out when, and what may be believed.
#[path = "common/craft.rs"]
#[allow(dead_code)]
mod craft;

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use craft::{line, tar, Craft};
use rota_artifact::{provides, Error, Limits, Reader};

fn reader(bytes: &[u8]) -> Result<Reader<&[u8]>, Error> {
    Reader::new(bytes, &Limits::default())
}

/// Two payloads, the second of an empty type.
fn two_payloads() -> Vec<u8> {
    let info = br#"{"payloads":[{"type":"a"},{"type":"b"}],"artifact_provides":{"artifact_name":"rel-1"},"artifact_depends":{"device_type":["devA"]}}"#;
    let header = tar(&[
        ("header-info", info.to_vec()),
        ("headers/0000/type-info", br#"{"type":"a","artifact_provides":{"x":"1"}}"#.to_vec()),
        (
            "headers/0001/type-info",
            br#"{"type":"b","artifact_provides":{"y":"2"},"clears_artifact_provides":[]}"#.to_vec(),
        ),
    ]);
    let version = Craft::default().version;
    let manifest = [
        line(b"one", "data/0000/file"),
        line(b"two", "data/0001/file"),
        line(&header, "header.tar"),
        line(&version, "version"),
    ];
    let data = |text: &str| tar(&[("file", text.as_bytes().to_vec())]);
    tar(&[
        ("version", version),
        ("manifest", manifest.concat().into_bytes()),
        ("header.tar", header),
        ("data/0000.tar", data("one")),
        ("data/0001.tar", data("two")),
    ])
}

#[test]
fn several_payloads_are_read_in_order() {
    let bytes = two_payloads();
    let mut reader = reader(&bytes).unwrap();
    let mut found = Vec::new();
    while let Some(mut payload) = reader.next_payload().unwrap() {
        let kind = payload.header().payload_type.clone().unwrap();
        while let Some(mut file) = payload.next_file().unwrap() {
            assert_eq!(file.size(), 3);
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            found.push((kind.clone(), file.name().to_owned(), text));
        }
        assert!(payload.next_file().unwrap().is_none(), "the end stays the end");
    }
    let expected = [("a", "one"), ("b", "two")]
        .map(|(kind, text)| (kind.to_owned(), "file".to_owned(), text.to_owned()));
    assert_eq!(found, expected);
    let summary = reader.finish().unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(summary.payloads.len(), 2);
}

#[test]
fn nothing_is_believed_before_its_end() {
    let bytes = two_payloads();
    assert!(matches!(reader(&bytes).unwrap().finish(), Err(Error::Unfinished { .. })));
    let mut skipped = reader(&bytes).unwrap();
    skipped.next_payload().unwrap().unwrap().next_file().unwrap();
    assert!(matches!(skipped.next_payload().map(drop), Err(Error::Unfinished { .. })));
    let mut left = reader(&bytes).unwrap();
    left.next_payload().unwrap();
    assert!(matches!(left.finish(), Err(Error::Unfinished { .. })));
}

#[test]
fn a_file_that_is_left_early_is_checked_all_the_same() {
    let data = vec![("file1", vec![7; 100_000]), ("file2", b"2".to_vec())];
    let craft = Craft { data, ..Craft::default() };
    let bytes = craft.bytes();
    let mut whole = reader(&bytes).unwrap();
    let mut payload = whole.next_payload().unwrap().unwrap();
    payload.next_file().unwrap().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert_eq!(payload.next_file().unwrap().unwrap().name(), "file2");
    assert!(payload.next_file().unwrap().is_none());
    whole.finish().unwrap();

    let mut damaged = bytes.clone();
    let at = damaged.windows(50).position(|window| window == [7; 50]).unwrap();
    damaged[at + 90_000] = 8;
    let mut broken = reader(&damaged).unwrap();
    let mut payload = broken.next_payload().unwrap().unwrap();
    payload.next_file().unwrap().unwrap().read_exact(&mut [0; 10]).unwrap();
    for _ in 0..2 {
        assert!(matches!(payload.next_file().map(drop), Err(Error::Checksum { .. })), "it stays wrong");
    }
    assert!(matches!(broken.next_payload().map(drop), Err(Error::Unfinished { .. })));
    assert!(matches!(broken.finish(), Err(Error::Unfinished { .. })));
}

#[test]
fn a_mismatch_is_an_io_error_that_carries_ours() {
    let mut craft = Craft::default();
    craft.manifest = Some(craft.fitting_manifest().into_bytes());
    craft.data[0].1 = b"hellO\n".to_vec();
    let bytes = craft.bytes();
    let mut reader = reader(&bytes).unwrap();
    let mut payload = reader.next_payload().unwrap().unwrap();
    let mut file = payload.next_file().unwrap().unwrap();
    let error = io::copy(&mut file, &mut io::sink()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    match Error::from_io(error) {
        Error::Checksum { name, .. } => assert_eq!(name, "data/0000/file1"),
        other => panic!("{other}"),
    }
}

/// Fails with an error of its own after some bytes.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the network is gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn an_error_of_the_source_stays_what_it_is() {
    let packed = craft::gzip(&craft::tar(&Craft::default().data));
    let craft = Craft { data_name: "data/0000.tar.gz", data_bytes: Some(packed), ..Craft::default() };
    let bytes = craft.bytes();
    for length in [0, 700, 2100, 3600, bytes.len() - 1400, bytes.len() - 600] {
        let result = Reader::new(Failing(&bytes[..length]), &Limits::default())
            .and_then(|reader| reader.validate().map(drop));
        match result {
            Err(Error::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{length}"),
            other => panic!("{length}: {other:?}"),
        }
    }
}

#[test]
fn a_device_has_to_fit() {
    let info = r#"{"payloads":[{"type":"mod"}],"artifact_provides":{"artifact_name":"rel-2"},
        "artifact_depends":{"device_type":["devA","devB"],"artifact_name":["rel-1"],"artifact_group":["g"]}}"#;
    let type_info = r#"{"type":"mod","artifact_depends":{"k":["v","w"]}}"#;
    let bytes = Craft::default().header_info(info).type_info(type_info).bytes();
    let reader = reader(&bytes).unwrap();
    let header = reader.header();
    let fitting = [("artifact_name", "rel-1"), ("artifact_group", "g"), ("k", "w")];
    let provides = |change: &[(&str, &str)]| -> BTreeMap<String, String> {
        fitting.iter().chain(change).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    header.matches("devB", &provides(&[])).unwrap();
    let said = header.matches("devC", &provides(&[])).unwrap_err().to_string();
    assert_eq!(said, r#"the artifact is for device type one of "devA", "devB", this is "devC""#);
    for (key, value) in [("artifact_name", "rel-0"), ("artifact_group", "h"), ("k", "x")] {
        match header.matches("devA", &provides(&[(key, value)])) {
            Err(Error::Depends { key: named, found, .. }) => {
                assert_eq!((named.as_str(), found.as_deref()), (key, Some(value)))
            }
            other => panic!("{key}: {other:?}"),
        }
    }
    let without = BTreeMap::from([("artifact_name".to_owned(), "rel-1".to_owned())]);
    assert!(matches!(header.matches("devA", &without), Err(Error::Depends { found: None, .. })));
}

#[test]
fn provides_after_an_installation() {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let old =
        map(&[("artifact_name", "rel-0"), ("artifact_group", "g"), ("a.x", "1"), ("a.y", "1"), ("b", "1")]);
    for (type_info, expected) in [
        (
            r#"{"type":"mod","artifact_provides":{"a.z":"2"},"clears_artifact_provides":["a.*"]}"#,
            map(&[("artifact_group", "g"), ("b", "1"), ("a.z", "2")]),
        ),
        (r#"{"type":"mod","clears_artifact_provides":["*"]}"#, map(&[])),
        (
            r#"{"type":"mod","clears_artifact_provides":[]}"#,
            map(&[("artifact_group", "g"), ("a.x", "1"), ("a.y", "1"), ("b", "1")]),
        ),
        (r#"{"type":"mod","artifact_provides":{"b":"2"}}"#, map(&[("artifact_group", "g"), ("b", "2")])),
        (r#"{"type":"mod","clears_artifact_provides":null}"#, map(&[("artifact_group", "g")])),
    ] {
        let bytes = Craft::default().type_info(type_info).bytes();
        let reader = reader(&bytes).unwrap();
        let mut expected = expected;
        expected.insert("artifact_name".to_owned(), "rel-1".to_owned());
        assert_eq!(
            provides::apply(&old, reader.header(), &reader.header().payloads),
            expected,
            "{type_info}"
        );
    }
}
