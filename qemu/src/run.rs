//! Programs of the host: run one, and get a sentence when it fails.

use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};

/// Runs `command` to its end and returns what it wrote to standard output. A failure carries all its output.
pub fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().context("run", &program)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    Err(Error::Program {
        program: format!("{program} {}", arguments.join(" ")),
        status: output.status.to_string(),
        output: stdout + &String::from_utf8_lossy(&output.stderr),
    })
}

/// A command that dies with the thread that starts it: neither a machine nor a server outlives a killed test.
pub fn dependent(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// The folders that Debian keeps administrators' programs in are not in everybody's `PATH`.
pub fn admin(program: &str) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}
