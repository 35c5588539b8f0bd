//! Sends packets and gathers replies, over UDP and TCP. A reply belongs to the packet with its id, which must differ among those asked
//! together.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use crate::message::Reply;

/// Packets in flight; a socket's buffer must hold the replies to all of them.
const WINDOW: usize = 64;
/// Connections open at once; with more, Knot's backlog overflows and a connect takes a second.
const CONNECTIONS_MAX: usize = 8;
/// Wait for replies while there is another chance.
const HASTE: Duration = Duration::from_millis(30);
/// NSD sends a hundred errors a second and no more: so many packets at once...
const PACE_PACKETS: usize = 16;
/// ...take at least so long when silence is to mean something.
const PACE: Duration = Duration::from_millis(180);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a reply that is sure to come; only a broken server makes anybody wait for so long.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks over UDP. What has no reply soon is asked again at the end, up to `n_attempts` times in all, the replies' silence being waited for
/// with `patience`.
pub fn ask_udp(server: SocketAddr, packets: &[Vec<u8>], patience: Duration, n_attempts: usize) -> Vec<Reply> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(server).expect("loopback");
    let by_id: HashMap<[u8; 2], usize> =
        packets.iter().enumerate().filter_map(|(index, packet)| Some((id(packet)?, index))).collect();
    let mut replies = vec![Reply::Silence; packets.len()];
    for attempt in 0..n_attempts {
        let missing: Vec<usize> = (0..packets.len()).filter(|&index| replies[index] == Reply::Silence).collect();
        let is_last = attempt + 1 == n_attempts;
        if is_last && !missing.is_empty() {
            thread::sleep(Duration::from_secs(1));
        }
        let (n_at_once, patience) = if is_last { (PACE_PACKETS, patience) } else { (WINDOW, HASTE.min(patience)) };
        for window in missing.chunks(n_at_once) {
            let started = Instant::now();
            for &index in window {
                // An earlier refusal by ICMP is reported here; the missing reply says enough.
                let _ = socket.send(&packets[index]);
            }
            gather_udp(&socket, &by_id, window, &mut replies, patience);
            if is_last {
                thread::sleep(PACE.saturating_sub(started.elapsed()));
            }
        }
    }
    replies
}

/// Reads until all of `window` have their replies or there is none for as long as `patience`.
fn gather_udp(
    socket: &UdpSocket,
    by_id: &HashMap<[u8; 2], usize>,
    window: &[usize],
    replies: &mut [Reply],
    patience: Duration,
) {
    let mut buffer = vec![0; 65_535];
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    while window.iter().any(|&index| replies[index] == Reply::Silence) {
        match socket.recv(&mut buffer) {
            // A late reply to an earlier window counts as well.
            Ok(n_octets) => {
                let Some(&index) = id(&buffer[..n_octets]).and_then(|id| by_id.get(&id)) else { continue };
                replies[index] = Reply::parse(&buffer[..n_octets]);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

/// Asks well-formed queries over TCP, many on one connection without waiting. What a closed connection leaves open is asked alone.
pub fn ask_tcp(server: SocketAddr, packets: &[Vec<u8>]) -> Vec<Reply> {
    let mut replies = vec![Reply::Silence; packets.len()];
    let indexes: Vec<usize> = (0..packets.len()).collect();
    for window in indexes.chunks(WINDOW) {
        let _ = pipeline(server, packets, window, &mut replies);
    }
    let open: Vec<usize> = indexes.into_iter().filter(|&index| replies[index] == Reply::Silence).collect();
    let alone: Vec<Vec<u8>> = open.iter().map(|&index| packets[index].clone()).collect();
    for (index, reply) in open.into_iter().zip(ask_tcp_alone(server, &alone, REPLY_TIMEOUT)) {
        replies[index] = reply;
    }
    replies
}

fn pipeline(server: SocketAddr, packets: &[Vec<u8>], window: &[usize], replies: &mut [Reply]) -> io::Result<()> {
    let mut stream = connect(server)?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    let framed: Vec<u8> = window.iter().flat_map(|&index| frame(&packets[index])).collect();
    stream.write_all(&framed)?;
    let mut stream = io::BufReader::new(stream);
    for _ in window {
        let message = read_framed(&mut stream)?;
        let is_asked = |&&index: &&usize| id(&packets[index]).is_some() && id(&packets[index]) == id(&message);
        if let Some(&index) = window.iter().find(is_asked) {
            replies[index] = Reply::parse(&message);
        }
    }
    Ok(())
}

/// Asks each packet on a connection of its own.
pub fn ask_tcp_alone(server: SocketAddr, packets: &[Vec<u8>], patience: Duration) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(packets.len());
    for window in packets.chunks(CONNECTIONS_MAX) {
        let started = Instant::now();
        let streams: Vec<io::Result<TcpStream>> = window
            .iter()
            .map(|packet| {
                let mut stream = connect(server)?;
                stream.write_all(&frame(packet))?;
                Ok(stream)
            })
            .collect();
        let deadline = Instant::now() + patience;
        replies.extend(streams.into_iter().map(|stream| read_alone(stream, deadline)));
        thread::sleep((PACE / 2).saturating_sub(started.elapsed()));
    }
    replies
}

fn read_alone(stream: io::Result<TcpStream>, deadline: Instant) -> Reply {
    let Ok(mut stream) = stream else { return Reply::Closed };
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    if stream.set_read_timeout(Some(left)).is_err() {
        return Reply::Closed;
    }
    match read_framed(&mut stream) {
        Ok(message) => Reply::parse(&message),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Reply::Silence,
        Err(_) => Reply::Closed,
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_framed(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn frame(packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(packet.len()).expect("a packet of at most 65,535 octets");
    [&length.to_be_bytes(), packet].concat()
}

fn id(packet: &[u8]) -> Option<[u8; 2]> {
    packet.first_chunk().copied()
}
