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

/// Longest distance of a misspelt key for "did you mean": a letter or two, not another word.
const KEY_DISTANCE_MAX: usize = 3;
/// The same for names of the operator's: `web-us` is not a misspelt `web-eu`.
const NAME_DISTANCE_MAX: usize = 1;
/// Findings that are told: a generated file can have one mistake a hundred thousand times.
const FINDINGS_MAX: usize = 1000;
/// Words in a hint, at most: a file may have ten thousand pools.
const LISTED_MAX: usize = 16;

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

    /// The `[header]` of a table that has one, else `span`.
    fn header(&self, span: Range<usize>) -> (usize, usize) {
        let header = self.source.text.get(span.start..).filter(|text| text.starts_with('['));
        let end = header.and_then(|text| text.lines().next()?.rfind(']')).map_or(span.end, |end| span.start + end + 1);
        (span.start, end)
    }

    /// The line that a span starts in, from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.source.position(span.start).0
    }

    pub(super) fn has_errors(&self) -> bool {
        self.findings.borrow().has_errors()
    }

    /// What was found, in the order of the file.
    pub(super) fn into_findings(self) -> Diagnostics {
        let mut findings = self.findings.into_inner();
        findings.0.sort_by_key(|finding| finding.place.as_ref().map_or(0, |(_, span)| span.start));
        let n_more = findings.0.len().saturating_sub(FINDINGS_MAX);
        if n_more > 0 {
            findings.0.truncate(FINDINGS_MAX);
            findings.push(Diagnostic::bare(format!("and {n_more} more findings like these")));
        }
        findings
    }
}

/// `error` with the closest of the `known` words of the language as a way out, else with all of them.
pub(super) fn suggest_word<'k>(error: Diagnostic, word: &str, known: impl Iterator<Item = &'k str>) -> Diagnostic {
    suggest(error, word, &known.collect::<Vec<_>>(), KEY_DISTANCE_MAX, "known here")
}

/// `error` with the closest of the operator's `known` names as a way out, else with all of them; `what` says what they are.
pub(super) fn suggest_name(error: Diagnostic, name: &str, known: &[&str], what: &str) -> Diagnostic {
    if known.is_empty() {
        return error.hint(format!("this file has no {what}"));
    }
    suggest(error, name, known, NAME_DISTANCE_MAX, &format!("{what} in this file"))
}

fn suggest(error: Diagnostic, word: &str, known: &[&str], distance_max: usize, what: &str) -> Diagnostic {
    let word = word.to_ascii_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase());
    let closest = known.iter().map(|candidate| (distance(candidate), candidate)).min_by_key(|(distance, _)| *distance);
    if let Some((distance, closest)) = closest
        && distance <= distance_max.min(word.len().div_ceil(2))
    {
        return error.hint(format!("did you mean `{closest}`?"));
    }
    let listed: Vec<&str> = known.iter().copied().take(LISTED_MAX).collect();
    let more = match known.len() - listed.len() {
        0 => String::new(),
        n_more => format!(" and {n_more} more"),
    };
    error.hint(format!("{what}: `{}`{more}", listed.join("`, `")))
}

/// A table whose keys are all known ones.
#[derive(Clone, Copy)]
pub(super) struct Table<'r> {
    pub(super) reader: &'r Reader<'r>,
    /// Its name in [`reference::KEYS`].
    section: &'static str,
    entries: &'r DeTable<'r>,
    /// Where errors about the table as a whole point: its header, or all of it where it stands in a line.
    span: (usize, usize),
}

