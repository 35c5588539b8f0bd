//! UDP and TCP as they are carried, on loopback and real sockets.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use super::{
    Counters, serve_tcp, serve_udp,
    testing::{Asked, CONFIG, length_octets, show, snapshot},
};
use crate::{observe::Observed, shutdown::Shutdown, snapshot::Snapshots};

const ZONE: &str = "$ORIGIN example.org.
@ 60 SOA a b 1 1 1 1 1
@ 60 NS ns.example.net.
www 60 A 192.0.2.80
other 60 A 192.0.2.81
";
const WWW: &str = "NOERROR aa\nanswer: www.example.org. 60 A 192.0.2.80";
const OTHER: &str = "NOERROR aa\nanswer: other.example.org. 60 A 192.0.2.81";

/// A test that hangs is a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    counters: Arc<Counters>,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    fn udp(sockets: Vec<UdpSocket>) -> Self {
        let (counters, shutdown) = (Arc::new(Counters::new(sockets.len())), Shutdown::new());
        let threads = serve_udp(sockets, snapshots(), counters.clone(), shutdown.clone()).expect("workers");
        Self { counters, shutdown, threads }
    }

    fn tcp(listener: TcpListener, snapshots: Arc<Snapshots>) -> Self {
        let (counters, shutdown) = (Arc::new(Counters::new(0)), Shutdown::new());
        let served = serve_tcp(listener, snapshots, counters.clone(), shutdown.clone());
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(served).expect("served");
        };
        Self { counters, shutdown, threads: vec![std::thread::spawn(run)] }
    }

    /// The sum of a counter over those of its labels that have `label` as a value; all of them for an empty one.
    fn count(&self, name: &str, label: &str) -> f64 {
        let mut samples = Vec::new();
        self.counters.observe(&mut samples);
        assert!(samples.iter().any(|sample| sample.name == name), "{name}");
        let has_label = |labels: &[(&str, String)]| label.is_empty() || labels.iter().any(|(_, value)| value == label);
        samples
            .iter()
            .filter(|sample| sample.name == name && has_label(&sample.labels))
            .map(|sample| sample.value)
            .sum()
    }

    fn stop(&mut self) {
        self.shutdown.drain.cancel();
        for thread in self.threads.drain(..) {
            thread.join().expect("thread");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.drain.cancel();
        self.shutdown.abort.cancel();
    }
}

fn snapshots() -> Arc<Snapshots> {
    Arc::new(Snapshots::from(snapshot(CONFIG, &[ZONE])))
}

fn client(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket
}

/// Asks and returns who answered and what.
fn exchange(client: &UdpSocket, server: SocketAddr, words: &str) -> (SocketAddr, String) {
    client.send_to(&Asked::new(words).wire, server).expect("send");
    let mut response = [0; 1500];
    let (n_octets, from) = client.recv_from(&mut response).expect("response");
    (from, show(&response[..n_octets]))
}

#[test]
fn udp_answers_and_counts_and_goes_on_after_garbage() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    let mut server = Server::udp(vec![socket]);
    let client = client("127.0.0.1:0");
    for garbage in [&b""[..], b"x", &[0xff; 12], &[0; 5000]] {
        client.send_to(garbage, address).expect("send");
    }
    let mut formerr = [0; 100];
    assert_eq!(client.recv(&mut formerr).expect("5000 zeros are a message without a question"), 12);
    for _ in 0..100 {
        assert_eq!(exchange(&client, address, "www.example.org A"), (address, WWW.to_owned()));
    }
    server.stop();
    assert_eq!(server.count("fingerpost_dns_queries_total", "udp"), 104.0);
    assert_eq!(server.count("fingerpost_dns_queries_total", "tcp"), 0.0);
    assert_eq!(server.count("fingerpost_dns_responses_total", "NOERROR"), 100.0);
    assert_eq!(server.count("fingerpost_dns_responses_total", "FORMERR"), 1.0);
    assert_eq!(server.count("fingerpost_dns_answers_total", "static"), 100.0);
    assert_eq!(server.count("fingerpost_dns_dropped_total", "short"), 2.0);
    assert_eq!(server.count("fingerpost_dns_dropped_total", "response"), 1.0);
}

