//! Packets that are no proper query: cut short, too long, of other opcodes, with two OPTs, with names that lead round in circles.

use fastrand::Rng;

use crate::{
    name::Name,
    queries::{Draft, Edns, Query, Question, option},
};

/// A packet made from a good one, at random or, by turns, of those of the table.
pub fn generate(rng: &mut Rng, draft: &Draft, is_for_tcp: bool, turn: usize) -> Query {
    let mut packet = draft.packet();
    // OPT as a record of a type that some server reads would be FORMERR there for its data; the table has other records.
    let opt_type_at = 13 + draft.question.wire().len();
    let is_opt_type = |at: usize| draft.edns.is_some() && (opt_type_at..opt_type_at + 2).contains(&at);
    let shown = match rng.usize(..8) {
        0 => {
            packet.truncate(rng.usize(..packet.len()));
            format!("cut to {} octets: {draft}", packet.len())
        }
        1 => {
            let at = rng.usize(2..packet.len());
            let at = if is_opt_type(at) { 2 } else { at };
            let octet = rng.u8(..);
            packet[at] = octet;
            format!("octet {at} set to {octet:#x}: {draft}")
        }
        2 => {
            let at = rng.usize(2..12);
            packet[at] ^= 1 << rng.usize(..8);
            format!("a bit of octet {at} changed: {draft}")
        }
        3 => {
            packet = (0..rng.usize(2..200)).map(|_| rng.u8(..)).collect();
            // Mostly a query with one question, or nobody would look further.
            if let Some(header) = packet.first_chunk_mut::<12>()
                && rng.usize(..4) > 0
            {
                *header = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, rng.u8(..2)];
            }
            "random octets".to_owned()
        }
        _ => {
            let all = table(draft);
            let (what, octets) = all[turn % all.len()].clone();
            packet = octets;
            format!("{what}: {draft}")
        }
    };
    Query { is_for_tcp, ..query(packet, shown) }
}

/// Every kind of packet that is not quite a query, by name.
pub fn all(draft: &Draft) -> Vec<Query> {
    let whole = draft.packet();
    let cut =
        (0..whole.len()).map(|length| query(whole[..length].to_vec(), format!("cut to {length} octets: {draft}")));
    let flipped = (16..96).map(|bit: usize| {
        let mut packet = whole.clone();
        packet[bit / 8] ^= 0x80 >> (bit % 8);
        query(packet, format!("bit {} of octet {} changed: {draft}", bit % 8, bit / 8))
    });
    let named = table(draft).into_iter().map(|(what, packet)| query(packet, format!("{what}: {draft}")));
    cut.chain(flipped).chain(named).collect()
}

fn query(packet: Vec<u8>, shown: String) -> Query {
    Query { packet, shown, question: None, is_well_formed: false, is_for_tcp: true }
}

