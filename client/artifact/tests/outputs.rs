//! Where the tool writes to: devices, pipes, links, full disks, and what is left when it is stopped.
mod common;

use std::{
    fs,
    io::Read,
    os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use common::Folder;

const OURS: &str = env!("CARGO_BIN_EXE_rota-artifact");
const WRITE: &str = "write module-image -T mod -n rel-1 -c devA -f one";

fn workshop(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.file("one", "1\n");
    folder.key("p256");
    folder.sh(&format!("{OURS} {WRITE} -o a.mender")).good();
    folder
}

fn hidden(folder: &Folder) -> Vec<String> {
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with('.')).collect()
}

/// As root a `-o /dev/null` must not put a file in the place of the device.
#[test]
fn what_is_no_plain_file_is_written_and_not_replaced() {
    let folder = workshop("special");
    let fifo = folder.path().join("fifo");
    folder.sh("mkfifo fifo").good();
    let reader = thread::spawn({
        let fifo = fifo.clone();
        move || fs::read(fifo).unwrap()
    });
    folder.sh(&format!("{OURS} {WRITE} -o fifo")).good();
    assert_eq!(reader.join().unwrap(), fs::read(folder.path().join("a.mender")).unwrap());
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    folder.sh(&format!("{OURS} {WRITE} -o /dev/null")).good();
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    let ran = folder.sh(&format!("{OURS} {WRITE} -o /dev/full")).fails_with(3);
    assert!(ran.err().contains("No space left"), "{}", ran.err());
    folder.sh(&format!("{OURS} {WRITE} -o {}", folder.path().display())).fails_with(3);
    let ran = folder.sh(&format!("{OURS} {WRITE} -o none/x.mender")).fails_with(3);
    let said = "rota-artifact: cannot create none/x.mender: No such file or directory (os error 2)\n";
    assert_eq!(ran.err(), said, "names what the user knows");
    folder.sh(&format!("{OURS} gen single-file -d /etc one -n a -t d -o /dev/null")).good();
}

#[test]
fn a_link_stays_and_its_target_is_written() {
    let folder = workshop("link");
    fs::create_dir(folder.path().join("deep")).unwrap();
    symlink("deep/target.mender", folder.path().join("link.mender")).unwrap();
    for _ in 0..2 {
        folder.sh(&format!("{OURS} {WRITE} -o link.mender")).good();
        assert!(fs::symlink_metadata(folder.path().join("link.mender")).unwrap().is_symlink());
        folder.sh(&format!("{OURS} validate deep/target.mender")).good();
    }
    assert!(hidden(&folder).is_empty());
}

#[test]
fn permissions_and_owner_stay() {
    let folder = workshop("permissions");
    let path = folder.path().join("a.mender");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let root = std::os::unix::fs::chown(&path, Some(1234), Some(1235)).is_ok();
    for line in ["sign -k p256.pem a.mender", "modify a.mender -n rel-2"] {
        folder.sh(&format!("{OURS} {line}")).good();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o640, "{line}");
        assert!(!root || (metadata.uid(), metadata.gid()) == (1234, 1235), "{line}");
    }
}

