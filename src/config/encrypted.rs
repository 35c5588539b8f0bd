//! `[dns.encrypted]` as written becomes [`Encrypted`].

use std::{net::SocketAddr, ops::Range, path::Path};

use super::{
    Encrypted,
    file::read_socket_address,
    reader::{Table, Value},
};

/// Addresses with the place in the file of each.
type Bound = Vec<(SocketAddr, Range<usize>)>;

/// Reads the table. What is bound for TCP is added to `tcp`, for UDP to `udp`.
pub(super) fn read_encrypted(value: Value<'_>, folder: &Path, tcp: &mut Bound, udp: &mut Bound) -> Option<Encrypted> {
    let table = value.table("dns.encrypted")?;
    let tls = read_addresses(table, "tls", tcp);
    let https = read_addresses(table, "https", tcp);
    let quic = read_addresses(table, "quic", udp);
    let path = |name, example| Some(folder.join(table.require(name, example)?.string()?));
    let certificate = path("certificate", "certificate = \"ns1.pem\"");
    let key = path("key", "key = \"ns1.key\"");
    if tls.is_empty() && https.is_empty() && quic.is_empty() && !table.reader.has_errors() {
        let warning = table.reader.warning(table.span(), "`[dns.encrypted]` has no address, so nothing is encrypted");
        table.reader.report(warning.hint("such as `tls = [\"0.0.0.0:853\", \"[::]:853\"]`"));
    }
    let (certificate, key) = certificate.zip(key)?;
    Some(Encrypted { tls, https, quic, certificate, key })
}

fn read_addresses(table: Table<'_>, name: &'static str, bound: &mut Bound) -> Vec<SocketAddr> {
    let read = |value: Value<'_>| value.list(|element| Some((read_socket_address(element)?, element.span())));
    let addresses = table.get(name).and_then(read).unwrap_or_default();
    bound.extend(addresses.iter().cloned());
    addresses.into_iter().map(|(address, _)| address).collect()
}
