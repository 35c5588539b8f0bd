//! Errors for people: which file, where in it, what was expected, and a way out.
//!
//! Everything that reads what an operator wrote collects all its findings into [`Diagnostics`] and goes on, so that one run shows ten
//! mistakes. There is one renderer, the `Display` of [`Diagnostics`].

use std::{fmt, ops::Range, path::Path, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A file that was read, kept as long as something points into it.
#[derive(Debug)]
pub struct Source {
    /// Path as it is shown.
    pub path: Box<Path>,
    /// The text that spans count bytes of.
    pub text: String,
}

impl Source {
    /// A file and its text, ready to be pointed into.
    pub fn new(path: &Path, text: String) -> Arc<Self> {
        Arc::new(Self { path: path.into(), text })
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.bytes().filter(|&byte| byte == b'\n').count() + 1, column + 1)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// What was read cannot be used.
    Error,
    /// It can be used, but hardly as it was meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// One line, no full stop, literals in backticks.
    pub message: String,
    /// Where; `None` if no file can be pointed into.
    pub place: Option<(Arc<Source>, Range<usize>)>,
    /// The way out, one line.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at `span` of `source`.
    pub fn error(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), place: Some((source.clone(), span)), hint: None }
    }

    /// A warning at `span` of `source`.
    pub fn warning(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(source, span, message) }
    }

    /// An error that no file can be pointed into, such as a file that cannot be read.
    pub fn bare(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), place: None, hint: None }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `file:line:column: message`, for logs.
    pub fn one_line(&self) -> String {
        match &self.place {
            Some((source, span)) => {
                let (line, column) = source.position(span.start);
                format!("{}:{line}:{column}: {}", source.path.display(), self.message)
            }
            None => self.message.clone(),
        }
    }
}

/// All findings of one read, in the order they were found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Diagnostics) {
        self.0.extend(other.0);
    }

    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// How many are errors, and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let n_errors = self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
        (n_errors, self.0.len() - n_errors)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl std::error::Error for Diagnostics {}

/// Every finding with its line and a caret, a blank line between two.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str());
        let mut path = String::new();
        let group = match &self.place {
            None => Group::with_title(title),
            Some((source, span)) => {
                path.push_str(&source.path.display().to_string());
                let (line, line_number, span) = excerpt(&source.text, span.clone());
                let annotation = AnnotationKind::Primary.span(span);
                title.element(Snippet::source(line).line_start(line_number).path(&path).annotation(annotation))
            }
        };
        let mut text = Renderer::plain().render(&[group]).to_string();
        while text.ends_with(['\n', ' ', '|']) {
            text.pop();
        }
        f.write_str(&text)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The one line that a span starts in, its number, and the span within it: a zone of fifty megabytes is not worth rendering for a caret.
fn excerpt(text: &str, span: Range<usize>) -> (&str, usize, Range<usize>) {
    let start = (0..=span.start.min(text.len())).rev().find(|&byte| text.is_char_boundary(byte)).unwrap_or(0);
    let (before, after) = text.split_at(start);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = start + after.find(['\n', '\r']).unwrap_or(after.len());
    let line = text.get(line_start..line_end).unwrap_or_default();
    let end =
        (span.end.clamp(start, line_end)..=line_end).find(|&byte| text.is_char_boundary(byte)).unwrap_or(line_end);
    (line, before.bytes().filter(|&byte| byte == b'\n').count() + 1, start - line_start..end - line_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_shows_file_line_column_caret_and_hint() {
        let text = "version = 1\n[listeners.web]\npool = \"web-eu\"\n".to_owned();
        let at = text.find("\"web-eu\"").expect("value");
        let source = Source::new(Path::new("two-sites.toml"), text);
        let error =
            Diagnostic::error(&source, at..at + 8, "unknown pool `web-eu`").hint("pools defined here: `web-us`");
        let expected = "error: unknown pool `web-eu`\n --> two-sites.toml:3:8\n  |\n3 | pool = \"web-eu\"\n  |        ^^^^^^^^\n\
                        hint: pools defined here: `web-us`";
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.one_line(), "two-sites.toml:3:8: unknown pool `web-eu`");
    }

    #[test]
    fn span_at_the_end_or_inside_a_character_is_no_panic() {
        let source = Source::new(Path::new("x"), "ä = ü".to_owned());
        for start in 0..=8 {
            for end in start..=8 {
                assert!(Diagnostic::warning(&source, start..end, "m").to_string().starts_with("warning: m"));
            }
        }
    }
}
