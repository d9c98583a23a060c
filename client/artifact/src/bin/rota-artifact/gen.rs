//! `gen`: artifacts for the standard update modules, from the flags of their `*-artifact-gen` scripts. Each becomes a
//! `write module-image` with the files that its module expects.
use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::{
    cli::Cli,
    fail::{During, Fail, ARGUMENTS, CREATE, SYSTEM},
    files::{self, TemporaryFolder},
    read::Style,
};

#[derive(Subcommand)]
pub enum Gen {
    /// One file, which goes into a folder of the device.
    SingleFile {
        /// The folder on the device; absolute.
        #[arg(short, long)]
        dest_dir: String,
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// A folder, which replaces one on the device.
    Directory {
        /// The folder on the device; absolute.
        #[arg(short, long)]
        dest_dir: String,
        /// A folder, or a tar archive of its content.
        directory: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Debian packages.
    Deb(Files),
    /// RPM packages.
    Rpm(Files),
    /// opkg packages.
    Ipk(Files),
    /// Programs that are run once.
    Script(Files),
    /// Kubernetes manifests.
    K8s(Files),
    /// An update for SWUpdate.
    Swu(Files),
    /// A firmware that goes over USB.
    Dfu(Files),
    /// Docker containers.
    Docker(Containers),
    /// Podman containers.
    Podman(Containers),
    /// A compose project, of Docker's or podman's.
    DockerCompose {
        /// The folder of its compose file, with what that file needs.
        #[arg(short, long)]
        manifests_dir: PathBuf,
        /// The name of the project.
        #[arg(short, long)]
        project_name: String,
        /// Its images, as `docker save IMAGE… | gzip` or `podman save` writes them; without it the device gets them from a registry.
        #[arg(short, long)]
        images: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// A new message of the day.
    Banner {
        /// The message.
        text: String,
        #[command(flatten)]
        common: Common,
    },
    /// Snap packages.
    #[command(name = "install_snap", alias = "install-snap")]
    InstallSnap {
        /// NAME, or what else `snap install` takes.
        #[arg(required = true)]
        snaps: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// A reboot and nothing else.
    Reboot {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
pub struct Files {
    /// The files of the payload.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub struct Containers {
    /// IMAGE@sha256:DIGEST.
    #[arg(required = true)]
    images: Vec<String>,
    /// Arguments for `run`.
    #[arg(long, allow_hyphen_values = true)]
    run_args: Option<String>,
    /// Take images by tag, too, though the tag may mean another image on each device.
    #[arg(long)]
    allow_tags: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone)]
pub struct Common {
    /// The artifact's name.
    #[arg(short = 'n', long)]
    artifact_name: OsString,
    /// A device type that can install the artifact. Can be repeated.
    #[arg(short = 't', long, visible_short_alias = 'c', visible_alias = "compatible-types", required = true)]
    device_type: Vec<OsString>,
    /// Where to write the artifact.
    #[arg(short, long, default_value = "artifact.mender")]
    output_path: PathBuf,
    /// The name in the key of the software version; the payload's type unless given.
    #[arg(long)]
    software_name: Option<OsString>,
    /// The software version; the artifact's name unless given.
    #[arg(long)]
    software_version: Option<OsString>,
    /// Replaces `rootfs-image` in the key of the software version.
    #[arg(long)]
    software_filesystem: Option<OsString>,
    /// What follows `--` goes to `write module-image`.
    #[arg(last = true)]
    rest: Vec<OsString>,
}

impl Common {
    /// A project has a version of its own, which outlives the root file system.
    fn of_compose(&self, project: &str) -> Common {
        let mut common = self.clone();
        common.software_filesystem.get_or_insert_with(|| "data-docker".into());
        common.software_name.get_or_insert_with(|| format!("mender-docker-compose_{project}").into());
        common
    }
}

/// What goes into the payload.
#[derive(Default)]
struct Content {
    files: Vec<PathBuf>,
    meta_data: Option<PathBuf>,
}

pub fn run(what: &Gen, style: &Style) -> Result<(), Fail> {
    let folder = TemporaryFolder::new(&files::temporary_for(&what.common().output_path))?;
    let (payload_type, content) = match what {
        Gen::SingleFile { dest_dir, file, .. } => ("single-file", single_file(dest_dir, file, &folder)?),
        Gen::Directory { dest_dir, directory, .. } => {
            ("directory", self::directory(dest_dir, directory, &folder)?)
        }
        Gen::Deb(list) => ("deb", list.with_suffix(".deb")?),
        Gen::Rpm(list) => ("rpm", list.with_suffix(".rpm")?),
        Gen::Ipk(list) => ("ipk", list.with_suffix(".ipk")?),
        Gen::Swu(list) => ("swu", list.with_suffix(".swu")?),
        Gen::Script(list) => ("script", list.with_suffix("")?),
        Gen::K8s(list) => ("k8s", list.with_suffix("")?),
        Gen::Dfu(list) => ("dfu", list.with_suffix("")?),
        Gen::Docker(containers) => ("docker", containers.content(&folder)?),
        Gen::Podman(containers) => ("podman", containers.content(&folder)?),
        Gen::DockerCompose { manifests_dir, project_name, images, common } => {
            let content = compose(manifests_dir, project_name, images.as_deref(), &folder)?;
            return write("docker-compose", &content, &common.of_compose(project_name), style);
        }
        Gen::Banner { text, .. } => ("banner", meta_data(&folder, &json!({"banner_text": text}))?),
        Gen::InstallSnap { snaps, .. } => ("install_snap", meta_data(&folder, &json!({"snaps": snaps}))?),
        Gen::Reboot { .. } => ("reboot", Content::default()),
    };
    write(payload_type, &content, what.common(), style)
}

impl Gen {
    fn common(&self) -> &Common {
        match self {
            Self::SingleFile { common, .. }
            | Self::Directory { common, .. }
            | Self::DockerCompose { common, .. }
            | Self::Banner { common, .. }
            | Self::InstallSnap { common, .. }
            | Self::Reboot { common } => common,
            Self::Deb(list) | Self::Rpm(list) | Self::Ipk(list) | Self::Swu(list) => &list.common,
            Self::Script(list) | Self::K8s(list) | Self::Dfu(list) => &list.common,
            Self::Docker(containers) | Self::Podman(containers) => &containers.common,
        }
    }
}

/// Runs `write module-image`.
fn write(payload_type: &str, content: &Content, common: &Common, style: &Style) -> Result<(), Fail> {
    if common.rest.iter().any(|argument| argument == "-T" || argument == "--type") {
        return Err(Fail::new(
            ARGUMENTS,
            format_args!("the payload's type is {payload_type}; -T cannot change it"),
        ));
    }
    let mut line: Vec<OsString> =
        ["rota-artifact", "write", "module-image", "--type", payload_type].map(OsString::from).into();
    let mut add = |flag: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut argument = OsString::from(format!("{flag}="));
        argument.push(value);
        line.push(argument);
    };
    add("--artifact-name", &common.artifact_name);
    common.device_type.iter().for_each(|device| add("--compatible-types", device));
    add("--output-path", &common.output_path);
    for (flag, value) in [
        ("--software-name", &common.software_name),
        ("--software-version", &common.software_version),
        ("--software-filesystem", &common.software_filesystem),
    ] {
        value.iter().for_each(|value| add(flag, value));
    }
    content.files.iter().for_each(|file| add("--file", file));
    content.meta_data.iter().for_each(|file| add("--meta-data", file));
    line.extend(common.rest.iter().cloned());
    let cli = Cli::try_parse_from(line).map_err(|error| Fail::new(ARGUMENTS, error))?;
    crate::run(&cli.command, style)
}

fn single_file(dest_dir: &str, file: &Path, folder: &TemporaryFolder) -> Result<Content, Fail> {
    check_absolute(dest_dir)?;
    let metadata = fs::metadata(file).during(ARGUMENTS, format_args!("cannot read {}", file.display()))?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let permissions = format!("{:o}", metadata.permissions().mode() & 0o7777);
    let files = vec![
        text(folder, "dest_dir", dest_dir)?,
        text(folder, "filename", &name)?,
        text(folder, "permissions", &permissions)?,
        file.to_owned(),
    ];
    Ok(Content { files, meta_data: None })
}

fn directory(dest_dir: &str, directory: &Path, folder: &TemporaryFolder) -> Result<Content, Fail> {
    check_absolute(dest_dir)?;
    if dest_dir.trim_matches('/').is_empty() {
        return Err(Fail::new(ARGUMENTS, "the whole root file system cannot be replaced"));
    }
    let archive = folder.path().join("update.tar");
    if directory.is_dir() {
        pack(directory, &archive)?;
    } else {
        link(directory, &archive)?;
    }
    Ok(Content { files: vec![archive, text(folder, "dest_dir", dest_dir)?], meta_data: None })
}

fn compose(
    manifests: &Path,
    project: &str,
    images: Option<&Path>,
    folder: &TemporaryFolder,
) -> Result<Content, Fail> {
    const NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if !project.chars().all(plain) || !project.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        let message = format!("{project:?}: expected the name of a project: small letters, digits, - and _");
        return Err(Fail::new(ARGUMENTS, message));
    }
    if !NAMES.iter().any(|name| manifests.join(name).is_file()) {
        let message = format!("{} has no {}", manifests.display(), NAMES.join(", "));
        return Err(Fail::new(ARGUMENTS, message));
    }
    let archive = folder.path().join("manifests.tar");
    pack(manifests, &archive)?;
    let mut content = meta_data(folder, &json!({"project_name": project, "version": "1"}))?;
    content.files.push(archive);
    if let Some(images) = images {
        let archive = folder.path().join("images.tar.gz");
        let act = format!("cannot read {}", images.display());
        let mut begin = [0; 2];
        fs::File::open(images).and_then(|mut file| file.read_exact(&mut begin)).during(ARGUMENTS, &act)?;
        if begin != [0x1f, 0x8b] {
            return Err(Fail::new(
                ARGUMENTS,
                format_args!("{}: expected a file that gzip has packed", images.display()),
            ));
        }
        link(images, &archive)?;
        content.files.push(archive);
    }
    Ok(content)
}

/// An archive of what is in a folder.
fn pack(directory: &Path, archive: &Path) -> Result<(), Fail> {
    let act = format!("cannot pack {}", directory.display());
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--file"]).arg(archive);
    if let Some(time) = files::source_date_epoch() {
        tar.args([format!("--mtime=@{time}"), "--clamp-mtime".to_owned()]);
    }
    let status = tar.arg("--directory").arg(directory).arg(".").status().during(SYSTEM, "cannot run tar")?;
    if !status.success() {
        return Err(Fail::new(SYSTEM, format_args!("{act}: tar ended with {status}")));
    }
    make_plain(archive).during(CREATE, act)
}

/// A file under the name that the module expects.
fn link(file: &Path, to: &Path) -> Result<(), Fail> {
    let act = format!("cannot pack {}", file.display());
    let absolute = fs::canonicalize(file).during(ARGUMENTS, &act)?;
    std::os::unix::fs::symlink(absolute, to).during(CREATE, act)
}

fn check_absolute(dest_dir: &str) -> Result<(), Fail> {
    if dest_dir.starts_with('/') && !dest_dir.contains('\n') {
        return Ok(());
    }
    Err(Fail::new(ARGUMENTS, format_args!("{dest_dir:?}: expected an absolute path on the device")))
}

impl Files {
    fn with_suffix(&self, suffix: &str) -> Result<Content, Fail> {
        let unfit = |file: &&PathBuf| !file.to_string_lossy().ends_with(suffix);
        if let Some(file) = self.files.iter().find(unfit) {
            return Err(Fail::new(ARGUMENTS, format_args!("{}: expected a file *{suffix}", file.display())));
        }
        Ok(Content { files: self.files.clone(), meta_data: None })
    }
}

impl Containers {
    fn content(&self, folder: &TemporaryFolder) -> Result<Content, Fail> {
        let tag = |image: &&String| !self.allow_tags && !image.contains("@sha256:");
        if let Some(image) = self.images.iter().find(tag) {
            let message = format!("{image} is a tag, which may mean another image tomorrow; give IMAGE@sha256:DIGEST, or --allow-tags");
            return Err(Fail::new(ARGUMENTS, message));
        }
        let run_args = self.run_args.as_deref().unwrap_or_default();
        meta_data(folder, &json!({"containers": self.images, "run_args": run_args}))
    }
}

fn meta_data(folder: &TemporaryFolder, value: &serde_json::Value) -> Result<Content, Fail> {
    Ok(Content { files: Vec::new(), meta_data: Some(text(folder, "meta-data", &value.to_string())?) })
}

/// A file with one line.
fn text(folder: &TemporaryFolder, name: &str, line: &str) -> Result<PathBuf, Fail> {
    let path = folder.path().join(name);
    let write = || fs::write(&path, format!("{line}\n")).and_then(|()| make_plain(&path));
    write().during(CREATE, format_args!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Neither the clock nor the umask shows in a file that was made for an artifact.
fn make_plain(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(files::source_date_epoch().unwrap_or(0)))
}
