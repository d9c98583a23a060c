//! What handlers ask of a request: who asks, the query, the body.
use super::error::{Fault, Result};
use crate::app::Shared;
use crate::clock::{Millis, SECOND};
use crate::store::{Paged, Tenant, Window};
use crate::token::DeviceId;
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{header, HeaderMap, HeaderValue};
use serde::de::DeserializeOwned;
use serde::Serialize;

/// A device with a valid token.
pub struct Device(pub DeviceId);

impl FromRequestParts<Shared> for Device {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self> {
        let token = bearer(&parts.headers).ok_or_else(Fault::unauthorized)?;
        let device = app.tokens.device(token).ok_or_else(Fault::unauthorized)?;
        Ok(Device(device))
    }
}

/// A user with a valid token.
pub struct User {
    pub tenant: Tenant,
    pub id: String,
    pub token_id: String,
}

impl FromRequestParts<Shared> for User {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self> {
        let token = match bearer(&parts.headers) {
            Some(token) => token,
            None => cookie(&parts.headers).ok_or_else(Fault::unauthorized)?,
        };
        let claims = app.tokens.user(token).ok_or_else(Fault::unauthorized)?;
        let tenant = claims.tenant();
        let listed = app.store.user_token(&tenant, &claims.sub, &claims.jti).await?;
        match listed {
            None => return Err(Fault::unauthorized()),
            Some(Some(_)) => app.store.touch_user_token(&tenant, &claims.jti).await?,
            Some(None) => {}
        }
        Ok(User { tenant, id: claims.sub, token_id: claims.jti })
    }
}

/// The token of `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token of the cookie `JWT`, as long as no other site made the browser send it.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return None;
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix("JWT="))
}

/// The query, with keys that may repeat.
pub struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Fault;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Ok(Params::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub fn parse(query: &str) -> Params {
        Params(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The last value of a key that is not empty.
    pub fn one(&self, key: &str) -> Option<&str> {
        let mut values = self.0.iter().rev().filter(|(name, value)| name == key && !value.is_empty());
        values.next().map(|(_, value)| value.as_str())
    }

    /// Every value of a key, also those of `key[]`, and those divided by commas.
    pub fn all(&self, key: &str) -> Vec<String> {
        let named = |name: &str| name == key || name.strip_suffix("[]") == Some(key);
        let values = self.0.iter().filter(|(name, _)| named(name)).flat_map(|(_, value)| value.split(','));
        values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn number(&self, key: &str) -> Result<Option<i64>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Fault::bad_request(format!("{key}: expected a number, found {text}")))
        };
        self.one(key).map(parse).transpose()
    }

    /// A time in unix seconds, also with a fraction.
    pub fn time(&self, key: &str) -> Result<Option<Millis>> {
        let parse = |text: &str| {
            let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
            let millis = seconds.map(|seconds| (seconds * SECOND as f64) as Millis);
            millis.ok_or_else(|| Fault::bad_request(format!("{key}: expected unix seconds, found {text}")))
        };
        self.one(key).map(parse).transpose()
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.one(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Fault::bad_request(format!("{key}: expected true or false, found {other}"))),
        }
    }

    /// `page` (from 1) and `per_page` (20, at most 500).
    pub fn page(&self) -> Result<Page> {
        self.page_of(20, 500)
    }

    /// The same with another default and limit.
    pub fn page_of(&self, default: i64, most: i64) -> Result<Page> {
        let number = self.number("page")?.unwrap_or(1);
        let size = self.number("per_page")?.unwrap_or(default);
        if !(1..=i64::from(i32::MAX)).contains(&number) {
            return Err(Fault::bad_request(format!("page: expected a number from 1, found {number}")));
        }
        if !(1..=most).contains(&size) {
            return Err(Fault::bad_request(format!("per_page: expected 1 to {most}, found {size}")));
        }
        Ok(Page { number, size })
    }

    /// `sort=column:asc|desc` as one of the columns and whether it descends.
    pub fn sort(&self, columns: &[&'static str]) -> Result<Option<(&'static str, bool)>> {
        let Some(text) = self.one("sort") else { return Ok(None) };
        let (name, order) = text.split_once(':').unwrap_or((text, "asc"));
        let column = columns.iter().find(|column| **column == name);
        match (column, order) {
            (Some(column), "asc") => Ok(Some((column, false))),
            (Some(column), "desc") => Ok(Some((column, true))),
            _ => Err(Fault::bad_request(format!(
                "sort: expected one of {} with :asc or :desc, found {text}",
                columns.join(", ")
            ))),
        }
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    number: i64,
    size: i64,
}

impl Page {
    pub fn new(number: i64, size: i64) -> Page {
        Page { number, size }
    }

    pub fn window(self) -> Window {
        Window { offset: (self.number - 1) * self.size, limit: self.size }
    }

    /// The list as a body, with `X-Total-Count` and `Link`.
    pub fn respond<T: Serialize>(self, uri: &OriginalUri, paged: Paged<T>) -> Response {
        let last = ((paged.total + self.size - 1) / self.size).max(1);
        let mut links = vec![("first", 1), ("last", last)];
        if self.number > 1 {
            links.push(("prev", self.number - 1));
        }
        if self.number < last {
            links.push(("next", self.number + 1));
        }
        let links: Vec<_> =
            links.iter().map(|(name, page)| format!("<{}>; rel=\"{name}\"", self.link(uri, *page))).collect();
        let mut response = axum::Json(paged.items).into_response();
        let headers = response.headers_mut();
        headers.insert("x-total-count", HeaderValue::from(paged.total));
        if let Ok(links) = HeaderValue::from_str(&links.join(", ")) {
            headers.insert(header::LINK, links);
        }
        response
    }

    fn link(self, uri: &OriginalUri, page: i64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in Params::parse(uri.query().unwrap_or_default()).pairs() {
            if key != "page" && key != "per_page" {
                query.append_pair(key, value);
            }
        }
        query.append_pair("page", &page.to_string()).append_pair("per_page", &self.size.to_string());
        format!("{}?{}", uri.path(), query.finish())
    }
}

/// A JSON body. Its content type does not matter, because clients do not agree on one.
pub struct Json<T>(pub T);

impl<S: Sync + Send, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Fault;
    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let body = body(request, state).await?;
        parse_json(&body).map(Json)
    }
}

