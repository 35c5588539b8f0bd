//! The zone directory: which files are zones, and what changed since the last look.
//!
//! A zone in service is never lost to a moment's state of the disk. A file is read once it has been still for [`SETTLE`], one that does not
//! load leaves the old zone alone, and one that is gone takes its zone out only after [`GRACE`]. Unchanged files cost a `stat` each.
//!
//! Does not watch and does not wait: the shell calls [`Directory::rescan`] when the kernel reports a change, now and then without one, and
//! after [`Directory::next_rescan`]. Files that a zone includes count as parts of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Zone,
    file::{Stamp, content_hash, read_text},
    include::Include,
    scan::{Scanned, scan},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Source},
    name::Name,
};

/// How long a file must not change before it is read: writers need a moment.
pub const SETTLE: Duration = Duration::from_millis(100);
/// How long a file must be gone before its zone is: editors and deployments remove before they create.
pub const GRACE: Duration = Duration::from_secs(2);
/// Longest zone file in octets.
pub const FILE_OCTETS_MAX: u64 = 1 << 31;

/// Something that the zones in service should follow.
#[derive(Clone, Debug)]
pub enum Change {
    /// A zone is new, has changed, or loads again after it did not.
    Loaded {
        /// The zone; it replaces the one with the same apex.
        zone: Arc<Zone>,
        /// What is strange about it.
        warnings: Diagnostics,
        /// Its file.
        path: PathBuf,
    },
    /// A file, or the directory itself, is of no use as it is; what was loaded from it stays. Reported once for each content.
    Broken {
        /// The file or the directory.
        path: PathBuf,
        /// What is wrong with it.
        diagnostics: Diagnostics,
    },
    /// A zone's file is gone.
    Removed {
        /// The zone's apex.
        apex: Name,
    },
}

/// The zone files of one directory, as they were at the last look.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    files: BTreeMap<PathBuf, ZoneFile>,
    /// What is in service, by apex.
    served: HashMap<Name, Served>,
    /// What was last reported of the directory itself.
    trouble: Option<String>,
    is_first: bool,
    next_rescan: Option<Duration>,
}

/// One zone file.
#[derive(Debug)]
struct ZoneFile {
    /// What it and its includes looked like at the last look, and since when.
    seen: Vec<Option<Stamp>>,
    seen_since: Instant,
    missing_since: Option<Instant>,
    /// What was read last: the file itself, then its includes. Empty until something was.
    parts: Vec<Include>,
    outcome: Outcome,
    /// The apex of the zone that is in service from it.
    apex: Option<Name>,
}

/// What became of the content read last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Unread,
    Loaded,
    Broken,
    /// Another file holds the zone with this apex.
    Blocked(Name),
}

/// A zone that is in service.
#[derive(Clone, Debug)]
struct Served {
    path: PathBuf,
    serial: u32,
    content_hash: u64,
}

/// Whether to wait for files to settle and to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    Wait,
    TakeAsIs,
}

/// Whether a file's name makes it a zone: `*.zone`, not hidden. Editors' temporary files are named otherwise.
pub fn is_zone_file_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.len() > b".zone".len() && name.ends_with(b".zone") && !name.starts_with(b".") && !name.starts_with(b"#")
}

/// Reads every zone of a directory once. The findings are those of all files, and of the directory.
pub fn load_all(path: &Path) -> (Vec<Arc<Zone>>, Diagnostics) {
    let mut zones = Vec::new();
    let mut diagnostics = Diagnostics::default();
    for change in Directory::new(path).reload(Instant::now()) {
        match change {
            Change::Loaded { zone, warnings, .. } => {
                zones.push(zone);
                diagnostics.extend(warnings);
            }
            Change::Broken { diagnostics: of_file, .. } => diagnostics.extend(of_file),
            Change::Removed { .. } => {}
        }
    }
    (zones, diagnostics)
}

