//! A closed loop: so many queries are always on their way, so that every server is as busy as it can be and none is flooded.
//!
//! Never sleeps: waking it would be the server's work, more of it for a slow server, and be counted as what its answers cost.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use super::queries::Case;

/// Queries on their way.
const WINDOW: usize = 128;
/// Datagrams of a system call.
const BATCH: usize = 32;
/// Room for an answer.
const ANSWER_OCTETS: usize = 1500;
/// Queries that are not answered for so long count as lost.
const PATIENCE: Duration = Duration::from_millis(50);

/// What came back.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) n_answers: u64,
    pub(crate) n_wrong: u64,
    pub(crate) n_lost: u64,
    pub(crate) elapsed: Duration,
}

/// Asks for `duration`; with `is_strict`, answers are looked at.
pub(crate) fn run(server: SocketAddr, case: &Case, is_strict: bool, duration: Duration) -> Load {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    socket.connect(server).expect("a server");
    let mut answers = vec![[0u8; ANSWER_OCTETS]; BATCH];
    let mut queries = vec![Vec::new(); BATCH];
    let mut iovecs = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: integers and raw pointers, for which zeros are a value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };

    let mut load = Load::default();
    let mut next = case.queries.iter().cycle();
    let mut id = 0u16;
    let mut n_waiting = 0;
    let start = Instant::now();
    let mut last_answer = start;
    while start.elapsed() < duration {
        while n_waiting + BATCH <= WINDOW {
            for (query, iovec) in queries.iter_mut().zip(&mut iovecs) {
                query.clone_from(next.next().expect("a query"));
                query[..2].copy_from_slice(&id.to_be_bytes());
                id = id.wrapping_add(1);
                *iovec = libc::iovec { iov_base: query.as_mut_ptr().cast(), iov_len: query.len() };
            }
            point(&mut headers, &mut iovecs);
            // SAFETY: the headers point at `iovecs`, these at `queries`; all live and nothing else uses them during the call.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as _, 0) };
            n_waiting += usize::try_from(sent).expect("a server that listens");
        }
        for (answer, iovec) in answers.iter_mut().zip(&mut iovecs) {
            *iovec = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
        }
        point(&mut headers, &mut iovecs);
        let (flags, timeout) = (libc::MSG_DONTWAIT as _, std::ptr::null_mut());
        // SAFETY: as above, with `answers`.
        let received = unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as _, flags, timeout) };
        let Ok(n_received) = usize::try_from(received) else {
            if last_answer.elapsed() > PATIENCE {
                load.n_lost += n_waiting as u64;
                (n_waiting, last_answer) = (0, Instant::now());
            }
            continue;
        };
        last_answer = Instant::now();
        for (answer, header) in answers.iter().zip(&headers).take(n_received) {
            let is_right = !is_strict || case.is_answer(&answer[..header.msg_len as usize]);
            load.n_answers += u64::from(is_right);
            load.n_wrong += u64::from(!is_right);
        }
        n_waiting = n_waiting.saturating_sub(n_received);
    }
    load.elapsed = start.elapsed();
    load
}

fn point(headers: &mut [libc::mmsghdr; BATCH], iovecs: &mut [libc::iovec; BATCH]) {
    for (header, iovec) in headers.iter_mut().zip(iovecs) {
        header.msg_hdr.msg_iov = iovec;
        header.msg_hdr.msg_iovlen = 1;
    }
}
