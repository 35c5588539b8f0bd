//! Files made up at random: valid ones print and read back, mangled ones are no panic.

use proptest::prelude::*;

use super::{findings, print, read};

/// Cases of a property test: a thousand, or what the environment says.
fn cases() -> ProptestConfig {
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    if is_set { ProptestConfig::default() } else { ProptestConfig::with_cases(1000) }
}

/// `key = value`, or nothing.
fn maybe(key: &'static str, value: impl Strategy<Value = String> + 'static) -> BoxedStrategy<String> {
    prop::option::of(value)
        .prop_map(move |value| value.map_or(String::new(), |value| format!("{key} = {value}\n")))
        .boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(values).prop_map(str::to_owned).boxed()
}

fn number(range: std::ops::RangeInclusive<u32>) -> BoxedStrategy<String> {
    range.prop_map(|number| number.to_string()).boxed()
}

fn text() -> BoxedStrategy<String> {
    "[ -~äß\n\t]{1,12}".prop_map(|text| toml::Value::String(text).to_string()).boxed()
}

fn check_table(index: usize) -> BoxedStrategy<String> {
    let http = (
        maybe("path", one_of(&["\"/\"", "\"/a?b=%20c\""])),
        maybe("host", one_of(&["\"example.org\"", "\"[2001:db8::1]:8080\""])),
        maybe("expect_status", one_of(&["[\"200\"]", "[\"200-299\", \"404\"]"])),
    );
    let tls = (
        maybe("verify", one_of(&["true", "false"])),
        maybe("sni", one_of(&["\"example.org\""])),
        maybe("ca", one_of(&["\"ca.pem\"", "\"/etc/ca.pem\""])),
    );
    let any = (
        maybe("interval", one_of(&["\"2s\"", "\"1500ms\"", "\"1m\""])),
        maybe("timeout", one_of(&["\"500ms\"", "\"1s\"", "\"1499ms\""])),
        maybe("rise", number(1..=1000)),
        maybe("fall", number(1..=1000)),
        maybe("address", one_of(&["\"192.0.2.99\"", "\"2001:db8::99\""])),
        number(1..=65535),
    );
    let new = (
        maybe("method", one_of(&["\"HEAD\"", "\"POST\""])),
        maybe("headers", one_of(&["{ X-A = \"b c\", \"x.b\" = \"\" }"])),
        maybe("body_max", one_of(&["\"1B\"", "\"1000KiB\"", "\"1MiB\""])),
        maybe("expiry_warning", one_of(&["\"off\"", "\"36h\""])),
        maybe("send", text().prop_filter("no escapes", |text| !text.contains('\\'))),
        maybe("expect", one_of(&["'/^\\d+$/'", "'a\\x00\\r'"])),
        maybe("forgive", number(1..=1000)),
        maybe("passive", one_of(&["true", "false"])),
    );
    (0..9u8, http, tls, any, new)
        .prop_map(move |(kind, http, tls, any, new)| {
            let (method, headers, body_max, expiry_warning, send, expect, forgive, passive) = new;
            let http = format!("{}{}{}{method}{headers}{body_max}", http.0, http.1, http.2);
            let tls = format!("{}{}{}{expiry_warning}", tls.0, tls.1, tls.2);
            let (interval, timeout, rise, fall, address, port) = any;
            let kind_keys = match kind {
                0 => format!("type = \"tcp\"\n{send}{expect}"),
                1 => format!("type = \"http\"\nrefused_is_down = true\n{http}"),
                2 => format!("type = \"https\"\n{http}{tls}"),
                3 => format!("type = \"tcp\"\ntls = true\n{expect}{tls}"),
                4 => "type = \"dns\"\nquery = \"example.org AAAA\"\nexpect_address = [\"2001:db8::1\"]\n".to_owned(),
                5 => "type = \"grpc\"\nservice = \"a.B\"\nhost = \"h\"\n".to_owned(),
                6 => "type = \"exec\"\ncommand = [\"bin/probe\", \"\", \"-v x\"]\n".to_owned(),
                7 => {
                    return format!(
                        "[checks.c{index}]\ntype = \"file\"\npath = \"s\"\n{interval}{rise}{fall}{forgive}{passive}"
                    );
                }
                _ => return calculated_table(index, port),
            };
            let numbers = format!("{interval}{timeout}{rise}{fall}{forgive}{passive}{address}");
            format!("[checks.c{index}]\n{kind_keys}{numbers}port = {port}\n")
        })
        .boxed()
}

