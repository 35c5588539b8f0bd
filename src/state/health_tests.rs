//! What comes of probes: several checks together, slow start, failures that others notice, certificates, and health that is stale.

use std::{path::Path, time::Duration};

use super::{saved::Saved, *};
use crate::select::{Client, Turn, Via, select};

/// Second `seconds` of the tests' time.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("in range")
}

#[track_caller]
fn state(toml: &str) -> State {
    let parsed = config::parse(Path::new("fingerpost.toml"), format!("version = 1\n{toml}"));
    let config = Arc::new(parsed.unwrap_or_else(|errors| panic!("{errors}")).0);
    State::new(config, Arc::new(Geo::empty()), Saved::default(), at(0))
}

/// Results of the probe whose target is shown as `shown`.
#[track_caller]
fn probe(state: &mut State, shown: &str, results: &str, seconds: i64) -> Vec<Happening> {
    let target = target(state, shown);
    let outcome = |result| if result == '.' { Ok(()) } else { Err("timed out".into()) };
    let mut apply =
        |result| state.apply(Event::Probed(target.clone(), outcome(result)), at(seconds)).expect("probes apply");
    let mut happened: Vec<Happening> = results.chars().flat_map(&mut apply).collect();
    happened.extend(state.settle());
    happened
}

#[track_caller]
fn target(state: &State, shown: &str) -> Target {
    let found = state.targets().into_iter().find(|target| target.to_string() == shown);
    found.unwrap_or_else(|| panic!("nobody probes {shown}: {:?}", state.targets()))
}

fn name(text: &str) -> RealserverName {
    let (pool, realserver) = text.split_once('/').expect("POOL/REALSERVER");
    RealserverName { pool: pool.into(), realserver: realserver.into() }
}

/// The realserver `a` of the pool `web` as it stands in the next snapshot, or in the one before.
fn a(state: &mut State) -> crate::snapshot::Realserver {
    state.snapshot();
    match &state.pools.first().expect("a pool").members {
        crate::snapshot::Members::Realservers(realservers) => realservers.all.first().expect("a realserver").clone(),
        other => panic!("{other:?}"),
    }
}

const SEVERAL_CHECKS: &str = "[checks.ping]\ntype = \"icmp\"\n[checks.web]\ntype = \"http\"\n\
    [checks.file]\ntype = \"file\"\npath = \"s\"\n\
    [checks.inner]\ntype = \"any\"\nchecks = [\"web\", \"ping\"]\n[checks.all]\ntype = \"all\"\nchecks = [\"inner\", \"file\"]\n\
    [pools.web]\ncheck = \"all\"\nrealservers = [{ name = \"a\", address = \"192.0.2.1\", port = 80 }]\n";

#[test]
fn health_of_a_calculated_check_follows_those_that_it_is_calculated_from() {
    let mut state = state(SEVERAL_CHECKS);
    let mut targets: Vec<String> = state.targets().iter().map(ToString::to_string).collect();
    targets.sort();
    assert_eq!(targets, ["file of web/a at 192.0.2.1", "ping at 192.0.2.1", "web at 192.0.2.1:80"]);
    assert_eq!(a(&mut state).health_v4, Health::Unknown);
    probe(&mut state, "ping at 192.0.2.1", ".", 1);
    assert_eq!(a(&mut state).health_v4, Health::Unknown, "the file has not been read");
    let happened = probe(&mut state, "file of web/a at 192.0.2.1", ".", 2);
    let up = Happening::RealserverChanged { realserver: name("web/a"), from: Health::Unknown, to: Health::Up };
    assert!(happened.contains(&up), "{happened:?}");
    let happened = probe(&mut state, "web at 192.0.2.1:80", "x", 3);
    assert!(matches!(happened.as_slice(), [Happening::HealthChanged { to: Health::Down, .. }]), "{happened:?}");
    assert_eq!(a(&mut state).health_v4, Health::Up, "one of the two is enough");
    let happened = probe(&mut state, "ping at 192.0.2.1", "xxx", 4);
    assert!(happened.contains(&Happening::PoolChanged { pool: "web".into(), is_all_down: true }), "{happened:?}");
    let stand = a(&mut state);
    assert_eq!((stand.health_v4, stand.why.as_deref()), (Health::Down, Some("timed out")));
}

