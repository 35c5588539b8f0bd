//! Datagrams in batches: one system call receives up to [`BATCH`] of them, one sends their replies (recvmmsg(2), sendmmsg(2)).
//!
//! The only unsafe code of DNS. A reply leaves from the address that its query was sent to, whatever the socket is bound to: the packet
//! information (ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO) that came with the query goes with the reply.

#![allow(unsafe_code)] // system calls that no safe crate offers without allocating

use std::{
    io,
    mem::MaybeUninit,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::AsRawFd,
    ptr,
};

use super::encode::UDP_OCTETS_MAX;

/// Datagrams of one system call.
pub(super) const BATCH: usize = 32;
/// The same for the system call.
const BATCH_UINT: libc::c_uint = 32;
const _: () = assert!(BATCH_UINT as usize == BATCH);
/// Longest datagram that is read; a query is far shorter, and of a longer one the cut end is malformed.
/// Not a multiple of 4096: the heads of all datagrams would compete for the same few lines of the cache.
const RECEIVED_OCTETS_MAX: usize = 4096 + 64;
/// Room for control messages, in 8 octets each: an in6_pktinfo takes 40 octets.
const CONTROL_WORDS: usize = 8;
/// Room for a peer's address.
#[expect(clippy::cast_possible_truncation, reason = "128")]
const PEER_OCTETS_MAX: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
/// Interrupted system calls in a row that are tried again.
const INTERRUPTIONS_MAX: u32 = 16;

/// Buffers for a batch of datagrams and their replies, allocated once.
pub(super) struct Batch {
    buffers: Box<Buffers>,
    /// Datagrams in the buffers.
    n_received: usize,
    /// Which of them have a reply, and of how many octets.
    replies: [(usize, usize); BATCH],
    n_replies: usize,
}

struct Buffers {
    wires: [[u8; RECEIVED_OCTETS_MAX]; BATCH],
    outs: [[u8; UDP_OCTETS_MAX]; BATCH],
    peers: [libc::sockaddr_storage; BATCH],
    controls: [[u64; CONTROL_WORDS]; BATCH],
    iovecs: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
    /// Of what was received: octets of the datagram, of its peer's address and of its control messages.
    lengths: [Lengths; BATCH],
}

#[derive(Clone, Copy, Default)]
struct Lengths {
    wire: usize,
    peer: libc::socklen_t,
    control: usize,
}

/// What came of sending a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) n_failed: u64,
}

/// Sets what a socket of DNS needs.
///
/// Bound to all addresses it tells with each datagram which of ours that was sent to; bound to one, it is spared the work. Over IPv4 nothing
/// is ever fragmented (RFC 9715 §3.1: fragments can be forged), and no ICMP message makes the kernel believe in a smaller path, forged as it
/// may be; IPv6 carries our longest answer everywhere. Datagrams that are never fragmented need no id either, which is 3 % of the cost of an
/// answer.
pub(super) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    if address.is_ipv4() {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    }
    match address {
        address if !address.ip().is_unspecified() => Ok(()),
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

fn set_option(socket: &UdpSocket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed; the option's value is a c_int of the given size.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Batch {
    /// Empty buffers.
    pub(super) fn new() -> Self {
        let buffers: Box<MaybeUninit<Buffers>> = Box::new_zeroed();
        // SAFETY: every field is made of integers, raw pointers and C structs of these, for all of which zeros are a value.
        let buffers = unsafe { buffers.assume_init() };
        Self { buffers, n_received: 0, replies: [(0, 0); BATCH], n_replies: 0 }
    }

    /// Waits for a datagram, at most as long as the socket's read timeout, and takes what else is there already. Returns how many.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        (self.n_received, self.n_replies) = (0, 0);
        let buffers = &mut *self.buffers;
        let wires = buffers.wires.iter_mut().map(|wire| (wire.as_mut_ptr(), wire.len()));
        let places = wires.zip(&mut buffers.peers).zip(&mut buffers.controls);
        for (((header, iovec), ((wire, wire_length), peer)), control) in buffers
            .headers
            .iter_mut()
            .zip(&mut buffers.iovecs)
            .zip(places)
            .map(|(slots, (place, control))| ((slots, place), control))
        {
            *iovec = libc::iovec { iov_base: wire.cast(), iov_len: wire_length };
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(peer).cast();
            header.msg_hdr.msg_namelen = PEER_OCTETS_MAX;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of_val(control) as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: the descriptor is open; each of the BATCH headers points at buffers in `self.buffers`, with their sizes, and nothing else
        // refers to these during the call.
        let received = unsafe {
            let (headers, flags) = (buffers.headers.as_mut_ptr(), libc::MSG_WAITFORONE as _);
            libc::recvmmsg(socket.as_raw_fd(), headers, BATCH_UINT, flags, ptr::null_mut())
        };
        let n_received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        for (header, lengths) in buffers.headers.iter_mut().zip(&mut buffers.lengths).take(n_received) {
            *lengths = Lengths {
                wire: header.msg_len as usize,
                peer: header.msg_hdr.msg_namelen,
                control: header.msg_hdr.msg_controllen as _,
            };
            leave_interface_open(&mut header.msg_hdr);
        }
        self.n_received = n_received.min(BATCH);
        Ok(self.n_received)
    }

    /// Datagram `index` of those received, its peer, and room for its reply.
    pub(super) fn datagram(&mut self, index: usize) -> Option<(&[u8], SocketAddr, &mut [u8])> {
        let buffers = &mut *self.buffers;
        let lengths = buffers.lengths.get(index).filter(|_| index < self.n_received)?;
        let wire = buffers.wires.get(index)?;
        let wire = wire.get(..lengths.wire).unwrap_or(wire);
        Some((wire, address(buffers.peers.get(index)?, lengths.peer)?, buffers.outs.get_mut(index)?))
    }

    /// Says that the reply to datagram `index` stands in its room.
    pub(super) fn reply(&mut self, index: usize, n_octets: usize) {
        if let Some(reply) = self.replies.get_mut(self.n_replies) {
            *reply = (index, n_octets);
            self.n_replies += 1;
        }
    }

    /// Sends the replies. One that cannot be sent is given up, the others go on.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> Sent {
        let buffers = &mut *self.buffers;
        let replies = self.replies.get(..self.n_replies).unwrap_or_default();
        let mut n_headers = 0;
        for ((&(index, n_octets), header), iovec) in replies.iter().zip(&mut buffers.headers).zip(&mut buffers.iovecs) {
            let (Some(out), Some(peer), Some(control), Some(lengths)) = (
                buffers.outs.get_mut(index),
                buffers.peers.get_mut(index),
                buffers.controls.get_mut(index),
                buffers.lengths.get(index),
            ) else {
                break;
            };
            *iovec = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: n_octets.min(out.len()) };
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(peer).cast();
            header.msg_hdr.msg_namelen = lengths.peer.min(PEER_OCTETS_MAX);
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = lengths.control.min(size_of_val(control)) as _;
            header.msg_hdr.msg_flags = 0;
            n_headers += 1;
        }
        self.n_replies = 0;
        send_all(socket, buffers.headers.get_mut(..n_headers).unwrap_or_default())
    }
}

