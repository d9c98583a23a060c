//! The program `rota` on a machine.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::machine::Machine;

/// The program on this machine, with its configuration in a file.
pub fn rota(machine: &Machine, words: &[&str]) -> Command {
    let config = &machine.config;
    let text = format!(
        "device_type = \"test-board\"\n[server]\nurl = {:?}\nca = {:?}\npoll_interval = \"1h\"\nretry_interval = 1\n\
         [slots]\na = {:?}\nb = {:?}\n[boot]\nbackend = \"fake\"\nenv_dir = {:?}\n",
        config.urls[0],
        config.ca.as_ref().unwrap(),
        machine.layout.a,
        machine.layout.b,
        config.env_dir.as_ref().unwrap()
    );
    fs::write(machine.paths.conf.join("rota.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
    command
        .args(words)
        .env("ROTA_CONF_DIR", &machine.paths.conf)
        .env("ROTA_DATA_DIR", &machine.paths.data)
        .env("ROTA_RUN_DIR", &machine.paths.run)
        .env("ROTA_LIB_DIR", &machine.paths.lib)
        .env("ROTA_SYSTEM_ROOT", machine.folder.join("system"));
    command
}

pub fn output(machine: &Machine, words: &[&str]) -> Output {
    rota(machine, words).stdin(Stdio::null()).output().unwrap()
}

/// What it prints when it ends well.
pub fn text(machine: &Machine, words: &[&str]) -> String {
    let output = output(machine, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Its exit code and what it complains of.
pub fn complaint(machine: &Machine, words: &[&str]) -> (i32, String) {
    let output = output(machine, words);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}
