//! The process: signals, sockets that are handed over, privileges, two at once.

use std::{
    fs,
    io::ErrorKind,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use super::{
    l4::Connection,
    realserver::{Realserver, entries},
    server::{HEAD, PROGRAM, Site, ZONE},
    tools::{SOON, becomes, dig, rcode, stderr},
};

const WEB: &str = "[pools.web]\nrealservers = [{ name = \"A\", address = \"192.0.2.1\" }]\n";

/// A listener in front of one realserver.
fn carrying(realserver: &[Realserver]) -> Site {
    Site::with(&format!(
        "[pools.web]\nrealservers = [{}]\n[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"web\"\n",
        entries(realserver)
    ))
}

#[test]
fn sigterm_lets_running_connections_end_and_takes_no_new_ones() {
    let realserver = [Realserver::start("A")];
    let site = carrying(&realserver);
    site.edit("fingerpost.toml", "drain_timeout = \"3s\"", "drain_timeout = \"60s\"");
    let mut server = site.start();
    let (l4, redirect) = (server.address("l4/web"), server.address("redirect"));
    let mut connection = Connection::open(l4);
    assert_eq!(connection.ask("/before"), "A GET /before");
    server.signal("TERM");
    becomes(SOON, true, || TcpStream::connect(l4).is_err() && TcpStream::connect(redirect).is_err());
    assert_eq!(connection.ask("/while-draining"), "A GET /while-draining");
    drop(connection);
    let status = server.wait(SOON);
    assert_eq!(status.code(), Some(0));
    assert!(!site.path("control.sock").exists(), "the socket's file is gone");
}

#[test]
fn connection_that_never_ends_is_closed_at_the_deadline() {
    let realserver = [Realserver::start("A")];
    let site = carrying(&realserver);
    site.edit("fingerpost.toml", "drain_timeout = \"3s\"", "drain_timeout = \"1s\"");
    let mut server = site.start();
    let mut connection = Connection::open(server.address("l4/web"));
    connection.ask("/");
    let start = Instant::now();
    server.signal("TERM");
    assert!(matches!(connection.receive(), Err(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)));
    assert!(start.elapsed() >= Duration::from_secs(1), "not before its time: {:?}", start.elapsed());
    let status = server.wait(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn sigint_stops_an_idle_server_at_once() {
    let site = Site::with(WEB);
    let mut server = site.start();
    let start = Instant::now();
    server.signal("INT");
    assert_eq!(server.wait(SOON).code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn second_server_on_the_same_configuration_is_refused() {
    let site = Site::with(WEB);
    let server = site.start();
    let output = site.command("serve");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("a running server answers at the control socket"), "{}", stderr(&output));
    assert_eq!(rcode(&server.dig("www.example.org A")), "NOERROR");
}

#[test]
fn address_in_use_is_named_with_a_way_out() {
    let site = Site::with(WEB);
    let server = site.start();
    let taken = format!("listen = [\"{}\"]", server.address("dns"));
    let other = Site::new(&format!("{HEAD}{WEB}").replacen("listen = [\"127.0.0.1:0\"]", &taken, 1), ZONE);
    let output = other.command("serve");
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains(&server.address("dns").to_string()) && error.contains("hint: another program"), "{error}");
}

#[test]
fn killed_servers_control_socket_does_not_hinder_the_next_one() {
    let site = Site::with(WEB);
    let mut server = site.start();
    server.signal("KILL");
    server.wait(SOON);
    assert!(site.path("control.sock").exists());
    assert_eq!(rcode(&site.start().dig("www.example.org A")), "NOERROR");
}

/// Opens UDP and TCP on one free port, writes it into the configuration, and becomes the server with both as descriptors 3 and 4: what
/// systemd does for a socket unit.
const HAND_OVER: &str = r#"
import os, socket, sys
program, path = sys.argv[1:]
tcp = socket.create_server(("127.0.0.1", 0), backlog=16)
address = tcp.getsockname()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(address)
text = open(path).read().replace("[dns]\nlisten = [\"127.0.0.1:0\"]", "[dns]\nlisten = [\"127.0.0.1:%d\"]" % address[1])
open(path, "w").write(text)
high = [os.dup(tcp.fileno()), os.dup(udp.fileno())]
high = [__import__("fcntl").fcntl(fd, __import__("fcntl").F_DUPFD, 10) for fd in high]
os.dup2(high[0], 3)
os.dup2(high[1], 4)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
os.execv(program, [program, "serve", "--config", path])
"#;

#[test]
fn sockets_that_systemd_hands_over_are_used() {
    let site = Site::with(WEB);
    let config = site.path("fingerpost.toml");
    let mut server = site.spawn_by(Command::new("python3").args(["-c", HAND_OVER, PROGRAM]).arg(&config));
    server.wait_until_served();
    let dns = server.address("dns");
    assert!(site.read("fingerpost.toml").contains(&dns.to_string()), "{dns}");
    for question in ["www.example.org A +short", "www.example.org A +short +tcp"] {
        assert_eq!(dig(dns, question), "192.0.2.1\n");
    }
    // Had it opened sockets of its own, the kernel would show more than these two on the port.
    let sockets = |path: &str| {
        let port = format!(":{:04X} ", dns.port());
        let table = fs::read_to_string(path).expect("sockets");
        table
            .lines()
            .filter(|line| line.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&port)))
            .count()
    };
    assert_eq!(sockets("/proc/net/udp"), 1);
    server.stop();
}

/// A line of `/proc/PID/status`, as real, effective, saved and file system id.
fn ids(pid: &str, line: &str) -> Vec<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let ids = status.lines().find_map(|text| text.strip_prefix(line)).expect(line);
    ids.split_whitespace().map(|id| id.parse().expect("id")).collect()
}

#[test]
fn root_is_given_up_for_the_configured_user_and_others_stay_who_they_are() {
    let own = ids("self", "Uid:");
    let is_root = own[1] == 0;
    let site = Site::new(&format!("{HEAD}user = \"nobody\"\n{WEB}"), ZONE);
    fs::set_permissions(site.folder(), fs::Permissions::from_mode(0o755)).expect("mode");
    for round in 0..2 {
        let server = site.start();
        let expected = if is_root { vec![65534; 4] } else { own.clone() };
        assert_eq!(ids(&server.pid().to_string(), "Uid:"), expected, "round {round}");
        if is_root {
            let groups = ids(&server.pid().to_string(), "Groups:");
            assert!(!groups.contains(&0), "{groups:?}");
        }
        // What it has to do as that user: read zones again, save what operators say, find that again after a restart.
        let static_address = format!("192.0.2.{}\n", 70 + round);
        site.write("zones/example.org.zone", &ZONE.replace("192.0.2.7\n", &static_address));
        site.tell("reload");
        assert_eq!(dig(server.address("dns"), "static.example.org A +short"), static_address);
        if round == 0 {
            assert_eq!(dig(server.address("dns"), "www.example.org A +short"), "192.0.2.1\n");
            site.tell("drain web/A --reason disk");
        }
        assert_eq!(server.realserver("web", "A")["admin"], "drain");
        server.stop();
    }
}

#[test]
fn unknown_user_is_refused_by_root_before_anything_is_served() {
    let site = Site::new(&format!("{HEAD}user = \"no-such-user\"\n{WEB}"), ZONE);
    if ids("self", "Uid:")[1] != 0 {
        // Who is not root changes to nobody, so the name does not matter.
        assert_eq!(rcode(&site.start().dig("www.example.org A")), "NOERROR");
        return;
    }
    let output = site.command("serve");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no-such-user"), "{}", stderr(&output));
}