/// Sends `headers`, which point at live buffers. Every round sends, gives up, or uses up one of the interruptions: it ends.
fn send_all(socket: &UdpSocket, headers: &mut [libc::mmsghdr]) -> Sent {
    let mut rest = headers;
    let mut sent = Sent::default();
    let mut n_interruptions = 0;
    while !rest.is_empty() {
        let n_rest = libc::c_uint::try_from(rest.len()).unwrap_or(BATCH_UINT);
        // SAFETY: the descriptor is open; the caller has made each header point at buffers that it holds for the time of this call.
        let n_sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), n_rest, 0) };
        let n_done = match usize::try_from(n_sent) {
            Ok(n_sent) if n_sent > 0 => n_sent,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
                && n_interruptions < INTERRUPTIONS_MAX =>
            {
                n_interruptions += 1;
                continue;
            }
            // The error is that of the first datagram: an unreachable peer, a full buffer. It is not tried again, as UDP goes.
            _ => {
                sent.n_failed += 1;
                1
            }
        };
        rest = rest.split_at_mut_checked(n_done).map(|(_, rest)| rest).unwrap_or_default();
    }
    sent
}

/// Takes the interface out of the packet information: only the address is to be the same, the way back is the routing table's.
fn leave_interface_open(header: &mut libc::msghdr) {
    // SAFETY: the kernel has written whole control messages into the buffer that the header points at, and said how many octets; the macros
    // stay within that.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: not null, so a whole control header within the buffer, which is aligned for one; its data is read and written unaligned.
        unsafe {
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let place: *mut libc::in_pktinfo = libc::CMSG_DATA(control).cast();
                    let packet = libc::in_pktinfo { ipi_ifindex: 0, ..place.read_unaligned() };
                    place.write_unaligned(packet);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let place: *mut libc::in6_pktinfo = libc::CMSG_DATA(control).cast();
                    let packet = libc::in6_pktinfo { ipi6_ifindex: 0, ..place.read_unaligned() };
                    place.write_unaligned(packet);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// The address in `storage`, of which `length` octets were written; `None` for one that is not IP.
fn address(storage: &libc::sockaddr_storage, length: libc::socklen_t) -> Option<SocketAddr> {
    let length = length as usize;
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET if length >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family says that it is a sockaddr_in, which is shorter than the storage and no more aligned.
            let v4 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = u32::from_be(v4.sin_addr.s_addr).into();
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 if length >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: the same for a sockaddr_in6.
            let v6 = unsafe { &*ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = v6.sin6_addr.s6_addr.into();
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}
