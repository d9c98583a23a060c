//! The payload type `rootfs-image`: a root file system for the slot that is not running.

use std::io::{Read, Write};

use rota_artifact::{FileSummary, Payload};

use super::handler::{Context, Handler, Source};
use super::journal::Reboot;
use super::state::State;
use crate::device::{Device, Standing, View};
use crate::slot::{Slot, Target, Writer};
use crate::sys::watchdog;

/// Bytes moved at once.
const PIECE: usize = 128 << 10;

/// The built-in handler.
pub struct Rootfs;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn target(device: &Device, booted: Slot) -> Result<Target, String> {
    Target::open_in(device.layout()?, booted, &device.system).map_err(text)
}

/// The slot that is updated, and the one that ran when the update began.
fn slots(cx: &Context<'_>) -> Result<(Slot, Slot), String> {
    let origin = cx.update.origin.ok_or("the journal does not say which slot was written")?;
    Ok((origin.other(), origin))
}

/// The other slot may only be written when the boot loader does not need it.
fn settled(device: &mut Device) -> Result<View, String> {
    let view = device.view()?;
    match view.standing() {
        Standing::Committed | Standing::Armed => Ok(view),
        Standing::Trial => Err(format!(
            "slot {} is on trial and slot {} is what it returns to; commit or roll back first",
            view.booted, view.boot.committed
        )),
        Standing::Fallback => Err(format!(
            "slot {} runs but slot {} is the committed one; the running slot has to be committed first",
            view.booted, view.boot.committed
        )),
    }
}

impl Handler for Rootfs {
    fn download(&self, cx: &mut Context<'_>, payload: &mut Payload<'_, Source<'_>>) -> Result<(), String> {
        let view = settled(cx.device)?;
        let mut target = target(cx.device, view.booted)?;
        let (origin, slot) = (view.booted, target.slot());
        let mut file = payload.next_file().map_err(text)?.ok_or("the rootfs-image payload holds no file")?;
        let size = file.size();
        target.check_fits(size).map_err(text)?;
        cx.update.origin = Some(origin);
        cx.device.boot()?.invalidate(slot).map_err(text)?;
        cx.update.attempt.slot = Some(slot);
        log::info!("writing {} ({size} bytes) to slot {slot}", file.name());
        let mut writer = target.writer(size).map_err(text)?;
        copy(&mut file, &mut writer, size).map_err(|why| {
            cx.update.attempt.event(format!("slot {slot} was not written to its end"));
            why
        })?;
        drop(file);
        if payload.next_file().map_err(text)?.is_some() {
            return Err("the rootfs-image payload holds more than one file".into());
        }
        writer.finish().map_err(text)
    }

    fn downloaded(&self, cx: &mut Context<'_>, files: &[FileSummary]) -> Result<(), String> {
        let (slot, origin) = slots(cx)?;
        let [file] = files else { return Err("the rootfs-image payload holds not exactly one file".into()) };
        if cx.device.config.read_back {
            target(cx.device, origin)?.read_back(file.size, &file.sha256.0).map_err(text)?;
        }
        cx.update.attempt.event(format!("wrote {} bytes to slot {slot}, SHA-256 {}", file.size, file.sha256));
        log::info!("slot {slot} holds the whole image of {} bytes", file.size);
        Ok(())
    }

    fn install(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let (slot, _) = slots(cx)?;
        settled(cx.device)?;
        cx.device.boot()?.prepare(slot).map_err(text)
    }

    fn needs_reboot(&self, _: &mut Context<'_>) -> Result<Reboot, String> {
        Ok(Reboot::Automatic)
    }

    fn arm(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let (slot, origin) = slots(cx)?;
        let view = settled(cx.device)?;
        if view.booted != origin {
            return Err(format!("slot {} runs, but the update began on slot {origin}", view.booted));
        }
        cx.device.boot()?.arm(slot).map_err(text)?;
        cx.update.attempt.event(format!("armed a trial of slot {slot}"));
        Ok(())
    }

    fn verify_reboot(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let (slot, origin) = slots(cx)?;
        let view = cx.device.view()?;
        if view.booted == slot && view.standing() == Standing::Trial {
            return Ok(());
        }
        Err(if view.booted == origin { fell_back(cx, State::ArtifactReboot, view) } else { odd(slot, view) })
    }

    fn supports_rollback(&self, _: &mut Context<'_>) -> Result<bool, String> {
        Ok(true)
    }

    fn commit(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let (slot, _) = slots(cx)?;
        let view = cx.device.view()?;
        if view.booted != slot || view.standing() != Standing::Trial {
            return Err(odd(slot, view));
        }
        let committed = cx.device.boot()?.commit(slot).map_err(text);
        // Whatever was reported: what the boot loader's records say now is what the next boot will do.
        match (committed, cx.device.view()) {
            (Err(why), Ok(view)) if view.standing() == Standing::Committed => {
                log::warn!("slot {slot} is committed, but not without trouble: {why}");
            }
            (result, _) => result?,
        }
        cx.device.mark_committed();
        cx.update.attempt.event(format!("committed slot {slot}"));
        Ok(())
    }

