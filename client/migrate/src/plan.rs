//! What is to be done: looked up without changing anything.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rota::config::{Config, Paths};
use rota::device::{Device, Standing};
use rota::identity;
use rota::key::{self, DeviceKey};
use rota::provides::{Facts, Provides};
use rota::slot::{Slot, System};
use rota::sys::disk;

use crate::place::Place;
use crate::store::Store;
use crate::toml;

/// Largest file that is taken over, in bytes.
const LARGEST: u64 = 64 << 20;
/// Where modules lie below rota's and Mender's folders.
const MODULES: &str = "modules/v3";
/// Built into rota: a module of that name would take its place.
const BUILT_IN: &str = "rootfs-image";

/// A file that is to be made.
#[derive(Debug, Clone)]
pub struct Put {
    /// Where.
    pub to: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// What it is, in words.
    pub what: String,
    /// A file that is there and says nothing is kept under another name meanwhile.
    pub replaces: bool,
}

/// Everything that is to be done.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Why it cannot be done; nothing else is complete then.
    pub refusals: Vec<String>,
    /// What a person should know: what stays where it is, and what is not taken over.
    pub notes: Vec<String>,
    /// rota's data folder is a link, and leads there: to the data partition.
    pub link: Option<PathBuf>,
    /// The files.
    pub puts: Vec<Put>,
    /// What the device provides, if anything was ever installed.
    pub facts: Option<Facts>,
    /// The slot that runs, on a device with two.
    pub slot: Option<Slot>,
    /// Mender's units that are there, and those that run.
    pub units: (Vec<String>, Vec<String>),
    /// The identity, which stays.
    pub attributes: String,
    /// PEM of the public key, which stays.
    pub public_key: String,
}

impl Plan {
    /// Looks everything up.
    pub fn of(place: &Place) -> Plan {
        let mut plan = Plan::default();
        let menders = place.of_mender();
        let config = Config::load_with(&menders, std::iter::empty());
        if !menders.is_menders() {
            let file = menders.mender_conf.join("mender.conf");
            plan.refuse(format!("this is no Mender device: there is no {}", file.display()));
        }
        plan.refusals.extend(config.faults.iter().cloned());
        plan.look_at_data(place);
        plan.look_at_identity(place, &menders, &config);
        plan.look_at_store(&place.paths.mender_data);
        plan.look_at_slots(&menders, &config);
        plan.take_configuration(place, config);
        plan.take_programs(place);
        plan.look_at_services(place);
        plan
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.refusals.push(why.into());
    }

    /// rota's data belong on the partition where Mender's are: they outlive the slot.
    fn look_at_data(&mut self, place: &Place) {
        let Paths { data, mender_data, .. } = &place.paths;
        let found =
            nearest(data).and_then(|ours| Ok((ours, mender_data.metadata()?, mender_data.canonicalize()?)));
        let (ours, theirs, real) = match found {
            Ok(found) => found,
            Err(error) => return self.refuse(format!("{}: {error}", mender_data.display())),
        };
        if ours.dev() == theirs.dev() {
            return;
        }
        if data.symlink_metadata().is_ok() {
            let why = "lies on another file system than Mender's data, and would be lost with the slot";
            return self.refuse(format!("{} {why}; move it to that of {}", data.display(), real.display()));
        }
        let beside =
            real.parent().filter(|parent| parent.metadata().is_ok_and(|meta| meta.dev() == theirs.dev()));
        self.link = Some(beside.unwrap_or(&real).join("rota"));
    }

