//! `[checks.NAME]` as written becomes a [`Check`].

use std::{
    ops::{Range, RangeInclusive},
    path::Path,
    sync::Arc,
};

use super::{
    Calculated, Check, CheckKind, DnsCheck, ExecCheck, GrpcCheck, HttpCheck, Octets, Pattern, Rcode, RecordType, Rule,
    Talk, TlsCheck, pattern,
};
use crate::{
    config::{
        file::read_duration,
        reader::{Reader, Table, Value, Word, suggest_name, suggest_word},
    },
    name::Name,
    types::{format_octets, parse_octets},
};

/// Checks that one calculated check may lead to, those within others counted as often as they are named.
const CALCULATED_MAX: usize = 255;
/// Calculated checks within each other.
const CALCULATED_DEPTH_MAX: usize = 8;
/// Arguments of a command, and headers of a request.
const LIST_MAX: usize = 64;
/// Octets that are said, and of a body that may be looked into.
const SEND_OCTETS_MAX: usize = 64 << 10;
const BODY_OCTETS_MAX: usize = 1 << 20;

const PROBED: &[&str] = &["tcp", "http", "https", "dns", "icmp", "grpc", "exec", "file"];
const BY_ADDRESS: &[&str] = &["tcp", "http", "https", "dns", "icmp", "grpc", "exec"];
const BY_HTTP: &[&str] = &["http", "https"];
const BY_TLS: &[&str] = &["tcp", "https", "grpc"];
const CALCULATED: &[&str] = &["all", "any", "at-least"];

/// Which types of check have which key; those that every one has are not here.
const KEYS: &[(&str, &[&str])] = &[
    ("interval", PROBED),
    ("timeout", BY_ADDRESS),
    ("rise", PROBED),
    ("fall", PROBED),
    ("forgive", PROBED),
    ("passive", PROBED),
    ("refused_is_down", &["tcp", "http", "https", "grpc"]),
    ("address", BY_ADDRESS),
    ("port", &["tcp", "http", "https", "dns", "grpc", "exec"]),
    ("send", &["tcp"]),
    ("expect", &["tcp"]),
    ("path", &["http", "https", "file"]),
    ("host", &["http", "https", "grpc"]),
    ("method", BY_HTTP),
    ("headers", BY_HTTP),
    ("expect_status", BY_HTTP),
    ("expect_body", BY_HTTP),
    ("body_max", BY_HTTP),
    ("tls", &["tcp", "grpc"]),
    ("verify", BY_TLS),
    ("sni", BY_TLS),
    ("ca", BY_TLS),
    ("expiry_warning", BY_TLS),
    ("query", &["dns"]),
    ("expect_rcode", &["dns"]),
    ("expect_address", &["dns"]),
    ("service", &["grpc"]),
    ("command", &["exec"]),
    ("checks", CALCULATED),
    ("at_least", &["at-least"]),
];

/// Reads every check, in the order of the file. Relative paths in them are below `folder`.
pub(in crate::config) fn read_checks(entries: &[(Word<'_>, Value<'_>)], folder: &Path) -> Vec<Arc<Check>> {
    let drafts: Vec<Draft<'_>> = entries.iter().map(|(word, value)| read_check(word, *value, folder)).collect();
    let Some((_, first)) = entries.first() else { return Vec::new() };
    let mut resolver = Resolver { reader: first.reader, drafts: &drafts, done: vec![None; drafts.len()] };
    (0..drafts.len()).map(|index| resolver.resolve(index, &mut Vec::new()).check).collect()
}

/// Something with where it stands.
type Place<T> = (T, Range<usize>);

/// A check whose own `checks` are still names.
struct Draft<'r> {
    span: Range<usize>,
    check: Check,
    members: Vec<Place<&'r str>>,
    rule: Option<Place<Rule>>,
}

