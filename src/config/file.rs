//! The TOML document as written becomes the [`Config`] as meant: every value read, every default filled in, every name resolved.
//!
//! What can be judged at one value is judged here; what needs several parts of the file is `cross`'s.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::Range,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeTable;

use super::{
    Check, Config, Control, Dns, Guards, Listener, Policy, Pool, PoolIndex, Process, Redirect,
    check::read_checks,
    cross,
    encrypted::read_encrypted,
    pool::{read_percentage, read_pool},
    protect::{read_cookies, read_rate_limit},
    reader::{Reader, Table, Value, Word, suggest_name},
    transfer::{TsigKey, read_keys, read_transfer},
};
use crate::diagnostic::{Diagnostics, Source};

/// Connections at once that may be configured.
const CONNECTIONS_MAX: usize = 1_500_000;

/// Where things stand in the file, for those who compare them.
#[derive(Default)]
pub(super) struct Places {
    /// The name of each pool.
    pub(super) pools: Vec<Range<usize>>,
    /// The `name` of each realserver of each pool, or its table.
    pub(super) realservers: Vec<Vec<Range<usize>>>,
    /// What needs geo databases, with its name in backticks.
    pub(super) needing_geo: Vec<(&'static str, Range<usize>)>,
    /// The value of `pool` of each listener.
    pub(super) listener_pools: Vec<Range<usize>>,
    /// The value of `scheduler` of each listener that has one.
    pub(super) schedulers: Vec<Option<Range<usize>>>,
    /// Every address that is bound for TCP by something other than a listener.
    pub(super) bound: Vec<(SocketAddr, Range<usize>)>,
    /// Every address that a listener binds.
    pub(super) listener_binds: Vec<(SocketAddr, Range<usize>)>,
    /// Every address that is bound for UDP, those of `dns.listen` left out: they are bound for TCP as well.
    pub(super) bound_for_udp: Vec<(SocketAddr, Range<usize>)>,
    /// The name of each check.
    pub(super) checks: Vec<Range<usize>>,
}

/// Reads the whole document. Warnings come beside the configuration.
pub(super) fn parse(source: &Arc<Source>) -> Result<(Config, Diagnostics), Diagnostics> {
    let reader = Reader::new(source);
    let (document, mistakes) = DeTable::parse_recoverable(&source.text);
    for mistake in &mistakes {
        let message = mistake.message().lines().next().unwrap_or("not TOML").to_owned();
        reader.report(reader.error(mistake.span().unwrap_or(0..0), message));
    }
    // After a syntax error what follows may be misread, and blaming its content as well would bury the cause.
    let config = if mistakes.is_empty() { Some(read(&reader, document.get_ref(), source)) } else { None };
    let has_errors = reader.has_errors();
    match config {
        Some(config) if !has_errors => Ok((config, reader.into_findings())),
        _ => Err(reader.into_findings()),
    }
}

fn read(reader: &Reader<'_>, document: &DeTable<'_>, source: &Source) -> Config {
    let root = Table::root(reader, document);
    let folder = source.path.parent().unwrap_or(Path::new("")).to_owned();
    let mut places = Places::default();
    if let Some(version) = root.require("version", "version = 1")
        && version.integer(0..=i64::MAX).is_some_and(|number| number != 1)
    {
        version.reject("this version of the format is not known", "this program reads `version = 1`");
    }
    let keys = read_keys(named_entries(root, "tsig"), &folder);
    let dns = read_dns(root, &folder, &keys, &mut places);
    let redirect = read_redirect(root, &folder, &mut places);
    let control = read_control(root, &folder, &mut places);
    let geoip = root.get("geoip").and_then(|value| value.table("geoip"));
    let databases =
        geoip.and_then(|geoip| geoip.get("databases")).and_then(|value| value.list(|element| element.string()));
    let state = root.get("state").and_then(|value| value.table("state"));
    let state_dir =
        state.and_then(|state| state.get("dir")).and_then(|value| value.string()).unwrap_or("/var/lib/fingerpost");
    let checks = named_entries(root, "checks");
    places.checks.extend(checks.iter().map(|(word, _)| word.span.clone()));
    let checks = read_checks(&checks, &folder);
    let pool_entries = named_entries(root, "pools");
    let pool_names: Vec<&str> = pool_entries.iter().map(|(word, _)| word.text).collect();
    let pools_by_name = pool_names.iter().zip(0..).map(|(name, index)| (*name, index)).collect();
    let context = Context { checks: &checks, pool_names: &pool_names, pools_by_name };
    let pools: Vec<Pool> =
        pool_entries.iter().map(|(word, value)| read_pool(&context, word, *value, &mut places)).collect();
    let listeners = named_entries(root, "listeners");
    let listeners =
        listeners.iter().filter_map(|(word, value)| read_listener(&context, word, *value, &mut places)).collect();
    let config = Config {
        path: source.path.to_path_buf(),
        dns,
        geo_databases: databases.unwrap_or_default().into_iter().map(|path| folder.join(path)).collect(),
        redirect,
        control,
        state_dir: folder.join(state_dir),
        process: read_process(root),
        checks,
        pools,
        listeners,
        guards: read_guards(root),
    };
    cross::check(reader, &config, &places);
    config
}

/// What values may refer to.
pub(super) struct Context<'c> {
    pub(super) checks: &'c [Arc<Check>],
    pub(super) pool_names: &'c [&'c str],
    /// The same with their indexes: ten thousand pools name each other.
    pub(super) pools_by_name: HashMap<&'c str, PoolIndex>,
}

