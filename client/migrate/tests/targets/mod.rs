//! The fuzz targets: Mender's data base, which may hold anything but must not make the program panic. `cargo fuzz` and the
//! bounded loop of the test suite share them.
use rota_migrate::lmdb::{self, Pairs};
use rota_migrate::store::Store;

/// A data base's file.
pub fn store(bytes: &[u8]) {
    let Ok(pairs) = lmdb::read(bytes) else { return };
    let size: usize = pairs.values().map(Vec::len).sum();
    assert!(size <= bytes.len(), "more was read than there is");
    let store = Store::from(pairs);
    let _ = store.unfinished();
    if let Ok(Some(facts)) = store.facts() {
        let _ = store.with(&facts);
    }
}

/// Files to begin with.
pub fn seeds() -> Vec<Vec<u8>> {
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(5000));
    let lists = [
        vec![],
        vec![
            ("artifact-name", "rel-1"),
            ("artifact-group", "g"),
            ("artifact-provides", r#"{"x.version":"1"}"#),
        ],
        vec![("artifact-name", "rel-1"), ("artifact-provides", &long), ("state", r#"{"Name":"reboot"}"#)],
    ];
    let pairs = lists.map(|list| list.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect());
    pairs.iter().flat_map(|pairs: &Pairs| [4, 8].map(|word| lmdb::write_for(pairs, word).unwrap())).collect()
}
