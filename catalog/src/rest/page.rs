//! Pages of a list.
//!
//! A token holds the last name of the page before, so what is made or dropped meanwhile neither hides nor doubles
//! another. Without `pageToken` all is answered at once, as the protocol says; an empty one asks for the first page.

use std::collections::HashMap;

use crate::error::{Error, Kind, Result};

/// Names of a page, if the client does not say.
const SIZE: usize = 1000;

/// What is asked for.
pub struct Page {
    /// The last name of the page before.
    pub after: String,
    size: Option<usize>,
}

impl Page {
    /// # Errors
    /// `Invalid` for a token we never gave, or a size that is no positive number.
    pub fn asked(parameters: &HashMap<String, String>) -> Result<Page> {
        let wrong = |what: &str| Error::new(Kind::Invalid, what);
        let size = match parameters.get("pageSize").filter(|size| !size.is_empty()) {
            Some(size) => match size.parse::<usize>() {
                Ok(size) if size > 0 => Some(size),
                _ => return Err(wrong("'pageSize' is a positive number")),
            },
            None => None,
        };
        let Some(token) = parameters.get("pageToken") else { return Ok(Page { after: String::new(), size: None }) };
        let after = name_of(token).ok_or_else(|| wrong("'pageToken' is none of ours: begin with an empty one"))?;
        Ok(Page { after, size: Some(size.unwrap_or(SIZE)) })
    }

    /// How many to look for: one more than the page holds tells whether there is a next one.
    pub fn most(&self) -> usize {
        self.size.map_or(usize::MAX, |size| size.saturating_add(1))
    }

    /// Cuts what was found to the page; the token of the next one.
    pub fn cut<T>(&self, found: &mut Vec<T>, name: impl Fn(&T) -> String) -> Option<String> {
        let size = self.size.filter(|&size| found.len() > size)?;
        found.truncate(size);
        found.last().map(|last| token_of(&name(last)))
    }
}

/// The form of tokens: a version, and the name's bytes in hexadecimal.
fn token_of(name: &str) -> String {
    name.bytes().fold("1".to_string(), |token, byte| token + &format!("{byte:02x}"))
}

fn name_of(token: &str) -> Option<String> {
    if token.is_empty() {
        return Some(String::new());
    }
    let digits = token.strip_prefix('1')?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| byte(pair).filter(|_| pair.len() == 2)).collect();
    String::from_utf8(bytes?).ok()
}
