//! Reads an uploaded artifact to its end: everything in it is checked, and what the server keeps of it is returned.
use crate::artifact::{Detail, File, Info, TypeInfo, Update};
use crate::clock;
use rota_artifact::{Header, Limits, PayloadHeader, Reader};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Read;

/// An artifact's name and the rest of its header, once every byte of it was checked.
pub fn artifact<R: Read>(source: R) -> Result<(String, Detail), rota_artifact::Error> {
    let reader = Reader::new(source, &Limits::default())?;
    let header = reader.header().clone();
    let signed = reader.signature().is_some();
    let summary = reader.validate()?;
    let updates = header
        .payloads
        .iter()
        .zip(summary.payloads)
        .map(|(payload, files)| Update {
            type_info: TypeInfo { kind: payload.payload_type.clone() },
            files: files
                .into_iter()
                .map(|file| File {
                    name: file.name,
                    checksum: file.sha256.to_string(),
                    size: file.size,
                    date: clock::rfc3339(i64::try_from(file.modified).unwrap_or(0).saturating_mul(1000)),
                })
                .collect(),
            meta_data: serde_json::from_slice(&payload.meta_data).unwrap_or(Value::Null),
        })
        .collect();
    let detail = Detail {
        device_types_compatible: header.depends.device_types.clone(),
        info: Info { format: "mender".into(), version: u8::try_from(header.version).unwrap_or(0) },
        signed,
        updates,
        artifact_provides: provides(&header),
        artifact_depends: depends(&header),
        clears_artifact_provides: header
            .payloads
            .iter()
            .filter_map(|one| one.clears.clone())
            .flatten()
            .collect(),
    };
    Ok((header.artifact_name, detail))
}

fn provides(header: &Header) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("artifact_name".to_owned(), header.artifact_name.clone())]);
    if let Some(group) = &header.artifact_group {
        all.insert("artifact_group".into(), group.clone());
    }
    all.extend(header.payloads.iter().flat_map(|payload: &PayloadHeader| payload.provides.clone()));
    all
}

fn depends(header: &Header) -> Map<String, Value> {
    let mut all = Map::new();
    for (key, values) in [
        ("device_type", &header.depends.device_types),
        ("artifact_name", &header.depends.artifact_names),
        ("artifact_group", &header.depends.artifact_groups),
    ] {
        if !values.is_empty() {
            all.insert(key.into(), Value::from(values.clone()));
        }
    }
    for (key, values) in header.payloads.iter().flat_map(|payload| &payload.depends) {
        let value = match values.as_slice() {
            [one] => Value::from(one.as_str()),
            many => Value::from(many.to_vec()),
        };
        all.insert(key.clone(), value);
    }
    all
}