/// A full disk is an error, a reader that has seen enough is none, and neither is a panic.
#[test]
fn a_standard_output_that_fails() {
    let folder = workshop("stdout");
    let run = |line: &str, out: Stdio| {
        let words = line.split_whitespace();
        let mut run = Command::new(OURS);
        run.args(words).current_dir(folder.path()).stdout(out).stderr(Stdio::piped());
        let output = run.spawn().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let lines = [
        "read a.mender",
        "--json read a.mender",
        "validate a.mender",
        "--json write module-image -T mod -n a -c d -o b.mender",
        "dump --print-cmdline a.mender",
        "dump --print0-cmdline a.mender",
        "completions bash",
        "man",
    ];
    for line in lines {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (code, error) = run(line, full.into());
        assert_eq!(code, Some(3), "{line}: {error}");
        assert!(error.contains("standard output: No space left"), "{line}: {error}");
        let (code, error) = run(line, closed_pipe());
        assert_eq!((code, error.as_str()), (Some(0), ""), "{line}");
    }
    let (code, error) = run(&format!("{WRITE} -o -"), closed_pipe());
    assert!(code == Some(3) && error.contains("Broken pipe"), "{error}");
    // Nor does it need a standard error.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(OURS).args(["read", "none"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(4));
}

/// The writing end of a pipe that nobody reads any more.
fn closed_pipe() -> Stdio {
    let mut gone = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let pipe = gone.stdin.take().unwrap();
    gone.wait().unwrap();
    pipe.into()
}

/// An artifact that comes through a pipe which stays open: the tool is certainly in the middle of it when it is stopped.
#[test]
fn a_signal_leaves_nothing_behind() {
    let folder = workshop("signal");
    folder.sh("mkfifo fifo").good();
    fs::copy(folder.path().join("a.mender"), folder.path().join("old.mender")).unwrap();
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // It signs by a command that never ends, with the half-written file beside the old one.
        let script = "echo started; exec sleep 600";
        // What the tests ignore because they run in the background, it would ignore, too.
        let mut run = Command::new("env");
        run.args(["--default-signal=INT,TERM", OURS, "sign", "old.mender"]);
        run.args(["--sign-command", &format!("exec 1>&2; {script}")]);
        let mut child = run.current_dir(folder.path()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 8];
        child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"started\n");
        assert_eq!(hidden(&folder).len(), 1, "the new file is there, under a name of its own");
        let kill = format!("kill -{signal} {}", child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(hidden(&folder).is_empty(), "{:?}", hidden(&folder));
        assert_eq!(bytes(&folder, "old.mender"), bytes(&folder, "a.mender"));
    }
}

fn bytes(folder: &Folder, name: &str) -> Vec<u8> {
    fs::read(Path::new(folder.path()).join(name)).unwrap()
}

#[test]
fn a_command_may_ignore_signals() {
    let folder = workshop("nohup");
    // What is ignored stays ignored, also for the commands that are started.
    let line = format!(
        "trap '' INT HUP; exec {OURS} sign a.mender --sign-command 'kill -INT $PPID; exec openssl dgst -sha256 -sign p256.pem'"
    );
    folder.run("sh", &["-c", &line]).good();
    folder.sh(&format!("{OURS} validate -k p256.pub a.mender")).good();
}

#[test]
fn an_epoch_that_is_no_number_is_refused() {
    let folder = workshop("epoch");
    let ran = folder.run("sh", &["-c", &format!("SOURCE_DATE_EPOCH=today {OURS} {WRITE} -o b.mender")]);
    assert!(ran.fails_with(1).err().contains("SOURCE_DATE_EPOCH"));
    assert!(!folder.path().join("b.mender").exists());
}

/// Neither clock nor umask nor folder nor order of files shows.
#[test]
fn generators_are_reproducible() {
    let folder = workshop("generators-again");
    folder.file("tree/a", "a");
    folder.file("tree/b/c", "c");
    for (name, what) in [
        ("file", "single-file -d /etc one"),
        ("tree", "directory -d /etc/x tree"),
        ("banner", "banner hello"),
    ] {
        let gen = |umask: &str, zone: &str, out: &str| {
            let line = format!(
                "umask {umask}; mkdir -p {out}; TZ={zone} {OURS} gen {what} -n a -t d -o {out}/{name}"
            );
            folder.run("sh", &["-c", &line]).good();
        };
        gen("077", "Asia/Tokyo", "x");
        // mtimes have seconds, so that a second has to pass for a clock to show.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        gen("022", "UTC", "y");
        assert_eq!(bytes(&folder, &format!("x/{name}")), bytes(&folder, &format!("y/{name}")), "{what}");
    }
}
