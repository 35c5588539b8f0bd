//! Reads the tokens of one entry as names, texts and numbers.
//!
//! Also the scanner that the `domain` crate reads rdata with: its types see our tokens, so there is one splitter, one reading of escapes
//! and one origin, and an error points at the token that it is about.

use std::{borrow::Cow, fmt};

use domain::{
    base::{
        CharStr, Name,
        scan::{ConvertSymbols, EntrySymbol, Scanner, ScannerError, Symbol},
    },
    dep::octseq::str::Str,
};

use super::entry::Token;
use crate::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX, NameError};

/// The tokens of an entry from some point on.
#[derive(Clone, Debug)]
pub(super) struct Words<'e> {
    text: &'e str,
    tokens: &'e [Token],
    /// Index of the token to read next.
    at: usize,
    /// Appended to relative names.
    origin: &'e [u8],
}

/// What is wrong with the token read last, or with there being none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WordError(pub(super) Cow<'static, str>);

impl From<&'static str> for WordError {
    fn from(message: &'static str) -> Self {
        Self(message.into())
    }
}

impl From<NameError> for WordError {
    fn from(error: NameError) -> Self {
        Self(error.to_string().into())
    }
}

impl fmt::Display for WordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WordError {}

impl ScannerError for WordError {
    fn custom(message: &'static str) -> Self {
        message.into()
    }

    fn end_of_entry() -> Self {
        "something is missing at the end of this record".into()
    }

    fn short_buf() -> Self {
        Self::end_of_entry()
    }

    fn trailing_tokens() -> Self {
        "more than this record takes".into()
    }
}

impl<'e> Words<'e> {
    /// The tokens of `text`, names relative to `origin` (wire form).
    pub(super) fn new(text: &'e str, tokens: &'e [Token], origin: &'e [u8]) -> Self {
        Self { text, tokens, at: 0, origin }
    }

    /// The next token without reading it.
    pub(super) fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    /// Reads a token.
    pub(super) fn next_token(&mut self) -> Result<Token, WordError> {
        let token = self.peek().ok_or_else(WordError::end_of_entry)?;
        self.at += 1;
        Ok(token)
    }

    /// Reads a token as it is written, escapes and all.
    pub(super) fn word(&mut self) -> Result<&'e str, WordError> {
        let token = self.next_token()?;
        Ok(token.raw(self.text))
    }

    /// Reads a token if there is one.
    pub(super) fn opt_word(&mut self) -> Option<&'e str> {
        self.word().ok()
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Whether nothing was read since `before`.
    pub(super) fn is_at(&self, before: &Words<'_>) -> bool {
        self.at == before.at
    }

    /// Makes an error point at the first token: it is about the entry.
    pub(super) fn point_at_first(&mut self) {
        self.at = 1;
    }

    /// Whether `error` says that the entry ended too early.
    pub(super) fn is_missing(&self, error: &WordError) -> bool {
        self.is_at_end() && *error == WordError::end_of_entry()
    }

    /// Where an error is: the token read last, or the end of the entry if that was missing.
    pub(super) fn span(&self) -> (u32, u32) {
        match self.at.checked_sub(1).and_then(|last| self.tokens.get(last)) {
            Some(token) if token.is_quoted => (token.start - 1, token.end + 1),
            Some(token) => (token.start, token.end),
            None => (0, 0),
        }
    }

    /// The rest as it is written, tokens joined.
    pub(super) fn rest_joined(&mut self) -> Result<String, WordError> {
        let mut joined = self.word()?.to_owned();
        while let Some(word) = self.opt_word() {
            joined.push_str(word);
        }
        Ok(joined)
    }

    /// Reads a decimal number up to `max`.
    pub(super) fn number(&mut self, max: u32) -> Result<u32, WordError> {
        let word = self.word()?;
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let number = word.parse().ok().filter(|&number: &u32| is_number && number <= max);
        number.ok_or_else(|| WordError(format!("expected a number up to {max}, found `{word}`").into()))
    }

    /// Reads a name and appends its wire form, letters as written.
    pub(super) fn name(&mut self, wire: &mut Vec<u8>) -> Result<(), WordError> {
        let token = self.next_token()?;
        if token.is_quoted {
            return Err("expected a name, found quoted text".into());
        }
        Ok(append_name(token.raw(self.text), self.origin, wire)?)
    }

    /// Reads a token as octets, escapes resolved, and appends them.
    pub(super) fn octets(&mut self, octets: &mut Vec<u8>) -> Result<(), WordError> {
        let token = self.next_token()?;
        let raw = token.raw(self.text);
        if !token.has_escape {
            octets.extend_from_slice(raw.as_bytes());
            return Ok(());
        }
        let mut rest = raw.as_bytes();
        while let Some((octet, _, tail)) = next_octet(rest)? {
            octets.push(octet);
            rest = tail;
        }
        Ok(())
    }

    /// Reads a `<character-string>` and appends it with its length octet (RFC 1035 §3.3).
    pub(super) fn charstr(&mut self, wire: &mut Vec<u8>) -> Result<(), WordError> {
        let length_at = wire.len();
        wire.push(0);
        self.octets(wire)?;
        let length = u8::try_from(wire.len() - length_at - 1).map_err(|_| {
            WordError(Cow::Borrowed(
                "text is longer than 255 octets; write it as several quoted texts one after another",
            ))
        })?;
        if let Some(octet) = wire.get_mut(length_at) {
            *octet = length;
        }
        Ok(())
    }

    /// Whether the next token is `\#` (RFC 3597 §5); reads it if so.
    pub(super) fn take_unknown_marker(&mut self) -> bool {
        let is_marker = self.peek().is_some_and(|token| !token.is_quoted && token.raw(self.text) == r"\#");
        self.at += usize::from(is_marker);
        is_marker
    }

    /// Applies `op` to the symbols of one token.
    fn symbols(&mut self, mut op: impl FnMut(Symbol) -> Result<(), WordError>) -> Result<(), WordError> {
        let mut rest = self.next_token()?.raw(self.text).as_bytes();
        while let Some((octet, is_escaped, tail)) = next_octet(rest)? {
            op(if is_escaped || !octet.is_ascii() {
                Symbol::DecimalEscape(octet)
            } else {
                Symbol::Char(octet.into())
            })?;
            rest = tail;
        }
        Ok(())
    }
}

