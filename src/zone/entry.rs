//! Splits a master file into entries and an entry into tokens (RFC 1035 §5.1): parentheses, quotes, comments, escapes, line ends.
//!
//! Knows nothing of what an entry means. Tokens are byte ranges, so that whatever is wrong with one can be pointed at.

/// One word of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// First byte, after the quote of a quoted token.
    pub(super) start: u32,
    /// After the last byte, before the closing quote.
    pub(super) end: u32,
    pub(super) is_quoted: bool,
    /// Holds a `\`.
    pub(super) has_escape: bool,
    /// Nothing, not even white space, stands between this token and the one before.
    pub(super) is_glued: bool,
}

impl Token {
    /// The bytes as written, escapes and all.
    pub(super) fn raw(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A record or directive; its tokens are elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// First byte of the first token.
    pub(super) start: u32,
    /// After the last byte of the last token.
    pub(super) end: u32,
    /// Line of the first token, from 1.
    pub(super) line: u32,
    /// The first token stands at the start of its line: it is the owner or a directive.
    pub(super) starts_line: bool,
}

/// Text that cannot be split; the splitter goes on with the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SplitError {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) message: &'static str,
    pub(super) hint: &'static str,
}

/// Goes through a file, entry by entry.
#[derive(Debug)]
pub(super) struct Splitter<'t> {
    text: &'t str,
    at: usize,
    line: u32,
}

/// What a byte is outside quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Blank,
    Newline,
    Comment,
    Open,
    Close,
    Quote,
    Escape,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Word; 256];
    kinds[b' ' as usize] = Kind::Blank;
    kinds[b'\t' as usize] = Kind::Blank;
    kinds[b'\r' as usize] = Kind::Blank;
    kinds[b'\n' as usize] = Kind::Newline;
    kinds[b';' as usize] = Kind::Comment;
    kinds[b'(' as usize] = Kind::Open;
    kinds[b')' as usize] = Kind::Close;
    kinds[b'"' as usize] = Kind::Quote;
    kinds[b'\\' as usize] = Kind::Escape;
    kinds
};

fn kind(byte: u8) -> Kind {
    KINDS.get(usize::from(byte)).copied().unwrap_or(Kind::Word)
}

impl<'t> Splitter<'t> {
    /// Starts at the top of `text`, which is shorter than 4 GiB.
    pub(super) fn new(text: &'t str) -> Self {
        // Some editors put a byte order mark first; it is no part of the first owner.
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { text, at, line: 1 }
    }

    /// The next entry that is not empty, its tokens in `tokens`; `None` at the end of the file.
    pub(super) fn next_entry(&mut self, tokens: &mut Vec<Token>) -> Option<Result<Entry, SplitError>> {
        tokens.clear();
        let bytes = self.text.as_bytes();
        let mut line_start = self.at;
        let mut entry: Option<Entry> = None;
        // Where the outermost open parenthesis is, and how many are open.
        let mut open_at = 0;
        let mut n_open = 0u32;
        let mut previous_end = usize::MAX;
        loop {
            let Some(&byte) = bytes.get(self.at) else {
                if n_open > 0 {
                    return Some(Err(split_error(
                        open_at,
                        open_at + 1,
                        "`(` is never closed",
                        "the file may be cut off",
                    )));
                }
                return entry.map(Ok);
            };
            let start = self.at;
            match kind(byte) {
                Kind::Blank => self.at += 1,
                Kind::Newline => {
                    self.at += 1;
                    self.line += 1;
                    line_start = self.at;
                    if n_open == 0
                        && let Some(entry) = entry
                    {
                        return Some(Ok(entry));
                    }
                }
                Kind::Comment => self.skip_to_newline(),
                Kind::Open => {
                    if n_open == 0 {
                        open_at = start;
                    }
                    n_open += 1;
                    self.at += 1;
                }
                Kind::Close if n_open == 0 => {
                    self.skip_line();
                    let hint = "within a name or text, write `\\)` or quote the text";
                    return Some(Err(split_error(start, start + 1, "`)` without `(`", hint)));
                }
                Kind::Close => {
                    n_open -= 1;
                    self.at += 1;
                }
                Kind::Quote => {
                    let Some(has_escape) = self.skip_quoted() else {
                        self.skip_line();
                        let hint = "a quoted text ends on its line; a line break in it is written `\\010`";
                        return Some(Err(split_error(start, start + 1, "quote is never closed", hint)));
                    };
                    let is_glued = start == previous_end;
                    tokens.push(token(start + 1, self.at - 1, true, has_escape, is_glued));
                }
                Kind::Word | Kind::Escape => {
                    let has_escape = self.skip_word();
                    tokens.push(token(start, self.at, false, has_escape, start == previous_end));
                }
            }
            if matches!(kind(byte), Kind::Quote | Kind::Word | Kind::Escape) {
                previous_end = self.at;
                let starts_line = start == line_start;
                let first = Entry { start: offset(start), end: 0, line: self.line, starts_line };
                entry.get_or_insert(first).end = offset(self.at);
            }
        }
    }