#[test]
fn probe_that_a_calculated_check_names_twice_is_made_once() {
    let toml = SEVERAL_CHECKS.replace("\"inner\", \"file\"", "\"inner\", \"web\"");
    assert_eq!(state(&toml).targets().len(), 2);
}

#[test]
fn pools_share_a_probe_unless_it_knows_for_whom_it_is() {
    let two = |kind: &str| {
        state(&format!(
            "[checks.c]\n{kind}\n[pools.web]\ncheck = \"c\"\nrealservers = [{{ name = \"a\", address = \"192.0.2.1\" }}]\n\
             [pools.api]\ncheck = \"c\"\nrealservers = [{{ name = \"a\", address = \"192.0.2.1\" }}]\n"
        ))
        .targets()
        .len()
    };
    assert_eq!(two("type = \"icmp\""), 1);
    assert_eq!(two("type = \"file\"\npath = \"s\""), 2);
    assert_eq!(two("type = \"exec\"\ncommand = [\"/bin/true\"]"), 2);
}

#[test]
fn health_from_a_file_or_a_command_is_restored_for_the_right_realserver() {
    let toml = "[checks.c]\ntype = \"file\"\npath = \"s\"\n[pools.web]\ncheck = \"c\"\nrealservers = [\n\
        { name = \"a\", address = \"192.0.2.1\", port = 1 }, { name = \"b\", address = \"192.0.2.1\", port = 2 }]\n";
    let mut before = state(toml);
    probe(&mut before, "c of web/a at 192.0.2.1", "x", 1);
    probe(&mut before, "c of web/b at 192.0.2.1", ".", 1);
    let saved = Saved::parse(&before.to_saved(at(2)).to_text()).expect("reads back").0;
    let after = State::new(before.config().clone(), Arc::new(Geo::empty()), saved, at(3));
    let health = |shown| after.checked(&target(&after, shown)).map(|checked| checked.health);
    assert_eq!(health("c of web/a at 192.0.2.1"), Some(Health::Down));
    assert_eq!(health("c of web/b at 192.0.2.1"), Some(Health::Up));
}

const RAMP: &str = "[checks.c]\ntype = \"tcp\"\nrise = 1\nfall = 1\n[pools.web]\ncheck = \"c\"\nramp = \"20s\"\n\
    realservers = [{ name = \"a\", address = \"192.0.2.1\", port = 80 }, { name = \"b\", address = \"192.0.2.2\", port = 80 }]\n";

/// How many of the next 1100 connections `a` gets.
fn share_of_a(state: &mut State) -> usize {
    state.is_changed = true;
    let snapshot = state.snapshot().expect("a snapshot");
    let (pool, _) = snapshot.pool_named("web").expect("the pool");
    let gets = |_: &u32| {
        let address = [198, 51, 100, 1].into();
        let client = Client { address, prefix: 32, via: Via::L4, random: 0, turn: Turn::Take, most: 1 };
        select(&snapshot, pool, &client).realservers.first().is_some_and(|ranked| &*ranked.realserver.name == "a")
    };
    (0..1100).filter(gets).count()
}

