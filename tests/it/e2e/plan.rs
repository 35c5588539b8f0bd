//! `fingerpost plan` on files, and the example that rehearses a failover.

use std::path::Path;

use serde_json::Value;

use super::{
    realserver::{Realserver, entries},
    server::{HEAD, PROGRAM, Site},
    tools::{run, stderr, stdout},
};

const TWO_SITES: &str = "[pools.web]\nmembers = [\"eu\", \"us\"]\n\
    [pools.eu]\nrealservers = [{ name = \"a\", address = \"192.0.2.1\", capacity = 100 }]\n\
    [pools.us]\nrealservers = [{ name = \"x\", address = \"192.0.2.2\", capacity = 50 }]\n";

/// A site and, beside its configuration, another one of this name.
fn site(new: &str) -> Site {
    let site = Site::with(TWO_SITES);
    site.write("new.toml", &format!("{HEAD}{new}"));
    site
}

/// Exit status and text of `plan` with the other configuration.
fn plan(site: &Site, arguments: &str) -> (Option<i32>, String) {
    let new = site.path("new.toml").display().to_string();
    let output = site.command(&format!("plan {new} {arguments}"));
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn plan_that_moves_nobody_exits_with_0() {
    let site = site(TWO_SITES);
    let (status, text) = plan(&site, "");
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("nothing moves: 6 names compared"), "{text}");
    let found: Value = serde_json::from_str(&plan(&site, "--json").1).expect("JSON");
    assert_eq!((&found["zones"], &found["moves"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn plan_that_moves_somebody_exits_with_3_and_says_whom() {
    let site = site(&TWO_SITES.replace("\"eu\", \"us\"", "\"us\", \"eu\""));
    for arguments in ["", "--sample 500"] {
        let (status, text) = plan(&site, arguments);
        assert_eq!(status, Some(3), "{text}");
        assert!(text.contains("100.0 % of the IPv4 addresses move") && text.contains("eu to us"), "{text}");
    }
    let found: Value = serde_json::from_str(&plan(&site, "--json").1).expect("JSON");
    assert_eq!(found["moves"][0]["flows"][0]["to"], "us", "{found}");
    assert_eq!(found["pools_changed"], serde_json::json!(["web"]));
}

#[test]
fn plan_with_mistakes_exits_with_1_and_one_that_cannot_be_read_with_2() {
    let site = site(&TWO_SITES.replace("\"us\"]", "\"uk\"]"));
    let (status, text) = plan(&site, "");
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("unknown pool `uk`"), "{text}");
    let output = site.command("plan nowhere.toml");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn plan_over_a_query_log_counts_queries_and_says_which_lines_are_none() {
    let nets = "[pools.web]\n[pools.web.geo]\ndefault = [\"eu\"]\n[pools.web.nets]\n\"198.51.100.0/24\" = [\"us\"]\n";
    let site = site(&TWO_SITES.replace("[pools.web]\nmembers = [\"eu\", \"us\"]\n", nets));
    let query =
        |ecs: &str| format!("{{ \"name\": \"www.example.org\", \"client\": \"192.0.2.9\", \"ecs\": \"{ecs}\" }}\n");
    let log = [query("198.51.100.0/25"), query("203.0.113.0/24"), query("203.0.113.0/24"), "no query\n".to_owned()];
    site.write("log", &(log.concat() + &query("203.0.113.0/24")));
    let path = site.path("log").display().to_string();
    let (status, text) = plan(&site, &format!("--queries {path}"));
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("25.0 % of the queries move") && text.contains("and 4 queries compared"), "{text}");
    assert!(text.contains("warning: 1 of 5 lines") && text.contains("number 4: "), "{text}");
    site.write("log", "no query\n");
    let (status, text) = plan(&site, &format!("--queries {path}"));
    assert_eq!(status, Some(1), "{text}");
}

#[test]
fn plan_says_who_would_carry_too_much() {
    let site = site(TWO_SITES);
    let (_, text) = plan(&site, "--load 70");
    assert!(
        text.contains("pool web with a load of 70:") && text.contains("TOO MUCH  if eu fails, us carries 140 %"),
        "{text}"
    );
    let (_, text) = plan(&site, "--load 40");
    assert!(text.contains("          if eu fails, us carries 80 %"), "{text}");
}

#[test]
fn plan_takes_health_and_overrides_from_the_running_server() {
    let realservers = Realserver::three();
    let pools = format!(
        "[pools.web]\nmembers = [\"eu\", \"us\"]\n[pools.eu]\nrealservers = [{}]\n[pools.us]\nrealservers = [{}]\n",
        entries(&realservers[..1]),
        entries(&realservers[1..])
    );
    let site = Site::with(&pools);
    site.write("new.toml", &format!("{HEAD}{}", pools.replace("\"eu\", \"us\"", "\"us\", \"eu\"")));
    let _server = site.start();
    assert_eq!(plan(&site, "--live").0, Some(3));
    site.tell("drain eu/*");
    let (status, text) = plan(&site, "--live");
    assert_eq!(status, Some(0), "everybody is in us already: {text}");
    assert_eq!(plan(&site, "").0, Some(3), "and with everybody up they would move");
}

/// A command of the program on the example with three regions.
fn rehearse(arguments: &str) -> (Option<i32>, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/three-regions");
    let path = |name: &str| folder.join(name).display().to_string();
    let arguments = arguments.replace("PLANNED", &path("planned.toml"));
    let config = path("fingerpost.toml");
    let output = run(PROGRAM, arguments.split_whitespace().chain(["--config", &config]));
    (output.status.code(), stdout(&output) + &stderr(&output))
}

#[test]
fn example_with_three_regions_rehearses_its_failover() {
    let (status, text) = rehearse("check");
    assert_eq!((status, text.starts_with("ok: 1 zone")), (Some(0), true), "{text}");

    let (status, text) = rehearse("explain www.example.org --ecs 133.11.0.0/24 --offline");
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("asia") && text.contains("pool `web-ap` answers"), "{text}");
    let (_, text) = rehearse("explain www.example.org --ecs 133.11.0.0/24 --offline --down web-ap");
    assert!(
        text.contains("pool `web-ap` is failed and passed over\n") && text.contains("pool `web-us` answers"),
        "{text}"
    );
    let (_, text) = rehearse("explain www.example.org --ecs 133.11.0.0/24 --offline --down */sin-a --down web-us/*");
    assert!(text.contains("pool `web-eu` answers"), "with sin-a less than half of the weight is gone too: {text}");

    let (status, text) = rehearse("plan PLANNED --load 9000");
    assert_eq!(status, Some(3), "{text}");
    assert!(text.contains("web-ap to web-eu") && text.contains("if web-us fails"), "{text}");
    assert!(!text.contains("TOO MUCH  if web-"), "the plan holds: {text}");
}
