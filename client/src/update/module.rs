//! Payload types that a program on the device installs (update modules: protocol 3).

mod call;
mod stream;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rota_artifact::{FileSummary, Header, Payload};

use self::call::Call;
use self::tree::Tree;
use super::handler::{Context, Handler, Source};
use super::health::executables;
use super::journal::Reboot;
use super::state::State;
use crate::config::Paths;
use crate::device::Standing;
use crate::provides::Facts;

/// Where modules lie below rota's own folder and below Mender's.
const FOLDER: &str = "modules/v3";

/// The update module of one payload type.
pub struct Module {
    payload_type: String,
    program: PathBuf,
}

impl Module {
    /// The module of this payload type: rota's folder counts more than Mender's. Otherwise says where there is none.
    pub fn find(payload_type: &str, paths: &Paths) -> Result<Module, String> {
        check_name(payload_type)?;
        let places = folders(paths).map(|folder| folder.join(payload_type));
        let found = places.iter().find(|program| is_program(program));
        match (found, places.iter().find(|program| program.exists())) {
            (Some(program), _) => {
                Ok(Module { payload_type: payload_type.to_owned(), program: program.to_owned() })
            }
            (None, Some(file)) => Err(format!("{} is no program that may be run", file.display())),
            (None, None) => {
                Err(format!("there is neither {} nor {}", places[0].display(), places[1].display()))
            }
        }
    }

    /// Whether rota's own folder, where a module is put on purpose, has one of this payload type.
    pub fn is_native(payload_type: &str, paths: &Paths) -> bool {
        check_name(payload_type).is_ok() && is_program(&folders(paths)[0].join(payload_type))
    }

    fn tell(&self, cx: &Context<'_>, call: &str) -> Result<(), String> {
        Call::start(self, cx, call)?.finish().map(|_| ())
    }

    /// Asks a question that `Yes`, `No` or nothing answers, or one of `others`.
    fn ask(&self, cx: &Context<'_>, question: &str, others: &[&str]) -> Result<String, String> {
        let answer = Call::start_query(self, cx, question)?.finish()?;
        let known = ["", "No", "Yes"].iter().chain(others).any(|known| *known == answer);
        if known {
            return Ok(answer);
        }
        let (name, answer) = (&self.payload_type, answer.escape_debug());
        Err(format!(
            "update module {name}: {question} was answered \"{answer}\"; expected one line: Yes, No{}",
            others.iter().map(|other| format!(", {other}")).collect::<String>()
        ))
    }
}

/// The payload types that modules on this device install.
pub fn installed(paths: &Paths) -> BTreeSet<String> {
    let programs = folders(paths).into_iter().flat_map(|folder| executables(&folder));
    let names = programs.filter_map(|program| Some(program.file_name()?.to_str()?.to_owned()));
    names.filter(|name| check_name(name).is_ok()).collect()
}

