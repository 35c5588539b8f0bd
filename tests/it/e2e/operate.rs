//! What operators do to a running server, and what they are told.

use std::{fs, time::Duration};

use serde_json::Value;

use super::{
    realserver::{Realserver, entries, is_round, names_at},
    server::{HEAD, Server, Site, ZONE},
    tools::{becomes, dig, get, stderr, stdout},
};

fn config(realservers: &[Realserver]) -> String {
    format!(
        "[pools.web]\nrealservers = [{}]\n[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n",
        entries(realservers)
    )
}

/// Who a client is sent to, one letter a try, by all three ways.
fn seen(server: &Server<'_>, realservers: &[Realserver], tries: usize) -> [String; 3] {
    let (dns, l4) = (server.address("dns"), format!("http://{}/", server.address("l4/web")));
    let by_dns = || names_at(realservers, &dig(dns, "www.example.org A +short"));
    let by_redirect = || {
        let seen = server.redirect("www.example.org");
        let to = |realserver: &&Realserver| seen == format!("302 http://{}/", realserver.address);
        realservers.iter().find(to).map_or("?".to_owned(), |realserver| realserver.name.to_owned())
    };
    let by_l4 = || get(&l4)[..1].to_owned();
    let repeat = |one: &dyn Fn() -> String| (0..tries).map(|_| one()).collect();
    [repeat(&by_dns), repeat(&by_redirect), repeat(&by_l4)]
}

#[track_caller]
fn check_rounds(seen: &[String; 3], round: &str) {
    assert!(seen.iter().all(|seen| is_round(seen, round)), "{seen:?} are not rounds of {round}");
}

#[test]
fn drain_is_seen_by_dns_redirect_and_l4_and_ready_takes_it_back() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let server = site.start();
    assert_eq!(seen(&server, &realservers, 9), ["AABABCABC"; 3]);
    let told = site.tell("drain web/A --reason disk");
    assert!(told.contains("web/A is set to drain"), "{told}");
    check_rounds(&seen(&server, &realservers, 5), "BBCBC");
    let status = server.realserver("web", "A");
    assert_eq!((&status["admin"], &status["reason"]), (&"drain".into(), &"disk".into()), "{status}");
    let shown = site.tell("status");
    assert!(shown.contains("drain") && shown.contains("disk"), "{shown}");
    site.tell("maint web/B");
    assert_eq!(seen(&server, &realservers, 2), ["CC"; 3]);
    site.tell("ready web/A");
    site.tell("ready web/B");
    check_rounds(&seen(&server, &realservers, 9), "AABABCABC");
}

#[test]
fn override_ends_by_itself() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let server = site.start();
    site.tell("drain web/A --until 2s");
    assert_eq!(seen(&server, &realservers, 1), ["B"; 3]);
    assert!(server.realserver("web", "A")["until"].is_string());
    becomes(Duration::from_secs(4), Value::from("ready"), || server.realserver("web", "A")["admin"].clone());
    check_rounds(&seen(&server, &realservers, 9), "AABABCABC");
}

#[test]
fn override_outlives_a_crash() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let mut server = site.start();
    site.tell("drain web/A --reason disk --until 1h");
    server.signal("KILL");
    server.wait(Duration::from_secs(5));
    drop(server);
    let server = site.start();
    let status = server.realserver("web", "A");
    assert_eq!((&status["admin"], &status["reason"]), (&"drain".into(), &"disk".into()), "{status}");
    assert!(status["until"].is_string(), "{status}");
    assert_eq!(seen(&server, &realservers, 1), ["B"; 3]);
}

#[test]
fn state_file_that_is_no_state_is_set_aside() {
    let site = Site::with(&config(&[]).replace("[]", "[{ name = \"A\", address = \"192.0.2.1\", port = 80 }]"));
    fs::create_dir(site.path("state")).expect("folder");
    site.write("state/state.json", "{ \"half\":");
    let server = site.start();
    assert_eq!(server.realserver("web", "A")["admin"], "ready");
    assert_eq!(site.read("state/state.json.broken"), "{ \"half\":");
}