impl Directory {
    /// A directory that has not been looked at yet.
    pub fn new(path: &Path) -> Self {
        let (files, served) = (BTreeMap::new(), HashMap::new());
        Self { path: path.to_owned(), files, served, trouble: None, is_first: true, next_rescan: None }
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks again and returns what changed. The first look takes everything as it is: a start does not wait.
    pub fn rescan(&mut self, now: Instant) -> Vec<Change> {
        let patience = if self.is_first { Patience::TakeAsIs } else { Patience::Wait };
        self.look(now, patience)
    }

    /// The same at an operator's word: files that have just changed are read, those that are gone are gone, and those that do not load are
    /// tried and reported again.
    pub fn reload(&mut self, now: Instant) -> Vec<Change> {
        self.look(now, Patience::TakeAsIs)
    }

    /// How long after the last look the next one is due although nothing may be reported: something is settling, or in its grace.
    pub fn next_rescan(&self) -> Option<Duration> {
        self.next_rescan
    }

    fn look(&mut self, now: Instant, patience: Patience) -> Vec<Change> {
        self.next_rescan = None;
        let listed = match list(&self.path) {
            Ok(listed) => listed,
            Err(error) => {
                return self.report(Some(format!("cannot read zone directory `{}`: {error}", self.path.display())));
            }
        };
        self.is_first = false;
        for (path, file) in &mut self.files {
            if listed.binary_search(path).is_err() {
                file.missing_since.get_or_insert(now);
            }
        }
        for path in &listed {
            self.files.entry(path.clone()).or_insert_with(|| ZoneFile::unread(now)).missing_since = None;
        }
        // Apexes that may have lost their file.
        let mut released = self.drop_missing(now, patience);
        let mut changes = Vec::new();
        for path in listed {
            changes.extend(self.look_at(&path, now, patience, &mut released));
        }
        released.retain(|apex| !self.served.contains_key(apex));
        if self.is_any_blocked_by(&released) {
            self.next_rescan = Some(Duration::ZERO);
        }
        changes.extend(released.into_iter().map(|apex| Change::Removed { apex }));
        let path = self.path.display();
        let trouble = self.files.is_empty().then(|| format!("no zones in `{path}`: a zone is a file named `*.zone`"));
        changes.extend(self.report(trouble));
        changes
    }

    /// Remembers the state of the directory itself; returns it if it is news.
    fn report(&mut self, trouble: Option<String>) -> Vec<Change> {
        if self.trouble == trouble {
            return Vec::new();
        }
        self.trouble = trouble;
        let diagnostics = self.trouble.iter().map(|message| Diagnostic::bare(message.as_str()));
        diagnostics.map(|found| Change::Broken { path: self.path.clone(), diagnostics: found.into() }).collect()
    }

    /// Forgets the files whose grace is over; returns the apexes they served.
    fn drop_missing(&mut self, now: Instant, patience: Patience) -> Vec<Name> {
        let mut released = Vec::new();
        let mut wait = None;
        self.files.retain(|_, file| {
            let Some(since) = file.missing_since else { return true };
            let left = GRACE.saturating_sub(now.saturating_duration_since(since));
            if !left.is_zero() && patience == Patience::Wait {
                wait = sooner(wait, left);
                return true;
            }
            released.extend(file.apex.take());
            false
        });
        self.next_rescan = sooner_of(self.next_rescan, wait);
        for apex in &released {
            self.served.remove(apex);
        }
        released
    }

    /// Whether a file waits for one of `released`.
    fn is_any_blocked_by(&self, released: &[Name]) -> bool {
        if released.is_empty() {
            return false;
        }
        let released: HashSet<&Name> = released.iter().collect();
        self.files.values().any(|file| matches!(&file.outcome, Outcome::Blocked(apex) if released.contains(apex)))
    }

    fn look_at(&mut self, path: &Path, now: Instant, patience: Patience, released: &mut Vec<Name>) -> Option<Change> {
        let is_unblocked = match &self.files.get(path)?.outcome {
            Outcome::Blocked(apex) => !self.is_held(apex, path),
            _ => false,
        };
        let file = self.files.get_mut(path)?;
        let seen = file.stamps(path);
        if seen.first().is_none_or(Option::is_none) {
            // Listed and then gone: the same as not listed.
            file.missing_since = Some(now);
            self.next_rescan = sooner(self.next_rescan, GRACE);
            return None;
        }
        let is_as_read = file.outcome != Outcome::Unread && file.parts.iter().map(|part| &part.stamp).eq(&seen);
        let is_retried = is_unblocked || patience == Patience::TakeAsIs && file.outcome != Outcome::Loaded;
        if is_as_read && !is_retried {
            return None;
        }
        if file.seen != seen {
            file.seen = seen;
            file.seen_since = now;
        }
        let left = SETTLE.saturating_sub(now.saturating_duration_since(file.seen_since));
        if !left.is_zero() && patience == Patience::Wait {
            self.next_rescan = sooner(self.next_rescan, left);
            return None;
        }
        match read_text(path, FILE_OCTETS_MAX) {
            Ok((text, stamp)) => self.take(path, text, stamp, is_retried, released),
            Err(error) if is_passing(&error) => {
                file.seen_since = now;
                self.next_rescan = sooner(self.next_rescan, SETTLE);
                None
            }
            Err(error) => file.refuse(path, &error, is_retried),
        }
    }

    /// Takes the content of a file that is new or has been touched.
    fn take(
        &mut self,
        path: &Path,
        text: String,
        stamp: Stamp,
        is_retried: bool,
        released: &mut Vec<Name>,
    ) -> Option<Change> {
        let main = Include { path: path.to_owned(), stamp: Some(stamp), content_hash: content_hash(text.as_bytes()) };
        let file = self.files.get_mut(path)?;
        if file.outcome != Outcome::Unread && !is_retried && file.has_content_of(&main) {
            return None;
        }
        let Scanned { zone, includes, soa } = scan(path, &text);
        file.parts = std::iter::once(main).chain(includes).collect();
        let (zone, mut warnings) = match zone {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                file.outcome = Outcome::Broken;
                return Some(Change::Broken { path: path.to_owned(), diagnostics });
            }
        };
        let content_hash = file.content_hash();
        let source = Source::new(path, text);
        let soa = soa.unwrap_or_default();
        if let Some(holder) = self.holder(zone.apex(), path) {
            let message = format!("zone `{}` is served from `{}` already", zone.apex(), holder.display());
            let diagnostics =
                Diagnostic::error(&source, soa, message).hint("one file a zone: remove or rename one of them").into();
            self.files.get_mut(path)?.outcome = Outcome::Blocked(zone.apex().clone());
            return Some(Change::Broken { path: path.to_owned(), diagnostics });
        }
        // A file that is missing has no claim any more on what a present one brings.
        let previous = self.take_served(zone.apex());
        let file = self.files.get_mut(path)?;
        file.outcome = Outcome::Loaded;
        let left = file.apex.replace(zone.apex().clone()).filter(|apex| apex != zone.apex());
        if let Some(left) = left {
            self.served.remove(&left);
            released.push(left);
        }
        if let Some(previous) = previous
            && previous.content_hash != content_hash
            && !is_newer(zone.serial(), previous.serial)
        {
            let message = format!("serial {} did not go up from {}", zone.serial(), previous.serial);
            let warning = Diagnostic::warning(&source, soa, message).hint("secondaries will not notice the change");
            warnings.push(warning);
        }
        let served = Served { path: path.to_owned(), serial: zone.serial(), content_hash };
        self.served.insert(zone.apex().clone(), served);
        Some(Change::Loaded { zone: Arc::new(zone), warnings, path: path.to_owned() })
    }

