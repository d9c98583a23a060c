//! `autoboot.txt`: which boot partition the firmware reads, and which one it reads when it tries the other.
//!
//! The file is one sector and stays it: it is written in place, so that there is the old content or the new at every instant.

/// Bytes of the file: a sector, and what the firmware reads of it at most.
pub(super) const SIZE: usize = 512;

/// Numbers of the boot partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Autoboot {
    /// The one that the firmware reads.
    pub(super) committed: u32,
    /// The one that it reads once when it is told to try.
    pub(super) tried: u32,
}

impl Autoboot {
    /// Reads a file. `None` when it is not one that tries.
    pub(super) fn parse(bytes: &[u8]) -> Option<Autoboot> {
        let (mut committed, mut tried, mut tries) = (None, None, false);
        let mut section = "all";
        for line in std::str::from_utf8(bytes).ok()?.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            } else if let Some((key, value)) = line.split_once('=') {
                match (section, key) {
                    ("all", "boot_partition") => committed = Some(value.parse().ok()?),
                    ("tryboot", "boot_partition") => tried = Some(value.parse().ok()?),
                    ("all", "tryboot_a_b") => tries = value == "1",
                    _ => {}
                }
            }
        }
        let autoboot = Autoboot { committed: committed?, tried: tried? };
        (tries && autoboot.committed != autoboot.tried).then_some(autoboot)
    }

    /// The file: filled up with a comment.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut text = format!(
            "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
            self.committed, self.tried
        );
        let rest = SIZE - 1 - text.len();
        text.extend(std::iter::repeat('#').take(rest));
        text.push('\n');
        text.into_bytes()
    }

    /// The other way round.
    pub(super) fn swapped(self) -> Autoboot {
        Autoboot { committed: self.tried, tried: self.committed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_is_a_sector() {
        let autoboot = Autoboot { committed: 2, tried: 3 };
        assert_eq!(autoboot.bytes().len(), SIZE);
        assert_eq!(Autoboot::parse(&autoboot.bytes()), Some(autoboot));
        assert_eq!(Autoboot::parse(&autoboot.swapped().bytes()), Some(Autoboot { committed: 3, tried: 2 }));
    }

    #[test]
    fn reads_what_people_write_and_refuses_what_does_not_try() {
        let read = |text: &str| Autoboot::parse(text.as_bytes());
        let plain =
            "# ours\r\n[all]\r\ntryboot_a_b=1\r\nboot_partition=3\r\n\r\n[tryboot]\r\nboot_partition=2\r\n";
        assert_eq!(read(plain), Some(Autoboot { committed: 3, tried: 2 }));
        for text in [
            "",
            "boot_partition=2\n",
            "[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n",
            "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n",
            "[all]\ntryboot_a_b=1\nboot_partition=two\n[tryboot]\nboot_partition=3\n",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(Autoboot::parse(&[0xff; SIZE]), None);
    }
}