impl<'r> Table<'r> {
    /// The whole document.
    pub(super) fn root(reader: &'r Reader<'r>, entries: &'r DeTable<'r>) -> Self {
        let table = Self { reader, section: "", entries, span: (0, 1) };
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
                    self.reader.report(self.reader.error(key.span(), message).hint("remove it"));
                }
                Some(_) => {}
                None => {
                    let place = match self.section {
                        "" => "at the top level".to_owned(),
                        section => format!("in {}", noun(section)),
                    };
                    let error = self.reader.error(key.span(), format!("unknown key `{name}` {place}"));
                    let known =
                        reference::keys_of(self.section).filter(|known| !known.is_later).map(|known| known.name);
                    self.reader.report(suggest_word(error, name, known));
                }
            }
        }
    }

    /// Where errors about the table as a whole point.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.0..self.span.1
    }

    /// The value of `name`, if it is there.
    pub(super) fn get(&self, name: &'static str) -> Option<Value<'r>> {
        debug_assert!(
            reference::keys_of(self.section).any(|key| key.name == name),
            "`{name}` is missing in the reference"
        );
        let (_, value) = self.entries.iter().find(|(key, _)| key.get_ref() == name)?;
        Some(Value { reader: self.reader, name, value, is_element: false })
    }

    /// The value of `name`; an error if it is not there, with `example` as the way out.
    pub(super) fn require(&self, name: &'static str, example: &str) -> Option<Value<'r>> {
        let value = self.get(name);
        if value.is_none() {
            let error = self.reader.error(self.span(), format!("`{name}` is missing in {}", noun(self.section)));
            self.reader.report(error.hint(format!("such as `{example}`")));
        }
        value
    }
}

/// What a table of the reference is, in a sentence.
fn noun(section: &str) -> String {
    match section {
        "" => "this file".to_owned(),
        "checks.NAME" => "this check".to_owned(),
        "pools.NAME" => "this pool".to_owned(),
        "pools.NAME.realservers" => "this realserver".to_owned(),
        "pools.NAME.affinity_prefix" => "`affinity_prefix`".to_owned(),
        "listeners.NAME" => "this listener".to_owned(),
        "tsig.NAME" => "this key".to_owned(),
        "secondaries.NAME" => "this secondary zone".to_owned(),
        section => format!("`[{section}]`"),
    }
}

/// A value with its key.
#[derive(Clone, Copy)]
pub(super) struct Value<'r> {
    pub(super) reader: &'r Reader<'r>,
    name: &'r str,
    value: &'r Spanned<DeValue<'r>>,
    /// Whether it is one of the list that the key has.
    is_element: bool,
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
        let error = self.reader.error(self.span(), self.mismatch(expected));
        let needs_brackets = expected == "a list" && !self.value.get_ref().is_table();
        self.reader.report(if needs_brackets { error.hint("put it in brackets: `[ … ]`") } else { error });
        None
    }

    /// That something else was expected here.
    pub(super) fn mismatch(&self, expected: &str) -> String {
        let each = if self.is_element { "each of " } else { "" };
        format!("{each}`{}` must be {expected}, this is {}", self.name, self.found())
    }

    /// What stands here, in words.
    fn found(&self) -> &'static str {
        match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    pub(super) fn string(&self) -> Option<&'r str> {
        self.value.get_ref().as_str().or_else(|| self.reject_type("a string"))
    }

    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&'r str> {
        self.value.get_ref().as_str()
    }

    pub(super) fn is_string(&self) -> bool {
        self.value.get_ref().is_str()
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.reject_type("true or false"))
    }

    /// A whole number within `range`.
    pub(super) fn integer<T: TryFrom<i64> + PartialOrd + Display>(&self, range: RangeInclusive<T>) -> Option<T> {
        if !self.is_integer() {
            return self.reject_type("a whole number");
        }
        let number = self.number().and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("`{}` must be between {} and {}", self.name, range.start(), range.end());
            self.reader.report(self.reader.error(self.span(), message));
        }
        number
    }

    /// The whole number, if it is one of 64 bits.
    pub(super) fn number(&self) -> Option<i64> {
        let integer = self.value.get_ref().as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(super) fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    /// A duration of more than nothing.
    pub(super) fn duration(&self) -> Option<Duration> {
        let hint =
            "durations are strings of a whole number and a unit: `\"500ms\"`, `\"5s\"`, `\"5m\"`, `\"2h\"`, `\"1d\"`";
        let Some(text) = self.value.get_ref().as_str() else {
            self.reject(self.mismatch("a duration"), hint);
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
                self.reader.report(suggest_word(error, word, choices.iter().map(|(known, _)| *known)));
                None
            }
        }
    }

    /// A number of degrees, whole or not.
    pub(super) fn degrees(&self) -> Option<f64> {
        let float = self.value.get_ref().as_float().and_then(|float| float.as_str().parse().ok());
        #[expect(clippy::cast_precision_loss, reason = "what is beyond 2^53 is beyond 180 as well")]
        let whole = || self.number().map(|number| number as f64);
        float.or_else(whole).or_else(|| self.reject_type("a number of degrees"))
    }

    /// How many elements a list has.
    pub(super) fn n_elements(&self) -> Option<usize> {
        self.value.get_ref().as_array().map(|elements| elements.len())
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Whether it is a list with nothing in it.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value.get_ref().as_array().is_some_and(|elements| elements.is_empty())
    }

    /// Every element that `read` makes something of; the others have been reported.
    pub(super) fn list<T>(&self, read: impl Fn(Value<'r>) -> Option<T>) -> Option<Vec<T>> {
        let Some(elements) = self.value.get_ref().as_array() else { return self.reject_type("a list") };
        let elements = elements.iter().map(|value| Value { value, is_element: true, ..*self });
        Some(elements.filter_map(read).collect())
    }

    /// A table whose keys are those of `section` in the reference.
    pub(super) fn table(&self, section: &'static str) -> Option<Table<'r>> {
        let Some(entries) = self.value.get_ref().as_table() else { return self.reject_type("a table") };
        let table = Table { reader: self.reader, section, entries, span: self.reader.header(self.span()) };
        table.check_keys();
        Some(table)
    }

    /// The entries of a table whose keys are the operator's own, in the order of the file.
    pub(super) fn entries(&self) -> Option<Vec<(Word<'r>, Value<'r>)>> {
        let Some(entries) = self.value.get_ref().as_table() else { return self.reject_type("a table") };
        let entry = |(key, value): (&'r Spanned<DeString<'r>>, &'r Spanned<DeValue<'r>>)| {
            let word = Word { text: key.get_ref(), span: key.span() };
            (word, Value { reader: self.reader, name: key.get_ref(), value, is_element: false })
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
