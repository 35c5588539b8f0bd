//! Reads a master file (RFC 1035 §5): directives, owners, TTLs, classes and types; record data is read by [`rdata`].
//!
//! All mistakes are collected; one entry with a mistake does not hide those in the next. Rules between records are not judged here.

use std::{ops::Range, path::Path, rc::Rc};

use super::{
    POOL, Zone,
    build::{Builder, pool_use},
    entry::{Entry, Splitter, Token},
    findings::{FileId, Findings, Spot, Text},
    generate::{GENERATED_MAX, Generate},
    include::{Include, Includes},
    rdata, rtype,
    tree::{Full, NodeId},
    ttl::parse_ttl,
    words::{self, WordError, Words},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    name::{NAME_OCTETS_MAX, Name, NameError},
    types::Ttl,
};

/// What became of a zone's file, and which other files it was made of.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) zone: Result<(Zone, Diagnostics), Diagnostics>,
    /// Every file that `$INCLUDE` named, found or not.
    pub(super) includes: Vec<Include>,
    /// The SOA's place in the zone's own file, unless it is in an included one.
    pub(super) soa: Option<Range<usize>>,
}

/// Reads the zone in `text`, the content of the file at `path`.
pub(super) fn scan(path: &Path, text: &str) -> Scanned {
    scan_as(path, text, false)
}

/// The same of what a primary has sent, when `is_copy`: then what it does wrong is only strange, as far as it can be served.
pub(super) fn scan_as(path: &Path, text: &str, is_copy: bool) -> Scanned {
    let mut findings = Findings::default();
    let refuse =
        |message: String| Scanned { zone: Err(Diagnostic::bare(message).into()), includes: Vec::new(), soa: None };
    if u32::try_from(text.len()).is_err() {
        return refuse(format!("{}: zone file is larger than 4 GiB", path.display()));
    }
    let origin = match origin_of(path) {
        Ok(origin) => origin,
        Err(error) => {
            return refuse(format!("{}: file is named after its zone, but this is no name: {error}", path.display()));
        }
    };
    let Some(file) = findings.add_file(path, Text::Borrowed(text)) else {
        return refuse("no room for a file".to_owned());
    };
    let mut scan = Scan {
        findings,
        builder: Builder::new(text.len(), is_copy),
        default_ttl: None,
        last_ttl: None,
        soa_minimum: None,
        includes: Includes::of_zone(path),
    };
    scan.read_file(file, text, path, Origin::new(origin.as_wire()));
    let Scan { mut findings, builder, includes, .. } = scan;
    let soa = builder.soa_spot().filter(|spot| spot.file == file).map(|spot| spot.start as usize..spot.end as usize);
    let zone = if findings.is_full() { None } else { builder.finish(&mut findings) };
    let diagnostics = findings.into_diagnostics();
    let zone = match zone {
        Some(zone) => Ok((zone, diagnostics)),
        None => Err(diagnostics),
    };
    Scanned { zone, includes: includes.into_files(), soa }
}

/// The origin that a zone's file starts with: its name without `.zone`.
fn origin_of(path: &Path) -> Result<Name, NameError> {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    file_name.strip_suffix(".zone").unwrap_or(&file_name).parse()
}

/// What is read so far, and what later entries take from earlier ones.
struct Scan<'t> {
    findings: Findings<'t>,
    builder: Builder,
    /// From `$TTL`.
    default_ttl: Option<Ttl>,
    /// The last TTL that a record stated.
    last_ttl: Option<Ttl>,
    soa_minimum: Option<Ttl>,
    includes: Includes,
}

/// The name that relative names are relative to.
#[derive(Clone, Debug)]
struct Origin {
    wire: Rc<[u8]>,
    /// Its node once a record has needed it: an origin alone makes no name exist.
    node: Option<NodeId>,
}

impl Origin {
    fn new(wire: &[u8]) -> Self {
        Self { wire: wire.into(), node: None }
    }
}

/// Where a file's reading stands.
struct Reading<'f> {
    file: FileId,
    path: &'f Path,
    origin: Origin,
    last_owner: Option<NodeId>,
    /// Reused from owner to owner.
    labels: Vec<u8>,
}

/// The text that an entry's tokens are in, and where to point when something in it is wrong.
struct Line<'e> {
    text: &'e str,
    tokens: &'e [Token],
    entry: Entry,
    /// For a generated line its directive; the text itself is in no file.
    origin_spot: Option<Spot>,
}