#[test]
fn udp_batches_are_answered_each_to_its_own_client() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address");
    let clients: Vec<_> = (0..20).map(|_| client("127.0.0.1:0")).collect();
    for (index, client) in clients.iter().enumerate() {
        let words = if index % 2 == 0 { "www.example.org A" } else { "other.example.org A" };
        client.send_to(&Asked::new(words).wire, address).expect("send");
    }
    // All of them wait in the socket before a worker starts.
    let _server = Server::udp(vec![socket]);
    for (index, client) in clients.iter().enumerate() {
        let mut response = [0; 1500];
        let n_octets = client.recv(&mut response).expect("response");
        assert_eq!(show(&response[..n_octets]), if index % 2 == 0 { WWW } else { OTHER });
    }
}

#[test]
fn udp_wildcard_address_answers_from_the_address_that_was_asked() {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
    let port = socket.local_addr().expect("address").port();
    let _server = Server::udp(vec![socket]);
    let client = client("127.0.0.1:0");
    for last in [1, 2, 3] {
        let asked: SocketAddr = (Ipv4Addr::new(127, 0, 0, last), port).into();
        assert_eq!(exchange(&client, asked, "www.example.org A"), (asked, WWW.to_owned()));
    }
}

#[test]
fn udp_dual_stack_socket_answers_both_families() {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None).expect("socket");
    socket.set_only_v6(false).expect("both families");
    socket.bind(&"[::]:0".parse::<SocketAddr>().expect("address").into()).expect("bind");
    let socket = UdpSocket::from(socket);
    let port = socket.local_addr().expect("address").port();
    let _server = Server::udp(vec![socket]);
    let asked = (Ipv4Addr::new(127, 0, 0, 2), port).into();
    assert_eq!(exchange(&client("127.0.0.1:0"), asked, "www.example.org A"), (asked, WWW.to_owned()));
    let asked: SocketAddr = format!("[::1]:{port}").parse().expect("address");
    assert_eq!(exchange(&client("[::1]:0"), asked, "www.example.org A"), (asked, WWW.to_owned()));
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

fn framed(words: &str) -> Vec<u8> {
    let wire = Asked::new(words).wire;
    let mut framed = length_octets(wire.len()).to_vec();
    framed.extend(wire);
    framed
}

fn read_response(stream: &mut TcpStream) -> io::Result<String> {
    Ok(show(&read_message(stream)?))
}

fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut response = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut response)?;
    Ok(response)
}

fn tcp_server() -> (Server, SocketAddr) {
    tcp_server_of(snapshots())
}

fn tcp_server_of(snapshots: Arc<Snapshots>) -> (Server, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    (Server::tcp(listener, snapshots), address)
}

/// A server of a zone that takes some hundred messages, and more octets than sockets hold.
fn server_of_large_zone() -> (Server, SocketAddr) {
    let config = CONFIG.replace("[dns]\n", "[dns]\nallow_transfer = [\"127.0.0.0/8\"]\n");
    let text = "x".repeat(250);
    let records = (0..LARGE_ZONE_RECORDS).map(|number| format!("n{number} 60 TXT {text}\n"));
    let zone = ZONE.to_owned() + &records.collect::<String>();
    tcp_server_of(Arc::new(Snapshots::from(snapshot(&config, &[&zone]))))
}

const LARGE_ZONE_RECORDS: usize = 50_000;
/// With SOA twice, NS, and two addresses.
const LARGE_TRANSFER_RECORDS: usize = LARGE_ZONE_RECORDS + 5;

/// The same with this id.
fn framed_with_id(words: &str, id: u16) -> Vec<u8> {
    let mut framed = framed(words);
    framed[2..4].copy_from_slice(&id.to_be_bytes());
    framed
}

fn id_and_answers(message: &[u8]) -> (u16, usize) {
    let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    (number(0), number(6).into())
}

