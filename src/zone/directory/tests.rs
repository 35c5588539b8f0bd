//! A directory in time: files are written, looked at, and looked at again later; `now` is a number, nobody sleeps.

use std::{
    fs::{File, create_dir, remove_file, rename, write},
    os::unix::fs::symlink,
    time::SystemTime,
};

use tempfile::TempDir;

use super::*;

const A: &str = "a.example.zone";
const B: &str = "b.example.zone";

struct World {
    disk: TempDir,
    directory: Directory,
    start: Instant,
    n_written: u64,
}

impl World {
    /// An empty directory that was looked at when nothing was there.
    fn new() -> Self {
        let disk = TempDir::new().expect("directory");
        let directory = Directory::new(disk.path());
        Self { disk, directory, start: Instant::now(), n_written: 0 }
    }

    /// A directory with one zone, loaded at 0 ms.
    fn with_zone() -> Self {
        let mut world = Self::new();
        world.write(A, &zone(1, ""));
        world.check(0, "loaded a.example. 1");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// Writes a file; no two writes have the same time, however fast they follow each other.
    fn write(&mut self, name: &str, text: &str) {
        write(self.path(name), text).expect(name);
        self.n_written += 1;
        let file = File::options().write(true).open(self.path(name)).expect(name);
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(self.n_written)).expect(name);
    }

    fn show(&self, changes: Vec<Change>) -> String {
        let root = format!("{}/", self.disk.path().display());
        let findings = |diagnostics: &Diagnostics| {
            diagnostics.0.iter().map(|found| format!(": {}", found.one_line().replace(&root, ""))).collect::<String>()
        };
        let lines: Vec<String> = changes
            .into_iter()
            .map(|change| match change {
                Change::Loaded { zone, warnings, .. } => {
                    format!("loaded {} {}{}", zone.apex(), zone.serial(), findings(&warnings))
                }
                Change::Broken { path, diagnostics } => {
                    let name = path.strip_prefix(&root).map_or(String::new(), |name| name.display().to_string());
                    format!("broken {name}{}", findings(&diagnostics))
                }
                Change::Removed { apex } => format!("removed {apex}"),
            })
            .collect();
        lines.join("\n").replace(root.trim_end_matches('/'), "DIR")
    }

    /// Looks so many milliseconds after the start.
    fn check(&mut self, at: u64, expected: &str) {
        let changes = self.directory.rescan(self.start + Duration::from_millis(at));
        assert_eq!(self.show(changes), expected, "at {at} ms");
    }

    fn check_reload(&mut self, at: u64, expected: &str) {
        let changes = self.directory.reload(self.start + Duration::from_millis(at));
        assert_eq!(self.show(changes), expected, "reload at {at} ms");
    }

    fn check_next(&self, expected: Option<u64>) {
        assert_eq!(self.directory.next_rescan(), expected.map(Duration::from_millis));
    }
}

fn zone(serial: u32, records: &str) -> String {
    format!("$TTL 300\n@ SOA ns h {serial} 2 3 4 60\n@ NS ns\nns A 192.0.2.1\n{records}")
}

#[test]
fn first_look_takes_what_is_there_and_later_ones_only_what_changed() {
    let mut world = World::new();
    world.write(B, &zone(7, ""));
    world.write(A, &zone(1, ""));
    world.check(0, "loaded a.example. 1\nloaded b.example. 7");
    world.check_next(None);
    world.check(1000, "");
}

#[test]
fn changed_file_is_read_once_it_is_still() {
    let mut world = World::with_zone();
    world.write(A, &zone(2, "half"));
    world.check(1000, "");
    world.check_next(Some(100));
    world.write(A, &zone(2, "www A 192.0.2.2\n"));
    world.check(1090, "");
    world.check_next(Some(100));
    world.check(1189, "");
    world.check_next(Some(1));
    world.check(1190, "loaded a.example. 2");
    world.check(1300, "");
}

#[test]
fn new_file_is_read_once_it_is_still() {
    let mut world = World::with_zone();
    world.write(B, &zone(1, ""));
    world.check(1000, "");
    world.check(1100, "loaded b.example. 1");
}

#[test]
fn touched_file_with_the_same_content_is_no_change() {
    let mut world = World::with_zone();
    world.write(A, &zone(1, ""));
    world.check(1000, "");
    world.check(1100, "");
    world.check_next(None);
    world.check(1200, "");
}

#[test]
fn serial_that_does_not_go_up_is_a_warning() {
    let mut world = World::with_zone();
    let warning = "a.example.zone:2:1: serial 1 did not go up from 1";
    world.write(A, &zone(1, "www A 192.0.2.2\n"));
    world.check(1000, "");
    world.check(1100, &format!("loaded a.example. 1: {warning}"));
    world.write(A, &zone(0x8000_0000, ""));
    world.check_reload(1200, "loaded a.example. 2147483648");
    world.write(A, &zone(0xffff_ffff, ""));
    world.check_reload(1300, "loaded a.example. 4294967295");
    // RFC 1982: 3 comes after the highest number.
    world.write(A, &zone(3, ""));
    world.check_reload(1400, "loaded a.example. 3");
}

