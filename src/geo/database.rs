//! Reads one MMDB file into ranges of locations.
//!
//! Knows the layouts of MaxMind (GeoLite2, GeoIP2) and DB-IP (nested: `country.iso_code`, `location.latitude`), and of ip-location-db and
//! IPinfo (flat: `country_code`, `latitude`, `asn`). A field it does not know, or finds in another shape, counts as missing; a file that is not sound is refused
//! as a whole, and no file, however mangled, makes this panic or run on.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    path::Path,
};

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    codes::{Continent, CountryCode, SubdivisionCode},
    coordinates::Coordinates,
    location::{Location, LocationId, Locations},
    ranges::Ranges,
};

/// A larger file is refused; the largest databases sold are some 500 MB.
const DATABASE_BYTES_MAX: u64 = 2 << 30;

/// What one file says.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) v4: Ranges<u32, LocationId>,
    pub(super) v6: Ranges<u128, LocationId>,
    pub(super) database_type: String,
    pub(super) build_epoch: u64,
    pub(super) networks: usize,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("larger than 2 GiB")]
    TooLarge,
    #[error("{0}")]
    Unsound(#[from] MaxMindDbError),
    #[error("its search tree branches more often than it has nodes")]
    Tangled,
}

impl ReadError {
    /// The way out.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Io(_) | Self::NotAFile => "`geoip.databases` lists MMDB files, each by its path",
            Self::TooLarge => "a country, city or AS database is enough",
            Self::Unsound(_) | Self::Tangled => {
                "an MMDB file is expected, whole and unpacked; replace it by renaming a finished one over it"
            }
        }
    }
}

/// Reads the file at `path`, adding its locations to `locations`.
pub(super) fn read(path: &Path, locations: &mut Locations) -> Result<Contents, ReadError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile);
    }
    if metadata.len() > DATABASE_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    // The limit holds for a file that grows meanwhile, too.
    file.take(DATABASE_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(bytes, locations)
}

/// Reads the bytes of an MMDB file, adding its locations to `locations`.
pub(super) fn parse(bytes: Vec<u8>, locations: &mut Locations) -> Result<Contents, ReadError> {
    let reader = Reader::from_source(bytes)?;
    // A tree of n nodes has n + 1 leaves. Only a mangled one, whose branches meet again, has many more; without a limit it could
    // keep us here for 2^128 steps. For that limit to bite, empty leaves must be counted as well.
    let n_leaves_max = (reader.metadata().node_count as usize).saturating_mul(4);
    let mut options = WithinOptions::default().include_networks_without_data();
    if reader.lookup(IpAddr::from([0; 4]))?.network()?.is_ipv6() {
        // Without an IPv4 subtree there are no aliases of it, and what the reader would take for one is a record in use.
        options = options.include_aliased_networks();
    }

    let mut ids = HashMap::new();
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (n_leaves, leaf) in reader.networks(options)?.enumerate() {
        if n_leaves > n_leaves_max {
            return Err(ReadError::Tangled);
        }
        let leaf = leaf?;
        let Some(offset) = leaf.offset() else { continue };
        let id = match ids.get(&offset) {
            Some(&id) => id,
            None => {
                let id = locations.intern(leaf.decode::<Record<'_>>()?.unwrap_or_default().location());
                ids.insert(offset, id);
                id
            }
        };
        let network = leaf.network()?;
        match (network.network(), network.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits(), id)),
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                if first.is_unspecified() && network.prefix() <= 96 {
                    v4.push((0, u32::MAX, id)); // one record for all of IPv4
                }
                v6.push((first.to_bits(), last.to_bits(), id));
            }
            _ => debug_assert!(false, "a network is of one family"),
        }
    }
    Ok(Contents {
        networks: v4.len() + v6.len(),
        v4: Ranges::from_stretches(LocationId::NOWHERE, v4),
        v6: Ranges::from_stretches(LocationId::NOWHERE, v6),
        database_type: reader.metadata().database_type.clone(),
        build_epoch: reader.metadata().build_epoch,
    })
}

/// The fields in use, of every layout.
///
/// `registered_country` is left out on purpose: it says who holds the network, not where its users are.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Record<'a> {
    #[serde(borrow)]
    continent: Value<'a>,
    #[serde(borrow)]
    continent_code: Value<'a>,
    #[serde(borrow)]
    country: Value<'a>,
    #[serde(borrow)]
    country_code: Value<'a>,
    #[serde(borrow)]
    subdivisions: Value<'a>,
    #[serde(borrow)]
    autonomous_system_number: Value<'a>,
    #[serde(borrow)]
    asn: Value<'a>,
    #[serde(borrow)]
    traits: Value<'a>,
    #[serde(borrow)]
    location: Value<'a>,
    #[serde(borrow)]
    latitude: Value<'a>,
    #[serde(borrow)]
    longitude: Value<'a>,
    #[serde(borrow)]
    lat: Value<'a>,
    #[serde(borrow)]
    lng: Value<'a>,
}

