//! Who may have copies of zones, and the keys that prove it: `allow_transfer` and `[tsig.NAME]` as written become [`Transfer`].

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::utils::base64;
use ipnet::IpNet;

use super::{
    file::network,
    reader::{Table, Value, Word, suggest_name},
};
use crate::name::Name;

/// Longest file with a secret: a key of 512 bits has 88 characters.
const SECRET_FILE_OCTETS_MAX: u64 = 4096;
/// Where nameservers listen.
const DNS_PORT: u16 = 53;
/// What makes the name of a key of a word.
const KEY_PREFIX: &str = "key:";

/// Everything about zones that go from server to server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Every key, in the order of the file.
    pub keys: Vec<Arc<TsigKey>>,
    /// Who may have zones; any entry is enough.
    pub allow: Vec<Allow>,
    /// Secondaries that are told of new serials.
    pub notify: Vec<Party>,
    /// Zones that others are primary of.
    pub secondaries: Vec<Arc<Secondary>>,
}

impl Transfer {
    /// Whether `peer`, who signed with the key named `signer` or not at all, may have zones.
    pub fn allows(&self, peer: IpAddr, signer: Option<&Name>) -> bool {
        self.allow.iter().any(|allow| allow.matches(peer, signer))
    }
}

/// `[tsig.NAME]`: a secret shared with another server (RFC 8945).
#[derive(Clone, PartialEq, Eq)]
pub struct TsigKey {
    /// Its name on the wire.
    pub name: Name,
    /// The name as written.
    pub name_in_file: Box<str>,
    /// The hash.
    pub algorithm: Algorithm,
    /// The octets of the secret; at least one.
    pub secret: Box<[u8]>,
    /// Where the secret came from, unless it stands in the configuration itself.
    pub secret_file: Option<PathBuf>,
}

/// Without the secret: what is logged is read by others.
impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey").field("name", &self.name).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The hash of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// For old servers that know nothing else.
    HmacSha1,
    /// What every server has to know (RFC 8945 §6).
    #[default]
    HmacSha256,
    /// More of the same.
    HmacSha384,
    /// Still more.
    HmacSha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 4] = [Self::HmacSha1, Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// As operators write it, which is its name on the wire as well.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }
}

/// Who is meant by an entry of `allow_transfer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Peers in it; `None` is everybody.
    pub network: Option<IpNet>,
    /// The key that must have signed; `None` needs no signature. One of the two is there.
    pub key: Option<Arc<TsigKey>>,
}

impl Allow {
    /// Whether it means `peer`, who signed with the key named `signer` or not at all.
    pub fn matches(&self, peer: IpAddr, signer: Option<&Name>) -> bool {
        let is_here = self.network.is_none_or(|network| network.contains(&peer.to_canonical()));
        is_here && self.key.as_ref().is_none_or(|key| signer == Some(&key.name))
    }
}

/// As it is written.
impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|key| &key.name_in_file);
        match (&self.network, key) {
            (Some(network), Some(key)) => write!(f, "{network} {KEY_PREFIX}{key}"),
            (Some(network), None) => write!(f, "{network}"),
            (None, Some(key)) => write!(f, "{KEY_PREFIX}{key}"),
            (None, None) => Ok(()),
        }
    }
}

/// `[secondaries.NAME]`: a zone that is copied from another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secondary {
    /// Its apex.
    pub apex: Name,
    /// Who has it, in the order in which they are asked; at least one.
    pub primaries: Vec<Party>,
}

/// Another nameserver, and how what goes there is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Where it listens.
    pub address: SocketAddr,
    /// The key; `None` does not sign.
    pub key: Option<Arc<TsigKey>>,
}

/// As it is written.
impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{} {KEY_PREFIX}{}", self.address, key.name_in_file),
            None => write!(f, "{}", self.address),
        }
    }
}

