//! Who is sent where: by place, by distance, by address and by cookie, as `dig`, `curl` and connections from other loopback addresses see it.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
};

use super::{
    realserver::{Realserver, entries, names_at},
    server::{HEAD, Server, Site, ZONE},
    tools::{SOON, becomes, curl, dig, rcode, stdout},
};

#[path = "../../../src/geo/mmdb.rs"]
#[allow(dead_code, reason = "what the tests beside it need as well")]
mod mmdb;

use mmdb::{
    Value::{self, Double, Text},
    Writer, map,
};

/// A record as GeoLite2-City has it.
fn city(country: &'static str, latitude: f64, longitude: f64) -> Value {
    let location = map([("latitude", Double(latitude)), ("longitude", Double(longitude))]);
    map([("country", map([("iso_code", Text(country))])), ("location", location)])
}

/// Replaces the database at `path` as a whole.
fn write_database(path: &Path, networks: &[(&str, Value)]) {
    let new = path.with_extension("new");
    fs::write(&new, Writer::new(6, networks).bytes()).expect("written");
    fs::rename(new, path).expect("in place");
}

/// Paris, Boston, Fiji, and Pyongyang; and a country without a place.
fn write_cities(site: &Site) {
    let networks = [
        ("198.51.100.0/24", city("FR", 48.85, 2.35)),
        ("203.0.113.0/24", city("US", 42.36, -71.06)),
        ("192.0.2.0/24", city("FJ", -17.8, 178.0)),
        ("100.64.0.0/16", city("KP", 39.03, 125.75)),
        ("100.65.0.0/16", map([("country", map([("iso_code", Text("FR"))]))])),
        ("127.66.0.0/16", city("KP", 39.03, 125.75)),
        ("127.67.0.0/16", city("US", 42.36, -71.06)),
        ("2001:db8::/32", city("US", 42.36, -71.06)),
    ];
    write_database(&site.path("city.mmdb"), &networks);
}

const NEAREST: &str = r#"
[geoip]
databases = ["city.mmdb"]
[pools.web]
policy = "nearest"
realservers = [
  { name = "ams", address = "192.0.2.1", location = [52.37, 4.9] },
  { name = "nyc", address = "192.0.2.2", location = [40.71, -74] },
  { name = "apia", address = "192.0.2.3", location = [-13.83, -171.76] },
]
"#;

/// A site whose databases are there.
fn site(config: &str) -> Site {
    let site = Site::with(config);
    write_cities(&site);
    site
}

/// The addresses that a client in `subnet` gets, and the scope.
fn answer(server: &Server<'_>, subnet: &str) -> (String, String) {
    let shown = server.dig(&format!("www.example.org +subnet={subnet}"));
    let scope = shown.split_once("CLIENT-SUBNET: ").and_then(|(_, rest)| rest.lines().next()?.rsplit('/').next());
    let addresses = shown.lines().filter(|line| !line.starts_with(';')).filter_map(|line| line.split("\tA\t").nth(1));
    (addresses.collect::<Vec<_>>().join(" "), scope.unwrap_or_default().to_owned())
}

