//! The country database as gdnsd's `nets`, so that both decide by the same data: gdnsd reads GeoIP2's own shape only.

use std::{io::Write as _, net::IpAddr};

use fingerpost::geo::{Continent, CountryCode};
use maxminddb::{Reader, WithinOptions};

/// One line for each IPv4 network of the western hemisphere, on standard output; what is not listed gets the default.
pub(crate) fn print(path: &str) {
    let reader = Reader::open_readfile(path).expect("a database");
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let networks = reader.within("0.0.0.0/0".parse().expect("a network"), WithinOptions::default());
    for found in networks.expect("networks") {
        let found = found.expect("a network");
        let code: Option<&str> = found.decode_path(&[maxminddb::PathElement::Key("country_code")]).expect("a country");
        let continent = code.and_then(CountryCode::new).map(CountryCode::continent);
        let is_west = matches!(continent, Some(Continent::NorthAmerica | Continent::SouthAmerica));
        let network = found.network().expect("a network");
        if is_west && let IpAddr::V4(_) = network.ip() {
            writeln!(out, "{network} => [us, eu]").expect("standard output");
        }
    }
}
