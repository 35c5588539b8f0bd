//! Walks through the records of a message. For the few things that a transport has to know about what it carries.

use super::super::header::HEADER_OCTETS;

/// A record, its owner left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'m> {
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    pub(super) rdata: &'m [u8],
    /// Whether it stands in the additional section.
    pub(super) is_additional: bool,
}

/// The records of `message`, all sections, up to the first that cannot be read.
pub(super) fn records(message: &[u8]) -> impl Iterator<Item = Record<'_>> {
    walk(message).into_iter().flatten()
}

fn walk(message: &[u8]) -> Option<impl Iterator<Item = Record<'_>>> {
    let (header, mut rest) = message.split_at_checked(HEADER_OCTETS)?;
    let count = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
    let (n_questions, n_answers, n_authority, n_additional) = (count(4)?, count(6)?, count(8)?, count(10)?);
    for _ in 0..n_questions {
        rest = skip_name(rest)?.get(4..)?;
    }
    let n_before = u32::from(n_answers) + u32::from(n_authority);
    let mut numbers = 0..n_before + u32::from(n_additional);
    Some(std::iter::from_fn(move || {
        let is_additional = numbers.next()? >= n_before;
        let (fixed, after) = skip_name(rest)?.split_first_chunk::<10>()?;
        let [t0, t1, _, _, ttl @ .., l0, l1] = *fixed;
        let (rdata, next) = after.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        rest = next;
        Some(Record { rtype: u16::from_be_bytes([t0, t1]), ttl: u32::from_be_bytes(ttl), rdata, is_additional })
    }))
}

/// What follows the name that `octets` starts with. A compressed one ends with its first pointer.
fn skip_name(mut octets: &[u8]) -> Option<&[u8]> {
    loop {
        let (&length, rest) = octets.split_first()?;
        match length {
            0 => return Some(rest),
            1..64 => octets = rest.get(usize::from(length)..)?,
            192.. => return rest.get(1..),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"\x00\x01\x84\x00\x00\x01\x00\x01\x00\x01\x00\x01\
        \x03www\x07example\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01\
        \xc0\x10\x00\x06\x00\x01\x00\x00\x01\x00\x00\x00\
        \x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x05\x00\x0b\x00\x01\xff";

    #[test]
    fn records_of_all_sections_are_found() {
        let found: Vec<_> = records(MESSAGE).collect();
        let expected = [
            Record { rtype: 1, ttl: 60, rdata: &[192, 0, 2, 1], is_additional: false },
            Record { rtype: 6, ttl: 256, rdata: &[], is_additional: false },
            Record { rtype: 41, ttl: 0x8000, rdata: &[0, 11, 0, 1, 255], is_additional: true },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn records_end_where_a_message_is_cut() {
        for end in 0..MESSAGE.len() {
            assert!(records(&MESSAGE[..end]).count() < 3, "{end}");
        }
        assert_eq!(records(&[0xff; 500]).count(), 0);
    }
}