#[test]
fn broken_file_is_reported_once_and_leaves_the_zone() {
    let mut world = World::with_zone();
    world.write(A, &zone(2, "www A x\n"));
    world.check(1000, "");
    let broken = "broken a.example.zone: a.example.zone:5:7: expected an IPv4 address, found `x`";
    world.check(1100, broken);
    world.check(1200, "");
    world.write(A, &zone(2, "www A x\n"));
    world.check(1300, "");
    world.check(1400, "");
    world.check_reload(1500, broken);
    // Going back is news although the zone itself is not: it was broken in between.
    world.write(A, &zone(1, ""));
    world.check_reload(1600, "loaded a.example. 1");
}

#[test]
fn file_that_is_gone_takes_its_zone_out_after_a_grace() {
    let mut world = World::with_zone();
    remove_file(world.path(A)).expect("remove");
    world.check(1000, "");
    world.check_next(Some(2000));
    world.check(2999, "");
    world.check_next(Some(1));
    world.check(3000, "removed a.example.\nbroken : no zones in `DIR`: a zone is a file named `*.zone`");
    world.check(4000, "");
    world.write(A, &zone(1, ""));
    world.check(5000, "");
    world.check(5100, "loaded a.example. 1");
}

#[test]
fn reload_takes_a_zone_out_at_once() {
    let mut world = World::with_zone();
    world.write(B, &zone(1, ""));
    world.check_reload(10, "loaded b.example. 1");
    remove_file(world.path(B)).expect("remove");
    world.check_reload(20, "removed b.example.");
}

#[test]
fn editors_ways_of_saving_never_take_a_zone_out() {
    let mut world = World::with_zone();
    // Away and back, as vim with a backup copy.
    rename(world.path(A), world.path("a.example.zone~")).expect("rename");
    world.write("4913", "");
    world.write(".a.example.zone.swp", "x");
    world.write("#a.example.zone#", "x");
    world.check(1000, "");
    world.write(A, &zone(2, ""));
    world.check(1050, "");
    world.check(1150, "loaded a.example. 2");
    // Over it, as most others.
    world.write("a.example.zone.tmp", &zone(3, ""));
    rename(world.path("a.example.zone.tmp"), world.path(A)).expect("rename");
    world.check(5000, "");
    world.check(5100, "loaded a.example. 3");
}

#[test]
fn only_files_named_zone_are_zones() {
    for (name, expected) in [
        ("example.org.zone", true),
        ("2.0.192.in-addr.arpa.zone", true),
        (".zone", false),
        (".example.org.zone", false),
        ("#example.org.zone#", false),
        ("#example.org.zone", false),
        ("example.org.zone~", false),
        ("example.org.zone.swp", false),
        ("example.org", false),
        ("4913", false),
    ] {
        assert_eq!(is_zone_file_name(OsStr::new(name)), expected, "{name}");
    }
}

#[test]
fn of_two_files_with_one_apex_the_first_stays() {
    let mut world = World::with_zone();
    let same = format!("$ORIGIN a.example.\n{}", zone(5, ""));
    world.write(B, &same);
    world.check(1000, "");
    world.check(
        1100,
        "broken b.example.zone: b.example.zone:3:1: zone `a.example.` is served from `a.example.zone` already",
    );
    world.check(1200, "");
    // The first is gone: the second takes its place, without a gap.
    remove_file(world.path(A)).expect("remove");
    world.check(2000, "loaded a.example. 5");
    world.check(5000, "");
}

#[test]
fn renamed_file_keeps_its_zone() {
    let mut world = World::new();
    world.write(A, &format!("$ORIGIN c.example.\n{}", zone(5, "")));
    world.check(0, "loaded c.example. 5");
    rename(world.path(A), world.path(B)).expect("rename");
    world.check(1000, "");
    world.check(1100, "loaded c.example. 5");
    world.check(9000, "");
}

#[test]
fn file_whose_apex_changes_takes_the_old_zone_out() {
    let mut world = World::with_zone();
    world.write(B, &format!("$ORIGIN a.example.\n{}", zone(5, "")));
    world.check_reload(
        100,
        "broken b.example.zone: b.example.zone:3:1: zone `a.example.` is served from `a.example.zone` already",
    );
    world.write(A, &format!("$ORIGIN c.example.\n{}", zone(1, "")));
    world.check(1000, "");
    world.check(1100, "loaded c.example. 1\nloaded a.example. 5");
    world.write(B, &format!("$ORIGIN d.example.\n{}", zone(5, "")));
    world.check_reload(2000, "loaded d.example. 5\nremoved a.example.");
}

