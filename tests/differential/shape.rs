//! What is odd about a packet, so that an explanation can say which packets it is about.

use crate::name::OCTETS_MAX;

/// A packet as far as it can be read.
#[derive(Default)]
pub struct Shape {
    /// Every OPT record.
    pub opts: Vec<Opt>,
    /// Octets after the last record.
    pub n_trailing: usize,
    /// Whether all of its questions can be read.
    pub has_questions: bool,
}

/// An OPT record of a packet.
pub struct Opt {
    /// EDNS version.
    pub version: u8,
    /// Its options, as far as they can be read.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Shape {
    /// Reads a packet.
    pub fn of(packet: &[u8]) -> Self {
        let mut shape = Self::default();
        // What cannot be read is left as it is.
        let _ = shape.read(packet);
        shape
    }

    fn read(&mut self, packet: &[u8]) -> Option<()> {
        let count = |index: usize| Some(u16::from_be_bytes([*packet.get(index)?, *packet.get(index + 1)?]));
        let n_questions = count(4)?;
        let n_records = u32::from(count(6)?) + u32::from(count(8)?) + u32::from(count(10)?);
        let mut rest = packet.get(12..)?;
        for _ in 0..n_questions {
            rest = skip_name(rest)?.get(4..)?;
        }
        self.has_questions = true;
        for _ in 0..n_records {
            let fields = skip_name(rest)?;
            let length = usize::from(u16::from_be_bytes([*fields.get(8)?, *fields.get(9)?]));
            let rdata = fields.get(10..10 + length)?;
            if fields.starts_with(&[0, 41]) {
                self.opts.push(Opt { version: *fields.get(5)?, options: options(rdata) });
            }
            rest = &fields[10 + length..];
        }
        self.n_trailing = rest.len();
        Some(())
    }

    /// Whether it has an ECS option that RFC 7871 §6 forbids.
    pub fn has_bad_ecs(&self) -> bool {
        let mut options = self.opts.iter().flat_map(|opt| &opt.options);
        options.any(|(code, data)| *code == 8 && !is_good_ecs(data))
    }
}

fn is_good_ecs(data: &[u8]) -> bool {
    let &[0, family @ (1 | 2), source, 0, ref address @ ..] = data else { return false };
    let bits_max = if family == 1 { 32 } else { 128 };
    let has_host_bits = source % 8 != 0 && address.last().is_some_and(|last| last << (source % 8) != 0);
    source <= bits_max && address.len() == usize::from(source.div_ceil(8)) && !has_host_bits
}

fn options(rdata: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    let mut rest = rdata;
    while let Some((&[code0, code1, length0, length1], tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([length0, length1]));
        let Some((data, tail)) = tail.split_at_checked(length) else { break };
        options.push((u16::from_be_bytes([code0, code1]), data.to_vec()));
        rest = tail;
    }
    options
}

fn skip_name(octets: &[u8]) -> Option<&[u8]> {
    let mut rest = octets;
    loop {
        let (&length, tail) = rest.split_first()?;
        match length {
            0 => return Some(tail),
            1..=63 => rest = tail.get(usize::from(length)..)?,
            192.. => return tail.get(1..),
            _ => return None,
        }
        if octets.len() - rest.len() >= OCTETS_MAX {
            return None;
        }
    }
}