/// What may stand in a field.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Value<'a> {
    Number(u32),
    Real(f64),
    Text(&'a str),
    List(#[serde(borrow)] Vec<Code<'a>>),
    Map(#[serde(borrow)] Code<'a>),
    Other(IgnoredAny),
    #[default]
    Missing,
}

/// The field of a nested map that says in short what it is about.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Code<'a> {
    #[serde(borrow)]
    code: Option<&'a str>,
    #[serde(borrow)]
    iso_code: Option<&'a str>,
    autonomous_system_number: Option<u32>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl<'a> Value<'a> {
    fn code(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Map(map) => map.iso_code.or(map.code),
            Self::List(list) => list.first().and_then(|first| first.iso_code),
            Self::Number(_) | Self::Real(_) | Self::Other(_) | Self::Missing => None,
        }
    }

    fn asn(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.strip_prefix("AS").unwrap_or(text).parse().ok(),
            Self::Map(map) => map.autonomous_system_number,
            Self::Real(_) | Self::List(_) | Self::Other(_) | Self::Missing => None,
        }
        .filter(|&number| number != 0)
    }

    fn degrees(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(f64::from(*number)),
            Self::Real(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Map(_) | Self::List(_) | Self::Other(_) | Self::Missing => None,
        }
    }
}

impl Record<'_> {
    fn location(&self) -> Location {
        let country = [&self.country, &self.country_code].into_iter().find_map(|value| CountryCode::new(value.code()?));
        let continent =
            [&self.continent, &self.continent_code].into_iter().find_map(|value| Continent::from_code(value.code()?));
        Location {
            continent: continent.or(country.map(CountryCode::continent)),
            country,
            subdivision: country.and_then(|_| SubdivisionCode::new(self.subdivisions.code()?)),
            asn: [&self.autonomous_system_number, &self.asn, &self.traits].into_iter().find_map(|value| value.asn()),
            coordinates: self.coordinates(),
        }
    }

    /// Both of them, and not the place that stands for none.
    fn coordinates(&self) -> Option<Coordinates> {
        let nested = match &self.location {
            Value::Map(map) => map.latitude.zip(map.longitude),
            _ => None,
        };
        let flat = [(&self.latitude, &self.longitude), (&self.lat, &self.lng)];
        let flat = || flat.iter().find_map(|(latitude, longitude)| latitude.degrees().zip(longitude.degrees()));
        let (latitude, longitude) = nested.or_else(flat)?;
        Coordinates::new(latitude, longitude).filter(|coordinates| !coordinates.is_null_island())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::mmdb::{
        Branch,
        Value::{self as Field, Double, Float, List, Number, Short, Text},
        Writer, map,
    };
    use super::*;

    /// Reads what `writer` wrote; the answer is what stands for each of `addresses`.
    fn read_back(writer: &Writer, addresses: &[&str]) -> Vec<String> {
        let mut locations = Locations::new();
        let contents = parse(writer.bytes(), &mut locations).expect("sound");
        let locate = |address: &&str| {
            let id = match address.parse().expect("address") {
                IpAddr::V4(address) => contents.v4.get(address.to_bits()),
                IpAddr::V6(address) => contents.v6.get(address.to_bits()),
            };
            locations.get(id.expect("every address is in a range")).to_string()
        };
        addresses.iter().map(locate).collect()
    }

    fn check(record: Field, expected: &str) {
        let shown = format!("{record:?}");
        let writer = Writer::new(4, &[("192.0.2.0/24", record)]);
        assert_eq!(read_back(&writer, &["192.0.2.1", "192.0.3.1"]), [expected, "unknown"], "{shown}");
    }

    #[test]
    fn nested_layouts_of_maxmind_and_dbip() {
        let names = |name| map([("en", Text(name)), ("de", Text(name))]);
        check(
            map([
                ("city", map([("geoname_id", Number(5_391_959)), ("names", names("San Francisco"))])),
                ("continent", map([("code", Text("NA")), ("names", names("North America"))])),
                ("country", map([("iso_code", Text("US")), ("names", names("United States"))])),
                (
                    "location",
                    map([("latitude", Double(37.8)), ("longitude", Double(-122.4)), ("metro_code", Number(807))]),
                ),
                ("registered_country", map([("iso_code", Text("DE")), ("names", names("Germany"))])),
                ("subdivisions", List(vec![map([("iso_code", Text("CA"))]), map([("iso_code", Text("075"))])])),
            ]),
            "north-america, US-CA (37.8, -122.4)",
        );
        check(
            map([("autonomous_system_number", Number(64500)), ("autonomous_system_organization", Text("Example"))]),
            "AS64500",
        );
        check(
            map([
                ("country", map([("iso_code", Text("GB"))])),
                ("traits", map([("autonomous_system_number", Number(64500))])),
            ]),
            "europe, GB, AS64500",
        );
        check(
            map([
                ("country", map([("iso_code", Text("GB"))])),
                ("subdivisions", List(vec![map([("names", names("Kent"))])])),
            ]),
            "europe, GB",
        );
    }

    #[test]
    fn flat_layouts_of_ip_location_db_and_ipinfo() {
        check(map([("country_code", Text("NL"))]), "europe, NL");
        check(
            map([
                ("city", Text("Cape Town")),
                ("country_code", Text("ZA")),
                ("latitude", Double(-33.9)),
                ("longitude", Double(18.4)),
                ("state1", Text("Western Cape")),
            ]),
            "africa, ZA (-33.9, 18.4)",
        );
        check(map([("autonomous_system_number", Number(64500))]), "AS64500");
        check(
            map([
                ("asn", Text("AS64500")),
                ("continent", Text("North America")),
                ("continent_code", Text("NA")),
                ("country", Text("Canada")),
                ("country_code", Text("CA")),
            ]),
            "north-america, CA, AS64500",
        );
        check(map([("continent", Text("AS")), ("country", Text("TR")), ("asn", Number(64500))]), "asia, TR, AS64500");
    }

    #[test]
    fn continent_is_the_databases_word_else_the_countrys() {
        check(
            map([("continent", map([("code", Text("EU"))])), ("country", map([("iso_code", Text("TR"))]))]),
            "europe, TR",
        );
        check(map([("country", map([("iso_code", Text("TR"))]))]), "asia, TR");
        check(map([("continent", map([("code", Text("EU"))]))]), "europe");
    }

    #[test]
    fn coordinates_come_in_pairs_and_not_from_null_island() {
        let nested = |fields| map([("location", Field::Map(fields))]);
        check(nested(vec![("latitude", Double(52.3676)), ("longitude", Double(4.9041))]), "(52.3676, 4.9041)");
        check(nested(vec![("latitude", Double(0.0)), ("longitude", Double(4.9))]), "(0, 4.9)");
        check(nested(vec![("latitude", Double(52.4))]), "unknown");
        check(nested(vec![("longitude", Double(4.9))]), "unknown");
        check(nested(vec![("latitude", Double(0.0)), ("longitude", Double(0.0))]), "unknown");
        check(nested(vec![("latitude", Double(91.0)), ("longitude", Double(4.9))]), "unknown");
        check(nested(vec![("latitude", Double(f64::NAN)), ("longitude", Double(4.9))]), "unknown");
        check(nested(vec![("accuracy_radius", Short(1000))]), "unknown");
        check(map([("latitude", Text("52.4")), ("longitude", Text("4.9"))]), "(52.4, 4.9)");
        check(map([("lat", Text("52.4")), ("lng", Text("-4.9")), ("country", Text("NL"))]), "europe, NL (52.4, -4.9)");
        check(map([("latitude", Float(52.5)), ("longitude", Number(4))]), "(52.5, 4)");
        check(map([("latitude", Text("north")), ("longitude", Text("4.9"))]), "unknown");
        check(map([("country_code", Text("NL")), ("latitude", Text("")), ("longitude", Text(""))]), "europe, NL");
    }

    #[test]
    fn registered_country_is_not_where_the_users_are() {
        check(map([("registered_country", map([("iso_code", Text("DE"))]))]), "unknown");
    }

    #[test]
    fn fields_in_another_shape_count_as_missing() {
        for field in
            [Number(7), Double(7.5), Text("nonsense"), List(vec![Number(1)]), map([("iso_code", Number(1))]), map([])]
        {
            let fields = ["continent", "country", "country_code", "subdivisions", "autonomous_system_number"];
            let fields = fields.map(|name| (name, if name.starts_with("auto") { Text("none") } else { field.clone() }));
            check(Field::Map(fields.into()), "unknown");
        }
        check(map([("country_code", Text("ZZ")), ("asn", Number(0))]), "unknown");
        check(map([("subdivisions", List(vec![map([("iso_code", Text("CA"))])]))]), "unknown");
    }

    fn country(code: &'static str) -> Field {
        map([("country_code", Text(code))])
    }

    #[test]
    fn every_record_size_and_version_reads_the_same() {
        let networks =
            [("0.0.0.0/1", country("US")), ("64.0.0.0/24", country("DE")), ("255.255.255.255/32", country("JP"))];
        let addresses = ["0.0.0.0", "63.255.255.255", "64.0.0.255", "64.0.1.0", "128.0.0.0", "255.255.255.255"];
        for ip_version in [4, 6] {
            for record_size in [24, 28, 32] {
                let writer = Writer { record_size, ..Writer::new(ip_version, &networks) };
                let expected = [
                    "north-america, US",
                    "north-america, US",
                    "europe, DE",
                    "north-america, US",
                    "unknown",
                    "asia, JP",
                ];
                assert_eq!(read_back(&writer, &addresses), expected, "version {ip_version}, {record_size} bits");
            }
        }
    }

    #[test]
    fn aliases_of_ipv4_count_for_nothing() {
        let networks = [("192.0.2.0/24", country("US")), ("2001:db8::/32", country("DE"))];
        let (plain, aliased) = (Writer::new(6, &networks), Writer::new(6, &networks).alias());
        let addresses = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "2002:c000:201::1"];
        let expected = ["north-america, US", "europe, DE", "unknown", "unknown"];
        for writer in [plain, aliased] {
            assert_eq!(read_back(&writer, &addresses), expected);
            assert_eq!(parse(writer.bytes(), &mut Locations::new()).expect("sound").networks, 2);
        }
    }

    #[test]
    fn one_record_for_all_of_ipv4() {
        // The same record serves IPv6 networks: an alias, to a reader that looks at nothing but where branches lead.
        let mut writer = Writer::new(6, &[("0.0.0.0/0", country("US")), ("2001:db8::/32", country("DE"))]);
        writer.nodes[0][1] = Branch::Record(0);
        assert_eq!(
            read_back(&writer, &["203.0.113.1", "8000::1", "2001:db8::1"]),
            ["north-america, US", "north-america, US", "europe, DE"]
        );
    }

    fn small() -> Vec<u8> {
        let city = map([
            ("continent", map([("code", Text("NA"))])),
            ("country", map([("iso_code", Text("US"))])),
            ("subdivisions", List(vec![map([("iso_code", Text("CA"))])])),
            ("autonomous_system_number", Number(64500)),
        ]);
        let networks = [("192.0.2.0/24", city), ("203.0.113.0/24", country("DE")), ("2001:db8::/32", country("JP"))];
        let bytes = Writer::new(6, &networks).alias().bytes();
        assert_eq!(parse(bytes.clone(), &mut Locations::new()).expect("sound before it is mangled").networks, 3);
        bytes
    }

    #[test]
    fn cut_short_is_an_error_at_every_length() {
        let whole = small();
        for length in 0..whole.len() {
            let cut = whole[..length].to_vec();
            assert!(parse(cut, &mut Locations::new()).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn any_flipped_bit_is_an_error_or_another_database() {
        let whole = small();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(contents) = parse(bytes, &mut Locations::new()) {
                assert!(contents.v4.get(0).is_some() && contents.v6.get(0).is_some(), "bit {bit}");
            }
        }
    }

    #[test]
    fn tree_whose_branches_meet_again_ends_soon() {
        // Both branches of each node lead to the next one: 2^31 ways and 2^127 ways to the end.
        for (ip_version, depth) in [(4, 32), (6, 128)] {
            for end in [Branch::Empty, Branch::Record(0)] {
                let mut writer = Writer::new(ip_version, &[("::/1", country("US"))]);
                writer.nodes = (1..depth).map(|next| [Branch::Node(next); 2]).chain([[end; 2]]).collect();
                let error = parse(writer.bytes(), &mut Locations::new()).expect_err("tangled");
                assert!(matches!(error, ReadError::Tangled), "{error}");
            }
        }
    }

    #[test]
    fn tree_that_leads_back_is_an_error() {
        let mut writer = Writer::new(4, &[("192.0.2.0/24", country("US"))]);
        writer.nodes[3] = [Branch::Node(0); 2];
        assert!(matches!(
            parse(writer.bytes(), &mut Locations::new()),
            Err(ReadError::Unsound(_) | ReadError::Tangled)
        ));
    }

    proptest! {
        #[test]
        fn mangled_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24)) {
            let mut bytes = small();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = parse(bytes, &mut Locations::new());
        }

        #[test]
        fn random_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert!(parse(bytes, &mut Locations::new()).is_err());
        }

        #[test]
        fn random_bytes_with_sound_metadata_never_panic(start in prop::collection::vec(any::<u8>(), 2000)) {
            let mut bytes = small();
            let n_tree = bytes.len() - 300;
            for (byte, random) in bytes.iter_mut().take(n_tree).zip(start) {
                *byte = random;
            }
            let _ = parse(bytes, &mut Locations::new());
        }
    }
}