impl Context<'_> {
    pub(super) fn pool(&self, value: Value<'_>) -> Option<PoolIndex> {
        let name = value.string()?;
        let index = self.pools_by_name.get(name).copied();
        if index.is_none() {
            let error = value.reader.error(value.span(), format!("unknown pool `{name}`"));
            value.reader.report(suggest_name(error, name, self.pool_names, "pools"));
        }
        index
    }

    pub(super) fn check(&self, value: Value<'_>) -> Option<Arc<Check>> {
        let name = value.string()?;
        let check = self.checks.iter().find(|check| &*check.name == name);
        if check.is_none() {
            let error = value.reader.error(value.span(), format!("unknown check `{name}`"));
            let names: Vec<&str> = self.checks.iter().map(|check| &*check.name).collect();
            value.reader.report(suggest_name(error, name, &names, "checks"));
        }
        check.cloned()
    }
}

/// The tables of `[table.NAME]`, names checked, in the order of the file.
fn named_entries<'r>(root: Table<'r>, table: &'static str) -> Vec<(Word<'r>, Value<'r>)> {
    let entries = root.get(table).and_then(|value| value.entries()).unwrap_or_default();
    for (word, _) in &entries {
        // A key is named by a domain name, which both sides of a transfer have to agree on.
        check_name(root.reader, word.text, word.span.clone(), table == "tsig");
    }
    entries
}

/// Names go into commands, globs and paths `POOL/REALSERVER`, so they are plain words.
pub(super) fn check_name(reader: &Reader<'_>, name: &str, span: Range<usize>, allows_dot: bool) {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (allows_dot && byte == b'.');
    if name.is_empty() || name.len() > 63 || !name.bytes().all(is_plain) {
        let hint =
            if allows_dot { "use letters, digits, `-`, `_` and `.`" } else { "use letters, digits, `-` and `_`" };
        let message =
            if name.is_empty() { "a name is empty".to_owned() } else { format!("`{name}` cannot be a name here") };
        reader.report(reader.error(span, message).hint(format!("{hint}, at most 63")));
    }
}

/// A list of addresses to bind.
fn read_listen(table: Table<'_>, port: u16, places: &mut Places) -> Vec<SocketAddr> {
    let Some(value) = table.get("listen") else {
        let any = [SocketAddr::from(([0, 0, 0, 0], port)), SocketAddr::from(([0u16; 8], port))];
        places.bound.extend(any.map(|address| (address, table.span())));
        return any.to_vec();
    };
    let listen = value.list(|element| Some((read_socket_address(element)?, element.span())));
    let listen = listen.unwrap_or_default();
    places.bound.extend(listen.iter().cloned());
    listen.into_iter().map(|(address, _)| address).collect()
}

