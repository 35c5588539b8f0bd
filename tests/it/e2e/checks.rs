//! Checks of every kind against real realservers, as operators and clients see them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};

use super::{
    realserver::Realserver,
    server::{Server, Site, end},
    tools::{SOON, becomes, curl, own_ip, stderr, stdout, within},
};

/// Quick numbers for a check.
const QUICK: &str = "interval = \"300ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 1\n";

/// Checks, and the pool `web` that uses `c`.
fn config(checks: &str, realservers: &str) -> String {
    format!("{checks}\n[pools.web]\ncheck = \"c\"\nanswers = \"all\"\nrealservers = [{realservers}]\n")
}

/// The last error of a realserver's first address.
fn error(server: &Server<'_>, name: &str) -> String {
    server.realserver("web", name)["addresses"][0]["last_error"].as_str().unwrap_or("").to_owned()
}

#[test]
fn body_and_words_must_be_as_expected() {
    let realservers = ["A", "B"].map(Realserver::start);
    for check in [
        "type = \"http\"\npath = \"/x\"\nexpect_body = \"/^A GET .x$/\"\n",
        "type = \"tcp\"\nsend = 'GET /x HTTP/1.1\\r\\n\\r\\n'\nexpect = 'A GET /x'\n",
    ] {
        // The body ends with a line break, which `$` does not pass over.
        let check = check.replace("x$/", "x\\\\s*$/");
        let entries = realservers.each_ref().map(|one| one.entry(1)).join(", ");
        let slow = "interval = \"900ms\"\ntimeout = \"800ms\"\nrise = 1\nfall = 1\n";
        let site = Site::with(&config(&format!("[checks.c]\n{check}{slow}"), &entries));
        let server = site.start();
        server.wait_for_health("web", &["A"], "up");
        server.wait_for_health("web", &["B"], "down");
        assert_eq!(server.dig("www.example.org A +short").trim(), realservers[0].address.ip().to_string());
    }
}

#[test]
fn dns_check_asks_a_nameserver() {
    let asked = Site::with("[pools.web]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n");
    let asked = asked.start();
    let nameserver = asked.address("dns");
    for (keys, health, expected) in [
        ("query = \"static.example.org A\"\nexpect_address = [\"192.0.2.7\"]\n", "up", ""),
        (
            "query = \"static.example.org A\"\nexpect_address = [\"192.0.2.8\"]\n",
            "down",
            "192.0.2.7, expected 192.0.2.8",
        ),
        ("query = \"nothing.example.org\"\nexpect_rcode = \"NXDOMAIN\"\n", "up", ""),
        ("query = \"nothing.example.com\"\n", "down", "REFUSED, expected NOERROR"),
    ] {
        let check = format!("[checks.c]\ntype = \"dns\"\nport = {}\n{keys}{QUICK}", nameserver.port());
        let site = Site::with(&config(&check, &format!("{{ name = \"ns\", address = \"{}\" }}", nameserver.ip())));
        let server = site.start();
        server.wait_for_health("web", &["ns"], health);
        assert_eq!(error(&server, "ns"), expected, "{keys}");
    }
}

#[test]
fn icmp_check_sends_echoes_or_the_start_says_what_it_lacks() {
    let realservers = "{ name = \"four\", address = \"127.0.0.1\" }, { name = \"six\", address = \"::1\" }";
    let site = Site::with(&config(&format!("[checks.c]\ntype = \"icmp\"\n{QUICK}"), realservers));
    let checked = site.command("check");
    assert!(checked.status.success());
    if stderr(&checked).contains("no ICMP socket can be opened") {
        let failed = site.command("serve");
        assert!(!failed.status.success());
        for said in ["check `c`", "net.ipv4.ping_group_range", "CAP_NET_RAW"] {
            assert!(stderr(&failed).contains(said) && stderr(&checked).contains(said), "{}", stderr(&failed));
        }
        return;
    }
    let server = site.start();
    server.wait_for_health("web", &["four", "six"], "up");
}

#[test]
fn exec_check_runs_a_command_for_each_realserver() {
    let realservers =
        "{ name = \"A\", address = \"192.0.2.1\", port = 8080 }, { name = \"B\", address = \"192.0.2.2\" }";
    let check = "[checks.c]\ntype = \"exec\"\ncommand = [\"./probe\", \"two words\"]\ninterval = \"300ms\"\ntimeout = \"200ms\"\nrise = 1\nfall = 1\n";
    let site = Site::with(&config(check, realservers));
    let script = "#!/bin/sh\ncd \"${0%/*}\"\necho \"$1|$FINGERPOST_REALSERVER|$FINGERPOST_ADDRESS|$FINGERPOST_PORT\" >\"seen${FINGERPOST_ADDRESS##*.}\"\n\
        [ -e \"up${FINGERPOST_ADDRESS##*.}\" ] || { echo \"no disk\" >&2; exit 2; }\n";
    site.write("probe", script);
    fs::set_permissions(site.path("probe"), fs::Permissions::from_mode(0o755)).expect("permissions");
    site.write("up1", "");
    let server = site.start();
    server.wait_for_health("web", &["A"], "up");
    server.wait_for_health("web", &["B"], "down");
    assert_eq!(error(&server, "B"), "exit status 2: no disk");
    assert_eq!(site.read("seen1"), "two words|web/A|192.0.2.1|8080\n");
    assert_eq!(site.read("seen2"), "two words|web/B|192.0.2.2|\n");
    // A program that is gone is nobody's failure.
    fs::remove_file(site.path("probe")).expect("removed");
    becomes(SOON, true, || error(&server, "A").contains("could not be started"));
    assert_eq!(server.realserver("web", "A")["health"], "up");
    becomes(SOON, true, || server.metric("fingerpost_probes_total{outcome=\"unclear\"}") > Some(0.0));
}

