//! Listeners that carry TCP.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    realserver::{Realserver, entries},
    server::Site,
    tools::{SOON, becomes, get},
};

/// A listener `web` with these settings, and no check.
fn config(realservers: &[Realserver], settings: &str) -> String {
    format!(
        "[pools.web]\nrealservers = [{}]\n[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n{settings}\n",
        entries(realservers)
    )
}

/// A connection on which one request after the other is made.
pub(super) struct Connection(TcpStream);

impl Connection {
    #[track_caller]
    pub(super) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connection");
        stream.set_read_timeout(Some(SOON)).expect("timeout");
        Self(stream)
    }

    #[track_caller]
    pub(super) fn send(&mut self, target: &str) {
        self.0.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("request");
    }

    /// The body of the next response, or how the connection failed.
    pub(super) fn receive(&mut self) -> Result<String, ErrorKind> {
        let mut response = Vec::new();
        let mut byte = [0];
        loop {
            if self.0.read(&mut byte).map_err(|error| error.kind())? == 0 {
                return Err(ErrorKind::UnexpectedEof);
            }
            response.push(byte[0]);
            if byte == *b"\n" && !response.ends_with(b"\r\n") {
                let text = String::from_utf8_lossy(&response).into_owned();
                return Ok(text.lines().last().unwrap_or("").to_owned());
            }
        }
    }

    /// A request and its response's body.
    #[track_caller]
    pub(super) fn ask(&mut self, target: &str) -> String {
        self.send(target);
        self.receive().expect("response")
    }
}

#[test]
fn connections_are_carried_in_the_order_aababcabc() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers, ""));
    let server = site.start();
    let url = format!("http://{}/x?y", server.address("l4/web"));
    let bodies: Vec<String> = (0..9).map(|_| get(&url)).collect();
    assert!(bodies.iter().all(|body| body.ends_with(" GET /x?y\n")), "{bodies:?}");
    assert_eq!(bodies.iter().map(|body| &body[..1]).collect::<String>(), "AABABCABC");
}

#[test]
fn realserver_that_dies_in_between_fails_no_request() {
    let mut realservers = Realserver::three();
    let site = Site::with(&config(&realservers, "connect_timeout = \"500ms\""));
    let server = site.start();
    let url = format!("http://{}/", server.address("l4/web"));
    let round = || (0..9).map(|_| get(&url).chars().next().unwrap_or('-')).collect::<String>();
    assert_eq!(round(), "AABABCABC");
    // No check looks at them: the order stays, and whoever does not answer is replaced by the next in line.
    realservers[1].kill();
    let carried = round();
    assert!(!carried.contains('B') && carried.len() == 9 && !carried.contains('-'), "{carried}");
    realservers[1].revive();
    assert_eq!(round(), "AABABCABC");
    realservers.iter_mut().for_each(Realserver::kill);
    let mut nobody = Connection::open(server.address("l4/web"));
    assert!(nobody.receive().is_err(), "nobody is left to carry it");
}

#[test]
fn idle_connection_is_closed_after_idle_timeout() {
    let realservers = [Realserver::start("A")];
    let site = Site::with(&config(&realservers, "idle_timeout = \"500ms\""));
    let server = site.start();
    let mut connection = Connection::open(server.address("l4/web"));
    let start = Instant::now();
    assert_eq!(connection.ask("/one"), "A GET /one");
    assert_eq!(connection.receive(), Err(ErrorKind::UnexpectedEof));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn connection_over_the_limit_waits_until_one_ends() {
    let realservers = [Realserver::start("A")];
    let site = Site::with(&config(&realservers, "max_connections = 1"));
    let server = site.start();
    let address = server.address("l4/web");
    let mut first = Connection::open(address);
    assert_eq!(first.ask("/first"), "A GET /first");
    let mut second = Connection::open(address);
    second.send("/second");
    second.0.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    assert_eq!(second.receive(), Err(ErrorKind::WouldBlock), "it waits in the backlog");
    assert_eq!(first.ask("/still"), "A GET /still");
    assert_eq!(realservers[0].n_accepted(), 1);
    drop(first);
    second.0.set_read_timeout(Some(SOON)).expect("timeout");
    assert_eq!(second.receive(), Ok("A GET /second".to_owned()));
}

#[test]
fn source_hash_sends_one_client_to_one_realserver() {
    let realservers = Realserver::three();
    let site = Site::with(&config(&realservers, "scheduler = \"source-hash\""));
    let server = site.start();
    let url = format!("http://{}/", server.address("l4/web"));
    let first = get(&url);
    assert!((0..5).all(|_| get(&url) == first));
    let explained = site.json("explain web --via l4");
    let chosen = realservers.iter().find(|realserver| first.starts_with(realserver.name)).expect("one of them");
    assert_eq!(explained["answer"][0], chosen.address.ip().to_string(), "{explained}");
}

#[test]
fn open_connections_are_counted() {
    let realservers = [Realserver::start("A")];
    let site = Site::with(&config(&realservers, ""));
    let server = site.start();
    let mut connection = Connection::open(server.address("l4/web"));
    connection.ask("/");
    let open = || server.metric("fingerpost_l4_connections_open{listener=\"web\"}");
    becomes(SOON, Some(1.0), open);
    drop(connection);
    becomes(SOON, Some(0.0), open);
}
