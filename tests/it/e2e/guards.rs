//! What is not believed when much falls at once, and how long answers may live.

use super::{
    realserver::{Realserver, entries, names_at},
    server::Site,
    tools::{SOON, becomes, dig, own_ip},
};

/// Who is in an answer, sorted, and its TTL.
fn answered(realservers: &[Realserver], dns: std::net::SocketAddr) -> (String, Option<u32>) {
    let shown = dig(dns, "www.example.org A +noall +answer");
    let addresses: String = shown.split_whitespace().skip(4).step_by(5).map(|address| format!("{address}\n")).collect();
    let mut names: Vec<char> = names_at(realservers, &addresses).chars().collect();
    names.sort_unstable();
    (names.into_iter().collect(), shown.split_whitespace().nth(1).and_then(|ttl| ttl.parse().ok()))
}

fn config(realservers: &[Realserver], keys: &str) -> String {
    format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"1s\"\ntimeout = \"200ms\"\nrise = 1\nfall = 1\n\
         [pools.web]\ncheck = \"web\"\nanswers = \"all\"\n{keys}realservers = [{}]\n",
        entries(realservers)
    )
}

#[test]
fn when_most_fall_at_once_they_stay_in_service_until_thaw() {
    let mut realservers = ["A", "B", "C", "D"].map(Realserver::start);
    let site = Site::with(&config(&realservers, "on_all_down = \"none\"\n"));
    let server = site.start();
    let dns = server.address("dns");
    server.wait_for_health("web", &["A", "B", "C", "D"], "up");
    assert_eq!(server.metric("fingerpost_health_frozen"), Some(0.0));
    assert!(!site.command("thaw").status.success(), "there is nothing to thaw");

    realservers.iter_mut().for_each(Realserver::kill);
    server.wait_for_health("web", &["A", "B", "C", "D"], "down");
    becomes(SOON, "ABCD".to_owned(), || answered(&realservers, dns).0);
    becomes(SOON, true, || site.tell("status").contains("FROZEN"));
    becomes(SOON, Some(1.0), || server.metric("fingerpost_health_frozen"));
    assert_eq!(server.metric("fingerpost_realservers_held"), Some(4.0));
    assert_eq!(server.realserver("web", "A")["held"], true);
    let explained = site.tell("explain www.example.org");
    assert!(explained.contains("down, but held"), "{explained}");

    assert_eq!(site.tell("thaw").trim(), "thawed: 4 addresses count as down now");
    becomes(SOON, String::new(), || answered(&realservers, dns).0);
    assert!(!site.tell("status").contains("FROZEN"));
}

#[test]
fn freeze_ends_by_itself_when_they_are_back() {
    let mut realservers = ["A", "B", "C", "D"].map(Realserver::start);
    let site = Site::with(&config(&realservers, ""));
    let server = site.start();
    server.wait_for_health("web", &["A", "B", "C", "D"], "up");
    realservers.iter_mut().for_each(Realserver::kill);
    becomes(SOON, true, || site.json("status")["frozen_since"].is_string());
    realservers.iter_mut().for_each(Realserver::revive);
    becomes(SOON, true, || site.json("status")["frozen_since"].is_null());
    assert_eq!(answered(&realservers, server.address("dns")).0, "ABCD");
    assert!(site.read("log").contains("the freeze is over"));
}

#[test]
fn max_leave_lets_one_after_another_go() {
    let mut realservers = Realserver::three();
    let site =
        Site::with(&config(&realservers, "max_leave = \"10%\"\n").replace("interval = \"1s\"", "interval = \"3s\""));
    let server = site.start();
    let dns = server.address("dns");
    server.wait_for_health("web", &["A", "B", "C"], "up");
    realservers[0].kill();
    realservers[1].kill();
    server.wait_for_health("web", &["A", "B"], "down");
    becomes(SOON, 2, || answered(&realservers, dns).0.len());
    assert_eq!(server.metric("fingerpost_realservers_held"), Some(1.0));
    becomes(SOON, "C".to_owned(), || answered(&realservers, dns).0);
    assert!(site.read("log").contains("max_leave") && site.read("log").contains("leaves its pool now"));
}

#[test]
fn ttl_follows_the_probes_that_are_left() {
    let realserver = Realserver::start("A");
    let dead = format!("{{ name = \"b\", address = \"{}\", port = 9 }}", own_ip());
    let config = format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"5s\"\ntimeout = \"200ms\"\nrise = 4\nfall = 2\n[checks.slow]\ntype = \"tcp\"\n\
         interval = \"1h\"\n[pools.web]\ncheck = \"web\"\nmin_ttl = \"7s\"\nrealservers = [{}]\n\
         [pools.other]\ncheck = \"slow\"\nrealservers = [{dead}]\n",
        realserver.entry(1)
    );
    let site = Site::with(&config);
    let server = site.start();
    server.wait_for_health("web", &["A"], "up");
    let realservers = [realserver];
    becomes(SOON, ("A".to_owned(), Some(10)), || answered(&realservers, server.address("dns")));
    let mut realservers = realservers;
    realservers[0].kill();
    becomes(SOON, Some(7), || answered(&realservers, server.address("dns")).1);
}
