//! A [`Plan`] for people.

use std::{fmt::Write as _, time::Duration};

use super::{FULL, Listed, Moves, Plan, Rehearsal, Share, ZoneChange};

/// Lines that are shown of what may be many.
const SHOWN_MAX: usize = 10;

/// The plan as `fingerpost plan` prints it; it took `elapsed`.
pub fn text(plan: &Plan, elapsed: Duration) -> String {
    let mut page = String::new();
    for zone in &plan.zones {
        zone_text(&mut page, zone);
    }
    for (what, pools) in [("new", &plan.pools_added), ("gone", &plan.pools_removed), ("changed", &plan.pools_changed)] {
        if !pools.is_empty() {
            let _ = writeln!(page, "pools {what}: {}", first(pools.len() as u64, pools, 16));
        }
    }
    for moves in &plan.moves {
        moves_text(&mut page, moves);
    }
    failures_text(&mut page, &plan.failures);
    let names = match plan.n_names_compared {
        1 => "1 name".to_owned(),
        n => format!("{n} names"),
    };
    let queries = if plan.n_queries > 0 { format!(" and {} queries", plan.n_queries) } else { String::new() };
    let verdict = if plan.moves_anything() { "" } else { "nothing moves: " };
    let _ = writeln!(page, "{verdict}{names}{queries} compared in {:.1} s", elapsed.as_secs_f64());
    page
}

fn first(count: u64, names: &[String], most: usize) -> String {
    let shown: Vec<&str> = names.iter().take(most).map(|name| &**name).collect();
    let left = count.saturating_sub(shown.len() as u64);
    let more = if left > 0 { format!(" and {left} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn listed(listed: &Listed) -> String {
    first(listed.count, &listed.first, listed.first.len())
}

/// A part as people read it.
fn percent(share: Share) -> String {
    match share * 100.0 {
        percent if percent > 99.95 && share < 1.0 - 1e-9 => "99.9 %".to_owned(),
        percent if percent < 0.05 => "less than 0.1 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

fn zone_text(page: &mut String, zone: &ZoneChange) {
    let serial = |serial: Option<u32>| serial.map_or("-".to_owned(), |serial| serial.to_string());
    let what = match (zone.old_serial, zone.new_serial) {
        (None, _) => format!("is new, with {} names and {} records", zone.names_added, zone.records_added),
        (_, None) => format!("is gone, with {} names and {} records", zone.names_removed, zone.records_removed),
        (old, new) => format!(
            "serial {} to {}: names {} new, {} gone, {} changed; records {} new, {} gone; {} other TTLs",
            serial(old),
            serial(new),
            zone.names_added,
            zone.names_removed,
            zone.names_changed,
            zone.records_added,
            zone.records_removed,
            zone.ttls_changed
        ),
    };
    let _ = writeln!(page, "zone {} {what}", zone.zone);
    for rrset in zone.rrsets.iter().take(SHOWN_MAX) {
        let ttl = match (rrset.old_ttl, rrset.new_ttl) {
            (Some(old), Some(new)) if old != new => format!(", TTL {old} to {new}"),
            _ => String::new(),
        };
        let what = match (&rrset.old_pool, &rrset.new_pool, rrset.added, rrset.removed) {
            (Some(old), Some(new), ..) if old != new => format!("{old} to {new}"),
            (None, Some(new), ..) => format!("{new}, new"),
            (Some(old), None, ..) => format!("{old}, gone"),
            (.., 0, 0) => "the same".to_owned(),
            (.., added, 0) => format!("{added} new"),
            (.., 0, removed) => format!("{removed} gone"),
            (.., added, removed) => format!("{added} new, {removed} gone"),
        };
        let _ = writeln!(page, "  {} {} {what}{ttl}", rrset.name, rrset.rtype);
    }
    let left = zone.rrsets.len().saturating_sub(SHOWN_MAX) as u64 + zone.rrsets_left_off;
    if left > 0 {
        let _ = writeln!(page, "  and {left} more");
    }
    if zone.names_without_address.count > 0 {
        let _ = writeln!(page, "  without an address now: {}", listed(&zone.names_without_address));
    }
}

fn moves_text(page: &mut String, moves: &Moves) {
    let pool = match moves.old_pool == moves.new_pool {
        true => format!("pool {}", moves.new_pool),
        false => format!("pool {} to {}", moves.old_pool, moves.new_pool),
    };
    let clients = match moves.clients {
        "ipv4" => "of the IPv4 addresses move",
        "ipv6" => "of the IPv6 addresses move",
        _ => "of the queries move",
    };
    let names = if moves.names.count > 0 { format!(" ({})", listed(&moves.names)) } else { String::new() };
    let share = if moves.flows.is_empty() { "none".to_owned() } else { percent(moves.share) };
    let _ = writeln!(page, "{pool}{names}: {share} {clients}");
    for flow in moves.flows.iter().take(SHOWN_MAX) {
        let _ = writeln!(page, "  {:>15}  {} to {}", percent(flow.share), flow.from, flow.to);
    }
    if moves.flows.len() > SHOWN_MAX {
        let rest: Share = moves.flows.iter().skip(SHOWN_MAX).map(|flow| flow.share).sum();
        let _ = writeln!(page, "  {:>15}  in {} other ways", percent(rest), moves.flows.len() - SHOWN_MAX);
    }
    if moves.nodata > 0.0 {
        let _ = writeln!(page, "  {:>15}  had an address and get none", percent(moves.nodata));
    }
    for scope in moves.scopes.iter().take(SHOWN_MAX / 2) {
        let _ = writeln!(page, "  {:>15}  scope /{} to /{}", percent(scope.share), scope.from, scope.to);
    }
    if moves.scopes.len() > SHOWN_MAX / 2 {
        let rest: Share = moves.scopes.iter().skip(SHOWN_MAX / 2).map(|scope| scope.share).sum();
        let _ = writeln!(page, "  {:>15}  other scopes", percent(rest));
    }
}

/// Failures of pools, and of those of single realservers what would be too much.
fn failures_text(page: &mut String, failures: &[Rehearsal]) {
    let mut told = None;
    for rehearsal in failures.iter().filter(|one| one.is_too_much() || !one.fails.contains('/')) {
        if told != Some(&rehearsal.pool) {
            told = Some(&rehearsal.pool);
            let load = match rehearsal.is_load_assumed {
                true => format!("as much load as it can carry, {:.0}", rehearsal.load),
                false => format!("a load of {:.0}", rehearsal.load),
            };
            let _ = writeln!(page, "pool {} with {load}:", rehearsal.pool);
        }
        let is_pool = !rehearsal.fails.contains('/');
        // Single realservers where that of their pool does not say it all.
        let is_told = |carried: &&super::Carried| !is_pool || !carried.who.contains('/') || carried.percent > FULL;
        let carried = rehearsal.carried.iter().filter(is_told);
        let who = |carried: &super::Carried| match carried.who == rehearsal.fails {
            true => "nobody else is left".to_owned(),
            false => format!("{} carries {:.0} %", carried.who, carried.percent),
        };
        let carried: Vec<String> = carried.take(3).map(who).collect();
        let carried = if carried.is_empty() { "nobody is left".to_owned() } else { carried.join(", ") };
        let mark = if rehearsal.is_too_much() { "TOO MUCH  " } else { "          " };
        let _ = writeln!(page, "  {mark}if {} fails, {carried}", rehearsal.fails);
    }
}
