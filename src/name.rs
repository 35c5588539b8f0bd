//! Domain names in wire form: at most 255 octets, labels of 1 to 63, the root label last (RFC 1035 §3.1).
//!
//! A [`Name`] is stored with ASCII letters in lower case, so that comparing bytes compares names (RFC 4343). Names in a packet are not
//! made into a [`Name`]: the DNS code works on borrowed bytes; [`labels`] serves both.

use std::{fmt, str::FromStr};

/// Longest name in octets, root label included.
pub const NAME_OCTETS_MAX: usize = 255;
/// Longest label in octets, without its length octet.
pub const LABEL_OCTETS_MAX: usize = 63;

/// An absolute domain name in uncompressed wire form, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Why bytes or text are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// More than 255 octets.
    #[error("name is longer than 255 octets")]
    TooLong,
    /// A label of more than 63 octets.
    #[error("label is longer than 63 octets")]
    LabelTooLong,
    /// Two dots in a row, or a leading one.
    #[error("name has an empty label")]
    EmptyLabel,
    /// A `\` that is not followed by a character or by three digits up to 255.
    #[error("`\\` must be followed by a character or by three digits up to 255")]
    Escape,
    /// Bytes that end early, go on after the root label, or hold a compression pointer.
    #[error("not an uncompressed name")]
    Wire,
}

impl Name {
    /// The root, `.`.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads an uncompressed name that fills `wire` exactly.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        if wire.len() > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        let mut rest = wire;
        loop {
            let (&length, tail) = rest.split_first().ok_or(NameError::Wire)?;
            if length == 0 {
                return if tail.is_empty() { Ok(Self(wire.to_ascii_lowercase().into())) } else { Err(NameError::Wire) };
            }
            if usize::from(length) > LABEL_OCTETS_MAX {
                return Err(NameError::Wire);
            }
            rest = tail.split_at_checked(usize::from(length)).ok_or(NameError::Wire)?.1;
        }
    }

    /// Reads presentation form relative to `origin`: a name without a final dot gets the origin's labels, `@` is the origin itself.
    pub fn parse_relative(text: &str, origin: &Name) -> Result<Self, NameError> {
        if text == "@" {
            return Ok(origin.clone());
        }
        let (mut wire, is_absolute) = parse_labels(text)?;
        wire.extend_from_slice(if is_absolute { &[0] } else { &origin.0 });
        if wire.len() > NAME_OCTETS_MAX { Err(NameError::TooLong) } else { Ok(Self(wire.into())) }
    }

    /// The bytes, lower case, with the root label.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from the left, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }

    /// Whether this name is `ancestor` or below it.
    pub fn is_within(&self, ancestor: &Name) -> bool {
        is_within(&self.0, &ancestor.0)
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        parent(&self.0).map(|wire| Self(wire.into()))
    }
}

/// The labels of an uncompressed name from the left, without the root. Stops early, rather than panics, on bytes that are no name.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&length, tail) = rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, next) = tail.split_at_checked(usize::from(length))?;
        rest = next;
        Some(label)
    })
}

/// The uncompressed name `wire` without its first label; `None` for the root.
pub fn parent(wire: &[u8]) -> Option<&[u8]> {
    match wire.split_first() {
        Some((&length, tail)) if length > 0 => tail.get(usize::from(length)..),
        _ => None,
    }
}

/// Whether the uncompressed name `wire` is `ancestor` or below it; both in lower case.
pub fn is_within(wire: &[u8], ancestor: &[u8]) -> bool {
    let mut name = Some(wire);
    while let Some(suffix) = name.filter(|suffix| suffix.len() >= ancestor.len()) {
        if suffix == ancestor {
            return true;
        }
        name = parent(suffix);
    }
    false
}

/// Octets of the labels in `text` without a root label, lower case, and whether it ended with a dot.
fn parse_labels(text: &str) -> Result<(Vec<u8>, bool), NameError> {
    if text == "." {
        return Ok((Vec::new(), true));
    }
    let mut wire = Vec::with_capacity(text.len() + 2);
    let mut label = Vec::new();
    let mut is_absolute = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        is_absolute = byte == b'.';
        match byte {
            b'.' => push_label(&mut wire, &mut label)?,
            b'\\' => {
                let first = bytes.next().ok_or(NameError::Escape)?;
                if first.is_ascii_digit() {
                    let rest = [bytes.next(), bytes.next()].map(|digit| digit.filter(u8::is_ascii_digit));
                    let [Some(second), Some(third)] = rest else { return Err(NameError::Escape) };
                    let value =
                        [first, second, third].iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
                    label.push(u8::try_from(value).map_err(|_| NameError::Escape)?.to_ascii_lowercase());
                } else {
                    label.push(first.to_ascii_lowercase());
                }
            }
            _ => label.push(byte.to_ascii_lowercase()),
        }
    }
    if !is_absolute {
        push_label(&mut wire, &mut label)?;
    }
    Ok((wire, is_absolute))
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    let length = u8::try_from(label.len()).ok().filter(|&length| usize::from(length) <= LABEL_OCTETS_MAX);
    match length.ok_or(NameError::LabelTooLong)? {
        0 => Err(NameError::EmptyLabel),
        length => {
            wire.push(length);
            wire.append(label);
            Ok(())
        }
    }
}

/// Reads presentation form as absolute, with or without the final dot.
impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse_relative(text, &Self::root())
    }
}

/// Writes `wire` in presentation form with the final dot, escaping what a master file would need escaped.
pub fn write_wire(wire: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut is_root = true;
    for label in labels(wire) {
        is_root = false;
        for &byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(f, "\\{}", char::from(byte))?,
                0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                _ => write!(f, "\\{byte:03}")?,
            }
        }
        f.write_str(".")?;
    }
    if is_root { f.write_str(".") } else { Ok(()) }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_wire(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back_as_written_in_lower_case() {
        for (text, shown) in [
            (".", "."),
            ("example.org", "example.org."),
            ("WWW.Example.ORG.", "www.example.org."),
            ("*.cdn", "*.cdn."),
            (r"a\.b.c", r"a\.b.c."),
            (r"\000\255x", r"\000\255x."),
        ] {
            let name: Name = text.parse().expect(text);
            assert_eq!(name.to_string(), shown);
            assert_eq!(Name::from_wire(name.as_wire()), Ok(name));
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62));
        for (text, error) in [
            ("", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (r"a\", NameError::Escape),
            (r"a\25", NameError::Escape),
            (r"a\256", NameError::Escape),
            (&"a".repeat(64), NameError::LabelTooLong),
            (&long, NameError::TooLong),
        ] {
            assert_eq!(text.parse::<Name>(), Err(error), "{text:?}");
        }
        assert!(long[1..].parse::<Name>().is_ok(), "255 octets are a name");
    }

    #[test]
    fn wire_names_end_at_the_root_and_hold_no_pointers() {
        for wire in [&b""[..], b"\x01", b"\x01a", b"\x01a\x00\x00", b"\xc0\x0c", b"\x40a"] {
            assert_eq!(Name::from_wire(wire), Err(NameError::Wire), "{wire:?}");
        }
    }

    #[test]
    fn within_compares_whole_labels() {
        let apex: Name = "example.org".parse().expect("name");
        for (text, expected) in
            [("example.org", true), ("a.b.example.org", true), ("badexample.org", false), ("org", false), (".", false)]
        {
            assert_eq!(text.parse::<Name>().expect("name").is_within(&apex), expected, "{text}");
        }
    }
}
