//! Geo: from an address to what a geo pool does with it.
//!
//! Databases (MMDB files) are read once into [`Geo`], one sorted list of ranges a family; each geo pool compiles that and its own
//! [`Rules`] into a [`Table`], which answers with a [`Class`] and the shortest prefix it holds for; each nearest pool compiles it into
//! [`Nearest`], whose classes are orders. What a class stands for is the pool's business: nothing here knows pools, realservers or DNS. Nothing is read from disk after [`Geo::load`].

mod codes;
mod coordinates;
mod database;
mod key;
mod location;
#[cfg(test)]
mod mmdb;
mod nearest;
mod ranges;
mod table;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

pub use codes::{Continent, CountryCode, SubdivisionCode};
pub use coordinates::Coordinates;
pub use key::{Key, KeyError};
pub use location::Location;
pub use nearest::{GroupId, MEMBERS_MAX, Nearest, PLACES_MAX};
pub use table::{Class, Rule, Rules, Table, fits};

use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    types::Family,
};
use location::{LocationId, Locations};
use ranges::Ranges;

/// All databases as one: address → [`Location`], for the whole of both families.
#[derive(Debug)]
pub struct Geo {
    v4: Ranges<u32, LocationId>,
    v6: Ranges<u128, LocationId>,
    locations: Locations,
    databases: Vec<Database>,
}

/// What `status` shows of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The file, as configured.
    pub path: Box<Path>,
    /// What the file calls itself, such as `GeoLite2-City`.
    pub database_type: String,
    /// When it was built, in seconds since 1970.
    pub build_epoch: u64,
    /// Networks with an entry, IPv4 and IPv6 together.
    pub networks: usize,
}

impl Geo {
    /// No database: nothing is known of any address.
    pub fn empty() -> Self {
        Self {
            v4: Ranges::constant(LocationId::NOWHERE),
            v6: Ranges::constant(LocationId::NOWHERE),
            locations: Locations::new(),
            databases: Vec::new(),
        }
    }

