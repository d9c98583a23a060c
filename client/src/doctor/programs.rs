//! The programs that updates run: update modules, state scripts, health checks, inventory. Each executable, each with its interpreter.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Doctor;
use crate::finding::Finding;

const PROGRAMS: &str = "programs";

/// All of them.
pub fn all(doctor: &mut Doctor) -> Vec<Finding> {
    let paths = &doctor.device.paths;
    let folders: [(PathBuf, &str); 9] = [
        (paths.lib.join("modules/v3"), "update module"),
        (paths.mender.join("modules/v3"), "update module"),
        (paths.conf.join("scripts"), "state script"),
        (doctor.device.system.file("/etc/mender/scripts"), "state script"),
        (paths.conf.join("health.d"), "health check"),
        (paths.lib.join("inventory"), "inventory program"),
        (paths.mender.join("inventory"), "inventory program"),
        (paths.lib.join("identity"), "identity program"),
        (paths.mender.join("identity"), "identity program"),
    ];
    let mut findings = Vec::new();
    let mut good = 0;
    for (folder, what) in folders {
        for program in files(&folder) {
            match fault(doctor, &program) {
                None => good += 1,
                Some(found) => findings.push(Finding::wrong(
                    PROGRAMS,
                    format!("the {what} {} executable, with its interpreter in the image", program.display()),
                    found,
                    "chmod 755 it, and install what its first line names; what is no program belongs elsewhere",
                )),
            }
        }
    }
    if findings.is_empty() {
        let found = match good {
            0 => "no update modules, scripts or checks are installed".to_owned(),
            good => format!("{good} update modules, scripts and checks can be executed"),
        };
        findings.push(Finding::ok(PROGRAMS, found));
    }
    findings
}

/// The files of a folder, in the order of their names; or the one file that lies in its place. A file `version` is no program.
fn files(folder: &Path) -> Vec<PathBuf> {
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "version"))
        .collect();
    files.sort();
    files
}

/// Why a file cannot be executed.
pub fn fault(doctor: &Doctor, program: &Path) -> Option<String> {
    let metadata = match fs::metadata(program) {
        Ok(metadata) => metadata,
        Err(error) => return Some(error.to_string()),
    };
    let mode = metadata.permissions().mode();
    if !metadata.is_file() || mode & 0o111 == 0 {
        return Some(format!("not executable (mode {:o})", mode & 0o7777));
    }
    let mut front = [0; 256];
    let count = match fs::File::open(program).and_then(|mut file| file.read(&mut front)) {
        Ok(count) => count,
        Err(error) => return Some(error.to_string()),
    };
    let line = front[..count].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let interpreter = line.split_whitespace().next().unwrap_or_default();
    if line.ends_with('\r') {
        return Some("its first line ends with a carriage return".into());
    }
    let is_there = fs::metadata(doctor.device.system.file(interpreter)).is_ok_and(|file| file.is_file());
    (!is_there).then(|| format!("its interpreter {interpreter} is not there"))
}
