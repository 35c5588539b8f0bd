//! The TOML document as written becomes the [`Config`] as meant: every value read, every default filled in, every name resolved.
//!
//! What can be judged at one value is judged here; what needs several parts of the file is `cross`'s.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::{Range, RangeInclusive},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeTable;

use super::{
    AffinityPrefix, Answers, Check, CheckKind, Config, Control, Dns, HttpCheck, Listener, Members, OnAllDown, Policy,
    Pool, PoolIndex, PoolsPolicy, Process, Realserver, Redirect, TlsCheck, cross,
    reader::{Reader, Table, Value, Word, suggest},
};
use crate::{
    diagnostic::{Diagnostics, Source},
    geo,
    types::Weight,
};

/// Connections at once that may be configured.
const CONNECTIONS_MAX: usize = 1_500_000;
/// Realservers of one pool: what is computed for a pool grows with their square in the worst case.
const REALSERVERS_MAX: usize = 4096;
/// Addresses in a DNS answer that may be configured as a number; "all" is cut by the size of a message.
const ANSWERS_MAX: u16 = 64;

/// Where things stand in the file, for those who compare them.
#[derive(Default)]
pub(super) struct Places {
    /// The name of each pool.
    pub(super) pools: Vec<Range<usize>>,
    /// The `name` of each realserver of each pool, or its table.
    pub(super) realservers: Vec<Vec<Range<usize>>>,
    /// The value of `pool` of each listener.
    pub(super) listener_pools: Vec<Range<usize>>,
    /// The value of `scheduler` of each listener that has one.
    pub(super) schedulers: Vec<Option<Range<usize>>>,
    /// Every address that is bound for TCP.
    pub(super) bound: Vec<(SocketAddr, Range<usize>)>,
    /// The `check` that each pool names.
    pub(super) checks_used: Vec<Option<Range<usize>>>,
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
    if let Some(version) = root.require("version")
        && version.integer(0..=i64::MAX).is_some_and(|number| number != 1)
    {
        version.reject("this version of the format is not known", "this program reads `version = 1`");
    }
    let dns = read_dns(root, &folder, &mut places);
    let redirect = read_redirect(root, &mut places);
    let control = read_control(root, &folder, &mut places);
    let geoip = root.get("geoip").and_then(|value| value.table("geoip"));
    let databases =
        geoip.and_then(|geoip| geoip.get("databases")).and_then(|value| value.list(|element| element.string()));
    let state = root.get("state").and_then(|value| value.table("state"));
    let state_dir =
        state.and_then(|state| state.get("dir")).and_then(|value| value.string()).unwrap_or("/var/lib/fingerpost");
    let checks = named_entries(root, "checks");
    let checks: Vec<Arc<Check>> = checks
        .iter()
        .map(|(word, value)| {
            places.checks.push(word.span.clone());
            Arc::new(read_check(word.text, *value, &folder))
        })
        .collect();
    let pool_entries = named_entries(root, "pools");
    let pool_names: Vec<&str> = pool_entries.iter().map(|(word, _)| word.text).collect();
    let context = Context { checks: &checks, pool_names: &pool_names };
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
    };
    cross::check(reader, &config, &places);
    config
}

/// What values may refer to.
struct Context<'c> {
    checks: &'c [Arc<Check>],
    pool_names: &'c [&'c str],
}

impl Context<'_> {
    fn pool(&self, value: Value<'_>) -> Option<PoolIndex> {
        let name = value.string()?;
        let index = self.pool_names.iter().position(|known| *known == name);
        if index.is_none() {
            let error = value.reader.error(value.span(), format!("unknown pool `{name}`"));
            value.reader.report(suggest(error, name, self.pool_names.iter().copied()));
        }
        index
    }

    fn check(&self, value: Value<'_>) -> Option<Arc<Check>> {
        let name = value.string()?;
        let check = self.checks.iter().find(|check| &*check.name == name);
        if check.is_none() {
            let error = value.reader.error(value.span(), format!("unknown check `{name}`"));
            value.reader.report(suggest(error, name, self.checks.iter().map(|check| &*check.name)));
        }
        check.cloned()
    }
}

/// The tables of `[table.NAME]`, names checked, in the order of the file.
fn named_entries<'r>(root: Table<'r>, table: &'static str) -> Vec<(Word<'r>, Value<'r>)> {
    let entries = root.get(table).and_then(|value| value.entries()).unwrap_or_default();
    for (word, _) in &entries {
        check_name(root.reader, word.text, word.span.clone(), false);
    }
    entries
}

