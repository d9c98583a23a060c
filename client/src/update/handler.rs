//! What knows how to install one type of payload.

use std::io::Read;

use rota_artifact::{FileSummary, Payload};

use super::journal::{Reboot, Update};
use super::rootfs::Rootfs;
use super::state::State;
use crate::device::Device;

/// Where an artifact's bytes come from.
pub type Source<'a> = Box<dyn Read + 'a>;

/// What a handler works on.
pub struct Context<'a> {
    /// The machine.
    pub device: &'a mut Device,
    /// The update; the caller makes it durable.
    pub update: &'a mut Update,
}

/// Installs one type of payload: one function for each call of the update modules' protocol. It keeps nothing itself, since
/// the client may be stopped and started anew between any two calls. Errors say why, in a sentence.
pub trait Handler {
    /// Takes the payload to where it can be installed from. Nothing that runs may change by it.
    fn download(&self, cx: &mut Context<'_>, payload: &mut Payload<'_, Source<'_>>) -> Result<(), String>;
    /// The whole artifact was read and is as its manifest says; `files` are the payload's.
    fn downloaded(&self, _: &mut Context<'_>, _files: &[FileSummary]) -> Result<(), String> {
        Ok(())
    }
    /// The artifact is not what it should be: what was taken of the payload may not be used.
    fn discard(&self, _: &mut Context<'_>) -> Result<(), String> {
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

/// The handler of a payload type.
pub fn for_type(payload_type: &str) -> Result<Box<AnyHandler>, String> {
    match payload_type {
        "rootfs-image" => Ok(Box::new(Rootfs)),
        other => {
            Err(format!("payload type \"{other}\" is not supported by this client; known is rootfs-image"))
        }
    }
}