/// Follows the names of calculated checks.
struct Resolver<'d, 'r> {
    reader: &'r Reader<'r>,
    drafts: &'d [Draft<'r>],
    /// What was made of each draft.
    done: Vec<Option<Resolved>>,
}

/// A check with everything that it is calculated from.
#[derive(Clone)]
struct Resolved {
    check: Arc<Check>,
    /// How many probed checks it leads to.
    n_ways: usize,
    /// How many calculated checks are within each other.
    depth: usize,
}

impl Resolver<'_, '_> {
    /// The check at `index`; `path` leads there.
    fn resolve(&mut self, index: usize, path: &mut Vec<usize>) -> Resolved {
        if let Some(Some(done)) = self.done.get(index) {
            return done.clone();
        }
        let Some(draft) = self.drafts.get(index) else {
            return Resolved { check: Arc::new(Check::new("", CheckKind::Icmp)), n_ways: 1, depth: 0 };
        };
        let resolved = match &draft.rule {
            None => Resolved { check: Arc::new(draft.check.clone()), n_ways: 1, depth: 0 },
            Some((rule, rule_span)) => {
                if let Rule::AtLeast(needed) = rule
                    && usize::from(*needed) > draft.members.len()
                {
                    let message = format!("`at_least` is {needed}, and there are {} `checks`", draft.members.len());
                    self.reader.report(self.reader.error(rule_span.clone(), message).hint("it could never be up"));
                }
                self.calculate(index, draft, *rule, path)
            }
        };
        if let Some(place) = self.done.get_mut(index) {
            *place = Some(resolved.clone());
        }
        resolved
    }

    fn calculate(&mut self, index: usize, draft: &Draft<'_>, rule: Rule, path: &mut Vec<usize>) -> Resolved {
        let with = |checks: Vec<Arc<Check>>, n_ways, depth| {
            // Who asks how often it is looked at gets the slowest of them.
            let slowest = checks.iter().map(|check| check.interval).max();
            let interval = slowest.unwrap_or(draft.check.interval);
            let kind = CheckKind::Calculated(Calculated { rule, checks });
            Resolved { check: Arc::new(Check { kind, interval, ..draft.check.clone() }), n_ways, depth }
        };
        let reader = self.reader;
        let refused = |message: String| {
            reader.report(reader.error(draft.span.clone(), message).hint("name the probed checks instead"));
            with(Vec::new(), 1, 1)
        };
        let too_deep = || format!("more than {CALCULATED_DEPTH_MAX} checks are calculated from each other here");
        if path.len() >= CALCULATED_DEPTH_MAX {
            return refused(too_deep());
        }
        path.push(index);
        let mut members = Vec::new();
        for (name, span) in &draft.members {
            let Some(member) = self.find(name, span) else { continue };
            if let Some(at) = path.iter().position(|&before| before == member) {
                let circle = path.iter().skip(at).chain([&member]);
                let names: Vec<&str> = circle.filter_map(|&index| Some(&*self.drafts.get(index)?.check.name)).collect();
                let error =
                    self.reader.error(span.clone(), format!("checks go in a circle: `{}`", names.join("` → `")));
                self.reader.report(error.hint("take one of them out of the `checks` of the one before it"));
                continue;
            }
            members.push(self.resolve(member, path));
        }
        path.pop();
        let n_ways: usize = members.iter().map(|member| member.n_ways).sum();
        let depth = 1 + members.iter().map(|member| member.depth).max().unwrap_or(0);
        if depth > CALCULATED_DEPTH_MAX {
            return refused(too_deep());
        }
        if n_ways > CALCULATED_MAX {
            return refused(format!("check `{}` is calculated from more than {CALCULATED_MAX}", draft.check.name));
        }
        with(members.into_iter().map(|member| member.check).collect(), n_ways, depth)
    }

