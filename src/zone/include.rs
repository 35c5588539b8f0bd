//! The files that `$INCLUDE` names: found relative to the file that names them, and never outside the zone's directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::file::{Stamp, content_hash, read_text};

/// How deep files may include each other.
const DEPTH_MAX: usize = 8;
/// Most files that one zone includes, one counted as often as it is.
const INCLUDES_MAX: usize = 10_000;
/// Most octets in a zone's included files together.
const OCTETS_MAX: u64 = 1 << 31;

/// A file that a zone was made of, or would be if it were there.
#[derive(Clone, Debug)]
pub(super) struct Include {
    pub(super) path: PathBuf,
    /// `None` if it could not be read.
    pub(super) stamp: Option<Stamp>,
    pub(super) content_hash: u64,
}

/// The includes of one zone.
#[derive(Debug)]
pub(super) struct Includes {
    /// The zone's directory, without symbolic links.
    root: Option<PathBuf>,
    /// The files that are being read: the zone's own, the one it includes, and so on.
    open: Vec<PathBuf>,
    files: Vec<Include>,
    octets: u64,
}

/// An included file's content.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Why a file is not included.
#[derive(Debug)]
pub(super) struct IncludeError {
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

fn refuse(message: impl Into<String>) -> IncludeError {
    IncludeError { message: message.into(), hint: None }
}

impl Includes {
    /// Those of the zone in the file at `path`; its directory is what no include leaves.
    pub(super) fn of_zone(path: &Path) -> Self {
        let root = directory_of(path).canonicalize().ok();
        let zone = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self { root, open: vec![zone], files: Vec::new(), octets: 0 }
    }

    /// Reads the file that `including` names `named`; [`close`](Self::close) follows when it has been scanned.
    pub(super) fn open(&mut self, including: &Path, named: &str) -> Result<Opened, IncludeError> {
        if self.files.len() >= INCLUDES_MAX {
            return Err(refuse(format!("more than {INCLUDES_MAX} included files")));
        }
        let path = directory_of(including).join(named);
        let canonical = path.canonicalize().map_err(|error| self.refuse_unreadable(&path, named, &error))?;
        if !self.root.as_ref().is_some_and(|root| canonical.starts_with(root)) {
            let hint = Some("included files stand in the zone directory or below it");
            return Err(IncludeError { message: format!("`{named}` is outside the zone directory"), hint });
        }
        if self.open.contains(&canonical) {
            return Err(refuse(format!("`{named}` includes itself")));
        }
        if self.open.len() > DEPTH_MAX {
            return Err(refuse(format!("files include each other more than {DEPTH_MAX} deep")));
        }
        let read = read_text(&canonical, OCTETS_MAX.saturating_sub(self.octets));
        let (text, stamp) = read.map_err(|error| self.refuse_unreadable(&path, named, &error))?;
        self.octets += text.len() as u64;
        self.files.push(Include {
            path: path.clone(),
            stamp: Some(stamp),
            content_hash: content_hash(text.as_bytes()),
        });
        self.open.push(canonical);
        Ok(Opened { path, text })
    }

    /// Ends the file opened last.
    pub(super) fn close(&mut self) {
        self.open.pop();
    }

    /// Every file that was asked for.
    pub(super) fn into_files(self) -> Vec<Include> {
        self.files
    }

    fn refuse_unreadable(&mut self, path: &Path, named: &str, error: &io::Error) -> IncludeError {
        self.files.push(Include { path: path.to_owned(), stamp: None, content_hash: 0 });
        refuse(format!("cannot read `{named}`: {error}"))
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