#[test]
fn included_file_is_part_of_the_zone() {
    let mut world = World::new();
    create_dir(world.path("parts")).expect("directory");
    world.write("parts/www.inc", "www A 192.0.2.2\n$INCLUDE deep.inc sub\nmail A 192.0.2.3\n");
    world.write("parts/deep.inc", "@ A 192.0.2.4\n");
    world.write(A, &zone(1, "$INCLUDE parts/www.inc\n"));
    world.check(0, "loaded a.example. 1");
    world.write("parts/deep.inc", "@ A 192.0.2.5\n");
    world.check(1000, "");
    world.check(1100, "loaded a.example. 1: a.example.zone:2:1: serial 1 did not go up from 1");
    world.write("parts/deep.inc", "@ A x\n");
    world.check(2000, "");
    world.check(2100, "broken a.example.zone: parts/deep.inc:1:5: expected an IPv4 address, found `x`");
    remove_file(world.path("parts/deep.inc")).expect("remove");
    world.check(3000, "");
    let missing = "parts/www.inc:2:10: cannot read `deep.inc`: No such file or directory (os error 2)";
    world.check(3100, &format!("broken a.example.zone: {missing}"));
    world.check(3200, "");
    world.write("parts/deep.inc", "@ A 192.0.2.5\n");
    world.check(4000, "");
    world.check(4100, "loaded a.example. 1");
}

#[test]
fn include_never_leaves_the_zone_directory() {
    let mut world = World::new();
    let outside = TempDir::new().expect("directory");
    write(outside.path().join("secret"), "www A 192.0.2.2\n").expect("file");
    symlink(outside.path().join("secret"), world.path("link.inc")).expect("link");
    let up = format!("../{}/secret", outside.path().file_name().expect("name").to_string_lossy());
    for named in [up, outside.path().join("secret").display().to_string(), "link.inc".to_owned()] {
        world.write(A, &zone(1, &format!("$INCLUDE {named}\n")));
        let error = format!("broken a.example.zone: a.example.zone:5:10: `{named}` is outside the zone directory");
        world.check_reload(0, &error);
    }
}

#[test]
fn includes_are_bounded_in_depth_and_never_go_round() {
    let mut world = World::new();
    for depth in 1..10 {
        world.write(&format!("{depth}.inc"), &format!("$INCLUDE {}.inc\n", depth + 1));
    }
    world.write(A, &zone(1, "$INCLUDE 1.inc\n"));
    world.check_reload(0, "broken a.example.zone: 8.inc:1:10: files include each other more than 8 deep");
    world.write("8.inc", "");
    world.check_reload(1, "loaded a.example. 1");
    world.write("8.inc", "$INCLUDE 8.inc");
    world.check_reload(2, "broken a.example.zone: 8.inc:1:10: `8.inc` includes itself");
    world.write("8.inc", "$INCLUDE a.example.zone");
    world.check_reload(3, "broken a.example.zone: 8.inc:1:10: `a.example.zone` includes itself");
}

#[test]
fn what_is_no_readable_file_is_reported_once() {
    let mut world = World::with_zone();
    create_dir(world.path(B)).expect("directory");
    world.check(1000, "");
    world.check(1100, "broken b.example.zone: cannot read zone file `b.example.zone`: not a regular file");
    world.check(1200, "");
    write(world.path("c.example.zone"), b"x\n\xff").expect("file");
    world.check(2000, "");
    world.check(
        2100,
        "broken c.example.zone: cannot read zone file `c.example.zone`: not UTF-8 on line 2; write other octets as `\\DDD`",
    );
    symlink("nowhere", world.path("d.example.zone")).expect("link");
    world.check(3000, "");
    world.check(3100, "");
    world.check_next(None);
}

#[test]
fn directory_that_cannot_be_read_keeps_its_zones() {
    let mut world = World::with_zone();
    let (here, away) = (world.disk.path().to_owned(), world.disk.path().with_extension("away"));
    rename(&here, &away).expect("rename");
    world.check(1000, "broken : cannot read zone directory `DIR`: No such file or directory (os error 2)");
    world.check(9000, "");
    rename(&away, &here).expect("rename");
    world.check(10_000, "");
    world.write(A, &zone(2, ""));
    world.check_reload(11_000, "loaded a.example. 2");
}

#[test]
fn load_all_gives_every_zone_and_every_finding() {
    let mut world = World::new();
    world.write(A, &zone(1, "www MX 10 alias\nalias CNAME ns\n"));
    world.write(B, &zone(1, "x"));
    let (zones, diagnostics) = load_all(world.disk.path());
    assert_eq!(zones.iter().map(|zone| zone.apex().to_string()).collect::<Vec<_>>(), ["a.example."]);
    assert_eq!(diagnostics.counts(), (1, 1));
    let (zones, diagnostics) = load_all(&world.path("nowhere"));
    assert!(zones.is_empty());
    assert_eq!(diagnostics.counts(), (1, 0));
}
