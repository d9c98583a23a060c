//! How an installed artifact changes what a device provides (artifact format: provides, depends, clears).
use std::collections::BTreeMap;

use crate::header::{Header, PayloadHeader, ARTIFACT_GROUP, ARTIFACT_NAME};

/// The provides of a device that had `old` and committed the artifact: what is cleared goes, what is provided comes.
/// `payloads` are the header's, or those of them that were installed.
///
/// A payload without a list of clears takes everything but name and group with it; an empty list takes nothing.
pub fn apply(
    old: &BTreeMap<String, String>,
    header: &Header,
    payloads: &[PayloadHeader],
) -> BTreeMap<String, String> {
    let cleared = |key: &str| {
        payloads.iter().any(|payload| match &payload.clears {
            Some(globs) => globs.iter().any(|glob| glob_matches(glob, key)),
            None => key != ARTIFACT_GROUP && key != ARTIFACT_NAME,
        })
    };
    let mut new: BTreeMap<_, _> = old.iter().filter(|(key, _)| !cleared(key)).map(own).collect();
    new.insert(ARTIFACT_NAME.to_owned(), header.artifact_name.clone());
    if let Some(group) = &header.artifact_group {
        new.insert(ARTIFACT_GROUP.to_owned(), group.clone());
    }
    new.extend(payloads.iter().flat_map(|payload| &payload.provides).map(own));
    new
}

fn own((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// Does the glob match the whole of `text`? Only `*` is special: any run of characters, also an empty one.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    // Each piece between two stars is taken as early as possible; the last one has to end the text.
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*').filter(|piece| !piece.is_empty()) {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_literal_but_for_the_star() {
        for (glob, text, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "axb", false),
            ("a.b", "a.b.c.a.b", false),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("rootfs-image.*", "rootfs-image.checksum", true),
            ("rootfs-image.*", "rootfs-image.", true),
            ("rootfs-image.*", "rootfs-image", false),
            ("*.checksum", "rootfs-image.checksum", true),
            ("*long-literal-tail", "tail", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "ac", false),
            ("a*a", "a", false),
            ("a**a", "aa", true),
            ("*x*x*", "axbx", true),
            ("*x*x*", "ax", false),
            ("?", "a", false),
            ("[a]", "a", false),
            ("ü*", "üö", true),
        ] {
            assert_eq!(glob_matches(glob, text), expected, "{glob:?} on {text:?}");
        }
    }
}
