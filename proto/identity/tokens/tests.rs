use std::io::Write as _;

use super::*;
use crate::identity::{Role, Scope};

fn entry(more: &str) -> String {
    format!("[[identity]]\nname = \"shop\"\nroles = [\"app\"]\nnamespaces = [\"shop\"]\n{more}\n")
}

fn with_token(token: &str, more: &str) -> String {
    entry(&format!("hash = \"{}\"\n{more}", hash(token)))
}

fn open(text: &str) -> Result<Tokens, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    Tokens::open(file.path())
}

fn refused(text: &str) -> String {
    let error = open(text).expect_err(text).to_string();
    error.split_once(": ").expect("the file's name first").1.to_owned()
}

#[test]
fn a_token_is_known_by_its_hash() {
    let (one, two) = (token([1; 32]), token([2; 32]));
    let tokens = open(&format!("{}{}", with_token(&one, ""), with_token(&two, ""))).unwrap();
    for known in [&one, &two] {
        let identity = tokens.by_token(known).expect("both tokens of one name");
        assert_eq!(identity.name(), "shop");
        assert_eq!(identity.namespaces(), &Scope::Only(vec!["shop".into()]));
        assert!(identity.has(Role::App) && !identity.has(Role::Worker));
    }
    for unknown in ["", "docket_", &one[1..], &one.to_uppercase(), &hash(&one)] {
        assert!(tokens.by_token(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn a_token_ends_when_it_expires() {
    let token = token([3; 32]);
    let tokens = open(&with_token(&token, "expires = 2026-01-01T00:00:00+01:00")).unwrap();
    let end = 1_767_222_000;
    assert!(tokens.set().by_token(&token, end - 1).is_some());
    assert!(tokens.set().by_token(&token, end).is_none());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let good = hash("x");
    for (text, error) in [
        (entry(""), "line 1: hash: is missing"),
        (entry("hash = \"docket_plain\""), "line 5: hash: must be sha256:"),
        (entry(&format!("hash = \"{good}\"\nexpires = 2027-01-01")), "line 6: expires: must be"),
        (entry(&format!("hash = \"{good}\"\nkinds = [\"x\"]")), "line 6: kinds: is for the role worker"),
        (entry(&format!("hash = \"{good}\"\ncertificate = \"a\"")), "line 6: certificate: stands instead"),
        (entry(&format!("hash = \"{good}\"\nrole = 1")), "line 6: unknown field `role`"),
        (
            format!("{}{}", entry(&format!("hash = \"{good}\"")), entry(&format!("hash = \"{good}\""))),
            "line 10: hash: stands here twice",
        ),
        ("[[identity]]\nname = \"a b\"\nroles = [\"app\"]".into(), "line 2: name: must be"),
        ("[[identity]]\nname = \"a\"\nroles = [\"root\"]".into(), "line 3: roles: must be at least one of"),
        ("[[identity]]\nname = \"a\"\nroles = [\"app\"]".into(), "line 1: namespaces: is missing"),
        (
            "[[identity]]\nname = \"a\"\nroles = [\"app\"]\nnamespaces = []".into(),
            "line 4: namespaces: must be",
        ),
        (
            "[[identity]]\nname = \"a\"\nroles = [\"worker\"]\nnamespaces = [\"*\"]".into(),
            "line 1: kinds: is missing",
        ),
        ("[[identity]\n".into(), "line 1: "),
    ] {
        let why = refused(&text);
        assert!(why.starts_with(error), "{text}\n{why}");
    }
}

#[test]
fn a_value_in_the_wrong_place_is_not_shown() {
    let secret = token([9; 32]);
    for text in [
        format!("[[identity]]\nname = \"a\"\nroles = \"{secret}\""),
        format!("[[identity]]\nname = \"a\"\nroles = [\"app\"]\nnamespaces = [\"*\"]\nhash = \"{secret}\""),
        format!("[[identity]]\nname = \"a\"\nroles = [\"app\"]\nexpires = \"{secret}\""),
    ] {
        let why = refused(&text);
        assert!(!why.contains(&secret[..20]), "{why}");
    }
    let tokens = open(&with_token(&secret, "")).unwrap();
    assert!(!format!("{tokens:?}").contains(&hash(&secret)[..20]));
}

#[test]
fn a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let (old, new) = (token([4; 32]), token([5; 32]));
    fs::write(&path, with_token(&old, "")).unwrap();
    let tokens = Tokens::open(&path).unwrap();
    assert_eq!(tokens.reload(), Ok(Look::Same));

    fs::write(&path, "[[identity]]\nname = 1\n").unwrap();
    assert!(tokens.reload().unwrap_err().to_string().contains("line 2"));
    assert_eq!(tokens.reload(), Ok(Look::Same), "told once");
    assert!(tokens.by_token(&old).is_some());

    fs::remove_file(&path).unwrap();
    assert!(tokens.reload().is_err());
    assert_eq!(tokens.reload(), Ok(Look::Same), "told once");
    assert!(tokens.by_token(&old).is_some());

    fs::write(&path, with_token(&new, "")).unwrap();
    assert_eq!(tokens.reload(), Ok(Look::Changed { entries: 1 }));
    assert!(tokens.by_token(&old).is_none() && tokens.by_token(&new).is_some());
}

#[test]
fn roles_that_reach_no_namespace_need_none() {
    let text =
        "[[identity]]\nname = \"standby\"\nroles = [\"scheduler\"]\ncertificate = \"spiffe://x/scheduler\"";
    let tokens = open(text).unwrap();
    let (_, known) = tokens.by_certificate(&["other".into(), "spiffe://x/scheduler".into()]).expect("known");
    assert_eq!(known.namespace("default").unwrap_err().code(), tonic::Code::PermissionDenied);
}
