//! Continents, countries (ISO 3166-1 alpha-2) and subdivisions (ISO 3166-2), and which continent a country is on.
//!
//! Not a gazetteer: no names of countries, no list of subdivisions. Any well-formed subdivision code of a known country is taken.

use std::fmt;

/// A continent, written by name: two of the usual two-letter codes would be countries (AS, NA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Continent {
    /// `africa`
    Africa,
    /// `antarctica`
    Antarctica,
    /// `asia`
    Asia,
    /// `europe`
    Europe,
    /// `north-america`, with Central America and the Caribbean
    NorthAmerica,
    /// `oceania`
    Oceania,
    /// `south-america`
    SouthAmerica,
}

impl Continent {
    /// Every continent, by name.
    pub const ALL: [Continent; 7] = [
        Self::Africa,
        Self::Antarctica,
        Self::Asia,
        Self::Europe,
        Self::NorthAmerica,
        Self::Oceania,
        Self::SouthAmerica,
    ];

    /// The name that the configuration uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Africa => "africa",
            Self::Antarctica => "antarctica",
            Self::Asia => "asia",
            Self::Europe => "europe",
            Self::NorthAmerica => "north-america",
            Self::Oceania => "oceania",
            Self::SouthAmerica => "south-america",
        }
    }

    /// Reads the name that the configuration uses.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|continent| continent.name() == name)
    }

    /// Reads the two-letter code that databases use.
    pub fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "AF" => Self::Africa,
            "AN" => Self::Antarctica,
            "AS" => Self::Asia,
            "EU" => Self::Europe,
            "NA" => Self::NorthAmerica,
            "OC" => Self::Oceania,
            "SA" => Self::SouthAmerica,
            _ => return None,
        })
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A country of ISO 3166-1, or Kosovo, which databases call XK.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode {
    letters: [u8; 2],
    continent: Continent,
}

impl CountryCode {
    /// Reads two capital letters; `None` if no country has them.
    pub fn new(code: &str) -> Option<Self> {
        let letters: [u8; 2] = code.as_bytes().try_into().ok()?;
        let continent = CONTINENT_OF.get(slot(letters)?).copied().flatten()?;
        Some(Self { letters, continent })
    }

    /// Where it is, when a database does not say: as GeoNames has it, which the databases with continents follow.
    pub fn continent(self) -> Continent {
        self.continent
    }

    /// The two capital letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.letters).unwrap_or_default()
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The part of an ISO 3166-2 code after the hyphen: one to three capital letters or digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubdivisionCode([u8; 3]); // padded with zeros at the end

impl SubdivisionCode {
    /// Returns `None` for what is not one to three capital letters or digits.
    pub fn new(code: &str) -> Option<Self> {
        let is_sound = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let mut characters = [0; 3];
        characters.get_mut(..code.len()).filter(|_| is_sound)?.copy_from_slice(code.as_bytes());
        Some(Self(characters))
    }

    /// The letters and digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default().trim_end_matches('\0')
    }
}

impl fmt::Display for SubdivisionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SubdivisionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All countries, by continent. Where a country has land on two, GeoNames decides: Russia and Cyprus in Europe, Turkey and the
/// Caucasus in Asia, Egypt in Africa, East Timor in Oceania.
const COUNTRIES: [(Continent, &str); 7] = [
    (
        Continent::Africa,
        "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG RE RW \
         SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW",
    ),
    (Continent::Antarctica, "AQ BV GS HM TF"),
    (
        Continent::Asia,
        "AE AF AM AZ BD BH BN BT CC CN GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV MY NP OM PH PK PS QA \
         SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        Continent::Europe,
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV MC MD ME MK MT NL NO \
         PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Continent::NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR SV SX TC TT US VC VG VI",
    ),
    (Continent::Oceania, "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS"),
    (Continent::SouthAmerica, "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

/// [`COUNTRIES`] by [`slot`].
static CONTINENT_OF: [Option<Continent>; 26 * 26] = {
    let mut continent_of = [None; 26 * 26];
    let mut group = 0;
    while group < COUNTRIES.len() {
        let codes = COUNTRIES[group].1.as_bytes();
        let mut at = 0;
        while at + 1 < codes.len() {
            let slot = (codes[at] - b'A') as usize * 26 + (codes[at + 1] - b'A') as usize;
            assert!(continent_of[slot].is_none(), "a country is on one continent");
            continent_of[slot] = Some(COUNTRIES[group].0);
            at += 3;
        }
        group += 1;
    }
    continent_of
};

fn slot([first, second]: [u8; 2]) -> Option<usize> {
    let is_code = first.is_ascii_uppercase() && second.is_ascii_uppercase();
    is_code.then(|| usize::from(first - b'A') * 26 + usize::from(second - b'A'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_is_on_one_continent() {
        let n_countries = CONTINENT_OF.iter().flatten().count();
        assert_eq!(n_countries, 250, "249 of ISO 3166-1, and Kosovo");
        for (codes, expected) in [
            ("EG MA NA RE ZA", Continent::Africa),
            ("AQ TF", Continent::Antarctica),
            ("AE AF AM CN IL JP SA TR", Continent::Asia),
            ("CY DE GB IS NL RU UA XK", Continent::Europe),
            ("CA CU GL MX PA PR US", Continent::NorthAmerica),
            ("AS AU FJ GU NZ TL", Continent::Oceania),
            ("AR BR CO FK GF VE", Continent::SouthAmerica),
        ] {
            for code in codes.split(' ') {
                assert_eq!(CountryCode::new(code).map(CountryCode::continent), Some(expected), "{code}");
            }
        }
    }

    #[test]
    fn what_is_no_country_is_refused() {
        for code in ["", "U", "USA", "us", "U1", "EU", "UK", "AP", "ZZ", "XX", "ÄÖ", "--"] {
            assert_eq!(CountryCode::new(code), None, "{code:?}");
        }
    }

    #[test]
    fn subdivisions_are_one_to_three_capitals_or_digits() {
        for code in ["A", "CA", "ENG", "01", "9"] {
            assert_eq!(SubdivisionCode::new(code).expect(code).to_string(), code);
        }
        for code in ["", "ca", "ABCD", "A-", "Ä"] {
            assert_eq!(SubdivisionCode::new(code), None, "{code:?}");
        }
        assert_ne!(SubdivisionCode::new("A"), SubdivisionCode::new("AA"));
    }

    #[test]
    fn continents_read_back_by_name() {
        for continent in Continent::ALL {
            assert_eq!(Continent::from_name(continent.name()), Some(continent));
        }
    }
}