pub(super) fn read_socket_address(value: Value<'_>) -> Option<SocketAddr> {
    value.parse("an address with a port", "such as `192.0.2.1:53`, `0.0.0.0:53` or `[2001:db8::1]:53`")
}

/// A text that "off" takes away.
fn read_text_or_off(value: Option<Value<'_>>, default: Option<String>) -> Option<String> {
    let Some(value) = value else { return default };
    let text = value.string()?;
    if text.is_empty() || text.len() > 255 {
        value.reject("this text must have 1 to 255 octets", "or `\"off\"` for none");
        return None;
    }
    (text != "off").then(|| text.to_owned())
}

fn read_dns(root: Table<'_>, folder: &Path, keys: &[Arc<TsigKey>], places: &mut Places) -> Dns {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(256);
    let version = Some(concat!("fingerpost ", env!("CARGO_PKG_VERSION")).to_owned());
    let Some(table) = root.get("dns").and_then(|value| value.table("dns")) else {
        if let Some(value) = root.get("secondaries") {
            value.reject("nobody is served these zones: there is no `[dns]`", "add `[dns]`");
        }
        return Dns {
            listen: Vec::new(),
            zones: None,
            udp_workers: cores,
            version,
            nsid: None,
            transfer: Arc::default(),
            encrypted: None,
            cookies: None,
            rate_limit: None,
        };
    };
    let zones = table.get("zones").map_or(Some("zones"), |value| value.string());
    Dns {
        listen: read_listen(table, 53, places),
        zones: zones.map(|zones| folder.join(zones)),
        udp_workers: table.get("udp_workers").and_then(|value| value.integer(1..=256)).unwrap_or(cores),
        version: read_text_or_off(table.get("version"), version),
        nsid: read_text_or_off(table.get("nsid"), None),
        transfer: Arc::new(read_transfer(root, table, keys)),
        encrypted: table
            .get("encrypted")
            .and_then(|value| read_encrypted(value, folder, &mut places.bound, &mut places.bound_for_udp)),
        cookies: read_cookies(table, folder),
        rate_limit: read_rate_limit(table),
    }
}

fn read_redirect(root: Table<'_>, folder: &Path, places: &mut Places) -> Redirect {
    let Some(table) = root.get("redirect").and_then(|value| value.table("redirect")) else {
        return Redirect {
            listen: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            idle_timeout: Duration::from_secs(30),
            cookie_secret_file: None,
        };
    };
    let network = |value: Value<'_>| read_network(value, value.string()?);
    let cookie_secret_file = table.get("cookie_secret_file").and_then(|value| value.string());
    Redirect {
        listen: read_listen(table, 80, places),
        trusted_proxies: table.get("trusted_proxies").and_then(|value| value.list(network)).unwrap_or_default(),
        max_connections: read_max_connections(table),
        idle_timeout: read_duration(table, "idle_timeout", Duration::from_secs(30)),
        cookie_secret_file: cookie_secret_file.map(|path| folder.join(path)),
    }
}

pub(super) fn read_network(value: Value<'_>, text: &str) -> Option<IpNet> {
    network(text).map_err(|(message, hint)| value.reject(message, hint)).ok()
}

/// A network without host bits.
pub(super) fn network(text: &str) -> Result<IpNet, (String, String)> {
    let Ok(network) = text.parse::<IpNet>() else {
        let hint = match text.parse::<IpAddr>() {
            Ok(address) => format!("for this address alone write `{}`", IpNet::from(address)),
            Err(_) => "such as `198.51.100.0/24` or `2001:db8::/32`".to_owned(),
        };
        return Err((format!("`{text}` is not a network"), hint));
    };
    if network.addr() != network.network() {
        return Err((format!("`{text}` has bits beyond its prefix"), format!("did you mean `{}`?", network.trunc())));
    }
    Ok(network)
}

