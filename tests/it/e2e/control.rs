//! Metrics, health and the API over HTTP as `curl` sees them.

use serde_json::Value;

use super::{
    server::Site,
    tools::{SOON, becomes, curl, get, stdout},
};

const WEB: &str = "[pools.web]\nrealservers = [{ name = \"A\", address = \"192.0.2.1\" }]\n";

#[test]
fn metrics_are_what_prometheus_reads() {
    let site = Site::with(WEB);
    let server = site.start();
    server.dig("www.example.org A");
    server.redirect("www.example.org");
    let queries = "fingerpost_dns_queries_total{transport=\"udp\"}";
    becomes(SOON, Some(1.0), || server.metric(queries));
    assert_eq!(server.metric("fingerpost_redirect_requests_total{status=\"302\"}"), Some(1.0));
    assert_eq!(server.metric("fingerpost_zones"), Some(1.0));
    let url = format!("http://{}/metrics", server.address("control"));
    let head = stdout(&curl(["--head", &url]));
    assert!(head.contains("text/plain"), "{head}");
    let text = get(&url);
    let mut named = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            named = name;
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("value");
            assert!(series.starts_with(named) && value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.contains("fingerpost_build_info{version="), "{text}");
}

#[test]
fn health_is_ok_while_a_zone_is_served() {
    let site = Site::with(WEB);
    let server = site.start();
    let health = |address| stdout(&curl(["--write-out", "%{http_code}", &format!("http://{address}/health")]));
    assert_eq!(health(server.address("control")), "ok\n200");
    server.stop();

    site.write("zones/example.org.zone", "$ORIGIN example.org.\nbroken\n");
    let server = site.start();
    let unhealthy = health(server.address("control"));
    assert!(unhealthy.contains("no zone is loaded") && unhealthy.ends_with("503"), "{unhealthy}");
}

#[test]
fn api_says_what_the_command_line_says_and_changes_nothing() {
    let site = Site::with(WEB);
    let server = site.start();
    let control = server.address("control");
    let api: Value = serde_json::from_str(&get(&format!("http://{control}/api/v1/status"))).expect("JSON");
    let told = site.json("status");
    for part in ["version", "generation", "started", "zones", "pools", "sockets"] {
        assert_eq!(api[part], told[part], "{part}");
    }
    let explained = get(&format!("http://{control}/api/v1/explain?name=www.example.org&type=A&ecs=198.51.100.0/24"));
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!(explained, site.json("explain www.example.org A --ecs 198.51.100.0/24"));
    let url = format!("http://{control}/api/v1/status");
    assert_eq!(stdout(&curl(["-X", "POST", "--output", "/dev/null", "--write-out", "%{http_code}", &url])), "405");
    assert!(get(&format!("http://{control}/")).contains("<html"));
}
