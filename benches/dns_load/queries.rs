//! The questions of each case, and what a right answer looks like.

use fingerpost::name::Name;

/// Names of a kind, as `compare-dns` writes them into the zone.
const NAMES: u32 = 1000;
/// The same of the zone that `reload` writes.
const MILLION: u32 = 1_000_000;
/// Different queries that are sent in turn.
const QUERIES: usize = 16_384;

/// One kind of question.
pub(crate) struct Case {
    /// Whole messages, to be given an id.
    pub(crate) queries: Vec<Vec<u8>>,
    /// Response code.
    rcode: u8,
    /// Records in the answer section.
    n_answers: u16,
}

impl Case {
    /// The case of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut random = fastrand::Rng::with_seed(4711);
        let (rcode, n_answers) = match name {
            "static" => (0, 3),
            "wrr" | "geo" | "hash" | "million" => (0, 1),
            "nxdomain" => (3, 0),
            "referral" => (0, 0),
            // What can be no query, and gets no answer.
            "response" | "short" => (0, 0),
            _ => return None,
        };
        let queries = (0..QUERIES).map(|_| {
            let number = random.u32(0..NAMES);
            match name {
                "static" => query(&format!("h{number}.example.org"), None),
                "million" => query(&format!("n{}.example.org", random.u32(0..MILLION)), None),
                "response" => {
                    let mut wire = query(&format!("h{number}.example.org"), None);
                    wire[2] |= 0x80;
                    wire
                }
                "short" => vec![0; 11],
                "wrr" => query("wrr.example.org", None),
                "nxdomain" => query(&format!("x{}.example.org", random.u32(..)), None),
                "referral" => query(&format!("www.d{number}.example.org"), None),
                pool => {
                    let subnet = [random.u8(1..224), random.u8(..), random.u8(..)];
                    query(&format!("{pool}.example.org"), Some(subnet))
                }
            }
        });
        Some(Self { queries: queries.collect(), rcode, n_answers })
    }

    /// Whether this answers one of the queries.
    pub(crate) fn is_answer(&self, wire: &[u8]) -> bool {
        let Some(&[_, _, flags, rcode, _, _, an0, an1]) = wire.first_chunk() else { return false };
        flags & 0x82 == 0x80 && rcode & 15 == self.rcode && u16::from_be_bytes([an0, an1]) == self.n_answers
    }
}

/// A question for A as resolvers send it, with EDNS, and the client's network if there is one.
fn query(name: &str, subnet: Option<[u8; 3]>) -> Vec<u8> {
    let name: Name = name.parse().expect("a name");
    let mut wire = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    wire.extend(name.as_wire());
    wire.extend([0, 1, 0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0]);
    match subnet {
        None => wire.push(0),
        Some([a, b, c]) => wire.extend([11, 0, 8, 0, 7, 0, 1, 24, 0, a, b, c]),
    }
    wire
}
