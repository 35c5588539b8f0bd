//! Takes a TOML document apart, value by value, with a finding at the exact place of each thing that is wrong.
//!
//! Serde stops at its first error and an operator wants all of them, so this walks the parsed document itself. It knows nothing about
//! pools and listeners; `file` does.

use std::{
    cell::RefCell, fmt::Display, net::IpAddr, ops::Range, ops::RangeInclusive, str::FromStr, sync::Arc, time::Duration,
};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::reference;
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Source},
    types::parse_duration,
};

/// Longest distance of a misspelt word for "did you mean": a letter or two, not another word.
const SUGGESTION_DISTANCE_MAX: usize = 3;

/// The file, and what was found in it so far.
pub(super) struct Reader<'i> {
    source: &'i Arc<Source>,
    findings: RefCell<Diagnostics>,
}

impl<'i> Reader<'i> {
    pub(super) fn new(source: &'i Arc<Source>) -> Self {
        Self { source, findings: RefCell::default() }
    }

    pub(super) fn report(&self, finding: Diagnostic) {
        self.findings.borrow_mut().push(finding);
    }

    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.source, span, message)
    }

    pub(super) fn warning(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.source, span, message)
    }

    pub(super) fn has_errors(&self) -> bool {
        self.findings.borrow().has_errors()
    }

    /// Everything found, in the order of the file.
    pub(super) fn into_findings(self) -> Diagnostics {
        let mut findings = self.findings.into_inner();
        findings.0.sort_by_key(|finding| finding.place.as_ref().map_or(0, |(_, span)| span.start));
        findings
    }
}

/// `message` with the closest of `known` as a way out, else with all of them.
pub(super) fn suggest<'k>(error: Diagnostic, word: &str, known: impl Iterator<Item = &'k str>) -> Diagnostic {
    let known: Vec<&str> = known.collect();
    let distance =
        |candidate: &&str| strsim::damerau_levenshtein(&word.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
    match known.iter().copied().min_by_key(distance) {
        None => error,
        Some(closest) if distance(&closest) <= SUGGESTION_DISTANCE_MAX.min(word.len().div_ceil(2)) => {
            error.hint(format!("did you mean `{closest}`?"))
        }
        Some(_) => error.hint(format!("known here: `{}`", known.join("`, `"))),
    }
}

/// A table whose keys are all known ones.
#[derive(Clone, Copy)]
pub(super) struct Table<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// Its name in [`reference::KEYS`].
    section: &'static str,
    entries: &'r DeTable<'r>,
    /// Where errors about the table as a whole point: its header.
    start: usize,
}

impl<'r> Table<'r> {
    /// The whole document.
    pub(super) fn root(reader: &'r Reader<'r>, entries: &'r DeTable<'r>) -> Self {
        let table = Self { reader, section: "", entries, start: 0 };
        table.check_keys();
        table
    }

    fn check_keys(&self) {
        for (key, _) in self.entries.iter() {
            let name: &str = key.get_ref();
            match reference::keys_of(self.section).find(|known| known.name == name) {
                Some(known) if known.is_later => {
                    let message =
                        format!("`{name}` is not supported yet: {} comes with a later version", known.meaning);
                    self.reader.report(self.reader.error(key.span(), message).hint("remove the line"));
                }
                Some(_) => {}
                None => {
                    let place = if self.section.is_empty() {
                        "at the top level".to_owned()
                    } else {
                        format!("in `{}`", self.section)
                    };
                    let error = self.reader.error(key.span(), format!("unknown key `{name}` {place}"));
                    let known =
                        reference::keys_of(self.section).filter(|known| !known.is_later).map(|known| known.name);
                    self.reader.report(suggest(error, name, known));
                }
            }
        }
    }

    /// Where errors about the table as a whole point.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.start + 1
    }

    /// The value of `name`, if it is there.
    pub(super) fn get(&self, name: &'static str) -> Option<Value<'r>> {
        debug_assert!(
            reference::keys_of(self.section).any(|key| key.name == name),
            "`{name}` is missing in the reference"
        );
        let (_, value) = self.entries.iter().find(|(key, _)| key.get_ref() == name)?;
        Some(Value { reader: self.reader, name, value })
    }

    /// The value of `name`; an error if it is not there.
    pub(super) fn require(&self, name: &'static str) -> Option<Value<'r>> {
        let value = self.get(name);
        if value.is_none() {
            let place =
                if self.section.is_empty() { "the file".to_owned() } else { format!("this `{}`", self.section) };
            self.reader.report(self.reader.error(self.span(), format!("{place} needs `{name}`")));
        }
        value
    }
}

/// A value with its key.
#[derive(Clone, Copy)]
pub(super) struct Value<'r> {
    pub(super) reader: &'r Reader<'r>,
    name: &'r str,
    value: &'r Spanned<DeValue<'r>>,
}

