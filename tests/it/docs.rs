//! What people read is true: the README's quick start runs, its commands, flags, metrics and keys exist and none is missing, the examples
//! pass `check` without a warning, and `--help` changes only on purpose.

#![allow(clippy::expect_used, clippy::panic, reason = "all of this is test, also what stands outside of `#[test]`")]

use std::{
    collections::BTreeSet,
    fs, io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fingerpost::{config, diagnostic::Diagnostics, zone::Zone};

/// Lines of the README between which the configuration reference stands.
const REFERENCE: [&str; 2] = ["<!-- configuration reference: begin -->\n", "<!-- configuration reference: end -->"];
/// Line before the README's quick start.
const QUICK_START: &str = "<!-- quick start -->\n```sh\n";

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn readme() -> String {
    fs::read_to_string(repository("README.md")).expect("README.md")
}

/// What lies between `start` and `end`, neither included.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start:?} in README.md"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} after {start:?} in README.md")).0
}

/// The binary, on a terminal of 100 columns whatever the real one has.
fn fingerpost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fingerpost"));
    command.args(arguments).current_dir(repository("")).env("COLUMNS", "100").stdin(Stdio::null());
    command
}

fn help(command: Option<&str>) -> String {
    let arguments: Vec<&str> = command.into_iter().chain(["--help"]).collect();
    let output = fingerpost(&arguments).output().expect("run");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Every command that `--help` lists, but `help` itself.
fn commands() -> Vec<String> {
    let text = help(None);
    let list = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line that goes on where the one before was full is further in.
    let entries = list.filter_map(|line| line.strip_prefix("  ").filter(|entry| !entry.starts_with(' ')));
    let commands: Vec<String> = entries.filter_map(|entry| Some(entry.split_whitespace().next()?.to_owned())).collect();
    assert!(commands.len() > 5, "{text}");
    commands.into_iter().filter(|command| command != "help").collect()
}

/// Every `--flag` in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let is_flag = |word: &&str| word.starts_with("--") && word.len() > 2;
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(is_flag).map(|word| word.trim_end_matches('-').to_owned()).collect()
}

/// Every command line of the README, from `fingerpost COMMAND` to the end of its line or code.
fn command_lines(readme: &str) -> Vec<(&str, &str)> {
    let starts = readme.match_indices("fingerpost ").filter(|(at, _)| {
        let before = readme.get(..*at).unwrap_or_default();
        before.ends_with('\n') || before.ends_with("$ ") || before.ends_with('`')
    });
    let lines = starts.map(|(at, start)| {
        let line = readme.get(at + start.len()..).unwrap_or_default();
        line.split(['\n', '`', '|']).next().unwrap_or_default()
    });
    let named = lines.map(|line| (line.split_whitespace().next().unwrap_or_default(), line));
    // `fingerpost 0.1.0` is what `status` prints.
    named.filter(|(name, _)| !name.starts_with(|c: char| c.is_ascii_digit())).collect()
}

#[test]
fn help_of_every_command_is_as_reviewed() {
    let mut pages = vec![help(None)];
    pages.extend(commands().iter().map(|command| help(Some(command))));
    insta::assert_snapshot!("help", pages.join("\n\n----------------------------------------\n\n"));
}

#[test]
fn readme_shows_every_command_and_flag_and_no_others() {
    let readme = readme();
    let shown = command_lines(&readme);
    let (commands, global) = (commands(), flags(&help(None)));
    for command in &commands {
        let lines: Vec<&str> = shown.iter().filter(|(name, _)| name == command).map(|(_, line)| *line).collect();
        assert!(!lines.is_empty(), "README.md does not show `fingerpost {command}`");
        let in_help = flags(&help(Some(command)));
        for line in &lines {
            for flag in flags(line) {
                assert!(in_help.contains(&flag), "README.md shows `fingerpost {line}`, but there is no {flag}");
            }
        }
        // Rows of the command table are read to their end: `|` stands within them.
        let row = readme.lines().find(|line| line.starts_with(&format!("| `fingerpost {command}")));
        let row_flags = flags(row.unwrap_or_else(|| panic!("no row for {command} in README.md's table")));
        for flag in in_help.difference(&global).filter(|flag| *flag != "--help") {
            assert!(row_flags.contains(flag), "README.md's table does not show {flag} of `fingerpost {command}`");
        }
        for flag in &row_flags {
            assert!(in_help.contains(flag), "README.md's table shows {flag} of `fingerpost {command}`; there is none");
        }
    }
    for (name, line) in shown {
        assert!(commands.iter().any(|command| command == name), "README.md shows `fingerpost {line}`, no command");
    }
}