#[test]
fn glob_and_whole_pool_are_drained_over_a_reload_and_a_restart() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers[..2]));
    let mut server = site.start();
    let told = site.tell("drain web/? --reason move");
    assert!(told.contains("2 are set to drain: web/A, web/B"), "{told}");
    site.tell("ready */*");
    assert_eq!(seen(&server, &realservers, 1), ["A"; 3]);
    let told = site.tell("drain web");
    assert!(told.contains("web is set to drain"), "{told}");
    let told = site.tell("ready web/A");
    assert!(told.contains("nothing was set on web/A"), "{told}");
    site.write("fingerpost.toml", &format!("{HEAD}{}", config(&realservers)));
    site.tell("reload");
    assert_eq!(server.realserver("web", "C")["admin"], "drain", "added after its pool was drained");
    server.signal("KILL");
    server.wait(Duration::from_secs(5));
    drop(server);
    let server = site.start();
    assert_eq!(server.realserver("web", "C")["admin"], "drain");
    site.tell("drain web/A");
    let told = site.tell("ready web");
    assert!(told.contains("web is set to ready; still set: web/A (drain)"), "{told}");
    assert_eq!(seen(&server, &realservers, 1), ["B"; 3]);
}

#[test]
fn force_masks_what_probes_say_and_they_go_on() {
    let mut realservers = Realserver::three();
    realservers[2].kill();
    let checked = config(&realservers).replace("[pools.web]", "[checks.c]\ntype = \"tcp\"\n[pools.web]\ncheck = \"c\"");
    let site = Site::with(&checked);
    let server = site.start();
    server.wait_for_health("web", &["A", "B"], "up");
    server.wait_for_health("web", &["C"], "down");
    assert_eq!(server.metric("fingerpost_health_changes_total{to=\"down\"}"), Some(1.0));
    site.tell("force down web/A --reason test --until 1h");
    site.tell("force up web/C");
    let of = |name: &str| {
        let one = server.realserver("web", name);
        let address = &one["addresses"][0];
        [&address["health"], &address["probed"], &one["eligible"]].map(|value| value.to_string().replace('"', ""))
    };
    assert_eq!(of("A"), ["down", "up", "false"]);
    assert_eq!(of("C"), ["up", "down", "true"]);
    assert_eq!(server.metric("fingerpost_realservers_overridden"), Some(2.0));
    let explained = site.tell("explain www.example.org");
    assert!(explained.contains("forced down: test ("), "{explained}");
    let status = site.tell("status");
    assert!(status.contains("down (forced; probes say up)") && status.contains("OVERRIDE"), "{status}");
    site.tell("force auto web/*");
    assert_eq!(of("A"), ["up", "null", "true"]);
}

#[test]
fn status_shows_overrides_of_who_is_gone() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let _server = site.start();
    site.tell("drain web/C --reason disk");
    site.write("fingerpost.toml", &format!("{HEAD}{}", config(&realservers[..2])));
    site.tell("reload");
    let status = site.tell("status");
    assert!(status.contains("disk; nobody has this name"), "{status}");
    let overrides = &site.json("status")["overrides"];
    assert_eq!((&overrides[0]["target"], &overrides[0]["is_gone"]), (&"web/C".into(), &true.into()), "{overrides}");
    site.tell("ready web/C");
    assert_eq!(site.json("status")["overrides"], serde_json::json!([]));
}

