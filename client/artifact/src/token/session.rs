//! Modules, sessions and objects: what is open, and how it is opened anew.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use cryptoki::{
    context::{CInitializeArgs, Pkcs11},
    error::{Error as Refusal, RvError},
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::{Session as Inner, UserType},
    slot::Slot,
    types::AuthPin,
};

use super::{Error, Uri};
use crate::Checksum;

/// Everything that is open. A process has each module once, and being logged in counts for all its sessions: so all of it
/// is behind one lock.
static OPEN: Mutex<Modules> =
    Mutex::new(Modules { running: BTreeMap::new(), loaded: BTreeMap::new(), refused: BTreeMap::new() });

struct Modules {
    running: BTreeMap<String, Module>,
    /// Keeps what was loaded in memory: not every module survives being unloaded.
    loaded: BTreeMap<String, Pkcs11>,
    /// The PINs that tokens have refused, as digests, by URI.
    refused: BTreeMap<String, Checksum>,
}

/// A module that is initialised; ended when it is dropped, after its sessions.
struct Module {
    sessions: BTreeMap<String, Session>,
    context: Pkcs11,
}

/// A session with the token that a URI names, logged in if the URI has a PIN.
pub(super) struct Session {
    uri: Uri,
    inner: Inner,
    logged_in: bool,
    /// Whether the token makes RSA signatures of the newer kind.
    pub(super) has_pss: bool,
}

/// Does something in a session with the token. One that was opened before may be gone, with its token or its service: then
/// everything of that module is opened anew, once.
pub(super) fn with<T>(uri: &Uri, act: impl Fn(&Session) -> Result<T, Error>) -> Result<T, Error> {
    let mut modules = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let module = uri.module();
    let was_open = modules.running.contains_key(&module);
    match modules.session(&module, uri).and_then(&act) {
        Err(error) if was_open && error.may_pass() => {
            modules.running.remove(&module);
            modules.session(&module, uri).and_then(&act)
        }
        result => result,
    }
}

impl Modules {
    fn session(&mut self, name: &str, uri: &Uri) -> Result<&Session, Error> {
        if !self.running.contains_key(name) {
            let context = start(name, &mut self.loaded)?;
            self.running.insert(name.to_owned(), Module { sessions: BTreeMap::new(), context });
        }
        let gone =
            || Error::Module { module: name.to_owned(), act: "cannot load it", why: "it is gone".into() };
        let module = self.running.get_mut(name).ok_or_else(gone)?;
        let key = uri.to_string();
        if !module.sessions.contains_key(&key) {
            let session = open(&module.context, name, uri, &mut self.refused)?;
            module.sessions.insert(key.clone(), session);
        }
        module.sessions.get(&key).ok_or_else(gone)
    }
}

fn start(name: &str, loaded: &mut BTreeMap<String, Pkcs11>) -> Result<Pkcs11, Error> {
    let failed = |act, error: Refusal| Error::Module { module: name.to_owned(), act, why: words(&error) };
    let load = || Pkcs11::new(name).map_err(|error| failed("cannot load it", error));
    let context = load()?;
    if !loaded.contains_key(name) {
        loaded.insert(name.to_owned(), load()?);
    }
    match context.initialize(CInitializeArgs::OsThreads) {
        Ok(()) | Err(Refusal::Pkcs11(RvError::CryptokiAlreadyInitialized)) => Ok(context),
        Err(error) => Err(failed("cannot initialise it", error)),
    }
}

fn open(
    context: &Pkcs11,
    module: &str,
    uri: &Uri,
    refused: &mut BTreeMap<String, Checksum>,
) -> Result<Session, Error> {
    let failed = |act, error: Refusal| Error::Module { module: module.to_owned(), act, why: words(&error) };
    let slot = slot(context, module, uri)?;
    let mechanisms =
        context.get_mechanism_list(slot).map_err(|error| failed("cannot list what the token does", error))?;
    let has_pss = mechanisms.contains(&MechanismType::RSA_PKCS_PSS);
    let inner = context.open_ro_session(slot).map_err(|error| failed("cannot open a session", error))?;
    let pin = uri.pin()?;
    if let Some(pin) = &pin {
        let digest = Checksum::of(pin.as_bytes());
        let key = uri.to_string();
        if refused.get(&key) == Some(&digest) {
            return Err(Error::Pin { uri: key, why: "this PIN was refused before".into() });
        }
        match inner.login(UserType::User, Some(&AuthPin::new(pin.clone()))) {
            Ok(()) | Err(Refusal::Pkcs11(RvError::UserAlreadyLoggedIn)) => refused.remove(&key),
            Err(Refusal::Pkcs11(
                error @ (RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked),
            )) => {
                refused.insert(key.clone(), digest);
                return Err(Error::Pin { uri: key, why: words(&Refusal::Pkcs11(error)) });
            }
            Err(error) => return Err(Error::Token { uri: key, act: "log in", why: words(&error) }),
        };
    }
    Ok(Session { uri: uri.clone(), inner, logged_in: pin.is_some(), has_pss })
}

