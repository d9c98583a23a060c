//! What knows how to install one type of payload.

use std::io::Read;

use rota_artifact::{FileSummary, Header, Payload};

use super::journal::{Reboot, Update};
use super::module::{self, Module};
use super::rootfs::Rootfs;
use super::state::State;
use crate::config::Paths;
use crate::device::Device;
use crate::provides::Facts;
use crate::signals::Signals;

/// Where an artifact's bytes come from.
pub type Source<'a> = Box<dyn Read + 'a>;

/// What a handler works on.
pub struct Context<'a> {
    /// The machine.
    pub device: &'a mut Device,
    /// The update; the caller makes it durable.
    pub update: &'a mut Update,
    /// Says when the client is to end: whatever takes long must look.
    pub signals: &'a Signals,
}

/// Installs one type of payload: one function for each call of the update modules' protocol. It keeps nothing itself, since
/// the client may be stopped and started anew between any two calls. Errors say why, in a sentence.
pub trait Handler {
    /// An artifact has come that is for this device, which provides `installed`.
    fn begin(&self, _: &mut Context<'_>, _header: &Header, _installed: &Facts) -> Result<(), String> {
        Ok(())
    }
    /// Takes the payload to where it can be installed from. Nothing that runs may change by it.
    fn download(&self, cx: &mut Context<'_>, payload: &mut Payload<'_, Source<'_>>) -> Result<(), String>;
    /// The whole artifact was read and is as its manifest says; `files` are the payload's.
    fn downloaded(&self, _: &mut Context<'_>, _files: &[FileSummary]) -> Result<(), String> {
        Ok(())
    }
    /// Installs it.
    fn install(&self, cx: &mut Context<'_>) -> Result<(), String>;
    /// Which restart it needs, asked after `install`.
    fn needs_reboot(&self, cx: &mut Context<'_>) -> Result<Reboot, String>;
    /// The last act before the client restarts the machine (`Reboot::Automatic`).
    fn arm(&self, _: &mut Context<'_>) -> Result<(), String> {
        Ok(())
    }
    /// Restarts what has to be restarted (`Reboot::Custom`); may not return.
    fn reboot(&self, _: &mut Context<'_>) -> Result<(), String> {
        Ok(())
    }
    /// After the restart: whether it brought what was installed.
    fn verify_reboot(&self, cx: &mut Context<'_>) -> Result<(), String>;
    /// Whether it can be undone.
    fn supports_rollback(&self, cx: &mut Context<'_>) -> Result<bool, String>;
    /// Makes it lasting.
    fn commit(&self, cx: &mut Context<'_>) -> Result<(), String>;
    /// Undoes it.
    fn rollback(&self, cx: &mut Context<'_>) -> Result<(), String>;
    /// Whether undoing it needs a restart.
    fn needs_rollback_reboot(&self, cx: &mut Context<'_>) -> Result<bool, String> {
        Ok(cx.update.rebooted)
    }
    /// Restarts what has to be restarted (`Reboot::Custom`); may not return.
    fn rollback_reboot(&self, _: &mut Context<'_>) -> Result<(), String> {
        Ok(())
    }
    /// After that restart: whether all is as it was before.
    fn verify_rollback_reboot(&self, cx: &mut Context<'_>) -> Result<(), String>;
    /// The update has failed, whatever was undone.
    fn failure(&self, _: &mut Context<'_>) -> Result<(), String> {
        Ok(())
    }
    /// The last call, always.
    fn cleanup(&self, _: &mut Context<'_>) -> Result<(), String> {
        Ok(())
    }
    /// Where to go on when the client was stopped in `state`, and why the update has failed if it has.
    fn recover(&self, _: &mut Context<'_>, state: State) -> (State, Option<String>) {
        let (next, failed) = state.recovered();
        (next, failed.then(|| format!("the client was stopped in {}", state.words())))
    }
}

/// Any handler.
pub type AnyHandler = dyn Handler;

/// The one payload type that the client installs itself.
const ROOTFS: &str = "rootfs-image";

/// Whether an update module installs this payload type on this device, or else the client itself; an error when nobody does.
///
/// A module counts more than what is built in. But Mender's own rootfs-image is on every device that has Mender's client; it
/// lets an unfinished slot boot, and arms the trial before the update is ready. So that one counts only where no slots
/// are configured; to have it all the same, link it into rota's own folder.
pub fn by_module(payload_type: &str, device: &Device) -> Result<bool, String> {
    if payload_type == ROOTFS && device.layout().is_ok() {
        return Ok(Module::is_native(payload_type, &device.paths));
    }
    match Module::find(payload_type, &device.paths) {
        Ok(_) => Ok(true),
        Err(_) if payload_type == ROOTFS => Ok(false),
        Err(why) => {
            let known = known_types(&device.paths).join(", ");
            Err(format!(
                "payload type \"{}\" is not supported: {why}; known are {known}",
                payload_type.escape_debug()
            ))
        }
    }
}

/// Every payload type that this device can install, in order.
pub fn known_types(paths: &Paths) -> Vec<String> {
    let mut types = module::installed(paths);
    types.insert(ROOTFS.into());
    types.into_iter().collect()
}

/// The handler of the update that is under way; `None` when its artifact only sets provides.
pub fn of(update: &Update, paths: &Paths) -> Result<Option<Box<AnyHandler>>, String> {
    match update.payload_type.as_deref() {
        None => Ok(None),
        Some(ROOTFS) if !update.by_module => Ok(Some(Box::new(Rootfs))),
        Some(other) => match Module::find(other, paths) {
            Ok(module) => Ok(Some(Box::new(module))),
            Err(why) => Err(format!("the update module of payload type \"{other}\" is gone: {why}")),
        },
    }
}
