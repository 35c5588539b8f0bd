//! Geo: from an address to what a geo pool does with it.
//!
//! Databases (MMDB files) are read once into [`Geo`], one sorted list of ranges a family; each geo pool compiles that and its own
//! [`Rules`] into a [`Table`], which answers with a [`Class`] and the shortest prefix it holds for. What a class stands for is the
//! pool's business: nothing here knows pools, realservers or DNS. Nothing is read from disk after [`Geo::load`].

mod codes;
mod database;
mod key;
mod location;
mod ranges;
mod table;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

pub use codes::{Continent, CountryCode, SubdivisionCode};
pub use key::{Key, KeyError};
pub use location::Location;
pub use table::{Class, Rule, Rules, Table};

use crate::diagnostic::{Diagnostic, Diagnostics};
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

    /// The databases in the order they were read.
    pub fn databases(&self) -> &[Database] {
        &self.databases
    }
}