impl Line<'_> {
    fn spot(&self, file: FileId, start: u32, end: u32) -> Spot {
        self.origin_spot.unwrap_or(Spot { file, start, end })
    }

    fn whole(&self, file: FileId) -> Spot {
        self.spot(file, self.entry.start, self.entry.end)
    }
}

/// An entry that cannot be used: the words tell where.
struct Refused {
    message: String,
    hint: Option<String>,
}

impl From<WordError> for Refused {
    fn from(error: WordError) -> Self {
        Self { message: error.0.into_owned(), hint: None }
    }
}

impl From<NameError> for Refused {
    fn from(error: NameError) -> Self {
        Self { message: error.to_string(), hint: None }
    }
}

impl From<Full> for Refused {
    fn from(_: Full) -> Self {
        Self { message: "zone is too large: more than 4 GiB of names or records".to_owned(), hint: None }
    }
}

impl From<&str> for Refused {
    fn from(message: &str) -> Self {
        Self { message: message.to_owned(), hint: None }
    }
}

impl Refused {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Scan<'_> {
    fn read_file(&mut self, file: FileId, text: &str, path: &Path, origin: Origin) {
        let mut reading = Reading { file, path, origin, last_owner: None, labels: Vec::new() };
        let mut splitter = Splitter::new(text);
        let mut tokens = Vec::new();
        while !self.findings.is_full()
            && let Some(entry) = splitter.next_entry(&mut tokens)
        {
            match entry {
                Ok(entry) => self.read_entry(&mut reading, &Line { text, tokens: &tokens, entry, origin_spot: None }),
                Err(error) => {
                    let spot = Spot { file, start: error.start, end: error.end };
                    self.findings.error_hint(spot, error.message, error.hint);
                }
            }
        }
    }

    fn read_entry(&mut self, reading: &mut Reading<'_>, line: &Line<'_>) {
        let origin = reading.origin.wire.clone();
        let mut words = Words::new(line.text, line.tokens, &origin);
        let is_directive = line.entry.starts_line
            && line.origin_spot.is_none()
            && words.peek().is_some_and(|token| !token.is_quoted && token.raw(line.text).starts_with('$'));
        let outcome = if is_directive {
            self.read_directive(reading, line, &mut words)
        } else {
            self.read_record(reading, line, &mut words)
        };
        if let Err(refused) = outcome {
            let (start, end) = words.span();
            let spot = line.spot(reading.file, start, end);
            let message = match line.origin_spot {
                Some(_) => format!("{} in generated `{}`", refused.message, line.text),
                None => refused.message,
            };
            match refused.hint {
                Some(hint) => self.findings.error_hint(spot, message, hint),
                None => self.findings.error(spot, message),
            }
        }
    }

    fn read_directive(
        &mut self,
        reading: &mut Reading<'_>,
        line: &Line<'_>,
        words: &mut Words<'_>,
    ) -> Result<(), Refused> {
        let directive = words.word()?;
        match directive.to_ascii_uppercase().as_str() {
            "$ORIGIN" => {
                let mut wire = Vec::new();
                words.name(&mut wire)?;
                reading.origin = Origin::new(&wire);
            }
            "$TTL" => {
                let word = words.word()?;
                self.default_ttl = Some(parse_ttl(word).ok_or_else(|| bad_ttl(word))?);
            }
            "$INCLUDE" => return self.include(reading, words),
            "$GENERATE" => return self.generate(reading, line, words),
            _ => {
                let hint = "known: `$ORIGIN`, `$TTL`, `$INCLUDE`, `$GENERATE`";
                return Err(Refused::from(format!("unknown directive `{directive}`").as_str()).hint(hint));
            }
        }
        end_of_directive(words)
    }

    fn include(&mut self, reading: &mut Reading<'_>, words: &mut Words<'_>) -> Result<(), Refused> {
        let mut path = Vec::new();
        words.octets(&mut path)?;
        let path_at = words.clone();
        let mut wire = Vec::new();
        if words.is_at_end() {
            wire.extend_from_slice(&reading.origin.wire);
        } else {
            words.name(&mut wire)?;
        }
        end_of_directive(words)?;
        let file = self.includes.open(reading.path, &String::from_utf8_lossy(&path)).map_err(|error| {
            *words = path_at;
            Refused { message: error.message, hint: error.hint.map(str::to_owned) }
        })?;
        let text: Rc<str> = file.text.into();
        let id = self.findings.add_file(&file.path, Text::Shared(text.clone())).ok_or(Full)?;
        self.read_file(id, &text, &file.path, Origin::new(&wire));
        self.includes.close();
        Ok(())
    }

