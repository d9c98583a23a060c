//! U-Boot's environment: variables, the checksum over them, and the flag that says which of two copies is newer.
//!
//! An image is `crc32 (4 bytes, of the machine's byte order)`, then with two copies `flag (1 byte)`, then
//! `name=value NUL … NUL NUL`, filled up to its size. Names and values are bytes. What U-Boot's `saveenv`, `fw_setenv` and
//! `mkenvimage` write is read here, and the other way round.

use std::collections::BTreeMap;

/// The variables. Written in the order of their names, as `saveenv` and `fw_setenv` do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<Vec<u8>, Vec<u8>>);

/// The variables need more bytes than an image has.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes needed, with the header.
    pub needed: usize,
    /// Bytes of the image.
    pub size: usize,
}

impl Env {
    /// Reads `name=value NUL …` up to an empty string or the end. What is not of that form is passed over.
    fn parse(data: &[u8]) -> Env {
        let mut env = Env::default();
        data.split(|byte| *byte == 0)
            .take_while(|entry| !entry.is_empty())
            .for_each(|entry| env.insert(entry));
        env
    }

    /// Reads `name=value` lines, as `mkenvimage` takes them and U-Boot's `u-boot-initial-env` has them: `#` begins a
    /// comment line; after a backslash at its end, the value goes on in the next line.
    pub fn from_text(text: &[u8]) -> Env {
        let mut env = Env::default();
        let mut line = Vec::new();
        for part in text.split(|byte| *byte == b'\n') {
            let part = part.strip_suffix(b"\r").unwrap_or(part);
            if let Some(part) = part.strip_suffix(b"\\") {
                line.extend_from_slice(part);
                line.push(b'\n');
                continue;
            }
            line.extend_from_slice(part);
            if !line.starts_with(b"#") {
                env.insert(&line);
            }
            line.clear();
        }
        env
    }

    fn insert(&mut self, entry: &[u8]) {
        match entry.iter().position(|byte| *byte == b'=') {
            None | Some(0) => {}
            Some(at) => {
                self.0.insert(entry[..at].to_vec(), entry[at + 1..].to_vec());
            }
        }
    }

    /// The value of a variable that is text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All values that are text.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The leading decimal digits of a variable, as U-Boot reads numbers; 0 when there are none.
    pub fn number(&self, name: &str) -> u32 {
        let value = self.get(name).unwrap_or_default();
        let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        value[..digits].parse().unwrap_or(0)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.into(), value.to_string().into());
    }

    /// Takes a variable away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name.as_bytes());
    }

    /// Adds the variables of `other` that are not set here.
    pub fn fill_from(&mut self, other: Env) {
        for (name, value) in other.0 {
            self.0.entry(name).or_insert(value);
        }
    }

    /// Whether there is no variable at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Bytes before the variables.
fn header(redundant: bool) -> usize {
    4 + usize::from(redundant)
}

/// Where the flag of a redundant image is.
pub const FLAG_AT: u64 = 4;

/// Reads an image. `None`: its checksum is wrong. The flag is 0 for an image that has none.
pub fn decode(image: &[u8], redundant: bool) -> Option<(u8, Env)> {
    let data = image.get(header(redundant)..)?;
    let stored = u32::from_ne_bytes(image.get(..4)?.try_into().ok()?);
    let flag = if redundant { image[FLAG_AT as usize] } else { 0 };
    (crc32(data) == stored).then(|| (flag, Env::parse(data)))
}

/// Makes an image of `size` bytes, with a flag when there are two copies.
pub fn encode(env: &Env, flag: Option<u8>, size: usize) -> Result<Vec<u8>, TooLarge> {
    let mut image = vec![0; header(flag.is_some())];
    let start = image.len();
    for (name, value) in &env.0 {
        image.extend_from_slice(name);
        image.push(b'=');
        image.extend_from_slice(value);
        image.push(0);
    }
    let needed = image.len() + if env.is_empty() { 2 } else { 1 };
    if needed > size {
        return Err(TooLarge { needed, size });
    }
    image.resize(size, 0);
    let crc = crc32(&image[start..]);
    image[..4].copy_from_slice(&crc.to_ne_bytes());
    if let Some(flag) = flag {
        image[FLAG_AT as usize] = flag;
    }
    Ok(image)
}

