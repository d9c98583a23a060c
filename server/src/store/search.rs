//! Finding devices by what is known of them.
use super::{Paged, Result, Store, Tenant, Window};
use serde::Serialize;
use serde_json::Value;
use sqlx::{QueryBuilder, Row, Sqlite};
use std::collections::HashSet;
use utoipa::ToSchema;

/// How an attribute is compared. Lists hold texts or numbers.
#[derive(Debug, Clone)]
pub enum Test {
    Eq(Value),
    Ne(Value),
    Gt(Value),
    Gte(Value),
    Lt(Value),
    Lte(Value),
    In(Vec<Value>),
    Nin(Vec<Value>),
    Exists(bool),
    /// A regular expression; matched by this program, not by the data base.
    Regex(String),
}

/// One condition on one attribute.
#[derive(Debug, Clone)]
pub struct Predicate {
    pub scope: String,
    pub attribute: String,
    pub test: Test,
}

#[derive(Debug, Clone)]
pub struct Sort {
    pub scope: String,
    pub attribute: String,
    pub descending: bool,
}

#[derive(Debug, Default)]
pub struct Search {
    pub predicates: Vec<Predicate>,
    pub ids: Vec<String>,
    /// Anywhere in an identity, a tag or an inventory value.
    pub text: Option<String>,
    pub sort: Vec<Sort>,
}

/// An attribute that devices have, and how many have it.
#[derive(Debug, Serialize, ToSchema)]
pub struct KnownAttribute {
    pub name: String,
    pub scope: String,
    pub count: i64,
}

type Query<'a> = QueryBuilder<'a, Sqlite>;

/// Attributes that are columns of the device: `(expression, is a time in milliseconds)`.
fn column(scope: &str, attribute: &str) -> Option<(&'static str, bool)> {
    match (scope, attribute) {
        ("identity", "status") => Some(("devices.status", false)),
        ("system", "group") => Some(("devices.group_name", false)),
        ("system" | "identity", "created_ts") => Some(("devices.created", true)),
        ("system" | "identity", "updated_ts") => Some(("devices.updated", true)),
        ("system", "check_in_time") => Some(("devices.check_in", true)),
        _ => None,
    }
}

fn push_value(query: &mut Query<'_>, value: &Value, time: bool) {
    match value {
        Value::String(text) if time => {
            let millis = chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis());
            query.push_bind(millis.unwrap_or_default());
        }
        Value::Number(number) => {
            query.push_bind(number.as_f64().unwrap_or_default());
        }
        Value::String(text) => {
            query.push_bind(text.clone());
        }
        other => {
            query.push_bind(other.to_string());
        }
    }
}

/// Compares an expression (text and number side by side, or a column) with a value.
fn push_compare(query: &mut Query<'_>, text: &str, number: &str, sign: &str, value: &Value, time: bool) {
    query.push(format!("{} {sign} ", if value.is_number() { number } else { text }));
    push_value(query, value, time);
}

fn push_any(query: &mut Query<'_>, text: &str, number: &str, values: &[Value], time: bool) {
    query.push("(0");
    for value in values {
        query.push(" OR ");
        push_compare(query, text, number, "=", value, time);
    }
    query.push(")");
}

/// Pushes what is true for a value that passes; the negative tests are turned around by the caller.
fn push_test(query: &mut Query<'_>, text: &str, number: &str, test: &Test, time: bool) {
    match test {
        Test::Eq(value) | Test::Ne(value) => push_compare(query, text, number, "=", value, time),
        Test::Gt(value) => push_compare(query, text, number, ">", value, time),
        Test::Gte(value) => push_compare(query, text, number, ">=", value, time),
        Test::Lt(value) => push_compare(query, text, number, "<", value, time),
        Test::Lte(value) => push_compare(query, text, number, "<=", value, time),
        Test::In(values) | Test::Nin(values) => push_any(query, text, number, values, time),
        Test::Exists(_) => {
            query.push(format!("{text} IS NOT NULL"));
        }
        Test::Regex(_) => {
            query.push("1");
        }
    }
}