fn folders(paths: &Paths) -> [PathBuf; 2] {
    [paths.lib.join(FOLDER), paths.mender.join(FOLDER)]
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A payload type names a program: only a plain file name leads to one in its folder.
fn check_name(payload_type: &str) -> Result<(), String> {
    let plain = |c: char| !c.is_control() && c != '/';
    if (1..=255).contains(&payload_type.len())
        && !payload_type.starts_with('.')
        && payload_type.chars().all(plain)
    {
        return Ok(());
    }
    Err("the name is no plain file name, as an update module has it".into())
}

/// The calls of the protocol, one for one. A module is asked to be able to take every call twice.
impl Handler for Module {
    fn begin(&self, cx: &mut Context<'_>, header: &Header, installed: &Facts) -> Result<(), String> {
        let device_type = cx.device.config.device_type.as_deref().unwrap_or_default();
        Tree::of(cx).make(header, installed, device_type)
    }

    fn download(&self, cx: &mut Context<'_>, payload: &mut Payload<'_, Source<'_>>) -> Result<(), String> {
        let with_sizes = self.ask(cx, "ProvidePayloadFileSizes", &[])? == "Yes";
        stream::download(self, cx, payload, with_sizes)
    }

    fn downloaded(&self, cx: &mut Context<'_>, files: &[FileSummary]) -> Result<(), String> {
        for file in files {
            log::info!("{}: {} bytes, SHA-256 {}", file.name, file.size, file.sha256);
        }
        cx.update.attempt.event(format!("update module {} took {} files", self.payload_type, files.len()));
        Ok(())
    }

    fn install(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactInstall")
    }

    fn needs_reboot(&self, cx: &mut Context<'_>) -> Result<Reboot, String> {
        Ok(match self.ask(cx, "NeedsArtifactReboot", &["Automatic"])?.as_str() {
            "Yes" => Reboot::Custom,
            "Automatic" => Reboot::Automatic,
            _ => Reboot::No,
        })
    }

    fn reboot(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactReboot")
    }

    fn verify_reboot(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactVerifyReboot")
    }

    fn supports_rollback(&self, cx: &mut Context<'_>) -> Result<bool, String> {
        Ok(self.ask(cx, "SupportsRollback", &[])? == "Yes")
    }

    fn commit(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactCommit")?;
        // A module may have updated the root file system: then the guard waits to be told.
        if !cx.device.view().is_ok_and(|view| view.standing() == Standing::Trial) {
            cx.device.mark_committed();
        }
        Ok(())
    }

    fn rollback(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactRollback")
    }

    fn needs_rollback_reboot(&self, cx: &mut Context<'_>) -> Result<bool, String> {
        // Nobody knows whether a person who installed by hand has restarted the machine.
        let by_hand = cx.update.attempt.deployment.is_none();
        Ok(cx.update.rebooted || by_hand && cx.update.reboot != Reboot::No)
    }

    fn rollback_reboot(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactRollbackReboot")
    }

    fn verify_rollback_reboot(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactVerifyRollbackReboot")
    }

    fn failure(&self, cx: &mut Context<'_>) -> Result<(), String> {
        self.tell(cx, "ArtifactFailure")
    }

    /// The tree goes away last: without it, the module has been here already.
    fn cleanup(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let tree = Tree::of(cx);
        let cleaned = if tree.exists() { self.tell(cx, "Cleanup") } else { Ok(()) };
        if cx.signals.stopped() {
            return cleaned;
        }
        // Whatever the module says: the tree goes.
        let removed = tree.remove();
        cleaned.and(removed)
    }

    /// As the protocol has it; only a restart that the client had still to begin is begun again.
    fn recover(&self, cx: &mut Context<'_>, state: State) -> (State, Option<String>) {
        let same_boot = cx.update.armed.as_deref() == Some(&cx.device.system.boot_id());
        if state == State::ArtifactReboot && cx.update.reboot == Reboot::Automatic && same_boot {
            return (State::ArtifactReboot, None);
        }
        // While the restart waited for its window the machine restarted by itself: that was it.
        let held_before = cx.update.held.as_deref().is_some_and(|boot| boot != cx.device.system.boot_id());
        if state == State::ReportRebooting && cx.update.reboot == Reboot::Automatic && held_before {
            cx.update.rebooted = true;
            return (State::ArtifactVerifyReboot, None);
        }
        let (next, failed) = state.recovered();
        (next, failed.then(|| format!("the client was stopped in {}", state.words())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> Paths {
        Paths { lib: folder.join("rota"), mender: folder.join("mender"), ..Paths::default() }
    }

    fn put(path: PathBuf, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn rotas_folder_counts_more_than_menders() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        let [native, menders] = folders(&paths);
        let error = Module::find("deb", &paths).err().unwrap();
        assert!(
            error.contains("/rota/modules/v3/deb") && error.contains("/mender/modules/v3/deb"),
            "{error}"
        );
        put(menders.join("deb"), 0o755);
        put(menders.join("directory"), 0o755);
        put(native.join("directory"), 0o755);
        put(native.join("deb"), 0o644);
        assert_eq!(Module::find("deb", &paths).unwrap().program, menders.join("deb"));
        assert_eq!(Module::find("directory", &paths).unwrap().program, native.join("directory"));
        assert!(Module::is_native("directory", &paths) && !Module::is_native("deb", &paths));
        assert_eq!(installed(&paths), BTreeSet::from(["deb".to_owned(), "directory".to_owned()]));
        put(native.join("plain"), 0o644);
        assert!(Module::find("plain", &paths).err().unwrap().contains("is no program that may be run"));
    }

    #[test]
    fn a_payload_type_leads_nowhere_but_into_the_folder() {
        let folder = crate::testing::folder();
        let paths = paths(&folder);
        put(paths.lib.join("modules/evil"), 0o755);
        put(paths.lib.join("modules/v3/.hidden"), 0o755);
        let long = "x".repeat(256);
        for name in ["", ".", "..", "../evil", "/bin/sh", "a/b", ".hidden", "a\0b", "a\nb", &long] {
            let error = Module::find(name, &paths).err().unwrap();
            assert!(error.contains("no plain file name"), "{name:?}: {error}");
        }
        assert!(installed(&paths).is_empty());
    }
}
