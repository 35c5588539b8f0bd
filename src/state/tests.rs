//! What goes in as events and what comes out: zones and their pools, reloads, health, operators, and what outlives a restart.

mod overrides;

use std::{path::Path, time::Duration};

use super::{saved::Saved, *};
use crate::config::CheckKind;

/// Second `seconds` of the tests' time.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

#[track_caller]
fn config(toml: &str) -> Arc<Config> {
    let parsed = config::parse(Path::new("fingerpost.toml"), format!("version = 1\n{toml}"));
    Arc::new(parsed.unwrap_or_else(|errors| panic!("{errors}")).0)
}

/// Two checks; pool `web` with `a` and `b`, pool `api` with `x`; `b` and `x` are one service, checked alike.
const TWO_POOLS: &str = "[checks.c]\ntype = \"tcp\"\nrise = 2\nfall = 2\n\
    [pools.web]\ncheck = \"c\"\nrealservers = [\n\
    { name = \"a\", address = \"192.0.2.1\", port = 80 },\n{ name = \"b\", address = \"192.0.2.2\", port = 80 },\n]\n\
    [pools.api]\ncheck = \"c\"\nrealservers = [{ name = \"x\", address = \"192.0.2.2\", port = 80 }]\n";

fn state(toml: &str) -> State {
    State::new(config(toml), Arc::new(Geo::empty()), Saved::default(), at(0))
}

fn reload(state: &mut State, toml: &str) -> Result<Vec<Happening>, Diagnostics> {
    let geo = state.geo.clone();
    state.apply(Event::Configured(config(toml), geo), at(0))
}

fn zone(apex: &str, serial: u32, pools: &[&str]) -> Arc<Zone> {
    let mut text =
        format!("$TTL 300\n@ SOA ns1 hostmaster {serial} 3600 600 1209600 300\n@ NS ns1\nns1 A 192.0.2.53\n");
    for pool in pools {
        text += &format!("{pool} POOL {pool}\n");
    }
    let path = format!("zones/{apex}.zone");
    Arc::new(Zone::from_text(Path::new(&path), &text).unwrap_or_else(|errors| panic!("{errors}")).0)
}

fn target(state: &State, address: &str) -> Target {
    let found = state.targets().into_iter().find(|target| target.address.to_string() == address);
    found.unwrap_or_else(|| panic!("nobody probes {address}"))
}

/// `n` results of the probe at `address`.
fn probe(state: &mut State, address: &str, is_success: bool, n: usize) -> Vec<Happening> {
    let target = target(state, address);
    let outcome = || if is_success { Ok(()) } else { Err("refused".into()) };
    let mut happenings = Vec::new();
    for _ in 0..n {
        happenings.extend(state.apply(Event::Probed(target.clone(), outcome()), at(10)).expect("probes apply"));
        happenings.extend(state.settle());
    }
    happenings
}

fn name(text: &str) -> RealserverName {
    let (pool, realserver) = text.split_once('/').expect("POOL/REALSERVER");
    RealserverName { pool: pool.into(), realserver: realserver.into() }
}

fn order(admin: Admin, until: Option<i64>) -> Override {
    Override {
        wish: Wish::Admin(admin),
        until: until.map(at),
        reason: Some("disk".into()),
        by: "alice".into(),
        since: at(1),
    }
}

fn set(state: &mut State, realserver: &str, admin: Admin) -> Result<Vec<Happening>, Diagnostics> {
    wish(state, realserver, Wish::Admin(admin))
}

fn wish(state: &mut State, target: &str, wish: Wish) -> Result<Vec<Happening>, Diagnostics> {
    let set = Override { wish, ..order(Admin::Drain, None) };
    let mut happenings = state.apply(Event::OperatorSet(pattern(target), set), at(1))?;
    happenings.extend(state.settle());
    Ok(happenings)
}

fn pattern(text: &str) -> Pattern {
    text.parse().expect(text)
}

fn subject(text: &str) -> Subject {
    let (pool, realserver) = text.split_once('/').map_or((text, None), |(pool, name)| (pool, Some(name.into())));
    Subject { pool: pool.into(), realserver }
}

/// What is set on one realserver, by itself or by its pool.
fn admin_of(state: &State, realserver: &str) -> Admin {
    let name = name(realserver);
    state.overrides().effective(&name.pool, &name.realserver).admin()
}

