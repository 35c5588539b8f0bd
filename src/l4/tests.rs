//! The forwarder with real sockets on loopback.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    config,
    geo::Geo,
    health::passive::{self, Failures},
    observe::Observed,
    shutdown::Shutdown,
    snapshot::{Snapshot, Snapshots},
    state::{State, saved::Saved},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The snapshot of a configuration with the pool `p` and the listener `l`.
fn snapshot(policy: &str, realservers: &[(&str, u16, SocketAddr)], listener: &str) -> Arc<Snapshot> {
    let each = realservers.iter().map(|(name, weight, address)| {
        let (ip, port) = (address.ip(), address.port());
        format!("  {{ name = \"{name}\", address = \"{ip}\", port = {port}, weight = {weight} }},\n")
    });
    let realservers: String = each.collect();
    let text = format!(
        "version = 1\n[pools.p]\npolicy = \"{policy}\"\nrealservers = [\n{realservers}]\n\
         [listeners.l]\nbind = \"127.0.0.1:1\"\nprotocol = \"tcp\"\npool = \"p\"\n{listener}\n"
    );
    let (config, _) = config::parse(Path::new("test.toml"), text).expect("a valid configuration");
    let geo = Arc::new(Geo::empty());
    State::new(Arc::new(config), geo, Saved::default(), Timestamp::UNIX_EPOCH).snapshot().expect("a first snapshot")
}

struct Rig {
    address: SocketAddr,
    snapshots: Arc<Snapshots>,
    counters: Arc<Counters>,
    failures: Failures,
    shutdown: Shutdown,
    served: JoinHandle<()>,
}

impl Rig {
    fn start(snapshot: Arc<Snapshot>) -> Self {
        Self::start_as("l", snapshot)
    }

    fn start_as(name: &str, snapshot: Arc<Snapshot>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let snapshots = Arc::new(Snapshots::new(snapshot));
        let (counters, shutdown) = (Arc::new(Counters::new()), Shutdown::new());
        let (passive, failures) = passive::channel();
        let served = serve(name.into(), listener, snapshots.clone(), counters.clone(), passive, shutdown.clone());
        Self { address, snapshots, counters, failures, shutdown, served: tokio::spawn(served) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    /// The sum of a counter's samples whose labels hold all of `labels`.
    fn count(&self, name: &str, labels: &[&str]) -> u64 {
        let mut samples = Vec::new();
        self.counters.observe(&mut samples);
        let has_all =
            |values: &[(&str, String)]| labels.iter().all(|label| values.iter().any(|(_, value)| value == label));
        let of_name = samples.iter().filter(|sample| sample.name == format!("fingerpost_l4_{name}"));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
        let count = of_name.filter(|sample| has_all(&sample.labels)).map(|sample| sample.value as u64).sum();
        count
    }

    /// Waits until a counter has this value.
    async fn counts(&self, name: &str, labels: &[&str], expected: u64) {
        let reached = async {
            while self.count(name, labels) != expected {
                tokio::task::yield_now().await;
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "{name} {labels:?} is {}, not {expected}", self.count(name, labels));
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    (listener, address)
}

/// A realserver that says its name and closes.
async fn says(name: &'static str) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(name.as_bytes()).await;
        }
    });
    address
}

/// An address where nobody listens, and nobody else can as long as the socket is kept.
fn refuses() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.1:0".parse().expect("address")).expect("bind");
    let address = socket.local_addr().expect("address");
    (socket, address)
}

/// An address where connections are never accepted: the backlog is full.
async fn stays_silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.1:0".parse().expect("address")).expect("bind");
    let listener = socket.listen(1).expect("listen");
    let address = listener.local_addr().expect("address");
    let mut full = Vec::new();
    while let Ok(stream) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
        full.push(stream.expect("connect"));
    }
    (listener, full, address)
}

async fn read_all(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("in time")?;
    Ok(text)
}

async fn read_some(stream: &mut TcpStream, n_octets: usize) -> String {
    let mut octets = vec![0; n_octets];
    timeout(PATIENCE, stream.read_exact(&mut octets)).await.expect("in time").expect("read");
    String::from_utf8(octets).expect("text")
}

/// A client and a realserver, connected through the forwarder.
async fn connected(listener: &str) -> (Rig, TcpStream, TcpStream) {
    let (realserver, address) = listen().await;
    let rig = Rig::start(snapshot("wrr", &[("a", 1, address)], listener));
    let client = rig.connect().await;
    let (realserver, _) = timeout(PATIENCE, realserver.accept()).await.expect("in time").expect("accept");
    // A realserver that resets before the forwarder has seen it connect would be one that failed to connect.
    rig.counts("realserver_connections_total", &["a"], 1).await;
    (rig, client, realserver)
}

