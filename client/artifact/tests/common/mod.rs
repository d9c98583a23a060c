//! What the tests share. Each test program uses a part of it.
#![allow(dead_code)]

pub mod craft;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder that is removed in the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs a program in the folder.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Ran {
        let output = Command::new(program.as_ref()).args(arguments).current_dir(&self.0).output();
        let output =
            output.unwrap_or_else(|error| panic!("cannot run {}: {error}", program.as_ref().display()));
        Ran { output, line: format!("{} {}", program.as_ref().display(), arguments.join(" ")) }
    }

    /// Runs the words of `line`, the first of which is the program.
    pub fn sh(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(words[0], &words[1..])
    }

    /// A key pair of this kind: NAME.pem and NAME.pub. Kinds: rsa2048, rsa3072, p256, ed25519.
    pub fn key(&self, kind: &str) {
        let pem = format!("{kind}.pem");
        match kind.strip_prefix("rsa") {
            Some(bits) => self.run("openssl", &["genrsa", "-traditional", "-out", &pem, bits]),
            None if kind == "p256" => {
                self.run("openssl", &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &pem])
            }
            None => self.run("openssl", &["genpkey", "-algorithm", kind, "-out", &pem]),
        }
        .good();
        self.run("openssl", &["pkey", "-in", &pem, "-pubout", "-out", &format!("{kind}.pub")]).good();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program that ran.
pub struct Ran {
    pub output: Output,
    line: String,
}

impl Ran {
    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// It has to have ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        self.fails_with(0)
    }

    /// It has to have ended with this code.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{}\n{}{}", self.line, self.out(), self.err());
        self
    }
}
