//! `$GENERATE start-stop[/step] owner ... type data`: one line for each number of a range, `$` standing for the number.
//!
//! The notation is BIND's: `${offset,width,base}` with base `d`, `o`, `x`, `X` or, for reverse zones, `n` and `N` (nibbles, the last one
//! first, with dots between); `\$` and `$$` are a dollar sign. Lines are made as text and read like any other.

use super::entry::Token;

/// Most records that one directive makes.
pub(super) const GENERATED_MAX: u32 = 65_536;
/// Widest number; a label is no longer.
const WIDTH_MAX: usize = 255;

/// The range of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generate {
    start: u32,
    stop: u32,
    step: u32,
}

impl Generate {
    /// Reads `start-stop` or `start-stop/step`; `None` if it is something else, runs backwards or is too long.
    pub(super) fn parse(range: &str) -> Option<Self> {
        let (start, rest) = range.split_once('-')?;
        let (stop, step) = rest.split_once('/').unwrap_or((rest, "1"));
        let generate = Self { start: start.parse().ok()?, stop: stop.parse().ok()?, step: step.parse().ok()? };
        let length = generate.stop.checked_sub(generate.start)?.checked_div(generate.step)?;
        (length < GENERATED_MAX).then_some(generate)
    }

    /// The numbers of the range.
    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        // A step of 0 has been refused.
        (self.start..=self.stop).step_by((self.step as usize).max(1))
    }

    /// Makes the line for `number` from the tokens of the template.
    pub(super) fn expand(self, text: &str, template: &[Token], number: u32) -> Result<String, String> {
        let mut line = String::with_capacity(64);
        for (index, token) in template.iter().enumerate() {
            if index > 0 && !token.is_glued {
                line.push(' ');
            }
            if token.is_quoted {
                line.push('"');
            }
            substitute(token.raw(text), number, &mut line)?;
            if token.is_quoted {
                line.push('"');
            }
        }
        Ok(line)
    }
}

/// Appends `template` with its dollar signs replaced.
fn substitute(template: &str, number: u32, line: &mut String) -> Result<(), String> {
    let mut rest = template;
    while let Some(at) = rest.find(['$', '\\']) {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        line.push_str(before);
        if let Some(escaped) = after.strip_prefix('\\') {
            // Any other escape is left for the reader of the line.
            let length = escaped.chars().next().map_or(0, char::len_utf8);
            let (character, tail) = escaped.split_at_checked(length).unwrap_or((escaped, ""));
            line.push_str(if character == "$" { "" } else { "\\" });
            line.push_str(character);
            rest = tail;
        } else if let Some(tail) = after.strip_prefix("$$") {
            line.push('$');
            rest = tail;
        } else if let Some(modifier) = after.strip_prefix("${") {
            let (modifier, tail) =
                modifier.split_once('}').ok_or_else(|| format!("`${{` without `}}` in `{template}`"))?;
            let shown = Modifier::parse(modifier).and_then(|modifier| modifier.show(number));
            let expected =
                "expected `${offset,width,base}` with base `d`, `o`, `x`, `X`, `n` or `N` and no result below 0";
            line.push_str(&shown.ok_or_else(|| format!("{expected}, found `${{{modifier}}}`"))?);
            rest = tail;
        } else {
            line.push_str(&number.to_string());
            rest = after.strip_prefix('$').unwrap_or_default();
        }
    }
    line.push_str(rest);
    Ok(())
}

/// How a number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Modifier {
    offset: i64,
    width: usize,
    base: char,
}

impl Modifier {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let offset = parts.next()?.parse::<i32>().ok()?.into();
        let width = parts.next().map_or(Some(0), |width| width.parse().ok()).filter(|&width| width <= WIDTH_MAX)?;
        let base = parts.next().map_or(Some('d'), |base| base.parse().ok())?;
        (parts.next().is_none() && "doxXnN".contains(base)).then_some(Self { offset, width, base })
    }

    fn show(self, number: u32) -> Option<String> {
        let value = u64::try_from(i64::from(number) + self.offset).ok()?;
        let width = self.width;
        Some(match self.base {
            'd' => format!("{value:0width$}"),
            'o' => format!("{value:0width$o}"),
            'x' => format!("{value:0width$x}"),
            'X' => format!("{value:0width$X}"),
            'n' => nibbles(&format!("{value:x}"), width),
            _ => nibbles(&format!("{value:X}"), width),
        })
    }
}

/// The digits from the last, dots between, zeros after until the whole is `width` wide.
fn nibbles(digits: &str, width: usize) -> String {
    let n_digits = digits.len().max(width.div_ceil(2));
    let padded = format!("{digits:0>n_digits$}");
    let mut shown = String::with_capacity(2 * n_digits);
    for digit in padded.chars().rev() {
        if !shown.is_empty() {
            shown.push('.');
        }
        shown.push(digit);
    }
    // An even width ends with a dot, so that nibbles and a rest can be joined.
    if width > shown.len() {
        shown.push('.');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollar_stands_for_the_number_in_every_base() {
        for (template, expected) in [
            ("host-$", "host-10"),
            ("a$b$$c\\$d", "a10b$c$d"),
            ("${5}", "15"),
            ("${-10,3}", "000"),
            ("${0,4,x}-${0,4,X}-${0,3,o}", "000a-000A-012"),
            ("${0,7,n}", "a.0.0.0"),
            ("${0,8,N}x", "A.0.0.0.x"),
            ("${0,0,n}", "a"),
            ("\\.\\065", "\\.\\065"),
        ] {
            let mut line = String::new();
            assert_eq!(substitute(template, 10, &mut line), Ok(()), "{template}");
            assert_eq!(line, expected, "{template}");
        }
        for template in ["${", "${}", "${-11}", "${0,999}", "${0,1,q}", "${0,1,d,1}", "${9999999999}"] {
            assert!(substitute(template, 10, &mut String::new()).is_err(), "{template}");
        }
    }

    #[test]
    fn ranges_run_forward_and_are_bounded() {
        let numbers = |range| Generate::parse(range).map(|generate| generate.numbers().collect::<Vec<_>>());
        assert_eq!(numbers("1-3"), Some(vec![1, 2, 3]));
        assert_eq!(numbers("1-6/2"), Some(vec![1, 3, 5]));
        assert_eq!(numbers("7-7"), Some(vec![7]));
        assert_eq!(Generate::parse("0-65535").map(|generate| generate.numbers().count()), Some(65_536));
        for range in ["", "1", "1-", "-1", "3-1", "1-3/0", "0-65536", "a-b", "1-2/x", "0-4294967295"] {
            assert_eq!(Generate::parse(range), None, "{range}");
        }
    }
}