/// A JSON body that may be left out.
pub struct OptionalJson<T>(pub Option<T>);

impl<S: Sync + Send, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = Fault;
    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let body = body(request, state).await?;
        let empty = body.iter().all(u8::is_ascii_whitespace);
        Ok(OptionalJson(if empty { None } else { Some(parse_json(&body)?) }))
    }
}

/// The whole body, within the limit.
pub async fn body<S: Sync + Send>(request: Request, state: &S) -> Result<Bytes> {
    Bytes::from_request(request, state).await.map_err(|rejection| {
        Fault::new(rejection.status(), format!("the body could not be read: {}", rejection.body_text()))
    })
}

pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::bad_request(format!("the body is not as expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::parse(query)
    }

    #[test]
    fn keys_repeat() {
        assert_eq!(params("id=a&id=b&id[]=c&id=d,e").all("id"), ["a", "b", "c", "d", "e"]);
        assert_eq!(params("a=x%2Fy&a=").one("a"), Some("x/y"));
    }

    #[test]
    fn pages_have_bounds() {
        assert!(params("").page().is_ok());
        for bad in ["page=0", "page=x", "per_page=0", "per_page=501", "page=-1"] {
            assert!(params(bad).page().is_err(), "{bad}");
        }
    }

    #[test]
    fn links_keep_the_query() {
        let uri = OriginalUri("/a?x=1&page=2&per_page=5".parse().unwrap());
        let response =
            params("page=2&per_page=5").page().unwrap().respond(&uri, Paged { items: vec![1], total: 11 });
        let link = response.headers()["link"].to_str().unwrap();
        assert!(link.contains("</a?x=1&page=1&per_page=5>; rel=\"prev\""), "{link}");
        assert!(link.contains("</a?x=1&page=3&per_page=5>; rel=\"next\""), "{link}");
        assert_eq!(response.headers()["x-total-count"], "11");
    }
}
