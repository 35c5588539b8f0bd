//! A configuration that changes while the server runs.

use std::time::Duration;

use super::{
    l4::Connection,
    realserver::{Realserver, entries},
    server::{HEAD, Site, ZONE},
    tools::{SOON, becomes, dig, get, rcode, stderr},
};

fn config(realservers: &[Realserver]) -> String {
    format!(
        "[pools.web]\nrealservers = [{}]\n[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n",
        entries(realservers)
    )
}

#[test]
fn bad_configuration_is_refused_and_the_old_one_stays_in_force() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let server = site.start();
    let good = site.read("fingerpost.toml");
    for (broken, expected) in [
        (good.replace("pool = \"web\"", "pool = \"wob\""), "unknown pool `wob`"),
        (format!("{good}wieght = 3\n"), "wieght"),
        (good.replace("version = 1", "version = "), "fingerpost.toml:1:"),
        (
            good.replace("[pools.web]", "[pools.web2]").replace("pool = \"web\"", "pool = \"web2\""),
            "unknown pool `web`",
        ),
    ] {
        site.write("fingerpost.toml", &broken);
        let output = site.command("reload");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{expected} is not in {}", stderr(&output));
        assert_eq!(server.redirect("www.example.org").get(..3), Some("302"));
        assert_eq!(rcode(&server.dig("www.example.org A")), "NOERROR");
        assert!(site.json("status")["reload_error"]["errors"].as_str().is_some_and(|error| error.contains(expected)));
        assert_eq!(server.metric("fingerpost_config_reload_ok"), Some(0.0));
    }
    site.write("fingerpost.toml", &good);
    site.tell("reload");
    assert!(site.json("status")["reload_error"].is_null());
    assert_eq!(server.metric("fingerpost_config_reload_ok"), Some(1.0));
}

#[test]
fn new_pool_listener_and_zone_are_served_when_reload_returns_and_open_connections_survive() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers[..1]));
    let server = site.start();
    let (dns, old_listener) = (server.address("dns"), server.address("l4/web"));
    let mut connection = Connection::open(old_listener);
    assert_eq!(connection.ask("/before"), "A GET /before");

    let more = format!(
        "[pools.more]\nrealservers = [{}]\n[listeners.more]\nbind = \"127.0.0.1:0\"\npool = \"more\"\n",
        entries(&realservers[1..2])
    );
    site.write("fingerpost.toml", &(site.read("fingerpost.toml") + &more));
    site.write(
        "zones/more.example.zone",
        &ZONE.replace("example.org", "more.example").replace("POOL web", "POOL more"),
    );
    let told = site.tell("reload");
    assert_eq!(dig(dns, "www.more.example A +short"), format!("{}\n", realservers[1].address.ip()), "{told}");
    assert_eq!(get(&format!("http://{}/", server.address("l4/more"))), "B GET /\n");
    assert_eq!(server.redirect("www.more.example"), format!("302 http://{}/", realservers[1].address));
    assert_eq!(server.address("l4/web"), old_listener);
    assert_eq!(connection.ask("/after"), "A GET /after");

    // And away again: its port is given back, while its own connection may go on.
    let (new_listener, mut of_new) = (server.address("l4/more"), Connection::open(server.address("l4/more")));
    assert_eq!(of_new.ask("/new"), "B GET /new");
    site.edit("fingerpost.toml", "[listeners.more]\nbind = \"127.0.0.1:0\"\npool = \"more\"\n", "");
    site.tell("reload");
    becomes(SOON, true, || std::net::TcpStream::connect(new_listener).is_err());
    assert_eq!(of_new.ask("/still"), "B GET /still");
    assert_eq!(connection.ask("/after-all"), "A GET /after-all");
}

#[test]
fn reload_returns_only_when_new_data_is_served() {
    let config =
        |number: u8| format!("{HEAD}[pools.web]\nrealservers = [{{ name = \"A\", address = \"192.0.2.{number}\" }}]\n");
    let site = Site::new(&config(1), ZONE);
    let server = site.start();
    let dns = server.address("dns");
    for number in 10..20 {
        site.write("zones/example.org.zone", &ZONE.replace("192.0.2.7", &format!("192.0.2.{number}")));
        site.write("fingerpost.toml", &config(number));
        site.tell("reload");
        assert_eq!(dig(dns, "static.example.org A +short"), format!("192.0.2.{number}\n"));
        assert_eq!(dig(dns, "www.example.org A +short"), format!("192.0.2.{number}\n"));
    }
}

#[test]
fn configuration_is_reloaded_when_it_changes_without_being_told() {
    let site = Site::with("[pools.web]\nrealservers = [{ name = \"A\", address = \"192.0.2.1\" }]\n");
    let server = site.start();
    let dns = server.address("dns");
    site.edit("fingerpost.toml", "192.0.2.1", "192.0.2.55");
    becomes(Duration::from_secs(2), "192.0.2.55\n".to_owned(), || dig(dns, "www.example.org A +short"));
}

#[test]
fn sighup_reads_everything_again() {
    let site = Site::with("[pools.web]\nrealservers = [{ name = \"A\", address = \"192.0.2.1\" }]\n");
    let server = site.start();
    let n_reloads = || server.metric("fingerpost_config_reloads_total{outcome=\"ok\"}");
    let before = n_reloads().expect("metric");
    server.signal("HUP");
    becomes(SOON, Some(before + 1.0), n_reloads);
    assert_eq!(dig(server.address("dns"), "www.example.org A +short"), "192.0.2.1\n");
}

#[test]
fn change_of_one_pool_leaves_the_order_of_another_alone() {
    let pool = |name: &str| {
        format!(
            "[pools.{name}]\nrealservers = [{{ name = \"A\", address = \"192.0.2.1\", weight = 4 }}, \
             {{ name = \"B\", address = \"192.0.2.2\", weight = 3 }}, {{ name = \"C\", address = \"192.0.2.3\", weight = 2 }}]\n"
        )
    };
    let site = Site::with(&format!("{}{}", pool("web"), pool("other")));
    let server = site.start();
    let dns = server.address("dns");
    let mut order = String::new();
    for index in 0..9 {
        order += dig(dns, "www.example.org A +short").trim_start_matches("192.0.2.").trim();
        if index == 3 {
            site.write(
                "fingerpost.toml",
                &site.read("fingerpost.toml").replacen("[pools.other]", "[pools.another]", 1),
            );
            site.tell("reload");
        }
    }
    assert_eq!(order, "112123123");
}
