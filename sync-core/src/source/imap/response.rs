//! Lines of a server, understood as far as they are of use.

use bytes::Bytes;

use super::wire::{Broken, Line, Piece};

const DEPTH_MAX: usize = 16;
const VALUES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

/// `OK [CODE argument] text`, tagged or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub kind: Kind,
    /// Upper case, without arguments. Empty if there is none.
    pub code: String,
    pub argument: String,
    /// Foreign text.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    Continue,
    Tagged {
        tag: String,
        status: Status,
    },
    Status(Status),
    /// `* 12 FETCH …`
    Numbered {
        number: u32,
        name: String,
        values: Vec<Value>,
    },
    /// `* SEARCH …`, by its name in upper case.
    Data {
        name: String,
        rest: Line,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Nil,
    Atom(String),
    /// Quoted or a literal.
    Text(Bytes),
    List(Vec<Self>),
}

impl Value {
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(atom) => Some(atom.as_bytes()),
            Self::Text(text) => Some(text),
            Self::Nil | Self::List(_) => None,
        }
    }

    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Atom(atom) => atom.parse().ok(),
            _ => None,
        }
    }
}

const GARBLED: Broken = Broken::Grammar("a line that is none");

pub fn parse(line: Line) -> Result<Response, Broken> {
    let Some(Piece::Text(first)) = line.first().cloned() else { return Err(GARBLED) };
    if first.starts_with(b"+") {
        return Ok(Response::Continue);
    }
    let (tag, rest) = word(&first);
    if tag != b"*" {
        let tag = String::from_utf8_lossy(tag).into_owned();
        return Ok(Response::Tagged { tag, status: status(rest).ok_or(GARBLED)? });
    }
    if let Some(status) = status(rest) {
        return Ok(Response::Status(status));
    }
    let (name, after) = word(rest);
    let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
    let Some(number) = number else {
        let rest = continued(line, &first, after);
        return Ok(Response::Data { name: upper(name), rest });
    };
    let (name, after) = word(after);
    let name = upper(name);
    let values = if name == "FETCH" { values(&continued(line, &first, after))? } else { Vec::new() };
    Ok(Response::Numbered { number, name, values })
}

/// The line from `after` on, which is the end of its first piece.
fn continued(mut line: Line, first: &Bytes, after: &[u8]) -> Line {
    line[0] = Piece::Text(first.slice(first.len() - after.len()..));
    line
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b' ');
    end.map_or((text, &[]), |end| (&text[..end], &text[end + 1..]))
}

fn upper(text: &[u8]) -> String {
    String::from_utf8_lossy(text).to_ascii_uppercase()
}

fn status(text: &[u8]) -> Option<Status> {
    let (word, rest) = word(text);
    let kind = match upper(word).as_str() {
        "OK" => Kind::Ok,
        "NO" => Kind::No,
        "BAD" => Kind::Bad,
        "BYE" => Kind::Bye,
        "PREAUTH" => Kind::Preauth,
        _ => return None,
    };
    let rest = String::from_utf8_lossy(rest).into_owned();
    let coded = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let Some((code, text)) = coded else {
        return Some(Status { kind, code: String::new(), argument: String::new(), text: rest });
    };
    let (code, argument) = code.split_once(' ').unwrap_or((code, ""));
    Some(Status {
        kind,
        code: code.to_ascii_uppercase(),
        argument: argument.to_owned(),
        text: text.trim_start().to_owned(),
    })
}

/// Values of a line, to its end.
pub fn values(line: &[Piece]) -> Result<Vec<Value>, Broken> {
    let mut parser = Parser { line, piece: 0, at: 0, values: 0 };
    let values = parser.list(0)?;
    if parser.peek().is_some() { Err(Broken::Grammar("a bracket too many")) } else { Ok(values) }
}

struct Parser<'a> {
    line: &'a [Piece],
    piece: usize,
    at: usize,
    values: usize,
}

enum Next {
    Byte(u8),
    Literal(Bytes),
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<Next> {
        loop {
            match self.line.get(self.piece)? {
                Piece::Literal(bytes) => return Some(Next::Literal(bytes.clone())),
                Piece::Text(text) => match text.get(self.at) {
                    Some(byte) => return Some(Next::Byte(*byte)),
                    None => self.next_piece(),
                },
            }
        }
    }

    fn next_piece(&mut self) {
        self.piece += 1;
        self.at = 0;
    }

    /// Up to the closing bracket, which is left, or the end.
    fn list(&mut self, depth: usize) -> Result<Vec<Value>, Broken> {
        let mut values = Vec::new();
        loop {
            self.values += 1;
            if self.values > VALUES_MAX || depth > DEPTH_MAX {
                return Err(Broken::Grammar("a line of too many values"));
            }
            match self.peek() {
                None | Some(Next::Byte(b')')) => return Ok(values),
                Some(Next::Byte(b' ')) => self.at += 1,
                Some(Next::Literal(bytes)) => {
                    values.push(Value::Text(bytes));
                    self.next_piece();
                }
                Some(Next::Byte(b'(')) => {
                    self.at += 1;
                    values.push(Value::List(self.list(depth + 1)?));
                    let Some(Next::Byte(b')')) = self.peek() else {
                        return Err(Broken::Grammar("a bracket is not closed"));
                    };
                    self.at += 1;
                }
                Some(Next::Byte(b'"')) => values.push(Value::Text(self.quoted()?)),
                Some(Next::Byte(_)) => values.push(self.atom()),
            }
        }
    }