#[test]
fn state_file_is_followed_and_a_broken_one_changes_nothing() {
    let realservers = "{ name = \"A\", address = \"192.0.2.1\" }, { name = \"B\", address = \"192.0.2.2\" }";
    let site =
        Site::with(&config("[checks.c]\ntype = \"file\"\npath = \"health\"\ninterval = \"300ms\"\n", realservers));
    site.write("health", "web/A up\nweb/B down raid\n");
    let server = site.start();
    server.wait_for_health("web", &["A"], "up");
    server.wait_for_health("web", &["B"], "down");
    assert_eq!(error(&server, "B"), "raid");
    site.write("health", "web/A down\nweb/B dow");
    becomes(SOON, true, || error(&server, "A").contains("line 2 is not"));
    assert_eq!(server.realserver("web", "A")["health"], "up");
    assert_eq!(server.realserver("web", "B")["health"], "down");
    assert_eq!(site.read("log").matches("health from this file stays as it is").count(), 1);
    // Nobody confirms it, and after three intervals that is said as well.
    becomes(SOON, true, || server.realserver("web", "A")["addresses"][0]["stale"] == true);
    becomes(SOON, Some(2.0), || server.metric("fingerpost_health_stale"));
    site.write("health", "web/A down\nweb/B up\n");
    server.wait_for_health("web", &["A"], "down");
    server.wait_for_health("web", &["B"], "up");
    becomes(SOON, Some(0.0), || server.metric("fingerpost_health_stale"));
}

#[test]
fn calculated_check_is_arithmetic_over_the_others() {
    let realserver = Realserver::start("A");
    let checks = format!(
        "[checks.web]\ntype = \"http\"\n{QUICK}[checks.switch]\ntype = \"file\"\npath = \"health\"\ninterval = \"300ms\"\n\
         [checks.c]\ntype = \"all\"\nchecks = [\"web\", \"switch\"]\n"
    );
    let site = Site::with(&config(&checks, &realserver.entry(1)));
    site.write("health", "web/A up\n");
    let server = site.start();
    server.wait_for_health("web", &["A"], "up");
    site.write("health", "web/A down by hand\n");
    server.wait_for_health("web", &["A"], "down");
    assert_eq!(error(&server, "A"), "switch: by hand");
    site.edit("fingerpost.toml", "type = \"all\"", "type = \"any\"");
    site.tell("reload");
    server.wait_for_health("web", &["A"], "up");
}

#[test]
fn weight_grows_after_a_recovery() {
    let realservers =
        "{ name = \"A\", address = \"192.0.2.1\", weight = 4 }, { name = \"B\", address = \"192.0.2.2\" }";
    let check = "[checks.c]\ntype = \"file\"\npath = \"health\"\ninterval = \"300ms\"\n";
    let site = Site::with(&config(check, realservers).replace("answers", "ramp = \"1h\"\nanswers"));
    site.write("health", "web/A down\nweb/B up\n");
    let server = site.start();
    server.wait_for_health("web", &["A"], "down");
    site.write("health", "web/A up\nweb/B up\n");
    server.wait_for_health("web", &["A"], "up");
    assert_eq!(server.realserver("web", "A")["ramp_percent"], 10);
    assert!(site.tell("status").contains("4 (10%)"));
    assert!(server.realserver("web", "B")["ramp_percent"].is_null());
    // 4 tenths to 10 tenths: two of seven.
    site.edit("fingerpost.toml", "answers = \"all\"", "answers = 1");
    site.tell("reload");
    let answers: Vec<String> = (0..14).map(|_| server.dig("www.example.org A +short").trim().to_owned()).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "192.0.2.1").count(), 4, "{answers:?}");
    site.edit("fingerpost.toml", "ramp = \"1h\"", "ramp = \"1s\"");
    site.tell("reload");
    becomes(SOON, true, || server.realserver("web", "A")["ramp_percent"].is_null());
}