#[test]
fn rfc7766_6_2_1_1_queries_behind_a_transfer_are_answered_while_it_streams() {
    let (mut server, address) = server_of_large_zone();
    let mut stream = connect(address);
    let mut queries = framed_with_id("example.org TYPE252", 1);
    for id in 100..120 {
        queries.extend(framed_with_id("www.example.org A", id));
    }
    queries.extend(framed_with_id("example.org TYPE252", 2));
    queries.extend(framed_with_id("example.org SOA +opcode=4", 120));
    stream.write_all(&queries).expect("write");
    // Nothing more is asked; what is on its way comes all the same.
    stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let (mut n_records, mut answered, mut n_after_answers) = ([0; 2], Vec::new(), 0);
    while let Ok(message) = read_message(&mut stream) {
        match id_and_answers(&message) {
            (id @ (1 | 2), n_answers) => {
                n_records[usize::from(id) - 1] += n_answers;
                n_after_answers += usize::from(answered.len() == 21);
            }
            (id, _) => answered.push(id),
        }
    }
    assert_eq!(n_records, [LARGE_TRANSFER_RECORDS; 2], "both zones are whole");
    assert_eq!(answered, (100..=120).collect::<Vec<_>>(), "in the order of the queries among themselves");
    assert!(n_after_answers > 100, "{n_after_answers} messages of the zones after all answers");
    server.stop();
    assert_eq!(server.count("fingerpost_dns_transfers_total", "done"), 2.0);
    assert_eq!(server.count("fingerpost_dns_transfers_total", "failed"), 0.0);
}

#[test]
fn more_transfers_than_may_be_under_way_at_once_come_all_the_same() {
    let (mut server, address) = server_of_large_zone();
    let mut stream = connect(address);
    for id in 0..10 {
        stream.write_all(&framed_with_id("example.org TYPE252", id)).expect("write");
    }
    stream.write_all(&framed_with_id("www.example.org A", 10)).expect("write");
    let mut n_records = [0; 11];
    let n_expected = 10 * LARGE_TRANSFER_RECORDS + 1;
    let mut most_open = 0;
    while n_records.iter().sum::<usize>() < n_expected {
        let (id, n_answers) = id_and_answers(&read_message(&mut stream).expect("message"));
        n_records[usize::from(id)] += n_answers;
        let is_open = |n_records: &&usize| (1..LARGE_TRANSFER_RECORDS).contains(*n_records);
        most_open = most_open.max(n_records[..10].iter().filter(is_open).count());
    }
    assert_eq!(most_open, 4);
    drop(stream);
    server.stop();
    assert_eq!(server.count("fingerpost_dns_transfers_total", "done"), 10.0);
}

#[test]
fn transfer_whose_peer_goes_away_counts_as_failed_and_frees_its_place() {
    let (mut server, address) = server_of_large_zone();
    // More than may be under way at once: each must give its place back.
    for _ in 0..20 {
        let mut stream = connect(address);
        stream.write_all(&framed_with_id("example.org TYPE252", 1)).expect("write");
        read_message(&mut stream).expect("the first message");
    }
    let mut stream = connect(address);
    stream.write_all(&framed_with_id("example.org TYPE252", 1)).expect("write");
    let mut n_records = 0;
    while n_records < LARGE_TRANSFER_RECORDS {
        n_records += id_and_answers(&read_message(&mut stream).expect("message")).1;
    }
    drop(stream);
    server.stop();
    assert_eq!(server.count("fingerpost_dns_transfers_total", "failed"), 20.0);
    assert_eq!(server.count("fingerpost_dns_transfers_total", "done"), 1.0);
}

