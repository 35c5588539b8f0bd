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
mod servers;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod zones;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    thread,
    time::Duration,
};

use fastrand::Rng;

use crate::{
    explained::Explained,
    judge::{Case, Verdict},
    message::Reply,
    queries::{Draft, Edns, Query, Question},
    servers::Fleet,
    zones::Universe,
};

/// Packets of each seeded run; those that go over TCP as well count once.
const N_QUERIES: usize = 12_000;
/// Parents; about half of them have a child zone.
const N_PARENTS: usize = 80;
/// Different kinds of differences that are printed.
const SHOWN_MAX: usize = 12;
/// Wait after the last reply before a packet is asked again or counts as unanswered.
const PATIENCE: Duration = Duration::from_millis(300);
/// How often a packet is asked over UDP until it counts as unanswered.
const N_ATTEMPTS: usize = 2;

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
    judge(&universe, &queries, "the table of malformed packets");
}

fn run_seed(seed: u64) {
    // Seen when the test fails, and with --nocapture.
    println!("FINGERPOST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let universe = Universe::generate(&mut rng, N_PARENTS);
    let queries = Query::generate(&mut rng, &universe, N_QUERIES);
    judge(&universe, &queries, &format!("FINGERPOST_SEED={seed}"));
}

/// What one server replied.
struct Replies {
    by_udp: Vec<Reply>,
    /// By index of the query.
    by_tcp: HashMap<usize, Reply>,
}

fn judge(universe: &Universe, queries: &[Query], origin: &str) {
    let mut fleet = Fleet::start(universe);
    let replies = thread::scope(|scope| {
        let asking = fleet.addresses().map(|address| scope.spawn(move || ask(address, queries)));
        asking.map(|replies| replies.join().expect("asking does not fail"))
    });
    let mut explained: BTreeMap<&str, (usize, &Explained)> = BTreeMap::new();
    let mut different: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut n_cases = 0;
    for (index, query) in queries.iter().enumerate() {
        let ours_by_tcp = replies[0].by_tcp.get(&index);
        let by_udp = Some(replies.each_ref().map(|replies| &replies.by_udp[index]));
        let by_tcp = query.is_for_tcp.then(|| replies.each_ref().map(|replies| &replies.by_tcp[&index]));
        for (is_tcp, replies) in [(false, by_udp), (true, by_tcp)] {
            let Some(replies) = replies else { continue };
            n_cases += 1;
            let case = Case { universe, query, is_tcp, replies, ours_by_tcp };
            match case.verdict() {
                Verdict::Same => {}
                Verdict::Explained(reasons) => {
                    for reason in reasons {
                        explained.entry(reason.name).or_insert((0, reason)).0 += 1;
                    }
                }
                Verdict::Different(problem) => {
                    different.entry(case.signature()).or_default().push(case.describe(problem));
                }
            }
        }
    }
    println!("{origin}: {} packets, {n_cases} replies of each server compared, explained:", queries.len());
    for (name, (n_explained, Explained { rfc, why, .. })) in &explained {
        println!("{n_explained:5} {name} ({rfc}): {why}");
    }
    if different.is_empty() {
        return;
    }
    let n_different: usize = different.values().map(Vec::len).sum();
    let mut kinds: Vec<(String, Vec<String>)> = different.into_iter().collect();
    kinds.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    let mut text = format!("{origin}: {n_different} differences of {} kinds\n", kinds.len());
    for (signature, cases) in kinds.iter().take(SHOWN_MAX) {
        let shortest = cases.iter().min_by_key(|case| case.len()).expect("at least one");
        let _ = writeln!(text, "\n=== {} times: {signature}\n{shortest}", cases.len());
    }
    panic!("{text}\nzones, configurations and logs: {}", fleet.keep_folder().display());
}

fn ask(address: std::net::SocketAddr, queries: &[Query]) -> Replies {
    let packets: Vec<Vec<u8>> = queries.iter().map(|query| query.packet.clone()).collect();
    let by_udp = exchange::ask_udp(address, &packets, PATIENCE, N_ATTEMPTS);
    let mut by_tcp = HashMap::new();
    for is_well_formed in [true, false] {
        let indexes: Vec<usize> = (0..queries.len())
            .filter(|&index| queries[index].is_for_tcp && queries[index].is_well_formed == is_well_formed)
            .collect();
        let packets: Vec<Vec<u8>> = indexes.iter().map(|&index| packets[index].clone()).collect();
        let replies = match is_well_formed {
            true => exchange::ask_tcp(address, &packets),
            false => exchange::ask_tcp_alone(address, &packets, PATIENCE),
        };
        by_tcp.extend(indexes.into_iter().zip(replies));
    }
    Replies { by_udp, by_tcp }
}
