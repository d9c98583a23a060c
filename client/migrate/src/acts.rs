//! `do` and `undo`. One file decides which client is in charge, the mark: until it is made everything is preparation, which
//! is taken back when it cannot be completed; once it is removed, the rest is clearing up. Whatever a power cut leaves, the
//! next `do` or `undo` begins by bringing it to an end.

use std::io;
use std::path::Path;
use std::time::Duration;

use rota::config::{Config, Paths};
use rota::daemon;
use rota::device::{Device, Standing};
use rota::identity;
use rota::key::{self, DeviceKey};
use rota::provides::{Facts, Provides};
use rota::slot::System;
use rota::sys::disk;
use rota::sys::lock::Lock;
use rota::update::journal::Journal;

use crate::place::Place;
use crate::plan::{Plan, Put};
use crate::record::Record;
use crate::store::{self, Store};

/// How long Mender's client may keep its data base after it was stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether rota is in charge of this device.
pub fn is_in_charge(place: &Place) -> bool {
    place.mark().symlink_metadata().is_ok()
}

/// Takes the device over. Returns what a person has to do next; nothing, if that is nothing.
pub fn take_over(place: &Place) -> Result<String, String> {
    let _alone = alone(place)?;
    if is_in_charge(place) {
        place.services.start_ours()?;
        return Ok("rota is in charge already.\n".into());
    }
    if let Some(record) = Record::read(place)? {
        clear(place, &record)?;
    }
    let plan = Plan::of(place);
    if !plan.refusals.is_empty() {
        return Err(plan.refusals.join("\nrota-migrate: "));
    }
    must_be_stopped_by_hand(place)?;
    let mut record = Record::of(&plan, place);
    record.save(place)?;
    let started = prepare(place, &plan, &mut record)
        .and_then(|()| mark(place))
        .and_then(|()| place.services.start_ours());
    if let Err(why) = started {
        // A device without a client cannot be reached to be mended.
        return Err(format!("{why}\nrota-migrate: {}", fall_back(place, &record)));
    }
    Ok(match place.services.systemctl {
        Some(_) => String::new(),
        None => BY_HAND.into(),
    })
}

/// What is to be done where there is no systemd.
const BY_HAND: &str = "\
Now let init start rota and rota-guard (dist/rota.init, dist/rota-guard.init) in the place of Mender's client, for example
    update-rc.d mender-client remove; update-rc.d rota defaults 90 10; update-rc.d rota-guard start 04 S .; /etc/init.d/rota start
Never let both run: to the server they are one device.
";

/// Gives the device back to Mender's client.
pub fn give_back(place: &Place) -> Result<String, String> {
    let _alone = alone(place)?;
    let Some(record) = Record::read(place)? else {
        return match is_in_charge(place) {
            true => Err(format!("{} is missing: it is not known what was done", place.record().display())),
            false => Ok("There is nothing to undo: Mender's client is in charge.\n".into()),
        };
    };
    if is_in_charge(place) {
        can_be_given_back(place, &record)?;
        must_be_stopped_by_hand(place)?;
    }
    give_back_now(place, &record)?;
    Ok(match place.services.systemctl {
        Some(_) => String::new(),
        None => "Now let init start Mender's client in the place of rota and rota-guard.\n".into(),
    })
}

fn can_be_given_back(place: &Place, record: &Record) -> Result<(), String> {
    let there = place.services.menders().0;
    if let Some(unit) = record.menders.iter().find(|unit| !there.contains(unit)) {
        return Err(format!(
            "systemd knows no {unit} any more: there is no client of Mender's to give the device back to"
        ));
    }
    at_rest(place)
}

/// rota has nothing under way.
fn at_rest(place: &Place) -> Result<(), String> {
    let paths = place.paths.clone();
    if Journal::peek(&paths.data).update.is_some() {
        return Err("rota has an update under way; let it come to its end first (rota status)".into());
    }
    let config = Config::load_with(&paths, std::iter::empty());
    if config.slots.is_none() {
        return Ok(());
    }
    match Device::with(paths, System::default(), config).view()?.standing() {
        Standing::Committed => Ok(()),
        standing => Err(format!("the booted slot is not at rest ({}); see rota status", standing.name())),
    }
}