/// Appends `text` as a name in wire form: relative to `origin` unless it ends with a dot, letters as written, `@` for the origin.
pub(super) fn append_name(text: &str, origin: &[u8], wire: &mut Vec<u8>) -> Result<(), NameError> {
    let start = wire.len();
    let is_absolute = append_labels(text, wire)?;
    wire.extend_from_slice(if is_absolute { &[0] } else { origin });
    if wire.len() - start > NAME_OCTETS_MAX { Err(NameError::TooLong) } else { Ok(()) }
}

/// Appends the labels of `text` without a root label; returns whether it ended with a dot. `@` has no labels.
pub(super) fn append_labels(text: &str, wire: &mut Vec<u8>) -> Result<bool, NameError> {
    match text {
        "@" => return Ok(false),
        "." => return Ok(true),
        "" => return Err(NameError::EmptyLabel),
        _ => {}
    }
    let mut rest = text.as_bytes();
    let mut length_at = wire.len();
    wire.push(0);
    while let Some((octet, is_escaped, tail)) = next_octet(rest).map_err(|_| NameError::Escape)? {
        rest = tail;
        if octet != b'.' || is_escaped {
            wire.push(octet);
            continue;
        }
        close_label(wire, length_at)?;
        if rest.is_empty() {
            return Ok(true);
        }
        length_at = wire.len();
        wire.push(0);
    }
    close_label(wire, length_at)?;
    Ok(false)
}

fn close_label(wire: &mut [u8], length_at: usize) -> Result<(), NameError> {
    let length = wire.len() - length_at - 1;
    if length == 0 {
        return Err(NameError::EmptyLabel);
    }
    let octet = u8::try_from(length).ok().filter(|_| length <= LABEL_OCTETS_MAX).ok_or(NameError::LabelTooLong)?;
    if let Some(slot) = wire.get_mut(length_at) {
        *slot = octet;
    }
    Ok(())
}

/// An octet, whether it was escaped, and what follows it.
type Octet<'r> = (u8, bool, &'r [u8]);

/// The octet that `raw` starts with; `None` at its end.
fn next_octet(raw: &[u8]) -> Result<Option<Octet<'_>>, WordError> {
    let Some((&first, rest)) = raw.split_first() else { return Ok(None) };
    if first != b'\\' {
        return Ok(Some((first, false, rest)));
    }
    const ESCAPE: WordError =
        WordError(Cow::Borrowed("`\\` must be followed by a character or by three digits up to 255"));
    let (&second, rest_of_one) = rest.split_first().ok_or(ESCAPE)?;
    if !second.is_ascii_digit() {
        return Ok(Some((second, true, rest_of_one)));
    }
    let (digits, rest) =
        rest.split_first_chunk::<3>().filter(|(d, _)| d.iter().all(u8::is_ascii_digit)).ok_or(ESCAPE)?;
    let value = digits.iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok(Some((u8::try_from(value).map_err(|_| ESCAPE)?, true, rest)))
}