#[test]
fn nearest_goes_by_the_places_of_a_city_database() {
    let site = site(NEAREST);
    let server = site.start();
    for (subnet, address) in
        [("198.51.100.0/24", "192.0.2.1"), ("203.0.113.0/24", "192.0.2.2"), ("192.0.2.0/24", "192.0.2.3")]
    {
        let (given, scope) = answer(&server, subnet);
        assert_eq!(given, address, "{subnet}");
        assert!((2..=24).contains(&scope.parse::<u8>().expect("scope")), "{subnet}: /{scope}");
    }
    // A country alone is no place: everybody takes turns.
    let unknown: Vec<String> = (0..3).map(|_| answer(&server, "100.65.0.0/16").0).collect();
    assert_eq!(unknown, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    let told = site.tell("explain www.example.org --ecs 198.51.100.0/24");
    assert!(
        told.contains("nearest to 48.85, 2.35 for the client's /") && told.contains("`ams` (431 km), `nyc` (5837 km)"),
        "{told}"
    );
    assert!(told.contains("europe, FR (48.85, 2.35)"), "{told}");
}

#[test]
fn database_that_changes_is_heeded_and_a_broken_one_is_not() {
    let site = site(NEAREST);
    let server = site.start();
    let given = || answer(&server, "198.51.100.0/24").0;
    assert_eq!(given(), "192.0.2.1");
    write_database(&site.path("city.mmdb"), &[("198.51.100.0/24", city("US", 42.36, -71.06))]);
    becomes(SOON, "192.0.2.2".to_owned(), given);
    let whole = fs::read(site.path("city.mmdb")).expect("database");
    fs::write(site.path("half"), &whole[..whole.len() / 2]).expect("half of it");
    fs::rename(site.path("half"), site.path("city.mmdb")).expect("in place");
    becomes(SOON, Some(0.0), || server.metric("fingerpost_config_reload_ok"));
    assert_eq!(given(), "192.0.2.2", "the old one stays in force");
    write_cities(&site);
    becomes(SOON, "192.0.2.1".to_owned(), given);
    becomes(SOON, Some(1.0), || server.metric("fingerpost_config_reload_ok"));
}

#[test]
fn member_of_unknown_place_is_warned_of_by_check() {
    let site = site(&NEAREST.replace(", location = [-13.83, -171.76]", ""));
    let shown = site.command("check");
    let told = String::from_utf8_lossy(&shown.stderr).into_owned();
    // 192.0.2.3 is in Fiji, says the database; 10.0.0.1 it does not know.
    assert!(told.is_empty(), "{told}");
    site.edit("fingerpost.toml", "192.0.2.3", "10.0.0.1");
    let shown = site.command("check");
    let told = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(shown.status.success() && told.contains("nobody knows where `apia` of nearest pool `web` is"), "{told}");
}

/// Status and `Location` for a client at `from`.
fn redirect_from(server: &Server<'_>, from: &str, more: &[&str]) -> String {
    let url = format!("http://{}/", server.address("redirect"));
    let fixed = ["--interface", from, "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}"];
    stdout(&curl(fixed.iter().chain(more).chain(&["-H", "Host: www.example.org", &*url])))
}

/// What a connection from `from` to `to` brings for one request; empty if it was reset.
fn connect_from(from: IpAddr, to: SocketAddr) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    socket.bind(&SocketAddr::new(from, 0).into()).expect("a loopback address");
    socket.connect(&to.into()).expect("accepted");
    let mut stream = TcpStream::from(socket);
    let mut text = String::new();
    // A reset may be there before the request.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut octets = [0; 1024];
    while let Ok(n_octets @ 1..) = stream.read(&mut octets) {
        text.push_str(&String::from_utf8_lossy(&octets[..n_octets]));
        if text.ends_with("/\n") {
            break;
        }
    }
    text.rsplit("\r\n\r\n").next().unwrap_or_default().chars().take(1).collect()
}