    /// Whether a file other than `path`, and not missing, serves `apex`.
    fn is_held(&self, apex: &Name, path: &Path) -> bool {
        self.holder(apex, path).is_some()
    }

    fn holder(&self, apex: &Name, path: &Path) -> Option<&Path> {
        let holder = self.served.get(apex).map(|served| served.path.as_path()).filter(|&holder| holder != path)?;
        self.files.get(holder).is_some_and(|file| file.missing_since.is_none()).then_some(holder)
    }

    /// Ends the service of `apex` from whatever file it is.
    fn take_served(&mut self, apex: &Name) -> Option<Served> {
        let served = self.served.remove(apex)?;
        if let Some(file) = self.files.get_mut(&served.path) {
            file.apex = None;
        }
        Some(served)
    }
}

impl ZoneFile {
    fn unread(now: Instant) -> Self {
        let (seen, parts) = (Vec::new(), Vec::new());
        Self { seen, seen_since: now, missing_since: None, parts, outcome: Outcome::Unread, apex: None }
    }

    /// What the file and its known includes look like now.
    fn stamps(&self, path: &Path) -> Vec<Option<Stamp>> {
        let stamp = |path: &Path| fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        std::iter::once(stamp(path)).chain(self.parts.iter().skip(1).map(|part| stamp(&part.path))).collect()
    }