fn push_predicate(query: &mut Query<'_>, predicate: &Predicate) {
    let negative = matches!(predicate.test, Test::Ne(_) | Test::Nin(_) | Test::Exists(false));
    query.push(if negative { " AND NOT coalesce(" } else { " AND (" });
    match column(&predicate.scope, &predicate.attribute) {
        Some((expression, time)) => push_test(query, expression, expression, &predicate.test, time),
        None => {
            query.push(
                "EXISTS (SELECT 1 FROM attributes AS a WHERE a.tenant_id = devices.tenant_id
                   AND a.device_id = devices.id AND a.scope = ",
            );
            query.push_bind(predicate.scope.clone()).push(" AND a.name = ");
            query.push_bind(predicate.attribute.clone());
            if !matches!(predicate.test, Test::Exists(_)) {
                query.push(" AND ");
                push_test(query, "a.text", "a.number", &predicate.test, false);
            }
            query.push(")");
        }
    }
    query.push(if negative { ", 0)" } else { ")" });
}

fn push_where(query: &mut Query<'_>, tenant: &Tenant, search: &Search, matched: Option<&[String]>) {
    query.push(" WHERE devices.tenant_id = ").push_bind(tenant.id().to_owned());
    for ids in [(!search.ids.is_empty()).then_some(search.ids.as_slice()), matched].into_iter().flatten() {
        query
            .push(" AND devices.id IN (SELECT value FROM json_each(")
            .push_bind(super::json(&ids))
            .push("))");
    }
    if let Some(text) = &search.text {
        let pattern = super::containing(text);
        query.push(" AND (devices.id LIKE ").push_bind(pattern.clone());
        query.push(
            " ESCAPE '\\' OR EXISTS (SELECT 1 FROM attributes AS a WHERE a.tenant_id = devices.tenant_id
               AND a.device_id = devices.id AND a.text LIKE ",
        );
        query.push_bind(pattern).push(" ESCAPE '\\'))");
    }
    for predicate in &search.predicates {
        push_predicate(query, predicate);
    }
}

fn push_order(query: &mut Query<'_>, sort: &[Sort]) {
    query.push(" ORDER BY ");
    for one in sort {
        let direction = if one.descending { "DESC" } else { "ASC" };
        if let Some((expression, _)) = column(&one.scope, &one.attribute) {
            query.push(format!("{expression} {direction}, "));
            continue;
        }
        for value in ["number", "text"] {
            query.push(format!(
                "(SELECT min(a.{value}) FROM attributes AS a
                  WHERE a.tenant_id = devices.tenant_id AND a.device_id = devices.id AND a.scope = "
            ));
            query.push_bind(one.scope.clone()).push(" AND a.name = ").push_bind(one.attribute.clone());
            query.push(format!(") {direction}, "));
        }
    }
    query.push("devices.created, devices.id");
}

impl Store {
    /// Ids of the devices that pass every condition.
    pub async fn search(&self, tenant: &Tenant, search: &Search, window: Window) -> Result<Paged<String>> {
        let matched = self.match_patterns(tenant, search).await?;
        let mut query = QueryBuilder::new("SELECT devices.id FROM devices");
        push_where(&mut query, tenant, search, matched.as_deref());
        push_order(&mut query, &search.sort);
        query.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
        let rows = query.build().fetch_all(&self.read).await?;
        let mut count = QueryBuilder::new("SELECT count(*) FROM devices");
        push_where(&mut count, tenant, search, matched.as_deref());
        let total = count.build().fetch_one(&self.read).await?.get(0);
        Ok(Paged { items: rows.iter().map(|row| row.get(0)).collect(), total })
    }