/// The keys of `[tsig.NAME]`.
pub(super) fn read_keys(entries: Vec<(Word<'_>, Value<'_>)>, folder: &Path) -> Vec<Arc<TsigKey>> {
    let mut keys: Vec<Arc<TsigKey>> = Vec::new();
    for (word, value) in entries {
        let Some(key) = read_key(&word, value, folder) else { continue };
        if keys.iter().any(|other| other.name == key.name) {
            let error = value.reader.error(word.span.clone(), format!("second key `{}`", word.text));
            value.reader.report(error.hint("names of keys are domain names: letters' case does not tell them apart"));
            continue;
        }
        keys.push(Arc::new(key));
    }
    keys
}

fn read_key(word: &Word<'_>, value: Value<'_>, folder: &Path) -> Option<TsigKey> {
    let table = value.table("tsig.NAME")?;
    let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.as_str(), Some(algorithm)));
    let algorithm = table.get("algorithm").map_or(Some(Algorithm::default()), |value| value.choice(&algorithms));
    let (secret, secret_file) = match (table.get("secret"), table.get("secret_file")) {
        (Some(_), Some(file)) => {
            file.reject("this key has `secret` as well", "remove one of the two");
            return None;
        }
        (Some(secret), None) => (decode(secret, secret.string()?, "the secret")?, None),
        (None, Some(file)) => {
            let path = folder.join(file.string()?);
            (decode(file, read_secret_file(file, &path)?.trim(), "the file's content")?, Some(path))
        }
        (None, None) => {
            let error = table.reader.error(table.span(), "this key has no secret");
            table.reader.report(error.hint("add `secret_file = \"…\"` or `secret = \"…\"`, in base64"));
            return None;
        }
    };
    // A name that cannot be one has been told already.
    let name = word.text.parse().ok()?;
    Some(TsigKey { name, name_in_file: word.text.into(), algorithm: algorithm?, secret, secret_file })
}

/// The octets of a secret. What is wrong is told without showing it.
fn decode(value: Value<'_>, text: &str, what: &str) -> Option<Box<[u8]>> {
    let Ok(secret) = base64::decode::<Vec<u8>>(text) else {
        value.reject(format!("{what} is not base64"), "make one with `openssl rand -base64 32`");
        return None;
    };
    if secret.is_empty() {
        value.reject(format!("{what} is empty"), "make one with `openssl rand -base64 32`");
        return None;
    }
    Some(secret.into())
}

fn read_secret_file(value: Value<'_>, path: &Path) -> Option<String> {
    let read = || {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() || metadata.len() > SECRET_FILE_OCTETS_MAX {
            return Err(std::io::Error::other(format!("no regular file of at most {SECRET_FILE_OCTETS_MAX} octets")));
        }
        Ok((std::fs::read_to_string(path)?, metadata.permissions().mode()))
    };
    match read() {
        Ok((text, mode)) => {
            if mode & 0o007 != 0 {
                let warning = value.reader.warning(value.span(), format!("everybody can read `{}`", path.display()));
                value.reader.report(warning.hint("take that away: `chmod o= FILE`"));
            }
            Some(text)
        }
        Err(error) => {
            let hint = "it must be readable for the user that the server runs as, for reloads too";
            value.reject(format!("could not read `{}`: {error}", path.display()), hint);
            None
        }
    }
}

/// What `[dns]` and `[secondaries.NAME]` say about transfers.
pub(super) fn read_transfer(root: Table<'_>, dns: Table<'_>, keys: &[Arc<TsigKey>]) -> Transfer {
    let allow = dns.get("allow_transfer").and_then(|value| value.list(|element| read_allow(element, keys)));
    let notify = dns.get("notify").and_then(|value| value.list(|element| read_party(element, keys)));
    let entries = root.get("secondaries").and_then(|value| value.entries()).unwrap_or_default();
    let mut secondaries: Vec<Arc<Secondary>> = Vec::new();
    for (word, value) in entries {
        let Some(secondary) = read_secondary(&word, value, keys) else { continue };
        if secondaries.iter().any(|other| other.apex == secondary.apex) {
            let error = value.reader.error(word.span.clone(), format!("zone `{}` is here twice", word.text));
            value.reader.report(error.hint("list all primaries of a zone in one table"));
            continue;
        }
        secondaries.push(Arc::new(secondary));
    }
    let (allow, notify) = (allow.unwrap_or_default(), notify.unwrap_or_default());
    Transfer { keys: keys.to_vec(), allow, notify, secondaries }
}

