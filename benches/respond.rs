//! What `dns::respond` takes by itself, for each kind of answer, in a zone of a million names.
//!
//! `one` asks the same again and again: everything is in the cache. `any` asks for a million names, or on behalf of 65,536 networks, in
//! no order: what memory costs is in it.

#![allow(missing_docs, reason = "criterion's macros write functions without")]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run says so and ends")]

mod fixture;

use std::{hint::black_box, net::SocketAddr, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use fingerpost::{
    dns::{Kind, Step, Transport, respond},
    snapshot::Snapshot,
};

use fixture::{CpuTime, NAMES, query, snapshot};

/// Queries that are made before; more than fit into a cache that memory is read through.
const QUERIES: u32 = 65_536;

fn bench(criterion: &mut Criterion<CpuTime>) {
    let snapshot = snapshot();
    let mut random = fastrand::Rng::with_seed(4711);
    let mut subnet = || [random.u8(1..224), random.u8(..), random.u8(..)];
    let one = |name: &str| vec![query(&format!("{name}.example.org"), None)];
    let mut cases = vec![
        ("static/one", Kind::Static, one("www")),
        ("alias/one", Kind::Static, one("alias")),
        ("wrr/one", Kind::Pool, one("wrr")),
        ("hash/one", Kind::Pool, one("hash")),
        ("geo/one", Kind::Pool, vec![query("geo.example.org", Some([193, 0, 6]))]),
        ("nxdomain/one", Kind::NxDomain, one("missing")),
        ("referral/one", Kind::Referral, one("www.cut")),
        ("geo/any", Kind::Pool, (0..QUERIES).map(|_| query("geo.example.org", Some(subnet()))).collect()),
        ("hash/any", Kind::Pool, (0..QUERIES).map(|_| query("hash.example.org", Some(subnet()))).collect()),
    ];
    let mut any = |format: &dyn Fn(u32) -> String| -> Vec<_> {
        (0..QUERIES).map(|_| query(&format(random.u32(0..NAMES)), None)).collect()
    };
    cases.push(("static/any", Kind::Static, any(&|number| format!("n{number}.example.org"))));
    cases.push(("nxdomain/any", Kind::NxDomain, any(&|number| format!("m{number}.example.org"))));

    let mut group = criterion.benchmark_group("respond");
    for (name, kind, queries) in &cases {
        check(&snapshot, *kind, queries);
        let mut out = [0; 1232];
        let mut next = queries.iter().cycle();
        group.bench_function(*name, |bencher| {
            bencher.iter(|| next.next().map(|wire| ask(&snapshot, wire, &mut out)));
        });
    }
    group.finish();
}

fn ask(snapshot: &Snapshot, wire: &[u8], out: &mut [u8]) -> Step {
    let peer = SocketAddr::from(([192, 0, 2, 200], 4711));
    respond(black_box(snapshot), black_box(wire), peer, Transport::Udp, Duration::ZERO, 0, out)
}

/// What is measured must be what it is called.
fn check(snapshot: &Snapshot, expected: Kind, queries: &[Vec<u8>]) {
    let mut out = [0; 1232];
    for wire in queries {
        match ask(snapshot, wire, &mut out) {
            Step::Send { outcome, .. } => assert_eq!(outcome.kind, expected),
            Step::Drop(reason) => panic!("no answer: {reason:?}"),
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = bench
}
criterion_main!(benches);