/// Names go into commands, globs and paths `POOL/REALSERVER`, so they are plain words.
fn check_name(reader: &Reader<'_>, name: &str, span: Range<usize>, allows_dot: bool) {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (allows_dot && byte == b'.');
    if name.is_empty() || name.len() > 63 || !name.bytes().all(is_plain) {
        let hint =
            if allows_dot { "use letters, digits, `-`, `_` and `.`" } else { "use letters, digits, `-` and `_`" };
        reader
            .report(reader.error(span, format!("`{name}` cannot be a name here")).hint(format!("{hint}, at most 63")));
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

fn read_socket_address(value: Value<'_>) -> Option<SocketAddr> {
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

fn read_dns(root: Table<'_>, folder: &Path, places: &mut Places) -> Dns {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(256);
    let version = Some(concat!("fingerpost ", env!("CARGO_PKG_VERSION")).to_owned());
    let Some(table) = root.get("dns").and_then(|value| value.table("dns")) else {
        return Dns { listen: Vec::new(), zones: None, udp_workers: cores, version, nsid: None };
    };
    if let Some(value) = table.get("allow_transfer")
        && value.list(Some).is_some_and(|networks| !networks.is_empty())
    {
        value.reject(
            "`allow_transfer` is not supported yet: zone transfer comes with a later version",
            "write `[]`, or remove the line",
        );
    }
    if let Some(value) = table.get("cookies")
        && value.boolean() == Some(true)
    {
        value.reject(
            "`cookies = true` is not supported yet: DNS cookies come with a later version",
            "write `false`, or remove the line",
        );
    }
    let zones = table.get("zones").map_or(Some("zones"), |value| value.string());
    Dns {
        listen: read_listen(table, 53, places),
        zones: zones.map(|zones| folder.join(zones)),
        udp_workers: table.get("udp_workers").and_then(|value| value.integer(1..=256)).unwrap_or(cores),
        version: read_text_or_off(table.get("version"), version),
        nsid: read_text_or_off(table.get("nsid"), None),
    }
}

fn read_redirect(root: Table<'_>, places: &mut Places) -> Redirect {
    let Some(table) = root.get("redirect").and_then(|value| value.table("redirect")) else {
        return Redirect {
            listen: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            idle_timeout: Duration::from_secs(30),
        };
    };
    let network = |value: Value<'_>| read_network(value, value.string()?);
    Redirect {
        listen: read_listen(table, 80, places),
        trusted_proxies: table.get("trusted_proxies").and_then(|value| value.list(network)).unwrap_or_default(),
        max_connections: read_max_connections(table),
        idle_timeout: read_duration(table, "idle_timeout", Duration::from_secs(30)),
    }
}

fn read_network(value: Value<'_>, text: &str) -> Option<IpNet> {
    network(text).map_err(|(message, hint)| value.reject(message, hint)).ok()
}

/// A network without host bits.
fn network(text: &str) -> Result<IpNet, (String, String)> {
    let Ok(network) = text.parse::<IpNet>() else {
        return Err((format!("`{text}` is not a network"), "such as `198.51.100.0/24` or `2001:db8::/32`".to_owned()));
    };
    if network.addr() != network.network() {
        return Err((format!("`{text}` has bits beyond its prefix"), format!("did you mean `{}`?", network.trunc())));
    }
    Ok(network)
}

fn read_duration(table: Table<'_>, name: &'static str, default: Duration) -> Duration {
    table.get(name).and_then(|value| value.duration()).unwrap_or(default)
}

fn read_max_connections(table: Table<'_>) -> usize {
    table.get("max_connections").and_then(|value| value.integer(1..=CONNECTIONS_MAX)).unwrap_or(10_000)
}

fn read_control(root: Table<'_>, folder: &Path, places: &mut Places) -> Control {
    let table = root.get("control").and_then(|value| value.table("control"));
    let socket = table.and_then(|table| table.get("socket")).and_then(|value| value.string());
    let listen = table
        .and_then(|table| table.get("listen"))
        .filter(|value| !(value.is_string() && value.string() == Some("off")));
    let listen = listen.and_then(|value| Some((read_socket_address(value)?, value.span())));
    places.bound.extend(listen.clone());
    Control {
        socket: folder.join(socket.unwrap_or("/run/fingerpost/control.sock")),
        listen: listen.map(|(address, _)| address),
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

fn read_check(name: &str, value: Value<'_>, folder: &Path) -> Check {
    let defaults = Check {
        name: name.into(),
        kind: CheckKind::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        address: None,
        port: None,
    };
    let Some(table) = value.table("checks.NAME") else { return defaults };
    let kinds = [
        ("http", Some("http")),
        ("https", Some("https")),
        ("tcp", Some("tcp")),
        ("icmp", None),
        ("dns", None),
        ("exec", None),
        ("grpc", None),
        ("file", None),
    ];
    let kind = table.require("type").and_then(|value| value.choice(&kinds));
    let kind = match kind {
        Some("http") => CheckKind::Http(read_http_check(table)),
        Some("https") => CheckKind::Https(read_http_check(table), read_tls_check(table, folder)),
        _ => CheckKind::Tcp,
    };
    let unused: &[&'static str] = match kind {
        CheckKind::Tcp => &["path", "host", "expect_status", "verify", "sni", "ca"],
        CheckKind::Http(_) => &["verify", "sni", "ca"],
        CheckKind::Https(..) => &[],
    };
    for key in unused {
        if let Some(value) = table.get(key) {
            value.reject(format!("`{key}` has no meaning for this type of check"), "remove the line, or change `type`");
        }
    }
    let interval = read_duration(table, "interval", defaults.interval);
    let timeout = table.get("timeout").and_then(|value| Some((value.duration()?, value.span())));
    if timeout.as_ref().map_or(defaults.timeout, |(timeout, _)| *timeout) >= interval {
        let span = timeout.as_ref().map_or_else(|| table.span(), |(_, span)| span.clone());
        let hint = "a probe must end before the next one starts";
        table.reader.report(table.reader.error(span, "`timeout` must be shorter than `interval`").hint(hint));
    }
    let count =
        |name, default| table.get(name).and_then(|value: Value<'_>| value.integer(1..=1000u32)).unwrap_or(default);
    Check {
        kind,
        interval,
        timeout: timeout.map_or(defaults.timeout, |(timeout, _)| timeout),
        rise: count("rise", defaults.rise),
        fall: count("fall", defaults.fall),
        address: table.get("address").and_then(|value| value.address()),
        port: table.get("port").and_then(|value| value.integer(1..=u16::MAX)),
        ..defaults
    }
}

fn read_http_check(table: Table<'_>) -> HttpCheck {
    let is_path =
        |path: &&str| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let path = table.get("path").and_then(|value| {
        let path = value.string()?;
        if !is_path(&path) {
            value.reject(
                format!("`{path}` is not a path"),
                "it starts with `/` and has no blanks; write others as `%20`",
            );
        }
        Some(path.to_owned())
    });
    let statuses = table.get("expect_status").and_then(|value| value.list(read_statuses));
    HttpCheck {
        path: path.unwrap_or_else(|| "/".to_owned()),
        host: read_host(table, "host"),
        expect_status: statuses.unwrap_or_else(|| vec![200..=299]),
    }
}

fn read_host(table: Table<'_>, name: &'static str) -> Option<String> {
    let value = table.get(name)?;
    let host = value.string()?;
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)) {
        value.reject(format!("`{host}` is not a host name"), "such as `www.example.com`");
    }
    Some(host.to_owned())
}

/// `"200"` or `"200-299"`.
fn read_statuses(value: Value<'_>) -> Option<RangeInclusive<u16>> {
    let text = value.string()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok().zip(last.parse().ok()).map(|(first, last): (u16, u16)| first..=last);
    let range = range.filter(|range| !range.is_empty() && *range.start() >= 100 && *range.end() <= 599);
    if range.is_none() {
        value.reject(
            format!("`{text}` is not a range of status codes"),
            "such as `\"200\"` or `\"200-299\"`, within 100 to 599",
        );
    }
    range
}

fn read_tls_check(table: Table<'_>, folder: &Path) -> TlsCheck {
    TlsCheck {
        verify: table.get("verify").and_then(|value| value.boolean()).unwrap_or(true),
        sni: read_host(table, "sni"),
        ca: table.get("ca").and_then(|value| value.string()).map(|path| folder.join(path)),
    }
}

fn read_pool(context: &Context<'_>, word: &Word<'_>, value: Value<'_>, places: &mut Places) -> Pool {
    places.pools.push(word.span.clone());
    places.realservers.push(Vec::new());
    places.checks_used.push(None);
    let empty = Members::Pools { members: Vec::new(), policy: PoolsPolicy::Failover };
    let pool = Pool { name: word.text.into(), members: empty, answers: None, min_healthy: 0, on_all_down: None };
    let Some(table) = value.table("pools.NAME") else { return pool };
    let is_of_pools = ["members", "geo", "nets"].iter().any(|key| table.get(key).is_some());
    let members = match table.get("realservers") {
        Some(realservers) => {
            for key in ["members", "geo", "nets"] {
                if let Some(value) = table.get(key) {
                    let hint = "make one pool of the realservers and another with this one as a member";
                    value.reject(format!("a pool has `realservers` or `{key}`, not both"), hint);
                }
            }
            read_realservers(context, table, realservers, places)
        }
        None => {
            if !is_of_pools {
                let error = table.reader.error(word.span.clone(), format!("pool `{}` has nobody in it", word.text));
                table.reader.report(error.hint("give it `realservers = [ … ]` or `members = [ … ]`"));
            }
            for key in ["check", "affinity_prefix"] {
                if let Some(value) = table.get(key) {
                    value.reject(format!("`{key}` belongs to a pool of realservers"), "move it to the members");
                }
            }
            read_members(context, table)
        }
    };
    let is_leaf = matches!(members, Members::Realservers { .. });
    let answers = table.get("answers").and_then(read_answers);
    let on_all_down = table.get("on_all_down").and_then(|value| {
        value.choice(&[
            ("all", Some(OnAllDown::All)),
            ("none", Some(OnAllDown::None)),
            ("servfail", Some(OnAllDown::Servfail)),
        ])
    });
    Pool {
        members,
        answers: answers.or(is_leaf.then_some(Answers::AtMost(1))),
        min_healthy: table.get("min_healthy").and_then(read_percentage).unwrap_or(0),
        on_all_down: on_all_down.or(is_leaf.then_some(OnAllDown::All)),
        ..pool
    }
}

fn read_answers(value: Value<'_>) -> Option<Answers> {
    if value.is_integer() {
        return value.integer(1..=ANSWERS_MAX).map(Answers::AtMost);
    }
    if value.string()? == "all" {
        return Some(Answers::All);
    }
    value.reject(
        format!("`answers` must be a number from 1 to {ANSWERS_MAX} or `\"all\"`"),
        "`answers = \"all\"` gives every healthy one",
    );
    None
}

fn read_percentage(value: Value<'_>) -> Option<u8> {
    let text = value.string()?;
    let percentage = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|&number| number <= 100);
    if percentage.is_none() {
        value.reject(format!("`{text}` is not a percentage"), "such as `\"50%\"`");
    }
    percentage
}

fn read_realservers(context: &Context<'_>, table: Table<'_>, realservers: Value<'_>, places: &mut Places) -> Members {
    let policies = [
        ("wrr", Some(Some(Policy::Wrr))),
        ("random", Some(Some(Policy::Random))),
        ("source-hash", Some(Some(Policy::SourceHash))),
        ("failover", Some(Some(Policy::Failover))),
        ("geo", Some(None)),
        ("nearest", None),
    ];
    let policy = table.get("policy").map_or(Some(Policy::Wrr), |value| {
        let policy = value.choice(&policies)?;
        if policy.is_none() {
            value.reject(
                "policy `geo` chooses among pools, not realservers",
                "give it `members`, each a pool of realservers",
            );
        }
        policy
    });
    let check = table.get("check").and_then(|value| {
        places.checks_used.pop();
        places.checks_used.push(Some(value.span()));
        context.check(value)
    });
    let read = realservers.list(|element| Some((read_realserver(element)?, element.span())));
    let (all, spans): (Vec<_>, Vec<_>) = read.unwrap_or_default().into_iter().unzip();
    if all.is_empty() && realservers.list(Some).is_some_and(|elements| elements.is_empty()) {
        realservers
            .reject("a pool needs at least one realserver", "such as `{ name = \"a\", address = \"192.0.2.10\" }`");
    }
    if all.len() > REALSERVERS_MAX {
        let message = format!("{} realservers are more than the {REALSERVERS_MAX} a pool may have", all.len());
        realservers.reject(message, "make several pools, and one of these pools");
    }
    places.realservers.pop();
    places.realservers.push(spans);
    let prefix = table.get("affinity_prefix").and_then(|value| value.table("pools.NAME.affinity_prefix"));
    let bits = |name, most, default| {
        let value = prefix.and_then(|prefix: Table<'_>| prefix.get(name));
        value.and_then(|value| value.integer(1..=most)).unwrap_or(default)
    };
    let default = AffinityPrefix::default();
    Members::Realservers {
        policy: policy.unwrap_or(Policy::Wrr),
        realservers: all,
        check,
        affinity_prefix: AffinityPrefix { v4: bits("v4", 32, default.v4), v6: bits("v6", 128, default.v6) },
    }
}

fn read_realserver(value: Value<'_>) -> Option<Realserver> {
    let table = value.table("pools.NAME.realservers")?;
    let name = table.require("name").and_then(|value| {
        let name = value.string()?;
        check_name(value.reader, name, value.span(), true);
        Some(name)
    });
    let address = table.require("address");
    let (v4, v6) = address.map_or((None, None), read_addresses);
    let port = |name| table.get(name).and_then(|value: Value<'_>| value.integer(1..=u16::MAX));
    let realserver = Realserver {
        name: name?.into(),
        v4,
        v6,
        port: port("port"),
        weight: table.get("weight").and_then(read_weight).unwrap_or(Weight::ONE),
        url: table.get("url").and_then(read_url),
        check_address: table.get("check_address").and_then(|value| value.address()),
        check_port: port("check_port"),
    };
    Some(realserver)
}

/// One address, or a list of at most one of each family.
fn read_addresses(value: Value<'_>) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let (mut v4, mut v6) = (None, None);
    if value.is_string() {
        match value.address() {
            Some(IpAddr::V4(address)) => v4 = Some(address),
            Some(IpAddr::V6(address)) => v6 = Some(address),
            None => {}
        }
        return (v4, v6);
    }
    let elements = value.list(Some).unwrap_or_default();
    if elements.is_empty() {
        value.reject("a realserver needs an address", "such as `address = \"192.0.2.10\"`");
    }
    for element in elements {
        let is_second = match element.address() {
            Some(IpAddr::V4(address)) => v4.replace(address).is_some(),
            Some(IpAddr::V6(address)) => v6.replace(address).is_some(),
            None => false,
        };
        if is_second {
            element
                .reject("a realserver has at most one address of each family", "make this one a realserver of its own");
        }
    }
    (v4, v6)
}

fn read_weight(value: Value<'_>) -> Option<Weight> {
    let number = value.integer(0..=u16::MAX)?;
    if number == 0 {
        value.reject(
            "weight 0 is refused",
            "for no traffic, `fingerpost drain POOL/REALSERVER`, or remove the realserver",
        );
    }
    Weight::new(number)
}

/// An absolute http or https URL to which a path can be appended as it is.
fn read_url(value: Value<'_>) -> Option<Box<str>> {
    let url = value.string()?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_usable = rest.is_some_and(|rest| {
        let authority = rest.split('/').next().unwrap_or_default();
        !authority.is_empty()
            && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte))
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}@".contains(&byte))
    });
    if !is_usable {
        value.reject(
            format!("`{url}` is not a URL to send browsers to"),
            "such as `https://ams-b.example.com`: no user, query or fragment",
        );
        return None;
    }
    Some(url.trim_end_matches('/').into())
}

fn read_members(context: &Context<'_>, table: Table<'_>) -> Members {
    let listed = table.get("members").and_then(|value| {
        let members = value.list(|element| Some((context.pool(element)?, element)))?;
        if value.list(Some).is_some_and(|elements| elements.is_empty()) {
            value.reject("a pool of pools needs at least one member", "such as `members = [\"web-eu\", \"web-us\"]`");
        }
        for (index, (member, element)) in members.iter().enumerate() {
            if members.iter().take(index).any(|(before, _)| before == member) {
                element.reject("this member is in the list twice", "remove one of the two");
            }
        }
        Some(members.into_iter().map(|(member, _)| member).collect::<Vec<_>>())
    });
    let is_geo = table.get("geo").is_some() || table.get("nets").is_some();
    let of_realservers = |name| (name, Some(None));
    let policies = [
        ("failover", Some(Some(false))),
        ("geo", Some(Some(true))),
        of_realservers("wrr"),
        of_realservers("random"),
        of_realservers("source-hash"),
        ("nearest", None),
    ];
    let policy = table.get("policy").map_or(Some(is_geo), |value| {
        let policy = value.choice(&policies)?;
        match policy {
            None => {
                value.reject("this policy orders realservers, not pools", "for pools there are `failover` and `geo`")
            }
            Some(false) if is_geo => {
                value.reject("`geo` and `nets` need `policy = \"geo\"`", "change the policy, or remove them")
            }
            Some(true) if !is_geo => {
                value.reject("policy `geo` needs `[pools.NAME.geo]` or `[pools.NAME.nets]`", "or use `failover`")
            }
            Some(_) => {}
        }
        policy
    });
    if policy == Some(true) && is_geo {
        read_geo(context, table, listed)
    } else {
        Members::Pools { members: listed.unwrap_or_default(), policy: PoolsPolicy::Failover }
    }
}

/// The ordered lists of a geo pool; equal ones become one, so that neighbours that are treated alike can be merged.
struct Lists {
    lists: Vec<Vec<PoolIndex>>,
}

impl Lists {
    fn intern(&mut self, list: Vec<PoolIndex>) -> usize {
        self.lists.iter().position(|known| *known == list).unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        })
    }
}