impl Scanner for Words<'_> {
    type Octets = Vec<u8>;
    type OctetsBuilder = Vec<u8>;
    type Name = Name<Vec<u8>>;
    type Error = WordError;

    fn has_space(&self) -> bool {
        self.peek().is_some_and(|token| !token.is_glued)
    }

    fn continues(&mut self) -> bool {
        !self.is_at_end()
    }

    fn scan_symbols<F: FnMut(Symbol) -> Result<(), WordError>>(&mut self, op: F) -> Result<(), WordError> {
        self.symbols(op)
    }

    fn scan_entry_symbols<F: FnMut(EntrySymbol) -> Result<(), WordError>>(
        &mut self,
        mut op: F,
    ) -> Result<(), WordError> {
        loop {
            self.symbols(|symbol| op(symbol.into()))?;
            op(EntrySymbol::EndOfToken)?;
            if self.is_at_end() {
                return Ok(());
            }
        }
    }

    fn convert_token<C: ConvertSymbols<Symbol, WordError>>(&mut self, mut convert: C) -> Result<Vec<u8>, WordError> {
        let mut octets = Vec::new();
        self.symbols(|symbol| {
            octets.extend_from_slice(convert.process_symbol(symbol)?.unwrap_or_default());
            Ok(())
        })?;
        octets.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(octets)
    }

    fn convert_entry<C: ConvertSymbols<EntrySymbol, WordError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Vec<u8>, WordError> {
        let mut octets = Vec::new();
        while !self.is_at_end() {
            self.symbols(|symbol| {
                octets.extend_from_slice(convert.process_symbol(symbol.into())?.unwrap_or_default());
                Ok(())
            })?;
        }
        octets.extend_from_slice(convert.process_tail()?.unwrap_or_default());
        Ok(octets)
    }

    fn scan_octets(&mut self) -> Result<Vec<u8>, WordError> {
        let mut octets = Vec::new();
        self.octets(&mut octets)?;
        Ok(octets)
    }

    fn scan_svcb_octets(&mut self) -> Result<Vec<u8>, WordError> {
        let mut octets = self.scan_octets()?;
        // `key="quoted value"` is two tokens without space between them.
        while self.peek().is_some_and(|token| token.is_glued) {
            self.octets(&mut octets)?;
        }
        Ok(octets)
    }

    fn scan_ascii_str<F: FnOnce(&str) -> Result<T, WordError>, T>(&mut self, op: F) -> Result<T, WordError> {
        let octets = self.scan_octets()?;
        let text = std::str::from_utf8(&octets).ok().filter(|text| text.is_ascii());
        op(text.ok_or(WordError(Cow::Borrowed("expected ASCII letters and digits")))?)
    }

    fn scan_name(&mut self) -> Result<Name<Vec<u8>>, WordError> {
        let mut wire = Vec::new();
        self.name(&mut wire)?;
        Name::from_octets(wire).map_err(|_| WordError(Cow::Borrowed("not a name")))
    }

    fn scan_charstr(&mut self) -> Result<CharStr<Vec<u8>>, WordError> {
        CharStr::from_octets(self.scan_octets()?)
            .map_err(|_| WordError(Cow::Borrowed("text is longer than 255 octets")))
    }

    fn scan_string(&mut self) -> Result<Str<Vec<u8>>, WordError> {
        Str::from_utf8(self.scan_octets()?).map_err(|_| WordError(Cow::Borrowed("text is not UTF-8")))
    }

    fn scan_charstr_entry(&mut self) -> Result<Vec<u8>, WordError> {
        let mut wire = Vec::new();
        self.charstr(&mut wire)?;
        while !self.is_at_end() {
            self.charstr(&mut wire)?;
        }
        Ok(wire)
    }

    fn scan_opt_unknown_marker(&mut self) -> Result<bool, WordError> {
        Ok(self.take_unknown_marker())
    }

    fn octets_builder(&mut self) -> Result<Vec<u8>, WordError> {
        Ok(Vec::new())
    }
}
