//! `--file ssh://[user@]host[:port]`: the root file system of a running device, through ssh.
use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

use rota_artifact::Input;

use crate::{
    fail::{During, Fail, ARGUMENTS, SYSTEM},
    files,
    progress::Progress,
};

/// What the device runs: Mender's client of version 4, or of version 3; as root.
const DUMP: &str = "sudo=; [ \"$(id -u)\" = 0 ] || sudo=sudo; \
    if command -v mender-snapshot >/dev/null; then exec $sudo mender-snapshot dump; else exec $sudo mender snapshot dump; fi";

/// The snapshot as a payload file, kept in a temporary file.
pub fn input<'a>(
    url: &str,
    arguments: &[String],
    temporary: &Path,
    progress: &'a Progress,
) -> Result<Input<'a>, Fail> {
    let address = url.trim_start_matches("ssh://");
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port)),
        Some(_) => return Err(Fail::new(ARGUMENTS, format_args!("{url}: the port is no number"))),
        None => (address, None),
    };
    if host.is_empty() || host.starts_with('-') {
        return Err(Fail::new(ARGUMENTS, format_args!("{url}: expected ssh://[user@]host[:port]")));
    }
    let mut ssh = Command::new("ssh");
    ssh.args(arguments)
        .args(port.iter().flat_map(|port| ["-p", port]))
        .args([host, DUMP])
        .stdout(Stdio::piped());
    let act = format!("{url}: cannot take a snapshot");
    let mut child = ssh.spawn().during(SYSTEM, &act)?;
    let mut kept = files::spool_file(temporary)?;
    let size = match &mut child.stdout {
        Some(stdout) => files::copy_sparse(stdout, &mut kept).during(SYSTEM, &act)?,
        None => 0,
    };
    let status = child.wait().during(SYSTEM, &act)?;
    if !status.success() || size == 0 {
        let error = io::Error::other(format!("ssh ended with {status} after {size} bytes"));
        return Err(error).during(SYSTEM, act);
    }
    files::input_file("snapshot.ext4", kept, progress).during(SYSTEM, act)
}
