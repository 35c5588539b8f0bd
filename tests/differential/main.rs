//! The judge: asks Knot, NSD, BIND and us the same packets about the same zones, and compares what matters.
//!
//! Zones and packets come from a seed, a fixed one unless `FINGERPOST_SEED` gives another; one test asks a table of malformed packets. A difference is printed with the records that have a say, the query as a line
//! for dig and in hex, and the four replies; those that are meant stand in [`explained`], each with its RFC.
//!
//! Needs Debian's `knot`, `nsd` and `bind9`. Not compared: order within sections, additional records that may be missing, how much is sent
//! with TC and for ANY, EDNS options other than NSID and client subnet.

#![expect(unreachable_pub, reason = "the items of a test are for the test")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

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

use fastrand::Rng;

use crate::{
    queries::{Draft, Edns, Query, Question},
    trial::Report,
    zones::Universe,
};

/// Packets of each seeded run; those that go over TCP as well count once.
const N_QUERIES: usize = 12_000;
/// Parents; about half of them have a child zone.
const N_PARENTS: usize = 80;

/// Another seed finds what this one does not: give it as `FINGERPOST_SEED`.
#[test]
fn seeded_packets_get_what_the_references_give() {
    let seed = std::env::var("FINGERPOST_SEED").map_or(4711, |text| text.parse().expect("FINGERPOST_SEED is a number"));
    run_seed(seed);
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
    println!("FINGERPOST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let universe = Universe::generate(&mut rng, N_PARENTS);
    let queries = Query::generate(&mut rng, &universe, N_QUERIES);
    let report = trial::hold(&universe, &queries, &format!("FINGERPOST_SEED={seed}"));
    check(&report);
    assert!(report.unmet().is_empty(), "never asked about: {:?}", report.unmet());
}

fn check(report: &Report) {
    assert!(report.different.is_empty(), "{}", report.differences());
    assert!(report.unnoticed.is_empty(), "{:#?}", report.unnoticed.keys());
}