    fn look_at_identity(&mut self, place: &Place, menders: &Paths, config: &Config) {
        let data = &place.paths.data;
        let script = menders.mender.join("identity/mender-device-identity");
        match identity::attributes(menders) {
            Ok(attributes) => self.attributes = attributes,
            Err(why) => self.refuse(format!("the device's identity: {why}")),
        }
        if script.exists() {
            self.copy(&script, place.paths.lib.join("identity"), "the identity script");
        }
        if let Ok(now) = identity::attributes(&Paths { mender: "/nonexistent".into(), ..place.paths.clone() })
        {
            if place.paths.lib.join("identity").exists() && now != self.attributes {
                let (script, now_is) = (place.paths.lib.join("identity"), &self.attributes);
                self.refuse(format!(
                    "{} says {now}, Mender's says {now_is}: the server would see another device",
                    script.display()
                ));
            }
        }
        let file = key::file(menders, config.device_key.as_deref());
        if !key::exists(&file) {
            return self.refuse(format!(
                "{}: there is no key yet; let Mender's client make one first",
                file.display()
            ));
        }
        match DeviceKey::read(&file).and_then(|key| key.public_key()) {
            Ok(key) => self.public_key = key,
            Err(why) => return self.refuse(why),
        }
        let ours = data.join("device-key.pem");
        match ours.symlink_metadata() {
            Ok(_) => {
                let same = DeviceKey::read(&ours)
                    .and_then(|key| key.public_key())
                    .is_ok_and(|key| key == self.public_key);
                if !same {
                    self.refuse(format!("{} is another key than Mender's; move it away", ours.display()));
                }
            }
            Err(_) if is_within(&file, menders) => self.copy(&file, ours, "the device key"),
            Err(_) => {}
        }
    }

    fn look_at_store(&mut self, folder: &Path) {
        let store = match Store::read(folder) {
            Ok(store) => store,
            Err(why) => return self.refuse(why),
        };
        if let Some(why) = store.unfinished() {
            self.refuse(why);
        }
        match store.facts() {
            Ok(facts) => self.facts = facts,
            Err(why) => self.refuse(why),
        }
        if let Some(Err(why)) = self.facts.as_ref().map(Provides::fits) {
            self.refuse(why);
        }
    }

    /// Nothing may be on trial.
    fn look_at_slots(&mut self, menders: &Paths, config: &Config) {
        if config.slots.is_none() {
            let note = "mender.conf names no RootfsPartA and RootfsPartB: update modules will work, root file systems cannot be updated";
            return self.notes.push(note.into());
        }
        match Device::with(menders.clone(), System::default(), config.clone()).view() {
            Ok(view) if view.standing() == Standing::Committed => self.slot = Some(view.booted),
            Ok(view) => self.refuse(format!(
                "the booted slot is not at rest ({}); commit or roll back first",
                view.standing().name()
            )),
            Err(why) => self.refuse(format!("{why}; rota could not update this device's root file systems")),
        }
    }

    fn take_configuration(&mut self, place: &Place, mut config: Config) {
        let Paths { conf, data, .. } = &place.paths;
        let menders = place.of_mender();
        if let Some(name) = config.device_type.take() {
            let bytes = format!("device_type={name}\n").into_bytes();
            self.put(data.join("device_type"), bytes, 0o644, format!("the type of the device, {name}"));
        } else {
            self.refuse("Mender's device_type is missing: no artifact would be for this device");
        }
        let info = menders.mender_conf.join("artifact_info");
        if info.exists() {
            self.copy(&info, conf.join("artifact_info"), "what the image was built as");
        }
        // Whatever lies in Mender's folders goes with Mender's client one day.
        if config.device_key.as_ref().is_some_and(|file| is_within(file, &menders)) {
            config.device_key = None;
        }
        if config.deployment_logs.as_ref().is_some_and(|folder| is_within(folder, &menders)) {
            config.deployment_logs = None;
        }
        let keys = config.verify_keys.iter_mut().flatten();
        let files = [&mut config.ca, &mut config.client_certificate, &mut config.client_key]
            .into_iter()
            .flatten()
            .chain(keys);
        let mut copies = Vec::new();
        for file in files.filter(|file| is_within(file, &menders)) {
            let to = conf.join(file.file_name().unwrap_or_default());
            copies.push((std::mem::replace(file, to.clone()), to));
        }
        for (from, to) in copies {
            self.copy(&from, to, "a certificate or key of the configuration");
        }
        let from = menders.mender_conf.join("mender.conf");
        let bytes = toml::write(&config, &from.display().to_string()).into_bytes();
        self.put_configuration(conf, bytes);
    }

