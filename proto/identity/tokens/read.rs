//! The text of a tokens file, checked field by field.

use std::ops::Range;

use serde::Deserialize;
use toml::{Spanned, value::Datetime};

use super::{ENTRIES_MAX, Entry, SHA256, Set};
use crate::identity::{Identity, Role, Scope};

/// Longest name, namespace, kind or subject alternative name.
const NAME_BYTES: usize = 255;

/// The line, from 1, where it is known, and what is wrong with it.
type Wrong = (Option<usize>, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    identity: Vec<Spanned<Fields>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: Spanned<String>,
    roles: Spanned<Vec<String>>,
    namespaces: Option<Spanned<Vec<String>>>,
    kinds: Option<Spanned<Vec<String>>>,
    hash: Option<Spanned<String>>,
    certificate: Option<Spanned<String>>,
    expires: Option<Spanned<Datetime>>,
}

pub(super) fn read(text: &str) -> Result<Set, Wrong> {
    let line = |span: Range<usize>| {
        let before = text.get(..span.start).unwrap_or(text);
        Some(1 + before.bytes().filter(|byte| *byte == b'\n').count())
    };
    let file: File = toml::from_str(text)
        .map_err(|error| (error.span().and_then(line), without_values(error.message())))?;
    if file.identity.len() > ENTRIES_MAX {
        return Err((None, format!("holds more than {ENTRIES_MAX} identities")));
    }
    let mut set = Set::default();
    for fields in file.identity {
        let whole = fields.span();
        add(&mut set, fields.into_inner(), whole).map_err(|(span, why)| (line(span), why))?;
    }
    Ok(set)
}

type Refused = (Range<usize>, String);

fn add(set: &mut Set, fields: Fields, whole: Range<usize>) -> Result<(), Refused> {
    let name = named(&fields.name, "name")?;
    let roles = roles(&fields.roles)?;
    let namespaces = match &fields.namespaces {
        Some(names) => scope(names, "namespaces")?,
        // Roles that reach no namespace need none.
        None if roles.iter().all(|role| matches!(role, Role::Scheduler | Role::Metrics)) => {
            Scope::Only(Vec::new())
        }
        None => return Err((whole, "namespaces: is missing; write [\"*\"] for all".into())),
    };
    let works = roles.contains(&Role::Worker);
    let kinds = match &fields.kinds {
        Some(kinds) if works => scope(kinds, "kinds")?,
        Some(kinds) => return Err((kinds.span(), "kinds: is for the role worker; leave it out".into())),
        None if works => return Err((whole, "kinds: is missing; write [\"*\"] for all".into())),
        None => Scope::All,
    };
    let expires = fields.expires.as_ref().map(time).transpose()?;
    let entry = Entry { identity: Identity::new(name, roles, namespaces, kinds), expires };
    match (&fields.hash, &fields.certificate) {
        (Some(text), None) => {
            let hash = hash(text)?;
            if set.tokens.iter().any(|(known, _)| *known == hash) {
                return Err((text.span(), "hash: stands here twice; each token has one entry".into()));
            }
            set.tokens.push((hash, entry));
        }
        (None, Some(text)) => {
            let san = named(text, "certificate")?;
            if set.certificates.insert(san, entry).is_some() {
                return Err((text.span(), "certificate: stands here twice".into()));
            }
        }
        (None, None) => return Err((whole, "hash: is missing; `scheduler-svc token new` makes one".into())),
        (Some(_), Some(text)) => {
            return Err((text.span(), "certificate: stands instead of hash; write two entries".into()));
        }
    }
    Ok(())
}

fn named(text: &Spanned<String>, field: &str) -> Result<String, Refused> {
    let name = text.get_ref();
    let fits =
        !name.is_empty() && name.len() <= NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits {
        return Ok(name.clone());
    }
    Err((text.span(), format!("{field}: must be 1 to {NAME_BYTES} visible ASCII characters without spaces")))
}

fn roles(names: &Spanned<Vec<String>>) -> Result<Vec<Role>, Refused> {
    let known = Role::ALL.map(Role::name).join(", ");
    let roles: Option<Vec<Role>> = names.get_ref().iter().map(|name| Role::parse(name)).collect();
    let roles = roles.filter(|roles| !roles.is_empty());
    roles.ok_or_else(|| (names.span(), format!("roles: must be at least one of {known}")))
}

fn scope(names: &Spanned<Vec<String>>, field: &str) -> Result<Scope, Refused> {
    let all = names.get_ref();
    if all.iter().any(|name| name == "*") {
        let alone = all.len() == 1;
        let why = || (names.span(), format!("{field}: \"*\" stands alone"));
        return alone.then_some(Scope::All).ok_or_else(why);
    }
    let id = |name: &String| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
        (1..=128).contains(&name.len()) && name.chars().all(fits)
    };
    if all.is_empty() || !all.iter().all(id) {
        let why = format!(
            "{field}: must be [\"*\"], or one or more of 1 to 128 characters of A-Z a-z 0-9 . _ : @ -"
        );
        return Err((names.span(), why));
    }
    Ok(Scope::Only(all.clone()))
}

fn hash(text: &Spanned<String>) -> Result<[u8; 32], Refused> {
    let mut hash = [0; 32];
    let digits = text.get_ref().strip_prefix(SHA256).filter(|hex| hex.len() == 64 && hex.is_ascii());
    let read = digits.is_some_and(|hex| {
        hash.iter_mut()
            .enumerate()
            .all(|(n, byte)| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map(|read| *byte = read).is_ok())
    });
    if read {
        return Ok(hash);
    }
    Err((
        text.span(),
        format!("hash: must be {SHA256} and 64 hex digits; `scheduler-svc token new` prints it"),
    ))
}

fn time(text: &Spanned<Datetime>) -> Result<i64, Refused> {
    let wrong = || (text.span(), "expires: must be as in 2027-06-30T00:00:00Z, with its zone".to_owned());
    let time = text.get_ref();
    if time.offset.is_none() || time.date.is_none() || time.time.is_none() {
        return Err(wrong());
    }
    let read: Result<prost_types::Timestamp, _> = time.to_string().parse();
    read.map(|time| time.seconds).map_err(|_| wrong())
}

/// What stands in double quotes in an error of the parser is a value of the file.
fn without_values(message: &str) -> String {
    let mut shown = String::new();
    for (n, part) in message.lines().next().unwrap_or_default().split('"').enumerate() {
        shown.push_str(if n % 2 == 0 { part } else { "…" });
    }
    shown
}