/// Every realserver as `POOL/NAME health admin`, sorted.
fn stands(state: &mut State) -> Vec<String> {
    state.is_changed = true;
    let snapshot = state.snapshot().expect("changed");
    let mut lines = Vec::new();
    for pool in &snapshot.pools {
        let crate::snapshot::Members::Realservers(realservers) = &pool.members else { continue };
        lines.extend(
            realservers.all.iter().map(|one| format!("{}/{} {} {}", pool.name, one.name, one.health(None), one.admin)),
        );
    }
    lines.sort();
    lines
}

fn addresses(state: &State) -> Vec<String> {
    let mut addresses: Vec<String> = state.targets().iter().map(ToString::to_string).collect();
    addresses.sort();
    addresses
}

fn served(snapshot: &Snapshot, apex: &str) -> Option<u32> {
    snapshot.zones.get(&apex.parse().expect(apex)).map(|served| served.zone.serial())
}

#[test]
fn snapshot_comes_only_when_something_changed_and_counts_up() {
    let mut state = state(TWO_POOLS);
    let first = state.snapshot().expect("the first");
    assert_eq!(first.generation, Generation(1));
    assert!(state.snapshot().is_none());
    assert_eq!(state.apply(Event::Tick, at(5)).expect("tick"), []);
    assert!(state.snapshot().is_none(), "time alone changes nothing");
    probe(&mut state, "192.0.2.1:80", true, 1);
    assert_eq!(state.snapshot().expect("known now").generation, Generation(2));
    probe(&mut state, "192.0.2.1:80", true, 3);
    assert!(state.snapshot().is_none(), "more of the same changes nothing");
}

#[test]
fn zone_that_names_an_unknown_pool_waits_for_it() {
    let mut state = state(TWO_POOLS);
    let error = state.apply(Event::ZoneLoaded(zone("example.org", 1, &["web", "cdn"])), at(0)).expect_err("no `cdn`");
    assert_eq!(
        error.to_string(),
        "error: unknown pool `cdn`\n --> zones/example.org.zone:6:10\n  |\n6 | cdn POOL cdn\n  |          ^^^\n\
         hint: pools in `fingerpost.toml`: `web`, `api`"
    );
    assert_eq!(served(&state.snapshot().expect("first"), "example.org"), None);
    assert_eq!(state.zones().map(|(zone, is_pending)| (zone.serial(), is_pending)).collect::<Vec<_>>(), [(1, true)]);

    let other = format!("{TWO_POOLS}[pools.other]\nrealservers = [{{ name = \"o\", address = \"192.0.2.9\" }}]\n");
    let happened = reload(&mut state, &other).expect("a waiting zone is no reason to refuse");
    assert_eq!(happened, [Happening::ZonePending("example.org".parse().expect("name"))]);

    let with_cdn = format!("{TWO_POOLS}[pools.cdn]\nrealservers = [{{ name = \"o\", address = \"192.0.2.9\" }}]\n");
    assert_eq!(reload(&mut state, &with_cdn).expect("applies"), []);
    let snapshot = state.snapshot().expect("changed");
    let served = snapshot.zones.get(&"example.org".parse().expect("name")).expect("served");
    let names: Vec<&str> = served.pools.iter().map(|id| &*snapshot.pool(*id).expect("pool").name).collect();
    assert_eq!(names, ["web", "cdn"]);
}

#[test]
fn newer_zone_that_waits_leaves_the_older_in_service() {
    let mut state = state(TWO_POOLS);
    state.apply(Event::ZoneLoaded(zone("example.org", 1, &["web"])), at(0)).expect("applies");
    state.apply(Event::ZoneLoaded(zone("example.org", 2, &["cdn"])), at(0)).expect_err("no `cdn`");
    assert_eq!(served(&state.snapshot().expect("changed"), "example.org"), Some(1));
    // A third one that is right takes the second one's place.
    state.apply(Event::ZoneLoaded(zone("example.org", 3, &["api"])), at(0)).expect("applies");
    assert_eq!(served(&state.snapshot().expect("changed"), "example.org"), Some(3));
    assert!(state.zones().all(|(_, is_pending)| !is_pending));
}