fn give_back_now(place: &Place, record: &Record) -> Result<(), String> {
    let unmarked = || {
        place.services.stop_ours()?;
        // It may have begun something until it was stopped.
        at_rest(place)?;
        give_facts_back(place, record)?;
        unmark(place)
    };
    if is_in_charge(place) {
        if let Err(why) = unmarked() {
            return Err(format!("{why}\nrota-migrate: {}", start_who_is_in_charge(place, record)));
        }
    }
    let cleared = clear(place, record);
    let started = place.services.start(&record.running);
    cleared.and(started)
}

/// Takes back what was prepared, or done; says which client is in charge then.
fn fall_back(place: &Place, record: &Record) -> String {
    let cleared = place.services.stop_ours().and_then(|()| unmark(place)).and_then(|()| clear(place, record));
    let left = cleared.err().map(|why| format!("\nrota-migrate: {why}; run rota-migrate undo"));
    start_who_is_in_charge(place, record) + &left.unwrap_or_default()
}

fn start_who_is_in_charge(place: &Place, record: &Record) -> String {
    let (who, started) = match is_in_charge(place) {
        true => ("rota", place.services.start_ours()),
        false => ("Mender's client", place.services.start(&record.running)),
    };
    let failed = started.err().map(|why| format!(", but was not started: {why}"));
    format!("{who} is in charge{}", failed.unwrap_or_default())
}

