//! Zone files that are edited, broken, removed and added while the server runs.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    server::{Server, Site, ZONE},
    tools::{becomes, dig, rcode},
};

/// How soon an edit must be in the answers.
const VISIBLE: Duration = Duration::from_secs(2);
/// How long a file must be gone before its zone is, and then how soon.
const GONE: Duration = Duration::from_secs(4);

const WEB: &str = "[pools.web]\nrealservers = [{ name = \"A\", address = \"192.0.2.1\" }]\n";
const FILE: &str = "zones/example.org.zone";

fn answer(dns: SocketAddr, name: &str) -> String {
    dig(dns, &format!("{name}.example.org A +short"))
}

fn zone_error(server: &Server<'_>) -> Option<String> {
    let status = server.site.json("status");
    status["zones"][0]["error"].as_str().map(str::to_owned)
}

#[test]
fn edit_is_visible_within_two_seconds_however_it_is_saved() {
    let site = Site::with(WEB);
    let server = site.start();
    let dns = server.address("dns");

    site.write(FILE, &format!("{ZONE}renamed A 192.0.2.10\n"));
    becomes(VISIBLE, "192.0.2.10\n".to_owned(), || answer(dns, "renamed"));

    let mut file = fs::File::options().append(true).open(site.path(FILE)).expect("zone");
    file.write_all(b"appended A 192.0.2.11\n").expect("append");
    drop(file);
    becomes(VISIBLE, "192.0.2.11\n".to_owned(), || answer(dns, "appended"));

    // As vim does: a swap file, a test file, the old file moved to a backup, the new one written in its place.
    let text = site.read(FILE) + "edited A 192.0.2.12\n";
    fs::write(site.path("zones/.example.org.zone.swp"), "not a zone").expect("swap file");
    fs::write(site.path("zones/4913"), "").expect("test file");
    fs::remove_file(site.path("zones/4913")).expect("test file");
    fs::rename(site.path(FILE), site.path("zones/example.org.zone~")).expect("backup");
    fs::write(site.path(FILE), text).expect("zone");
    fs::remove_file(site.path("zones/example.org.zone~")).expect("backup");
    fs::remove_file(site.path("zones/.example.org.zone.swp")).expect("swap file");
    becomes(VISIBLE, "192.0.2.12\n".to_owned(), || answer(dns, "edited"));

    assert_eq!(answer(dns, "renamed"), "192.0.2.10\n");
    assert_eq!(zone_error(&server), None);
    assert_eq!(site.json("status")["zones"].as_array().map(Vec::len), Some(1), "no editor's file is a zone");
}

#[test]
fn broken_edit_leaves_the_old_answer_and_is_reported_until_it_is_mended() {
    let site = Site::with(WEB);
    let server = site.start();
    let dns = server.address("dns");
    assert_eq!(server.metric("fingerpost_zone_files_broken"), Some(0.0));

    site.write(FILE, &format!("{ZONE}static A 192.0.2.300\n"));
    becomes(VISIBLE, true, || zone_error(&server).is_some_and(|error| error.contains("example.org.zone:11:")));
    assert_eq!(answer(dns, "static"), "192.0.2.7\n");
    becomes(VISIBLE, Some(1.0), || server.metric("fingerpost_zone_files_broken"));
    assert!(site.read("log").contains("example.org.zone:11:"), "the log names the place");

    site.write(FILE, &ZONE.replace("192.0.2.7", "192.0.2.8"));
    becomes(VISIBLE, "192.0.2.8\n".to_owned(), || answer(dns, "static"));
    becomes(VISIBLE, None, || zone_error(&server));
    assert_eq!(server.metric("fingerpost_zone_files_broken"), Some(0.0));
}

#[test]
fn broken_zone_does_not_keep_others_out_at_start() {
    let site = Site::with(WEB);
    site.write("zones/broken.example.zone", "$ORIGIN broken.example.\n@ SOA\n");
    let server = site.start();
    assert_eq!(rcode(&server.dig("broken.example SOA")), "REFUSED");
    assert_eq!(answer(server.address("dns"), "static"), "192.0.2.7\n");
}

#[test]
fn removed_file_takes_its_zone_out_and_a_new_one_brings_its_zone_in() {
    let site = Site::with(WEB);
    let server = site.start();
    let dns = server.address("dns");
    site.write(
        "zones/example.net.zone",
        &ZONE.replace("example.org", "example.net").replace("192.0.2.7", "192.0.2.70"),
    );
    becomes(VISIBLE, "192.0.2.70\n".to_owned(), || dig(dns, "static.example.net A +short"));

    fs::remove_file(site.path("zones/example.net.zone")).expect("zone");
    becomes(GONE, "REFUSED".to_owned(), || rcode(&dig(dns, "static.example.net A")).to_owned());
    assert_eq!(answer(dns, "static"), "192.0.2.7\n");
    assert_eq!(server.metric("fingerpost_zones"), Some(1.0));
}

#[test]
fn file_that_vanishes_for_a_moment_never_takes_its_zone_out() {
    let site = Site::with(WEB);
    let server = site.start();
    let dns = server.address("dns");
    fs::rename(site.path(FILE), site.path("away")).expect("away");
    // A quarter of the grace, looked at all the time.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        assert_eq!(answer(dns, "static"), "192.0.2.7\n");
    }
    let text = fs::read_to_string(site.path("away")).expect("zone").replace("192.0.2.7", "192.0.2.9");
    site.write(FILE, &text);
    becomes(VISIBLE, true, || {
        let answer = answer(dns, "static");
        assert!(["192.0.2.7\n", "192.0.2.9\n"].contains(&&*answer), "{answer}");
        answer == "192.0.2.9\n"
    });
}
