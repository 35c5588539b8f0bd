//! The left-hand sides of a geo pool's table: `default`, `europe`, `US`, `US-CA`, `AS64500`.

use std::{fmt, str::FromStr};

use super::codes::{Continent, CountryCode, SubdivisionCode};

/// What a rule of a geo pool applies to. Of several that fit an address the most specific wins: AS before subdivision before country
/// before continent before default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `default`: whatever no other key fits, unknown locations included.
    Default,
    /// `europe`
    Continent(Continent),
    /// `US`. AS, NA, SA and AF are countries.
    Country(CountryCode),
    /// `US-CA`
    Subdivision(CountryCode, SubdivisionCode),
    /// `AS64500`
    Asn(u32),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Continent(continent) => write!(f, "{continent}"),
            Self::Country(country) => write!(f, "{country}"),
            Self::Subdivision(country, subdivision) => write!(f, "{country}-{subdivision}"),
            Self::Asn(asn) => write!(f, "AS{asn}"),
        }
    }
}

/// Why a text is no [`Key`]. Its `Display` is the message, [`KeyError::hint`] the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Two letters that are no country's, alone or before a hyphen.
    #[error("unknown country code `{code}`")]
    UnknownCountry {
        /// As written.
        code: String,
        /// What it would have to be, if that can be guessed.
        suggestion: Option<&'static str>,
    },
    /// A known key, but not in the capitals it needs, or in others.
    #[error("unknown geo key `{text}`")]
    Spelling {
        /// As written.
        text: String,
        /// How it is written.
        key: Key,
    },
    /// Nothing known before a hyphen, or something other than one to three capital letters or digits behind it.
    #[error("`{text}` is not a subdivision")]
    Subdivision {
        /// As written.
        text: String,
    },
    /// No number, or one out of range, behind `AS`.
    #[error("`{text}` is not an AS number")]
    Asn {
        /// As written.
        text: String,
    },
    /// A word that is no key.
    #[error("unknown geo key `{text}`")]
    UnknownWord {
        /// As written.
        text: String,
        /// The nearest word, if one is near.
        suggestion: Option<&'static str>,
    },
}

impl KeyError {
    /// The way out, one line.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownCountry { suggestion: Some(word), .. } | Self::UnknownWord { suggestion: Some(word), .. } => {
                format!("did you mean `{word}`?")
            }
            Self::UnknownCountry { suggestion: None, .. } => {
                "countries have the two capital letters of ISO 3166-1, such as `US`".to_owned()
            }
            Self::Spelling { key, .. } => format!("did you mean `{key}`?"),
            Self::Subdivision { .. } => {
                "subdivisions are written as in ISO 3166-2: a country, a hyphen, one to three capitals or digits, such as `US-CA`".to_owned()
            }
            Self::Asn { .. } => format!("AS numbers are written `AS64500`, from 1 to {}", u32::MAX),
            Self::UnknownWord { suggestion: None, .. } => {
                let continents = Continent::ALL.map(|continent| format!("`{continent}`")).join(", ");
                format!("expected a country (`US`), a subdivision (`US-CA`), an AS (`AS64500`), `default`, or a continent: {continents}")
            }
        }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let error = match parse(text) {
            Ok(key) => return Ok(key),
            Err(error) => error,
        };
        // `us`, `as64500` and `Europe` are plain enough to suggest what was meant. They are not taken, so that a key has one spelling
        // and no table can hold it twice.
        let respelt = [text.to_ascii_uppercase(), text.to_ascii_lowercase().replace(['_', ' '], "-")];
        match respelt.iter().find_map(|text| parse(text).ok()) {
            Some(key) => Err(KeyError::Spelling { text: text.to_owned(), key }),
            None => Err(error),
        }
    }
}

fn parse(text: &str) -> Result<Key, KeyError> {
    if text == "default" {
        return Ok(Key::Default);
    }
    if let Some(continent) = Continent::from_name(text) {
        return Ok(Key::Continent(continent));
    }
    if let Some(number) = text.strip_prefix("AS").filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    {
        return parse_asn(number).ok_or_else(|| KeyError::Asn { text: text.to_owned() });
    }
    if text.len() == 2 {
        return parse_country(text).map(Key::Country);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        return Err(KeyError::Asn { text: text.to_owned() });
    }
    match text.split_once('-') {
        Some((country, subdivision)) if country.len() == 2 => {
            let country = parse_country(country)?;
            let subdivision = SubdivisionCode::new(subdivision);
            let subdivision = subdivision.ok_or_else(|| KeyError::Subdivision { text: text.to_owned() })?;
            Ok(Key::Subdivision(country, subdivision))
        }
        _ => Err(KeyError::UnknownWord { text: text.to_owned(), suggestion: nearest_word(text) }),
    }
}