    fn generate(&mut self, reading: &mut Reading<'_>, line: &Line<'_>, words: &mut Words<'_>) -> Result<(), Refused> {
        let range = words.word()?;
        let generate = Generate::parse(range).ok_or_else(|| {
            let message =
                format!("expected `start-stop` or `start-stop/step`, at most {GENERATED_MAX} records, found `{range}`");
            Refused::from(message.as_str())
        })?;
        let template = line.tokens.get(2..).unwrap_or_default();
        if template.len() < 3 {
            return Err("$GENERATE takes a range, an owner, a type and record data".into());
        }
        let mut tokens = Vec::new();
        for number in generate.numbers() {
            let text =
                generate.expand(line.text, template, number).map_err(|message| Refused::from(message.as_str()))?;
            let mut splitter = Splitter::new(&text);
            let origin_spot = Some(line.whole(reading.file));
            // Escapes that make a name start with a blank do not make it an owner left out.
            match splitter.next_entry(&mut tokens) {
                Some(Ok(entry)) => self.read_entry(reading, &Line { text: &text, tokens: &tokens, entry, origin_spot }),
                _ => return Err(Refused::from(format!("`{text}` is no record").as_str())),
            }
            if self.findings.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn read_record(
        &mut self,
        reading: &mut Reading<'_>,
        line: &Line<'_>,
        words: &mut Words<'_>,
    ) -> Result<(), Refused> {
        let owner = if line.entry.starts_line { Some(self.read_owner(reading, line, words)?) } else { None };
        let head = read_head(words);
        // What follows may leave its owner out and mean this one, whatever is wrong with this record.
        let node = match owner {
            Some(owner) => self.node_of(reading, owner)?,
            None => reading.last_owner.ok_or_else(|| {
                Refused::from("first record has no owner")
                    .hint("a line that starts with a space continues the owner above")
            })?,
        };
        reading.last_owner = Some(node);
        let Head { ttl: stated_ttl, rtype } = head?;
        let Some(rtype) = rtype else { return self.read_pool(reading, line, words, node, stated_ttl) };
        let start = self.builder.rdata().len();
        let wire = self.builder.rdata();
        if let Err(error) = rdata::read(words, rtype, wire) {
            wire.truncate(start);
            let message = match words.is_missing(&error) {
                true => format!("{} record ends early", rtype::show(rtype)),
                false => error.0.into_owned(),
            };
            return Err(Refused { message, hint: None });
        }
        if rtype == rtype::SOA && self.soa_minimum.is_none() {
            self.soa_minimum = wire.last_chunk().map(|minimum| Ttl::from_wire(u32::from_be_bytes(*minimum)));
        }
        let ttl = self.ttl(stated_ttl, words)?;
        Ok(self.builder.add(node, rtype, ttl, start, line.whole(reading.file))?)
    }

    fn read_pool(
        &mut self,
        reading: &Reading<'_>,
        line: &Line<'_>,
        words: &mut Words<'_>,
        node: NodeId,
        stated_ttl: Option<Ttl>,
    ) -> Result<(), Refused> {
        let name = words
            .word()
            .map_err(|_| Refused::from("POOL record ends early").hint("write the name of a pool: `www POOL web`"))?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            let hint = "a pool's name is made of letters, digits, `-` and `_`";
            return Err(Refused::from(format!("`{name}` is no name of a pool").as_str()).hint(hint));
        }
        let (start, end) = words.span();
        let spot = line.spot(reading.file, start, end);
        if !words.is_at_end() {
            words.next_token()?;
            return Err(
                Refused::from("a POOL record names one pool").hint("a pool of pools is made in the configuration")
            );
        }
        let ttl = self.ttl(stated_ttl, words)?;
        let (findings, entry) = (&self.findings, line.entry);
        let place = || match line.origin_spot {
            None => pool_use(findings, name, spot, entry.line, entry.start),
            Some(directive) => pool_use(findings, name, directive, findings.line_number(directive), directive.start),
        };
        Ok(self.builder.add_pool(node, ttl, name, line.whole(reading.file), place)?)
    }

    /// The TTL of a record: its own, else `$TTL` (RFC 2308 §4), else the last one stated (RFC 1035 §5.1), else the SOA's MINIMUM.
    fn ttl(&mut self, stated: Option<Ttl>, words: &mut Words<'_>) -> Result<Ttl, Refused> {
        if stated.is_some() {
            self.last_ttl = stated;
        }
        stated.or(self.default_ttl).or(self.last_ttl).or(self.soa_minimum).ok_or_else(|| {
            words.point_at_first();
            Refused::from("no TTL").hint("write `$TTL 300` at the top of the file")
        })
    }

    /// Reads the labels of the owner into `reading.labels`, in lower case; returns whether the name is absolute.
    fn read_owner(
        &mut self,
        reading: &mut Reading<'_>,
        line: &Line<'_>,
        words: &mut Words<'_>,
    ) -> Result<bool, Refused> {
        let token = words.next_token()?;
        if token.is_quoted {
            return Err("expected a name, found quoted text".into());
        }
        reading.labels.clear();
        let is_absolute = words::append_labels(token.raw(line.text), &mut reading.labels)?;
        reading.labels.make_ascii_lowercase();
        let rest_octets = if is_absolute { 1 } else { reading.origin.wire.len() };
        if reading.labels.len() + rest_octets > NAME_OCTETS_MAX {
            Err(NameError::TooLong.into())
        } else {
            Ok(is_absolute)
        }
    }

    /// The node of the owner in `reading.labels`, made if it is not there yet.
    fn node_of(&mut self, reading: &mut Reading<'_>, is_absolute: bool) -> Result<NodeId, Full> {
        let top = match (is_absolute, reading.origin.node) {
            (true, _) => NodeId::ROOT,
            (false, Some(node)) => node,
            (false, None) => {
                let mut wire = reading.origin.wire.to_ascii_lowercase();
                wire.pop();
                let node = descend(&mut self.builder, NodeId::ROOT, &wire)?;
                reading.origin.node = Some(node);
                node
            }
        };
        descend(&mut self.builder, top, &reading.labels)
    }
}

/// The node of `labels`, wire form without the root label, below `top`.
fn descend(builder: &mut Builder, top: NodeId, labels: &[u8]) -> Result<NodeId, Full> {
    // Most owners are one label below the origin.
    let Some((&length, rest)) = labels.split_first() else { return Ok(top) };
    let Some((label, below)) = rest.split_at_checked(usize::from(length)) else { return Ok(top) };
    let parent = if below.is_empty() { top } else { descend(builder, top, below)? };
    builder.tree.child_or_insert(parent, label)
}

/// TTL and type of a record.
struct Head {
    ttl: Option<Ttl>,
    /// `None` for POOL.
    rtype: Option<u16>,
}

/// Reads `[TTL] [class] type` or `[class] [TTL] type` (RFC 1035 §5.1).
fn read_head(words: &mut Words<'_>) -> Result<Head, Refused> {
    let mut ttl = None;
    let mut has_class = false;
    loop {
        let word = words.word().map_err(|_| Refused::from("record has no type"))?;
        if word.starts_with(|first: char| first.is_ascii_digit()) && ttl.is_none() {
            ttl = Some(parse_ttl(word).ok_or_else(|| bad_ttl(word))?);
            continue;
        }
        if !has_class && is_internet(word)? {
            has_class = true;
            continue;
        }
        if word.eq_ignore_ascii_case(POOL) {
            return Ok(Head { ttl, rtype: None });
        }
        let Some(rtype) = rtype::parse(word) else {
            let hint =
                "a record is `owner TTL class type data`; a line that continues the owner above starts with a space";
            return Err(Refused::from(format!("unknown record type `{word}`").as_str()).hint(hint));
        };
        if !rtype::is_for_zones(rtype) {
            return Err(Refused::from(format!("a zone cannot hold records of type `{word}`").as_str()));
        }
        return Ok(Head { ttl, rtype: Some(rtype) });
    }
}

/// Whether `word` is the class IN; any other class is refused.
fn is_internet(word: &str) -> Result<bool, Refused> {
    if word.eq_ignore_ascii_case("IN") || word.eq_ignore_ascii_case("CLASS1") {
        return Ok(true);
    }
    let is_other = ["CH", "HS", "CS"].iter().any(|class| word.eq_ignore_ascii_case(class))
        || word.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("CLASS"));
    if is_other { Err(format!("class `{word}` is not served; only `IN` is").as_str().into()) } else { Ok(false) }
}

fn bad_ttl(word: &str) -> Refused {
    Refused::from(format!("`{word}` is no TTL").as_str()).hint("seconds up to 2147483647, or a time such as `1h30m`")
}

fn end_of_directive(words: &mut Words<'_>) -> Result<(), Refused> {
    if words.is_at_end() {
        return Ok(());
    }
    words.next_token()?;
    Err("more than this directive takes".into())
}
