//! What any UDP server must do and no more: take a batch of datagrams, learn where each came from and which address it came to, and send a
//! batch back from there. Each goes back as it came, with QR set.

use std::{
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    ptr,
};

/// Datagrams of a system call, as many as our server takes.
const BATCH: usize = 32;
/// Room for a datagram; not a multiple of 4096, so that the heads of all do not compete for the same lines of the cache.
const OCTETS: usize = 4096 + 64;
/// Room for packet information, in 8 octets each.
const CONTROL_WORDS: usize = 8;

/// Until it is ended from outside.
pub(crate) fn serve(address: SocketAddr) {
    let socket = UdpSocket::bind(address).expect("an address");
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open and the option's value a c_int.
    let result = unsafe {
        let (value, length) = ((&raw const on).cast(), size_of_val(&on) as _);
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_PKTINFO, value, length)
    };
    assert_eq!(result, 0, "packet information");
    let mut datagrams = vec![[0u8; OCTETS]; BATCH];
    let mut controls = [[0u64; CONTROL_WORDS]; BATCH];
    // SAFETY: both are integers and raw pointers, for which zeros are a value.
    let (mut peers, mut headers): ([libc::sockaddr_in; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut iovecs = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    loop {
        for index in 0..BATCH {
            iovecs[index] = libc::iovec { iov_base: datagrams[index].as_mut_ptr().cast(), iov_len: OCTETS };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = (&raw mut peers[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
            header.msg_iov = &raw mut iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = controls[index].as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&controls[index]) as _;
        }
        // SAFETY: the headers point at buffers that live as long as this loop, and nothing else uses them during the calls.
        unsafe {
            let (flags, timeout) = (libc::MSG_WAITFORONE as _, ptr::null_mut());
            let received = libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as _, flags, timeout);
            let Ok(n_received) = usize::try_from(received) else { continue };
            for index in 0..n_received {
                iovecs[index].iov_len = headers[index].msg_len as usize;
                datagrams[index][2] |= 0x80;
                // The way back is the routing table's: only the address is kept.
                let control = libc::CMSG_FIRSTHDR(&raw const headers[index].msg_hdr);
                if !control.is_null() {
                    (*libc::CMSG_DATA(control).cast::<libc::in_pktinfo>()).ipi_ifindex = 0;
                }
            }
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), n_received as _, 0);
        }
    }
}