#[test]
fn state_file_with_one_broken_entry_keeps_the_others_and_says_so() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let mut server = site.start();
    site.tell("drain web/A");
    site.tell("maint web/B");
    server.signal("KILL");
    server.wait(Duration::from_secs(5));
    drop(server);
    site.edit("state/state.json", "\"maint\"", "\"asleep\"");
    let broken = site.read("state/state.json");
    let server = site.start();
    assert_eq!(server.realserver("web", "A")["admin"], "drain");
    assert_eq!(server.realserver("web", "B")["admin"], "ready");
    assert_eq!(site.read("state/state.json.broken"), broken);
    let status = site.tell("status");
    assert!(status.contains("STATE the state file could not be understood") && status.contains("asleep"), "{status}");
}

#[test]
fn command_that_makes_no_sense_is_refused_with_a_reason() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let status = |arguments: &str| {
        let output = site.command(arguments);
        (output.status.code(), stderr(&output))
    };
    let (code, error) = status("status");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("no server answers"), "{error}");
    let _server = site.start();
    for (arguments, expected) in [
        ("drain web/", "POOL/REALSERVER"),
        ("drain wob", "wob"),
        ("drain web/X*", "X*"),
        ("force up web/X", "X"),
        ("drain web/X", "X"),
        ("drain wob/A", "wob"),
        ("drain web/A --until yesterday", "yesterday"),
        ("explain nothing.example.com --via l4", "nothing.example.com"),
        ("explain www.example.org NOTYPE", "NOTYPE"),
    ] {
        let (code, error) = status(arguments);
        assert_eq!(code, Some(1), "{arguments}: {error}");
        assert!(error.contains(expected), "{arguments}: {error}");
    }
}

#[test]
fn explain_agrees_with_what_clients_get_and_takes_no_turn() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let server = site.start();
    let mut order = [const { String::new() }; 3];
    for _ in 0..9 {
        let explained = ["dns", "redirect", "l4"].map(|via| {
            let explain = || site.json(&format!("explain www.example.org --via {via}"));
            let first = explain();
            assert_eq!(first["answer"], explain()["answer"], "via {via} a second time");
            names_at(&realservers, first["answer"][0].as_str().unwrap_or(""))
        });
        let got = seen(&server, &realservers, 1);
        assert_eq!(explained, got);
        order.iter_mut().zip(got).for_each(|(order, got)| *order += &got);
    }
    assert_eq!(order, ["AABABCABC"; 3]);
}

#[test]
fn ten_explanations_between_two_answers_leave_the_order_alone() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let server = site.start();
    let (dns, control) = (server.address("dns"), server.address("control"));
    let mut order = String::new();
    for _ in 0..9 {
        for _ in 0..10 {
            let explained = get(&format!("http://{control}/api/v1/explain?name=www.example.org"));
            assert!(explained.contains("\"answer\""), "{explained}");
        }
        order += &names_at(&realservers, &dig(dns, "www.example.org A +short"));
    }
    assert_eq!(order, "AABABCABC");
}

#[test]
fn explain_says_of_every_realserver_why_it_is_in_or_out() {
    let mut realservers = Realserver::three();
    realservers[2].kill();
    let checked = config(&realservers).replace("[pools.web]", "[checks.c]\ntype = \"tcp\"\n[pools.web]\ncheck = \"c\"");
    let site = Site::with(&checked);
    let server = site.start();
    server.wait_for_health("web", &["A", "B"], "up");
    server.wait_for_health("web", &["C"], "down");
    site.tell("drain web/B --reason disk");
    let explained = site.json("explain www.example.org A --ecs 192.0.2.0/24");
    assert_eq!(explained["answer"], serde_json::json!([realservers[0].address.ip()]));
    assert_eq!(
        (&explained["ttl"], &explained["scope"], &explained["degraded"]),
        (&30.into(), &0.into(), &false.into())
    );
    let of = |name: &str| {
        let all = explained["realservers"].as_array().expect("realservers");
        let one = all.iter().find(|realserver| realserver["name"] == name).expect(name);
        (one["eligible"] == true, one["reason"].as_str().unwrap_or("").to_owned())
    };
    assert!(of("A").0);
    let (eligible, reason) = of("B");
    assert!(!eligible && reason.contains("drain") && reason.contains("disk"), "{reason}");
    let (eligible, reason) = of("C");
    assert!(!eligible && reason.contains("down") && reason.contains("refused"), "{reason}");
}