#[test]
fn configuration_that_would_orphan_a_zone_is_refused_and_nothing_changes() {
    let mut state = state(TWO_POOLS);
    state.apply(Event::ZoneLoaded(zone("example.org", 1, &["web", "api"])), at(0)).expect("applies");
    set(&mut state, "api/x", Admin::Drain).expect("applies");
    let before = (stands(&mut state), state.config().clone(), addresses(&state));
    let without_api = TWO_POOLS.split("[pools.api]").next().expect("before");
    let error = reload(&mut state, without_api).expect_err("`api` is in use");
    assert!(error.to_string().starts_with("error: unknown pool `api`\n --> zones/example.org.zone:6:10\n"), "{error}");
    assert!(state.snapshot().is_none());
    assert_eq!((stands(&mut state), state.config().clone(), addresses(&state)), before);
    // Once the zone lets go of it, the pool may go.
    state.apply(Event::ZoneLoaded(zone("example.org", 2, &["web"])), at(0)).expect("applies");
    reload(&mut state, without_api).expect("applies");
}

#[test]
fn zone_and_configuration_may_lose_a_pool_in_either_order() {
    let mut state = state(TWO_POOLS);
    state.apply(Event::ZoneLoaded(zone("example.org", 1, &["web", "api"])), at(0)).expect("applies");
    let renamed = TWO_POOLS.replace("[pools.api]", "[pools.service]");
    state.apply(Event::ZoneLoaded(zone("example.org", 2, &["web", "service"])), at(0)).expect_err("waits");
    reload(&mut state, &renamed).expect("the waiting zone has all its pools");
    assert_eq!(served(&state.snapshot().expect("changed"), "example.org"), Some(2));
}

#[test]
fn removed_zone_is_gone_and_others_stay() {
    let mut state = state(TWO_POOLS);
    for apex in ["example.org", "example.net"] {
        state.apply(Event::ZoneLoaded(zone(apex, 1, &["web"])), at(0)).expect("applies");
    }
    let before = state.snapshot().expect("changed");
    state.apply(Event::ZoneRemoved("example.org".parse().expect("name")), at(0)).expect("applies");
    let after = state.snapshot().expect("changed");
    assert_eq!((served(&after, "example.org"), served(&after, "example.net")), (None, Some(1)));
    assert_eq!(served(&before, "example.org"), Some(1), "who holds the old one keeps it");
    state.apply(Event::ZoneRemoved("example.org".parse().expect("name")), at(0)).expect("applies");
    assert!(state.snapshot().is_none());
    let reordered = format!("[pools.aaa]\nrealservers = [{{ name = \"o\", address = \"192.0.2.9\" }}]\n{TWO_POOLS}");
    reload(&mut state, &reordered).expect("applies");
    let snapshot = state.snapshot().expect("changed");
    let served = snapshot.zones.get(&"example.net".parse().expect("name")).expect("served");
    assert_eq!(&*snapshot.pool(served.pools[0]).expect("pool").name, "web", "by its new number");
}

#[test]
fn same_configuration_again_keeps_every_pool() {
    let toml = format!(
        "{TWO_POOLS}[pools.geo]\n[pools.geo.geo]\ndefault = [\"web\", \"api\"]\n\
         [listeners.l]\nbind = \"127.0.0.1:0\"\npool = \"web\"\nscheduler = \"source-hash\"\n"
    );
    let mut state = state(&toml);
    probe(&mut state, "192.0.2.1:80", true, 1);
    let before = state.snapshot().expect("first");
    reload(&mut state, &toml).expect("applies");
    let after = state.snapshot().expect("new");
    assert_eq!(before.pools.len(), 4);
    for (old, new) in before.pools.iter().zip(&after.pools) {
        assert!(Arc::ptr_eq(old, new), "{}", old.name);
    }
}

#[test]
fn changed_pool_leaves_the_others_alone() {
    let mut state = state(TWO_POOLS);
    let before = state.snapshot().expect("first");
    reload(&mut state, &TWO_POOLS.replace("\"a\", address", "\"a\", weight = 2, address")).expect("applies");
    let after = state.snapshot().expect("new");
    let is_same = |name: &str| {
        let (old, new) = (before.pool_named(name).expect(name).1, after.pool_named(name).expect(name).1);
        std::ptr::eq(old, new)
    };
    assert_eq!((is_same("web"), is_same("api")), (false, true));
}

