//! What a reader accepts at most.

/// Bounds on what an artifact may ask for. Memory stays within them whatever the file claims. Sizes are in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The manifest, and the manifest of an augmented artifact.
    pub manifest: u64,
    /// The header: its compressed member, and what that decompresses to.
    pub header: u64,
    /// The meta-data of one payload.
    pub meta_data: u64,
    /// One state script.
    pub script: u64,
    /// Payload files in all payloads together, and state scripts.
    pub files: usize,
    /// The dictionary or window that one decompressor keeps.
    pub decoder_memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 1 << 20,
            header: 64 << 20,
            meta_data: 1 << 20,
            script: 1 << 20,
            files: 1000,
            decoder_memory: 64 << 20, // what mender-artifact takes for xz
        }
    }
}
