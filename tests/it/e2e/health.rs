//! Realservers that die and come back, and what probes may and may not hold up.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use super::{
    realserver::{Realserver, entries, names_at},
    server::{HEAD, Site},
    tools::{SOON, becomes, dig, own_ip},
};

const INTERVAL: Duration = Duration::from_millis(300);
const RISE_AND_FALL: u32 = 2;

/// A pool with everybody in one answer.
fn config(realservers: &[Realserver]) -> String {
    format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\nrise = 2\nfall = 2\n\
         [pools.web]\ncheck = \"web\"\nanswers = \"all\"\nrealservers = [{}]\n",
        entries(realservers)
    )
}

/// Who is in an answer, sorted.
fn answered(realservers: &[Realserver], dns: std::net::SocketAddr) -> String {
    let mut names: Vec<char> = names_at(realservers, &dig(dns, "www.example.org A +short")).chars().collect();
    names.sort_unstable();
    names.into_iter().collect()
}

#[test]
fn killed_realserver_leaves_the_answers_within_fall_intervals_and_is_back_after_rise() {
    let mut realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let server = site.start();
    let dns = server.address("dns");
    server.wait_for_health("web", &["A", "B", "C"], "up");
    assert_eq!(answered(&realservers, dns), "ABC");

    let deadline = INTERVAL * RISE_AND_FALL + Duration::from_secs(1);
    realservers[1].kill();
    becomes(deadline, "AC".to_owned(), || answered(&realservers, dns));
    let status = server.realserver("web", "B");
    assert_eq!((&status["health"], &status["eligible"]), (&"down".into(), &false.into()), "{status}");
    assert!(status["addresses"][0]["last_error"].as_str().is_some_and(|error| error.contains("refused")), "{status}");
    assert_eq!(server.metric("fingerpost_realserver_up{pool=\"web\",realserver=\"B\"}"), Some(0.0));

    realservers[1].revive();
    becomes(deadline, "ABC".to_owned(), || answered(&realservers, dns));
    assert_eq!(server.metric("fingerpost_realserver_up{pool=\"web\",realserver=\"B\"}"), Some(1.0));
}

#[test]
fn when_all_are_down_the_answer_is_everybody_and_says_that_it_is_degraded() {
    let realservers = ["A", "B"].map(Realserver::dead);
    let site = Site::with(&config(&realservers));
    let server = site.start();
    server.wait_for_health("web", &["A", "B"], "down");
    assert_eq!(answered(&realservers, server.address("dns")), "AB");
    assert_eq!(site.json("explain www.example.org")["degraded"], true);
    becomes(SOON, Some(1.0), || server.metric("fingerpost_dns_degraded_total{transport=\"udp\"}"));
}

#[test]
fn start_never_waits_for_probes() {
    let silent = TcpListener::bind((own_ip(), 0)).expect("listener that never answers");
    let silent = silent.local_addr().expect("address");
    let dead = Realserver::dead("A");
    let config = format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"60s\"\ntimeout = \"50s\"\n[pools.web]\ncheck = \"web\"\nanswers = \"all\"\n\
         realservers = [{}, {{ name = \"silent\", address = \"{}\", port = {} }}]\n",
        dead.entry(1),
        silent.ip(),
        silent.port()
    );
    let site = Site::with(&config);
    let before = Instant::now();
    let server = site.start();
    let took = before.elapsed();
    assert!(took < Duration::from_secs(1), "ready after {took:?}");
    assert!(server.dig("www.example.org A +short").contains(&silent.ip().to_string()));
    assert_eq!(server.realserver("web", "silent")["health"], "unknown");
    server.wait_for_health("web", &["A"], "down");
}

#[test]
fn realserver_known_to_be_down_before_a_restart_is_absent_from_the_first_answer() {
    let realservers = [Realserver::dead("A"), Realserver::start("B")];
    let site = Site::with(&config(&realservers));
    let server = site.start();
    server.wait_for_health("web", &["A"], "down");
    server.wait_for_health("web", &["B"], "up");
    server.stop();

    // From now on a probe of A takes longer than this test: what is answered is what was saved.
    let _silent = TcpListener::bind(realservers[0].address).expect("listener that never answers");
    site.edit("fingerpost.toml", "interval = \"300ms\"\ntimeout = \"200ms\"", "interval = \"60s\"\ntimeout = \"50s\"");
    let server = site.start();
    assert_eq!(answered(&realservers, server.address("dns")), "B");
    assert_eq!(server.realserver("web", "A")["addresses"][0]["restored"], true);
}

#[test]
fn realserver_in_maint_is_not_probed_and_one_that_drains_is() {
    let realservers = Realserver::three();
    let site = Site::new(&format!("{HEAD}{}", config(&realservers)), super::server::ZONE);
    let server = site.start();
    server.wait_for_health("web", &["A", "B", "C"], "up");
    site.tell("maint web/A");
    site.tell("drain web/B");
    let more_probes = |realserver: &Realserver, more: usize| {
        let wanted = realserver.n_accepted() + more;
        becomes(SOON, true, || realserver.n_accepted() >= wanted);
    };
    // A probe that was under way may still arrive; C's next one comes later than that.
    more_probes(&realservers[2], 1);
    let before = realservers[0].n_accepted();
    more_probes(&realservers[1], 3);
    more_probes(&realservers[2], 3);
    assert_eq!(realservers[0].n_accepted(), before);
    site.tell("ready web/A");
    more_probes(&realservers[0], 1);
    assert_eq!(server.realserver("web", "A")["admin"], "ready");
}
