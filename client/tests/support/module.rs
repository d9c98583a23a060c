//! A payload type `spy` whose module notes its calls and does at each what the test wants, and artifacts of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rota_artifact::{Compression, Data, Depends, Header, Input, PayloadHeader, Script, Signer};

use super::artifact::{write, DEVICE_TYPE};
use super::machine::Machine;
use super::server::Server;

/// Reads all files as the protocol has it, into `tmp/`.
pub const STREAMING: &str = r#"
while next=$(cat stream-next); [ -n "$next" ]; do
    file=${next%% *}
    echo "$next" >>tmp/asked
    cat "$file" >"tmp/${file#streams/}"
done
"#;

/// What the artifacts of `deployed` hold.
pub const FILES: &[(&str, &[u8])] = &[("one", b"first\n"), ("none", b""), ("big", &[b'x'; 300_000])];
/// The calls when all goes well.
pub const SUCCESS: &[&str] = &[
    "ProvidePayloadFileSizes",
    "Download",
    "ArtifactInstall",
    "NeedsArtifactReboot",
    "ArtifactCommit",
    "Cleanup",
];

/// A server with a deployment of `rel-2` of type `spy`, and a machine with that module.
pub fn deployed() -> (Server, Machine, Spy) {
    let server = Server::start();
    let machine = Machine::new(&server);
    let spy = Spy::install(&machine.paths.lib, "spy");
    server.deploy("rel-2", artifact("rel-2", "spy", FILES));
    (server, machine, spy)
}

/// Where the module works.
pub fn tree(machine: &Machine) -> PathBuf {
    machine.paths.data.join("modules/v3/payloads/0000/tree")
}

/// The module, and what it noted.
pub struct Spy {
    folder: PathBuf,
}

impl Spy {
    /// Puts the module `name` into the folder `modules/v3` below `lib`.
    pub fn install(lib: &Path, name: &str) -> Spy {
        let folder = lib.join("spy");
        let spy = Spy { folder };
        fs::create_dir_all(spy.folder.join("on")).unwrap();
        let here = spy.folder.display();
        program(
            &lib.join("modules/v3").join(name),
            &format!(
                "#!/bin/sh\nhere={here}\necho \"$1\" >>$here/calls\n[ ! -e $here/on/$1 ] || . $here/on/$1\nexit 0\n"
            ),
        );
        spy
    }

    /// What it does at this call, in lines of shell that are read with `.`; without any it exits with 0.
    pub fn on(&self, call: &str, lines: &str) -> &Spy {
        fs::write(self.folder.join("on").join(call), format!("{lines}\n")).unwrap();
        self
    }

    /// The calls since the last time.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.folder.join("calls"));
        calls.lines().map(str::to_owned).collect()
    }

    /// A file of the test, for what the module does.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Writes a program.
pub fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// An artifact with these payload files.
pub fn artifact(name: &str, payload_type: &str, files: &[(&str, &'static [u8])]) -> Vec<u8> {
    signed_artifact(Vec::new(), name, payload_type, files, None)
}

/// The same with state scripts.
pub fn artifact_with(
    scripts: Vec<Script>,
    name: &str,
    payload_type: &str,
    files: &[(&str, &'static [u8])],
) -> Vec<u8> {
    signed_artifact(scripts, name, payload_type, files, None)
}

/// The same, signed.
pub fn signed_artifact(
    scripts: Vec<Script>,
    name: &str,
    payload_type: &str,
    files: &[(&str, &'static [u8])],
    signer: Option<&dyn Signer>,
) -> Vec<u8> {
    let payload = PayloadHeader {
        payload_type: Some(payload_type.to_owned()),
        provides: BTreeMap::from([(format!("rootfs-image.{payload_type}.version"), name.to_owned())]),
        clears: Some(vec![format!("rootfs-image.{payload_type}.*")]),
        meta_data: br#"{"number":1,"text":"two"}"#.to_vec(),
        ..PayloadHeader::default()
    };
    let header = Header {
        version: 3,
        artifact_name: name.to_owned(),
        artifact_group: Some("beta".into()),
        depends: Depends { device_types: vec![DEVICE_TYPE.to_owned()], ..Depends::default() },
        scripts,
        payloads: vec![payload],
        augmented: false,
    };
    let input = |(name, content): &(&str, &'static [u8])| {
        let content = *content;
        let open = Box::new(move || -> io::Result<Box<dyn Read>> { Ok(Box::new(content)) });
        Input { name: (*name).to_owned(), size: content.len() as u64, mode: 0o644, modified: 0, open }
    };
    let data = vec![Data::Files(files.iter().map(input).collect())];
    write(header, data, Compression::None, signer)
}
