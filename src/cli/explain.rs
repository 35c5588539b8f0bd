//! `fingerpost explain`: an explanation as a person reads it, and one from files alone.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

use super::{FAILED, OK, UNREACHABLE, operate, print};
use crate::{
    config::LoadError,
    control::protocol::ExplainRequest,
    runtime::{self, Offline},
    state::pattern::Pattern,
};

/// Explains what a server with the files as they are would answer if everybody but `down` were up.
pub(super) fn offline(config: &Path, down: Vec<Pattern>, request: &ExplainRequest, as_json: bool) -> u8 {
    let mut offline = match load(config, None) {
        Ok(offline) => offline,
        Err(status) => return status,
    };
    for pattern in down {
        if let Err(findings) = offline.suppose_down(pattern) {
            eprintln!("{findings}");
            return FAILED;
        }
    }
    match runtime::explain(offline.snapshot(), request, fastrand::u64(..)) {
        Ok(explanation) if as_json => operate::print_json(&explanation),
        Ok(explanation) => print(&text(&explanation)),
        Err(problem) => {
            eprintln!("error: {problem}");
            return FAILED;
        }
    }
    OK
}

/// Loads everything, or says what is wrong and returns the exit status.
pub(super) fn load(config: &Path, known: Option<&Offline>) -> Result<Offline, u8> {
    match Offline::load(config, known) {
        Ok((offline, _)) => Ok(offline),
        Err(LoadError::Unreadable(problem)) => {
            eprintln!("{problem}");
            Err(UNREACHABLE)
        }
        Err(LoadError::Invalid(findings)) => {
            eprintln!("{findings}");
            Err(FAILED)
        }
    }
}

/// Renders the object that `explain --json` prints.
pub(super) fn text(explanation: &Value) -> String {
    let word = |key: &str| explanation.get(key).and_then(Value::as_str);
    let mut page = String::new();
    let mut line = |label: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{label:<9} {text}");
    };
    let client = |key: &str| explanation.get("client").and_then(|client| client.get(key));
    let prefix = client("prefix").and_then(Value::as_u64).unwrap_or(0);
    let (address, source) = (client("address").and_then(Value::as_str), client("source").and_then(Value::as_str));
    let location = client("location").and_then(Value::as_str).unwrap_or("unknown");
    line(
        "question",
        format!("{} {} via {}", word("name").unwrap_or(""), word("type").unwrap_or(""), word("via").unwrap_or("")),
    );
    line(
        "client",
        format!("{}/{prefix} from the {}, location {location}", address.unwrap_or("?"), source.unwrap_or("?")),
    );
    if let Some(zone) = word("zone") {
        let owner = word("owner").map_or(String::new(), |owner| format!(", name {owner}"));
        let found = word("match").map_or(String::new(), |found| format!(" ({found})"));
        let record = word("record").map_or(String::new(), |record| format!(": {record}"));
        line("zone", format!("{zone}{owner}{found}{record}"));
    } else if let Some(found) = word("match") {
        line("zone", found.to_owned());
    }
    let path: Vec<&str> = strings(explanation, "path");
    if path.len() > 1 {
        line("aliases", path.join(" → "));
    }
    for (index, step) in strings(explanation, "steps").into_iter().enumerate() {
        line(if index == 0 { "decision" } else { "" }, step.to_owned());
    }
    if let Some(key) = explanation.get("key").filter(|key| key.is_object()) {
        let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or("?");
        let prefix = key.get("prefix").and_then(Value::as_u64).unwrap_or(0);
        line(
            "key",
            format!("{}/{prefix} of the {}, hashed by pool `{}`", text("address"), text("source"), text("pool")),
        );
    }
    for (index, realserver) in list(explanation, "realservers").iter().enumerate() {
        let text = |key: &str| realserver.get(key).and_then(Value::as_str).unwrap_or("-");
        let rank = realserver.get("rank").and_then(Value::as_u64).map_or("  ".to_owned(), |rank| format!("{rank}."));
        let name = format!("{}/{}", text("pool"), text("name"));
        let state = if realserver.get("eligible").and_then(Value::as_bool) == Some(true) { "in " } else { "out" };
        line(
            if index == 0 { "servers" } else { "" },
            format!("{rank} {state} {name:<24} {:<24} {}", text("address"), text("reason")),
        );
    }
    if let Some(location) = word("location") {
        let status = explanation.get("status").and_then(Value::as_u64).unwrap_or(0);
        line("location", format!("{status} {location}"));
    }
    if let Some(refusal) = word("refusal") {
        let status = explanation.get("status").and_then(Value::as_u64).unwrap_or(0);
        line("refused", format!("{status} {refusal}"));
    }
    let answer = strings(explanation, "answer");
    let rcode = word("rcode").map_or(String::new(), |rcode| format!("{rcode} "));
    line("answer", format!("{rcode}{}", if answer.is_empty() { "no address".to_owned() } else { answer.join(" ") }));
    let scope = explanation.get("scope").and_then(Value::as_u64).unwrap_or(0);
    if let Some(ttl) = explanation.get("ttl").and_then(Value::as_u64) {
        let who = if scope == 0 { "every client".to_owned() } else { format!("clients in the same /{scope}") };
        line("cached", format!("{ttl} s, the same for {who}"));
        for (label, key) in [("ttl", "ttl_from"), ("scope", "scope_from")] {
            let from = strings(explanation, key);
            if !from.is_empty() {
                line(label, from.join("; "));
            }
        }
    }
    if explanation.get("degraded").and_then(Value::as_bool) == Some(true) {
        line(
            "degraded",
            "nobody is eligible: this is a guess rather than nothing (`on_all_down = \"all\"`)".to_owned(),
        );
    }
    page
}

fn list<'e>(explanation: &'e Value, key: &str) -> &'e [Value] {
    explanation.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn strings<'e>(explanation: &'e Value, key: &str) -> Vec<&'e str> {
    list(explanation, key).iter().filter_map(Value::as_str).collect()
}
