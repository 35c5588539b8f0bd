//! An open loop: so many queries a second, whatever comes back, and how long each answer takes to come.
//!
//! When an answer has come is the kernel's word (SO_TIMESTAMPNS), so that it does not matter whether this program had a core just then; when a
//! query was sent is the time before the system call. Never sleeps: what is to be measured is shorter than a wakeup.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::queries::Case;

/// Datagrams of a system call.
const BATCH: usize = 32;
/// Room for an answer.
const ANSWER_OCTETS: usize = 1500;
/// Room for a time, in 8 octets each.
const CONTROL_WORDS: usize = 8;
/// How long answers are waited for after the last query.
const PATIENCE: Duration = Duration::from_millis(500);

/// What came back.
#[derive(Default)]
pub(crate) struct Steady {
    pub(crate) n_sent: u64,
    pub(crate) n_wrong: u64,
    /// Not answered before their id was used again, or to the end.
    pub(crate) n_lost: u64,
    /// Nanoseconds from query to answer, sorted.
    pub(crate) latencies: Vec<u64>,
}

impl Steady {
    /// The latency below which this part of the answers was, in nanoseconds.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let at = (self.latencies.len() as f64 * part) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// Asks `rate` times a second for `duration`.
pub(crate) fn run(server: SocketAddr, case: &Case, rate: f64, duration: Duration) -> Steady {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    socket.connect(server).expect("a server");
    want_times(&socket);
    want_room(&socket);
    let mut sent_at = vec![0u64; 1 << 16];
    let mut steady = Steady::default();
    steady.latencies.reserve((rate * duration.as_secs_f64()) as usize);
    let mut receiver = Receiver::new();
    let mut next = case.queries.iter().cycle();
    let mut queries = vec![Vec::new(); BATCH];
    let start = Instant::now();
    loop {
        let elapsed = start.elapsed();
        if elapsed > duration + PATIENCE {
            break;
        }
        let n_due = (elapsed.min(duration).as_secs_f64() * rate) as u64;
        let n_now = (n_due - steady.n_sent).min(BATCH as u64) as usize;
        let now = nanoseconds();
        for query in queries.iter_mut().take(n_now) {
            let id = steady.n_sent as u16;
            query.clone_from(next.next().expect("a query"));
            query[..2].copy_from_slice(&id.to_be_bytes());
            let slot = &mut sent_at[usize::from(id)];
            steady.n_lost += u64::from(*slot != 0);
            *slot = now;
            steady.n_sent += 1;
        }
        send(&socket, &mut queries[..n_now]);
        receiver.receive(&socket, |answer, time| {
            let id = u16::from_be_bytes([answer[0], answer[1]]);
            let sent = std::mem::take(&mut sent_at[usize::from(id)]);
            if sent == 0 || !case.is_answer(answer) {
                steady.n_wrong += 1;
            } else {
                steady.latencies.push(time.saturating_sub(sent));
            }
        });
    }
    steady.n_lost += sent_at.iter().filter(|&&sent| sent != 0).count() as u64;
    steady.latencies.sort_unstable();
    steady
}

/// Sends these `rate` times a second for `duration` and looks at no answer; says how many.
pub(crate) fn flood(server: SocketAddr, case: &Case, rate: f64, duration: Duration) -> u64 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    socket.connect(server).expect("a server");
    let mut receiver = Receiver::new();
    let mut next = case.queries.iter().cycle();
    let mut queries = vec![Vec::new(); BATCH];
    let start = Instant::now();
    let mut n_sent = 0;
    while start.elapsed() < duration {
        let n_now = ((start.elapsed().as_secs_f64() * rate) as u64 - n_sent).min(BATCH as u64) as usize;
        for query in queries.iter_mut().take(n_now) {
            query.clone_from(next.next().expect("a query"));
        }
        send(&socket, &mut queries[..n_now]);
        n_sent += n_now as u64;
        receiver.receive(&socket, |_, _| {});
    }
    n_sent
}

fn nanoseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

/// Has the kernel say when each datagram came.
fn want_times(socket: &UdpSocket) {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open and the option's value a c_int.
    let result = unsafe {
        let (value, length) = ((&raw const on).cast(), size_of_val(&on) as _);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, value, length)
    };
    assert_eq!(result, 0, "times of datagrams");
}

/// Has answers wait where they are not lost while this program has no core. Where that is not allowed some may be.
fn want_room(socket: &UdpSocket) {
    let octets: libc::c_int = 1 << 24;
    // SAFETY: the descriptor is open and the option's value a c_int.
    unsafe {
        let (value, length) = ((&raw const octets).cast(), size_of_val(&octets) as _);
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value, length);
    }
}

fn send(socket: &UdpSocket, queries: &mut [Vec<u8>]) {
    // SAFETY: integers and raw pointers, for which zeros are a value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut iovecs = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    for ((query, iovec), header) in queries.iter_mut().zip(&mut iovecs).zip(&mut headers) {
        *iovec = libc::iovec { iov_base: query.as_mut_ptr().cast(), iov_len: query.len() };
        header.msg_hdr.msg_iov = iovec;
        header.msg_hdr.msg_iovlen = 1;
    }
    let mut n_sent = 0;
    while n_sent < queries.len() {
        // SAFETY: the headers point at `iovecs`, these at `queries`; all live and nothing else uses them during the call.
        let sent = unsafe {
            let rest = headers.as_mut_ptr().add(n_sent);
            libc::sendmmsg(socket.as_raw_fd(), rest, (queries.len() - n_sent) as _, 0)
        };
        n_sent += usize::try_from(sent).expect("a server that listens");
    }
}

/// Buffers for answers.
struct Receiver {
    answers: Vec<[u8; ANSWER_OCTETS]>,
    controls: [[u64; CONTROL_WORDS]; BATCH],
}

impl Receiver {
    fn new() -> Self {
        Self { answers: vec![[0; ANSWER_OCTETS]; BATCH], controls: [[0; CONTROL_WORDS]; BATCH] }
    }

    /// Hands over what is there, with the time at which it came; does not wait.
    fn receive(&mut self, socket: &UdpSocket, mut take: impl FnMut(&[u8], u64)) {
        // SAFETY: integers and raw pointers, for which zeros are a value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut iovecs = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let places = self.answers.iter_mut().zip(&mut self.controls).zip(&mut iovecs);
        for (((answer, control), iovec), header) in places.zip(&mut headers) {
            *iovec = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control) as _;
        }
        let (flags, timeout) = (libc::MSG_DONTWAIT as _, std::ptr::null_mut());
        // SAFETY: the headers point at buffers of `self` that live and that nothing else uses during the call.
        let received = unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as _, flags, timeout) };
        let n_received = usize::try_from(received).unwrap_or(0);
        for (answer, header) in self.answers.iter().zip(&headers).take(n_received) {
            take(&answer[..header.msg_len as usize], time_of(&header.msg_hdr).unwrap_or_else(nanoseconds));
        }
    }
}

/// The time in the control messages of a datagram.
fn time_of(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: the kernel has written whole control messages into the buffer that the header points at; a time is a timespec.
    let time: libc::timespec = unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        let is_time = control.as_ref()?.cmsg_type == libc::SCM_TIMESTAMPNS;
        is_time.then(|| libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned())?
    };
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