#[tokio::test]
async fn connections_go_to_realservers_in_lvs_order() {
    let realservers = [("a", 4, says("A").await), ("b", 3, says("B").await), ("c", 2, says("C").await)];
    let rig = Rig::start(snapshot("wrr", &realservers, ""));
    let mut order = String::new();
    for _ in 0..18 {
        order += &read_all(&mut rig.connect().await).await.expect("an answer");
    }
    assert_eq!(order, "AABABCABCAABABCABC");
    rig.counts("connections_open", &[], 0).await;
    assert_eq!(rig.count("connections_total", &["l"]), 18);
    let taken = ["a", "b", "c"].map(|name| rig.count("realserver_connections_total", &["l", "p", name]));
    assert_eq!(taken, [8, 6, 4]);
    assert_eq!(rig.count("bytes_total", &["to_client"]), 18);
    assert_eq!(rig.count("aborts_total", &[]), 0);
}

#[tokio::test]
async fn source_hash_gives_a_client_the_same_realserver_every_time() {
    let realservers = [("a", 1, says("A").await), ("b", 1, says("B").await), ("c", 1, says("C").await)];
    let rig = Rig::start(snapshot("wrr", &realservers, "scheduler = \"source-hash\""));
    let mut seen = Vec::new();
    for network in 1..=20 {
        let mut answers = String::new();
        for host in 1..=3 {
            let socket = TcpSocket::new_v4().expect("socket");
            socket.bind(SocketAddr::from(([127, 0, network, host], 0))).expect("bind");
            let mut client = socket.connect(rig.address).await.expect("connect");
            answers += &read_all(&mut client).await.expect("an answer");
        }
        assert!(["AAA", "BBB", "CCC"].contains(&&*answers), "{answers}");
        seen.push(answers);
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 1, "twenty networks do not all hash alike");
}

#[tokio::test]
async fn dead_realserver_costs_an_attempt_and_the_next_one_serves() {
    let (_dead, dead) = refuses();
    let mut rig = Rig::start(snapshot("failover", &[("dead", 1, dead), ("b", 1, says("B").await)], ""));
    for _ in 0..3 {
        assert_eq!(read_all(&mut rig.connect().await).await.expect("an answer"), "B");
    }
    assert_eq!(rig.count("connect_failures_total", &["l", "p", "dead"]), 3);
    assert_eq!(rig.count("realserver_connections_total", &["dead"]), 0);
    assert_eq!(rig.count("realserver_connections_total", &["b"]), 3);
    assert_eq!(rig.count("no_realserver_total", &[]), 0);
    let told = rig.failures.next().await;
    let told: Vec<String> =
        told.iter().map(|one| format!("{} {} {}", one.realserver, one.address, one.error)).collect();
    assert_eq!(told, ["p/dead 127.0.0.1 connection refused"], "those who count health are told");
}

#[tokio::test]
async fn silent_realserver_is_left_after_the_connect_timeout() {
    let (_listener, _full, silent) = stays_silent().await;
    let realservers = [("silent", 1, silent), ("b", 1, says("B").await)];
    let rig = Rig::start(snapshot("failover", &realservers, "connect_timeout = \"200ms\""));
    let started = Instant::now();
    assert_eq!(read_all(&mut rig.connect().await).await.expect("an answer"), "B");
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(rig.count("connect_failures_total", &["silent"]), 1);
}

#[tokio::test]
async fn client_that_nobody_takes_is_reset() {
    let ((_a, a), (_b, b)) = (refuses(), refuses());
    let rig = Rig::start(snapshot("wrr", &[("a", 1, a), ("b", 1, b)], ""));
    let error = read_all(&mut rig.connect().await).await.expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    rig.counts("no_realserver_total", &["l"], 1).await;
    assert_eq!(rig.count("connect_failures_total", &[]), 2);
    rig.counts("connections_open", &[], 0).await;
}

