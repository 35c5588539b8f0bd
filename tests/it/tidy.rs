//! Holds the source to its shape: the levels and what each may touch, headers, sizes, names, and where `unsafe` may stand.
//!
//! It reads text, not the compiler's tree: comments, strings and tests are taken out, paths that start with `crate::` or `super::` are what
//! a file uses. What a macro makes is not seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// A level and its modules. A file may use its own level and those before it.
struct Level {
    name: &'static str,
    /// Whether its code is a function of its arguments: no clock, randomness, log, task or socket.
    is_pure: bool,
    /// `a::b` is that module alone, `a::*` is `a` with everything below it.
    modules: &'static [&'static str],
}

const LEVELS: &[Level] = &[
    Level { name: "words", is_pure: true, modules: &["types", "name", "diagnostic", "certificate"] },
    Level {
        name: "inputs",
        is_pure: true,
        modules: &[
            "config::*",
            "protect::*",
            "zone::*",
            "geo::*",
            "health::machine",
            "health::target",
            // Tables that a snapshot has ready; what they are for is the decision's.
            "select::wrr",
            "select::maglev",
        ],
    },
    Level { name: "state", is_pure: true, modules: &["state::*", "snapshot"] },
    Level { name: "decision", is_pure: true, modules: &["select", "select::nearest", "select::explain"] },
    Level {
        name: "meaning",
        is_pure: true,
        modules: &[
            "dns::query",
            "dns::ecs",
            "dns::header",
            "dns::answer",
            "dns::chain",
            "dns::additional",
            "dns::explain",
            "dns::encode",
            "dns::compress",
            "dns::options",
            "dns::guard",
            "dns::respond",
            "dns::wire",
            "dns::tsig",
            "dns::outgoing",
            "dns::exchange",
            "dns::incoming",
            "dns::differences",
            "dns::refresh",
            "redirect::decision",
            "redirect::sticky",
            "redirect::host",
            "l4::attempts",
        ],
    },
    Level { name: "rehearsal", is_pure: true, modules: &["plan::*"] },
    Level {
        name: "shells",
        is_pure: false,
        modules: &[
            "observe",
            "shutdown",
            "health::probe::*",
            "health::passive",
            "health::scheduler",
            "dns::udp",
            "dns::tcp",
            "dns::conversation",
            "dns::mmsg",
            "dns::counters",
            "dns::transfers",
            "dns::notify",
            "dns::fetch",
            "dns::clock",
            "dns::encrypted::*",
            "redirect::serve",
            "redirect::counters",
            "l4::tcp",
            "l4::pump",
            "l4::counters",
            "control::*",
        ],
    },
    Level { name: "assembly", is_pure: false, modules: &["runtime::*", "cli::*", "main", "lib"] },
];

/// Folders' own files that only gather what is below them, of several levels: the words they define must do for the first of these.
const GATHERING: &[(&str, &str)] = &[("health", "inputs"), ("dns", "shells"), ("redirect", "shells"), ("l4", "shells")];

/// Folders of one level that know nothing of each other.
const STRANGERS: &[&str] = &["dns", "redirect", "l4"];

/// What no pure file mentions.
const IMPURE: &[&str] = &[
    "tokio",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "tracing",
    "fastrand",
    "println!",
    "eprintln!",
    "thread::spawn",
    "thread::sleep",
];

/// Words in files that may have them all the same, and why.
const IMPURE_ALLOWED: &[(&str, &str)] = &[
    ("src/zone/directory.rs", "Instant::now"), // `load_all` reads once, for the command line; what is watched is given the time
];

/// Where system calls are made that no safe crate offers.
const UNSAFE_ALLOWED: &[&str] = &["src/dns/mmsg.rs"];

/// About a thousand lines; what is longer has two reasons to change.
const OCTETS_MAX: usize = 36 * 1024;

/// Names that say nothing.
const FOLDERS_REFUSED: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "shared"];

