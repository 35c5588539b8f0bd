//! Where an address is, and the store that keeps each distinct answer once.

use std::{collections::HashMap, fmt};

use super::{
    codes::{Continent, CountryCode, SubdivisionCode},
    coordinates::Coordinates,
};

/// What the databases say of an address; every field may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Location {
    /// The database's word, else the continent of `country`.
    pub continent: Option<Continent>,
    /// Where the address is used, not where it is registered.
    pub country: Option<CountryCode>,
    /// Of the same country.
    pub subdivision: Option<SubdivisionCode>,
    /// Autonomous system number.
    pub asn: Option<u32>,
    /// In the same country, as far as that is known. Never guessed from a country or a continent.
    pub coordinates: Option<Coordinates>,
}

impl Location {
    /// `self`, with what it lacks from `later`. A subdivision is taken only into its own country, and coordinates not into another one.
    pub(super) fn or(self, later: Self) -> Self {
        let country = self.country.or(later.country);
        let is_same_country = country == later.country;
        Self {
            continent: self.continent.or(later.continent),
            country,
            subdivision: self.subdivision.or(later.subdivision.filter(|_| is_same_country)),
            asn: self.asn.or(later.asn),
            coordinates: self.coordinates.or(later.coordinates.filter(|_| is_same_country || later.country.is_none())),
        }
    }
}

/// From the widest to the narrowest, such as `north-america, US-CA, AS64500 (37.8, -122.4)`; `unknown` if every field is missing.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::with_capacity(3);
        parts.extend(self.continent.map(|continent| continent.to_string()));
        parts.extend(self.country.map(|country| match self.subdivision {
            Some(subdivision) => format!("{country}-{subdivision}"),
            None => country.to_string(),
        }));
        parts.extend(self.asn.map(|asn| format!("AS{asn}")));
        f.write_str(if parts.is_empty() && self.coordinates.is_none() { "unknown" } else { "" })?;
        f.write_str(&parts.join(", "))?;
        match self.coordinates {
            Some(coordinates) if parts.is_empty() => write!(f, "({coordinates})"),
            Some(coordinates) => write!(f, " ({coordinates})"),
            None => Ok(()),
        }
    }
}

/// Index into the [`Locations`] it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LocationId(u32);

impl LocationId {
    /// The location with every field missing.
    pub(super) const NOWHERE: Self = Self(0);
}

/// Each distinct location once.
#[derive(Debug)]
pub(super) struct Locations {
    all: Vec<Location>,
    ids: HashMap<Location, LocationId>,
}

impl Locations {
    pub(super) fn new() -> Self {
        let nowhere = Location::default();
        Self { all: vec![nowhere], ids: HashMap::from([(nowhere, LocationId::NOWHERE)]) }
    }

    pub(super) fn intern(&mut self, location: Location) -> LocationId {
        let next = LocationId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let id = *self.ids.entry(location).or_insert(next);
        if id == next {
            self.all.push(location);
        }
        id
    }

    pub(super) fn get(&self, id: LocationId) -> Location {
        self.all.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// Something for every location, to be found again by [`PerLocation::get`].
    pub(super) fn map<T: Copy>(&self, f: impl FnMut(&Location) -> T) -> PerLocation<T> {
        PerLocation { values: self.all.iter().map(f).collect() }
    }

    /// Fills earlier locations from later ones.
    pub(super) fn fill(&mut self) -> Fill<'_> {
        Fill { locations: self, known: HashMap::new() }
    }
}

/// One value for every location.
pub(super) struct PerLocation<T> {
    values: Vec<T>,
}

impl<T: Copy> PerLocation<T> {
    pub(super) fn get(&self, id: LocationId) -> Option<T> {
        self.values.get(id.0 as usize).copied()
    }
}

/// [`Location::or`] on ids; a pair of locations meets in many ranges, so each is worked out once.
pub(super) struct Fill<'a> {
    locations: &'a mut Locations,
    known: HashMap<(LocationId, LocationId), LocationId>,
}

impl Fill<'_> {
    pub(super) fn get(&mut self, earlier: LocationId, later: LocationId) -> LocationId {
        if later == LocationId::NOWHERE || earlier == later {
            return earlier;
        }
        let locations = &mut *self.locations;
        *self.known.entry((earlier, later)).or_insert_with(|| {
            let location = locations.get(earlier).or(locations.get(later));
            locations.intern(location)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(country: &str, subdivision: &str, asn: Option<u32>) -> Location {
        let country = CountryCode::new(country);
        let continent = country.map(CountryCode::continent);
        Location { continent, country, subdivision: SubdivisionCode::new(subdivision), asn, coordinates: None }
    }

    #[test]
    fn later_fills_only_what_is_missing() {
        let earlier = location("US", "", None);
        assert_eq!(earlier.or(location("US", "CA", Some(64500))), location("US", "CA", Some(64500)));
        assert_eq!(location("US", "NY", Some(1)).or(location("US", "CA", Some(2))), location("US", "NY", Some(1)));
    }

    #[test]
    fn subdivision_of_another_country_is_not_taken() {
        assert_eq!(location("US", "", None).or(location("DE", "BE", Some(1))), location("US", "", Some(1)));
    }

    #[test]
    fn coordinates_in_another_country_are_not_taken() {
        let coordinates = Coordinates::new(52.5, 13.4);
        let in_country = |country| Location { coordinates, ..location(country, "", None) };
        assert_eq!(location("US", "", None).or(in_country("DE")).coordinates, None);
        assert_eq!(location("DE", "", None).or(in_country("DE")).coordinates, coordinates);
        assert_eq!(location("", "", None).or(in_country("DE")).coordinates, coordinates);
        assert_eq!(location("DE", "", None).or(in_country("")).coordinates, coordinates, "nothing speaks against it");
    }

    #[test]
    fn shows_widest_first() {
        assert_eq!(location("US", "CA", Some(64500)).to_string(), "north-america, US-CA, AS64500");
        assert_eq!(location("", "", Some(64500)).to_string(), "AS64500");
        assert_eq!(Location::default().to_string(), "unknown");
        let coordinates = Coordinates::new(37.8, -122.4);
        assert_eq!(
            Location { coordinates, ..location("US", "CA", None) }.to_string(),
            "north-america, US-CA (37.8, -122.4)"
        );
        assert_eq!(Location { coordinates, ..Location::default() }.to_string(), "(37.8, -122.4)");
    }
}
