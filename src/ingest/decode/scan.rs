//! The exact JSON reader: any order of keys, any white space, escapes, nesting up to a limit; RFC 8259 to the letter.
//!
//! It walks text that is known to be UTF-8 and hands out one value at a time; nested values are checked and given as
//! they are written. What breaks the grammar is an error with its position; where the text merely ends too early, that
//! is said apart, so that a reader of a stream can fetch more.

use std::borrow::Cow;

use super::bytes::{byte, find_json_stop};
use super::number;
use super::value::Cell;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoJson {
    /// The grammar is broken at this byte.
    Syntax(usize),
    /// The text ends within a value.
    Ends,
    /// Nested deeper than the limit.
    Deep,
}

/// A scalar or nested value as read; texts own their characters only where escapes had to be resolved.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// Anything else.
    Other(Cell<'a>),
}

impl Value<'_> {
    /// The value as a cell.
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Value::Text(text) => Cell::Text(text),
            Value::Other(cell) => *cell,
        }
    }
}

/// A reader at a place in a text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    /// Where it stands.
    pub at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `text`; arrays and objects may be nested `depth` deep, the outermost counted.
    pub fn new(text: &'a str, depth: usize) -> Self {
        Self { text, at: 0, depth }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is not white space, not taken; 0 at the end.
    pub fn peek(&mut self) -> u8 {
        while matches!(byte(self.bytes(), self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        byte(self.bytes(), self.at)
    }

    fn wrong<T>(&self) -> Result<T, NoJson> {
        Err(if self.at >= self.text.len() { NoJson::Ends } else { NoJson::Syntax(self.at) })
    }

    /// Takes `wanted` after white space.
    pub fn take(&mut self, wanted: u8) -> Result<(), NoJson> {
        if self.peek() != wanted || self.at >= self.text.len() {
            return self.wrong();
        }
        self.at += 1;
        Ok(())
    }

    /// Takes the next value, which may stand after white space.
    pub fn value(&mut self) -> Result<Value<'a>, NoJson> {
        match self.peek() {
            b'"' => Ok(Value::Text(self.string()?)),
            b'{' | b'[' => {
                let start = self.at;
                self.nested()?;
                Ok(Value::Other(Cell::Nested(&self.text[start..self.at])))
            }
            b't' => self.word("true", Cell::Boolean(true)),
            b'f' => self.word("false", Cell::Boolean(false)),
            b'n' => self.word("null", Cell::Null),
            b'-' | b'0'..=b'9' => self.number().map(|text| Value::Other(Cell::Number(text))),
            _ => self.wrong(),
        }
    }

    fn word(&mut self, word: &str, cell: Cell<'a>) -> Result<Value<'a>, NoJson> {
        let rest = &self.bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(Value::Other(cell));
        }
        Err(if word.as_bytes().starts_with(rest) { NoJson::Ends } else { NoJson::Syntax(self.at) })
    }

    fn number(&mut self) -> Result<&'a str, NoJson> {
        let start = self.at;
        let run =
            self.bytes()[start..].iter().take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
        let end = start + run.count();
        match number::scan(self.bytes(), start) {
            Some(number) if number.end == end => {
                self.at = end;
                Ok(&self.text[start..end])
            }
            _ if end == self.text.len() => Err(NoJson::Ends),
            _ => Err(NoJson::Syntax(start)),
        }
    }

    /// Takes a string; its opening quote is next.
    pub fn string(&mut self) -> Result<Cow<'a, str>, NoJson> {
        self.take(b'"')?;
        let start = self.at;
        self.at = find_json_stop(self.bytes(), start);
        if byte(self.bytes(), self.at) == b'"' {
            self.at += 1;
            return Ok(Cow::Borrowed(&self.text[start..self.at - 1]));
        }
        let mut owned = String::new();
        let mut from = start;
        loop {
            owned.push_str(&self.text[from..self.at]);
            match byte(self.bytes(), self.at) {
                b'"' => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                b'\\' => owned.push(self.escape()?),
                _ => return self.wrong(),
            }
            from = self.at;
            self.at = find_json_stop(self.bytes(), from);
        }
    }

    fn escape(&mut self) -> Result<char, NoJson> {
        self.at += 1;
        let c = match byte(self.bytes(), self.at) {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            c @ (b'"' | b'\\' | b'/') => char::from(c),
            b'u' => return self.unicode(),
            _ => return self.wrong(),
        };
        self.at += 1;
        Ok(c)
    }

    /// `uXXXX`, or two of them where the first is half a pair.
    fn unicode(&mut self) -> Result<char, NoJson> {
        let first = self.hex4()?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first).ok_or(NoJson::Syntax(self.at));
        }
        if self.at + 1 >= self.text.len() {
            return Err(NoJson::Ends);
        }
        if !self.bytes()[self.at..].starts_with(b"\\u") {
            return Err(NoJson::Syntax(self.at));
        }
        self.at += 1;
        let second = self.hex4()?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(NoJson::Syntax(self.at));
        }
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or(NoJson::Syntax(self.at))
    }

    fn hex4(&mut self) -> Result<u32, NoJson> {
        self.at += 1;
        let mut value = 0;
        for _ in 0..4 {
            match char::from(byte(self.bytes(), self.at)).to_digit(16) {
                Some(digit) => value = value << 4 | digit,
                None => return self.wrong(),
            }
            self.at += 1;
        }
        Ok(value)
    }

    /// Takes an array or object whole. No recursion: a stack of bits says what each open bracket is.
    pub fn nested(&mut self) -> Result<(), NoJson> {
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.peek() {
                c @ (b'{' | b'[') => {
                    self.at += 1;
                    open.push(c == b'{');
                    if open.len() > self.depth {
                        return Err(NoJson::Deep);
                    }
                    if self.peek() == close(c == b'{') {
                        self.at += 1;
                        open.pop();
                    } else {
                        self.key_of(c == b'{')?;
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                _ => drop(self.value()?),
            }
            if self.unwind(&mut open)? {
                return Ok(());
            }
        }
    }

    fn key_of(&mut self, is_object: bool) -> Result<(), NoJson> {
        if is_object {
            self.string()?;
            self.take(b':')?;
        }
        Ok(())
    }

    /// After a value: closes what ends here and takes the comma, and the key, before the next; true if all is closed.
    fn unwind(&mut self, open: &mut Vec<bool>) -> Result<bool, NoJson> {
        while let Some(&is_object) = open.last() {
            let next = self.peek();
            if next == close(is_object) && self.at < self.text.len() {
                self.at += 1;
                open.pop();
            } else {
                self.take(b',')?;
                self.key_of(is_object)?;
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn close(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    fn valid(text: &str) -> bool {
        let mut scanner = Scanner::new(text, 128);
        scanner.value().is_ok() && {
            scanner.peek();
            scanner.at == text.len()
        }
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Scanner::new(&deep(64), 64).value().is_ok());
        assert_eq!(Scanner::new(&deep(65), 64).value(), Err(NoJson::Deep));
        assert_eq!(Scanner::new(&deep(1000), 64).value(), Err(NoJson::Deep));
    }

    #[test]
    fn ends_is_told_from_wrong() {
        for cut in ["{\"a\":1", "[1,", "\"ab", "tru", "-", "1.", "\"\\u00", "\"\\", "{", "\"\\ud800\\"] {
            assert_eq!(Scanner::new(cut, 9).value(), Err(NoJson::Ends), "{cut}");
        }
        for bad in ["{a:1}", "[1,]", "tru1", "\"\n\"", "01,", "NaN", "\"\\x\"", "\"\\ud800x\"", "{\"a\":1,}", "+1"] {
            assert!(matches!(Scanner::new(bad, 9).value(), Err(NoJson::Syntax(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in string_regex(r#"([\[\]{},:"ntrue\\ 0-9.eE+u-]|true|null|"a":|\[\]|"b",|\\u[0-9a-fA-F]{4}){0,24}"#).expect("regex")) {
            prop_assert_eq!(valid(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok() || is_huge(&text), "{}", text);
        }

        #[test]
        fn strings_are_serde_jsons(want: String) {
            let text = serde_json::to_string(&want).expect("text");
            prop_assert_eq!(Scanner::new(&text, 1).string().expect("valid"), want);
        }
    }

    /// serde_json refuses numbers that no double holds; here that is the column's to say.
    fn is_huge(text: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(text).is_err_and(|e| e.to_string().contains("out of range"))
            && valid(text)
    }
}
