//! As much of DER (X.690) as keys and certificates need.

/// Tag of a number.
pub const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
/// Tag of a list of values.
pub const SEQUENCE: u8 = 0x30;

/// Takes the next value, which has to have this tag, off `input`; `None` when there is no such value, or it is cut off.
pub fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, value, rest) = split(input)?;
    if found != tag {
        return None;
    }
    *input = rest;
    Some(value)
}

/// Tag, value and what follows; `None` when the value is cut off, or longer than 3 bytes of length say.
pub fn split(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if !(1..=3).contains(&count) || rest.len() < count {
            return None;
        }
        length = rest[..count].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = &rest[count..];
    }
    (rest.len() >= length).then(|| (tag, &rest[..length], &rest[length..]))
}

/// A value with its tag and length.
pub(crate) fn wrap(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match value.len() {
        length @ 0..=0x7f => bytes.push(length as u8),
        length @ 0x80..=0xff => bytes.extend([0x81, length as u8]),
        length => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend(value);
    bytes
}