impl<'r> Value<'r> {
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Reports an error at this value.
    pub(super) fn reject(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.reader.report(self.reader.error(self.span(), message).hint(hint));
    }

    fn reject_type<T>(&self, expected: &str) -> Option<T> {
        let found = self.value.get_ref().type_str();
        self.reader
            .report(self.reader.error(self.span(), format!("`{}` must be {expected}, this is a {found}", self.name)));
        None
    }

    pub(super) fn string(&self) -> Option<&'r str> {
        self.value.get_ref().as_str().or_else(|| self.reject_type("a string"))
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.reject_type("true or false"))
    }

    /// A whole number within `range`.
    pub(super) fn integer<T: TryFrom<i64> + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Option<T> {
        let Some(integer) = self.value.get_ref().as_integer() else { return self.reject_type("a whole number") };
        let number =
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("`{}` must be between {} and {}", self.name, range.start(), range.end());
            self.reader.report(self.reader.error(self.span(), message));
        }
        number
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    /// A duration of more than nothing.
    pub(super) fn duration(&self) -> Option<Duration> {
        let hint =
            "durations are strings of a whole number and a unit: `\"500ms\"`, `\"5s\"`, `\"5m\"`, `\"2h\"`, `\"1d\"`";
        let Some(text) = self.value.get_ref().as_str() else {
            self.reject(
                format!("`{}` must be a duration, this is a {}", self.name, self.value.get_ref().type_str()),
                hint,
            );
            return None;
        };
        let duration = parse_duration(text).filter(|duration| !duration.is_zero());
        if duration.is_none() {
            self.reject(format!("`{text}` is not a duration"), hint);
        }
        duration
    }

    /// A string that reads as `T`.
    pub(super) fn parse<T: FromStr>(&self, expected: &str, hint: &str) -> Option<T> {
        let text = self.string()?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.reject(format!("`{text}` is not {expected}"), hint);
        }
        parsed
    }

    /// An address that can be sent to.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let address: IpAddr =
            self.parse("an IP address", "such as `192.0.2.10` or `2001:db8::10`; ports and names do not belong here")?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            self.reject(format!("`{address}` is an IPv4 address in IPv6 form"), format!("write `{v4}`"));
            return None;
        }
        if address.is_unspecified() || address.is_multicast() {
            self.reject(format!("`{address}` is no address of one host"), "give the address that the service has");
            return None;
        }
        Some(address)
    }

    /// One of `choices`; one without a meaning is not supported yet.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&str, Option<T>)]) -> Option<T> {
        let word = self.string()?;
        match choices.iter().find(|(known, _)| *known == word) {
            Some((_, Some(meaning))) => Some(meaning.clone()),
            Some((_, None)) => {
                let supported: Vec<&str> =
                    choices.iter().filter(|(_, meaning)| meaning.is_some()).map(|(known, _)| *known).collect();
                let message =
                    format!("`{} = \"{word}\"` is not supported yet: it comes with a later version", self.name);
                self.reject(message, format!("supported: `{}`", supported.join("`, `")));
                None
            }
            None => {
                let error = self.reader.error(self.span(), format!("`{word}` is not a value of `{}`", self.name));
                self.reader.report(suggest(error, word, choices.iter().map(|(known, _)| *known)));
                None
            }
        }
    }

    /// Every element that `read` makes something of; the others have been reported.
    pub(super) fn list<T>(&self, read: impl Fn(Value<'r>) -> Option<T>) -> Option<Vec<T>> {
        let Some(elements) = self.value.get_ref().as_array() else { return self.reject_type("a list") };
        let elements = elements.iter().map(|value| Value { value, ..*self });
        Some(elements.filter_map(read).collect())
    }

    /// A table whose keys are those of `section` in the reference.
    pub(super) fn table(&self, section: &'static str) -> Option<Table<'r>> {
        let Some(entries) = self.value.get_ref().as_table() else { return self.reject_type("a table") };
        let table = Table { reader: self.reader, section, entries, start: self.span().start };
        table.check_keys();
        Some(table)
    }

    /// The entries of a table whose keys are the operator's own, in the order of the file.
    pub(super) fn entries(&self) -> Option<Vec<(Word<'r>, Value<'r>)>> {
        let Some(entries) = self.value.get_ref().as_table() else { return self.reject_type("a table") };
        let entry = |(key, value): (&'r Spanned<DeString<'r>>, &'r Spanned<DeValue<'r>>)| {
            let word = Word { text: key.get_ref(), span: key.span() };
            (word, Value { reader: self.reader, name: key.get_ref(), value })
        };
        let mut entries: Vec<_> = entries.iter().map(entry).collect();
        entries.sort_by_key(|(word, _)| word.span.start);
        Some(entries)
    }
}

/// A key of the operator's own.
#[derive(Clone, Debug)]
pub(super) struct Word<'r> {
    pub(super) text: &'r str,
    pub(super) span: Range<usize>,
}