    /// A configuration that somebody wrote for rota counts more than Mender's.
    fn put_configuration(&mut self, conf: &Path, bytes: Vec<u8>) {
        let file = conf.join("rota.toml");
        let said = disk::read(&file, 1 << 20).ok().map(|text| String::from_utf8_lossy(&text).into_owned());
        let drop_ins = fs::read_dir(conf.join("rota.toml.d")).is_ok_and(|mut folder| folder.next().is_some());
        match said {
            Some(text) if drop_ins || !toml::says_nothing(&text) => {
                self.notes
                    .push(format!("{} is there and counts; mender.conf is not translated", file.display()));
            }
            None if drop_ins => self
                .notes
                .push(format!("{}.d is there and counts; mender.conf is not translated", file.display())),
            said => {
                let what = "the configuration, from mender.conf".to_owned();
                self.puts.push(Put { to: file, bytes, mode: 0o600, what, replaces: said.is_some() });
            }
        }
    }

    /// State scripts, and modules that rota has not.
    fn take_programs(&mut self, place: &Place) {
        let Paths { conf, lib, mender, mender_conf, .. } = &place.paths;
        let scripts = conf.join("scripts");
        if scripts.is_dir() {
            self.notes.push(format!(
                "{} is there and counts; Mender's state scripts are not taken",
                scripts.display()
            ));
        } else {
            for (file, name) in files_of(&mender_conf.join("scripts")) {
                self.copy(&file, scripts.join(&name), "a state script");
            }
        }
        for (file, name) in files_of(&mender.join(MODULES)) {
            if name != BUILT_IN && file.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0) {
                self.copy(&file, lib.join(MODULES).join(&name), "an update module");
            }
        }
        if !files_of(&mender.join("inventory")).is_empty() {
            self.notes.push(format!(
                "inventory scripts stay in {}: rota runs them there",
                mender.join("inventory").display()
            ));
        }
    }

    fn look_at_services(&mut self, place: &Place) {
        self.units = place.services.menders();
        if place.services.systemctl.is_none() {
            self.notes.push(
                "there is no systemd here: init has to be told by hand what to start (see the end)".into(),
            );
        } else if !place.services.has_ours() {
            self.refuse("systemd knows no rota.service; install rota first");
        } else if self.units.0.is_empty() {
            self.notes.push("systemd knows no unit of Mender's client".into());
        }
        if !place.rota.is_file() {
            self.refuse(format!("{} is missing; install rota first", place.rota.display()));
        }
        for addon in self.units.0.iter().filter(|unit| unit.contains("connect") || unit.contains("monitor")) {
            self.notes.push(format!("{addon} works through Mender's client only, and stops with it"));
        }
    }

    fn copy(&mut self, from: &Path, to: PathBuf, what: &str) {
        let read =
            disk::read(from, LARGEST).and_then(|bytes| Ok((bytes, from.metadata()?.permissions().mode())));
        match read {
            Ok((bytes, mode)) => {
                self.put(to, bytes, mode & 0o7777, format!("{what}, from {}", from.display()))
            }
            Err(error) => self.refuse(format!("{}: {error}", from.display())),
        }
    }

    /// What is there already stays as it is.
    fn put(&mut self, to: PathBuf, bytes: Vec<u8>, mode: u32, what: String) {
        match disk::read(&to, LARGEST) {
            Ok(there) if there == bytes => {}
            Ok(_) => self.notes.push(format!("{} is there and stays; it is not {what}", to.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.puts.push(Put { to, bytes, mode, what, replaces: false });
            }
            Err(error) => self.refuse(format!("{}: {error}", to.display())),
        }
    }
}

/// The folder itself, or the nearest one above that is there.
fn nearest(folder: &Path) -> io::Result<fs::Metadata> {
    let there = folder.ancestors().find_map(|folder| folder.metadata().ok());
    there.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn is_within(file: &Path, menders: &Paths) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    [&menders.mender_conf, &menders.mender_data, &menders.mender]
        .iter()
        .any(|folder| file.starts_with(folder) || real(file).starts_with(real(folder)))
}

/// The plain files of a folder, by name.
fn files_of(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)));
    let mut files: Vec<_> = named.filter(|(path, name)| path.is_file() && !name.starts_with('.')).collect();
    files.sort();
    files
}