pub(super) fn read_duration(table: Table<'_>, name: &'static str, default: Duration) -> Duration {
    table.get(name).and_then(|value| value.duration()).unwrap_or(default)
}

fn read_max_connections(table: Table<'_>) -> usize {
    table.get("max_connections").and_then(|value| value.integer(1..=CONNECTIONS_MAX)).unwrap_or(10_000)
}

fn read_control(root: Table<'_>, folder: &Path, places: &mut Places) -> Control {
    let table = root.get("control").and_then(|value| value.table("control"));
    let socket = table.and_then(|table| table.get("socket")).and_then(|value| value.string());
    let listen = table.and_then(|table| table.get("listen")).filter(|value| value.text() != Some("off"));
    let listen = listen.and_then(|value| Some((read_socket_address(value)?, value.span())));
    places.bound.extend(listen.clone());
    Control { socket: folder.join(socket.unwrap_or(super::CONTROL_SOCKET)), listen: listen.map(|(address, _)| address) }
}

fn read_guards(root: Table<'_>) -> Guards {
    let table = root.get("guards").and_then(|value| value.table("guards"));
    let value = table.and_then(|table| table.get("freeze_above"));
    Guards {
        freeze_above: match value {
            Some(value) if value.text() == Some("off") => None,
            Some(value) => read_percentage(value, 1),
            None => Guards::default().freeze_above,
        },
    }
}

fn read_process(root: Table<'_>) -> Process {
    let table = root.get("process").and_then(|value| value.table("process"));
    Process {
        user: table.and_then(|table| table.get("user")).and_then(|value| value.string()).map(str::to_owned),
        drain_timeout: table
            .map_or(Duration::from_secs(10), |table| read_duration(table, "drain_timeout", Duration::from_secs(10))),
    }
}

fn read_listener(context: &Context<'_>, word: &Word<'_>, value: Value<'_>, places: &mut Places) -> Option<Listener> {
    let table = value.table("listeners.NAME")?;
    let bind = table
        .require("bind", "bind = \"192.0.2.1:80\"")
        .and_then(|value| Some((read_socket_address(value)?, value.span())));
    let pool = table.require("pool", "pool = \"web\"").and_then(|value| Some((context.pool(value)?, value.span())));
    if let Some(value) = table.get("protocol") {
        value.choice(&[("tcp", Some(())), ("udp", None)]);
    }
    if let Some(value) = table.get("forward") {
        read_forward(value);
    }
    if let Some(value) = table.get("proxy_protocol") {
        value.choice(&[("off", Some(())), ("v1", None), ("v2", None)]);
    }
    let schedulers = [
        ("wrr", Some(Policy::Wrr)),
        ("source-hash", Some(Policy::SourceHash)),
        ("least-connections", None),
        ("random-two", None),
    ];
    let scheduler = table.get("scheduler").and_then(|value| Some((value.choice(&schedulers)?, value.span())));
    let idle_timeout = read_duration(table, "idle_timeout", Duration::from_secs(300));
    let connect_timeout = read_duration(table, "connect_timeout", Duration::from_secs(2));
    let max_connections = read_max_connections(table);
    places.listener_binds.extend(bind.clone());
    // Only here does a listener that lacks something end: all that is wrong with it has been told.
    let ((bind, _), (pool, pool_span)) = bind.zip(pool)?;
    places.listener_pools.push(pool_span);
    places.schedulers.push(scheduler.as_ref().map(|(_, span)| span.clone()));
    let (name, scheduler) = (word.text.into(), scheduler.map(|(policy, _)| policy));
    Some(Listener { name, bind, pool, scheduler, idle_timeout, connect_timeout, max_connections })
}

fn read_forward(value: Value<'_>) {
    match value.text() {
        Some(mode @ ("nat" | "direct-routing" | "tunnel")) => value.reject(
            format!("`forward = \"{mode}\"` is not supported yet: forwarding in the kernel comes with a later version"),
            "write `proxy`, or remove the line: it carries clients of either address family to realservers of either",
        ),
        _ => {
            value.choice(&[("proxy", Some(()))]);
        }
    }
}