#[test]
fn new_geo_databases_rebuild_geo_pools_alone() {
    let mut state = state(&format!("{TWO_POOLS}[pools.geo]\n[pools.geo.geo]\nUS = [\"web\"]\ndefault = [\"api\"]\n"));
    let before = state.snapshot().expect("first");
    state.apply(Event::GeoLoaded(Arc::new(Geo::empty())), at(0)).expect("applies");
    let after = state.snapshot().expect("new");
    let is_same: Vec<bool> = before.pools.iter().zip(&after.pools).map(|(old, new)| Arc::ptr_eq(old, new)).collect();
    assert_eq!(is_same, [true, true, false]);
}

#[test]
fn health_of_one_target_touches_only_the_pools_it_is_in() {
    let mut state = state(TWO_POOLS);
    let before = state.snapshot().expect("first");
    let happened = probe(&mut state, "192.0.2.1:80", false, 1);
    let target = target(&state, "192.0.2.1:80");
    let realservers = vec![name("web/a")];
    let (from, to, error) = (Health::Unknown, Health::Down, Some("refused".into()));
    assert_eq!(happened, [Happening::HealthChanged { target, realservers, from, to, error }]);
    let after = state.snapshot().expect("changed");
    let is_same: Vec<bool> = before.pools.iter().zip(&after.pools).map(|(old, new)| Arc::ptr_eq(old, new)).collect();
    assert_eq!(is_same, [false, true]);
    assert!(Arc::ptr_eq(&before.zones, &after.zones));
}

#[test]
fn one_target_is_the_health_of_all_who_share_it() {
    let mut state = state(TWO_POOLS);
    assert_eq!(addresses(&state), ["c at 192.0.2.1:80", "c at 192.0.2.2:80"], "each is probed once");
    let happened = probe(&mut state, "192.0.2.2:80", false, 1);
    let told: Vec<String> = happened
        .iter()
        .map(|happening| match happening {
            Happening::HealthChanged { realservers, to, .. } => format!("{to}: {}", names(realservers)),
            Happening::PoolChanged { pool, is_all_down } => format!("{pool} all down: {is_all_down}"),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["down: api/x web/b", "api all down: true"]);
    assert_eq!(stands(&mut state), ["api/x down ready", "web/a unknown ready", "web/b down ready"]);
    let happened = probe(&mut state, "192.0.2.2:80", true, 2);
    assert!(happened.contains(&Happening::PoolChanged { pool: "api".into(), is_all_down: false }), "{happened:?}");
}

fn names(realservers: &[RealserverName]) -> String {
    realservers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[test]
fn result_of_an_unknown_target_is_ignored() {
    let mut state = state(TWO_POOLS);
    state.snapshot();
    let known = target(&state, "192.0.2.1:80");
    let elsewhere = Target { address: "192.0.2.99:80".parse().expect("address"), ..known.clone() };
    let check = config::Check { interval: Duration::from_secs(77), ..(*known.check).clone() };
    let other_check = Target { check: Arc::new(check), ..known };
    for target in [elsewhere, other_check] {
        assert_eq!(state.apply(Event::Probed(target.clone(), Err("refused".into())), at(0)).expect("applies"), []);
        assert!(state.checked(&target).is_none());
    }
    assert!(state.snapshot().is_none());
}

#[test]
fn override_ends_by_itself() {
    let mut state = state(TWO_POOLS);
    state.apply(Event::OperatorSet(pattern("web/a"), order(Admin::Drain, Some(60))), at(1)).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a unknown drain");
    assert_eq!(state.apply(Event::Tick, at(59)).expect("tick"), []);
    assert_eq!(stands(&mut state)[1], "web/a unknown drain");
    let happened = state.apply(Event::Tick, at(60)).expect("tick");
    assert_eq!(happened, [Happening::OverrideEnded(subject("web/a"), order(Admin::Drain, Some(60)))]);
    assert_eq!(stands(&mut state)[1], "web/a unknown ready");
    assert!(state.overrides().is_empty());
}

#[test]
fn ready_takes_an_override_back_and_the_last_word_counts() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web/a", Admin::Drain).expect("applies");
    set(&mut state, "web/a", Admin::Maint).expect("applies");
    assert_eq!(admin_of(&state, "web/a"), Admin::Maint);
    set(&mut state, "web/a", Admin::Ready).expect("applies");
    assert!(state.overrides().is_empty());
    assert_eq!(stands(&mut state)[1], "web/a unknown ready");
}

#[test]
fn draining_the_last_one_is_told_of_the_pool() {
    let mut state = state(TWO_POOLS);
    let happened = set(&mut state, "api/x", Admin::Drain).expect("applies");
    let told = |admin| Happening::OverrideSet(subject("api/x"), order(admin, None));
    assert_eq!(happened, [told(Admin::Drain), Happening::PoolChanged { pool: "api".into(), is_all_down: true }]);
    let happened = set(&mut state, "api/x", Admin::Ready).expect("applies");
    let up = Happening::PoolChanged { pool: "api".into(), is_all_down: false };
    assert_eq!(happened, [told(Admin::Ready), up]);
}

#[test]
fn order_for_nobody_says_who_there_is() {
    let mut state = state(&format!("{TWO_POOLS}[pools.all]\nmembers = [\"web\", \"api\"]\n"));
    state.snapshot();
    for (realserver, expected) in [
        ("cdn/a", "error: unknown pool `cdn`\nhint: there are `web`, `api`, `all`"),
        ("web/x", "error: pool `web` has no realserver `x`\nhint: there are `a`, `b`"),
        (
            "all/a",
            "error: pool `all` has no realserver `a`\nhint: it is a pool of pools; say `web`, `api`, or name a realserver of one of them",
        ),
    ] {
        assert_eq!(set(&mut state, realserver, Admin::Drain).expect_err("nobody").to_string(), expected);
    }
    assert!(state.snapshot().is_none());
}

#[test]
fn maint_is_not_probed_unless_somebody_shares_the_probe() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web/a", Admin::Maint).expect("applies");
    assert_eq!(addresses(&state), ["c at 192.0.2.2:80"]);
    set(&mut state, "web/b", Admin::Maint).expect("applies");
    assert_eq!(addresses(&state), ["c at 192.0.2.2:80"], "api/x is still wanted");
    set(&mut state, "api/x", Admin::Maint).expect("applies");
    assert_eq!(addresses(&state), [""; 0]);
    set(&mut state, "web/b", Admin::Ready).expect("applies");
    assert_eq!(addresses(&state), ["c at 192.0.2.2:80"]);
}