    /// Ids of the devices that pass every regular expression; `None` when there is none. A pattern that is not one matches
    /// nothing; callers refuse those before.
    async fn match_patterns(&self, tenant: &Tenant, search: &Search) -> Result<Option<Vec<String>>> {
        let mut matched: Option<HashSet<String>> = None;
        for predicate in &search.predicates {
            let Test::Regex(pattern) = &predicate.test else { continue };
            let rows: Vec<(String, Option<String>)> = match column(&predicate.scope, &predicate.attribute) {
                Some((expression, _)) => {
                    sqlx::query_as(&format!("SELECT id, {expression} FROM devices WHERE tenant_id = ?"))
                        .bind(tenant.id())
                        .fetch_all(&self.read)
                        .await?
                }
                None => sqlx::query_as(
                    "SELECT device_id, text FROM attributes WHERE tenant_id = ? AND scope = ? AND name = ?",
                )
                .bind(tenant.id())
                .bind(&predicate.scope)
                .bind(&predicate.attribute)
                .fetch_all(&self.read)
                .await?,
            };
            let pattern = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().ok();
            let passes = |text: &Option<String>| {
                pattern.as_ref().zip(text.as_ref()).is_some_and(|(pattern, text)| pattern.is_match(text))
            };
            let found = rows.into_iter().filter(|row| passes(&row.1)).map(|row| row.0);
            matched = Some(match matched {
                Some(before) => found.filter(|id| before.contains(id)).collect(),
                None => found.collect(),
            });
        }
        Ok(matched.map(|matched| matched.into_iter().collect()))
    }

    /// Every attribute that a device has, most frequent first.
    pub async fn known_attributes(&self, tenant: &Tenant) -> Result<Vec<KnownAttribute>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT name, scope, count(DISTINCT device_id) AS count FROM attributes
             WHERE tenant_id = ? GROUP BY scope, name ORDER BY count DESC, scope, name LIMIT 1000",
        )
        .bind(tenant.id())
        .fetch_all(&self.read)
        .await?;
        let mut known: Vec<_> =
            rows.into_iter().map(|(name, scope, count)| KnownAttribute { name, scope, count }).collect();
        let total: (i64, i64) =
            sqlx::query_as("SELECT count(*), count(group_name) FROM devices WHERE tenant_id = ?")
                .bind(tenant.id())
                .fetch_one(&self.read)
                .await?;
        for (name, scope, count) in [
            ("status", "identity", total.0),
            ("created_ts", "system", total.0),
            ("updated_ts", "system", total.0),
            ("group", "system", total.1),
        ] {
            if count > 0 {
                known.push(KnownAttribute { name: name.into(), scope: scope.into(), count });
            }
        }
        Ok(known)
    }

    /// Ids of the devices with an attribute whose value begins with `start`.
    pub async fn search_prefix(
        &self,
        tenant: &Tenant,
        scope: &str,
        name: &str,
        start: &str,
        window: Window,
    ) -> Result<Paged<String>> {
        let pattern = super::prefix(start);
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT DISTINCT device_id FROM attributes WHERE tenant_id = ? AND scope = ? AND name = ?
             AND text LIKE ? ESCAPE '\\' ORDER BY device_id LIMIT ? OFFSET ?",
        )
        .bind(tenant.id())
        .bind(scope)
        .bind(name)
        .bind(&pattern)
        .bind(window.limit)
        .bind(window.offset)
        .fetch_all(&self.read)
        .await?;
        let total: (i64,) = sqlx::query_as(
            "SELECT count(DISTINCT device_id) FROM attributes WHERE tenant_id = ? AND scope = ? AND name = ?
             AND text LIKE ? ESCAPE '\\'",
        )
        .bind(tenant.id())
        .bind(scope)
        .bind(name)
        .bind(&pattern)
        .fetch_one(&self.read)
        .await?;
        Ok(Paged { items: rows.into_iter().map(|row| row.0).collect(), total: total.0 })
    }
}