#[tokio::test]
async fn clients_end_is_passed_on_and_the_answer_still_comes() {
    let (rig, mut client, mut realserver) = connected("").await;
    client.write_all(b"request").await.expect("write");
    client.shutdown().await.expect("shutdown");
    assert_eq!(read_all(&mut realserver).await.expect("read"), "request");
    realserver.write_all(b"answer").await.expect("write");
    assert_eq!(read_some(&mut client, 6).await, "answer");
    realserver.write_all(b"!").await.expect("write");
    drop(realserver);
    assert_eq!(read_all(&mut client).await.expect("read"), "!");
    rig.counts("connections_open", &[], 0).await;
    assert_eq!(rig.count("bytes_total", &["to_realserver"]), 7);
    assert_eq!(rig.count("bytes_total", &["to_client"]), 7);
    assert_eq!(rig.count("aborts_total", &[]), 0);
}

#[tokio::test]
async fn realservers_end_is_passed_on_and_the_client_may_go_on() {
    let (rig, mut client, mut realserver) = connected("").await;
    realserver.write_all(b"hello").await.expect("write");
    realserver.shutdown().await.expect("shutdown");
    assert_eq!(read_all(&mut client).await.expect("read"), "hello");
    client.write_all(b"late").await.expect("write");
    assert_eq!(read_some(&mut realserver, 4).await, "late");
    client.write_all(b"r").await.expect("write");
    drop(client);
    assert_eq!(read_all(&mut realserver).await.expect("read"), "r");
    rig.counts("connections_open", &[], 0).await;
    assert_eq!(rig.count("aborts_total", &[]), 0);
}

#[tokio::test]
async fn idle_connection_ends_for_both_sides() {
    let (rig, mut client, mut realserver) = connected("idle_timeout = \"300ms\"").await;
    client.write_all(b"x").await.expect("write");
    let started = Instant::now();
    assert_eq!(read_all(&mut realserver).await.expect("an end, not an error"), "x");
    assert_eq!(read_all(&mut client).await.expect("an end, not an error"), "");
    assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
    rig.counts("idle_closes_total", &["l"], 1).await;
    // The forwarder still waits for both to close, and reads what they say meanwhile: no reset.
    client.write_all(b"more").await.expect("write");
    drop((client, realserver));
    rig.counts("connections_open", &[], 0).await;
}