#[test]
fn drained_is_still_probed() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web/a", Admin::Drain).expect("applies");
    probe(&mut state, "192.0.2.1:80", false, 1);
    assert_eq!(stands(&mut state)[1], "web/a down drain");
}

#[test]
fn health_from_before_maint_is_forgotten_and_late_results_are_ignored() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 1);
    let on_its_way = target(&state, "192.0.2.1:80");
    set(&mut state, "web/a", Admin::Maint).expect("applies");
    assert_eq!(state.apply(Event::Probed(on_its_way, Ok(())), at(2)).expect("applies"), []);
    assert_eq!(stands(&mut state)[1], "web/a unknown maint");
    set(&mut state, "web/a", Admin::Ready).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a unknown ready");
}

#[test]
fn shared_health_outlives_the_maint_of_one() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.2:80", false, 1);
    set(&mut state, "web/b", Admin::Maint).expect("applies");
    assert_eq!(stands(&mut state), ["api/x down ready", "web/a unknown ready", "web/b down maint"]);
}

#[test]
fn override_outlives_a_reload_that_changes_its_pool() {
    let mut state = state(TWO_POOLS);
    set(&mut state, "web/a", Admin::Drain).expect("applies");
    reload(&mut state, &TWO_POOLS.replace("\"a\", address", "\"a\", weight = 2, address")).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a unknown drain");
}

#[test]
fn health_outlives_a_check_that_changes_its_numbers_or_its_name() {
    for (old, new) in [("fall = 2", "fall = 5"), ("checks.c]", "checks.renamed]")] {
        let mut state = state(TWO_POOLS);
        probe(&mut state, "192.0.2.1:80", false, 1);
        let changed = TWO_POOLS
            .replace(old, new)
            .replace("check = \"c\"", if new.contains("renamed") { "check = \"renamed\"" } else { "check = \"c\"" });
        reload(&mut state, &changed).expect("applies");
        assert_eq!(stands(&mut state)[1], "web/a down ready", "{new}");
        let target = target(&state, "192.0.2.1:80");
        assert_eq!(state.checked(&target).and_then(|checked| checked.since), Some(at(10)));
    }
}

