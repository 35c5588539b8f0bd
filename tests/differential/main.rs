//! The judge: asks Knot, NSD, BIND and us the same packets about the same zones, and compares what matters.
//!
//! Zones and packets come from a seed: one that is always the same, and one that is new in every run and printed, with the line that asks
//! the same again. One test asks a table of malformed packets. Two references must give what we give, or one where the others have no say.
//! A difference is printed with the records that have a say, the query as a line for dig and in hex, and the four replies; those that are
//! meant stand in [`explained`], each with the RFC that we follow, and a run prints how often each was needed.
//!
//! A run also prints how many queries were about what ([`aspects`]) and fails when something was never asked; and it spoils good replies in
//! every way that matters ([`sabotage`]) and fails when one passes.
//!
//! Needs Debian's `knot`, `nsd` and `bind9`. Not compared: order within sections, additional records that may be missing, how much is sent
//! with TC and for ANY, EDNS options other than NSID and client subnet.

#![expect(unreachable_pub, reason = "the items of a test are for the test")]

#[cfg(test)]
mod aspects;
#[cfg(test)]
mod exchange;
#[cfg(test)]
mod explained;
#[cfg(test)]
mod judge;
#[cfg(test)]
mod malformed;
#[cfg(test)]
mod message;
#[cfg(test)]
mod name;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod standing;
#[cfg(test)]
mod trial;
#[cfg(test)]
mod zones;

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;

use crate::{
    queries::{Draft, Edns, Query, Question},
    trial::Report,
    zones::Universe,
};

/// Packets of each seeded run; those that go over TCP as well count once.
const N_QUERIES: usize = 10_500;
/// Of these so many must have replies of two references at least.
const N_JUDGED_MIN: usize = 10_000;
/// Parents; about half of them have a child zone.
const N_PARENTS: usize = 80;
/// The seed of the run that is always the same.
const FIXED_SEED: u64 = 4711;

#[test]
fn packets_of_a_fixed_seed_get_what_the_references_give() {
    run_seed(FIXED_SEED);
}

/// The seed is new in every run, or what `FINGERPOST_SEED` says.
#[test]
fn packets_of_a_fresh_seed_get_what_the_references_give() {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_nanos()));
    run_seed(std::env::var("FINGERPOST_SEED").map_or_else(|_| clock(), |text| text.parse().expect("a number")));
}

#[test]
fn malformed_packets_get_what_the_references_give() {
    let universe = Universe::generate(&mut Rng::with_seed(1), 2);
    let apex = universe.zones[0].apex.clone();
    let question = Question { name: apex, rtype: 6, class: 1 };
    let edns = Edns { options: vec![(3, Vec::new()), (8, vec![0, 1, 24, 0, 192, 0, 2])], ..Edns::plain() };
    let mut queries = malformed::all(&Draft { flags: queries::RD, question: question.clone(), edns: Some(edns) });
    queries.extend(malformed::all(&Draft { flags: 0, question, edns: None }));
    queries::number(&mut queries);
    let report = trial::hold(&universe, &queries, "the table of malformed packets");
    check(&report);
}

fn run_seed(seed: u64) {
    // Seen when the test fails, and with --nocapture.
    let replay =
        format!("FINGERPOST_SEED={seed} cargo test --test differential fresh -- --nocapture    # asks the same again");
    println!("{replay}");
    let mut rng = Rng::with_seed(seed);
    let universe = Universe::generate(&mut rng, N_PARENTS);
    let queries = Query::generate(&mut rng, &universe, N_QUERIES);
    let report = trial::hold(&universe, &queries, &format!("seed {seed}"));
    check(&report);
    assert!(report.unmet().is_empty(), "never asked about: {:?}\n{replay}", report.unmet());
    assert!(report.n_judged >= N_JUDGED_MIN, "only {} packets were judged\n{replay}", report.n_judged);
}

fn check(report: &Report) {
    assert!(report.different.is_empty(), "{}", report.differences());
    assert!(report.unnoticed.is_empty(), "{:#?}", report.unnoticed.keys());
}
