//! What it costs to probe very many realservers, and how punctual the probes are: scheduler, probes and state as in the server, against
//! responders on loopback.
//!
//! A benchmark target only so that it is built with the library's dependencies and not installed with the program.

#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that cannot run says so and ends")]

use std::{
    env, fmt::Write as _, fs, io::BufRead, io::BufReader, net::Ipv4Addr, path::Path, process::Command, process::Stdio,
    sync::Arc, time::Duration,
};

use fingerpost::{
    config,
    geo::Geo,
    health::scheduler,
    shutdown::Shutdown,
    state::{Event, State, saved::Saved},
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
    time::Instant,
};

const USAGE: &str = "usage: cargo bench --bench health_probes -- tcp|http REALSERVERS [SECONDS]
probes that many realservers once in 10 seconds on the first core, with a responder on the second; warms up for 11 seconds";

/// Realservers of one pool.
const POOL_SIZE: u32 = 4000;
const INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    match arguments[..] {
        ["respond"] => runtime.block_on(respond()),
        [kind @ ("tcp" | "http"), n, ref rest @ ..] => {
            let seconds = rest.first().map_or(20, |seconds| seconds.parse().expect(USAGE));
            runtime.block_on(probe(kind, n.parse().expect(USAGE), Duration::from_secs(seconds)));
        }
        // `cargo bench` runs every target.
        _ => println!("{USAGE}"),
    }
}

/// Answers whatever comes with 200 and closes, on every loopback address.
async fn respond() {
    let socket = tokio::net::TcpSocket::new_v4().expect("socket");
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).expect("bind");
    let listener: TcpListener = socket.listen(4096).expect("listen");
    println!("{}", listener.local_addr().expect("address").port());
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = [0; 1024];
            // A tcp check closes without a word.
            if let Ok(1..) = stream.read(&mut request).await {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
            }
        });
    }
}

async fn probe(kind: &str, n_realservers: u32, seconds: Duration) {
    let own = env::current_exe().expect("own path");
    let own_pid = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-pc", "0", &own_pid]).stdout(Stdio::null()).status().expect("taskset");
    assert!(pinned.success());
    let mut responder = Command::new("taskset")
        .args(["-c", "1"])
        .arg(own)
        .arg("respond")
        .stdout(Stdio::piped())
        .spawn()
        .expect("responder");
    let mut port = String::new();
    BufReader::new(responder.stdout.take().expect("piped")).read_line(&mut port).expect("a port");

    let mut state = state(kind, n_realservers, port.trim());
    let targets = state.targets();
    assert_eq!(targets.len(), usize::try_from(n_realservers).expect("fits"));
    let (to_scheduler, targets) = watch::channel(Arc::new(targets));
    let (sender, mut results) = mpsc::channel(1024);
    let (counters, shutdown) = (Arc::default(), Shutdown::new());
    let running = tokio::spawn(scheduler::run(targets, sender, counters, shutdown.clone()));

    let (mut late, mut took, mut n_failed) = (Vec::new(), Vec::new(), 0u32);
    let (start, end) = (
        Instant::now() + INTERVAL + Duration::from_secs(1),
        Instant::now() + INTERVAL + Duration::from_secs(1) + seconds,
    );
    let mut cpu_before = None;
    while let Ok(Some(found)) = tokio::time::timeout_at(end, results.recv()).await {
        if Instant::now() >= start {
            cpu_before.get_or_insert_with(cpu);
            late.push(found.late_by);
            took.push(found.took);
            n_failed += u32::from(found.outcome.is_err());
        }
        state.apply(Event::Probed(found.target, found.outcome), Timestamp::now()).expect("probes apply");
    }
    let spent = cpu() - cpu_before.expect("something was measured");
    drop(to_scheduler);
    running.await.expect("no panic");
    responder.kill().expect("own child");
    responder.wait().expect("own child");

    let n = f64::from(u32::try_from(late.len()).expect("fits"));
    println!(
        "{kind}, {n_realservers} realservers: {:.0} probes/s, {n_failed} failed; CPU {:.1} % of a core, {:.1} µs a probe",
        n / seconds.as_secs_f64(),
        100.0 * spent.as_secs_f64() / seconds.as_secs_f64(),
        spent.as_secs_f64() * 1e6 / n,
    );
    println!("  late by {}", quantiles(&mut late));
    println!("  took {}", quantiles(&mut took));
}

fn state(kind: &str, n_realservers: u32, port: &str) -> State {
    let mut toml =
        format!("version = 1\n[checks.c]\ntype = \"{kind}\"\ninterval = \"10s\"\ntimeout = \"5s\"\nport = {port}\n");
    for n in 0..n_realservers {
        if n % POOL_SIZE == 0 {
            let close = if n == 0 { "" } else { "]\n" };
            // Writing to a String cannot fail.
            let _ = write!(toml, "{close}[pools.p{}]\ncheck = \"c\"\nrealservers = [\n", n / POOL_SIZE);
        }
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + n);
        let _ = writeln!(toml, "  {{ name = \"r{n}\", address = \"{address}\" }},");
    }
    toml.push_str("]\n");
    let (config, _) = config::parse(Path::new("bench.toml"), toml).unwrap_or_else(|errors| panic!("{errors}"));
    State::new(Arc::new(config), Arc::new(Geo::empty()), Saved::default(), Timestamp::now())
}

/// Time that this process has run, all of its threads.
fn cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").expect("proc").flatten();
    let of = |path: &Path| fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    let nanoseconds = threads.map(|thread| {
        let text = of(&thread.path());
        text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| {
        times.get((times.len() * part / 1000).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    let text = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    format!("p50 {}, p99 {}, p99.9 {}, max {}", text(at(500)), text(at(990)), text(at(999)), text(at(1000)))
}
