//! What operators set, on whom, and what of it outlives a restart.

use super::*;
use crate::types::Force;

#[test]
fn state_file_reads_as_written_and_what_is_cut_off_is_an_error() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 1);
    set(&mut state, "web/b", Admin::Drain).expect("applies");
    wish(&mut state, "api", Wish::Force(Force::Up)).expect("applies");
    let text = state.to_saved(at(20)).to_text();
    let (saved, problem) = Saved::parse(&text).expect("its own");
    assert!(problem.is_none());
    assert_eq!((saved.counts(), saved.saved_at()), ((2, 1), at(20)));
    assert_eq!(saved.to_text(), text);

    let wrong = |text: &str| Saved::parse(text).expect_err("wrong").to_string();
    assert_eq!(wrong(&text.replace("\"version\": 1", "\"version\": 2, \"more\": 0")), "version 2 is not known");
    assert!(wrong("").starts_with("EOF"));
    for end in 0..text.len() {
        if text.is_char_boundary(end) {
            assert!(Saved::parse(&text[..end]).is_err(), "{end} of {}", text.len());
        }
    }
}

#[test]
fn entry_of_the_state_file_that_cannot_be_understood_loses_nothing_else() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 1);
    probe(&mut state, "192.0.2.2:80", false, 1);
    set(&mut state, "web/a", Admin::Drain).expect("applies");
    set(&mut state, "web/b", Admin::Maint).expect("applies");
    let text = state.to_saved(at(20)).to_text();
    for (from, to, counts, problem) in [
        ("\"drain\"", "\"asleep\"", (1, 2), "unknown variant `asleep`"),
        ("\"maint\"", "\"maint\", \"force\": \"up\"", (1, 2), "an override has neither"),
        ("\"health\": [", "\"health\": [7, ", (2, 2), "invalid type"),
        ("\"overrides\": [", "\"overrides\": 7, \"rest\": [", (0, 2), "invalid type"),
        ("\"saved\"", "\"kept\"", (2, 2), "unknown field `kept`"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let (saved, found) = Saved::parse(&text.replacen(from, to, 1)).expect(to);
        assert_eq!(saved.counts(), counts, "{to}");
        let found = found.expect(to).to_string();
        assert!(found.starts_with(problem), "{to}: {found}");
    }
}

#[test]
fn state_file_of_the_first_version_still_reads() {
    let text = r#"{ "version": 1, "saved": "2026-11-26T12:00:00Z", "overrides": [{ "pool": "web", "realserver": "a",
        "admin": "drain", "until": null, "reason": "disk", "by": "alice", "since": "2026-11-26T12:00:00Z" }], "health": [] }"#;
    let (saved, problem) = Saved::parse(text).expect("of before");
    assert!(problem.is_none());
    let state = State::new(config(TWO_POOLS), Arc::new(Geo::empty()), saved, at(0));
    assert_eq!(admin_of(&state, "web/a"), Admin::Drain);
}

#[test]
fn glob_means_every_realserver_whose_name_fits() {
    for (target, expected) in [
        ("web/*", ["ready", "drain", "drain"]),
        ("*/a", ["ready", "drain", "ready"]),
        ("*/*", ["drain", "drain", "drain"]),
        ("*/?", ["drain", "drain", "drain"]),
        ("a*/x", ["drain", "ready", "ready"]),
    ] {
        let mut state = state(TWO_POOLS);
        set(&mut state, target, Admin::Drain).expect(target);
        let stands: Vec<String> = stands(&mut state);
        let admins: Vec<&str> = stands.iter().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(admins, expected, "{target}");
        set(&mut state, target, Admin::Ready).expect(target);
        assert!(state.overrides().is_empty(), "{target}");
    }
    let mut state = state(TWO_POOLS);
    let error = set(&mut state, "web/z*", Admin::Drain).expect_err("nobody").to_string();
    assert_eq!(error, "error: no realserver is named like `web/z*`\nhint: the pools are `web`, `api`");
    let error = set(&mut state, "x*", Admin::Drain).expect_err("nobody").to_string();
    assert_eq!(error, "error: no pool of realservers is named like `x*`\nhint: the pools are `web`, `api`");
}

