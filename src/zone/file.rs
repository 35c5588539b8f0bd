//! Reads the text of a file, and recognises it as the one that was read before: by its metadata, and by its content.

use std::{
    fs::{File, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// What changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            octets: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The file's length.
    pub(super) fn octets(self) -> u64 {
        self.octets
    }
}

/// A number that another content has, but for one chance in 2^64.
pub(super) fn content_hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Reads a regular file of UTF-8 with at most `octets_max` octets, and the stamp that its content belongs to.
pub(super) fn read_text(path: &Path, octets_max: u64) -> io::Result<(String, Stamp)> {
    // Opening a pipe would wait for whoever writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(path)?;
    let before = Stamp::of(&file.metadata()?);
    if before.octets() > octets_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {octets_max} octets")));
    }
    let mut octets = Vec::with_capacity(usize::try_from(before.octets()).unwrap_or_default());
    (&file).take(octets_max).read_to_end(&mut octets)?;
    if Stamp::of(&file.metadata()?) != before {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "changed while it was read"));
    }
    let text = String::from_utf8(octets).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1;
        let message = format!("not UTF-8 on line {line}; write other octets as `\\DDD`");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok((text, before))
}