#[test]
fn excluded_client_is_refused_by_dns_redirect_and_l4() {
    let realservers = Realserver::three();
    let pool = format!(
        "[geoip]\ndatabases = [\"city.mmdb\"]\n[pools.web]\nexclude = [\"KP\"]\nrealservers = [{}]\n\
         [listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n",
        entries(&realservers)
    );
    let site = site(&pool);
    let server = site.start();
    let shown = server.dig("www.example.org +subnet=100.64.7.0/24");
    assert_eq!(rcode(&shown), "REFUSED", "{shown}");
    assert!(shown.contains("EDE: 18 (Prohibited)"), "{shown}");
    assert!(!shown.contains("flags: qr aa"), "{shown}");
    let (given, scope) = answer(&server, "203.0.113.0/24");
    assert!(!given.is_empty() && scope != "0", "{given} /{scope}");
    assert_eq!(redirect_from(&server, "127.66.0.1", &[]), "403 ");
    assert!(redirect_from(&server, "127.67.0.1", &[]).starts_with("302 "));
    let l4 = server.address("l4/web");
    assert_eq!(connect_from([127, 66, 0, 1].into(), l4), "");
    assert_ne!(connect_from([127, 67, 0, 1].into(), l4), "");
    let told = site.tell("explain www.example.org --ecs 100.64.7.0/24");
    assert!(told.contains("pool `web` excludes KP") && told.contains("REFUSED"), "{told}");
    // Somebody else may serve them instead.
    let sorry = "[pools.sorry]\nrealservers = [{ name = \"sorry\", address = \"192.0.2.99\", port = 80 }]\n";
    site.edit("fingerpost.toml", "exclude = [\"KP\"]\n", "exclude = [\"KP\"]\non_excluded = \"sorry\"\n");
    site.write("fingerpost.toml", &format!("{}{sorry}", site.read("fingerpost.toml")));
    becomes(SOON, "192.0.2.99".to_owned(), || answer(&server, "100.64.7.0/24").0);
    assert_eq!(redirect_from(&server, "127.66.0.1", &[]), "302 http://192.0.2.99/");
}

/// Clients in networks of their own, each with its `+subnet`.
fn clients() -> impl Iterator<Item = (IpAddr, String)> {
    (0..24u8).map(|n| ([127, 100 + n % 3, n, 9 + n].into(), format!("127.{}.{n}.0/24", 100 + n % 3)))
}

/// The realserver of every client by DNS with ECS, by redirect and by connection, one letter each.
#[track_caller]
fn by_every_way(server: &Server<'_>, realservers: &[Realserver]) -> String {
    let (dns, l4) = (server.address("dns"), server.address("l4/web"));
    let mut seen = String::new();
    for (client, subnet) in clients() {
        let by_dns = names_at(realservers, &dig(dns, &format!("www.example.org A +short +subnet={subnet}")));
        // From another port, so perhaps by another worker.
        let again = names_at(realservers, &dig(dns, &format!("www.example.org A +short +subnet={subnet}")));
        let location = redirect_from(server, &client.to_string(), &[]);
        let to = |realserver: &&Realserver| location == format!("302 http://{}/", realserver.address);
        let by_redirect = realservers.iter().find(to).map_or("?", |realserver| realserver.name);
        let by_l4 = connect_from(client, l4);
        assert_eq!([&*again, by_redirect, &by_l4], [&*by_dns; 3], "{client}");
        seen.push_str(&by_dns);
    }
    seen
}

#[test]
fn one_client_has_one_realserver_by_dns_redirect_and_l4_over_restart_and_reordering() {
    let realservers = Realserver::three();
    let mut entries: Vec<String> = (1..=4).rev().zip(&realservers).map(|(weight, one)| one.entry(weight)).collect();
    let config = |entries: &[String]| {
        let head = HEAD.replace("[dns]\n", "[dns]\nudp_workers = 4\n");
        format!(
            "{head}[pools.web]\npolicy = \"source-hash\"\nrealservers = [{}]\n\
             [listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n",
            entries.join(", ")
        )
    };
    let site = Site::new(&config(&entries), ZONE);
    let server = site.start();
    let first = by_every_way(&server, &realservers);
    assert!(["A", "B", "C"].iter().all(|name| first.contains(name)), "everybody is somebody's: {first}");
    server.stop();
    entries.reverse();
    site.write("fingerpost.toml", &config(&entries));
    let server = site.start();
    assert_eq!(by_every_way(&server, &realservers), first, "after a restart with the file in another order");

    // One that goes moves its own clients and nobody else, and they come back.
    site.tell("drain web/A");
    let without = by_every_way(&server, &realservers);
    for (before, after) in first.chars().zip(without.chars()) {
        assert!(after != 'A' && (before == 'A' || before == after), "{first} {without}");
    }
    site.tell("ready web/A");
    assert_eq!(by_every_way(&server, &realservers), first);

    let source = |arguments: &str| site.json(arguments)["client"]["source"].as_str().map(str::to_owned);
    let at = "--client 127.100.0.9";
    assert_eq!(source(&format!("explain www.example.org {at} --ecs 127.101.0.0/24")).as_deref(), Some("ecs"));
    assert_eq!(source(&format!("explain www.example.org {at}")).as_deref(), Some("resolver"));
    assert_eq!(source(&format!("explain www.example.org {at} --via redirect")).as_deref(), Some("socket"));
    assert_eq!(source(&format!("explain web {at} --via l4")).as_deref(), Some("socket"));
    let told = site.tell(&format!("explain www.example.org {at}"));
    assert!(told.contains("affinity key 127.100.0.0/24"), "{told}");
}

