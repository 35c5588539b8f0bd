//! The other side of `compare-dns` and `reload`: queries for every kind of answer, the bare echo that all are measured against, and gdnsd's
//! network list.
//!
//! A benchmark target only so that it is built with the library's dependencies and not installed with the program.

#![allow(unsafe_code)] // recvmmsg and sendmmsg
#![allow(clippy::expect_used, reason = "a benchmark that cannot run says so and ends")]
#![allow(clippy::cast_possible_truncation, reason = "sizes of small buffers, as the system wants them")]

mod echo;
mod load;
mod nets;
mod queries;
mod steady;

use std::{env, time::Duration};

const USAGE: &str = "usage: dns_load echo ADDRESS:PORT | load ADDRESS:PORT CASE SECONDS [echo] | nets MMDB
       dns_load steady ADDRESS:PORT CASE RATE SECONDS | flood ADDRESS:PORT CASE RATE SECONDS
cases: static wrr geo hash nxdomain referral million response short; `echo` accepts any answer";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["echo", address] => echo::serve(address.parse().expect("ADDRESS:PORT")),
        ["load", address, case, seconds, ref rest @ ..] => {
            let case = queries::Case::named(case).expect(USAGE);
            let duration = Duration::from_secs_f64(seconds.parse().expect(USAGE));
            let load = load::run(address.parse().expect("ADDRESS:PORT"), &case, rest.is_empty(), duration);
            println!("{} {} {} {}", load.n_answers, load.n_wrong, load.n_lost, load.elapsed.as_nanos());
        }
        [how @ ("steady" | "flood"), address, case, rate, seconds] => {
            let case = queries::Case::named(case).expect(USAGE);
            let (address, rate) = (address.parse().expect("ADDRESS:PORT"), rate.parse().expect(USAGE));
            let duration = Duration::from_secs_f64(seconds.parse().expect(USAGE));
            if how == "flood" {
                return println!("{}", steady::flood(address, &case, rate, duration));
            }
            let steady = steady::run(address, &case, rate, duration);
            let [half, p99, p999] = [0.5, 0.99, 0.999].map(|part| steady.quantile(part));
            let longest = steady.latencies.last().copied().unwrap_or_default();
            println!("{} {} {} {half} {p99} {p999} {longest}", steady.n_sent, steady.n_wrong, steady.n_lost);
        }
        ["nets", path] => nets::print(path),
        // `cargo bench` runs every target.
        _ => println!("{USAGE}"),
    }
}