/// Names of metrics in a text.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("fingerpost_") && word.len() > "fingerpost_".len()).collect()
}

#[test]
fn readme_names_every_metric_and_no_others() {
    let files = [
        "src/control/metrics.rs",
        "src/dns/counters.rs",
        "src/dns/transfers.rs",
        "src/dns/encrypted/counters.rs",
        "src/dns/encrypted/identity.rs",
        "src/health/scheduler.rs",
        "src/l4/counters.rs",
        "src/redirect/counters.rs",
        "src/runtime/backend.rs",
    ];
    let source: Vec<String> = files.into_iter().map(|path| fs::read_to_string(repository(path)).expect(path)).collect();
    let production = source.iter().map(|text| text.split("#[cfg(test)]").next().unwrap_or_default());
    let counted: BTreeSet<&str> = production.flat_map(metrics).collect();
    let readme = readme();
    assert!(counted.len() > 30, "{counted:?}");
    assert_eq!(metrics(&readme).difference(&counted).collect::<Vec<_>>(), Vec::<&&str>::new(), "in README.md only");
    assert_eq!(counted.difference(&metrics(&readme)).collect::<Vec<_>>(), Vec::<&&str>::new(), "not in README.md");
}

#[test]
fn readme_has_the_configuration_reference() {
    let readme = readme();
    let [begin, end] = REFERENCE;
    let expected = format!("\n{}\n", config::reference::markdown().trim_end());
    let shown = between(&readme, begin, end);
    if std::env::var_os("UPDATE_README").is_some() {
        let updated = readme.replace(&format!("{begin}{shown}{end}"), &format!("{begin}{expected}\n{end}"));
        return fs::write(repository("README.md"), updated).expect("write README.md");
    }
    assert!(
        shown.trim_end() == expected.trim_end(),
        "README.md's configuration reference is not that of src/config/reference.rs; write it anew with\n  \
         UPDATE_README=1 cargo test --test it readme_has_the_configuration_reference"
    );
}

/// A port that is free for UDP and TCP now.
fn free_port() -> u16 {
    let free = || -> io::Result<u16> {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = tcp.local_addr()?;
        UdpSocket::bind(address)?;
        Ok(address.port())
    };
    (0..16).find_map(|_| free().ok()).expect("a free port")
}

#[test]
fn readme_quick_start_works_when_pasted() {
    let readme = readme();
    let script = between(&readme, QUICK_START, "```\n").replace("5300", &free_port().to_string());
    // Who pastes line by line has waited when the next line comes.
    let wait = "fingerpost serve &\ntrap 'kill $!' EXIT\n\
                for _ in $(seq 100); do fingerpost status >status 2>&1 && break; sleep 0.1; done\ncat status >&2\n";
    assert!(script.contains("fingerpost serve &\n") && script.trim_end().ends_with("kill $!"), "{script}");
    let script = script.replace("fingerpost serve &\n", wait);
    let script = script.trim_end().trim_end_matches("kill $!");
    let folder = tempfile::tempdir().expect("folder");
    let binary = Path::new(env!("CARGO_BIN_EXE_fingerpost")).parent().expect("folder of the binary");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-eu", "-c", script])
        .current_dir(&folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .expect("sh");
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "is dig installed?\n{text}\n{log}");
    let answers = "ok: 1 zone, 4 records, 1 pool, 2 realservers\n192.0.2.1\n192.0.2.1\n192.0.2.2\n";
    let explained = text.strip_prefix(answers).unwrap_or_else(|| panic!("{text}\n{log}"));
    assert!(explained.contains("pool `web` answers"), "{explained}\n{log}");
    assert!(explained.contains("answer    NOERROR 192.0.2.1\n"), "{explained}\n{log}");
}

