//! The command line.
use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Makes, reads, signs and changes .mender artifacts.
#[derive(Parser)]
#[command(name = "rota-artifact", version, arg_required_else_help = true, infer_long_args = false)]
pub struct Cli {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Write an artifact.
    #[command(subcommand)]
    Write(Write),
    /// Print what an artifact says about itself, and check it.
    Read(Read),
    /// Check an artifact: structure, checksums, signature.
    Validate(Read),
}

#[derive(Subcommand)]
pub enum Write {
    /// Write an artifact with a root file system.
    RootfsImage(RootfsImage),
    /// Write an artifact for an update module.
    ModuleImage(ModuleImage),
    /// Write an artifact without payload, which tells a device what it was made with.
    BootstrapArtifact(BootstrapArtifact),
}

#[derive(Args)]
pub struct RootfsImage {
    /// The file system image: a file, or ssh://[user@]host[:port] for a snapshot of a running device.
    #[arg(short, long)]
    pub file: String,
    /// An argument for ssh; with ssh:// only. Can be repeated.
    #[arg(short = 'S', long, allow_hyphen_values = true)]
    pub ssh_args: Vec<String>,
    /// Provide the checksum as rootfs_image_checksum, for old clients.
    #[arg(long)]
    pub legacy_rootfs_image_checksum: bool,
    /// Do not provide the checksum.
    #[arg(long)]
    pub no_checksum_provide: bool,
    /// A state script, or a folder of them. Can be repeated.
    #[arg(short, long)]
    pub script: Vec<PathBuf>,
    #[command(flatten)]
    pub software: Software,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct ModuleImage {
    /// The payload's type, which is the name of the update module.
    #[arg(short = 'T', long = "type")]
    pub payload_type: String,
    /// A payload file. Can be repeated.
    #[arg(short, long)]
    pub file: Vec<PathBuf>,
    /// A file with meta-data for the update module: a JSON object.
    #[arg(short, long)]
    pub meta_data: Option<PathBuf>,
    /// A state script, or a folder of them. Can be repeated.
    #[arg(short, long)]
    pub script: Vec<PathBuf>,
    /// The payload's type in the augmented part.
    #[arg(long)]
    pub augment_type: Option<String>,
    /// KEY:VALUE that the augmented part provides. Can be repeated.
    #[arg(long, value_parser = key_value)]
    pub augment_provides: Vec<(String, String)>,
    /// KEY:VALUE that the augmented part depends on. Can be repeated.
    #[arg(long, value_parser = key_value)]
    pub augment_depends: Vec<(String, String)>,
    /// Meta-data of the augmented part.
    #[arg(long)]
    pub augment_meta_data: Option<PathBuf>,
    /// A file of the augmented part. Can be repeated.
    #[arg(long)]
    pub augment_file: Vec<PathBuf>,
    #[command(flatten)]
    pub software: Software,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct BootstrapArtifact {
    #[command(flatten)]
    pub common: Common,
}

/// The provides that say which software is installed.
#[derive(Args)]
pub struct Software {
    /// Replaces `rootfs-image` in the key of the software version.
    #[arg(long)]
    pub software_filesystem: Option<String>,
    /// The name in the key of the software version; the payload's type unless given.
    #[arg(long)]
    pub software_name: Option<String>,
    /// The software version; the artifact's name unless given.
    #[arg(long)]
    pub software_version: Option<String>,
    /// Provide no software version.
    #[arg(long)]
    pub no_default_software_version: bool,
    /// Clear nothing but what --clears-provides says.
    #[arg(long)]
    pub no_default_clears_provides: bool,
}

/// What all artifacts have.
#[derive(Args)]
pub struct Common {
    /// The artifact's name.
    #[arg(short = 'n', long)]
    pub artifact_name: String,
    /// A device type that can install the artifact. Can be repeated.
    #[arg(
        short = 'c',
        long = "compatible-types",
        visible_short_alias = 't',
        visible_alias = "device-type",
        required = true
    )]
    pub compatible_types: Vec<String>,
    /// Where to write the artifact; `-` is the standard output.
    #[arg(short, long, default_value = "artifact.mender")]
    pub output_path: PathBuf,
    /// The version of the format; only 3 can be written.
    #[arg(short = 'v', long = "version", default_value_t = 3)]
    pub format_version: u64,
    #[command(flatten)]
    pub facts: Facts,
    /// The compression: none, gzip, lzma, zstd_fastest, zstd_fast, zstd_better or zstd_best.
    #[arg(long, default_value = "gzip")]
    pub compression: String,
    #[command(flatten)]
    pub key: SigningKey,
    /// Fail when the artifact gets larger than this (B, KB, MB, GB, TB; decimal).
    #[arg(long, value_parser = size)]
    pub max_artifact_size: Option<u64>,
    /// Warn when the artifact gets larger than this.
    #[arg(long, value_parser = size)]
    pub warn_artifact_size: Option<u64>,
    /// Show no progress.
    #[arg(long)]
    pub no_progress: bool,
    /// The folder for temporary files; the output's folder unless given.
    #[arg(long)]
    pub tmp: Option<PathBuf>,
}

/// What an artifact provides, depends on and clears.
#[derive(Args)]
pub struct Facts {
    /// An artifact that has to be installed before. Can be repeated.
    #[arg(short = 'N', long)]
    pub artifact_name_depends: Vec<String>,
    /// The group the artifact brings the device into.
    #[arg(short = 'g', long)]
    pub provides_group: Option<String>,
    /// A group the device has to be in. Can be repeated.
    #[arg(short = 'G', long)]
    pub depends_groups: Vec<String>,
    /// KEY:VALUE that the payload depends on. Can be repeated.
    #[arg(short, long, value_parser = key_value)]
    pub depends: Vec<(String, String)>,
    /// KEY:VALUE that the payload provides. Can be repeated.
    #[arg(short, long, value_parser = key_value)]
    pub provides: Vec<(String, String)>,
    /// A glob of provides that the payload clears. Can be repeated.
    #[arg(long)]
    pub clears_provides: Vec<String>,
}

/// What an artifact is signed with.
#[derive(Args)]
pub struct SigningKey {
    /// The private key (PEM) to sign with.
    #[arg(short, long)]
    pub key: Option<PathBuf>,
}

/// What a signature is verified with.
#[derive(Args)]
pub struct VerificationKeys {
    /// A public key (PEM) to verify the signature with. Can be repeated.
    #[arg(short, long)]
    pub key: Vec<PathBuf>,
}

#[derive(Args)]
pub struct Read {
    /// The artifact; `-` is the standard input.
    pub artifact: PathBuf,
    #[command(flatten)]
    pub keys: VerificationKeys,
    /// Show no progress.
    #[arg(long)]
    pub no_progress: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY:VALUE".to_owned()),
    }
}

/// A size with a decimal unit.
fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let factor: u64 = match text[digits..].trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        other => return Err(format!("unknown unit {other:?}, expected B, KB, MB, GB or TB")),
    };
    let number: Option<u64> = text[..digits].parse().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "expected a number and a unit".to_owned())
}

/// `mender-artifact` takes long options with one dash, too.
pub fn double_dash(argument: &mut OsString) {
    let text = argument.to_string_lossy();
    let long = |rest: &str| rest.len() > 1 && !rest.starts_with('-') && rest.chars().nth(1) != Some('=');
    if text.strip_prefix('-').is_some_and(long) {
        *argument = format!("-{text}").into();
    }
}