/// Octets of a header with one question and these counts of records.
fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let words = [0, flags, counts[0], counts[1], counts[2], counts[3]];
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn table(draft: &Draft) -> Vec<(String, Vec<u8>)> {
    let question = draft.question.wire();
    let plain = Edns::plain();
    let opt = plain.wire();
    let message = |counts: [u16; 4], parts: &[&[u8]]| [header(0, counts), parts.concat()].concat();
    let with_options = |options: &[u8]| message([1, 0, 0, 1], &[&question, &plain.wire_with(options)]);
    let raw_question = |name: &[u8]| message([1, 0, 0, 0], &[name, &[0, 1, 0, 1]]);
    let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &[192, 0, 2, 1][..]].concat();
    let owned_opt = [&[1, b'a'], &opt[..]].concat();
    let mut short_rdata = opt.clone();
    short_rdata[10] = 9;
    let other = Question { name: Name::of("other.example"), rtype: 1, class: 1 }.wire();
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |what: &str, packet: Vec<u8>| all.push((what.to_owned(), packet));

    add("no question", message([0, 0, 0, 0], &[]));
    add("two questions, OPT", message([2, 0, 0, 1], &[&question, &other, &opt]));
    add("no question, OPT", message([0, 0, 0, 1], &[&opt]));
    add("two questions", message([2, 0, 0, 0], &[&question, &other]));
    add("two questions alike", message([2, 0, 0, 0], &[&question, &question]));
    add("two questions said, one there", message([2, 0, 0, 0], &[&question]));
    add("no question said, one there", message([0, 0, 0, 0], &[&question]));
    add("one question said, two there", message([1, 0, 0, 0], &[&question, &other]));
    add("65535 questions said", message([65535, 0, 0, 0], &[&question]));
    add("an octet after the question", message([1, 0, 0, 0], &[&question, &[0]]));
    add("many octets after the question", message([1, 0, 0, 0], &[&question, &[0xaa; 100]]));
    add("an octet after OPT", message([1, 0, 0, 1], &[&question, &opt, &[0]]));
    add("OPT that is not counted", message([1, 0, 0, 0], &[&question, &opt]));
    add("OPT that is counted and missing", message([1, 0, 0, 1], &[&question]));
    add("two OPTs", message([1, 0, 0, 2], &[&question, &opt, &opt]));
    add("two OPTs, one counted", message([1, 0, 0, 1], &[&question, &opt, &opt]));
    add("OPT in the answer section", message([1, 1, 0, 0], &[&question, &opt]));
    add("OPT in the authority section", message([1, 0, 1, 0], &[&question, &opt]));
    add("OPT below the root", message([1, 0, 0, 1], &[&question, &owned_opt]));
    add("OPT longer than the message", message([1, 0, 0, 1], &[&question, &short_rdata]));
    add("a record in the answer section", message([1, 1, 0, 0], &[&question, &record]));
    add("a record in the authority section", message([1, 0, 1, 0], &[&question, &record]));
    add("a record in the additional section", message([1, 0, 0, 1], &[&question, &record]));
    add("a record before OPT", message([1, 0, 0, 2], &[&question, &record, &opt]));
    add("a record after OPT", message([1, 0, 0, 2], &[&question, &opt, &record]));
    add("records in all sections", message([1, 1, 1, 2], &[&question, &record, &record, &record, &opt]));
    add("a record that is counted and missing", message([1, 1, 0, 0], &[&question]));
    add("a name that points at itself", raw_question(&[0xc0, 12]));
    add("a name that points at the header", raw_question(&[0xc0, 0]));
    add("a name that points at the id, which is the root", raw_question(&[0xc0, 4]));
    add("a name that points forward", raw_question(&[0xc0, 14]));
    add("a name that points beyond the message", raw_question(&[0xff, 0xff]));
    add("a label and a pointer at it", raw_question(&[1, b'a', 0xc0, 12]));
    add("type 0", message([1, 0, 0, 0], &[&other[..other.len() - 4], &[0, 0, 0, 1]]));
    add("half a pointer", message([1, 0, 0, 0], &[&[0xc0]]));
    add("a label of kind 01", raw_question(&[0x41, b'a', 0]));
    add("a label of kind 10", raw_question(&[0x81, b'a', 0]));
    add("a name of 256 octets", raw_question(&[[1, b'a'].repeat(127), vec![1, b'a', 0]].concat()));
    add("a name of 255 octets", raw_question(&[[1, b'a'].repeat(127), vec![0]].concat()));
    add("a name without an end", message([1, 0, 0, 0], &[&[3, b'a', b'b']]));
    add("options: a code alone", with_options(&[0, 3]));
    add("options: half a header", with_options(&[0, 3, 0]));
    add("options: longer than OPT", with_options(&[0, 3, 0, 9]));
    add("options: unknown, longer than OPT", with_options(&[0xff, 0xf0, 0, 9, 1]));
    add("options: an octet after the last", with_options(&[&option(3, &[])[..], &[0]].concat()));
    add("options: NSID with data", with_options(&option(3, b"x")));
    add("options: NSID twice", with_options(&[option(3, &[]), option(3, &[])].concat()));
    for (what, data) in [
        ("empty", &[][..]),
        ("two octets", &[0, 1]),
        ("no address, source 0", &[0, 1, 0, 0]),
        ("no address, source 24", &[0, 1, 24, 0]),
        ("short address", &[0, 1, 24, 0, 192, 0]),
        ("long address", &[0, 1, 24, 0, 192, 0, 2, 1]),
        ("address and no source", &[0, 1, 0, 0, 192]),
        ("source 33", &[0, 1, 33, 0, 192, 0, 2, 1, 0]),
        ("source 129", &[0, 2, 129, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("scope in a query", &[0, 1, 24, 24, 192, 0, 2]),
        ("host bits", &[0, 1, 23, 0, 192, 0, 3]),
        ("family 0, no source", &[0, 0, 0, 0]),
        ("family 3", &[0, 3, 24, 0, 192, 0, 2]),
    ] {
        add(&format!("ECS: {what}"), with_options(&option(8, data)));
    }
    add("ECS twice", with_options(&option(8, &[0, 1, 24, 0, 192, 0, 2]).repeat(2)));
    for n_octets in [0, 1, 7, 9, 15, 41] {
        add(&format!("COOKIE of {n_octets} octets"), with_options(&option(10, &vec![7; n_octets])));
    }
    for opcode in 1..16u16 {
        let mut packet = draft.packet();
        packet[2..4].copy_from_slice(&(opcode << 11).to_be_bytes());
        add(&format!("opcode {opcode}"), packet);
        add(&format!("opcode {opcode}, a header alone"), header(opcode << 11, [0, 0, 0, 0]));
    }
    for (what, flags) in
        [("a response", 0x8000u16), ("a response with an error", 0x8001), ("a response to NOTIFY", 0xa000)]
    {
        let mut packet = draft.packet();
        packet[2..4].copy_from_slice(&flags.to_be_bytes());
        add(what, packet);
    }
    all
}