#[test]
fn connection_that_a_listener_cannot_make_counts_against_the_realserver() {
    let checked = Realserver::start("checked");
    let dead = Realserver::dead("dead");
    let alive = Realserver::start("alive");
    // The probe goes elsewhere and finds nothing wrong; only the listener knows better.
    let check = format!(
        "[checks.c]\ntype = \"tcp\"\nrise = 1000\nfall = 1\naddress = \"{}\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\n",
        checked.address.ip()
    );
    let entry = |one: &Realserver| one.entry(1).replace(" }", &format!(", check_port = {} }}", checked.address.port()));
    // One that shares the probe would share the failure.
    let elsewhere =
        entry(&alive).replace("check_port", &format!("check_address = \"{}\", check_port", alive.address.ip()));
    let elsewhere = elsewhere.replace(
        &format!("check_port = {}", checked.address.port()),
        &format!("check_port = {}", alive.address.port()),
    );
    let listener = "[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n";
    let site = Site::with(&(config(&check, &format!("{}, {elsewhere}", entry(&dead))) + listener));
    let server = site.start();
    server.wait_for_health("web", &["dead", "alive"], "up");
    let url = format!("http://{}/", server.address("l4/web"));
    within(SOON, || {
        assert_eq!(stdout(&curl([&url])), "alive GET /\n");
        let health = server.realserver("web", "dead")["health"].clone();
        if health == "down" { Ok(()) } else { Err(health.to_string()) }
    });
    let status = server.realserver("web", "dead")["addresses"][0]["last_error"].clone();
    assert!(site.read("log").contains("a listener's connection: connection refused"), "{status}");
    assert_eq!(server.realserver("web", "alive")["health"], "up");
}

#[test]
fn refused_connection_brings_down_at_once_if_the_check_says_so() {
    let mut realserver = Realserver::start("A");
    let check =
        "[checks.c]\ntype = \"http\"\ninterval = \"300ms\"\ntimeout = \"200ms\"\nfall = 1000\nrefused_is_down = true\n";
    let site = Site::with(&config(check, &realserver.entry(1)));
    let server = site.start();
    server.wait_for_health("web", &["A"], "up");
    realserver.kill();
    server.wait_for_health("web", &["A"], "down");
}

#[test]
fn probes_of_a_realserver_that_was_removed_stop() {
    let realservers = ["A", "B"].map(Realserver::start);
    let site = Site::with(&config(
        &format!("[checks.c]\ntype = \"tcp\"\n{QUICK}"),
        &realservers.each_ref().map(|one| one.entry(1)).join(", "),
    ));
    let server = site.start();
    server.wait_for_health("web", &["A", "B"], "up");
    site.edit("fingerpost.toml", &format!("{}, ", realservers[0].entry(1)), "");
    site.tell("reload");
    let more = |n: usize| {
        let wanted = realservers[1].n_accepted() + n;
        becomes(SOON, true, || realservers[1].n_accepted() >= wanted);
    };
    // What was under way may still arrive.
    more(1);
    let before = realservers[0].n_accepted();
    more(4);
    assert_eq!(realservers[0].n_accepted(), before);
}

/// `openssl s_server` with the certificate in a folder; ended when dropped.
struct TlsServer(Child);

impl TlsServer {
    fn start(site: &Site, address: &str) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-cert", "cert.pem", "-key", "key.pem", "-accept", address]);
        let child = command.current_dir(site.folder()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(child.spawn().expect("openssl; tests/run installs it"))
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

#[test]
fn certificate_that_ends_soon_is_told_and_is_no_failure() {
    let ip = own_ip();
    let address = format!("{ip}:8443");
    let check = "[checks.c]\ntype = \"https\"\nhost = \"www.example.org\"\nca = \"cert.pem\"\ninterval = \"900ms\"\ntimeout = \"800ms\"\n\
        rise = 1\nfall = 1\nexpiry_warning = \"10d\"\n";
    let site = Site::with(&config(check, &format!("{{ name = \"A\", address = \"{ip}\", port = 8443 }}")));
    let mut parameters = CertificateParams::new(vec!["www.example.org".to_owned()]).expect("parameters");
    let ends = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(72)).expect("in range");
    let ends_text = ends.strftime("%Y-%m-%d").to_string();
    let parts: Vec<i32> = ends_text.split('-').map(|part| part.parse().expect("number")).collect();
    let small = |n: i32| u8::try_from(n).expect("small");
    parameters.not_after = rcgen::date_time_ymd(parts[0], small(parts[1]), small(parts[2]));
    let key = KeyPair::generate().expect("key");
    site.write("cert.pem", &parameters.self_signed(&key).expect("signed").pem());
    site.write("key.pem", &key.serialize_pem());
    let _tls = TlsServer::start(&site, &address);
    let server = site.start();
    server.wait_for_health("web", &["A"], "up");
    let status = server.realserver("web", "A");
    let address_status = &status["addresses"][0];
    assert_eq!(
        (&address_status["certificate_ending"], &address_status["health"]),
        (&true.into(), &"up".into()),
        "{status}"
    );
    assert!(address_status["certificate_ends"].as_str().is_some_and(|ends| ends.starts_with(&ends_text)), "{status}");
    assert!(site.tell("status").contains("certificate ends in"));
    assert!(site.read("log").contains("the certificate ends soon or has ended"));
    becomes(SOON, Some(1.0), || server.metric("fingerpost_probe_certificates_ending"));
    let metric = format!("fingerpost_probe_certificate_not_after_seconds{{address=\"{address}\",check=\"c\"}}");
    assert!(server.metric(&metric).is_some_and(|seconds| seconds > 1e9), "{metric}");
    assert!(Duration::from_secs(1) < SOON);
}