fn read_geo(context: &Context<'_>, table: Table<'_>, listed: Option<Vec<PoolIndex>>) -> Members {
    let read_list = |value: Value<'_>| {
        value.list(|element| {
            let pool = context.pool(element)?;
            if listed.as_ref().is_some_and(|members| !members.contains(&pool)) {
                let name = context.pool_names.get(pool).copied().unwrap_or_default();
                element.reject(
                    format!("`{name}` is not among this pool's `members`"),
                    "add it there, or remove `members`: it is optional here",
                );
            }
            Some(pool)
        })
    };
    let entries = |name| table.get(name).and_then(|value: Value<'_>| value.entries()).unwrap_or_default();
    let places: Vec<(geo::Key, Vec<PoolIndex>)> = entries("geo")
        .into_iter()
        .filter_map(|(word, value)| {
            let list = read_list(value);
            match word.text.parse::<geo::Key>() {
                Ok(key) => Some((key, list?)),
                Err(error) => {
                    table.reader.report(table.reader.error(word.span, error.to_string()).hint(error.hint()));
                    None
                }
            }
        })
        .collect();
    let networks: Vec<(IpNet, Vec<PoolIndex>)> = entries("nets")
        .into_iter()
        .filter_map(|(word, value)| {
            let list = read_list(value);
            match network(word.text) {
                Ok(network) => Some((network, list?)),
                Err((message, hint)) => {
                    table.reader.report(table.reader.error(word.span, message).hint(hint));
                    None
                }
            }
        })
        .collect();
    let mut members = listed.unwrap_or_default();
    for pool in places.iter().map(|(_, list)| list).chain(networks.iter().map(|(_, list)| list)).flatten() {
        if !members.contains(pool) {
            members.push(*pool);
        }
    }
    let default = places
        .iter()
        .find(|(key, _)| *key == geo::Key::Default)
        .map_or_else(|| members.clone(), |(_, list)| list.clone());
    let mut lists = Lists { lists: vec![default] };
    let keys = places.into_iter().filter(|(key, _)| *key != geo::Key::Default);
    let keys = keys.map(|(key, list)| (key, lists.intern(list))).collect();
    let nets = networks.into_iter().map(|(network, list)| (network, lists.intern(list))).collect();
    Members::Pools { members, policy: PoolsPolicy::Geo { lists: lists.lists, keys, nets } }
}

