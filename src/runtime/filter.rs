//! What the kernel drops for us before it costs a copy and a wakeup: datagrams that can be no query. A classic BPF program on the socket
//! (socket(7), SO_ATTACH_FILTER), which needs no privilege.
//!
//! Only what is never answered is dropped here. What depends on who asks, and how often, is decided where it can be counted.

use std::{io, net::UdpSocket};

use socket2::{SockFilter, SockRef};

/// The program sees a datagram from its UDP header on.
const UDP_HEADER_OCTETS: u32 = 8;
/// Its first two octets: whom to answer.
const SOURCE_PORT_AT: u32 = 0;
/// A message's header (RFC 1035 §4.1.1).
const DNS_HEADER_OCTETS: u32 = 12;
/// The octet with QR in its highest bit.
const QR_AT: u32 = UDP_HEADER_OCTETS + 2;
const QR: u32 = 0x80;

/// Has the kernel drop datagrams shorter than a header, responses, and those from port 0, where no answer can go.
pub(super) fn refuse_non_queries(socket: &UdpSocket) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&[
        load_length(),
        // Jumps are counted from the next line: so many if it holds, else so many.
        jump_unless_at_least(UDP_HEADER_OCTETS + DNS_HEADER_OCTETS, 5),
        load_octet(QR_AT),
        jump_if_any(QR, 3),
        load_pair(SOURCE_PORT_AT),
        jump_if_equal(0, 1),
        end(u32::MAX),
        end(0),
    ])
}

/// Instruction codes of the kernel's `linux/bpf_common.h`; it has them as 16 bits, most headers as 32.
#[expect(clippy::cast_possible_truncation, reason = "none has more than 8 bits")]
const fn code(parts: u32) -> u16 {
    parts as u16
}

const fn load_length() -> SockFilter {
    SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN), 0, 0, 0)
}

const fn load_octet(at: u32) -> SockFilter {
    SockFilter::new(code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS), 0, 0, at)
}

const fn load_pair(at: u32) -> SockFilter {
    SockFilter::new(code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS), 0, 0, at)
}

const fn jump_unless_at_least(value: u32, n_over: u8) -> SockFilter {
    SockFilter::new(code(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K), 0, n_over, value)
}

const fn jump_if_any(bits: u32, n_over: u8) -> SockFilter {
    SockFilter::new(code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K), n_over, 0, bits)
}

const fn jump_if_equal(value: u32, n_over: u8) -> SockFilter {
    SockFilter::new(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), n_over, 0, value)
}

/// Lets so many octets through.
const fn end(n_octets: u32) -> SockFilter {
    SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, n_octets)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Which of `datagrams` come through, up to the last one, which must.
    fn pass(address: &str, datagrams: &[&[u8]]) -> Vec<Vec<u8>> {
        let server = UdpSocket::bind(address).expect("bound");
        refuse_non_queries(&server).expect("filter");
        server.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
        let client = UdpSocket::bind(address).expect("bound");
        for datagram in datagrams {
            client.send_to(datagram, server.local_addr().expect("address")).expect("sent");
        }
        let mut passed: Vec<Vec<u8>> = Vec::new();
        while passed.last().is_none_or(|last| Some(&last[..]) != datagrams.last().copied()) {
            let mut buffer = [0; 9000];
            let n_octets = server.recv(&mut buffer).expect("received");
            passed.push(buffer[..n_octets].to_vec());
        }
        passed
    }

    #[test]
    fn only_what_can_be_a_query_comes_through_and_whole() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let query = [0, 1, 0x7f, 0xff, 0, 1, 0, 0, 0, 0, 0, 0];
            let mut response = query;
            response[2] |= 0x80;
            let long = [&query[..], &[0xff; 8000]].concat();
            let last = [&query[..], b"the last one"].concat();
            let datagrams = [&[][..], &query[..11], &response, &query, &[0x80; 5000], &long, &last];
            assert_eq!(pass(address, &datagrams), [&query[..], &long, &last], "{address}");
        }
    }
}