    fn find(&self, name: &str, span: &Range<usize>) -> Option<usize> {
        let found = self.drafts.iter().position(|draft| &*draft.check.name == name);
        if found.is_none() {
            let names: Vec<&str> = self.drafts.iter().map(|draft| &*draft.check.name).collect();
            let error = self.reader.error(span.clone(), format!("unknown check `{name}`"));
            self.reader.report(suggest_name(error, name, &names, "checks"));
        }
        found
    }
}

fn read_check<'r>(word: &Word<'r>, value: Value<'r>, folder: &Path) -> Draft<'r> {
    let draft =
        |kind| Draft { span: word.span.clone(), check: Check::new(word.text, kind), members: Vec::new(), rule: None };
    let Some(table) = value.table("checks.NAME") else { return draft(CheckKind::Icmp) };
    let kinds: Vec<(&str, Option<&str>)> = PROBED.iter().chain(CALCULATED).map(|kind| (*kind, Some(*kind))).collect();
    let kind = table.require("type", "type = \"http\"").and_then(|value| value.choice(&kinds));
    // Without a type nobody can say which keys belong to it.
    for (key, types) in KEYS.iter().filter(|(_, types)| kind.is_some_and(|kind| !types.contains(&kind))) {
        if let Some(value) = table.get(key) {
            let message = format!("a check of type `{}` has no `{key}`", kind.unwrap_or_default());
            let types: Vec<String> = types.iter().map(|kind| format!("`{kind}`")).collect();
            value.reject(message, format!("remove it, or change `type`: it belongs to {}", types.join(", ")));
        }
    }
    let mut draft = match kind {
        Some("tcp") => draft(CheckKind::Tcp(read_talk(table), read_optional_tls(table, folder))),
        Some("http") => draft(CheckKind::Http(read_http_check(table))),
        Some("https") => draft(CheckKind::Https(read_http_check(table), read_tls_check(table, folder))),
        Some("dns") => draft(read_dns_check(table).map_or(CheckKind::Icmp, CheckKind::Dns)),
        Some("grpc") => draft(CheckKind::Grpc(read_grpc_check(table), read_optional_tls(table, folder))),
        Some("exec") => draft(CheckKind::Exec(read_exec_check(table, folder))),
        Some("file") => {
            let path = table.require("path", "path = \"health.state\"").and_then(|value| value.string());
            draft(CheckKind::File(folder.join(path.unwrap_or_default())))
        }
        Some(kind @ ("all" | "any" | "at-least")) => {
            let (members, rule) = read_calculated(table, kind);
            return Draft { members, rule: Some(rule), ..draft(CheckKind::Icmp) };
        }
        _ => draft(CheckKind::Icmp),
    };
    read_numbers(table, &mut draft.check);
    draft
}

