//! Reads one MMDB file into ranges of locations.
//!
//! Knows the layouts of MaxMind (GeoLite2, GeoIP2) and DB-IP (nested: `country.iso_code`), and of ip-location-db and IPinfo (flat:
//! `country_code`, `asn`). A field it does not know, or finds in another shape, counts as missing; a file that is not sound is refused
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
}

/// What may stand in a field.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Value<'a> {
    Number(u32),
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
}

impl<'a> Value<'a> {
    fn code(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Map(map) => map.iso_code.or(map.code),
            Self::List(list) => list.first().and_then(|first| first.iso_code),
            Self::Number(_) | Self::Other(_) | Self::Missing => None,
        }
    }

    fn asn(&self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.strip_prefix("AS").unwrap_or(text).parse().ok(),
            Self::Map(map) => map.autonomous_system_number,
            Self::List(_) | Self::Other(_) | Self::Missing => None,
        }
        .filter(|&number| number != 0)
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
        }
    }
}