/// One spelling for one number, so that two keys of a table cannot mean the same: no leading zeros. AS 0 is nobody's (RFC 7607).
fn parse_asn(number: &str) -> Option<Key> {
    number.parse().ok().filter(|_| !number.starts_with('0')).map(Key::Asn)
}

fn parse_country(code: &str) -> Result<CountryCode, KeyError> {
    CountryCode::new(code).ok_or_else(|| KeyError::UnknownCountry {
        code: code.to_owned(),
        suggestion: match code.to_ascii_uppercase().as_str() {
            "UK" => Some("GB"),
            "EL" => Some("GR"),
            continent => Continent::from_code(continent).map(Continent::name),
        },
    })
}

fn nearest_word(text: &str) -> Option<&'static str> {
    let text: String = text.to_ascii_lowercase().replace(['_', ' '], "-");
    let words = Continent::ALL.map(Continent::name).into_iter().chain(["default"]);
    let distances = words.map(|word| (strsim::osa_distance(&text, word), word));
    distances.min().filter(|&(distance, word)| distance <= word.len() / 3).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_written() {
        for text in [
            "default",
            "europe",
            "north-america",
            "US",
            "AS",
            "NA",
            "SA",
            "AF",
            "US-CA",
            "GB-ENG",
            "AS-1",
            "AS1",
            "AS4294967295",
        ] {
            assert_eq!(text.parse::<Key>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn continent_codes_that_are_countries_mean_the_country() {
        for text in ["AS", "NA", "SA", "AF"] {
            assert!(matches!(text.parse(), Ok(Key::Country(country)) if country.as_str() == text), "{text}");
        }
    }

    #[test]
    fn most_specific_key_is_the_greatest() {
        let keys = ["default", "europe", "US", "US-CA", "AS1"].map(|text| text.parse::<Key>().expect(text));
        assert!(keys.is_sorted());
    }

    #[test]
    fn errors_say_what_is_wrong_and_the_way_out() {
        let all = "expected a country (`US`), a subdivision (`US-CA`), an AS (`AS64500`), `default`, or a continent: `africa`, \
                   `antarctica`, `asia`, `europe`, `north-america`, `oceania`, `south-america`";
        let countries = "countries have the two capital letters of ISO 3166-1, such as `US`";
        let subdivisions = "subdivisions are written as in ISO 3166-2: a country, a hyphen, one to three capitals or digits, such as `US-CA`";
        let as_numbers = "AS numbers are written `AS64500`, from 1 to 4294967295";
        for (text, message, hint) in [
            ("UX", "unknown country code `UX`", countries),
            ("ux", "unknown country code `ux`", countries),
            ("UX-CA", "unknown country code `UX`", countries),
            ("UK", "unknown country code `UK`", "did you mean `GB`?"),
            ("EU", "unknown country code `EU`", "did you mean `europe`?"),
            ("eu", "unknown country code `eu`", "did you mean `europe`?"),
            ("OC", "unknown country code `OC`", "did you mean `oceania`?"),
            ("us", "unknown geo key `us`", "did you mean `US`?"),
            ("us-ca", "unknown geo key `us-ca`", "did you mean `US-CA`?"),
            ("as64500", "unknown geo key `as64500`", "did you mean `AS64500`?"),
            ("Europe", "unknown geo key `Europe`", "did you mean `europe`?"),
            ("North America", "unknown geo key `North America`", "did you mean `north-america`?"),
            ("eurpoe", "unknown geo key `eurpoe`", "did you mean `europe`?"),
            ("northamerica", "unknown geo key `northamerica`", "did you mean `north-america`?"),
            ("defualt", "unknown geo key `defualt`", "did you mean `default`?"),
            ("germany", "unknown geo key `germany`", all),
            ("", "unknown geo key ``", all),
            ("US-", "`US-` is not a subdivision", subdivisions),
            ("US-CALI", "`US-CALI` is not a subdivision", subdivisions),
            ("AS0", "`AS0` is not an AS number", as_numbers),
            ("AS064500", "`AS064500` is not an AS number", as_numbers),
            ("AS4294967296", "`AS4294967296` is not an AS number", as_numbers),
            ("64500", "`64500` is not an AS number", as_numbers),
        ] {
            let error = text.parse::<Key>().expect_err(text);
            assert_eq!((error.to_string().as_str(), error.hint().as_str()), (message, hint), "{text:?}");
        }
    }
}