/// A check that is calculated from two others.
fn calculated_table(index: usize, port: String) -> String {
    let rule = if index.is_multiple_of(2) { "type = \"any\"\n" } else { "type = \"at-least\"\nat_least = 2\n" };
    let leaf = |name: &str| format!("[checks.{name}{index}]\ntype = \"tcp\"\nport = {port}\n");
    format!("{}{}[checks.c{index}]\n{rule}checks = [\"d{index}\", \"e{index}\"]\n", leaf("d"), leaf("e"))
}

fn realserver(index: usize) -> BoxedStrategy<String> {
    let address = prop::sample::select(vec!["v4", "v6", "both", "list"]);
    let optional = prop::sample::subsequence(
        vec![
            ", weight = 65535",
            ", url = \"https://a.example.org:8443/x/\"",
            ", check_address = \"192.0.2.77\"",
            ", check_port = 81",
            ", location = [-33.87, 151]",
        ],
        0..=5,
    );
    (address, 1u16.., optional)
        .prop_map(move |(kind, port, optional)| {
            let (v4, v6) = (format!("\"192.0.2.{}\"", index + 1), format!("\"2001:db8::{index:x}\""));
            let address = match kind {
                "v4" => v4,
                "v6" => v6,
                "both" => format!("[{v6}, {v4}]"),
                _ => format!("[{v4}]"),
            };
            format!("  {{ name = \"r.{index}\", address = {address}, port = {port}{} }},\n", optional.concat())
        })
        .boxed()
}

fn leaf(index: usize) -> BoxedStrategy<String> {
    let keys = (
        maybe("policy", one_of(&["\"wrr\"", "\"random\"", "\"source-hash\"", "\"failover\"", "\"nearest\""])),
        maybe("check", one_of(&["\"c0\"", "\"c1\""])),
        maybe("answers", one_of(&["1", "64", "\"all\""])),
        maybe("min_healthy", one_of(&["\"0%\"", "\"50%\"", "\"100%\""])),
        maybe("on_all_down", one_of(&["\"all\"", "\"none\"", "\"servfail\""])),
        maybe("affinity_prefix", one_of(&["{ v4 = 32 }", "{ v4 = 1, v6 = 128 }", "{}"])),
        maybe("max_leave", one_of(&["\"1%\"", "\"30%\"", "\"100%\""])),
        maybe("min_ttl", one_of(&["\"1s\"", "\"1h\""])),
    );
    let places = (
        maybe("location", one_of(&["[52.3676, 4.9041]", "[-90, 180]"])),
        one_of(&["", "exclude = [\"KP\"]\n", "exclude = [\"asia\", \"AS1\"]\non_excluded = \"refused\"\n"]),
        one_of(&["", "sticky = \"off\"\n", "sticky = \"cookie\"\n", "sticky = \"cookie\"\nsticky_for = \"1d\"\n"]),
    );
    let realservers = (1usize..5).prop_flat_map(|n| (0..n).map(realserver).collect::<Vec<_>>());
    (keys, places, realservers)
        .prop_map(move |((a, b, c, d, e, f, g, h), (i, j, k), realservers)| {
            format!("[pools.p{index}]\n{a}{b}{c}{d}{e}{f}{g}{h}{i}{j}{k}realservers = [\n{}]\n", realservers.concat())
        })
        .boxed()
}

fn list() -> BoxedStrategy<String> {
    prop::sample::subsequence(vec!["\"p0\"", "\"p1\""], 0..=2)
        .prop_shuffle()
        .prop_map(|list| format!("[{}]", list.join(", ")))
        .boxed()
}

fn geo_pool() -> BoxedStrategy<String> {
    let places = (
        maybe("default", list()),
        maybe("europe", list()),
        maybe("US", list()),
        maybe("US-CA", list()),
        maybe("AS64500", list()),
    );
    let nets = (maybe("\"198.51.100.0/24\"", list()), maybe("\"::/0\"", list()));
    let answers = maybe("answers", one_of(&["2", "\"all\""]));
    let on_all_down = maybe("on_all_down", one_of(&["\"none\"", "\"servfail\""]));
    (places, nets, answers, on_all_down)
        .prop_map(|((a, b, c, d, e), (f, g), answers, on_all_down)| {
            format!(
                "[pools.geo]\nmembers = [\"p1\", \"p0\"]\n{answers}{on_all_down}\
                 [pools.geo.geo]\n{a}{b}{c}{d}{e}[pools.geo.nets]\n{f}{g}"
            )
        })
        .boxed()
}

