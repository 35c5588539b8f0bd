//! A check as TOML, with every default written out.

use super::{Calculated, Check, CheckKind, HttpCheck, Rule, TlsCheck};
use crate::{
    config::print::{Page, quote},
    types::format_octets,
};

/// Writes one check.
pub(in crate::config) fn print_check(page: &mut Page, check: &Check) {
    page.table(format_args!("checks.{}", check.name));
    page.string("type", check.type_name());
    if let CheckKind::Calculated(calculated) = &check.kind {
        return print_calculated(page, calculated);
    }
    page.duration("interval", check.interval);
    let is_by_address = !matches!(check.kind, CheckKind::File(_));
    if is_by_address {
        page.duration("timeout", check.timeout);
    }
    page.bare("rise", check.rise);
    page.bare("fall", check.fall);
    page.bare("forgive", check.forgive);
    page.bare("passive", check.passive);
    if let Some(address) = check.address {
        page.string("address", address);
    }
    if let Some(port) = check.port {
        page.bare("port", port);
    }
    if check.connects() {
        page.bare("refused_is_down", check.refused_is_down);
    }
    match &check.kind {
        CheckKind::Tcp(talk, tls) => {
            if !talk.send.0.is_empty() {
                page.string("send", &talk.send);
            }
            if let Some(expect) = &talk.expect {
                page.string("expect", expect);
            }
            print_optional_tls(page, tls.as_ref());
        }
        CheckKind::Http(http) => print_http(page, http),
        CheckKind::Https(http, tls) => {
            print_http(page, http);
            print_tls(page, tls);
        }
        CheckKind::Dns(dns) => {
            page.string("query", format_args!("{} {}", dns.name, dns.rtype));
            page.string("expect_rcode", dns.expect_rcode);
            if !dns.expect_address.is_empty() {
                page.strings("expect_address", &dns.expect_address);
            }
        }
        CheckKind::Grpc(grpc, tls) => {
            page.string("service", &grpc.service);
            if let Some(host) = &grpc.host {
                page.string("host", host);
            }
            print_optional_tls(page, tls.as_ref());
        }
        CheckKind::Exec(exec) => page.strings("command", &exec.command),
        CheckKind::File(path) => page.string("path", path.display()),
        CheckKind::Icmp | CheckKind::Calculated(_) => {}
    }
}

fn print_calculated(page: &mut Page, calculated: &Calculated) {
    page.strings("checks", calculated.checks.iter().map(|check| &check.name));
    if let Rule::AtLeast(needed) = calculated.rule {
        page.bare("at_least", needed);
    }
}

fn print_http(page: &mut Page, http: &HttpCheck) {
    page.string("method", &http.method);
    page.string("path", &http.path);
    if let Some(host) = &http.host {
        page.string("host", host);
    }
    if !http.headers.is_empty() {
        let headers: Vec<String> =
            http.headers.iter().map(|(name, value)| format!("{} = {}", quote(name), quote(value))).collect();
        page.bare("headers", format_args!("{{ {} }}", headers.join(", ")));
    }
    page.strings("expect_status", http.expect_status.iter().map(|range| format!("{}-{}", range.start(), range.end())));
    if let Some(expect) = &http.expect_body {
        page.string("expect_body", expect);
    }
    page.string("body_max", format_octets(http.body_max));
}

fn print_optional_tls(page: &mut Page, tls: Option<&TlsCheck>) {
    page.bare("tls", tls.is_some());
    if let Some(tls) = tls {
        print_tls(page, tls);
    }
}

fn print_tls(page: &mut Page, tls: &TlsCheck) {
    page.bare("verify", tls.verify);
    if let Some(sni) = &tls.sni {
        page.string("sni", sni);
    }
    if let Some(ca) = &tls.ca {
        page.string("ca", ca.display());
    }
    match tls.expiry_warning {
        Some(warning) => page.duration("expiry_warning", warning),
        None => page.string("expiry_warning", "off"),
    }
}