/// A source file of the program.
struct File {
    /// From the package's folder.
    path: String,
    /// As in `use crate::…`; `main` and `lib` for the two roots.
    module: String,
    text: String,
    /// `text` without comments, strings and tests, lines kept.
    code: String,
}

/// Every file below `src`, in order.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let file = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("readable");
        let path = path.strip_prefix(root).expect("below the package").display().to_string();
        let module =
            path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        File { code: without_tests(&bare(&text)), path, module, text }
    };
    let files: Vec<File> = paths.iter().map(file).collect();
    assert!(files.len() > 30, "the source was not found");
    files
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `text` with a blank for every character of comments, strings and character literals; line breaks stay.
fn bare(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(n, c)| characters.get(at + n) == Some(&c));
    while at < characters.len() {
        let is_word = at > 0 && (characters[at - 1].is_alphanumeric() || characters[at - 1] == '_');
        let end = if starts(at, "//") {
            (at..characters.len()).find(|&n| characters[n] == '\n').unwrap_or(characters.len())
        } else if starts(at, "/*") {
            (at..characters.len()).find(|&n| starts(n, "*/")).map_or(characters.len(), |n| n + 2)
        } else if !is_word && (starts(at, "r\"") || starts(at, "r#") || starts(at, "br\"") || starts(at, "br#")) {
            let quote = (at..characters.len()).find(|&n| characters[n] == '"').unwrap_or(at);
            let hashes = characters[at..quote].iter().filter(|&&c| c == '#').count();
            let close = format!("\"{}", "#".repeat(hashes));
            (quote + 1..characters.len()).find(|&n| starts(n, &close)).map_or(characters.len(), |n| n + close.len())
        } else if characters[at] == '"' {
            let mut n = at + 1;
            while n < characters.len() && characters[n] != '"' {
                n += if characters[n] == '\\' { 2 } else { 1 };
            }
            n + 1
        } else if characters[at] == '\'' && characters.get(at + 1) == Some(&'\\') {
            (at + 3..characters.len()).find(|&n| characters[n] == '\'').map_or(characters.len(), |n| n + 1)
        } else if characters[at] == '\'' && characters.get(at + 2) == Some(&'\'') {
            at + 3
        } else {
            out.push(characters[at]);
            at += 1;
            continue;
        };
        let end = end.min(characters.len());
        out.extend(characters[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// `code` with what stands behind `#[cfg(test)]` blanked out.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let rest = &out[start..];
        let end = match rest.find(['{', ';']) {
            Some(at) if rest[at..].starts_with('{') => start + at + closing(&rest[at..]),
            Some(at) => start + at + 1,
            None => out.len(),
        };
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Where the brace that `text` starts with is closed, and one more.
fn closing(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// The modules that are there for tests alone: declared behind `#[cfg(test)]`, or below such a one.
fn test_modules(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        for declared in bare(&file.text).split("#[cfg(test)]").skip(1) {
            let declared = declared.trim_start();
            let declared = declared.strip_prefix("pub(crate) ").or(declared.strip_prefix("pub ")).unwrap_or(declared);
            if let Some((name, _)) = declared.strip_prefix("mod ").and_then(|rest| rest.split_once(';'))
                && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            {
                let parent =
                    if ["lib", "main"].contains(&&*file.module) { String::new() } else { format!("{}::", file.module) };
                found.insert(format!("{parent}{name}"));
            }
        }
    }
    found
}

fn is_below(module: &str, ancestor: &str) -> bool {
    module == ancestor || module.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with("::"))
}

/// The index of the level that a module is in; `None` if the table does not have it.
fn level_of(module: &str) -> Option<usize> {
    let has = |level: &Level| {
        level.modules.iter().any(|listed| match listed.strip_suffix("::*") {
            Some(folder) => is_below(module, folder),
            None => *listed == module,
        })
    };
    let gathering = GATHERING.iter().find(|(listed, _)| *listed == module).map(|(_, level)| *level);
    LEVELS.iter().position(|level| gathering.map_or_else(|| has(level), |name| level.name == name))
}

/// Every path in `code` that starts with `crate::` or `super::`, without these, as segments from the root, with its line.
fn paths(file: &File) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let own: Vec<String> = file.module.split("::").map(str::to_owned).collect();
    let mut at = 0;
    while let Some(start) = ["crate::", "super::"].iter().filter_map(|mark| file.code[at..].find(mark)).min() {
        let start = at + start;
        at = start + "crate::".len();
        let is_word = file.code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        if is_word {
            continue;
        }
        let mut base = Vec::new();
        if file.code[start..].starts_with("super::") {
            base = own[..own.len() - 1].to_vec();
            while file.code[at..].starts_with("super::") {
                base.pop();
                at += "super::".len();
            }
        }
        let line = file.code[..start].matches('\n').count() + 1;
        at += tree(&file.code[at..], &base, &mut |path| found.push((line, path)));
    }
    found
}

/// Reads a path, or several in braces, at the start of `text`; returns how much of it that was.
fn tree(text: &str, base: &[String], found: &mut dyn FnMut(Vec<String>)) -> usize {
    let mut path = base.to_vec();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..];
        if rest.starts_with('{') {
            let end = at + closing(rest);
            let mut inner = at + 1;
            while !text[inner..end - 1].trim().is_empty() {
                inner += tree(&text[inner..end - 1], &path, found);
                // Behind `as NAME` and commas the next one begins.
                inner += text[inner..end - 1].find(',').map_or(end - 1 - inner, |comma| comma + 1);
            }
            return end;
        }
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if length > 0 && &rest[..length] != "self" {
            path.push(rest[..length].to_owned());
        }
        at += length;
        if !text[at..].starts_with("::") || length == 0 {
            found(path);
            return at;
        }
        at += "::".len();
    }
}

