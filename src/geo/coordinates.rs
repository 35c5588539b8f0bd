//! Points on the earth and how far apart they are.
//!
//! The earth counts as a sphere: what that gets wrong, up to half a percent, is less than what databases know of where an address is.

use std::fmt;

/// Mean radius of the earth (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;
/// Parts of a degree that are kept: eleven metres.
const PARTS: f64 = 10_000.0;

/// A latitude and a longitude, to a ten-thousandth of a degree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coordinates {
    latitude: i32,
    longitude: i32,
}

impl Coordinates {
    /// From degrees north and degrees east; `None` beyond ±90 or ±180, or for what is no number.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let is_within = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        #[expect(clippy::cast_possible_truncation, reason = "at most 1,800,000")]
        let parts = |degrees: f64| (degrees * PARTS).round() as i32;
        is_within.then(|| Self { latitude: parts(latitude), longitude: parts(longitude) })
    }

    /// Degrees north, negative in the south.
    pub fn latitude(self) -> f64 {
        f64::from(self.latitude) / PARTS
    }

    /// Degrees east, negative in the west.
    pub fn longitude(self) -> f64 {
        f64::from(self.longitude) / PARTS
    }

    /// Whether this is where databases put what they have no place for: 0° north, 0° east, in the Gulf of Guinea.
    pub(super) fn is_null_island(self) -> bool {
        self.latitude == 0 && self.longitude == 0
    }

    /// Kilometres to `other` along the great circle.
    pub fn distance_km(self, other: Self) -> f64 {
        self.position().distance(other.position()).as_km()
    }

    /// Where it is on the unit sphere.
    pub(super) fn position(self) -> Position {
        let (latitude, longitude) = (self.latitude().to_radians(), self.longitude().to_radians());
        let (sin_latitude, cos_latitude) = latitude.sin_cos();
        let (sin_longitude, cos_longitude) = longitude.sin_cos();
        Position([cos_latitude * cos_longitude, cos_latitude * sin_longitude, sin_latitude])
    }
}

/// As the configuration has it: `52.3676, 4.9041`.
impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.latitude(), self.longitude())
    }
}

impl fmt::Debug for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A point of the unit sphere: neither the antimeridian nor the poles are anything special there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position([f64; 3]);

impl Position {
    pub(super) fn distance(self, other: Self) -> Distance {
        let square = |at: usize| (self.0[at] - other.0[at]) * (self.0[at] - other.0[at]);
        // A quarter of the squared chord is the haversine of the angle between the two.
        Distance(((square(0) + square(1) + square(2)) / 4.0).min(1.0))
    }
}

/// The haversine of the angle between two points: ordered as their distance is, and cheaper to come by.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Distance(f64);

impl Distance {
    pub(super) fn as_km(self) -> f64 {
        2.0 * EARTH_RADIUS_KM * self.0.sqrt().asin()
    }

    pub(super) fn total_cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> Coordinates {
        Coordinates::new(latitude, longitude).expect("on the earth")
    }

    #[track_caller]
    fn check(one: Coordinates, other: Coordinates, expected_km: f64) {
        let distance = one.distance_km(other);
        assert!((distance - expected_km).abs() < 0.5, "{one} to {other}: {distance} km");
    }

    #[test]
    fn distances_are_those_of_the_great_circle() {
        let (amsterdam, new_york, sydney) = (at(52.3676, 4.9041), at(40.7128, -74.0060), at(-33.8688, 151.2093));
        check(amsterdam, new_york, 5863.3);
        check(amsterdam, sydney, 16_642.9);
        check(amsterdam, amsterdam, 0.0);
        // A degree along the equator, a quarter and a half of the way around.
        check(at(0.0, 0.0), at(0.0, 1.0), 111.195);
        check(at(0.0, 0.0), at(0.0, 90.0), 10_007.6);
        check(at(0.0, 0.0), at(0.0, 180.0), 20_015.1);
    }

    #[test]
    fn antimeridian_is_no_border() {
        check(at(0.0, 179.0), at(0.0, -179.0), 222.39);
        assert_eq!(at(10.0, 180.0).distance_km(at(10.0, -180.0)).round(), 0.0);
        check(at(-17.0, 178.0), at(-14.0, -171.0), 1224.7);
    }

    #[test]
    fn longitude_does_not_matter_at_the_poles() {
        check(at(90.0, 0.0), at(90.0, 123.0), 0.0);
        check(at(90.0, 77.0), at(89.0, -150.0), 111.195);
        check(at(90.0, 0.0), at(-90.0, 42.0), 20_015.1);
        // Over the pole, not around it.
        check(at(80.0, 0.0), at(80.0, 180.0), 2223.9);
    }

    #[test]
    fn what_is_not_on_the_earth_is_refused() {
        for (latitude, longitude) in
            [(90.1, 0.0), (-91.0, 0.0), (0.0, 180.5), (0.0, -181.0), (f64::NAN, 0.0), (0.0, f64::INFINITY)]
        {
            assert_eq!(Coordinates::new(latitude, longitude), None, "{latitude} {longitude}");
        }
    }

    fn anywhere() -> impl Strategy<Value = Coordinates> {
        (-90.0..=90.0, -180.0..=180.0).prop_map(|(latitude, longitude)| at(latitude, longitude))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn distance_is_that_of_the_haversine_formula(one in anywhere(), other in anywhere()) {
            let (phi1, phi2) = (one.latitude().to_radians(), other.latitude().to_radians());
            let (d_phi, d_lambda) = (phi2 - phi1, (other.longitude() - one.longitude()).to_radians());
            let h = (d_phi / 2.0).sin().powi(2) + phi1.cos() * phi2.cos() * (d_lambda / 2.0).sin().powi(2);
            let expected = 2.0 * EARTH_RADIUS_KM * h.min(1.0).sqrt().asin();
            prop_assert!((one.distance_km(other) - expected).abs() < 0.01, "{} and {}", one.distance_km(other), expected);
            prop_assert_eq!(one.distance_km(other), other.distance_km(one));
        }

        #[test]
        fn coordinates_read_back_as_shown(coordinates in anywhere()) {
            let shown = coordinates.to_string();
            let (latitude, longitude) = shown.split_once(", ").expect("two numbers");
            prop_assert_eq!(at(latitude.parse().expect("number"), longitude.parse().expect("number")), coordinates);
        }
    }
}