#[test]
fn sticky_pool_keeps_a_browser_by_its_cookie() {
    let realservers = Realserver::three();
    let trusted = HEAD.replace("[redirect]", "[redirect]\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let pool = format!("[pools.web]\nsticky = \"cookie\"\nrealservers = [{}]\n", entries(&realservers));
    let site = Site::new(&format!("{trusted}{pool}"), ZONE);
    let mut server = site.start();
    let jar = site.path("jar").display().to_string();
    let visit = |server: &Server<'_>| redirect_from(server, "127.0.0.1", &["--cookie", &jar, "--cookie-jar", &jar]);
    let first = visit(&server);
    assert!(first.starts_with("302 http://"), "{first}");
    for _ in 0..4 {
        assert_eq!(visit(&server), first);
    }
    // Others go on taking turns.
    let others: std::collections::BTreeSet<String> = (0..9).map(|_| redirect_from(&server, "127.0.0.1", &[])).collect();
    assert_eq!(others.len(), 3, "{others:?}");

    let told = stdout(&curl([
        "--dump-header",
        "-",
        "-H",
        "Host: www.example.org",
        "-H",
        "X-Forwarded-Proto: https",
        &format!("http://{}/", server.address("redirect")),
    ]));
    let cookie = told.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    assert!(cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    let realserver_ips = realservers.iter().map(|realserver| realserver.address.ip().to_string());
    assert!(realserver_ips.into_iter().all(|ip| !cookie.contains(&ip)), "{cookie}");

    // The secret outlives a crash, and is nobody else's to read.
    server.signal("KILL");
    server.wait(SOON);
    drop(server);
    let secret = fs::metadata(site.path("state/redirect-cookie.secret")).expect("kept");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&secret.permissions()) & 0o777, 0o600);
    let server = site.start();
    assert_eq!(visit(&server), first);

    // Somebody who takes nothing new loses the browser, which gets another cookie; a forged one is none.
    let name = realservers.iter().find(|one| first.contains(&one.address.to_string())).expect("one of them").name;
    site.tell(&format!("drain web/{name}"));
    let second = visit(&server);
    assert_ne!(second, first);
    site.tell(&format!("ready web/{name}"));
    for _ in 0..4 {
        assert_eq!(visit(&server), second, "where the session is now");
    }
    let jar_text = fs::read_to_string(&jar).expect("jar");
    let (start, seal) = jar_text.trim_end().rsplit_once('.').expect("a seal");
    let forged = if seal.starts_with('A') { "B" } else { "A" };
    fs::write(&jar, format!("{start}.{forged}{}\n", &seal[1..])).expect("jar");
    let seen: Vec<String> = (0..9)
        .map(|_| {
            let shown = redirect_from(&server, "127.0.0.1", &["--cookie", &jar]);
            assert!(shown.starts_with("302 "), "{shown}");
            shown
        })
        .collect();
    assert!(seen.iter().any(|shown| *shown != second), "by the policy, not by the cookie: {seen:?}");
}
