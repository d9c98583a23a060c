//! The client's configuration in an image: Mender's, rota's, or both.
use std::{fs, io::Write, path::Path, process::Stdio};

use serde_json::Value;
use toml_edit::{value, Array, DocumentMut};

use super::{FileSystem, Image};
use crate::{
    cli::Modify,
    fail::{During, Fail, ARGUMENTS, INVALID},
    files,
};

const MENDER_CONF: &str = "/etc/mender/mender.conf";
/// What an image was built as: Mender's place for it, and rota's.
const ARTIFACT_INFO: [&str; 2] = ["/etc/mender/artifact_info", "/etc/rota/artifact_info"];
const ROTA_TOML: &str = "/etc/rota/rota.toml";

/// What is to be changed in an image.
struct Changes<'a> {
    artifact_name: Option<&'a str>,
    server_uri: Option<&'a str>,
    server_cert: Option<&'a Path>,
    verification_key: Option<&'a Path>,
    tenant_token: Option<String>,
}

/// Changes the root file systems of an image as the flags of `modify` say.
pub fn configure(image: &Image, arguments: &Modify) -> Result<(), Fail> {
    let token = arguments.tenant_token.as_deref().map(files::read).transpose()?;
    let changes = Changes {
        artifact_name: arguments.artifact_name.as_deref(),
        server_uri: arguments.server_uri.as_deref(),
        server_cert: arguments.server_cert.as_deref(),
        verification_key: arguments.verification_key.as_deref(),
        tenant_token: token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()),
    };
    let (file_systems, _) = image.file_systems("/")?;
    file_systems.iter().try_for_each(|root| changes.apply(root, arguments.configures()))
}

impl Changes<'_> {
    fn apply(&self, root: &FileSystem, configures: bool) -> Result<(), Fail> {
        if let Some(name) = self.artifact_name {
            for path in ARTIFACT_INFO.into_iter().filter(|path| exists(root, path)) {
                rename(root, path, name)?;
            }
        }
        if !configures {
            return Ok(());
        }
        let (mender, rota) = (exists(root, MENDER_CONF), exists(root, ROTA_TOML));
        if mender {
            self.mender(root)?;
        }
        if rota {
            self.rota(root)?;
        }
        if !mender && !rota {
            return Err(Fail::new(
                INVALID,
                format_args!("the image has neither {ROTA_TOML} nor {MENDER_CONF}"),
            ));
        }
        Ok(())
    }

    fn mender(&self, root: &FileSystem) -> Result<(), Fail> {
        let mut configuration: Value = serde_json::from_str(&read(root, MENDER_CONF)?)
            .map_err(|error| Fail::new(INVALID, format_args!("{MENDER_CONF}: {error}")))?;
        let Some(object) = configuration.as_object_mut() else {
            return Err(Fail::new(INVALID, format_args!("{MENDER_CONF}: expected a JSON object")));
        };
        if let Some(uri) = self.server_uri {
            object.remove("Servers"); // Mender does not start with both
            object.insert("ServerURL".to_owned(), uri.into());
        }
        if let Some(token) = &self.tenant_token {
            object.insert("TenantToken".to_owned(), token.as_str().into());
        }
        write(root, MENDER_CONF, format!("{configuration:#}\n").as_bytes())?;
        self.copy(root, self.server_cert, "/etc/mender/server.crt")?;
        self.copy(root, self.verification_key, "/etc/mender/artifact-verify-key.pem")
    }

    fn rota(&self, root: &FileSystem) -> Result<(), Fail> {
        const CA: &str = "/etc/rota/server-ca.pem";
        const KEY: &str = "/etc/rota/artifact-verify-key.pem";
        let text = read(root, ROTA_TOML)?;
        let parsed: Result<DocumentMut, _> = text.parse();
        let mut document =
            parsed.map_err(|error| Fail::new(INVALID, format_args!("{ROTA_TOML}: {error}")))?;
        let server = self.server_uri.is_some() || self.tenant_token.is_some() || self.server_cert.is_some();
        for (table, wanted) in [("server", server), ("artifact", self.verification_key.is_some())] {
            if wanted && !document.contains_key(table) {
                document[table] = toml_edit::table();
            }
        }
        if let Some(uri) = self.server_uri {
            document["server"]["url"] = value(uri);
            document["server"].as_table_like_mut().map(|server| server.remove("urls"));
        }
        if let Some(token) = &self.tenant_token {
            document["server"]["tenant_token"] = value(token);
        }
        if self.server_cert.is_some() {
            document["server"]["ca"] = value(CA);
        }
        if self.verification_key.is_some() {
            document["artifact"]["verify_keys"] = value(Array::from_iter([KEY]));
        }
        write(root, ROTA_TOML, document.to_string().as_bytes())?;
        self.copy(root, self.server_cert, CA)?;
        self.copy(root, self.verification_key, KEY)
    }

    fn copy(&self, root: &FileSystem, host: Option<&Path>, path: &str) -> Result<(), Fail> {
        match host {
            Some(host) => write(
                root,
                path,
                &fs::read(host).during(ARGUMENTS, format_args!("cannot read {}", host.display()))?,
            ),
            None => Ok(()),
        }
    }
}

/// Puts another name into an `artifact_info`, and leaves its other lines.
fn rename(root: &FileSystem, path: &str, name: &str) -> Result<(), Fail> {
    let info = read(root, path)?;
    let lines = info.lines().map(|line| match line.starts_with("artifact_name=") {
        true => format!("artifact_name={name}\n"),
        false => format!("{line}\n"),
    });
    write(root, path, lines.collect::<String>().as_bytes())
}

fn exists(root: &FileSystem, path: &str) -> bool {
    root.find(path).is_ok_and(|found| found.is_some())
}

fn read(root: &FileSystem, path: &str) -> Result<String, Fail> {
    let file = files::named_temporary()?;
    let out = file.as_file().try_clone().during(ARGUMENTS, "cannot make a temporary file")?;
    root.read(path, Stdio::from(out))?;
    fs::read_to_string(file.path()).during(INVALID, path)
}

fn write(root: &FileSystem, path: &str, bytes: &[u8]) -> Result<(), Fail> {
    let mut file = files::named_temporary()?;
    file.as_file_mut().write_all(bytes).during(ARGUMENTS, "cannot write a temporary file")?;
    root.write(file.path(), path, 0o644, true)
}
