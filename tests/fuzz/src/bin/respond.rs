//! Any octets answered from zones and pools of every kind: what is sent is a well-formed response to what came, and fits.
//!
//! The first octet chooses transport and peer, the two after it how much room there is; the rest is the message.

#![no_main]

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, LazyLock},
};

use fingerpost::{
    dns::{Step, Transport, respond},
    snapshot::Snapshot,
};
use fingerpost_fuzz::{NOW, check_response, response_octets_max, rich_snapshot};
use libfuzzer_sys::fuzz_target;

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(rich_snapshot);

thread_local! {
    static OUT: RefCell<Vec<u8>> = RefCell::new(vec![0; 65_535]);
}

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, room0, room1], wire)) = input.split_first_chunk() else { return };
    let transport = if choice & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let peer: IpAddr = match choice >> 1 & 3 {
        0 => Ipv4Addr::LOCALHOST.into(),
        1 => Ipv4Addr::new(198, 51, 100, choice).into(),
        2 => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::new(203, 0, 113, choice).to_ipv6_mapped().into(),
    };
    let room = usize::from(u16::from_be_bytes([room0, room1]));
    OUT.with_borrow_mut(|out| {
        // Octets from before must not show.
        let out = &mut out[..room];
        out.fill(0xff);
        let random = u64::from(choice) << 56;
        if let Step::Send { n_octets, outcome } =
            respond(&SNAPSHOT, wire, (peer, 53).into(), transport, NOW, random, out)
        {
            let response = &out[..n_octets];
            check_response(wire, response, response_octets_max(wire, transport).min(room));
            assert_eq!(outcome.is_truncated, response[2] & 2 != 0, "TC");
            assert_eq!(outcome.rcode.header_bits(), response[3] & 15, "the rcode");
        }
    });
});