/// The module that a path leads into: as much of it as is one.
fn module_of(path: &[String], modules: &BTreeSet<&str>) -> Option<String> {
    (1..=path.len()).rev().map(|n| path[..n].join("::")).find(|candidate| modules.contains(&**candidate))
}

/// Fails with everything that was found, one line each.
#[track_caller]
fn report(found: &[String], rule: &str) {
    let list = found.iter().fold(String::new(), |mut list, finding| {
        let _ = writeln!(list, "  {finding}");
        list
    });
    assert!(found.is_empty(), "{rule}\n{list}");
}

#[test]
fn every_file_uses_only_its_own_level_and_those_before_it() {
    let files = files();
    let of_tests = test_modules(&files);
    let modules: BTreeSet<&str> = files.iter().map(|file| &*file.module).collect();
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !of_tests.iter().any(|tests| is_below(&file.module, tests))) {
        let Some(own) = level_of(&file.module) else {
            wrong.push(format!("{}: `{}` is in no level; add it to the table", file.path, file.module));
            continue;
        };
        for (line, path) in paths(file) {
            let Some(used) = module_of(&path, &modules) else { continue };
            let Some(level) = level_of(&used) else { continue };
            let place = format!("{}:{line}", file.path);
            let is_stranger = |folder: &&&str| is_below(&used, folder) && !is_below(&file.module, folder);
            if level > own {
                let (own, level) = (LEVELS[own].name, LEVELS[level].name);
                wrong.push(format!("{place}: `{}` ({own}) uses `{used}` ({level})", file.module));
            } else if STRANGERS.iter().any(|folder| is_below(&file.module, folder))
                && let Some(stranger) = STRANGERS.iter().find(is_stranger)
            {
                wrong.push(format!("{place}: `{}` uses `{used}` of `{stranger}`", file.module));
            }
        }
    }
    report(&wrong, "levels are held (the table is at the top of this test):");
}

#[test]
fn table_of_levels_names_only_modules_that_exist() {
    let files = files();
    let listed = LEVELS.iter().flat_map(|level| level.modules).chain(GATHERING.iter().map(|(module, _)| module));
    let gone: Vec<String> = listed
        .map(|listed| listed.trim_end_matches("::*"))
        .filter(|listed| !files.iter().any(|file| file.module == *listed))
        .map(|listed| format!("`{listed}`"))
        .collect();
    report(&gone, "modules that the table has and the source has not:");
}