fn read_secondary(word: &Word<'_>, value: Value<'_>, keys: &[Arc<TsigKey>]) -> Option<Secondary> {
    let apex = word.text.parse::<Name>();
    if let Err(problem) = &apex {
        let error =
            value.reader.error(word.span.clone(), format!("`{}` is not the name of a zone: {problem}", word.text));
        value.reader.report(error.hint("such as `[secondaries.\"example.org\"]`"));
    }
    let table = value.table("secondaries.NAME")?;
    let key = match table.get("key") {
        Some(value) => Some(find_key(value, value.string()?, keys)?),
        None => None,
    };
    let primaries = table.require("primaries", "primaries = [\"192.0.2.1\"]")?;
    let list = primaries.list(|element| read_party(element, keys))?;
    if primaries.is_empty_list() {
        primaries.reject("a secondary zone needs a primary", "such as `[\"192.0.2.1\"]`");
    }
    let with_key = |party: Party| Party { key: party.key.or_else(|| key.clone()), ..party };
    Some(Secondary { apex: apex.ok()?, primaries: list.into_iter().map(with_key).collect() })
}

/// `ADDRESS` or `ADDRESS:PORT`, then perhaps `key:NAME`.
fn read_party(value: Value<'_>, keys: &[Arc<TsigKey>]) -> Option<Party> {
    let (place, key) = split(value, keys)?;
    let place = place.unwrap_or_default();
    let address = place.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT)).or_else(|_| place.parse());
    let address = address.ok().filter(|address: &SocketAddr| {
        !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() != 0
    });
    let Some(address) = address else {
        let hint = "such as `192.0.2.54`, `192.0.2.54:5300`, `[2001:db8::54]:53` or `192.0.2.54 key:NAME`";
        value.reject(format!("`{place}` is no address of a nameserver"), hint);
        return None;
    };
    Some(Party { address, key })
}

/// `NETWORK`, `key:NAME`, or both.
fn read_allow(value: Value<'_>, keys: &[Arc<TsigKey>]) -> Option<Allow> {
    let (place, key) = split(value, keys)?;
    let network = match place {
        Some(place) => Some(network(place).map_err(|(message, hint)| value.reject(message, hint)).ok()?),
        None => None,
    };
    Some(Allow { network, key })
}

/// A place and the name of a key, one of which may be missing.
fn split<'r>(value: Value<'r>, keys: &[Arc<TsigKey>]) -> Option<(Option<&'r str>, Option<Arc<TsigKey>>)> {
    let text = value.string()?;
    let mut place = None;
    let mut key = None;
    for word in text.split_whitespace() {
        match word.strip_prefix(KEY_PREFIX) {
            Some(name) if key.is_none() => key = Some(find_key(value, name, keys)?),
            None if place.is_none() && key.is_none() => place = Some(word),
            _ => {
                value.reject(format!("`{text}` says too much"), "an address or network, then `key:NAME`; each once");
                return None;
            }
        }
    }
    if place.is_none() && key.is_none() {
        value.reject("an entry is empty", "such as `192.0.2.0/24`, `key:NAME` or `192.0.2.0/24 key:NAME`");
        return None;
    }
    Some((place, key))
}

fn find_key(value: Value<'_>, name: &str, keys: &[Arc<TsigKey>]) -> Option<Arc<TsigKey>> {
    let wanted: Option<Name> = name.parse().ok();
    let found = keys.iter().find(|key| Some(&key.name) == wanted.as_ref());
    if found.is_none() {
        let error = value.reader.error(value.span(), format!("unknown key `{name}`"));
        let names: Vec<&str> = keys.iter().map(|key| &*key.name_in_file).collect();
        value.reader.report(suggest_name(error, name, &names, "keys"));
    }
    found.cloned()
}
