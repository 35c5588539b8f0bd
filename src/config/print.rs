//! The configuration in force as TOML, with every default written out: what `check --print` shows.
//!
//! What it writes reads back as the same [`Config`] (a test holds that), with paths already joined with the file's folder. Only the secrets of
//! keys are left out.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use super::{
    Answers, Config, Dns, Listener, Members, OnAllDown, OnExcluded, Policy, Pool, PoolIndex, PoolsPolicy, Realserver,
    TsigKey, check::print_check,
};
use crate::types::format_duration;

/// Writes `config` as a file that means the same.
pub fn print(config: &Config) -> String {
    let mut page = Page { text: "version = 1\n".to_owned() };
    if let Some(zones) = &config.dns.zones {
        page.table("dns");
        page.strings("listen", &config.dns.listen);
        page.string("zones", zones.display());
        page.bare("udp_workers", config.dns.udp_workers);
        page.string("version", config.dns.version.as_deref().unwrap_or("off"));
        page.string("nsid", config.dns.nsid.as_deref().unwrap_or("off"));
        page.strings("allow_transfer", &config.dns.transfer.allow);
        page.strings("notify", &config.dns.transfer.notify);
        print_protection(&mut page, &config.dns);
        for secondary in &config.dns.transfer.secondaries {
            page.table(format_args!("secondaries.{}", quote(&secondary.apex)));
            page.strings("primaries", &secondary.primaries);
        }
        for key in &config.dns.transfer.keys {
            print_key(&mut page, key);
        }
    }
    if let Some(encrypted) = &config.dns.encrypted {
        page.table("dns.encrypted");
        page.strings("tls", &encrypted.tls);
        page.strings("https", &encrypted.https);
        page.strings("quic", &encrypted.quic);
        page.string("certificate", encrypted.certificate.display());
        page.string("key", encrypted.key.display());
    }
    page.table("geoip");
    page.strings("databases", config.geo_databases.iter().map(|path| path.display()));
    page.table("redirect");
    page.strings("listen", &config.redirect.listen);
    page.strings("trusted_proxies", &config.redirect.trusted_proxies);
    page.bare("max_connections", config.redirect.max_connections);
    page.duration("idle_timeout", config.redirect.idle_timeout);
    match &config.redirect.cookie_secret_file {
        Some(path) => page.string("cookie_secret_file", path.display()),
        None => page.comment("cookie_secret_file: a secret kept in the state directory"),
    }
    page.table("control");
    page.string("socket", config.control.socket.display());
    page.string("listen", config.control.listen.map_or("off".to_owned(), |address| address.to_string()));
    page.table("state");
    page.string("dir", config.state_dir.display());
    page.table("process");
    match &config.process.user {
        Some(user) => page.string("user", user),
        None => page.comment("user: stays who it is"),
    }
    page.duration("drain_timeout", config.process.drain_timeout);
    page.table("guards");
    page.string("freeze_above", config.guards.freeze_above.map_or("off".to_owned(), |share| format!("{share}%")));
    for check in &config.checks {
        print_check(&mut page, check);
    }
    for pool in &config.pools {
        print_pool(&mut page, config, pool);
    }
    for listener in &config.listeners {
        print_listener(&mut page, config, listener);
    }
    page.text
}

pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn table(&mut self, name: impl Display) {
        let _ = write!(self.text, "\n[{name}]\n");
    }

    pub(super) fn comment(&mut self, text: &str) {
        let _ = writeln!(self.text, "# {text}");
    }

    pub(super) fn bare(&mut self, key: &str, value: impl Display) {
        let _ = writeln!(self.text, "{key} = {value}");
    }

    pub(super) fn string(&mut self, key: &str, value: impl Display) {
        self.bare(key, quote(value));
    }

    pub(super) fn strings(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        let values: Vec<String> = values.into_iter().map(quote).collect();
        self.bare(key, format_args!("[{}]", values.join(", ")));
    }

    pub(super) fn duration(&mut self, key: &str, value: Duration) {
        self.string(key, format_duration(value));
    }
}

