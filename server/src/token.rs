//! Tokens of users and devices: JWTs with a MAC. Each kind has its own key, so that neither passes for the other.
use crate::clock::{self, Millis, SECOND};
use crate::keys::Keys;
use crate::store::{tokens::Revocation, Tenant};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::RwLock;

/// What a device's token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceClaims {
    /// The auth set.
    jti: String,
    /// The device.
    sub: String,
    iss: String,
    exp: i64,
    iat: i64,
    #[serde(rename = "mender.device")]
    device: bool,
    #[serde(rename = "mender.tenant")]
    tenant: String,
    #[serde(rename = "mender.plan")]
    plan: String,
    /// The auth set's generation when the token was made.
    #[serde(rename = "rota.gen")]
    generation: i64,
}

/// What a user's token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserClaims {
    pub jti: String,
    pub sub: String,
    iss: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    scp: String,
    #[serde(rename = "mender.user")]
    user: bool,
    #[serde(rename = "mender.tenant")]
    tenant: String,
    #[serde(rename = "mender.plan")]
    plan: String,
}

impl UserClaims {
    pub fn tenant(&self) -> Tenant {
        Tenant::new(&self.tenant)
    }
}

/// A device whose token was checked.
#[derive(Debug, Clone)]
pub struct DeviceId {
    pub tenant: Tenant,
    pub id: String,
}

/// Makes and checks tokens. Knows the revoked device tokens by heart; user tokens are looked up by the caller.
pub struct Tokens {
    device: (EncodingKey, DecodingKey, Validation),
    user: (EncodingKey, DecodingKey, Validation),
    life: Millis,
    /// `(tenant, auth set)` to the first generation that is valid.
    revoked: RwLock<HashMap<(String, String), i64>>,
}

const DEVICE_ISSUER: &str = "Mender";
const USER_ISSUER: &str = "mender.useradm";
const PLAN: &str = "enterprise";

fn pair(key: &[u8], issuer: &str, expires: bool) -> (EncodingKey, DecodingKey, Validation) {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[issuer]);
    validation.leeway = 0;
    validation.set_required_spec_claims(if expires { &["iss", "exp"][..] } else { &["iss"] });
    (EncodingKey::from_secret(key), DecodingKey::from_secret(key), validation)
}

impl Tokens {
    /// `life`: of a device's token.
    pub fn new(keys: &Keys, life: Millis, revoked: Vec<Revocation>) -> Tokens {
        let revoked = revoked.into_iter().map(|(tenant, set, from, _)| ((tenant, set), from)).collect();
        Tokens {
            device: pair(&keys.device_tokens, DEVICE_ISSUER, true),
            user: pair(&keys.user_tokens, USER_ISSUER, false),
            life,
            revoked: RwLock::new(revoked),
        }
    }

    /// How long a device's token lives.
    pub fn life(&self) -> Millis {
        self.life
    }

    pub fn for_device(&self, tenant: &Tenant, device: &str, auth_set: &str, generation: i64) -> String {
        let now = clock::now() / SECOND;
        let claims = DeviceClaims {
            jti: auth_set.to_owned(),
            sub: device.to_owned(),
            iss: DEVICE_ISSUER.into(),
            exp: now + self.life / SECOND,
            iat: now,
            device: true,
            tenant: tenant.id().to_owned(),
            plan: PLAN.into(),
            generation,
        };
        sign(&claims, &self.device.0)
    }

    /// `expires`: when, or never.
    pub fn for_user(&self, tenant: &Tenant, user: &str, id: &str, expires: Option<Millis>) -> String {
        let claims = UserClaims {
            jti: id.to_owned(),
            sub: user.to_owned(),
            iss: USER_ISSUER.into(),
            exp: expires.map(|at| at / SECOND),
            iat: clock::now() / SECOND,
            scp: "mender.*".into(),
            user: true,
            tenant: tenant.id().to_owned(),
            plan: PLAN.into(),
        };
        sign(&claims, &self.user.0)
    }

    /// The device of a token that is whole, in time and not revoked.
    pub fn device(&self, token: &str) -> Option<DeviceId> {
        let claims = jsonwebtoken::decode::<DeviceClaims>(token, &self.device.1, &self.device.2).ok()?.claims;
        let set = (claims.tenant, claims.jti);
        let revoked = self.revoked.read().unwrap_or_else(|lock| lock.into_inner());
        let valid_from = revoked.get(&set).copied().unwrap_or(0);
        (claims.device && claims.generation >= valid_from)
            .then(|| DeviceId { tenant: Tenant::new(&set.0), id: claims.sub })
    }

    /// The claims of a user's token that is whole and in time; whether it is still listed is for the caller to ask.
    pub fn user(&self, token: &str) -> Option<UserClaims> {
        let claims = jsonwebtoken::decode::<UserClaims>(token, &self.user.1, &self.user.2).ok()?.claims;
        claims.user.then_some(claims)
    }

    pub fn revoke(&self, revocations: impl IntoIterator<Item = Revocation>) {
        let mut revoked = self.revoked.write().unwrap_or_else(|lock| lock.into_inner());
        revoked.extend(revocations.into_iter().map(|(tenant, set, from, _)| ((tenant, set), from)));
    }
}

fn sign<T: Serialize>(claims: &T, key: &EncodingKey) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, key).expect("claims of plain fields encode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(life: Millis) -> Tokens {
        Tokens::new(&Keys::from_secret(&[7; 32]), life, Vec::new())
    }

    #[test]
    fn a_kind_of_token_does_not_pass_for_the_other() {
        let (tokens, tenant) = (tokens(clock::DAY), Tenant::new("t"));
        let device = tokens.for_device(&tenant, "d", "a", 0);
        let user = tokens.for_user(&tenant, "u", "j", Some(clock::now() + clock::DAY));
        assert_eq!(tokens.device(&device).unwrap().id, "d");
        assert_eq!(tokens.user(&user).unwrap().sub, "u");
        assert!(tokens.device(&user).is_none());
        assert!(tokens.user(&device).is_none());
    }

    #[test]
    fn an_expired_or_revoked_token_is_none() {
        let tenant = Tenant::new("t");
        let late = tokens(-clock::MINUTE).for_device(&tenant, "d", "a", 0);
        assert!(tokens(clock::DAY).device(&late).is_none());
        let tokens = tokens(clock::DAY);
        let old = tokens.for_device(&tenant, "d", "a", 0);
        tokens.revoke([("t".to_owned(), "a".to_owned(), 1, 0)]);
        assert!(tokens.device(&old).is_none());
        assert!(tokens.device(&tokens.for_device(&tenant, "d", "a", 1)).is_some());
        assert!(tokens.user(&tokens.for_user(&tenant, "u", "j", None)).is_some());
        assert!(tokens.user(&tokens.for_user(&tenant, "u", "j", Some(clock::now() - clock::DAY))).is_none());
    }

    #[test]
    fn a_changed_or_foreign_token_is_none() {
        let (tokens, tenant) = (tokens(clock::DAY), Tenant::new("t"));
        let token = tokens.for_device(&tenant, "d", "a", 0);
        let other = Tokens::new(&Keys::from_secret(&[8; 32]), clock::DAY, Vec::new());
        assert!(other.device(&token).is_none());
        assert!(tokens.device(&token[..token.len() - 2]).is_none());
        let unsigned = token.rsplit_once('.').map(|(head, _)| format!("{head}.")).unwrap();
        assert!(tokens.device(&unsigned).is_none());
    }
}