/// What the flag of a redundant image means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// One counts up with each write; 0 follows 255. Everything but NOR flash.
    Counter,
    /// 1 is active, 0 obsolete: NOR flash can clear bits without erasing.
    Boolean,
}

impl Scheme {
    /// Which of two whole copies is the newer one, as U-Boot decides it.
    pub fn newer(self, flags: [u8; 2]) -> usize {
        match (self, flags) {
            (Scheme::Counter, [255, 0]) => 1,
            (Scheme::Counter, [0, 255]) => 0,
            (Scheme::Counter, [first, second]) => usize::from(second > first),
            (Scheme::Boolean, [0, 1]) => 1,
            (Scheme::Boolean, [first, 255]) => usize::from(first != 255),
            (Scheme::Boolean, _) => 0,
        }
    }

    /// The flag of the copy that is written after one with `flag`.
    pub fn next(self, flag: u8) -> u8 {
        match self {
            Scheme::Counter => flag.wrapping_add(1),
            Scheme::Boolean => 1,
        }
    }
}

/// The checksum of Ethernet and zip. An environment is small: no table is needed.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(text: &str) -> Env {
        Env::from_text(text.as_bytes())
    }

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn an_image_says_what_was_put_in() {
        let variables = env("b=2\na=1\nempty=\n# comment\nlong=one \\\ntwo\nno equals sign\n=no name\n");
        assert_eq!(variables.get("long"), Some("one \ntwo"));
        assert_eq!(variables.get("empty"), Some(""));
        let image = encode(&variables, Some(7), 64).unwrap();
        assert_eq!(image.len(), 64);
        assert!(image[5..].starts_with(b"a=1\0b=2\0empty=\0long=one \ntwo\0\0"));
        assert_eq!(decode(&image, true), Some((7, variables.clone())));
        assert_eq!(decode(&image, false), None, "the header of a single image is another one");
        let image = encode(&variables, None, 64).unwrap();
        assert_eq!(decode(&image, false), Some((0, variables)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let variables = env("a=12345");
        assert_eq!(encode(&variables, None, 4 + 9).unwrap().len(), 13);
        assert_eq!(encode(&variables, None, 4 + 8), Err(TooLarge { needed: 13, size: 12 }));
        assert_eq!(encode(&Env::default(), Some(1), 6), Err(TooLarge { needed: 7, size: 6 }));
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        for size in 0..12 {
            for byte in [0, b'=', 0xff] {
                decode(&vec![byte; size], true);
                decode(&vec![byte; size], false);
            }
        }
        let mut state = 1u32;
        for _ in 0..2000 {
            let mut image: Vec<u8> = (0..97)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            assert_eq!(decode(&image, true), None);
            image[95..].fill(0);
            let crc = crc32(&image[5..]);
            image[..4].copy_from_slice(&crc.to_ne_bytes());
            let (_, variables) = decode(&image, true).unwrap();
            assert!(encode(&variables, Some(1), 97).is_ok(), "what was read fits again");
        }
    }

    #[test]
    fn the_newer_copy_is_the_one_u_boot_takes() {
        for (flags, newer) in
            [([1, 2], 1), ([2, 1], 0), ([255, 0], 1), ([0, 255], 0), ([3, 3], 0), ([255, 254], 0)]
        {
            assert_eq!(Scheme::Counter.newer(flags), newer, "{flags:?}");
        }
        for (flags, newer) in [
            ([1, 0], 0),
            ([0, 1], 1),
            ([1, 1], 0),
            ([0, 0], 0),
            ([255, 1], 0),
            ([1, 255], 1),
            ([0, 255], 1),
            ([255, 0], 0),
            ([255, 255], 0),
        ] {
            assert_eq!(Scheme::Boolean.newer(flags), newer, "{flags:?}");
        }
        assert_eq!((Scheme::Counter.next(255), Scheme::Boolean.next(1)), (0, 1));
    }

    #[test]
    fn numbers_are_read_as_u_boot_reads_them() {
        let variables = env("a=12\nb=3x\nc=x\nd=\ne=99999999999999");
        let read: Vec<u32> = ["a", "b", "c", "d", "e", "none"].map(|name| variables.number(name)).to_vec();
        assert_eq!(read, [12, 3, 0, 0, 0, 0]);
    }
}
