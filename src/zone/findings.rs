//! The mistakes found while a zone is read, by file and byte, until they become [`Diagnostics`].
//!
//! Texts are borrowed until the end: a zone of fifty megabytes is copied only when something points into it.

use std::{path::Path, rc::Rc, sync::Arc};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Source};

/// Most errors, and most warnings, that one zone shows.
pub(super) const FINDINGS_MAX: usize = 100;

/// Bytes `start .. end` of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) file: FileId,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Index of a file among those that a zone was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u16);

/// A file's text: the zone's own is the caller's, an included one is ours.
#[derive(Clone, Debug)]
pub(super) enum Text<'t> {
    Borrowed(&'t str),
    Shared(Rc<str>),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings<'t> {
    files: Vec<(Arc<Path>, Text<'t>)>,
    found: Vec<Finding>,
    n_errors: usize,
    n_warnings: usize,
    /// Whether errors count as warnings.
    is_lenient: bool,
}

#[derive(Debug)]
struct Finding {
    severity: Severity,
    spot: Spot,
    message: String,
    hint: Option<String>,
}

impl<'t> Findings<'t> {
    /// Adds a file to point into; `None` if there are too many.
    pub(super) fn add_file(&mut self, path: &Path, text: Text<'t>) -> Option<FileId> {
        let id = FileId(u16::try_from(self.files.len()).ok()?);
        self.files.push((path.into(), text));
        Some(id)
    }

    /// The path of a file.
    pub(super) fn path(&self, file: FileId) -> Option<&Arc<Path>> {
        self.files.get(usize::from(file.0)).map(|(path, _)| path)
    }

    /// The text of a file.
    pub(super) fn text(&self, file: FileId) -> &str {
        self.files.get(usize::from(file.0)).map_or("", |(_, text)| text.as_str())
    }

    /// The line that a spot starts on, from 1.
    pub(super) fn line_number(&self, spot: Spot) -> u32 {
        let n_before = self.text(spot.file).bytes().take(spot.start as usize).filter(|&byte| byte == b'\n').count();
        u32::try_from(n_before).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// `line 7`, or `line 7 of common.inc` when that is not the file of `seen_from`.
    pub(super) fn line(&self, spot: Spot, seen_from: Spot) -> String {
        let line = self.line_number(spot);
        match self.path(spot.file) {
            Some(path) if spot.file != seen_from.file => format!("line {line} of {}", path.display()),
            _ => format!("line {line}"),
        }
    }

    /// Adds an error.
    pub(super) fn error(&mut self, spot: Spot, message: impl Into<String>) {
        self.push_error(spot, message.into(), None);
    }

    /// Adds an error with a way out.
    pub(super) fn error_hint(&mut self, spot: Spot, message: impl Into<String>, hint: impl Into<String>) {
        self.push_error(spot, message.into(), Some(hint.into()));
    }

    /// From now on errors count as warnings, or do not any more.
    pub(super) fn set_lenient(&mut self, is_lenient: bool) {
        self.is_lenient = is_lenient;
    }

    fn push_error(&mut self, spot: Spot, message: String, hint: Option<String>) {
        if self.is_lenient {
            self.n_warnings += 1;
            return self.push(Severity::Warning, spot, message, hint, self.n_warnings);
        }
        self.n_errors += 1;
        self.push(Severity::Error, spot, message, hint, self.n_errors);
    }

    /// Adds a warning.
    pub(super) fn warning(&mut self, spot: Spot, message: impl Into<String>, hint: impl Into<String>) {
        self.n_warnings += 1;
        self.push(Severity::Warning, spot, message.into(), Some(hint.into()), self.n_warnings);
    }

    fn push(&mut self, severity: Severity, spot: Spot, message: String, hint: Option<String>, n_of_severity: usize) {
        if n_of_severity <= FINDINGS_MAX {
            self.found.push(Finding { severity, spot, message, hint });
        }
    }

    /// Whether there is an error.
    pub(super) fn has_errors(&self) -> bool {
        self.n_errors > 0
    }

    /// Whether there are more errors than will be shown: reading on is of no use.
    pub(super) fn is_full(&self) -> bool {
        self.n_errors > FINDINGS_MAX
    }

    /// Everything in the order of the files.
    pub(super) fn into_diagnostics(mut self) -> Diagnostics {
        self.found.sort_by_key(|finding| (finding.spot.file, finding.spot.start));
        let mut sources: Vec<Option<Arc<Source>>> = vec![None; self.files.len()];
        let mut diagnostics = Diagnostics::default();
        for finding in self.found {
            let index = usize::from(finding.spot.file.0);
            let (Some(slot), Some((path, text))) = (sources.get_mut(index), self.files.get(index)) else { continue };
            let source = slot.get_or_insert_with(|| Source::new(path, text.as_str().to_owned()));
            let span = finding.spot.start as usize..finding.spot.end as usize;
            let diagnostic = Diagnostic::error(source, span, finding.message);
            diagnostics.push(Diagnostic { severity: finding.severity, hint: finding.hint, ..diagnostic });
        }
        for (severity, n_found, word) in
            [(Severity::Error, self.n_errors, "errors"), (Severity::Warning, self.n_warnings, "warnings")]
        {
            if n_found > FINDINGS_MAX {
                let message = format!("and more {word}; the first {FINDINGS_MAX} are shown");
                diagnostics.push(Diagnostic { severity, ..Diagnostic::bare(message) });
            }
        }
        diagnostics
    }
}
