//! What is built before anything is answered, and the lookups in it: geo tables, affinity tables, zones.

#![allow(missing_docs, reason = "criterion's macros write functions without")]
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run says so and ends")]

mod fixture;

use std::{hint::black_box, net::IpAddr};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fingerpost::{
    geo::{Class, Continent, Coordinates, Key, Nearest, Rules, Table},
    select::maglev::Maglev,
    types::{RealserverId, Weight},
};

use fixture::{CpuTime, city::City, geo, zone, zone_text};

/// Names of the zone that is loaded.
const NAMES: u32 = 10_000;

fn bench_geo(criterion: &mut Criterion<CpuTime>) {
    let geo = geo();
    let keys = Continent::ALL.into_iter().zip(1..).map(|(continent, class)| (Key::Continent(continent), Class(class)));
    let rules = Rules { keys: keys.collect(), nets: Vec::new(), default: Class(0) };
    let table = Table::compile(&geo, &rules);
    let mut random = fastrand::Rng::with_seed(4711);
    let v4: Vec<IpAddr> = (0..65_536).map(|_| random.u32(..).to_be_bytes().into()).collect();
    // Of the eighth of the space that is given out.
    let v6: Vec<IpAddr> = (0..65_536).map(|_| (random.u128(..) >> 3 | 1 << 125).to_be_bytes().into()).collect();

    let mut group = criterion.benchmark_group("geo");
    for (name, addresses) in [("lookup/v4", &v4), ("lookup/v6", &v6)] {
        let mut next = addresses.iter().cycle();
        group.bench_function(name, |bencher| bencher.iter(|| next.next().map(|&address| table.lookup(address))));
    }
    group.sample_size(10);
    group.bench_function("compile", |bencher| bencher.iter(|| Table::compile(&geo, black_box(&rules))));
    group.finish();
}

/// Twenty places around the world.
fn sites() -> Vec<Option<Coordinates>> {
    let mut random = fastrand::Rng::with_seed(42);
    (0..20).map(|_| Coordinates::new(random.f64() * 110.0 - 50.0, random.f64() * 360.0 - 180.0)).collect()
}

/// Megabytes that the process holds now, and the most that it has held.
fn resident() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1024
    })
}

/// A database of cities, three million networks: read, compiled for a geo pool and for a nearest one, looked up.
fn bench_city(criterion: &mut Criterion<CpuTime>) {
    let city = City::new();
    // What the writer held is given back to the system only by a new process: the difference is what counts.
    let before = resident();
    let geo = city.load();
    let loaded = resident();
    let keys =
        [("US", 1), ("DE", 2), ("europe", 3), ("JP", 4)].map(|(key, class)| (key.parse().expect(key), Class(class)));
    let rules = Rules { keys: keys.into(), nets: Vec::new(), default: Class(0) };
    let table = Table::compile(&geo, &rules);
    let nearest = Nearest::compile(&geo, &sites(), &[vec![0]]);
    let after = resident();
    println!(
        "city: {} networks in {} MB; resident {} MB before, {} MB with it read, {} MB with both tables (most: {} MB); geo table {} MB, \
         nearest {} MB with {} groups",
        city.n_networks,
        std::fs::metadata(&city.path).map_or(0, |metadata| metadata.len()) >> 20,
        before[0],
        loaded[0],
        after[0],
        after[1],
        table.size_bytes() >> 20,
        nearest.size_bytes() >> 20,
        nearest.n_groups(),
    );
    let mut random = fastrand::Rng::with_seed(4711);
    let v4: Vec<IpAddr> = (0..65_536).map(|_| random.u32(..).to_be_bytes().into()).collect();
    let v6: Vec<IpAddr> = (0..65_536).map(|_| (random.u128(..) >> 3 | 1 << 125).to_be_bytes().into()).collect();
    let mut group = criterion.benchmark_group("city");
    for (name, addresses) in [("v4", &v4), ("v6", &v6)] {
        let mut next = addresses.iter().cycle();
        group.bench_function(format!("lookup/geo/{name}"), |bencher| {
            bencher.iter(|| next.next().map(|&address| table.lookup(address)))
        });
        group.bench_function(format!("lookup/nearest/{name}"), |bencher| {
            bencher.iter(|| next.next().map(|&address| nearest.lookup(address)))
        });
    }
    group.sample_size(10);
    group.bench_function("load", |bencher| bencher.iter(|| city.load()));
    group.bench_function("compile/geo", |bencher| bencher.iter(|| Table::compile(&geo, black_box(&rules))));
    group.bench_function("compile/nearest", |bencher| {
        bencher.iter(|| Nearest::compile(&geo, black_box(&sites()), &[vec![0]]))
    });
    group.finish();
}

fn bench_maglev(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("maglev");
    group.sample_size(10);
    for n_realservers in [3u16, 100, 1000] {
        let names: Vec<String> = (0..n_realservers).map(|number| format!("realserver-{number}")).collect();
        let members = || (0..).map(RealserverId).zip(&names).map(|(id, name)| (id, &**name, Weight::ONE));
        group.bench_function(format!("build/{n_realservers}"), |bencher| bencher.iter(|| Maglev::new(members())));
    }
    group.finish();
}

fn bench_zone(criterion: &mut Criterion<CpuTime>) {
    let text = zone_text(NAMES);
    let mut group = criterion.benchmark_group("zone");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(NAMES)));
    group.bench_function("load", |bencher| bencher.iter_batched(|| (), |()| zone(&text), BatchSize::PerIteration));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = bench_geo, bench_city, bench_maglev, bench_zone
}
criterion_main!(benches);
