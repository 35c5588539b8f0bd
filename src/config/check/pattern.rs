//! What is looked for in what a realserver says: a substring, or a regular expression written as `/…/`.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use regex::bytes::{Regex, RegexBuilder};

/// Octets of memory that a compiled expression may take.
const REGEX_OCTETS_MAX: usize = 1 << 20;

/// A substring, or a regular expression; equal to one that is written alike.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Octets(Box<[u8]>),
    Regex(Regex),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    /// It would be found everywhere.
    #[error("an empty text is found everywhere")]
    Empty,
    /// A `\` with something behind it that has no meaning.
    #[error("`{0}` is not an escape")]
    Escape(String),
    /// Not a regular expression, or too large a one.
    #[error("not a regular expression: {0}")]
    Regex(String),
}

impl Pattern {
    /// Reads a pattern; in a substring `\` is an escape if `has_escapes`, in a regular expression always.
    pub(super) fn parse(text: &str, has_escapes: bool) -> Result<Self, PatternError> {
        let expression = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let matcher = match expression {
            Some("") => return Err(PatternError::Empty),
            Some(expression) => {
                let regex = RegexBuilder::new(expression).size_limit(REGEX_OCTETS_MAX).build();
                Matcher::Regex(regex.map_err(|error| {
                    // The last line says what is wrong, those before it show where.
                    let text = error.to_string();
                    let line = text.lines().last().unwrap_or_default();
                    PatternError::Regex(line.trim_start_matches("error: ").to_owned())
                })?)
            }
            None if has_escapes => Matcher::Octets(unescape(text)?.into()),
            None => Matcher::Octets(text.as_bytes().into()),
        };
        if matches!(&matcher, Matcher::Octets(octets) if octets.is_empty()) {
            return Err(PatternError::Empty);
        }
        Ok(Self { text: text.into(), matcher })
    }

    /// Whether it is in `heard`.
    pub fn is_in(&self, heard: &[u8]) -> bool {
        match &self.matcher {
            Matcher::Octets(wanted) => heard.windows(wanted.len()).any(|window| window == &**wanted),
            Matcher::Regex(regex) => regex.is_match(heard),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The octets that `text` stands for: `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` are one octet each.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, PatternError> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        octets.extend_from_slice(before.as_bytes());
        let mut characters = after.chars();
        let (octet, length) = match characters.next() {
            Some('r') => (Some(b'\r'), 1),
            Some('n') => (Some(b'\n'), 1),
            Some('t') => (Some(b'\t'), 1),
            Some('0') => (Some(0), 1),
            Some('\\') => (Some(b'\\'), 1),
            Some('x') => (after.get(1..3).and_then(hexadecimal), 3),
            _ => (None, 1),
        };
        let Some(octet) = octet else {
            return Err(PatternError::Escape(format!("\\{}", after.chars().take(length).collect::<String>())));
        };
        octets.push(octet);
        rest = after.get(length..).unwrap_or_default();
    }
    octets.extend_from_slice(rest.as_bytes());
    Ok(octets)
}

fn hexadecimal(digits: &str) -> Option<u8> {
    // `from_str_radix` would take a sign.
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digits { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The text that [`unescape`] makes `octets` of.
pub(super) fn escape(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\x{octet:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(pattern: &str, has_escapes: bool, heard: &[u8]) -> bool {
        Pattern::parse(pattern, has_escapes).expect(pattern).is_in(heard)
    }

    #[test]
    fn substring_is_found_anywhere_and_expressions_between_slashes() {
        assert!(found("PONG", true, b"+PONG\r\n") && !found("PONG", true, b"+PON"));
        assert!(found("/^\\+P.NG\\r\\n$/", true, b"+PONG\r\n") && !found("/^PONG/", true, b"+PONG"));
        assert!(found("/(?-u)\\xff$/", false, b"a\xff"), "octets that are no UTF-8");
        assert!(found("a/b/", false, b"a/b/") && found("/", false, b"x/y"), "a slash alone is itself");
    }

    #[test]
    fn escapes_are_octets_where_they_are_read_and_text_elsewhere() {
        assert!(found("\\x00\\xFF\\r\\n\\t\\0\\\\", true, b"\x00\xff\r\n\t\x00\\"));
        assert!(found("a\\n", false, b"a\\n") && !found("a\\n", false, b"a\n"));
        for (bad, error) in
            [("\\", "\\"), ("a\\q", "\\q"), ("\\x1", "\\x1"), ("\\x+1", "\\x+1"), ("\\xé", "\\xé"), ("\\é", "\\é")]
        {
            assert_eq!(Pattern::parse(bad, true), Err(PatternError::Escape(error.to_owned())), "{bad}");
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_a_one_is_refused() {
        let error = |text| Pattern::parse(text, false).expect_err(text).to_string();
        assert_eq!(error("/a(/"), "not a regular expression: unclosed group");
        assert!(error("/(a{1000}){1000}/").contains("size limit"), "{}", error("/(a{1000}){1000}/"));
        for empty in ["", "//"] {
            assert_eq!(Pattern::parse(empty, true), Err(PatternError::Empty));
        }
    }

    proptest! {
        #[test]
        fn octets_read_back_as_written(octets in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unescape(&escape(&octets)), Ok(octets));
        }
    }
}
