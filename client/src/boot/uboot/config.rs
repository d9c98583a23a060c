//! `/etc/fw_env.config`: where the copies of the environment are. Every form that `fw_setenv` takes: U-Boot's own table
//! and libubootenv's YAML.
//!
//! The table: one line a copy, at most two: `device offset size [sector-size [sectors]]`. Offsets are C numbers (0x hex,
//! leading 0 octal, else decimal; negative counts from the end of the device), all others hexadecimal with or without 0x.
//! `#` in the first column begins a comment; a line that does not have three values of that kind is passed over.

/// Where one copy is said to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    /// Device node, file, or `/dev/ubi0:name`.
    pub device: String,
    /// Bytes from the start, or from the end when negative.
    pub offset: i64,
    /// Bytes of the environment.
    pub size: u64,
    /// Bytes of an erase block; 0: ask the kernel.
    pub sector: u64,
    /// Erase blocks that may be used; 0: as many as `size` needs.
    pub sectors: u64,
}

/// Reads a configuration: one or two lines, or none when nothing in it is usable.
pub fn parse(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect();
    if lines.is_empty() {
        lines = yaml(text);
    }
    lines.truncate(2);
    lines
}

/// The lock file that the YAML form names.
pub fn lock_file(text: &str) -> Option<&str> {
    let named = text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("lockfile")?.trim_start().strip_prefix(':')?;
        Some(rest.split(" #").next()?.trim().trim_matches(['"', '\'']))
    });
    named.filter(|file| file.starts_with('/'))
}

fn line(text: &str) -> Option<Line> {
    let (device, rest) = word(text);
    let (offset, rest) = number(rest, 0)?;
    let (size, rest) = number(rest, 16)?;
    let (sector, rest) = number(rest, 16).unwrap_or((0, ""));
    let (sectors, _) = number(rest, 16).unwrap_or((0, ""));
    let unsigned = |value: i64| u64::try_from(value).ok();
    Some(Line {
        device: device.to_owned(),
        offset,
        size: unsigned(size).filter(|size| *size > 0)?,
        sector: unsigned(sector)?,
        sectors: unsigned(sectors)?,
    })
}

/// The first word and what follows.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// Reads a number the way `scanf` does: as far as it goes. Base 0 tells the base by the prefix.
fn number(text: &str, base: u32) -> Option<(i64, &str)> {
    let text = text.trim_start();
    let unsigned = text.trim_start_matches(['-', '+']);
    let sign = match text.len() - unsigned.len() {
        0 => 1,
        1 if text.starts_with('-') => -1,
        1 => 1,
        _ => return None,
    };
    let prefixed = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X"));
    let (base, digits) = match (base, prefixed) {
        (0 | 16, Some(digits)) => (16, digits),
        (0, None) if unsigned.starts_with('0') => (8, unsigned),
        (0, None) => (10, unsigned),
        (base, _) => (base, unsigned),
    };
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    let value = i64::from_str_radix(&digits[..end], base).ok()?;
    Some((sign * value, &digits[end..]))
}

/// The YAML form: `name:` at the margin, in it `size:` and a list `devices:` of `path`, `offset`, `sectorsize`.
/// The first name counts.
fn yaml(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut size = 0;
    let mut names = 0;
    for text in text.lines() {
        let text = text.split(" #").next().unwrap_or_default();
        let inner = text.trim_start_matches([' ', '-']);
        let Some((key, value)) = inner.split_once(':') else { continue };
        if inner.len() == text.len() && !text.starts_with('#') {
            names += 1;
        }
        if names > 1 {
            break;
        }
        let value = value.trim().trim_matches(['"', '\'']);
        let value_number = || number(value, 0).map_or(0, |(value, _)| value);
        match (key.trim(), lines.last_mut()) {
            ("size", _) => size = u64::try_from(value_number()).unwrap_or(0),
            ("path", _) => lines.push(Line { device: value.to_owned(), ..Line::default() }),
            ("offset", Some(line)) => line.offset = value_number(),
            ("sectorsize", Some(line)) => line.sector = u64::try_from(value_number()).unwrap_or(0),
            _ => {}
        }
    }
    lines.iter_mut().for_each(|line| line.size = size);
    lines.retain(|line| line.size > 0 && !line.device.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(device: &str, offset: i64, size: u64, sector: u64, sectors: u64) -> Line {
        Line { device: device.into(), offset, size, sector, sectors }
    }

    #[test]
    fn every_form_of_the_table() {
        let text = "# device offset size\n\n/dev/mtd1\t0x0000\t0x4000\t0x4000\n  /dev/mtd0  0x4000 4000 0x20000 2 1\nthird 0 1\n";
        assert_eq!(
            parse(text),
            [at("/dev/mtd1", 0, 0x4000, 0x4000, 0), at("/dev/mtd0", 0x4000, 0x4000, 0x20000, 2)]
        );
        assert_eq!(parse("/dev/mmcblk0 -0x20000 0x20000"), [at("/dev/mmcblk0", -0x20000, 0x20000, 0, 0)]);
        assert_eq!(parse("/dev/mmcblk0 1048576 10000\r\n"), [at("/dev/mmcblk0", 1 << 20, 0x10000, 0, 0)]);
        assert_eq!(parse("/dev/ubi0:env 010 0x1f000 0x1f000"), [at("/dev/ubi0:env", 8, 0x1f000, 0x1f000, 0)]);
        assert_eq!(parse("f 12abc\n"), [at("f", 12, 0xabc, 0, 0)], "scanf reads as far as it goes");
    }

    #[test]
    fn what_is_not_of_the_form_is_passed_over() {
        for text in [
            "",
            "device",
            "device 0",
            "device 0 size",
            "device x 0x10",
            "  # device 0 10",
            "d 0 0",
            "d 0 -1",
            "d -- 1 1",
        ] {
            assert_eq!(parse(text), [], "{text}");
        }
        assert_eq!(parse("bad line\nd 0 ffffffffffffffffff\nd 0 10 zz"), [at("d", 0, 16, 0, 0)]);
    }

    #[test]
    fn the_first_name_of_the_yaml_form() {
        let text = "uboot:\n  size : 0x4000\n  lockfile : /var/lock/fw_printenv.lock\n  devices:\n    - path : /dev/mtd0\n      \
                    offset : 0xA0000\n      sectorsize : 0x10000\n    - path : \"/dev/mtd1\" # second\n      offset : 8\n\n\
                    appvar:\n  size : 0x8000\n  devices:\n    - path : /dev/mtd2\n      offset : 0\n";
        assert_eq!(
            parse(text),
            [at("/dev/mtd0", 0xa0000, 0x4000, 0x10000, 0), at("/dev/mtd1", 8, 0x4000, 0, 0)]
        );
        assert_eq!(lock_file(text), Some("/var/lock/fw_printenv.lock"));
        assert_eq!(lock_file("/dev/mtd0 0 4000\n"), None);
    }
}