#[test]
fn links_of_the_readme_lead_somewhere() {
    let readme = readme();
    let targets = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files: Vec<&str> = targets.filter(|target| !target.starts_with("http") && !target.starts_with('#')).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        assert!(repository(file).exists(), "README.md links to {file}");
    }
    for anchor in readme.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        let as_anchor = |title: &str| title.to_lowercase().replace(' ', "-");
        let mut titles = readme.lines().filter_map(|line| line.strip_prefix("## "));
        assert!(titles.any(|title| as_anchor(title) == anchor), "README.md links to #{anchor}");
    }
}

/// Every configuration under `examples`.
fn examples() -> Vec<PathBuf> {
    let folders = fs::read_dir(repository("examples")).expect("examples").map(|entry| entry.expect("entry").path());
    let configs: Vec<PathBuf> =
        folders.map(|folder| folder.join("fingerpost.toml")).filter(|path| path.exists()).collect();
    assert!(configs.len() >= 3, "{configs:?}");
    configs
}

/// The lines of an example's first comment that make what must not be in a repository, for a shell.
fn commands_of(config: &str) -> String {
    let comment = config.lines().map_while(|line| line.strip_prefix('#'));
    let commands = comment.filter_map(|line| line.strip_prefix("   ")).map(str::trim);
    let is_making = |line: &&str| line.starts_with("openssl ") || line.starts_with("umask ");
    commands.filter(is_making).collect::<Vec<_>>().join("\n")
}

#[test]
fn examples_pass_check_without_a_warning() {
    for mut path in examples() {
        let commands = commands_of(&fs::read_to_string(&path).expect("read"));
        let folder = tempfile::tempdir().expect("folder");
        if !commands.is_empty() {
            let original = path.parent().expect("folder").to_str().expect("UTF-8");
            let script = format!("cp -rL {original}/. .\n{commands}");
            let made = Command::new("sh").args(["-eu", "-c", &script]).current_dir(&folder).output().expect("sh");
            assert!(made.status.success(), "{script}:\n{}", String::from_utf8_lossy(&made.stderr));
            path = folder.path().join("fingerpost.toml");
        }
        let output = fingerpost(&["check", "--config", path.to_str().expect("UTF-8")]).output().expect("run");
        let (text, findings) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && findings.is_empty(), "{}:\n{text}{findings}", path.display());
        assert!(text.starts_with("ok: "), "{}: {text}", path.display());
    }
}

#[test]
fn examples_say_first_who_would_want_them() {
    let units = ["examples/systemd/fingerpost.service", "examples/systemd/fingerpost.socket"].map(repository);
    for path in examples().into_iter().chain(units) {
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.starts_with("# For "), "{}", path.display());
    }
}

#[test]
fn systemd_hands_over_just_what_the_example_listens_on() {
    let text = fs::read_to_string(repository("examples/systemd/fingerpost.socket")).expect("read");
    let unit = |key: &str| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned).collect()
    };
    let (config, _) = config::load(&repository("examples/two-sites/fingerpost.toml")).expect("a good example");
    let dns: BTreeSet<String> = config.dns.listen.iter().map(ToString::to_string).collect();
    let redirect: BTreeSet<String> = config.redirect.listen.iter().map(ToString::to_string).collect();
    assert_eq!(unit("ListenDatagram"), dns);
    assert_eq!(unit("ListenStream"), &dns | &redirect);
}

/// The fenced blocks of the README that are of this language.
fn fenced<'r>(readme: &'r str, language: &str) -> Vec<&'r str> {
    readme.split(&format!("\n```{language}\n")).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn delegation_in_the_readme_is_a_zone_that_a_parent_could_serve() {
    let readme = readme();
    let records = fenced(&readme, "").into_iter().find(|block| block.starts_with("example.com. ")).expect("the block");
    let zone = format!(
        "$ORIGIN com.\n@ 1h SOA a.gtld hostmaster 1 1h 10m 2w 1m\n@ 1h NS a.gtld\na.gtld 1h A 203.0.113.1\n{records}\n"
    );
    let (_, warnings) = Zone::from_text(Path::new("com.zone"), &zone).unwrap_or_else(|findings| panic!("{findings}"));
    assert_eq!(warnings.to_string(), Diagnostics::default().to_string());
}
