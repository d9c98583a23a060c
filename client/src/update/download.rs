//! The state Download: everything is checked that can be, then the payload goes to its handler as it arrives.

use std::fs;
use std::path::PathBuf;

use rota_artifact::{provides, Header, Limits, Reader, VerifyKey};

use super::handler::{self, AnyHandler, Context, Source};
use super::journal::Update;
use super::scripts;
use super::state::{Outcome, State};
use super::{Act, Engine, Halt};
use crate::epoch;
use crate::net::download::Download;
use crate::provides::{Facts, Provides};

impl Engine {
    /// Fetches the deployment's artifact and installs it as far as `Handler::download`.
    pub(super) fn download(&mut self) -> Act {
        let deployment =
            self.deployment.clone().ok_or_else(|| Halt::Failed("there is no deployment".into()))?;
        let config = self.device.config.clone();
        let signals = self.signals.clone();
        let (mut server, provides) = (self.server.clone(), self.reported_provides());
        let same = deployment.clone();
        let renew = move || match server.next_deployment(&provides) {
            Ok(Some(now)) if now.id == same.id && now.artifact_name == same.artifact_name => Ok(now.uri),
            Ok(_) => Err("the server has this deployment no more".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let stream = Download::start(
            &self.server,
            &config,
            &deployment.uri,
            Some(Box::new(renew)),
            self.gate(Some(&deployment.id)),
            &signals,
        );
        let stream = stream.map_err(|error| Halt::Failed(format!("cannot fetch the artifact: {error}")))?;
        if let Some(total) = stream.total() {
            log::info!("downloading {total} bytes");
        }
        let taken = self.take(Box::new(stream), deployment.artifact_name.as_deref());
        match taken {
            Err(_) if signals.stopped() => Err(Halt::Stopped),
            taken => taken,
        }
    }

    /// Reads an artifact to its end. `announced` is the name that the server gave it.
    pub(super) fn take(&mut self, source: Source<'_>, announced: Option<&str>) -> Act {
        let mut reader = Reader::new(source, &Limits::default()).map_err(wrong)?;
        let header = reader.header().clone();
        self.update()?.attempt.artifact = header.artifact_name.clone();
        if announced.is_some_and(|announced| announced != header.artifact_name) {
            let announced = announced.unwrap_or_default();
            return Err(format!(
                "the artifact is called {}, the server announced {announced}",
                header.artifact_name
            )
            .into());
        }
        self.check_signature(&reader)?;
        self.check_header(&header)?;
        if let Some(why) = self.journal.fault() {
            return Err(Halt::Failed(format!("{why}; no update is begun without it")));
        }
        let epoch = self.check_epoch(&header)?;
        let payload_type = header.payloads[0].payload_type.clone();
        let paths = self.device.paths.clone();
        let by_module =
            payload_type.as_deref().map(|name| handler::by_module(name, &self.device)).transpose()?;
        let mut facts = provides::apply(self.provides.facts(), &header, &header.payloads);
        if self.device.config.verify_keys.is_none() {
            facts.remove(epoch::KEY);
        }
        Provides::fits(&facts)?;
        let update = self.update()?;
        update.payload_type = payload_type;
        update.by_module = by_module.unwrap_or(false);
        update.provides = facts;
        update.epoch = epoch;
        self.save_state(State::Download)?;
        scripts::save(&self.device.paths.data, &header.scripts).map_err(|error| {
            Halt::Failed(format!(
                "cannot keep the artifact's state scripts in {}: {error}",
                self.device.paths.data.display()
            ))
        })?;

        let Some(handler) = handler::of(self.update()?, &paths)? else {
            if let Some(mut payload) = reader.next_payload().map_err(wrong)? {
                if payload.next_file().map_err(wrong)?.is_some() {
                    return Err(Halt::Failed(
                        "the artifact holds a file, but says of no type what it is".into(),
                    ));
                }
            }
            reader.finish().map_err(wrong)?;
            return Ok(Outcome::Empty);
        };
        if self.update()?.attempt.deployment.is_none() {
            // The daemon ran them before it asked for the artifact.
            self.run_scripts(State::DownloadEnter)?;
        }
        let Engine { device, journal, provides, signals, .. } = self;
        let update = journal.record.update.get_or_insert_with(Update::default);
        let mut cx = Context { device, update, signals };
        take_payload(reader, handler.as_ref(), &mut cx, provides)
    }

    /// With keys configured, one of them must have signed the artifact.
    fn check_signature(&self, reader: &Reader<Source<'_>>) -> Result<(), Halt> {
        let Some(files) = &self.device.config.verify_keys else {
            if reader.signature().is_some() {
                log::warn!("the artifact's signature is not checked: artifact.verify_keys is not set");
            }
            return Ok(());
        };
        let keys: Vec<VerifyKey> = files.iter().filter_map(key).collect();
        if keys.is_empty() {
            return Err(Halt::Failed(
                "artifact.verify_keys names no usable key, so no artifact is accepted".into(),
            ));
        }
        let signature = reader.signature().ok_or_else(|| {
            Halt::Failed("the artifact is not signed; artifact.verify_keys asks for a signature".into())
        })?;
        signature.verify(&keys).map_err(wrong)?;
        Ok(())
    }

    /// The artifact's epoch, refused below the floor. Without keys nobody vouches for it.
    fn check_epoch(&self, header: &Header) -> Result<Option<u64>, Halt> {
        if self.device.config.verify_keys.is_some() {
            return Ok(self.epoch.check(header, &self.device.paths)?);
        }
        if header.payloads.iter().any(|payload| payload.provides.contains_key(epoch::KEY)) {
            log::warn!("the artifact's {} is ignored: artifact.verify_keys is not set", epoch::KEY);
        }
        Ok(None)
    }

    /// Whether this artifact is for this device, as it is now, and for this client.
    fn check_header(&self, header: &Header) -> Result<(), Halt> {
        let device_type = self.device.config.device_type.as_deref();
        let device_type =
            device_type.ok_or("the device has no type; set device_type in rota.toml".to_owned())?;
        header.matches(device_type, self.provides.facts()).map_err(wrong)?;
        scripts::check_slot(&self.device.paths)?;
        if header.augmented {
            return Err(Halt::Failed("augmented artifacts are not supported".into()));
        }
        match header.payloads.as_slice() {
            [_] => Ok(()),
            payloads => {
                Err(format!("the artifact has {} payloads, only one is supported", payloads.len()).into())
            }
        }
    }

    /// What the device provides, its floor for releases, and its type.
    pub(crate) fn reported_provides(&self) -> Facts {
        let mut facts = self.provides.facts().clone();
        let floor = Some(self.epoch.floor(&self.device.paths)).filter(|floor| *floor > 0);
        facts.extend(floor.map(|floor| (epoch::KEY.to_owned(), floor.to_string())));
        facts.extend(self.device.config.device_type.clone().map(|name| ("device_type".to_owned(), name)));
        facts
    }
}

/// The payload goes to its handler, and the artifact is read to its end.
fn take_payload(
    mut reader: Reader<Source<'_>>,
    handler: &AnyHandler,
    cx: &mut Context<'_>,
    provides: &mut Provides,
) -> Act {
    handler.begin(cx, reader.header(), provides.facts())?;
    let mut payload = reader
        .next_payload()
        .map_err(wrong)?
        .ok_or_else(|| Halt::Failed("the artifact holds no payload".into()))?;
    handler.download(cx, &mut payload)?;
    drop(payload);
    if let Some(slot) = cx.update.attempt.slot {
        provides.remember(slot, cx.update.provides.clone()).map_err(|error| error.to_string())?;
    }
    let summary = reader.finish().map_err(wrong)?;
    handler.downloaded(cx, summary.payloads.first().map_or(&[], Vec::as_slice))?;
    Ok(Outcome::Done)
}

fn key(file: &PathBuf) -> Option<VerifyKey> {
    let read = fs::read(file).map_err(|error| error.to_string());
    let key = read.and_then(|pem| VerifyKey::from_pem(&pem).map_err(|error| error.to_string()));
    key.map_err(|why| log::error!("{}: {why}", file.display())).ok()
}

fn wrong(error: rota_artifact::Error) -> Halt {
    Halt::Failed(error.to_string())
}
