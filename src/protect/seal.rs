//! Seals: proof that a text which a browser shows is one that this set of servers has handed out.
//!
//! HMAC-SHA256 (RFC 2104) with the first of the secrets; what the other one has sealed is believed, too, so that secrets can be changed.

use std::fmt;

use ring::hmac;

use super::Secrets;

/// Octets of a seal.
pub const SEAL_OCTETS: usize = 32;

/// Makes seals and knows them again.
pub struct Sealer {
    secrets: Secrets,
    keys: Vec<hmac::Key>,
}

impl Sealer {
    /// With one or two secrets.
    pub fn new(secrets: Secrets) -> Self {
        let keys = secrets.each().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, &secret.0)).collect();
        Self { secrets, keys }
    }

    /// The seal of `text`.
    pub fn seal(&self, text: &[u8]) -> [u8; SEAL_OCTETS] {
        let mut seal = [0; SEAL_OCTETS];
        if let Some(tag) = self.keys.first().map(|key| hmac::sign(key, text)) {
            // Of the same length: it is SHA-256.
            seal.iter_mut().zip(tag.as_ref()).for_each(|(octet, tag)| *octet = *tag);
        }
        seal
    }

    /// Whether `seal` is ours, of this very text. Takes the same time wherever they differ.
    pub fn is_sealed(&self, text: &[u8], seal: &[u8]) -> bool {
        self.keys.iter().any(|key| hmac::verify(key, text, seal).is_ok())
    }
}

/// Equal if they have the same secrets.
impl PartialEq for Sealer {
    fn eq(&self, other: &Self) -> bool {
        self.secrets == other.secrets
    }
}

/// Keeps the secrets to itself.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::cookie::Secret, *};

    fn sealer(current: u8, other: Option<u8>) -> Sealer {
        Sealer::new(Secrets::new(Secret([current; 16]), other.map(|octet| Secret([octet; 16]))))
    }

    #[test]
    fn seal_is_of_one_text_and_one_secret() {
        let sealer_1 = sealer(1, None);
        let seal = sealer_1.seal(b"text");
        assert!(sealer_1.is_sealed(b"text", &seal));
        assert!(!sealer_1.is_sealed(b"texts", &seal));
        assert!(!sealer_1.is_sealed(b"text", &seal[..31]) && !sealer_1.is_sealed(b"text", b""));
        for bit in 0..seal.len() * 8 {
            let mut changed = seal;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!sealer_1.is_sealed(b"text", &changed), "bit {bit}");
        }
        assert!(!sealer(2, None).is_sealed(b"text", &seal));
    }

    #[test]
    fn second_secret_is_believed_and_makes_nothing() {
        let (old, both) = (sealer(1, None), sealer(2, Some(1)));
        assert!(both.is_sealed(b"text", &old.seal(b"text")));
        assert!(!old.is_sealed(b"text", &both.seal(b"text")));
        assert_eq!(both.seal(b"text"), sealer(2, None).seal(b"text"));
    }
}
