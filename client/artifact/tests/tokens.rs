//! Signing with what is not a key file: tokens by PKCS#11 (SoftHSM), and commands.
mod common;

use common::{Folder, Ran};

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A folder with a token that holds an RSA and a P-256 key, and their public keys as files.
struct Token(Folder);

impl Token {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        folder.file("softhsm2.conf", format!("directories.tokendir = {}\n", tokens.display()));
        let token = Self(folder);
        token.run("softhsm2-util", "--init-token --free --label bench --pin 1234 --so-pin 1234").good();
        for (number, kind) in ["rsa2048", "p256"].into_iter().enumerate() {
            token.0.key(kind);
            token
                .0
                .run(
                    "openssl",
                    &["pkcs8", "-topk8", "-nocrypt", "-in", &format!("{kind}.pem"), "-out", "key.p8"],
                )
                .good();
            let import = format!("--import key.p8 --token bench --label {kind} --id 0{number} --pin 1234");
            token.run("softhsm2-util", &import).good();
        }
        token
    }

    fn run(&self, program: &str, line: &str) -> Ran {
        let configuration = self.0.path().join("softhsm2.conf");
        let setting = format!("SOFTHSM2_CONF={}", configuration.display());
        let words: Vec<&str> =
            [setting.as_str(), program].into_iter().chain(line.split_whitespace()).collect();
        self.0.run("env", &words)
    }

    fn ours(&self, line: &str) -> Ran {
        self.run(OURS, line)
    }
}

#[test]
fn tokens_sign_and_verify() {
    let token = Token::new("tokens");
    token.0.file("pin", "1234\n");
    let write = "write module-image -T mod -n rel-1 -c devA -o a.mender";
    for (kind, id) in [("rsa2048", "%00"), ("p256", "%01")] {
        for uri in [
            format!("pkcs11:token=bench;object={kind}?module-path={MODULE}&pin-value=1234"),
            format!("pkcs11:id={id};type=private?module-path={MODULE}&pin-source=file:pin"),
        ] {
            token.ours(&format!("{write} --key-pkcs11 {uri}")).good();
            token.0.sh(&format!("mender-artifact validate -k {kind}.pub a.mender")).good();
            token.ours(&format!("validate -k {kind}.pub a.mender")).good();
            token.ours(&format!("validate --key-pkcs11 {uri} a.mender")).good();
        }
    }
    let other = format!("pkcs11:token=bench;object=rsa2048?module-path={MODULE}&pin-value=1234");
    token.ours(&format!("validate --key-pkcs11 {other} a.mender")).fails_with(4);
    token.ours(write).good();
    token.ours(&format!("validate --key-pkcs11 {other} a.mender")).fails_with(4);
}

#[test]
fn tokens_that_do_not_sign_say_why() {
    let token = Token::new("tokens-wrong");
    let module = format!("module-path={MODULE}");
    for (uri, words) in [
        (format!("pkcs11:token=bench;object=none?{module}&pin-value=1234"), "no key on the token"),
        (format!("pkcs11:token=other;object=p256?{module}&pin-value=1234"), "0 tokens fit"),
        (format!("pkcs11:token=bench;object=p256?{module}&pin-value=9"), "cannot log in"),
        (format!("pkcs11:token=bench;object=p256?{module}"), "pin-value"),
        (format!("pkcs11:token=bench?{module}&pin-value=1234"), "2 keys"),
        ("pkcs11:token=bench?module-path=/none.so".to_owned(), "cannot load"),
        ("token=bench".to_owned(), "pkcs11:"),
        ("pkcs11:token=%9".to_owned(), "percent"),
    ] {
        let ran =
            token.ours(&format!("write module-image -T mod -n rel-1 -c devA -o a.mender --key-pkcs11 {uri}"));
        assert!(ran.code() > 0 && ran.err().contains(words), "{uri}: {}", ran.err());
        assert!(!token.0.path().join("a.mender").exists());
    }
}

#[test]
fn commands_sign() {
    let folder = Folder::new("sign-command");
    ["rsa3072", "p256"].iter().for_each(|kind| folder.key(kind));
    let write = |key: &str, command: &str, more: &[&str]| {
        let base = [
            "write",
            "module-image",
            "-T",
            "mod",
            "-n",
            "rel-1",
            "-c",
            "devA",
            "-o",
            "a.mender",
            "--sign-command",
            command,
        ];
        folder.run(OURS, &[&base[..], more].concat()).good();
        folder.sh(&format!("mender-artifact validate -k {key}.pub a.mender")).good();
        folder.sh(&format!("{OURS} validate -k {key}.pub a.mender")).good();
    };
    write("rsa3072", "openssl dgst -sha256 -sign rsa3072.pem", &[]);
    write("p256", "openssl dgst -sha256 -sign p256.pem", &[]);
    write("p256", "openssl dgst -sha256 -sign p256.pem | base64", &[]);
    write("p256", "openssl pkeyutl -sign -inkey p256.pem", &["--sign-input", "digest"]);
    write(
        "rsa3072",
        "openssl pkeyutl -sign -inkey rsa3072.pem -pkeyopt digest:sha256",
        &["--sign-input", "digest"],
    );

    for (command, words) in
        [("exit 3", "exit status: 3"), ("true", "no signature"), ("no-such-program", "127")]
    {
        let base = [
            "write",
            "module-image",
            "-T",
            "mod",
            "-n",
            "rel-1",
            "-c",
            "devA",
            "-o",
            "b.mender",
            "--sign-command",
            command,
        ];
        let ran = folder.run(OURS, &base).fails_with(3);
        assert!(ran.err().contains(words), "{command}: {}", ran.err());
        assert!(!folder.path().join("b.mender").exists());
    }
    let named = folder.sh(&format!("{OURS} sign a.mender --force --gcp-kms-key projects/x")).fails_with(6);
    assert!(named.err().contains("--sign-command"));
}
