//! Names as the generator needs them: labels of any octets, in text and in wire form. On purpose not the library's: the judge shares no
//! code with what it judges.

use std::fmt::{self, Write as _};

/// Octets of the longest name, root label included.
pub const OCTETS_MAX: usize = 255;

/// Labels from the left, without the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub Vec<Vec<u8>>);

impl Name {
    /// The name with these labels; no escapes, no empty labels.
    pub fn of(text: &str) -> Self {
        Self(text.split('.').filter(|label| !label.is_empty()).map(|label| label.as_bytes().to_vec()).collect())
    }

    /// The name `label` right below this one.
    pub fn child(&self, label: &[u8]) -> Self {
        Self(std::iter::once(label.to_vec()).chain(self.0.iter().cloned()).collect())
    }

    /// The name without its first label; the root's is the root.
    pub fn parent(&self) -> Self {
        Self(self.0.iter().skip(1).cloned().collect())
    }

    /// Whether this name is `ancestor` or below it; both as they are written.
    pub fn is_within(&self, ancestor: &Name) -> bool {
        self.0.len() >= ancestor.0.len() && self.0[self.0.len() - ancestor.0.len()..] == ancestor.0[..]
    }

    /// Whether this name is below `ancestor`.
    pub fn is_below(&self, ancestor: &Name) -> bool {
        self.0.len() > ancestor.0.len() && self.is_within(ancestor)
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.first().is_some_and(|label| label == b"*")
    }

    /// Octets of the wire form.
    pub fn octets(&self) -> usize {
        1 + self.0.iter().map(|label| 1 + label.len()).sum::<usize>()
    }

    /// The uncompressed wire form.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.octets());
        for label in &self.0 {
            wire.push(u8::try_from(label.len()).expect("label of at most 63 octets"));
            wire.extend_from_slice(label);
        }
        wire.push(0);
        wire
    }

    /// The name in lower case.
    pub fn folded(&self) -> Self {
        Self(self.0.iter().map(|label| label.to_ascii_lowercase()).collect())
    }

    /// Takes an uncompressed wire form apart; `None` if it is none.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut rest = wire;
        loop {
            let (&length, tail) = rest.split_first()?;
            if length == 0 {
                return tail.is_empty().then_some(Self(labels));
            }
            let (label, tail) = tail.split_at_checked(usize::from(length)).filter(|_| length < 64)?;
            labels.push(label.to_vec());
            rest = tail;
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('.');
        }
        for label in &self.0 {
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => write!(f, "\\{}", char::from(octet))?,
                    b'!'..=b'~' => f.write_char(char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_char('.')?;
        }
        Ok(())
    }
}
