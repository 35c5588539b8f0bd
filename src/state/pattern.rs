//! Whom a command means: `web-eu/ams-a`, `web-eu/*`, `*/ams-*`, or a whole pool, `web-eu`.
//!
//! `*` stands for any characters and `?` for one, in the pool's name and in the realserver's, neither beyond its `/`.

use std::{fmt, str::FromStr};

/// Longest pattern in octets: names are far shorter, and matching takes time in proportion.
const OCTETS_MAX: usize = 512;

/// Pools, or realservers of pools, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    pool: Box<str>,
    realserver: Option<Box<str>>,
}

/// Text that means nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form POOL/REALSERVER or POOL")]
pub struct PatternError(String);

impl Pattern {
    /// The pattern of the pool's name.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// The pattern of the realserver's name; `None` means the pool as a whole.
    pub fn realserver(&self) -> Option<&str> {
        self.realserver.as_deref()
    }

    /// Whether it means one name only.
    pub fn is_exact(&self) -> bool {
        !self.pool.contains(WILD) && !self.realserver().is_some_and(|name| name.contains(WILD))
    }

    /// Whether it means this pool as a whole (`None`), or this realserver of it. What means pools means no realserver, and the other way round.
    pub fn matches(&self, pool: &str, realserver: Option<&str>) -> bool {
        let is_realserver = match (self.realserver(), realserver) {
            (None, None) => true,
            (Some(pattern), Some(name)) => is_match(pattern.as_bytes(), name.as_bytes()),
            _ => false,
        };
        is_realserver && is_match(self.pool.as_bytes(), pool.as_bytes())
    }
}

/// What is no letter of a name but stands for others.
const WILD: [char; 2] = ['*', '?'];

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (pool, realserver) = match text.split_once('/') {
            Some((pool, realserver)) => (pool, Some(realserver)),
            None => (text, None),
        };
        let is_whole = !pool.is_empty() && realserver.is_none_or(|name| !name.is_empty() && !name.contains('/'));
        if !is_whole || text.len() > OCTETS_MAX {
            return Err(PatternError(text.chars().take(64).collect()));
        }
        Ok(Self { pool: pool.into(), realserver: realserver.map(Into::into) })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pool)?;
        self.realserver().map_or(Ok(()), |realserver| write!(f, "/{realserver}"))
    }
}

/// Whether `pattern` means `name`: where it does not go on, the last `*` takes one more; no earlier one could do better.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star = None;
    while let Some(&octet) = name.get(seen) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == octet || wanted == b'?' => (at, seen) = (at + 1, seen + 1),
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                (at, seen) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|&octet| octet == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, subject: &str) -> bool {
        let (pool, realserver) = match subject.split_once('/') {
            Some((pool, realserver)) => (pool, Some(realserver)),
            None => (subject, None),
        };
        pattern.parse::<Pattern>().expect(pattern).matches(pool, realserver)
    }

    #[test]
    fn star_is_any_characters_and_question_mark_is_one() {
        for (pattern, subject) in [
            ("web-eu/ams-a", "web-eu/ams-a"),
            ("web-eu/*", "web-eu/ams-a"),
            ("*/ams-*", "web-eu/ams-a"),
            ("*/*", "web-eu/ams-a"),
            ("w*u/a?s-a", "web-eu/ams-a"),
            ("*e*e*/*a*a", "web-eu/ams-a"),
            ("web-eu", "web-eu"),
            ("web-*", "web-eu"),
            ("web-eu/ams-a*", "web-eu/ams-a"),
        ] {
            assert!(check(pattern, subject), "{pattern} does not mean {subject}");
        }
        for (pattern, subject) in [
            ("web-eu/*", "web-us/ams-a"),
            ("*/ams-?", "web-eu/ams-10"),
            ("web-eu/ams", "web-eu/ams-a"),
            ("web-eu/?", "web-eu/ams-a"),
            ("web-eu", "web-eu/ams-a"),
            ("*", "web-eu/ams-a"),
            ("*/*", "web-eu"),
            ("WEB-EU/*", "web-eu/ams-a"),
        ] {
            assert!(!check(pattern, subject), "{pattern} means {subject}");
        }
    }

    #[test]
    fn pattern_has_a_pool_and_at_most_one_realserver() {
        for text in ["", "/", "/a", "web/", "web/a/b", &"x".repeat(513)] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert_eq!("web-*/a".parse::<Pattern>().expect("pattern").to_string(), "web-*/a");
    }

    /// The same, tried out in every way.
    fn by_trying(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|taken| by_trying(rest, &name[taken..])),
            Some((&wanted, rest)) => name
                .split_first()
                .is_some_and(|(&octet, name)| (wanted == octet || wanted == b'?') && by_trying(rest, name)),
        }
    }

    proptest! {
        #[test]
        fn matching_is_the_same_as_trying_every_way(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), by_trying(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
