//! The EDNS Client Subnet option (RFC 7871): read from a query, written into its response.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::types::{Family, Scope};

/// Most octets of the option's data: four and an IPv6 address.
pub const ECS_OCTETS_MAX: usize = 20;

/// The client that a resolver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecs {
    /// The option's family field, which is there even when no address is.
    pub family: Family,
    /// How many bits of the address were given; 0 means "do not use my address".
    pub source_prefix: u8,
    /// The address, bits beyond the prefix 0.
    pub address: IpAddr,
}

/// Which rule an ECS option breaks; all of them are FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EcsError {
    /// Shorter than family, source and scope.
    #[error("ECS option is shorter than 4 octets")]
    Short,
    /// Neither IPv4 nor IPv6.
    #[error("ECS option has an unknown family")]
    Family,
    /// Longer than an address of the family.
    #[error("ECS source prefix is longer than an address")]
    SourcePrefix,
    /// Not 0 in a query.
    #[error("ECS scope prefix is not 0 in a query")]
    Scope,
    /// Not as many octets as the source prefix takes.
    #[error("ECS address is not as long as its source prefix takes")]
    AddressLength,
    /// A bit beyond the source prefix is set.
    #[error("ECS address has bits beyond its source prefix")]
    HostBits,
}

/// Reads the EDNS Client Subnet option.
///
/// `rdata` is the option data without code and length: family (2 octets), source prefix (1), scope (1), address
/// (`ceil(source / 8)` octets, network order). Host bits must be zero. Source prefix 0 is valid and means "do not use my address".
///
/// # Errors
/// [`EcsError`] says which rule was broken; the caller answers FORMERR. RFC 7871 §6, §7.1.2.
pub fn parse_ecs(rdata: &[u8]) -> Result<Ecs, EcsError> {
    let (&[family0, family1, source_prefix, scope], octets) = rdata.split_first_chunk().ok_or(EcsError::Short)?;
    let (family, prefix_max) = match u16::from_be_bytes([family0, family1]) {
        1 => (Family::V4, 32),
        2 => (Family::V6, 128),
        _ => return Err(EcsError::Family),
    };
    if source_prefix > prefix_max {
        return Err(EcsError::SourcePrefix);
    }
    if scope != 0 {
        return Err(EcsError::Scope);
    }
    if octets.len() != usize::from(source_prefix.div_ceil(8)) {
        return Err(EcsError::AddressLength);
    }
    let used_bits = source_prefix % 8;
    if used_bits != 0 && octets.last().is_some_and(|last| last << used_bits != 0) {
        return Err(EcsError::HostBits);
    }
    let mut padded = [0; 16];
    padded.get_mut(..octets.len()).ok_or(EcsError::AddressLength)?.copy_from_slice(octets);
    let address = match family {
        Family::V4 => {
            let [a, b, c, d, ..] = padded;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        Family::V6 => IpAddr::V6(Ipv6Addr::from(padded)),
    };
    Ok(Ecs { family, source_prefix, address })
}

impl Ecs {
    /// Writes the option's data for a response into `out`: family, source prefix and address as received, and the scope. Returns its length.
    pub fn write(&self, scope: Scope, out: &mut [u8; ECS_OCTETS_MAX]) -> usize {
        let [family0, family1, source, scope_octet, address @ ..] = out;
        (*family0, *family1) = (0, if self.family == Family::V4 { 1 } else { 2 });
        (*source, *scope_octet) = (self.source_prefix, scope.0);
        let mut padded = [0; 16];
        match self.address {
            IpAddr::V4(v4) => padded.iter_mut().zip(v4.octets()).for_each(|(to, from)| *to = from),
            IpAddr::V6(v6) => padded = v6.octets(),
        }
        *address = padded;
        4 + usize::from(self.source_prefix.div_ceil(8))
    }
}
