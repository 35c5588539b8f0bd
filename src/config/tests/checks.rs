//! What checks mean, and what is said of mistakes in them.

use super::{check, findings, read};
use crate::config::{Calculated, CheckKind, Rule};

/// What is found in a file with these checks, each used by a pool, without the lines that show where.
fn said(checks: &str) -> Vec<String> {
    let names = checks.lines().filter_map(|line| line.strip_prefix("[checks.")?.strip_suffix(']'));
    let pools: String = names
        .filter(|name| !name.contains('.'))
        .map(|name| {
            format!("[pools.{name}]\ncheck = \"{name}\"\nrealservers = [{{ name = \"a\", address = \"192.0.2.1\", port = 80 }}]\n")
        })
        .collect();
    let found = findings(&format!("version = 1\n{checks}\n{pools}"));
    found
        .lines()
        .filter(|line| line.starts_with("error") || line.starts_with("warning") || line.starts_with("hint"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_type_has_keys_of_its_own() {
    for good in [
        "[checks.c]\ntype = \"tcp\"\nsend = 'a\\r\\n'\nexpect = '/b/'\nrefused_is_down = true",
        "[checks.c]\ntype = \"tcp\"\ntls = true\nverify = false\nsni = \"example.org\"",
        "[checks.c]\ntype = \"http\"\nmethod = \"HEAD\"\nheaders = { X-A = \"b\" }\nbody_max = \"1MiB\"",
        "[checks.c]\ntype = \"https\"\nexpiry_warning = \"off\"\nexpect_body = \"ok\"",
        "[checks.c]\ntype = \"dns\"\nquery = \"example.org AAAA\"\nexpect_address = [\"2001:db8::1\"]",
        "[checks.c]\ntype = \"dns\"\nquery = \"example.org\"\nexpect_rcode = \"NXDOMAIN\"",
        "[checks.c]\ntype = \"icmp\"\naddress = \"192.0.2.9\"",
        "[checks.c]\ntype = \"grpc\"\nservice = \"a.B\"\ntls = true\nca = \"ca.pem\"",
        "[checks.c]\ntype = \"exec\"\ncommand = [\"probe\", \"-x\"]",
        "[checks.c]\ntype = \"file\"\npath = \"health.state\"\ninterval = \"100ms\"",
        "[checks.b]\ntype = \"icmp\"\n[checks.c]\ntype = \"all\"\nchecks = [\"b\"]",
        "[checks.b]\ntype = \"icmp\"\n[checks.c]\ntype = \"at-least\"\nat_least = 1\nchecks = [\"b\"]",
    ] {
        assert_eq!(said(good), [""; 0], "{good}");
    }
    for (bad, kind, key) in [
        ("type = \"icmp\"\nport = 1", "icmp", "port"),
        ("type = \"http\"\nsend = \"x\"", "http", "send"),
        ("type = \"file\"\npath = \"s\"\ntimeout = \"1s\"", "file", "timeout"),
        ("type = \"all\"\nchecks = []\nrise = 1", "all", "rise"),
        ("type = \"any\"\nchecks = []\nat_least = 1", "any", "at_least"),
    ] {
        let found = said(&format!("[checks.c]\n{bad}"));
        assert!(found.contains(&format!("error: a check of type `{kind}` has no `{key}`")), "{found:?}");
    }
}

#[test]
fn mistakes_in_checks_are_told_with_a_way_out() {
    for (keys, expected) in [
        (
            "type = \"tcp\"\nsend = '\\q'",
            "error: `\\q` is not an escape|hint: there are `\\r` `\\n` `\\t` `\\0` `\\\\` and `\\xHH`",
        ),
        (
            "type = \"tcp\"\nexpect = '/(/'",
            "error: not a regular expression: unclosed group|hint: a text between slashes is a regular expression",
        ),
        (
            "type = \"tcp\"\nexpect = ''",
            "error: an empty text is found everywhere|hint: write some of what must be there, or remove the line",
        ),
        (
            "type = \"tcp\"\nsni = \"a\"",
            "error: `sni` is about TLS, which this check does not use|hint: add `tls = true`",
        ),
        (
            "type = \"http\"\nmethod = \"GETT\"",
            "error: `GETT` is not a method that a check can use|hint: did you mean `GET`?",
        ),
        (
            "type = \"http\"\nmethod = \"HEAD\"\nexpect_body = \"x\"",
            "error: a response to HEAD has no body|hint: remove `expect_body`, or use another `method`",
        ),
        (
            "type = \"http\"\nbody_max = \"2MiB\"",
            "error: `2MiB` is not a size up to 1MiB|hint: such as `\"64KiB\"`; the units are `B`, `KiB` and `MiB`",
        ),
        (
            "type = \"http\"\nheaders = { Host = \"x\" }",
            "error: header `Host` is the probe's own|hint: use the key `host`",
        ),
        (
            "type = \"http\"\nheaders = { \"a b\" = \"x\" }",
            "error: `a b` is not a header's name|hint: such as `X-Probe`",
        ),
        (
            "type = \"http\"\nheaders = { a = \"x\\r\\ny: z\" }",
            "error: a header's value is printable ASCII without blanks at its ends|hint: such as `\"probe\"`",
        ),
        (
            "type = \"http\"\nheaders = { a = \"x\", A = \"y\" }",
            "error: header `A` is there twice|hint: remove one of the two",
        ),
        ("type = \"dns\"", "error: `query` is missing in this check|hint: such as `query = \"www.example.com A\"`"),
        (
            "type = \"dns\"\nquery = \"a b c\"",
            "error: `a b c` is not a name and a type|hint: such as `\"www.example.com A\"`",
        ),
        (
            "type = \"dns\"\nquery = \"a..b\"",
            "error: `a..b` is not a name and a type|hint: such as `\"www.example.com A\"`",
        ),
        (
            "type = \"dns\"\nquery = \"a AAA\"",
            "error: `AAA` is not a type that a check can ask for|hint: did you mean `AAAA`?",
        ),
        (
            "type = \"dns\"\nquery = \"a MX\"\nexpect_address = [\"192.0.2.1\"]",
            "error: `192.0.2.1` is not what a query for this type finds|hint: change the type in `query`",
        ),
        (
            "type = \"exec\"\ncommand = \"probe -x\"",
            "error: `command` is a list: no shell takes it apart|hint: such as `[\"/usr/local/bin/probe\", \"--fast\"]`",
        ),
        (
            "type = \"exec\"\ncommand = []",
            "error: there is no program to run|hint: such as `[\"/usr/local/bin/probe\"]`",
        ),
        ("type = \"file\"", "error: `path` is missing in this check|hint: such as `path = \"health.state\"`"),
        (
            "type = \"any\"\nchecks = []",
            "error: there is nothing to calculate from|hint: such as `checks = [\"web\", \"ping\"]`",
        ),
        (
            "type = \"at-least\"\nat_least = 3\nchecks = [\"i\"]",
            "error: `at_least` is 3, and there are 1 `checks`|hint: it could never be up",
        ),
        (
            "type = \"any\"\nchecks = [\"i\", \"i\"]",
            "error: check `i` is in the list twice|hint: remove one of the two",
        ),
        ("type = \"any\"\nchecks = [\"j\"]", "error: unknown check `j`|hint: did you mean `i`?"),
    ] {
        let found = said(&format!("[checks.i]\ntype = \"icmp\"\n[checks.c]\n{keys}")).join("|");
        assert_eq!(found, expected, "{keys}");
    }
}

#[test]
fn circle_of_checks_is_shown_as_its_path() {
    check(
        r#"
version = 1
[checks.a]
type = "any"
checks = ["b", "c"]
[checks.b]
type = "all"
checks = ["a"]
[checks.c]
type = "icmp"
[pools.p]
check = "a"
realservers = [{ name = "a", address = "192.0.2.1" }]
"#,
        r#"
error: checks go in a circle: `a` → `b` → `a`
 --> fingerpost.toml:7:11
  |
7 | checks = ["a"]
  |           ^^^
hint: take one of them out of the `checks` of the one before it
"#,
    );
    assert_eq!(
        said("[checks.a]\ntype = \"any\"\nchecks = [\"a\"]"),
        ["error: checks go in a circle: `a` → `a`", "hint: take one of them out of the `checks` of the one before it"]
    );
}

#[test]
fn number_of_checks_that_one_is_calculated_from_has_a_limit_and_no_depth_is_a_crash() {
    let mut wide = "[checks.l0]\ntype = \"icmp\"\n[checks.m0]\ntype = \"icmp\"\n".to_owned();
    for level in 1..=9 {
        let below = level - 1;
        for name in ["l", "m"] {
            wide += &format!("[checks.{name}{level}]\ntype = \"any\"\nchecks = [\"l{below}\", \"m{below}\"]\n");
        }
    }
    let found = said(&wide);
    assert!(found.contains(&"error: check `l8` is calculated from more than 255".to_owned()), "{found:?}");
    let mut deep = "[checks.l0]\ntype = \"icmp\"\n".to_owned();
    let level = |level| format!("[checks.l{level}]\ntype = \"any\"\nchecks = [\"l{}\"]\n", level - 1);
    for levels in [(1..=5000).map(level).collect::<String>(), (1..=5000).rev().map(level).collect()] {
        let found = findings(&format!("version = 1\n{deep}{levels}"));
        assert!(found.contains("more than 8 checks are calculated from each other here"));
    }
    deep += &(1..=8).map(level).collect::<String>();
    assert_eq!(said(&deep), [""; 0], "eight are allowed");
}

#[test]
fn calculated_checks_have_those_that_they_name_in_order() {
    let config = read(
        "version = 1\n[checks.c]\ntype = \"at-least\"\nat_least = 2\nchecks = [\"b\", \"a\", \"d\"]\n[checks.a]\ntype = \"icmp\"\n\
         [checks.b]\ntype = \"icmp\"\n[checks.d]\ntype = \"any\"\nchecks = [\"a\"]\n",
    );
    let CheckKind::Calculated(Calculated { rule, checks }) = &config.checks[0].kind else { panic!("calculated") };
    let names: Vec<&str> = checks.iter().map(|check| &*check.name).collect();
    assert_eq!((*rule, names), (Rule::AtLeast(2), vec!["b", "a", "d"]));
}

#[test]
fn port_is_needed_by_those_checks_behind_a_calculated_one_that_need_it() {
    let toml = "version = 1\n[checks.t]\ntype = \"tcp\"\n[checks.i]\ntype = \"icmp\"\n[checks.c]\ntype = \"any\"\nchecks = [\"i\", \"t\"]\n\
        [pools.p]\ncheck = \"c\"\nrealservers = [{ name = \"a\", address = \"192.0.2.1\" }]\n";
    assert!(
        findings(toml).starts_with("error: realserver `a` has no port, and its check `t` needs one\n"),
        "{}",
        findings(toml)
    );
}

#[test]
fn ramp_where_nobody_shares_by_turns_is_a_warning() {
    let pool = |policy: &str| {
        format!(
            "version = 1\n[pools.p]\npolicy = \"{policy}\"\nramp = \"30s\"\nrealservers = [{{ name = \"a\", address = \"192.0.2.1\", port = 80 }}]\n"
        )
    };
    assert_eq!(findings(&pool("wrr")), "");
    let warning = "warning: `ramp` of pool `p` changes nothing: its policy `source-hash` does not share by turns\n";
    assert!(findings(&pool("source-hash")).starts_with(warning), "{}", findings(&pool("source-hash")));
    let listener = "[listeners.l]\nbind = \"192.0.2.1:80\"\npool = \"p\"\nscheduler = \"wrr\"\n";
    assert_eq!(findings(&(pool("source-hash") + listener)), "");
}

#[test]
fn only_relative_paths_to_programs_are_in_the_folder_of_the_file() {
    let program = |command: &str| {
        let text = format!("version = 1\n[checks.c]\ntype = \"exec\"\ncommand = [\"{command}\"]\n");
        let (config, _) = crate::config::parse("/etc/fp/fingerpost.toml".as_ref(), text).expect("valid");
        match &config.checks[0].kind {
            CheckKind::Exec(exec) => exec.command[0].to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(program("probe"), "probe");
    assert_eq!(program("/bin/probe"), "/bin/probe");
    assert_eq!(program("./bin/probe"), "/etc/fp/./bin/probe");
}