fn read_listener(context: &Context<'_>, word: &Word<'_>, value: Value<'_>, places: &mut Places) -> Option<Listener> {
    let table = value.table("listeners.NAME")?;
    let bind = table.require("bind").and_then(|value| Some((read_socket_address(value)?, value.span())));
    let pool = table.require("pool").and_then(|value| Some((context.pool(value)?, value.span())));
    if let Some(value) = table.get("protocol") {
        value.choice(&[("tcp", Some(())), ("udp", None)]);
    }
    if let Some(value) = table.get("forward") {
        value.choice(&[("proxy", Some(())), ("nat", None), ("direct-routing", None), ("tunnel", None)]);
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
    let listener = Listener {
        name: word.text.into(),
        bind: bind.as_ref()?.0,
        pool: pool.as_ref()?.0,
        scheduler: scheduler.as_ref().map(|(policy, _)| *policy),
        idle_timeout: read_duration(table, "idle_timeout", Duration::from_secs(300)),
        connect_timeout: read_duration(table, "connect_timeout", Duration::from_secs(2)),
        max_connections: read_max_connections(table),
    };
    places.bound.extend(bind);
    places.listener_pools.extend(pool.map(|(_, span)| span));
    places.schedulers.push(scheduler.map(|(_, span)| span));
    Some(listener)
}