    /// Reads `paths` in order; a later one adds what the earlier ones lack, address by address and field by field.
    ///
    /// IPv4 is what stands below `::/96` of an IPv6 tree; its aliases (`::ffff:0:0/96`, `2001::/32`, `2002::/16`) count for nothing.
    ///
    /// # Errors
    /// One for each file that cannot be read or is no sound MMDB, naming it; the caller goes on with the [`Geo`] it has.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Diagnostics> {
        let mut geo = Self::empty();
        let mut errors = Diagnostics::default();
        for path in paths {
            match database::read(path, &mut geo.locations) {
                Ok(contents) => geo.add(path, contents),
                Err(cause) => errors.push(
                    Diagnostic::bare(format!("cannot use geo database `{}`: {cause}", path.display()))
                        .hint(cause.hint()),
                ),
            }
        }
        if errors.has_errors() { Err(errors) } else { Ok(geo) }
    }

    /// What a database with these networks would make, for tests; of two that overlap the first counts where it began first.
    #[cfg(test)]
    pub(crate) fn from_networks(networks: impl IntoIterator<Item = (ipnet::IpNet, Location)>) -> Self {
        let mut locations = Locations::new();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, location) in networks {
            let id = locations.intern(location);
            match net {
                ipnet::IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits(), id)),
                ipnet::IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits(), id)),
            }
        }
        v4.sort_by_key(|&(first, ..)| first);
        v6.sort_by_key(|&(first, ..)| first);
        let v4 = Ranges::from_stretches(LocationId::NOWHERE, v4);
        Self { v4, v6: Ranges::from_stretches(LocationId::NOWHERE, v6), locations, databases: Vec::new() }
    }

    fn add(&mut self, path: &Path, contents: database::Contents) {
        let mut filled = self.locations.fill();
        self.v4 = self.v4.zip(&contents.v4, |earlier, later| filled.get(earlier, later));
        self.v6 = self.v6.zip(&contents.v6, |earlier, later| filled.get(earlier, later));
        self.databases.push(Database {
            path: path.into(),
            database_type: contents.database_type,
            build_epoch: contents.build_epoch,
            networks: contents.networks,
        });
    }

    /// What the databases say of `address`. For [`Table`]s and for people; queries use the table.
    pub fn locate(&self, address: IpAddr) -> Location {
        let id = match address {
            IpAddr::V4(address) => self.v4.get(address.to_bits()),
            IpAddr::V6(address) => self.v6.get(address.to_bits()),
        };
        self.locations.get(id.unwrap_or(LocationId::NOWHERE))
    }

    /// First and last of the addresses that the databases say something of, ascending and apart; IPv4 as the top bits of 128. Everything if
    /// there is no database.
    pub fn located(&self, family: Family) -> Vec<(u128, u128)> {
        if self.databases.is_empty() {
            return vec![(0, u128::MAX)];
        }
        let mut located: Vec<(u128, u128)> = Vec::new();
        let mut add = |first: u128, last: u128, id: LocationId| match located.last_mut() {
            _ if id == LocationId::NOWHERE => {}
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => located.push((first, last)),
        };
        match family {
            Family::V4 => self.v4.iter().for_each(|(first, last, id)| {
                let (first, last) = (u128::from(first) << 96, u128::from(last.unwrap_or(u32::MAX)) << 96);
                add(first, last | (u128::MAX >> 32), id);
            }),
            Family::V6 => self.v6.iter().for_each(|(first, last, id)| add(first, last.unwrap_or(u128::MAX), id)),
        }
        located
    }

    /// The databases in the order they were read.
    pub fn databases(&self) -> &[Database] {
        &self.databases
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::mmdb::{
        Value::{self, List, Number, Text},
        Writer, map,
    };
    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/country.mmdb")
    }

    fn located(geo: &Geo, address: &str) -> String {
        geo.locate(address.parse().expect(address)).to_string()
    }

    /// Blocks that a country's own research network, registry or incumbent has held for decades.
    const WELL_KNOWN: [(&str, &str); 24] = [
        ("8.8.8.8", "north-america, US"),
        ("18.0.0.1", "north-america, US"),
        ("132.246.1.1", "north-america, CA"),
        ("193.0.6.139", "europe, NL"),
        ("194.25.0.60", "europe, DE"),
        ("212.27.40.240", "europe, FR"),
        ("192.36.148.17", "europe, SE"),
        ("133.11.0.1", "asia, JP"),
        ("202.12.27.33", "asia, JP"),
        ("130.102.1.1", "oceania, AU"),
        ("139.130.4.5", "oceania, AU"),
        ("200.160.2.3", "south-america, BR"),
        ("200.7.84.1", "south-america, UY"),
        ("196.25.1.1", "africa, ZA"),
        ("2001:67c:2e8::1", "europe, NL"),
        ("2001:4860:4860::8888", "north-america, US"),
        ("2001:dc0::1", "oceania, AU"),
        ("2001:388::1", "oceania, AU"),
        ("2001:12ff::1", "south-america, BR"),
        ("2804::1", "south-america, BR"),
        // Nobody's: private, documentation, mapped.
        ("10.0.0.1", "unknown"),
        ("192.0.2.1", "unknown"),
        ("fd00::1", "unknown"),
        ("::ffff:8.8.8.8", "unknown"),
    ];

    #[test]
    fn shipped_database_knows_well_known_addresses() {
        let geo = Geo::load(&[shipped()]).expect("sound");
        for (address, expected) in WELL_KNOWN {
            assert_eq!(located(&geo, address), expected, "{address}");
        }
        let [database] = geo.databases() else { panic!("one database") };
        assert_eq!(&*database.path, shipped());
        assert!(database.networks > 100_000 && database.build_epoch > 1_700_000_000, "{database:?}");
    }

    #[test]
    fn table_of_the_shipped_database_is_its_locations_and_honest() {
        let geo = Geo::load(&[shipped()]).expect("sound");
        let keys = Continent::ALL
            .into_iter()
            .zip(1..)
            .map(|(continent, class)| (Key::Continent(continent), Class(class)))
            .collect();
        let rules = Rules { keys, nets: Vec::new(), default: Class(0) };
        let table = Table::compile(&geo, &rules);
        let class_of = |address: IpAddr| {
            let continent = geo.locate(address).continent;
            let class = continent.and_then(|continent| Continent::ALL.iter().position(|&other| other == continent));
            class.map_or(0, |position| position + 1)
        };
        assert!(!table.is_constant(Family::V4) && !table.is_constant(Family::V6));

        let mut random = fastrand::Rng::with_seed(4711);
        let known: Vec<IpAddr> = WELL_KNOWN.iter().map(|(address, _)| address.parse().expect("address")).collect();
        for _ in 0..20_000 {
            let address = match *random.choice(&known).expect("not empty") {
                IpAddr::V4(_) => IpAddr::from(random.u32(..).to_be_bytes()),
                IpAddr::V6(near) => {
                    IpAddr::from((near.to_bits() ^ random.u128(..) >> random.u32(3..128)).to_be_bytes())
                }
            };
            let (class, length) = table.lookup(address);
            assert_eq!(class.0 as usize, class_of(address), "{address}");
            let within = ipnet::IpNet::new(address, length).expect("length in range");
            for other in [within.network(), within.broadcast()] {
                assert_eq!(table.lookup(other), (class, length), "{other} within {within}");
            }
        }
    }

    #[test]
    fn broken_files_are_errors_that_name_the_path() {
        let directory = tempfile::tempdir().expect("directory");
        let whole = fs::read(shipped()).expect("shipped database");
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            fs::File::create(&path).and_then(|mut file| file.write_all(bytes)).expect("written");
            path
        };
        let garbage: Vec<u8> = std::iter::repeat_with({
            let mut random = fastrand::Rng::with_seed(1);
            move || random.u8(..)
        })
        .take(100_000)
        .collect();
        let paths = [
            directory.path().join("absent.mmdb"),
            directory.path().to_owned(),
            write("empty.mmdb", b""),
            write("garbage.mmdb", &garbage),
            write("half.mmdb", &whole[..whole.len() / 2]),
            write("no-start.mmdb", &whole[whole.len() / 2..]),
            write("no-end.mmdb", &whole[..whole.len() - 1]),
        ];
        let errors = Geo::load(&paths).expect_err("none is sound");
        assert_eq!(errors.0.len(), paths.len());
        for (error, path) in errors.0.iter().zip(&paths) {
            assert!(error.message.starts_with(&format!("cannot use geo database `{}`: ", path.display())), "{error}");
            assert!(error.hint.is_some());
        }
        let one_of_two = Geo::load(&[shipped(), paths[4].clone()]).expect_err("one is broken");
        assert_eq!(one_of_two.counts(), (1, 0));
    }

    #[test]
    fn later_databases_add_what_earlier_ones_lack() {
        let directory = tempfile::tempdir().expect("directory");
        let write = |name: &str, networks: &[(&str, Value)]| {
            let path = directory.path().join(name);
            fs::write(&path, Writer::new(6, networks).bytes()).expect("written");
            path
        };
        let country = |code| map([("country_code", Text(code))]);
        let city = |code, subdivision| {
            map([
                ("country", map([("iso_code", Text(code))])),
                ("subdivisions", List(vec![map([("iso_code", Text(subdivision))])])),
            ])
        };
        let asn = |number| map([("autonomous_system_number", Number(number))]);
        let paths = [
            write("country.mmdb", &[("192.0.2.0/25", country("US")), ("2001:db8::/32", country("DE"))]),
            write("city.mmdb", &[("192.0.2.0/24", city("US", "CA")), ("2001:db8::/33", city("FR", "IDF"))]),
            write(
                "asn.mmdb",
                &[("192.0.2.64/26", asn(64500)), ("192.0.2.128/26", asn(64501)), ("198.51.100.0/24", asn(64502))],
            ),
            write("asn2.mmdb", &[("192.0.2.0/24", asn(64510))]),
        ];
        let geo = Geo::load(&paths).expect("sound");
        for (address, expected) in [
            ("192.0.2.0", "north-america, US-CA, AS64510"),
            ("192.0.2.64", "north-america, US-CA, AS64500"),
            ("192.0.2.128", "north-america, US-CA, AS64501"),
            ("192.0.2.255", "north-america, US-CA, AS64510"),
            ("198.51.100.1", "AS64502"),
            ("203.0.113.1", "unknown"),
            // The first database says Germany, so the second one's French region does not apply.
            ("2001:db8::1", "europe, DE"),
            ("2001:db8:8000::1", "europe, DE"),
        ] {
            assert_eq!(located(&geo, address), expected, "{address}");
        }
        let networks: Vec<usize> = geo.databases().iter().map(|database| database.networks).collect();
        assert_eq!(networks, [2, 2, 3, 1]);

        // AS before subdivision before country before continent, and the scope follows.
        let keys = ["AS64500", "US-CA", "US", "europe"].into_iter().zip(1..);
        let keys = keys.map(|(key, class)| (key.parse().expect(key), Class(class))).collect();
        let table = Table::compile(&geo, &Rules { keys, nets: Vec::new(), default: Class(0) });
        for (address, class, length) in [
            ("192.0.2.64", 1, 26),
            ("192.0.2.0", 2, 26),
            ("192.0.2.128", 2, 25),
            ("198.51.100.1", 0, 6),
            ("2001:db8::1", 4, 32),
        ] {
            assert_eq!(table.lookup(address.parse().expect(address)), (Class(class), length), "{address}");
        }
    }

    #[test]
    fn every_rung_of_the_precedence_beats_those_below_it() {
        let place = map([
            ("continent", map([("code", Text("NA"))])),
            ("country", map([("iso_code", Text("US"))])),
            ("subdivisions", List(vec![map([("iso_code", Text("CA"))])])),
            ("autonomous_system_number", Number(64500)),
        ]);
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("all.mmdb");
        fs::write(&path, Writer::new(6, &[("192.0.2.0/24", place)]).bytes()).expect("written");
        let geo = Geo::load(&[path]).expect("sound");
        // From the lowest to the highest, each with a class of its own; a shorter net is a rung below a longer one.
        let rungs =
            ["default", "north-america", "US", "US-CA", "AS64500", "192.0.0.0/16", "192.0.2.0/25", "192.0.2.7/32"];
        for n_rungs in 1..=rungs.len() {
            let mut rules = Rules { keys: Vec::new(), nets: Vec::new(), default: Class(99) };
            // In an order that must not matter.
            for (rung, class) in rungs.iter().zip(0..).take(n_rungs).collect::<Vec<_>>().into_iter().rev() {
                match rung.parse() {
                    Ok(net) => rules.nets.push((net, Class(class))),
                    Err(_) => rules.keys.push((rung.parse().expect(rung), Class(class))),
                }
            }
            let highest = Class(u32::try_from(n_rungs).expect("few") - 1);
            let address = "192.0.2.7".parse().expect("address");
            assert_eq!(Table::compile(&geo, &rules).lookup(address).0, highest, "{:?}", &rungs[..n_rungs]);
            assert_eq!(rules.explain(&geo, address).0, highest);
        }
    }

    #[test]
    fn without_a_database_nothing_is_known() {
        assert_eq!(located(&Geo::empty(), "8.8.8.8"), "unknown");
        assert_eq!(Geo::load(&[]).expect("nothing to go wrong").databases(), []);
    }
}