/// What rota has installed meanwhile is told to Mender's client.
fn give_facts_back(place: &Place, record: &Record) -> Result<(), String> {
    let facts = Provides::peek(&place.paths);
    if record.facts.as_ref().map_or(true, |before| *before == facts) {
        return Ok(());
    }
    nobody_holds(place)?;
    let folder = &place.paths.mender_data;
    let file = store::file(folder);
    let bytes = Store::read(folder)?
        .with(&facts)
        .ok_or("what the device provides does not fit into Mender's data base")?;
    disk::replace(&file, &bytes, 0o600).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// One of us at a time.
fn alone(place: &Place) -> Result<Lock, String> {
    let run = &place.paths.run;
    let lock =
        std::fs::create_dir_all(run).and_then(|()| Lock::take(&run.join("migrate.lock"), Duration::ZERO));
    match lock {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err("another rota-migrate is at work".into()),
        Err(error) => Err(format!("{}: {error}", run.display())),
    }
}

/// Where nobody can be asked to stop the two clients, a person has done it.
fn must_be_stopped_by_hand(place: &Place) -> Result<(), String> {
    if place.services.systemctl.is_some() {
        return Ok(());
    }
    if let Ok(pid) = daemon::running(&place.paths) {
        return Err(format!("rota's daemon runs (process {pid}); stop it: /etc/init.d/rota stop"));
    }
    match store::holder(&place.paths.mender_data) {
        Some(pid) => {
            Err(format!("Mender's client runs (process {pid}); stop it: /etc/init.d/mender-client stop"))
        }
        None => Ok(()),
    }
}

fn prepare(place: &Place, plan: &Plan, record: &mut Record) -> Result<(), String> {
    if let Some(real) = &plan.link {
        let data = &place.paths.data;
        disk::make_folder(real)
            .and_then(|()| disk::link(real, data))
            .map_err(|error| format!("cannot link {} to {}: {error}", data.display(), real.display()))?;
    }
    for folder in record.folders.iter().chain([&place.paths.data]) {
        disk::make_folder(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    }
    for put in &plan.puts {
        install(put).map_err(|error| format!("cannot write {}: {error}", put.to.display()))?;
    }
    place.services.bind(&record.menders, &place.mark())?;
    if daemon::running(&place.paths).is_ok() {
        place.services.stop_ours()?;
    }
    place.services.stop(&record.running)?;
    nobody_holds(place)?;
    // It may have begun something until it was stopped.
    let store = Store::read(&place.paths.mender_data)?;
    if let Some(why) = store.unfinished() {
        return Err(why);
    }
    record_facts(place, store.facts()?, plan)?;
    verify(place, plan)?;
    record.facts = Some(Provides::peek(&place.paths));
    record.save(place)
}

fn install(put: &Put) -> io::Result<()> {
    if put.replaces {
        disk::copy(&put.to, &Record::former(&put.to), 0o600)?;
    }
    disk::replace(&put.to, &put.bytes, put.mode)
}

fn nobody_holds(place: &Place) -> Result<(), String> {
    let until = std::time::Instant::now() + PATIENCE;
    while let Some(pid) = store::holder(&place.paths.mender_data) {
        if std::time::Instant::now() >= until {
            return Err(format!("process {pid} has Mender's data base open; stop it first"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn record_facts(place: &Place, facts: Option<Facts>, plan: &Plan) -> Result<(), String> {
    let Some(facts) = facts else { return Ok(()) };
    Provides::open(&place.paths).save(facts, plan.slot).map_err(|error| error.to_string())
}

/// The server will see the same device.
fn verify(place: &Place, plan: &Plan) -> Result<(), String> {
    let paths = place.paths.clone();
    let config = Config::load_with(&paths, std::iter::empty());
    if let Some(fault) = config.faults.first() {
        return Err(format!("rota does not understand its configuration: {fault}"));
    }
    if config.device_type.is_none() {
        return Err("rota finds no type of this device".into());
    }
    let key = DeviceKey::read(&key::file(&paths, config.device_key.as_deref()))?.public_key()?;
    if key != plan.public_key {
        return Err("rota would use another key than Mender's client".into());
    }
    let attributes = identity::attributes(&paths)?;
    if attributes != plan.attributes {
        return Err(format!("rota would say it is {attributes}, Mender's client says {}", plan.attributes));
    }
    Ok(())
}

/// The act: from here on rota is in charge.
fn mark(place: &Place) -> Result<(), String> {
    let mark = place.mark();
    let text = b"rota is in charge of this device, in the place of Mender's client: see rota-migrate.\n";
    disk::replace(&mark, text, 0o644).map_err(|error| format!("cannot write {}: {error}", mark.display()))
}

/// The act: from here on Mender's client is in charge.
fn unmark(place: &Place) -> Result<(), String> {
    let mark = place.mark();
    disk::remove(&mark).map_err(|error| format!("cannot remove {}: {error}", mark.display()))
}

/// Removes everything that the record names, and at last the record. The journal of rota, its epochs and logs stay.
fn clear(place: &Place, record: &Record) -> Result<(), String> {
    place.services.release(&record.menders)?;
    let cannot = |act: &str, file: &Path| {
        let what = format!("cannot {act} {}", file.display());
        move |error: io::Error| format!("{what}: {error}")
    };
    for file in &record.replaced {
        let former = Record::former(file);
        if former.exists() {
            disk::move_over(&former, file).map_err(cannot("restore", file))?;
        }
        // What a cut may have left of making either.
        disk::erase(&former).map_err(cannot("remove", &former))?;
    }
    for file in &record.made {
        disk::erase(file).map_err(cannot("remove", file))?;
    }
    for folder in record.folders.iter().rev() {
        // It stays where there is something else in it.
        let _ = std::fs::remove_dir(folder);
    }
    disk::erase(&place.mark()).map_err(cannot("remove", &place.mark()))?;
    disk::erase(&place.record()).map_err(cannot("remove", &place.record()))?;
    let _ = std::fs::remove_dir(&place.paths.conf);
    Ok(())
}

/// For `show`: whether an earlier `do` or `undo` was interrupted.
pub fn is_interrupted(place: &Place) -> bool {
    !is_in_charge(place) && place.record().symlink_metadata().is_ok()
}

/// The folders that rota will use.
pub fn data_folder(paths: &Paths, link: Option<&Path>) -> String {
    match link {
        Some(real) => format!("{} -> {}", paths.data.display(), real.display()),
        None => paths.data.display().to_string(),
    }
}