    fn quoted(&mut self) -> Result<Bytes, Broken> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(Next::Byte(b'"')) => {
                    self.at += 1;
                    return Ok(text.into());
                }
                Some(Next::Byte(b'\\')) => {
                    self.at += 1;
                    let Some(Next::Byte(byte)) = self.peek() else { return Err(GARBLED) };
                    text.push(byte);
                }
                Some(Next::Byte(byte)) => text.push(byte),
                None | Some(Next::Literal(_)) => return Err(Broken::Grammar("quotes are not closed")),
            }
            self.at += 1;
        }
    }

    /// `BODY[HEADER.FIELDS (DATE)]<0>` is one atom.
    fn atom(&mut self) -> Value {
        let (mut atom, mut within) = (Vec::new(), false);
        while let Some(Next::Byte(byte)) = self.peek() {
            match byte {
                b'[' => within = true,
                b']' => within = false,
                b' ' | b'(' | b')' | b'"' if !within => break,
                _ => {}
            }
            atom.push(byte);
            self.at += 1;
        }
        if atom.eq_ignore_ascii_case(b"NIL") {
            return Value::Nil;
        }
        Value::Atom(String::from_utf8_lossy(&atom).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Line {
        vec![Piece::Text(Bytes::copy_from_slice(text.as_bytes()))]
    }

    fn said(line: &str) -> Status {
        match parse(text(line)).unwrap() {
            Response::Status(status) | Response::Tagged { status, .. } => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn statuses() {
        let refused = said("D1 NO [AUTHENTICATIONFAILED] wrong password");
        assert_eq!((refused.kind, refused.code.as_str()), (Kind::No, "AUTHENTICATIONFAILED"));
        assert_eq!(refused.text, "wrong password");
        let validity = said("* ok [UidValidity 17] fine");
        assert_eq!((validity.code.as_str(), validity.argument.as_str()), ("UIDVALIDITY", "17"));
        assert_eq!(said("* BYE").text, "");
        assert_eq!(said("* OK [broken").text, "[broken");
        assert!(parse(text("D1 WHAT")).is_err());
        assert!(parse(text("")).is_err());
        assert_eq!(parse(text("+")).unwrap(), Response::Continue);
    }

    #[test]
    fn a_fetch_of_all_kinds_of_values() {
        let line = vec![
            Piece::Text(
                "* 3 FETCH (UID 7 FLAGS (\\Seen x) INTERNALDATE \"a \\\"b\" BODY[HEADER.FIELDS (DATE)]<0> "
                    .into(),
            ),
            Piece::Literal("D\r\n".into()),
            Piece::Text(" BODY[] NIL)".into()),
        ];
        let Response::Numbered { number: 3, values, .. } = parse(line).unwrap() else { panic!() };
        let [Value::List(values)] = values.as_slice() else { panic!("{values:?}") };
        assert_eq!(values[1].number(), Some(7));
        assert!(matches!(&values[3], Value::List(flags) if flags.len() == 2));
        assert_eq!(values[5].bytes(), Some(&b"a \"b"[..]));
        assert_eq!(values[6], Value::Atom("BODY[HEADER.FIELDS (DATE)]<0>".into()));
        assert_eq!((values[7].bytes(), &values[9]), (Some(&b"D\r\n"[..]), &Value::Nil));
    }

    proptest::proptest! {
        /// Whatever a server says, it is understood or refused.
        #[test]
        fn no_answer_brings_the_parser_down(
            pieces in proptest::collection::vec((proptest::bool::ANY, "[ -~]{0,20}|(\\* [0-9]{1,3} FETCH )?[()\"\\\\\\[\\] a-zA-Z0-9]{0,40}"), 1..5),
        ) {
            let piece = |(is_text, text): (bool, String)| match is_text {
                true => Piece::Text(text.into()),
                false => Piece::Literal(text.into()),
            };
            let _ = parse(pieces.into_iter().map(piece).collect());
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for line in ["* 1 FETCH (UID 7", "* 1 FETCH UID 7)", "* 1 FETCH (\"x)", "* 1 FETCH (\"x\\"] {
            assert!(parse(text(line)).is_err(), "{line}");
        }
        assert!(parse(text(&format!("* 1 FETCH {}", "(".repeat(100_000)))).is_err());
        assert!(parse(text(&format!("* 1 FETCH {}", "x ".repeat(20_000)))).is_err());
        assert!(parse(text("* 99999999999 EXISTS")).is_ok(), "a number that is none is a name");
    }
}
