//! Tags and text of an HTML page, in order.

use mail_parser::decoders::html::add_html_token;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    Open {
        name: String,
        attributes: Vec<Attribute>,
        empty: bool,
    },
    Close {
        name: String,
    },
    Text(&'a str),
    /// The content of a script: what no HTML is in. Follows its opening tag, before the closing one.
    Raw {
        content: &'a str,
    },
}

pub struct Tokens<'a> {
    rest: &'a str,
    raw_until: Option<&'static str>,
}

impl<'a> Tokens<'a> {
    #[must_use]
    pub fn new(html: &'a str) -> Self {
        Self { rest: html, raw_until: None }
    }

    fn take(&mut self, n: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(n).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn tag(&mut self) -> Option<Token<'a>> {
        let end = tag_end(self.rest);
        let tag = self.take(end);
        let inner = tag.trim_start_matches('<').trim_end_matches('>');
        if let Some(name) = inner.strip_prefix('/') {
            return Some(Token::Close { name: name.trim().to_ascii_lowercase() });
        }
        let empty = inner.ends_with('/');
        let inner = inner.trim_end_matches('/');
        let split = inner.find(|c: char| c.is_whitespace()).unwrap_or(inner.len());
        let name = inner.get(..split).unwrap_or_default().to_ascii_lowercase();
        self.raw_until = match name.as_str() {
            "script" => Some("</script"),
            "style" => Some("</style"),
            _ => None,
        };
        Some(Token::Open { attributes: attributes(inner.get(split..).unwrap_or_default()), name, empty })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if let Some(end) = self.raw_until.take() {
            let at = find_ignoring_case(self.rest, end).unwrap_or(self.rest.len());
            return Some(Token::Raw { content: self.take(at) });
        }
        loop {
            let next = self.rest.as_bytes();
            match next.first()? {
                b'<' if self.rest.starts_with("<!--") => {
                    let end = self.rest.find("-->").map_or(self.rest.len(), |at| at + 3);
                    self.take(end);
                }
                b'<' if matches!(next.get(1), Some(b'!' | b'?')) => {
                    let end = self.rest.find('>').map_or(self.rest.len(), |at| at + 1);
                    self.take(end);
                }
                b'<' if next.get(1).is_some_and(|b| b.is_ascii_alphabetic() || *b == b'/') => {
                    return self.tag();
                }
                _ => {
                    let end =
                        self.rest.get(1..).and_then(|r| r.find('<')).map_or(self.rest.len(), |at| at + 1);
                    // the first character may be longer than a byte
                    let end = if self.rest.is_char_boundary(end) { end } else { self.rest.len() };
                    return Some(Token::Text(self.take(end)));
                }
            }
        }
    }
}

/// Where a tag ends: `>` outside quotes.
fn tag_end(text: &str) -> usize {
    let mut quote = None;
    let mut after_equals = false;
    for (at, b) in text.bytes().enumerate() {
        match (quote, b) {
            (None, b'>') => return at + 1,
            // a quote opens a value only behind an equals sign: `<td'>` is no value
            (None, b'"' | b'\'') if after_equals => quote = Some(b),
            (Some(open), b) if open == b => quote = None,
            // an unclosed quote must not swallow the page
            (Some(_), _) if at > 20_000 => return text.find('>').map_or(text.len(), |at| at + 1),
            _ => {}
        }
        if !b.is_ascii_whitespace() {
            after_equals = b == b'=';
        }
    }
    text.len()
}

fn find_ignoring_case(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes().windows(needle.len()).position(|w| w.eq_ignore_ascii_case(needle.as_bytes()))
}

fn attributes(mut text: &str) -> Vec<Attribute> {
    let mut out = Vec::new();
    while out.len() < 40 {
        text = text.trim_start();
        let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
        let name = text.get(..end).unwrap_or_default().to_ascii_lowercase();
        text = text.get(end..).unwrap_or_default().trim_start();
        let mut value = "";
        if let Some(rest) = text.strip_prefix('=') {
            let rest = rest.trim_start();
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (start, stop) = match quote {
                Some(quote) => (1, rest.get(1..).and_then(|r| r.find(quote)).map_or(rest.len(), |at| at + 1)),
                None => (0, rest.find(char::is_whitespace).unwrap_or(rest.len())),
            };
            value = rest.get(start..stop).unwrap_or_default();
            text = rest.get((stop + usize::from(quote.is_some())).min(rest.len())..).unwrap_or_default();
        } else if name.is_empty() {
            break;
        }
        if !name.is_empty() {
            out.push(Attribute { name, value: decode_entities(value) });
        }
    }
    out
}

/// `&euro;`, `&#8364;`, `&#x20ac;` to their characters.
#[must_use]
pub fn decode_entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at..).unwrap_or_default();
        let end = rest.as_bytes().iter().take(32).position(|b| *b == b';');
        match end {
            Some(end)
                if end > 1
                    && rest
                        .as_bytes()
                        .get(1..end)
                        .is_some_and(|e| e.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'#')) =>
            {
                add_html_token(&mut out, rest.as_bytes().get(..=end).unwrap_or_default(), false);
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            _ => {
                out.push('&');
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities() {
        assert_eq!(decode_entities("&euro;&#8364;&#x20AC; &amp; & &nope; a&b"), "€€€ & & &nope; a&b");
    }

    #[test]
    fn attributes_with_and_without_quotes() {
        let tokens: Vec<_> = Tokens::new("<td itemprop=price content='1 > 0' hidden>x</td>").collect();
        let Some(Token::Open { attributes, .. }) = tokens.first() else { panic!("no tag") };
        let pairs: Vec<_> = attributes.iter().map(|a| (a.name.as_str(), a.value.as_str())).collect();
        assert_eq!(pairs, [("itemprop", "price"), ("content", "1 > 0"), ("hidden", "")]);
    }
}