/// A file without mistakes, all of its keys there or not.
fn valid() -> BoxedStrategy<String> {
    let dns = (
        maybe("listen", one_of(&["[]", "[\"192.0.2.53:53\"]"])),
        maybe("zones", one_of(&["\"z\"", "\"/etc/zones\""])),
        maybe("udp_workers", number(1..=256)),
        maybe("version", text()),
        maybe("nsid", text()),
        prop::sample::select(vec![
            "",
            "cookies = false\n",
            "cookies = true\nrequire_cookies = true\ncookie_secret_file = \"secrets\"\n",
            "[dns.rate_limit]\n",
            "rate_limit = { responses_per_second = 5, slip = 0, exempt = [\"::1/128\"], prefix_v6 = 128, table_size = 1024 }\n",
        ]),
    );
    let redirect = (
        maybe("listen", one_of(&["[]", "[\"127.0.0.1:8080\", \"[::1]:8080\"]"])),
        maybe("trusted_proxies", one_of(&["[]", "[\"10.0.0.0/8\", \"fd00::/8\"]"])),
        maybe("max_connections", number(1..=1_500_000)),
        maybe("idle_timeout", one_of(&["\"1ms\"", "\"365d\""])),
    );
    let rest = (
        maybe("listen", one_of(&["\"off\"", "\"127.0.0.1:9153\""])),
        maybe("user", text()),
        maybe("drain_timeout", one_of(&["\"1h\"", "\"90s\""])),
        maybe("scheduler", one_of(&["\"wrr\"", "\"source-hash\""])),
        maybe("connect_timeout", one_of(&["\"1s\""])),
        maybe("max_connections", number(1..=9)),
        maybe("freeze_above", one_of(&["\"off\"", "\"1%\"", "\"100%\""])),
    );
    let tables = (check_table(0), check_table(1), leaf(0), leaf(1), geo_pool());
    (dns, redirect, rest, tables)
        .prop_map(|(dns, redirect, rest, (c0, c1, p0, p1, geo))| {
            let dns = format!("[dns]\n{}{}{}{}{}{}", dns.0, dns.1, dns.2, dns.3, dns.4, dns.5);
            let redirect = format!("[redirect]\n{}{}{}{}", redirect.0, redirect.1, redirect.2, redirect.3);
            let (control, user, drain, scheduler, connect, most, guards) = rest;
            format!(
                "version = 1\n[geoip]\ndatabases = [\"city.mmdb\"]\n{dns}{redirect}[control]\n{control}[process]\n{user}{drain}[guards]\n{guards}{c0}{c1}{geo}{p0}{p1}\
                 [pools.all]\nmembers = [\"geo\", \"p1\"]\nmin_ttl = \"2s\"\n\
                 [pools.far]\npolicy = \"nearest\"\nmembers = [\"all\", \"p0\"]\ndefault = [\"p0\"]\nexclude = [\"CU\"]\non_excluded = \"p1\"\n\
                 [listeners.l]\nbind = \"127.0.0.1:81\"\npool = \"p0\"\n{scheduler}{connect}{most}\
                 [listeners.m]\nbind = \"[::1]:81\"\npool = \"all\"\n"
            )
        })
        .boxed()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn printed_configuration_reads_as_the_same(toml in valid()) {
        let config = read(&toml);
        let printed = print(&config);
        prop_assert_eq!(read(&printed), config, "{}", printed);
    }

    #[test]
    fn arbitrary_text_is_never_a_panic(toml in "[\\[\\]a-z.=\"{}#\n ,0-9é\\\\-]{0,80}") {
        findings(&toml);
    }

    #[test]
    fn mangled_file_is_never_a_panic(
        toml in valid(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[\\[\\]a-z.=\"{}\n,0-9 -]{0,6}"), 1..4)
    ) {
        let mut characters: Vec<char> = toml.chars().collect();
        for (at, n_removed, inserted) in edits {
            let at = at.index(characters.len() + 1);
            let end = (at + n_removed).min(characters.len());
            characters.splice(at..end, inserted.chars());
        }
        findings(&characters.into_iter().collect::<String>());
    }

    /// A line of another place, at every place: types and tables meet keys that they do not belong to.
    #[test]
    fn lines_that_changed_places_are_never_a_panic(toml in valid(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let mut lines: Vec<&str> = toml.lines().collect();
        let line = lines.remove(from.index(lines.len()));
        lines.insert(to.index(lines.len() + 1), line);
        findings(&lines.join("\n"));
    }
}