#[tokio::test]
async fn bytes_in_one_direction_keep_a_connection_open() {
    let (rig, mut client, mut realserver) = connected("idle_timeout = \"500ms\"").await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(800) {
        client.write_all(b"u").await.expect("write");
        assert_eq!(read_some(&mut realserver, 1).await, "u");
        sleep(Duration::from_millis(50)).await;
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(800) {
        realserver.write_all(b"d").await.expect("write");
        assert_eq!(read_some(&mut client, 1).await, "d");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rig.count("idle_closes_total", &[]), 0);
    rig.counts("idle_closes_total", &[], 1).await;
}

#[tokio::test]
async fn connection_above_the_limit_waits_until_one_ends() {
    let address = says("A").await;
    let (held, held_address) = listen().await;
    let realservers = [("held", 1, held_address), ("a", 1, address)];
    let rig = Rig::start(snapshot("wrr", &realservers, "max_connections = 1"));
    let first = rig.connect().await;
    let (mut first_at_realserver, _) = held.accept().await.expect("accept");
    let mut second = rig.connect().await;
    let early = timeout(Duration::from_millis(200), second.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(rig.count("connections_total", &[]), 1);
    drop(first);
    assert_eq!(read_all(&mut first_at_realserver).await.expect("read"), "");
    drop(first_at_realserver);
    assert_eq!(read_all(&mut second).await.expect("an answer"), "A");
    assert_eq!(rig.count("connections_total", &[]), 2);
}

#[tokio::test]
async fn raised_limit_holds_for_connections_that_wait_already() {
    let (held, address) = listen().await;
    let rig = Rig::start(snapshot("wrr", &[("a", 1, address)], "max_connections = 1"));
    let _first = rig.connect().await;
    let _ = held.accept().await.expect("accept");
    let mut second = rig.connect().await;
    rig.snapshots.store(snapshot("wrr", &[("a", 1, says("A").await)], "max_connections = 2"));
    assert_eq!(read_all(&mut second).await.expect("an answer"), "A");
}

#[tokio::test]
async fn listener_without_configuration_closes_what_it_accepts() {
    let rig = Rig::start_as("gone", snapshot("wrr", &[("a", 1, says("A").await)], ""));
    assert_eq!(read_all(&mut rig.connect().await).await.expect("an end"), "");
    assert_eq!(rig.count("realserver_connections_total", &[]), 0);
    assert_eq!(rig.count("no_realserver_total", &[]), 0);
}

#[tokio::test]
async fn drain_accepts_nothing_new_and_lets_what_runs_finish() {
    let (rig, mut client, mut realserver) = connected("").await;
    rig.shutdown.drain.cancel();
    let refused = async { while TcpStream::connect(rig.address).await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("the listener is closed");
    client.write_all(b"still").await.expect("write");
    assert_eq!(read_some(&mut realserver, 5).await, "still");
    assert!(!rig.served.is_finished());
    drop(realserver);
    assert_eq!(read_all(&mut client).await.expect("read"), "");
    drop(client);
    timeout(PATIENCE, rig.served).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn abort_ends_what_runs_on_both_sides() {
    let (mut rig, mut client, mut realserver) = connected("").await;
    rig.shutdown.drain.cancel();
    rig.shutdown.abort.cancel();
    assert_eq!(read_all(&mut client).await.expect("an end, not an error"), "");
    assert_eq!(read_all(&mut realserver).await.expect("an end, not an error"), "");
    timeout(PATIENCE, &mut rig.served).await.expect("in time").expect("no panic");
    assert_eq!(rig.count("connections_open", &[]), 0);
}

/// Bytes that show any loss, repetition or change of order.
fn pattern(seed: u64, n_octets: usize) -> Vec<u8> {
    let mut octets = vec![0; n_octets];
    fastrand::Rng::with_seed(seed).fill(&mut octets);
    octets
}

#[tokio::test]
async fn megabytes_both_ways_at_once_arrive_unchanged() {
    let (rig, client, realserver) = connected("").await;
    let (request, answer) = (pattern(1, 1 << 20), pattern(2, 3 << 20));
    let exchange = |stream: TcpStream, say: Vec<u8>| async move {
        let (mut read, mut write) = stream.into_split();
        let say = tokio::spawn(async move {
            write.write_all(&say).await.expect("write");
            write.shutdown().await.expect("shutdown");
        });
        let mut heard = Vec::new();
        read.read_to_end(&mut heard).await.expect("read");
        say.await.expect("no panic");
        heard
    };
    let both = async { tokio::join!(exchange(client, request.clone()), exchange(realserver, answer.clone())) };
    let (heard_by_client, heard_by_realserver) = timeout(PATIENCE, both).await.expect("in time");
    assert!(heard_by_client == answer);
    assert!(heard_by_realserver == request);
    rig.counts("connections_open", &[], 0).await;
    assert_eq!(rig.count("bytes_total", &["to_realserver"]), 1 << 20);
    assert_eq!(rig.count("bytes_total", &["to_client"]), 3 << 20);
}

#[tokio::test]
async fn receiver_that_takes_nothing_stops_the_sender_and_loses_nothing() {
    let (rig, mut client, mut realserver) = connected("").await;
    let said = pattern(3, 64 << 20);
    let mut n_sent = 0;
    while let Ok(sent) = timeout(Duration::from_millis(300), client.write(&said[n_sent..])).await {
        n_sent += sent.expect("write");
        assert!(n_sent < said.len(), "the sender is never stopped");
    }
    // The other direction does not mind.
    realserver.write_all(b"fine").await.expect("write");
    assert_eq!(read_some(&mut client, 4).await, "fine");
    drop(client);
    let mut heard = Vec::new();
    timeout(PATIENCE, realserver.read_to_end(&mut heard)).await.expect("in time").expect("read");
    assert!(heard == said[..n_sent]);
    drop(realserver);
    rig.counts("connections_open", &[], 0).await;
}

#[tokio::test]
async fn reset_of_one_side_resets_the_other() {
    for is_client in [true, false] {
        let (rig, client, realserver) = connected("").await;
        let (resets, mut other) = if is_client { (client, realserver) } else { (realserver, client) };
        resets.set_zero_linger().expect("linger");
        drop(resets);
        let error = read_all(&mut other).await.expect_err("a reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        rig.counts("aborts_total", &["l"], 1).await;
        rig.counts("connections_open", &[], 0).await;
    }
}

#[tokio::test]
async fn last_words_of_a_realserver_that_is_gone_arrive() {
    let (rig, mut client, mut realserver) = connected("").await;
    realserver.write_all(b"too large").await.expect("write");
    drop(realserver);
    assert_eq!(read_some(&mut client, 9).await, "too large");
    // Further bytes meet a closed socket; the client learns it by an end.
    let until_cut = async {
        while rig.count("aborts_total", &[]) == 0 && client.write_all(b"upload").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until_cut).await.expect("in time");
    rig.counts("aborts_total", &["l"], 1).await;
}