#[test]
fn weight_grows_in_ten_steps_after_a_recovery() {
    let mut state = state(RAMP);
    probe(&mut state, "c at 192.0.2.1:80", ".", 0);
    probe(&mut state, "c at 192.0.2.2:80", ".", 0);
    assert_eq!(share_of_a(&mut state), 550, "who was never down has nothing to recover from");
    probe(&mut state, "c at 192.0.2.1:80", "x.", 100);
    assert_eq!(share_of_a(&mut state), 100, "one to ten");
    let mut generations = 0;
    let mut tenths = Vec::new();
    for second in 100..=130 {
        state.apply(Event::Tick, at(second)).expect("tick");
        generations += usize::from(state.snapshot().is_some());
        tenths.push(a(&mut state).tenths_v4.get());
    }
    tenths.dedup();
    assert_eq!(tenths, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(generations, 9, "a snapshot a step, and none afterwards");
    assert_eq!(share_of_a(&mut state), 550);
    assert!(state.ramping.is_empty());
}

#[test]
fn ramp_starts_anew_with_each_recovery_and_ends_when_the_clock_is_set_back() {
    let mut state = state(RAMP);
    probe(&mut state, "c at 192.0.2.1:80", "x.", 100);
    state.apply(Event::Tick, at(110)).expect("tick");
    assert_eq!(a(&mut state).tenths_v4.get(), 6);
    probe(&mut state, "c at 192.0.2.1:80", "x.", 110);
    assert_eq!(a(&mut state).tenths_v4.get(), 1);
    state.apply(Event::Tick, at(50)).expect("tick");
    assert_eq!(a(&mut state).tenths_v4.get(), 10);
}

#[test]
fn ramp_keeps_ratios_of_large_weights_and_gives_small_ones_something() {
    let ids = |weights: &[(u16, u8)]| -> Vec<(RealserverId, crate::types::Weight, Tenths)> {
        let weight = |weight| crate::types::Weight::new(weight).expect("not 0");
        (0..).zip(weights).map(|(id, (w, t))| (RealserverId(id), weight(*w), Tenths::new(*t))).collect()
    };
    let ramped = |weights: &[(u16, u8)]| -> Vec<u16> {
        build::ramped_weights(&ids(weights)).into_iter().map(|(_, weight)| weight.get()).collect()
    };
    assert_eq!(ramped(&[(4, 10), (3, 10)]), [4, 3]);
    assert_eq!(ramped(&[(4, 1), (3, 10)]), [4, 30]);
    assert_eq!(ramped(&[(65535, 1), (65535, 10), (1, 1)]), [6553, 65535, 1]);
    assert_eq!(ramped(&[(20_000, 5), (10_000, 10)]), [30_000, 30_000]);
}

fn connect_failure(address: &str, is_refused: bool) -> Event {
    let address = address.parse().expect("address");
    Event::ConnectFailed(ConnectFailure { realserver: name("web/a"), address, error: "no route".into(), is_refused })
}

#[test]
fn failed_connection_counts_as_a_failed_probe_once_an_interval() {
    let toml = RAMP.replace("fall = 1", "fall = 3\ninterval = \"10s\"");
    let mut state = state(&toml);
    probe(&mut state, "c at 192.0.2.1:80", ".", 0);
    for second in 0..20 {
        assert_eq!(state.apply(connect_failure("192.0.2.1", true), at(second)).expect("applies"), []);
    }
    assert_eq!(a(&mut state).health_v4, Health::Up);
    let happened = state.apply(connect_failure("192.0.2.1", true), at(20)).expect("applies");
    assert!(matches!(happened.as_slice(), [Happening::HealthChanged { to: Health::Down, .. }]), "{happened:?}");
    assert_eq!(a(&mut state).why.as_deref(), Some("a listener's connection: no route"));
    probe(&mut state, "c at 192.0.2.1:80", ".", 21);
    assert_eq!(a(&mut state).health_v4, Health::Up, "probes bring it up again");
}

#[test]
fn failed_connection_counts_only_for_the_address_and_where_it_is_wanted() {
    let mut state = state(RAMP);
    probe(&mut state, "c at 192.0.2.1:80", ".", 0);
    state.apply(connect_failure("192.0.2.99", true), at(1)).expect("applies");
    assert_eq!(a(&mut state).health_v4, Health::Up, "an address from before a reload");
    let mut deaf = self::state(&RAMP.replace("fall = 1", "fall = 1\npassive = false"));
    probe(&mut deaf, "c at 192.0.2.1:80", ".", 0);
    deaf.apply(connect_failure("192.0.2.1", true), at(1)).expect("applies");
    assert_eq!(a(&mut deaf).health_v4, Health::Up);
    let mut unchecked = self::state(&RAMP.replace("check = \"c\"\n", ""));
    assert_eq!(unchecked.apply(connect_failure("192.0.2.1", true), at(1)).expect("applies"), []);
    let refusing = RAMP.replace("fall = 1", "fall = 9\nrefused_is_down = true");
    let mut refusing = self::state(&refusing);
    probe(&mut refusing, "c at 192.0.2.1:80", ".", 0);
    refusing.apply(connect_failure("192.0.2.1", false), at(1)).expect("applies");
    assert_eq!(a(&mut refusing).health_v4, Health::Up);
    refusing.apply(connect_failure("192.0.2.1", true), at(9)).expect("applies");
    assert_eq!(a(&mut refusing).health_v4, Health::Down);
}

#[test]
fn failed_connection_is_no_failed_echo() {
    let toml = SEVERAL_CHECKS
        .replace("[\"inner\", \"file\"]", "[\"ping\", \"web\"]")
        .replace("type = \"http\"", "type = \"http\"\nfall = 1");
    let mut state = state(&toml);
    for shown in ["ping at 192.0.2.1", "web at 192.0.2.1:80"] {
        probe(&mut state, shown, ".", 0);
    }
    state.apply(connect_failure("192.0.2.1", true), at(1)).expect("applies");
    let health = |shown| state.checked(&target(&state, shown)).map(|checked| checked.health);
    assert_eq!(health("ping at 192.0.2.1"), Some(Health::Up));
    assert_eq!(health("web at 192.0.2.1:80"), Some(Health::Down));
}

#[test]
fn certificate_that_ends_soon_is_told_once_and_noted_always() {
    let toml = RAMP.replace("type = \"tcp\"", "type = \"https\"\nexpiry_warning = \"10s\"");
    let mut state = state(&toml);
    let https = target(&state, "c at 192.0.2.1:80");
    let mut seen = |second| state.apply(Event::CertificateSeen(https.clone(), at(100)), at(second)).expect("applies");
    assert_eq!(seen(80), []);
    assert_eq!(seen(95), [Happening::CertificateEnding(https.clone(), at(100))]);
    assert_eq!(seen(96), []);
    let notes = state.notes(at(96));
    assert_eq!((notes.n_ending, notes.certificates), (1, vec![(https, at(100))]));
    assert_eq!(state.notes(at(80)).n_ending, 0);
}

#[test]
fn health_is_stale_three_intervals_after_its_last_probe_while_it_is_to_be_probed() {
    let mut state = state(RAMP);
    let one = target(&state, "c at 192.0.2.1:80");
    assert_eq!(state.notes(at(15)).n_stale, 0);
    assert_eq!(state.notes(at(16)).n_stale, 2, "never probed at all");
    probe(&mut state, "c at 192.0.2.1:80", ".", 16);
    assert_eq!((state.notes(at(31)).n_stale, state.is_stale(&one, at(31))), (1, false));
    assert!(state.is_stale(&one, at(32)));
    let set = |admin| Override { wish: Wish::Admin(admin), until: None, reason: None, by: "test".into(), since: at(0) };
    state.apply(Event::OperatorSet("web/a".parse().expect("a pattern"), set(Admin::Maint)), at(32)).expect("applies");
    assert!(!state.is_stale(&one, at(99)), "nobody wants to know");
    state.apply(Event::OperatorSet("web/a".parse().expect("a pattern"), set(Admin::Ready)), at(99)).expect("applies");
    assert!(!state.is_stale(&one, at(100)) && state.is_stale(&one, at(115)));
}

#[test]
fn reload_that_leaves_a_target_alone_makes_it_no_fresher() {
    let mut state = state(RAMP);
    let config = state.config().clone();
    state.apply(Event::Configured(config, Arc::new(Geo::empty())), at(10)).expect("applies");
    assert_eq!(state.notes(at(16)).n_stale, 2);
    assert!(Duration::from_secs(5) == target(&state, "c at 192.0.2.1:80").check.interval);
}