/// What every check has that is probed.
fn read_numbers(table: Table<'_>, check: &mut Check) {
    check.interval = read_duration(table, "interval", check.interval);
    if matches!(check.kind, CheckKind::File(_)) {
        check.timeout = check.interval / 2;
    } else {
        let timeout = table.get("timeout").and_then(|value| Some((value.duration()?, value.span())));
        let (timeout, span) = timeout.map_or_else(|| (check.timeout, table.span()), |(timeout, span)| (timeout, span));
        if timeout >= check.interval {
            let hint = "a probe must end before the next one starts";
            table.reader.report(table.reader.error(span, "`timeout` must be shorter than `interval`").hint(hint));
        }
        check.timeout = timeout;
    }
    let count =
        |name, default| table.get(name).and_then(|value: Value<'_>| value.integer(1..=1000u32)).unwrap_or(default);
    check.rise = count("rise", check.rise);
    check.fall = count("fall", check.fall);
    check.forgive = count("forgive", check.fall);
    check.refused_is_down = read_flag(table, "refused_is_down", check.refused_is_down);
    check.passive = read_flag(table, "passive", check.passive);
    check.address = table.get("address").and_then(|value| value.address());
    check.port = table.get("port").and_then(|value| value.integer(1..=u16::MAX));
}

fn read_flag(table: Table<'_>, name: &'static str, default: bool) -> bool {
    table.get(name).and_then(|value| value.boolean()).unwrap_or(default)
}

fn read_calculated<'r>(table: Table<'r>, kind: &str) -> (Vec<Place<&'r str>>, Place<Rule>) {
    let members = table.require("checks", "checks = [\"web\", \"ping\"]").and_then(|value| {
        if value.is_empty_list() {
            value.reject("there is nothing to calculate from", "such as `checks = [\"web\", \"ping\"]`");
        }
        let members = value.list(|element| Some((element.string()?, element.span())))?;
        for (index, (name, span)) in members.iter().enumerate() {
            if members.iter().take(index).any(|(before, _)| before == name) {
                let error = table.reader.error(span.clone(), format!("check `{name}` is in the list twice"));
                table.reader.report(error.hint("remove one of the two"));
            }
        }
        Some(members)
    });
    let rule = match kind {
        "all" => (Rule::All, table.span()),
        "any" => (Rule::Any, table.span()),
        _ => {
            let value = table.require("at_least", "at_least = 2");
            let needed = value.and_then(|value| value.integer(1..=255u16));
            (Rule::AtLeast(needed.unwrap_or(1)), value.map_or_else(|| table.span(), |value| value.span()))
        }
    };
    (members.unwrap_or_default(), rule)
}

fn read_talk(table: Table<'_>) -> Talk {
    let send = table.get("send").and_then(|value| match pattern::unescape(value.string()?) {
        Ok(octets) if octets.len() > SEND_OCTETS_MAX => {
            value.reject(format!("`send` is longer than {SEND_OCTETS_MAX} octets"), "a probe should cost little");
            None
        }
        Ok(octets) => Some(Octets(octets.into())),
        Err(error) => {
            reject_pattern(value, &error);
            None
        }
    });
    Talk { send: send.unwrap_or_default(), expect: table.get("expect").and_then(|value| read_pattern(value, true)) }
}

fn read_pattern(value: Value<'_>, has_escapes: bool) -> Option<Pattern> {
    Pattern::parse(value.string()?, has_escapes).map_err(|error| reject_pattern(value, &error)).ok()
}

fn reject_pattern(value: Value<'_>, error: &pattern::PatternError) {
    let hint = match error {
        pattern::PatternError::Empty => "write some of what must be there, or remove the line",
        pattern::PatternError::Escape(_) => "there are `\\r` `\\n` `\\t` `\\0` `\\\\` and `\\xHH`",
        pattern::PatternError::Regex(_) => "a text between slashes is a regular expression",
    };
    value.reject(error.to_string(), hint);
}

fn read_http_check(table: Table<'_>) -> HttpCheck {
    let defaults = HttpCheck::default();
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
    let statuses = table.get("expect_status").and_then(|value| {
        if value.is_empty_list() {
            value.reject("with no status expected the check can never succeed", "such as `[\"200-299\"]`");
        }
        value.list(read_statuses)
    });
    let method = table.get("method").and_then(|value| {
        let method = value.string()?;
        let known = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"];
        if !known.contains(&method) {
            let error = value.reader.error(value.span(), format!("`{method}` is not a method that a check can use"));
            value.reader.report(suggest_word(error, method, known.into_iter()));
            return None;
        }
        Some(method)
    });
    let expect_body = table.get("expect_body").and_then(|value| {
        if method == Some("HEAD") {
            value.reject("a response to HEAD has no body", "remove `expect_body`, or use another `method`");
        }
        read_pattern(value, false)
    });
    HttpCheck {
        method: method.map_or(defaults.method, Box::from),
        path: path.unwrap_or(defaults.path),
        host: read_host(table, "host", b":[]"),
        headers: table.get("headers").map(read_headers).unwrap_or_default(),
        expect_status: statuses.unwrap_or(defaults.expect_status),
        expect_body,
        body_max: table.get("body_max").and_then(read_body_max).unwrap_or(defaults.body_max),
    }
}

