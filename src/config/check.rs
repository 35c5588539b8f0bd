//! `[checks.NAME]` as written becomes a [`Check`].

use std::{ops::RangeInclusive, path::Path, time::Duration};

use super::{
    Check, CheckKind, HttpCheck, TlsCheck,
    file::read_duration,
    reader::{Table, Value},
};

pub(super) fn read_check(name: &str, value: Value<'_>, folder: &Path) -> Check {
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
    let kind = table.require("type", "type = \"http\"").and_then(|value| value.choice(&kinds));
    // Without a type nobody can say which keys belong to it.
    let unused: &[&'static str] = match kind {
        Some("tcp") => &["path", "host", "expect_status", "verify", "sni", "ca"],
        Some("http") => &["verify", "sni", "ca"],
        _ => &[],
    };
    for key in unused {
        if let Some(value) = table.get(key) {
            let message = format!("a check of type `{}` has no `{key}`", kind.unwrap_or_default());
            value.reject(message, "remove it, or change `type`");
        }
    }
    let kind = match kind {
        Some("http") => CheckKind::Http(read_http_check(table)),
        Some("https") => CheckKind::Https(read_http_check(table), read_tls_check(table, folder)),
        _ => CheckKind::Tcp,
    };
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
    let statuses = table.get("expect_status").and_then(|value| {
        if value.is_empty_list() {
            value.reject("with no status expected the check can never succeed", "such as `[\"200-299\"]`");
        }
        value.list(read_statuses)
    });
    HttpCheck {
        path: path.unwrap_or_else(|| "/".to_owned()),
        host: read_host(table, "host", b":[]"),
        expect_status: statuses.unwrap_or_else(|| vec![200..=299]),
    }
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
    TlsCheck {
        verify: table.get("verify").and_then(|value| value.boolean()).unwrap_or(true),
        sni: read_host(table, "sni", b""),
        ca: table.get("ca").and_then(|value| value.string()).map(|path| folder.join(path)),
    }
}