#[test]
fn another_kind_of_check_under_another_name_knows_nothing_yet() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 1);
    let other =
        TWO_POOLS.replace("checks.c]\ntype = \"tcp\"", "checks.h]\ntype = \"http\"").replace("= \"c\"", "= \"h\"");
    reload(&mut state, &other).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a unknown ready");
    assert!(state.targets().iter().all(|target| matches!(target.check.kind, CheckKind::Http(_))));
}

#[test]
fn realserver_that_comes_back_starts_anew() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 1);
    reload(&mut state, &TWO_POOLS.replace("192.0.2.1\"", "192.0.2.7\"")).expect("applies");
    assert_eq!(addresses(&state), ["c at 192.0.2.2:80", "c at 192.0.2.7:80"]);
    reload(&mut state, TWO_POOLS).expect("applies");
    assert_eq!(stands(&mut state)[1], "web/a unknown ready");
}

/// What a state saves, as its successor after a restart has it.
fn restarted(state: &State, toml: &str, now: Timestamp) -> State {
    let text = state.to_saved(at(20)).to_text();
    State::new(config(toml), Arc::new(Geo::empty()), Saved::parse(&text).expect("its own file").0, now)
}

#[test]
fn restart_keeps_overrides_and_health_with_their_ages_from_the_first_snapshot() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 3);
    probe(&mut state, "192.0.2.2:80", true, 1);
    state.apply(Event::OperatorSet(pattern("web/b"), order(Admin::Drain, Some(600))), at(1)).expect("applies");
    let mut after = restarted(&state, TWO_POOLS, at(30));
    let snapshot = after.snapshot().expect("the first");
    let web = snapshot.pool_named("web").expect("web").1;
    let crate::snapshot::Members::Realservers(web) = &web.members else { panic!("realservers") };
    assert!(web.view(None).is_degraded, "a is down and b drained");
    assert_eq!(web.all[0].why.as_deref(), Some("refused"));
    assert_eq!(web.all[1].why.as_deref(), Some("disk (alice, until 2023-11-14T22:23:20Z)"));
    let overrides: Vec<_> = after.overrides().iter().collect();
    assert_eq!(overrides, [(subject("web/b"), &order(Admin::Drain, Some(600)))]);
    let target = target(&after, "192.0.2.1:80");
    let checked = after.checked(&target).expect("restored");
    assert_eq!((checked.health, checked.since, checked.is_restored), (Health::Down, Some(at(10)), true));
    assert_eq!(after.to_saved(at(20)).to_text(), state.to_saved(at(20)).to_text(), "and saves the same again");
    // One success is not enough to come up: the machine goes on, it does not start anew.
    assert_eq!(probe(&mut after, "192.0.2.1:80", true, 1), []);
    assert_eq!(probe(&mut after, "192.0.2.1:80", true, 1).len(), 2, "health, and the pool has somebody again");
}

#[test]
fn override_that_ran_out_while_nobody_ran_is_gone() {
    let mut state = state(TWO_POOLS);
    state.apply(Event::OperatorSet(pattern("web/b"), order(Admin::Maint, Some(25))), at(1)).expect("applies");
    let mut after = restarted(&state, TWO_POOLS, at(25));
    assert_eq!(stands(&mut after)[2], "web/b unknown ready");
    let mut before = restarted(&state, TWO_POOLS, at(24));
    assert_eq!(stands(&mut before)[2], "web/b unknown maint");
}

#[test]
fn restart_with_another_configuration_takes_what_still_fits() {
    let mut state = state(TWO_POOLS);
    probe(&mut state, "192.0.2.1:80", false, 1);
    set(&mut state, "api/x", Admin::Drain).expect("applies");
    let without_api = TWO_POOLS.split("[pools.api]").next().expect("before").replace("fall = 2", "fall = 9");
    let mut after = restarted(&state, &without_api, at(30));
    assert_eq!(stands(&mut after), ["web/a down ready", "web/b unknown ready"]);
    // The pool may come back, and its realserver must not serve before the operator says so.
    reload(&mut after, TWO_POOLS).expect("applies");
    assert_eq!(stands(&mut after)[0], "api/x unknown drain");
}