#[test]
fn code_up_to_meaning_knows_no_clock_socket_task_log_or_randomness() {
    let files = files();
    let of_tests = test_modules(&files);
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !of_tests.iter().any(|tests| is_below(&file.module, tests))) {
        if !level_of(&file.module).is_some_and(|level| LEVELS[level].is_pure)
            || GATHERING.iter().any(|(m, _)| *m == file.module)
        {
            continue;
        }
        for (index, line) in file.code.lines().enumerate() {
            let is_allowed = |word: &str| IMPURE_ALLOWED.contains(&(&*file.path, word));
            for word in IMPURE.iter().filter(|word| has_word(line, word) && !is_allowed(word)) {
                wrong.push(format!("{}:{}: `{word}`", file.path, index + 1));
            }
        }
    }
    report(&wrong, "these belong to shells; pass what is needed as an argument:");
}

/// Whether `word` stands in `line` and is no part of another one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_part) && (word.ends_with('!') || !line[at + word.len()..].starts_with(is_part))
    })
}

#[test]
fn unsafe_stands_only_where_it_was_agreed() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| !UNSAFE_ALLOWED.contains(&&*file.path)) {
        for (index, line) in bare(&file.text).lines().enumerate() {
            if has_word(line, "unsafe") || has_word(line, "unsafe_code") {
                wrong.push(format!("{}:{}", file.path, index + 1));
            }
        }
    }
    report(&wrong, "`unsafe` is for the few files that make system calls:");
}

#[test]
fn every_file_says_what_it_is_for() {
    let has_none = |file: &&File| !file.text.starts_with("//! ");
    let wrong: Vec<String> = files().iter().filter(has_none).map(|file| file.path.clone()).collect();
    report(&wrong, "a file starts with `//!`, what it is for:");
}

#[test]
fn no_file_is_longer_than_one_reads() {
    let is_long = |file: &&File| file.text.len() > OCTETS_MAX;
    let wrong: Vec<String> =
        files().iter().filter(is_long).map(|file| format!("{}: {} octets", file.path, file.text.len())).collect();
    report(&wrong, &format!("files have {OCTETS_MAX} octets at most; split it by what changes together:"));
}

#[test]
fn folders_are_nouns_of_the_field() {
    let says_nothing = |file: &&File| file.module.split("::").any(|part| FOLDERS_REFUSED.contains(&part));
    let wrong: Vec<String> = files().iter().filter(says_nothing).map(|file| file.path.clone()).collect();
    report(&wrong, "names that say nothing:");
}

/// The reading itself: what would be overlooked would be allowed.
#[test]
fn reading_finds_paths_and_leaves_out_comments_strings_and_tests() {
    let text = r##"//! crate::a
use crate::{b::{C, d::e as f}, g, };
use super::super::h::I;
let x = "crate::j"; /* crate::k */ let y = r#"crate::l"#; let z = '"';
fn m() { crate::n::o::<P>() }
let q = 'a: loop {};
#[cfg(test)]
mod tests { use crate::r; fn s() { {} } }
use crate::t;
"##;
    let code = without_tests(&bare(text));
    let file = File { path: String::new(), module: "u::v::w".to_owned(), text: text.to_owned(), code };
    let mut by_line: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (line, path) in paths(&file) {
        by_line.entry(line).or_default().push(path.join("::"));
    }
    let expected = [(2, vec!["b::C", "b::d::e", "g"]), (3, vec!["u::h::I"]), (5, vec!["n::o"]), (9, vec!["t"])];
    let expected: BTreeMap<usize, Vec<String>> =
        expected.map(|(line, paths)| (line, paths.into_iter().map(str::to_owned).collect())).into();
    assert_eq!(by_line, expected);
}
