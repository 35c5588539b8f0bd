//! The other side of `compare-dns`: queries for every kind of answer, the bare echo that all are measured against, and gdnsd's network list.
//!
//! A benchmark target only so that it is built with the library's dependencies and not installed with the program.

#![allow(unsafe_code)] // recvmmsg and sendmmsg
#![allow(clippy::expect_used, reason = "a benchmark that cannot run says so and ends")]
#![allow(clippy::cast_possible_truncation, reason = "sizes of small buffers, as the system wants them")]

mod echo;
mod load;
mod nets;
mod queries;

use std::{env, time::Duration};

const USAGE: &str = "usage: dns_load echo ADDRESS:PORT | load ADDRESS:PORT CASE SECONDS [echo] | nets MMDB
cases: static wrr geo hash nxdomain referral; `echo` accepts any answer";

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
        ["nets", path] => nets::print(path),
        // `cargo bench` runs every target.
        _ => println!("{USAGE}"),
    }
}