fn read_body_max(value: Value<'_>) -> Option<usize> {
    let text = value.string()?;
    let octets = parse_octets(text).filter(|octets| (1..=BODY_OCTETS_MAX).contains(octets));
    if octets.is_none() {
        let message = format!("`{text}` is not a size up to {}", format_octets(BODY_OCTETS_MAX));
        value.reject(message, "such as `\"64KiB\"`; the units are `B`, `KiB` and `MiB`");
    }
    octets
}

fn read_headers(value: Value<'_>) -> Vec<(Box<str>, Box<str>)> {
    let entries = value.entries().unwrap_or_default();
    if entries.len() > LIST_MAX {
        value.reject(format!("more than {LIST_MAX} headers"), "a probe should cost little");
    }
    let mut headers: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (word, value) in entries {
        let name = word.text.to_ascii_lowercase();
        let error = |message: String| value.reader.error(word.span.clone(), message);
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            value.reader.report(error(format!("`{}` is not a header's name", word.text)).hint("such as `X-Probe`"));
            continue;
        }
        // They say where the message ends and whom it is for: what is set twice is understood in two ways.
        if ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"].contains(&&*name) {
            let hint = if name == "host" { "use the key `host`" } else { "remove it" };
            value.reader.report(error(format!("header `{}` is the probe's own", word.text)).hint(hint));
            continue;
        }
        if headers.iter().any(|(before, _)| **before == *name) {
            value.reader.report(error(format!("header `{}` is there twice", word.text)).hint("remove one of the two"));
            continue;
        }
        let Some(text) = value.string() else { continue };
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte) || byte == b'\t') || text.trim() != text {
            value.reject("a header's value is printable ASCII without blanks at its ends", "such as `\"probe\"`");
            continue;
        }
        headers.push((name.into(), text.into()));
    }
    headers
}

