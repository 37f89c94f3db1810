//! `scheduler-svc token`: makes tokens. It reads and writes no file, so that it runs anywhere.

use clap::{Args, Subcommand};
use docket::identity::{Role, tokens};

#[derive(Subcommand)]
pub enum Verb {
    /// Makes a token and prints it, this once, with the entry for the tokens file.
    New(New),
}

#[derive(Args)]
pub struct New {
    /// Who will hold it: the name in the audit log, and the actor of changes.
    #[arg(long, value_parser = name)]
    name: String,
    /// May be given several times.
    #[arg(long, required = true, value_parser = role)]
    role: Vec<Role>,
    /// May be given several times. Left out = all.
    #[arg(long, value_parser = name)]
    namespace: Vec<String>,
    /// Of jobs, for the role worker; may be given several times. Left out = all.
    #[arg(long, value_parser = name)]
    kind: Vec<String>,
    /// As in 2027-06-30T00:00:00Z. Left out = never.
    #[arg(long, value_parser = time)]
    expires: Option<String>,
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("must be one of {}", Role::ALL.map(Role::name).join(", ")))
}

/// What the file takes without quoting.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
    if (1..=128).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.into());
    }
    Err("must be 1 to 128 characters of A-Z a-z 0-9 . _ : @ -".into())
}

fn time(text: &str) -> Result<String, String> {
    let read: Result<prost_types::Timestamp, _> = text.parse();
    read.map(|_| text.into()).map_err(|_| "must be as in 2027-06-30T00:00:00Z".into())
}

pub fn run(verb: &Verb) -> String {
    let Verb::New(new) = verb;
    let token = tokens::token(rand::random());
    let entry = entry(new, &tokens::hash(&token));
    format!(
        "# The token, which nobody can read again. Give it to {}:\n{token}\n\n\
         # For the tokens file (auth.tokens_file):\n{entry}",
        new.name
    )
}

fn entry(new: &New, hash: &str) -> String {
    let list = |names: &mut dyn Iterator<Item = &str>| {
        names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
    };
    let scope = |names: &[String]| match names {
        [] => "\"*\"".to_owned(),
        names => list(&mut names.iter().map(String::as_str)),
    };
    let roles = list(&mut new.role.iter().map(|role| role.name()));
    let mut entry = format!("[[identity]]\nname = \"{}\"\nroles = [{roles}]\n", new.name);
    entry.push_str(&format!("namespaces = [{}]\n", scope(&new.namespace)));
    if new.role.contains(&Role::Worker) {
        entry.push_str(&format!("kinds = [{}]\n", scope(&new.kind)));
    }
    entry.push_str(&format!("hash = \"{hash}\"\n"));
    if let Some(expires) = &new.expires {
        entry.push_str(&format!("expires = {expires}\n"));
    }
    entry
}
