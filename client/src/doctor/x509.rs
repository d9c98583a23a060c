//! As much of X.509 as tells from when to when a certificate is valid.

use rota_artifact::der::{self, INTEGER, SEQUENCE};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// First and last second of a certificate in DER, in seconds since 1970; `None` when it is none.
pub fn validity(der: &[u8]) -> Option<(u64, u64)> {
    let mut certificate = der::take(&mut { der }, SEQUENCE)?;
    let mut fields = der::take(&mut certificate, SEQUENCE)?;
    // The version, if there is one, stands before the serial number; then come algorithm, issuer, validity.
    let (mut tag, _) = next(&mut fields)?;
    if tag == 0xa0 {
        (tag, _) = next(&mut fields)?;
    }
    if tag != INTEGER {
        return None;
    }
    der::take(&mut fields, SEQUENCE)?;
    der::take(&mut fields, SEQUENCE)?;
    let mut validity = der::take(&mut fields, SEQUENCE)?;
    Some((time(next(&mut validity)?)?, time(next(&mut validity)?)?))
}

/// The next value: its tag and its content.
fn next<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, value, rest) = der::split(input)?;
    *input = rest;
    Some((tag, value))
}

/// `YYMMDDhhmmssZ`, years from 1950, or `YYYYMMDDhhmmssZ`.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => (
            text[..2].parse::<i64>().ok().map(|year| if year < 50 { 2000 } else { 1900 } + year)?,
            &text[2..],
        ),
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[2 * at..2 * at + 2].parse::<u64>().ok();
    let days = crate::date::days_since_1970(year, part(0)? as i64, part(1)? as i64);
    let days = u64::try_from(days).unwrap_or(0);
    Some(days * 86_400 + part(2)? * 3600 + part(3)? * 60 + part(4)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_dates_and_no_others() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut certificate = rcgen::CertificateParams::new(Vec::new()).unwrap();
        certificate.not_before = rcgen::date_time_ymd(1999, 12, 31);
        certificate.not_after = rcgen::date_time_ymd(2150, 2, 28);
        let der = certificate.self_signed(&key).unwrap().der().to_vec();
        assert_eq!(validity(&der), Some((946_598_400, 5_685_292_800)));
        for end in 0..der.len() {
            let mut spoilt = der.clone();
            spoilt[end] ^= 0x55;
            let _ = validity(&spoilt);
            assert_eq!(validity(&der[..end]), None);
        }
        assert_eq!(time((UTC_TIME, b"500101000000Z")), Some(0));
        for wrong in ["", "Z", "9912310000Z", "991231000000", "99123100000xZ", "\u{00e4}91231000000Z"] {
            assert_eq!(time((UTC_TIME, wrong.as_bytes())), None, "{wrong}");
        }
    }
}