pub(super) fn quote(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

/// A secret is shown nowhere, so that what is printed may be shown to others: such a key does not read back.
fn print_key(page: &mut Page, key: &TsigKey) {
    page.table(format_args!("tsig.{}", quote(&key.name_in_file)));
    page.string("algorithm", key.algorithm.as_str());
    match &key.secret_file {
        Some(path) => page.string("secret_file", path.display()),
        None => page.comment("secret: not shown"),
    }
}

fn print_protection(page: &mut Page, dns: &Dns) {
    page.bare("cookies", dns.cookies.is_some());
    if let Some(cookies) = &dns.cookies {
        match &cookies.secret_file {
            Some(path) => page.string("cookie_secret_file", path.display()),
            None => page.comment("cookie_secret_file: a secret drawn at start"),
        }
        page.bare("require_cookies", cookies.are_required);
    }
    let Some(limit) = &dns.rate_limit else { return };
    page.table("dns.rate_limit");
    page.bare("responses_per_second", limit.responses_per_second);
    page.bare("burst", limit.burst);
    page.bare("slip", limit.slip);
    page.bare("prefix_v4", limit.prefix_v4);
    page.bare("prefix_v6", limit.prefix_v6);
    page.strings("exempt", &limit.exempt);
    page.bare("table_size", limit.table_size);
}

fn print_pool(page: &mut Page, config: &Config, pool: &Pool) {
    let name = |index: &PoolIndex| config.pools.get(*index).map(|pool| pool.name.to_string()).unwrap_or_default();
    let names = |list: &[PoolIndex]| list.iter().map(name).collect::<Vec<_>>();
    page.table(format_args!("pools.{}", pool.name));
    match pool.answers {
        Some(Answers::AtMost(most)) => page.bare("answers", most),
        Some(Answers::All) => page.string("answers", "all"),
        None => page.comment("answers: as the pool that answers says"),
    }
    match pool.on_all_down {
        Some(OnAllDown::All) => page.string("on_all_down", "all"),
        Some(OnAllDown::None) => page.string("on_all_down", "none"),
        Some(OnAllDown::Servfail) => page.string("on_all_down", "servfail"),
        None => page.comment("on_all_down: as its first member says"),
    }
    match pool.min_ttl {
        Some(ttl) => page.duration("min_ttl", Duration::from_secs(ttl.get().into())),
        None => page.comment("min_ttl: none, TTLs are the zone's"),
    }
    if let Some(location) = pool.location {
        page.bare("location", format_args!("[{location}]"));
    }
    if let Some(exclusion) = &pool.exclusion {
        page.strings("exclude", &exclusion.places);
        match &exclusion.to {
            OnExcluded::Refused => page.string("on_excluded", "refused"),
            OnExcluded::Pool(pool) => page.string("on_excluded", name(pool)),
        }
    }
    match pool.sticky {
        Some(sticky_for) => {
            page.string("sticky", "cookie");
            page.duration("sticky_for", sticky_for);
        }
        None => page.string("sticky", "off"),
    }
    match &pool.members {
        Members::Realservers { policy, realservers, check, affinity_prefix, default } => {
            page.string("policy", policy_name(*policy));
            page.string("min_healthy", format_args!("{}%", pool.min_healthy));
            match pool.ramp {
                Some(ramp) => page.duration("ramp", ramp),
                None => page.comment("ramp: the whole weight at once"),
            }
            page.string("max_leave", format_args!("{}%", pool.max_leave));
            match pool.capacity {
                Some(capacity) => page.bare("capacity", capacity),
                None => page.comment("capacity: not known"),
            }
            match check {
                Some(check) => page.string("check", &check.name),
                None => page.comment("check: none, all count as up"),
            }
            page.bare(
                "affinity_prefix",
                format_args!("{{ v4 = {}, v6 = {} }}", affinity_prefix.v4, affinity_prefix.v6),
            );
            if !default.is_empty() {
                let names = default.iter().filter_map(|&index| realservers.get(index));
                page.strings("default", names.map(|realserver| &realserver.name));
            }
            page.bare("realservers", "[");
            for realserver in realservers {
                let _ = writeln!(page.text, "  {},", realserver_table(realserver));
            }
            let _ = writeln!(page.text, "]");
        }
        Members::Pools { members, policy } => {
            page.strings("members", names(members));
            let (lists, keys, nets) = match policy {
                PoolsPolicy::Failover => return page.string("policy", "failover"),
                PoolsPolicy::Nearest { default } => {
                    page.string("policy", "nearest");
                    return page.strings("default", names(default));
                }
                PoolsPolicy::Geo { lists, keys, nets } => (lists, keys, nets),
            };
            let list = |index: &usize| names(lists.get(*index).map_or(&[], |list| list));
            page.string("policy", "geo");
            page.table(format_args!("pools.{}.geo", pool.name));
            for (key, index) in keys {
                page.strings(&key.to_string(), list(index));
            }
            page.strings("default", list(&0));
            page.table(format_args!("pools.{}.nets", pool.name));
            for (net, index) in nets {
                page.strings(&quote(net), list(index));
            }
        }
    }
}

fn realserver_table(realserver: &Realserver) -> String {
    let addresses: Vec<String> = realserver.v4.map(quote).into_iter().chain(realserver.v6.map(quote)).collect();
    let mut fields = vec![
        format!("name = {}", quote(&realserver.name)),
        format!("address = [{}]", addresses.join(", ")),
        format!("weight = {}", realserver.weight.get()),
    ];
    fields.extend(realserver.port.map(|port| format!("port = {port}")));
    fields.extend(realserver.url.as_ref().map(|url| format!("url = {}", quote(url))));
    fields.extend(realserver.check_address.map(|address| format!("check_address = {}", quote(address))));
    fields.extend(realserver.capacity.map(|capacity| format!("capacity = {capacity}")));
    fields.extend(realserver.check_port.map(|port| format!("check_port = {port}")));
    fields.extend(realserver.location.map(|location| format!("location = [{location}]")));
    format!("{{ {} }}", fields.join(", "))
}

fn print_listener(page: &mut Page, config: &Config, listener: &Listener) {
    page.table(format_args!("listeners.{}", listener.name));
    page.string("bind", listener.bind);
    page.string("protocol", "tcp");
    page.string("pool", config.pools.get(listener.pool).map_or("", |pool| &pool.name));
    match listener.scheduler {
        Some(policy) => page.string("scheduler", policy_name(policy)),
        None => page.comment("scheduler: the pool's policy"),
    }
    page.string("forward", "proxy");
    page.duration("idle_timeout", listener.idle_timeout);
    page.duration("connect_timeout", listener.connect_timeout);
    page.bare("max_connections", listener.max_connections);
    page.string("proxy_protocol", "off");
}

fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Wrr => "wrr",
        Policy::Random => "random",
        Policy::SourceHash => "source-hash",
        Policy::Failover => "failover",
        Policy::Nearest => "nearest",
    }
}