#[test]
fn explanation_offline_needs_no_server_and_takes_whom_one_likes_for_down() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers));
    let answer = |arguments: &str| {
        let explained = site.json(&format!("explain www.example.org --offline {arguments}"));
        (names_at(&realservers, explained["answer"][0].as_str().unwrap_or("")), explained["degraded"] == true)
    };
    assert_eq!(answer(""), ("A".to_owned(), false));
    assert_eq!(answer("--down web/A"), ("B".to_owned(), false));
    assert_eq!(answer("--down web/A --down web/B"), ("C".to_owned(), false));
    assert_eq!(answer("--down web/?"), ("A".to_owned(), true));
    assert_eq!(answer("--down web"), ("A".to_owned(), true));
    let output = site.command("explain www.example.org --offline --down web/X");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("no realserver `X`"), "{}", stderr(&output));
    site.edit("fingerpost.toml", "[pools.web]", "[pools.wob]");
    let output = site.command("explain www.example.org --offline");
    assert_eq!((output.status.code(), stderr(&output).contains("unknown pool `web`")), (Some(1), true));
}

#[test]
fn explanation_tells_match_pools_key_ttl_and_scope_with_where_they_come_from() {
    let realservers = Realserver::three();
    let hashed = config(&realservers).replace("[pools.web]", "[pools.web]\npolicy = \"source-hash\"");
    let site = Site::with(&hashed);
    let explained = site.json("explain x.cdn.example.org --offline --ecs 192.0.2.128/25");
    assert_eq!(explained["match"], "wildcard *.cdn.example.org.");
    assert_eq!(explained["record"], "30 POOL web");
    assert_eq!(explained["pools"][0]["policy"], "source-hash");
    let key = serde_json::json!({ "address": "192.0.2.0", "prefix": 24, "pool": "web", "source": "ecs" });
    assert_eq!(explained["key"], key);
    assert_eq!(explained["ttl_from"], serde_json::json!(["30 s: the POOL record at x.cdn.example.org."]));
    assert_eq!(explained["scope_from"], serde_json::json!(["/24: the affinity key in pool `web`"]));
    let explained = site.json("explain www.example.org --offline --ecs 192.0.0.0/16");
    assert_eq!(explained["scope_from"][1], "/16: no more is known of the client");
    for (via, source) in [("dns", "resolver"), ("redirect", "socket"), ("l4", "socket")] {
        let explained = site.json(&format!("explain www.example.org --offline --via {via} --client 192.0.2.77"));
        assert_eq!((&explained["key"]["address"], &explained["key"]["source"]), (&"192.0.2.0".into(), &source.into()));
    }
}

#[test]
fn check_exits_with_0_1_or_2() {
    let site = Site::new(
        &format!("{HEAD}{}", config(&[]).replace("[]", "[{ name = \"A\", address = \"192.0.2.1\", port = 80 }]")),
        ZONE,
    );
    let output = site.command("check");
    assert_eq!((output.status.code(), &*stdout(&output)), (Some(0), "ok: 1 zone, 8 records, 1 pool, 1 realserver\n"));
    let output = site.command("check --print");
    assert!(output.status.success() && stdout(&output).contains("on_all_down = \"all\""), "{}", stdout(&output));

    site.edit("fingerpost.toml", "[pools.web]", "[pools.wob]");
    let output = site.command("check");
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("unknown pool `web`") && error.contains("^^^"), "{error}");
    let found: Value = serde_json::from_slice(&site.command("check --json").stdout).expect("JSON");
    assert_eq!((&found["ok"], found["errors"].as_u64() >= Some(1)), (&false.into(), true), "{found}");

    fs::remove_file(site.path("fingerpost.toml")).expect("configuration");
    let output = site.command("check");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}