#[test]
fn whole_pool_is_drained_with_those_that_a_reload_adds() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web", Admin::Drain).expect("applies");
    assert_eq!(stands(&mut state), ["api/x unknown ready", "web/a unknown drain", "web/b unknown drain"]);
    let more = TWO_POOLS.replace(
        "[pools.web]\ncheck = \"c\"\nrealservers = [\n",
        "[pools.web]\ncheck = \"c\"\nrealservers = [\n{ name = \"new\", address = \"192.0.2.9\", port = 80 },\n",
    );
    reload(&mut state, &more).expect("applies");
    assert!(stands(&mut state).contains(&"web/new unknown drain".to_owned()));
    set(&mut state, "web", Admin::Ready).expect("applies");
    assert!(stands(&mut state).iter().all(|line| line.ends_with("ready")));
}

#[test]
fn stricter_of_pool_and_realserver_counts_and_each_is_taken_back_by_itself() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web", Admin::Drain).expect("applies");
    set(&mut state, "web/a", Admin::Maint).expect("applies");
    assert_eq!((admin_of(&state, "web/a"), admin_of(&state, "web/b")), (Admin::Maint, Admin::Drain));
    set(&mut state, "web/a", Admin::Ready).expect("applies");
    assert_eq!(admin_of(&state, "web/a"), Admin::Drain, "its pool still is");
    set(&mut state, "web/a", Admin::Drain).expect("applies");
    set(&mut state, "web", Admin::Maint).expect("applies");
    assert_eq!(admin_of(&state, "web/a"), Admin::Maint);
    set(&mut state, "web", Admin::Ready).expect("applies");
    assert_eq!((admin_of(&state, "web/a"), admin_of(&state, "web/b")), (Admin::Drain, Admin::Ready));
}

#[test]
fn pool_in_maint_is_not_probed() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web", Admin::Maint).expect("applies");
    assert_eq!(addresses(&state), ["c at 192.0.2.2:80"], "api/x is still wanted");
}

#[test]
fn forced_health_masks_changes_which_are_still_told() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", true, 1);
    wish(&mut state, "web/a", Wish::Force(Force::Down)).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a down ready");
    state.snapshot();
    let happened = probe(&mut state, "192.0.2.1:80", false, 2);
    let kinds: Vec<bool> = happened.iter().map(|one| matches!(one, Happening::HealthChanged { .. })).collect();
    assert_eq!(kinds, [true, false], "{happened:?}");
    assert_eq!(happened[1], Happening::HealthMasked(vec![name("web/a")]));
    assert!(state.snapshot().is_none(), "nothing is different");
    wish(&mut state, "web/a", Wish::Force(Force::Up)).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a up ready");
    wish(&mut state, "web/a", Wish::Force(Force::Auto)).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a down ready", "what probes say is there at once");
}

#[test]
fn forced_health_of_a_realserver_comes_before_that_of_its_pool_and_beside_drain() {
    let mut state = state(TWO_POOLS);
    wish(&mut state, "web", Wish::Force(Force::Down)).expect("applies");
    wish(&mut state, "web/a", Wish::Force(Force::Up)).expect("applies");
    set(&mut state, "web/a", Admin::Drain).expect("applies");
    assert_eq!(stands(&mut state)[1..], ["web/a up drain", "web/b down ready"]);
    set(&mut state, "web/a", Admin::Ready).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a up ready", "ready is no auto");
    let mut after = restarted(&state, TWO_POOLS, at(30));
    assert_eq!(stands(&mut after)[1..], ["web/a up ready", "web/b down ready"]);
}

#[test]
fn force_ends_by_itself() {
    let mut state = state(TWO_POOLS);
    let force = Override { wish: Wish::Force(Force::Down), ..order(Admin::Ready, Some(60)) };
    state.apply(Event::OperatorSet(pattern("*/*"), force), at(1)).expect("applies");
    assert_eq!(state.apply(Event::Tick, at(59)).expect("tick"), []);
    let happened = state.apply(Event::Tick, at(60)).expect("tick");
    assert_eq!(happened.iter().filter(|one| matches!(one, Happening::OverrideEnded(..))).count(), 3, "{happened:?}");
    assert!(stands(&mut state).iter().all(|line| line.contains("unknown")));
}

#[test]
fn override_of_who_is_gone_can_be_taken_back() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "api/x", Admin::Drain).expect("applies");
    reload(&mut state, TWO_POOLS.split("[pools.api]").next().expect("before")).expect("applies");
    assert_eq!(state.overrides().len(), 1);
    set(&mut state, "api/x", Admin::Drain).expect_err("nobody has this name");
    set(&mut state, "api/x", Admin::Ready).expect("taken back");
    assert!(state.overrides().is_empty());
    set(&mut state, "api/x", Admin::Ready).expect_err("and now there is nothing");
}