    fn rollback(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let (slot, origin) = slots(cx)?;
        cx.device.boot()?.cancel().map_err(text)?;
        let view = cx.device.view()?;
        if view.boot.committed != origin {
            return Err(format!("slot {} is the committed one; expected slot {origin}", view.boot.committed));
        }
        if view.booted == slot {
            cx.update
                .attempt
                .event(format!("ended the trial of slot {slot}; the next boot is of slot {origin}"));
        }
        Ok(())
    }

    fn needs_rollback_reboot(&self, cx: &mut Context<'_>) -> Result<bool, String> {
        Ok(cx.device.booted()? != slots(cx)?.1)
    }

    fn verify_rollback_reboot(&self, cx: &mut Context<'_>) -> Result<(), String> {
        let (_, origin) = slots(cx)?;
        let view = cx.device.view()?;
        if view.booted == origin && view.boot.trial.is_none() {
            cx.update.attempt.event(format!("back in slot {origin}"));
            return Ok(());
        }
        Err(format!("the rollback has not brought back slot {origin}: slot {} runs", view.booted))
    }

    fn cleanup(&self, cx: &mut Context<'_>) -> Result<(), String> {
        // A trial that is still armed belongs to an update that has failed.
        if cx.device.view()?.standing() == Standing::Armed {
            cx.device.boot()?.cancel().map_err(text)?;
        }
        let view = cx.device.view()?;
        let is_back = Some(view.booted) == cx.update.origin && view.standing() == Standing::Committed;
        // Nobody wants back what was refused or rolled back, but a boot loader that has lost its records would start it, again and again.
        if is_back && !cx.update.committed && cx.update.attempt.slot.is_some() {
            target(cx.device, view.booted)?.invalidate().map_err(text)?;
        }
        Ok(())
    }

    /// Asks the boot loader first: its records are what counts.
    fn recover(&self, cx: &mut Context<'_>, state: State) -> (State, Option<String>) {
        use State::*;
        let (next, failed) = state.recovered();
        let trial = matches!(state, ArtifactReboot | ArtifactVerifyReboot | ArtifactCommit);
        let (Ok((slot, origin)), Ok(view), true) = (slots(cx), cx.device.view(), trial) else {
            return (next, failed.then(|| format!("the client was stopped in {}", state.words())));
        };
        match (view.booted == slot, view.standing()) {
            (true, Standing::Committed) => (AfterCommit, None),
            // Only the client was restarted: the trial goes on.
            (true, Standing::Trial) => (ArtifactVerifyReboot, None),
            (false, Standing::Armed) if state == ArtifactReboot && view.boot.attempts_left > 0 => {
                match cx.update.armed.as_deref() {
                    Some(armed) if armed != cx.device.system.boot_id() => (
                        CheckRollback,
                        Some(format!(
                            "{} was to start a trial of slot {slot}, but started slot {origin} again",
                            cx.device.loader()
                        )),
                    ),
                    _ => (ArtifactReboot, None),
                }
            }
            _ if view.booted == origin => (CheckRollback, Some(fell_back(cx, state, view))),
            _ => (CheckRollback, Some(odd(slot, view))),
        }
    }
}

/// What happened when the machine is back in the slot the update began on, although a trial had been begun in `state`.
fn fell_back(cx: &Context<'_>, state: State, view: View) -> String {
    let (slot, origin, loader) = (view.booted.other(), view.booted, cx.device.loader());
    if cx.update.armed.is_none() && state == State::ArtifactReboot {
        return format!(
            "the machine was restarted while a trial of slot {slot} was being armed; it may have been booted; slot {origin} runs"
        );
    }
    let times = match cx.device.tries() {
        1 => "once".to_owned(),
        tries => format!("at most {tries} times"),
    };
    let tried = format!(
        "trial of slot {slot} was booted {times} and not committed; {loader} fell back to slot {origin}"
    );
    match state {
        // The client of such a trial notes nothing: it waits for a person.
        State::ArtifactReboot if cx.update.attempt.deployment.is_none() => {
            format!("{tried}; nobody had committed it")
        }
        State::ArtifactReboot => format!("{tried}; the trial's client never reported"),
        _ => {
            let last = cx.update.attempt.events.last().map(|event| format!(" (last it noted: {event})"));
            format!(
                "{tried}; the trial's client ran, but the machine was restarted before it committed{}",
                last.unwrap_or_default()
            )
        }
    }
}

fn odd(slot: Slot, view: View) -> String {
    let trial = view.boot.trial.map_or_else(|| "no slot".to_owned(), |slot| format!("slot {slot}"));
    format!(
        "expected slot {slot} to be booted on trial; found slot {} booted, slot {} committed and {trial} on trial",
        view.booted, view.boot.committed
    )
}

fn copy(from: &mut impl Read, to: &mut Writer<'_>, size: u64) -> Result<(), String> {
    let mut piece = vec![0; PIECE];
    let mut tenth = 1;
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) => return Err(rota_artifact::Error::from_io(error).to_string()),
        };
        to.write_all(&piece[..count]).map_err(text)?;
        watchdog::alive();
        while size > 0 && to.taken() * 10 / size >= tenth {
            log::info!("{} % written", tenth * 10);
            tenth += 1;
        }
    }
}
