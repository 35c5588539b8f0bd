//! Programs from outside, and waiting for what they should see.

use std::{
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Longest wait for what should happen at once, on a machine that has much else to do.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// Pause between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Asks until there is an answer. Panics with the last refusal when `deadline` has passed.
#[track_caller]
pub(super) fn within<T>(deadline: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        let is_last = start.elapsed() >= deadline;
        match ask() {
            Ok(answer) => return answer,
            Err(refusal) if is_last => panic!("not within {deadline:?}: {refusal}"),
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// [`within`] for a value that should become `expected`.
#[track_caller]
pub(super) fn becomes<T: PartialEq + std::fmt::Debug>(deadline: Duration, expected: T, mut ask: impl FnMut() -> T) {
    within(deadline, || {
        let seen = ask();
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}, expected {expected:?}")) }
    });
}

/// Runs a program to its end.
#[track_caller]
pub(super) fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Output {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("`{program}` could not be run: {error}; tests/run installs what tests need"))
}

/// What a program wrote to standard output.
pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a program wrote to standard error.
pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What dig shows. One try only: a second one would take a second turn of a round robin.
#[track_caller]
pub(super) fn dig(server: SocketAddr, question: &str) -> String {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let fixed = ["-r", &at, "-p", &port, "+time=5", "+tries=1"];
    let output = run("dig", fixed.into_iter().chain(question.split_whitespace()));
    stdout(&output)
}

/// The response code in what dig shows.
pub(super) fn rcode(shown: &str) -> &str {
    shown.split_once("status: ").and_then(|(_, rest)| rest.split(',').next()).unwrap_or("no answer")
}

/// The flags in what dig shows, such as `qr aa`.
pub(super) fn flags(shown: &str) -> &str {
    shown.split_once("flags: ").and_then(|(_, rest)| rest.split(';').next()).unwrap_or("")
}

/// What curl shows. No proxy, whatever the environment says.
#[track_caller]
pub(super) fn curl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let fixed = ["--silent", "--show-error", "--max-time", "10", "--noproxy", "*"];
    let mut command = Command::new("curl");
    command.args(fixed).args(arguments).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("`curl` could not be run: {error}; tests/run installs it"))
}

/// The body at `url`.
#[track_caller]
pub(super) fn get(url: &str) -> String {
    let output = curl([url]);
    assert!(output.status.success(), "{url}: {}", stderr(&output));
    stdout(&output)
}

/// A loopback address that nobody else uses: made of this process and a counter.
pub(super) fn own_ip() -> Ipv4Addr {
    static COUNTER: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + high % 250, low, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A port on `ip` that is free for UDP and TCP. It stays free, since nobody else uses an [`own_ip`].
#[track_caller]
pub(super) fn free_port(ip: Ipv4Addr) -> u16 {
    let tcp = TcpListener::bind((ip, 0)).expect("TCP port");
    let port = tcp.local_addr().expect("address").port();
    drop(UdpSocket::bind((ip, port)).expect("the same UDP port"));
    port
}