/// The slot of the one token that fits.
fn slot(context: &Pkcs11, module: &str, uri: &Uri) -> Result<Slot, Error> {
    let failed = |act, error: Refusal| Error::Module { module: module.to_owned(), act, why: words(&error) };
    let slots = context
        .get_slots_with_initialized_token()
        .map_err(|error| failed("cannot list the tokens", error))?;
    let (mut fitting, mut present) = (Vec::new(), Vec::new());
    for slot in slots {
        let token = context.get_token_info(slot).map_err(|error| failed("cannot read a token", error))?;
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().map_or(true, |wanted| wanted == found.trim_end())
        };
        present.push(format!("{:?}", token.label().trim_end()));
        if fits(&uri.token, token.label())
            && fits(&uri.serial, token.serial_number())
            && fits(&uri.manufacturer, token.manufacturer_id())
            && fits(&uri.model, token.model())
            && uri.slot.map_or(true, |wanted| wanted == slot.id())
        {
            fitting.push(slot);
        }
    }
    match fitting[..] {
        [slot] => Ok(slot),
        _ => {
            let (uri, module) = (uri.to_string(), module.to_owned());
            Err(Error::Tokens { uri, module, count: fitting.len(), present })
        }
    }
}

impl Session {
    /// The one private key that the URI names.
    pub(super) fn private(&self) -> Result<ObjectHandle, Error> {
        let found = self.find(&self.template(ObjectClass::PRIVATE_KEY))?;
        match found[..] {
            [key] => Ok(key),
            _ => {
                let uri = self.uri.to_string();
                Err(Error::Keys { uri, count: found.len(), logged_in: self.logged_in })
            }
        }
    }

    /// Whatever of this class belongs to the key: has the id of the private key, or else fits the URI.
    pub(super) fn beside(
        &self,
        class: ObjectClass,
        private: Option<ObjectHandle>,
    ) -> Result<Vec<ObjectHandle>, Error> {
        let id = match private {
            Some(key) => {
                self.attributes(key, &[AttributeType::Id])?.into_iter().find_map(|found| match found {
                    Attribute::Id(id) if !id.is_empty() => Some(id),
                    _ => None,
                })
            }
            None => None,
        };
        match id {
            Some(id) => self.find(&[Attribute::Class(class), Attribute::Id(id)]),
            None => self.find(&self.template(class)),
        }
    }

    fn template(&self, class: ObjectClass) -> Vec<Attribute> {
        let label = self.uri.object.iter().cloned().map(Attribute::Label);
        let id = self.uri.id.iter().cloned().map(Attribute::Id);
        [Attribute::Class(class)].into_iter().chain(label).chain(id).collect()
    }

    fn find(&self, template: &[Attribute]) -> Result<Vec<ObjectHandle>, Error> {
        self.inner.find_objects(template).map_err(|error| self.refusal("list its objects", &error))
    }

    /// Those of the wanted attributes that there are.
    pub(super) fn attributes(
        &self,
        object: ObjectHandle,
        wanted: &[AttributeType],
    ) -> Result<Vec<Attribute>, Error> {
        self.inner.get_attributes(object, wanted).map_err(|error| self.refusal("show its key", &error))
    }

    /// What the private key makes of `data`.
    pub(super) fn sign(&self, mechanism: &Mechanism, data: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = self.inner.sign(mechanism, self.private()?, data);
        signed.map_err(|error| self.refusal("sign", &error))
    }

    fn refusal(&self, act: &'static str, error: &Refusal) -> Error {
        Error::Token { uri: self.uri.to_string(), act, why: words(error) }
    }
}

/// The standard's own name of the fault: people look for it.
fn words(error: &Refusal) -> String {
    match error {
        Refusal::LibraryLoading(error) => error.to_string(),
        Refusal::Pkcs11(error) => error.to_string().trim_end_matches('.').to_owned(),
        other => other.to_string(),
    }
}
