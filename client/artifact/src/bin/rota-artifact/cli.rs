//! The command line.
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    gen::Gen,
    keys::{SigningKey, VerificationKeys},
};

/// Makes, reads, signs and changes .mender artifacts.
#[derive(Parser)]
#[command(name = "rota-artifact", version, arg_required_else_help = true, args_override_self = true)]
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
    Write(Box<Write>),
    /// Print what an artifact says about itself, and check it.
    Read(Read),
    /// Check an artifact: structure, checksums, signature.
    Validate(Read),
    /// Sign an artifact.
    Sign(Sign),
    /// Change an artifact, or the root file systems of a disk image.
    Modify(Box<Modify>),
    /// Copy a file into or out of the file system in an artifact or a disk image.
    Cp(Cp),
    /// Print a file of the file system in an artifact or a disk image.
    Cat(Cat),
    /// Install a file, or make a folder, in the file system in an artifact or a disk image.
    Install(Install),
    /// Remove a file from the file system in an artifact or a disk image.
    Rm(Rm),
    /// Unpack an artifact, and print the command that makes it again.
    Dump(Dump),
    /// Write an artifact for one of the standard update modules.
    #[command(subcommand)]
    Gen(Box<Gen>),
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page; with a folder, write those of all commands into it.
    Man {
        /// Where to write the pages; it is made when it is not there.
        folder: Option<PathBuf>,
    },
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
    /// The version of the format; only 3 can be written (2 can be read).
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

impl Facts {
    /// Do the flags say nothing?
    pub fn is_empty(&self) -> bool {
        let Self {
            artifact_name_depends,
            provides_group,
            depends_groups,
            depends,
            provides,
            clears_provides,
        } = self;
        let lists = [artifact_name_depends, depends_groups, clears_provides];
        let pairs = [depends, provides];
        provides_group.is_none()
            && lists.iter().all(|list| list.is_empty())
            && pairs.iter().all(|list| list.is_empty())
    }
}

#[derive(Args)]
pub struct Read {
    /// The artifact; `-` is the standard input.
    pub artifact: PathBuf,
    #[command(flatten)]
    pub keys: VerificationKeys,
    /// Fail unless the artifact installs on this type of device.
    #[arg(short = 't', long)]
    pub device_type: Option<String>,
    /// Show no progress.
    #[arg(long)]
    pub no_progress: bool,
}

#[derive(Args)]
pub struct Sign {
    /// The artifact; `-` signs from the standard input to the standard output.
    pub artifact: PathBuf,
    /// Where to write the signed artifact; it replaces the artifact unless given.
    #[arg(short, long)]
    pub output_path: Option<PathBuf>,
    /// Replace the signature of an artifact that is signed already.
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub key: SigningKey,
}

/// How an artifact that was changed is written.
#[derive(Args)]
pub struct Rewrite {
    #[command(flatten)]
    pub key: SigningKey,
    /// The compression; that of the artifact unless given.
    #[arg(long)]
    pub compression: Option<String>,
    /// The folder for temporary files; the artifact's folder unless given.
    #[arg(long)]
    pub tmp: Option<PathBuf>,
}

#[derive(Args)]
pub struct Modify {
    /// The artifact, or a disk image.
    pub file: PathBuf,
    /// The artifact's new name.
    #[arg(short = 'n', long, alias = "name")]
    pub artifact_name: Option<String>,
    #[command(flatten)]
    pub facts: Facts,
    /// A glob to take off what the payload clears. Can be repeated.
    #[arg(long)]
    pub delete_clears_provides: Vec<String>,
    /// New meta-data.
    #[arg(short, long)]
    pub meta_data: Option<PathBuf>,
    /// The server's address, for the client's configuration in the image.
    #[arg(short = 'u', long)]
    pub server_uri: Option<String>,
    /// The server's certificate, for the image.
    #[arg(short = 'c', long)]
    pub server_cert: Option<PathBuf>,
    /// The key that the client verifies artifacts with, for the image.
    #[arg(short = 'v', long)]
    pub verification_key: Option<PathBuf>,
    /// A file with the tenant token, for the image.
    #[arg(short = 't', long)]
    pub tenant_token: Option<PathBuf>,
    #[command(flatten)]
    pub rewrite: Rewrite,
}

impl Modify {
    /// Do the flags change the client's configuration in the image?
    pub fn configures(&self) -> bool {
        let Self { server_uri, server_cert, verification_key, tenant_token, .. } = self;
        server_uri.is_some() || server_cert.is_some() || verification_key.is_some() || tenant_token.is_some()
    }
}

#[derive(Args)]
pub struct Cp {
    /// FILE, IMAGE:PATH, or `-` for the standard input.
    pub source: String,
    /// FILE, IMAGE:PATH, or `-` for the standard output.
    pub destination: String,
    #[command(flatten)]
    pub rewrite: Rewrite,
}

#[derive(Args)]
pub struct Cat {
    /// IMAGE:PATH.
    pub file: String,
}

#[derive(Args)]
pub struct Install {
    /// Make a folder.
    #[arg(short, long)]
    pub directory: bool,
    /// Permissions, octal.
    #[arg(short, long, value_parser = octal)]
    pub mode: Option<u32>,
    /// [FILE] IMAGE:PATH.
    #[arg(required = true, num_args = 1..=2)]
    pub paths: Vec<String>,
    #[command(flatten)]
    pub rewrite: Rewrite,
}

#[derive(Args)]
pub struct Rm {
    /// Remove folders with what is in them.
    #[arg(short, long)]
    pub recursive: bool,
    /// IMAGE:PATH.
    pub path: String,
    #[command(flatten)]
    pub rewrite: Rewrite,
}

#[derive(Args)]
pub struct Dump {
    /// The artifact.
    pub artifact: PathBuf,
    /// The folder for the files of the first payload.
    #[arg(long)]
    pub files: Option<PathBuf>,
    /// The folder for the meta-data of the first payload.
    #[arg(long)]
    pub meta_data: Option<PathBuf>,
    /// The folder for the state scripts.
    #[arg(long)]
    pub scripts: Option<PathBuf>,
    /// Print the command line that writes the artifact from what was dumped.
    #[arg(long)]
    pub print_cmdline: bool,
    /// The same with a null character after each argument.
    #[arg(long, conflicts_with = "print_cmdline")]
    pub print0_cmdline: bool,
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err("expected octal permissions".to_owned()),
    }
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