#[test]
fn rfc7766_pipelined_queries_are_answered_in_order() {
    let (mut server, address) = tcp_server();
    let mut stream = connect(address);
    let mut queries = Vec::new();
    for index in 0..200 {
        queries.extend(framed(if index % 2 == 0 { "www.example.org A" } else { "other.example.org A" }));
    }
    stream.write_all(&queries).expect("write");
    for index in 0..200 {
        assert_eq!(read_response(&mut stream).expect("response"), if index % 2 == 0 { WWW } else { OTHER });
    }
    assert_eq!(server.count("fingerpost_dns_tcp_connections", ""), 1.0);
    // Draining closes a connection that waits for a query.
    server.stop();
    assert_eq!(read_response(&mut stream).map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    assert_eq!(server.count("fingerpost_dns_tcp_connections", ""), 0.0);
    assert_eq!(server.count("fingerpost_dns_tcp_accepted_total", ""), 1.0);
    assert_eq!(server.count("fingerpost_dns_queries_total", "tcp"), 200.0);
}

#[test]
fn tcp_query_in_single_octets_is_answered() {
    let (_server, address) = tcp_server();
    let mut stream = connect(address);
    stream.set_nodelay(true).expect("nodelay");
    for octet in framed("www.example.org A") {
        stream.write_all(&[octet]).expect("write");
    }
    assert_eq!(read_response(&mut stream).expect("response"), WWW);
}

#[test]
fn tcp_client_that_stalls_delays_no_other() {
    let (_server, address) = tcp_server();
    let mut stalled: Vec<_> = (0..8).map(|_| connect(address)).collect();
    for (index, stream) in stalled.iter_mut().enumerate() {
        // Nothing, half a length, half a query, and queries whose responses nobody reads.
        let sent = match index % 4 {
            0 => Vec::new(),
            1 => vec![0],
            2 => framed("www.example.org A")[..10].to_vec(),
            _ => framed("www.example.org A").repeat(1000),
        };
        stream.write_all(&sent).expect("write");
    }
    let mut stream = connect(address);
    for _ in 0..10 {
        stream.write_all(&framed("www.example.org A")).expect("write");
        assert_eq!(read_response(&mut stream).expect("response"), WWW);
    }
}

#[test]
fn tcp_connections_of_one_client_are_limited() {
    let (server, address) = tcp_server();
    let mut open: Vec<_> = (0..64).map(|_| connect(address)).collect();
    for stream in &mut open {
        stream.write_all(&framed("www.example.org A")).expect("write");
        assert_eq!(read_response(stream).expect("response"), WWW);
    }
    let mut one_more = connect(address);
    assert!(read_response(&mut one_more).is_err());
    assert_eq!(server.count("fingerpost_dns_tcp_refused_total", ""), 1.0);
    // A place that is given back can be taken again.
    drop(open.pop());
    let deadline = std::time::Instant::now() + PATIENCE;
    while server.count("fingerpost_dns_tcp_connections", "") > 63.0 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    let mut again = connect(address);
    again.write_all(&framed("www.example.org A")).expect("write");
    assert_eq!(read_response(&mut again).expect("response"), WWW);
}

#[test]
fn tcp_message_that_gets_silence_ends_the_connection() {
    let (server, address) = tcp_server();
    for message in [&b"\x00\x00"[..], b"\x00\x03abc", b"\x00\x0c\x00\x01\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00"] {
        let mut stream = connect(address);
        stream.write_all(message).expect("write");
        assert_eq!(stream.read(&mut [0; 1]).expect("end"), 0, "{message:02x?}");
    }
    assert_eq!(server.count("fingerpost_dns_dropped_total", "tcp"), 3.0);
}

/// Both of a connection's timeouts, on the paused clock.
#[tokio::test(start_paused = true)]
async fn tcp_idle_and_slow_clients_are_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let (counters, shutdown) = (Arc::new(Counters::new(0)), Shutdown::new());
    let served = tokio::spawn(serve_tcp(listener, snapshots(), counters.clone(), shutdown.clone()));
    for sent in [&b""[..], b"\x00", b"\x00\x20abc"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
        stream.write_all(sent).await.expect("write");
        assert_eq!(stream.read(&mut [0; 1]).await.expect("end"), 0, "{sent:?}");
    }
    shutdown.drain.cancel();
    served.await.expect("task").expect("served");
    let mut samples = Vec::new();
    counters.observe(&mut samples);
    let timeouts = samples.iter().find(|sample| sample.name == "fingerpost_dns_tcp_timeouts_total");
    assert_eq!(timeouts.map(|sample| sample.value), Some(3.0));
}