    /// Goes after the word at the cursor; returns whether it holds an escape.
    fn skip_word(&mut self) -> bool {
        let bytes = self.text.as_bytes();
        let mut has_escape = false;
        while let Some(&byte) = bytes.get(self.at) {
            match kind(byte) {
                Kind::Word => self.at += 1,
                Kind::Escape => {
                    has_escape = true;
                    self.at += 1;
                    self.skip_escaped();
                }
                _ => break,
            }
        }
        has_escape
    }

    /// Goes after the closing quote; returns whether there was an escape, or `None` if the line or file ends first.
    fn skip_quoted(&mut self) -> Option<bool> {
        let bytes = self.text.as_bytes();
        let mut has_escape = false;
        self.at += 1;
        loop {
            match bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(has_escape);
                }
                b'\n' => return None,
                b'\\' => {
                    has_escape = true;
                    self.at += 1;
                    self.skip_escaped();
                }
                _ => self.at += 1,
            }
        }
    }

    /// Goes after the byte that a `\` takes its meaning from; a line end keeps its own.
    fn skip_escaped(&mut self) {
        if self.text.as_bytes().get(self.at).is_some_and(|&byte| byte != b'\n' && byte != b'\r') {
            self.at += 1;
        }
    }

    fn skip_to_newline(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    }

    fn skip_line(&mut self) {
        self.skip_to_newline();
        if self.at < self.text.len() {
            self.at += 1;
            self.line += 1;
        }
    }
}

fn token(start: usize, end: usize, is_quoted: bool, has_escape: bool, is_glued: bool) -> Token {
    Token { start: offset(start), end: offset(end), is_quoted, has_escape, is_glued }
}

fn split_error(start: usize, end: usize, message: &'static str, hint: &'static str) -> SplitError {
    SplitError { start: offset(start), end: offset(end), message, hint }
}

/// Texts are shorter than 4 GiB: their reader has refused longer ones.
fn offset(byte: usize) -> u32 {
    u32::try_from(byte).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut splitter = Splitter::new(text);
        let mut tokens = Vec::new();
        let mut entries = Vec::new();
        while let Some(entry) = splitter.next_entry(&mut tokens) {
            entries.push(match entry {
                Err(error) => format!("{}: {}", error.start, error.message),
                Ok(entry) => {
                    let words: Vec<String> = tokens
                        .iter()
                        .map(|token| {
                            let [glue, quote] =
                                [if token.is_glued { "+" } else { "" }, if token.is_quoted { "'" } else { "" }];
                            format!("{glue}{quote}{}{quote}", token.raw(text))
                        })
                        .collect();
                    format!("{}{}|{}", entry.line, if entry.starts_line { "" } else { " " }, words.join("|"))
                }
            });
        }
        assert_eq!(entries, expected, "{text:?}");
    }

    #[test]
    fn rfc1035_5_1_entries_end_with_their_line_but_not_within_parentheses() {
        check("a b\n c d", &["1|a|b", "2 |c|d"]);
        check("a (b ; not (this\n  c)\n\n\td\r\n", &["1|a|b|c", "4 |d"]);
        check("\n ; only a comment\n\n", &[]);
        check("((a)\nb)c", &["1 |a|b|c"]);
        check("a (", &["2: `(` is never closed"]);
        check("a ) b\nc", &["2: `)` without `(`", "2|c"]);
    }

    #[test]
    fn rfc1035_5_1_quotes_and_escapes_hide_what_would_split() {
        check(r#"a "b c;(" d\;\ e"#, &[r"1|a|'b c;('|d\;\ e"]);
        check(r#"a key="b c" "" x"#, &["1|a|key=|+'b c'|''|x"]);
        check(r#""a\"b" c\"#, &[r#"1|'a\"b'|c\"#]);
        check("a \"b\nc", &["2: quote is never closed", "2|c"]);
    }
}