/// Pool `web` of six, checked every 5 s (timeout 1 s, `fall = 1`), with `keys`.
fn six(guards: &str, keys: &str) -> String {
    let realservers: Vec<String> =
        (1..=6).map(|n| format!("{{ name = \"r{n}\", address = \"192.0.2.{n}\", port = 80 }}")).collect();
    format!(
        "{guards}[checks.c]\ntype = \"tcp\"\ninterval = \"5s\"\nrise = 2\nfall = 1\n[pools.web]\ncheck = \"c\"\n{keys}realservers = [{}]\n",
        realservers.join(", ")
    )
}

/// One result for each of `numbers` at second `second`.
fn probe_all(
    state: &mut State,
    numbers: std::ops::RangeInclusive<u8>,
    is_success: bool,
    second: i64,
) -> Vec<Happening> {
    let mut happenings = Vec::new();
    for number in numbers {
        let target = target(state, &format!("192.0.2.{number}:80"));
        let outcome = if is_success { Ok(()) } else { Err("timeout".into()) };
        happenings.extend(state.apply(Event::Probed(target, outcome), at(second)).expect("probes apply"));
    }
    happenings.retain(|happening| !matches!(happening, Happening::HealthChanged { .. }));
    happenings
}

/// The realservers that take new traffic, and those of them that are held.
fn in_service(state: &mut State) -> (String, String) {
    state.is_changed = true;
    let snapshot = state.snapshot().expect("changed");
    let crate::snapshot::Members::Realservers(realservers) = &snapshot.pools[0].members else { panic!("a leaf") };
    let names = |keep: fn(&&crate::snapshot::Realserver) -> bool| {
        realservers.all.iter().filter(keep).map(|realserver| &*realserver.name).collect::<Vec<_>>().join(" ")
    };
    (names(|realserver| realserver.is_eligible(None)), names(|realserver| realserver.is_held(None)))
}

#[test]
fn more_than_half_falling_at_once_is_not_believed_until_they_are_back() {
    let mut state = state(&six("", ""));
    probe_all(&mut state, 1..=6, true, 0);
    assert_eq!(probe_all(&mut state, 1..=3, false, 10), [], "half may be dead");
    assert_eq!(in_service(&mut state).0, "r4 r5 r6");
    assert_eq!(probe_all(&mut state, 4..=5, false, 12), [Happening::Frozen { n_fallen: 4, n_probed: 6 }]);
    assert_eq!(in_service(&mut state), ("r1 r2 r3 r4 r5 r6".into(), "r1 r2 r3 r4 r5".into()));
    assert_eq!(state.frozen_since(), Some(at(12)));
    for second in [20, 25] {
        probe_all(&mut state, 1..=4, true, second);
    }
    assert_eq!(in_service(&mut state).1, "r5", "one may really be dead");
    assert_eq!(state.apply(Event::Tick, at(30)).expect("tick"), [], "and has the time to say so");
    assert_eq!(state.apply(Event::Tick, at(40)).expect("tick"), [Happening::Thawed { n_down: 1 }]);
    assert_eq!(in_service(&mut state), ("r1 r2 r3 r4 r6".into(), String::new()));
}

#[test]
fn freeze_ends_at_the_operators_word_and_can_be_off() {
    let mut state = state(&six("", ""));
    probe_all(&mut state, 1..=6, true, 0);
    probe_all(&mut state, 1..=6, false, 10);
    assert_eq!(in_service(&mut state).0, "r1 r2 r3 r4 r5 r6");
    assert_eq!(state.apply(Event::Thaw, at(11)).expect("applies"), [Happening::Thawed { n_down: 6 }]);
    assert_eq!(in_service(&mut state).0, "");

    let mut state = self::state(&six("[guards]\nfreeze_above = \"off\"\n", ""));
    probe_all(&mut state, 1..=6, true, 0);
    assert_eq!(probe_all(&mut state, 1..=6, false, 10), []);
    assert_eq!(in_service(&mut state).0, "");
}