/// A host name; what stands in a `Host` header may have a port as well.
fn read_host(table: Table<'_>, name: &'static str, allowed_beside: &[u8]) -> Option<String> {
    let value = table.get(name)?;
    let host = value.string()?;
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || allowed_beside.contains(&byte);
    if host.is_empty() || !host.bytes().all(is_allowed) {
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
    let defaults = TlsCheck::default();
    let expiry_warning = match table.get("expiry_warning") {
        None => defaults.expiry_warning,
        Some(value) if value.text() == Some("off") => None,
        Some(value) => value.duration().or(defaults.expiry_warning),
    };
    TlsCheck {
        verify: read_flag(table, "verify", defaults.verify),
        sni: read_host(table, "sni", b""),
        ca: table.get("ca").and_then(|value| value.string()).map(|path| folder.join(path)),
        expiry_warning,
    }
}

/// TLS where it must be asked for.
fn read_optional_tls(table: Table<'_>, folder: &Path) -> Option<TlsCheck> {
    let tls = read_tls_check(table, folder);
    if read_flag(table, "tls", false) {
        return Some(tls);
    }
    for key in ["verify", "sni", "ca", "expiry_warning"] {
        if let Some(value) = table.get(key) {
            value.reject(format!("`{key}` is about TLS, which this check does not use"), "add `tls = true`");
        }
    }
    None
}

fn read_dns_check(table: Table<'_>) -> Option<DnsCheck> {
    let query = table.require("query", "query = \"www.example.com A\"").and_then(read_query);
    let rcode = table.get("expect_rcode").and_then(|value| value.choice(&known(Rcode::ALL)));
    let addresses = table.get("expect_address").and_then(|value| {
        if value.is_empty_list() {
            value.reject("with no address expected the check can never succeed", "remove the line, or name one");
        }
        let addresses = value.list(|element| Some((element.address()?, element)))?;
        let rtype = query.as_ref().map(|(_, rtype)| *rtype);
        for (address, element) in &addresses {
            let wanted = if address.is_ipv4() { RecordType::A } else { RecordType::Aaaa };
            if rtype.is_some_and(|rtype| rtype != wanted) {
                element.reject(
                    format!("`{address}` is not what a query for this type finds"),
                    "change the type in `query`",
                );
            }
        }
        Some(addresses.into_iter().map(|(address, _)| address).collect())
    });
    let (name, rtype) = query?;
    Some(DnsCheck {
        name,
        rtype,
        expect_rcode: rcode.unwrap_or(Rcode::NoError),
        expect_address: addresses.unwrap_or_default(),
    })
}

fn known<T: Copy>(all: &[(&'static str, T)]) -> Vec<(&'static str, Option<T>)> {
    all.iter().map(|(word, meaning)| (*word, Some(*meaning))).collect()
}

/// `NAME` or `NAME TYPE`.
fn read_query(value: Value<'_>) -> Option<(Name, RecordType)> {
    let text = value.string()?;
    let mut words = text.split_whitespace();
    let (name, rtype) = (words.next().unwrap_or_default(), words.next().unwrap_or("A"));
    let name = match Name::parse_relative(name, &Name::root()) {
        Ok(parsed) if !name.is_empty() && name != "@" && words.next().is_none() => parsed,
        _ => {
            value.reject(format!("`{text}` is not a name and a type"), "such as `\"www.example.com A\"`");
            return None;
        }
    };
    let found = RecordType::ALL.iter().find(|(word, _)| *word == rtype).map(|(_, found)| *found);
    if found.is_none() {
        let error = value.reader.error(value.span(), format!("`{rtype}` is not a type that a check can ask for"));
        value.reader.report(suggest_word(error, rtype, RecordType::ALL.iter().map(|(word, _)| *word)));
    }
    Some((name, found?))
}

fn read_grpc_check(table: Table<'_>) -> GrpcCheck {
    let service = table.get("service").and_then(|value| {
        let service = value.string()?;
        if service.len() > 1024 {
            value.reject("`service` is longer than 1024 octets", "such as `\"example.v1.Orders\"`");
        }
        Some(service)
    });
    GrpcCheck { service: service.unwrap_or_default().into(), host: read_host(table, "host", b":[]") }
}

fn read_exec_check(table: Table<'_>, folder: &Path) -> ExecCheck {
    let command = table.require("command", "command = [\"/usr/local/bin/probe\", \"--fast\"]").and_then(|value| {
        if value.is_string() {
            value.reject(
                "`command` is a list: no shell takes it apart",
                "such as `[\"/usr/local/bin/probe\", \"--fast\"]`",
            );
            return None;
        }
        let words = value.list(|element| {
            let word = element.string()?;
            if word.contains('\0') {
                element.reject("an argument cannot have a NUL in it", "remove it");
            }
            Some(Box::<str>::from(word))
        })?;
        if words.len() > LIST_MAX {
            value.reject(format!("more than {LIST_MAX} arguments"), "let a script have them");
        }
        if words.first().is_none_or(|program| program.is_empty()) {
            value.reject("there is no program to run", "such as `[\"/usr/local/bin/probe\"]`");
        }
        Some(words)
    });
    let mut command: Vec<Box<str>> = command.unwrap_or_default();
    // A name alone is looked for in PATH; a path is one from the configuration's folder.
    if let Some(program) = command.first_mut().filter(|program| program.contains('/'))
        && let Some(path) = folder.join(&**program).to_str()
    {
        *program = path.into();
    }
    ExecCheck { command }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_keys_in_the_table() {
        let types: Vec<&str> = PROBED.iter().chain(CALCULATED).copied().collect();
        for (key, of) in KEYS {
            assert!(!of.is_empty() && of.iter().all(|kind| types.contains(kind)), "{key}");
        }
    }
}