    /// Whether the content is still what was read, `main` being the file as it is now; if so the new stamps are remembered.
    fn has_content_of(&mut self, main: &Include) -> bool {
        let Some((old_main, includes)) = self.parts.split_first_mut() else { return false };
        if old_main.content_hash != main.content_hash {
            return false;
        }
        let mut stamps = Vec::with_capacity(includes.len());
        for part in includes.iter() {
            match (read_text(&part.path, FILE_OCTETS_MAX), part.stamp) {
                (Ok((text, stamp)), Some(_)) if content_hash(text.as_bytes()) == part.content_hash => {
                    stamps.push(Some(stamp));
                }
                (Err(_), None) => stamps.push(None),
                _ => return false,
            }
        }
        old_main.stamp = main.stamp;
        for (part, stamp) in includes.iter_mut().zip(stamps) {
            part.stamp = stamp;
        }
        true
    }

    fn content_hash(&self) -> u64 {
        let hashes: Vec<u8> = self.parts.iter().flat_map(|part| part.content_hash.to_le_bytes()).collect();
        content_hash(&hashes)
    }

    /// Remembers that the file cannot be read.
    fn refuse(&mut self, path: &Path, error: &io::Error, is_retried: bool) -> Option<Change> {
        let message = format!("cannot read zone file `{}`: {error}", path.display());
        let content_hash = content_hash(message.as_bytes());
        let is_news = is_retried
            || self.outcome != Outcome::Broken
            || self.parts.first().is_none_or(|part| part.content_hash != content_hash);
        let stamp = self.seen.first().copied().flatten();
        self.parts = vec![Include { path: path.to_owned(), stamp, content_hash }];
        self.outcome = Outcome::Broken;
        is_news.then(|| Change::Broken { path: path.to_owned(), diagnostics: Diagnostic::bare(message).into() })
    }
}

/// The zone files in a directory, sorted. A link to nothing is not there.
fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let path = directory.join(&name);
        if is_zone_file_name(&name) && path.try_exists().unwrap_or(true) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether reading again may well succeed.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::NotFound | io::ErrorKind::Interrupted)
}

/// Whether a serial is after another (RFC 1982 §3.2).
fn is_newer(serial: u32, than: u32) -> bool {
    (1..0x8000_0000).contains(&serial.wrapping_sub(than))
}

fn sooner(left: Option<Duration>, right: Duration) -> Option<Duration> {
    Some(left.map_or(right, |left| left.min(right)))
}

fn sooner_of(left: Option<Duration>, right: Option<Duration>) -> Option<Duration> {
    right.map_or(left, |right| sooner(left, right))
}

#[cfg(test)]
mod tests;
