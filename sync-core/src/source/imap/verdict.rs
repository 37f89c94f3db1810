//! What a server's refusal means, and what its user is told.

use super::response::{Kind, Status};
use super::wire::Broken;
use crate::credential::Secret;
use crate::source::Fault;
use crate::text::clean;

const TEXT_MAX: usize = 200;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Problem {
    Broken(Broken),
    Refused(Status),
}

impl From<Broken> for Problem {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Problem {
    /// For any command but the login. `secret` must not come back in a server's text.
    pub fn fault(self, secret: Option<&Secret>) -> Fault {
        match self {
            Self::Broken(broken) => broken_fault(&broken),
            Self::Refused(status) => refused(&status, secret),
        }
    }
}

impl Status {
    /// Whether a refusal is about what was asked for, and not about the server's state or its patience.
    pub fn is_final(&self) -> bool {
        let passes = ["UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT", "THROTTLED", "OVERQUOTA"];
        let of_login =
            ["AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "CONTACTADMIN"];
        !passes.contains(&self.code.as_str())
            && !of_login.contains(&self.code.as_str())
            && !is_crowded(&self.text)
    }
}

pub fn broken_fault(broken: &Broken) -> Fault {
    tracing::info!(%broken, "an IMAP connection broke");
    match broken {
        Broken::Grammar(_) | Broken::TooLarge(_) => {
            Fault::transient("imap-protocol", format!("the mail server's answer is not usable: {broken}"))
        }
        Broken::Slow => Fault::transient("imap-slow", "the mail server is too slow"),
        Broken::Closed | Broken::Io(_) => {
            Fault::transient("imap-connection-lost", "the connection to the mail server broke")
        }
    }
}

/// Codes first: they are for programs. Texts only where servers have no code for it.
fn refused(status: &Status, secret: Option<&Secret>) -> Fault {
    let text = said(status, secret);
    match status.code.as_str() {
        "UNAVAILABLE" | "INUSE" | "SERVERBUG" => {
            Fault::transient("imap-unavailable", with("try later", &text))
        }
        "LIMIT" | "THROTTLED" | "OVERQUOTA" => throttled(&text),
        "AUTHENTICATIONFAILED" | "AUTHORIZATIONFAILED" | "EXPIRED" => not_let_in(&text),
        "PRIVACYREQUIRED" => {
            Fault::permanent("imap-privacy-required", with("it asks for more privacy", &text))
        }
        "CONTACTADMIN" => {
            Fault::permanent("imap-contact-admin", with("its administrator has to help", &text))
        }
        _ if is_crowded(&status.text) => throttled(&text),
        _ => match status.kind {
            Kind::Bye => Fault::transient("imap-connection-lost", with("it ended the connection", &text)),
            Kind::Bad => Fault::permanent("imap-not-understood", with("it does not understand", &text)),
            _ => Fault::transient("imap-refused", with("it refused a command", &text)),
        },
    }
}

/// A refused login. Without a code it is a wrong password, unless the text says otherwise.
pub fn login_fault(status: &Status, secret: &Secret) -> Fault {
    match status.kind {
        Kind::No if status.code.is_empty() || status.code == "ALERT" => {
            let text = said(status, Some(secret));
            if is_crowded(&status.text) { throttled(&text) } else { not_let_in(&text) }
        }
        _ => refused(status, Some(secret)),
    }
}

fn throttled(text: &str) -> Fault {
    Fault::throttled("imap-throttled", with("it asks for patience", text), None)
}

fn not_let_in(text: &str) -> Fault {
    let message = "it refuses the login; connect the mailbox again with the right user and password (some providers \
                   want an app password)";
    Fault::reauthorize("imap-login-refused", with(message, text))
}

/// What servers without response codes say when they have enough.
fn is_crowded(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["too many", "rate limit", "throttl", "try again later", "temporar", "maximum number of connections"]
        .iter()
        .any(|word| text.contains(word))
}

fn with(message: &str, text: &str) -> String {
    match text {
        "" => format!("the mail server: {message}"),
        text => format!("the mail server: {message} (`{text}`)"),
    }
}

/// Foreign text, bounded and cleaned. All of it goes if it holds the secret: a server may well say what it was told.
fn said(status: &Status, secret: Option<&Secret>) -> String {
    let holds = |secret: &Secret| !secret.is_empty() && status.text.contains(secret.expose());
    if secret.is_some_and(holds) { String::new() } else { clean(&status.text, TEXT_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Class;

    fn status(kind: Kind, code: &str, text: &str) -> Status {
        Status { kind, code: code.into(), argument: String::new(), text: text.into() }
    }

    #[test]
    fn refusals_are_classed() {
        let secret = Secret::new("hunter2");
        let login = |kind, code, text| login_fault(&status(kind, code, text), &secret);
        for (code, text) in [
            ("AUTHENTICATIONFAILED", ""),
            ("AUTHORIZATIONFAILED", ""),
            ("EXPIRED", ""),
            ("", "LOGIN failed"),
            ("ALERT", "Application-specific password required"),
        ] {
            assert_eq!(login(Kind::No, code, text).class, Class::Reauthorize, "{code} {text}");
        }
        for code in ["UNAVAILABLE", "INUSE", "SERVERBUG"] {
            assert_eq!(login(Kind::No, code, "").class, Class::Transient, "{code}");
        }
        for (code, text) in
            [("LIMIT", ""), ("OVERQUOTA", ""), ("ALERT", "Too many simultaneous connections. (Failure)")]
        {
            assert!(matches!(login(Kind::No, code, text).class, Class::Throttled { .. }), "{code} {text}");
        }
        assert!(matches!(login(Kind::Bye, "", "Too many connections").class, Class::Throttled { .. }));
        assert_eq!(login(Kind::Bye, "", "bye").class, Class::Transient);
        assert_eq!(login(Kind::Bad, "", "what?").class, Class::Permanent);
        assert_eq!(login(Kind::No, "PRIVACYREQUIRED", "").class, Class::Permanent);
    }

    #[test]
    fn a_servers_text_is_bounded_clean_and_without_the_secret() {
        let secret = Secret::new("hunter2");
        let told = login_fault(&status(Kind::No, "", "no hunter2 here"), &secret);
        assert!(!told.message.contains("hunter2") && !told.message.contains("here"));
        let told = login_fault(&status(Kind::No, "", &format!("\u{1b}[31m{}", "x".repeat(5000))), &secret);
        assert!(told.message.len() < 400 && !told.message.contains('\u{1b}'));
    }
}