#[test]
fn first_results_and_those_in_maint_are_no_falls() {
    let mut state = state(&six("", ""));
    assert_eq!(probe_all(&mut state, 1..=6, false, 0), [], "nobody was up");
    assert_eq!(in_service(&mut state).0, "");
    for second in [5, 10] {
        probe_all(&mut state, 1..=6, true, second);
    }
    probe_all(&mut state, 1..=4, false, 20);
    for number in 1..=4 {
        set(&mut state, &format!("web/r{number}"), Admin::Maint).expect("applies");
    }
    assert_eq!(state.apply(Event::Tick, at(21)).expect("tick"), [Happening::Thawed { n_down: 0 }]);
    assert_eq!(in_service(&mut state), ("r5 r6".into(), String::new()));
}

#[test]
fn max_leave_keeps_the_others_in_service_until_the_next_interval() {
    let mut state = state(&six("[guards]\nfreeze_above = \"off\"\n", "max_leave = \"34%\"\n"));
    probe_all(&mut state, 1..=6, true, 0);
    let held = |realserver: &str| Happening::Held(name(realserver));
    assert_eq!(probe_all(&mut state, 1..=4, false, 10), [held("web/r3"), held("web/r4")]);
    assert_eq!(in_service(&mut state), ("r3 r4 r5 r6".into(), "r3 r4".into()));
    probe_all(&mut state, 3..=3, true, 14);
    probe_all(&mut state, 3..=3, true, 14);
    assert_eq!(in_service(&mut state).1, "r4", "one is back");
    assert_eq!(state.apply(Event::Tick, at(15)).expect("tick"), []);
    assert_eq!(state.apply(Event::Tick, at(16)).expect("tick"), [Happening::Released(name("web/r4"))]);
    assert_eq!(in_service(&mut state), ("r3 r5 r6".into(), String::new()));

    probe_all(&mut state, 5..=6, false, 17);
    assert_eq!(in_service(&mut state).1, "r6");
    reload(&mut state, &six("[guards]\nfreeze_above = \"off\"\n", "")).expect("applies");
    assert_eq!(state.apply(Event::Tick, at(18)).expect("tick"), [Happening::Released(name("web/r6"))], "no limit now");
    assert_eq!(in_service(&mut state).0, "r3");
}

/// The TTL that a ranking of pool `pool` allows.
fn ttl(state: &mut State, pool: u32) -> u32 {
    state.is_changed = true;
    let snapshot = state.snapshot().expect("changed");
    let client = crate::select::Client {
        address: [203, 0, 113, 1].into(),
        prefix: 32,
        via: crate::select::Via::Dns(Family::V4),
        random: 0,
        turn: crate::select::Turn::Peek,
        most: 1,
    };
    crate::select::select(&snapshot, PoolId(pool), &client).ttl.get()
}

#[test]
fn ttl_follows_the_checks_left_until_health_could_flip() {
    let toml = "[checks.c]\ntype = \"tcp\"\ninterval = \"10s\"\nrise = 2\nfall = 10\n\
        [pools.web]\ncheck = \"c\"\nmin_ttl = \"15s\"\nrealservers = [{ name = \"a\", address = \"192.0.2.1\", port = 80 }]\n\
        [pools.spare]\ncheck = \"c\"\nrealservers = [{ name = \"s\", address = \"192.0.2.2\", port = 80 }]\n\
        [pools.all]\nmembers = [\"web\", \"spare\"]\nmin_ttl = \"1s\"\n\
        [pools.static]\nmin_ttl = \"1s\"\nrealservers = [{ name = \"x\", address = \"192.0.2.9\" }]\n";
    let mut state = state(toml);
    assert_eq!(ttl(&mut state, 0), 15, "the first probe decides, but min_ttl is the least");
    probe(&mut state, "192.0.2.1:80", true, 1);
    assert_eq!(ttl(&mut state, 0), 100);
    probe(&mut state, "192.0.2.1:80", false, 5);
    assert_eq!(ttl(&mut state, 0), 50);
    probe(&mut state, "192.0.2.1:80", false, 4);
    assert_eq!((ttl(&mut state, 0), ttl(&mut state, 2)), (15, 10), "the pool above overrules");
    probe(&mut state, "192.0.2.1:80", false, 1);
    probe(&mut state, "192.0.2.2:80", true, 1);
    assert_eq!(ttl(&mut state, 2), 20, "who was passed over may be back in two probes");
    assert_eq!(ttl(&mut state, 1), Ttl::MAX.get(), "without min_ttl it is the zone's");
    assert_eq!(ttl(&mut state, 3), Ttl::MAX.get(), "without a check nothing can flip");
}
