//! Logging in, after TLS and never before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::response::{Response, Status};
use super::session::{Session, bounds};
use super::verdict::{Problem, login_fault};
use super::wire::{Broken, Piece};
use crate::credential::Secret;
use crate::source::Fault;

#[derive(Clone, Debug)]
pub enum Login {
    Password(Secret),
    /// XOAUTH2.
    AccessToken(Secret),
}

impl Login {
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Password(secret) | Self::AccessToken(secret) => secret,
        }
    }
}

#[derive(Default)]
struct Offers(Vec<String>);

impl Offers {
    fn has(&self, capability: &str) -> bool {
        self.0.iter().any(|it| it == capability)
    }
}

pub async fn log_in(session: &mut Session, user: &str, login: &Login) -> Result<(), Fault> {
    let offers = offers(session).await.map_err(|problem| session.fault(problem))?;
    session.has_special_use = offers.has("SPECIAL-USE");
    let ended = match login {
        Login::Password(password) if offers.has("AUTH=PLAIN") => {
            let payload = Zeroizing::new(format!("\0{user}\0{}", password.expose()));
            authenticate(session, "PLAIN", &payload, &offers).await
        }
        Login::Password(_) if offers.has("LOGINDISABLED") => {
            return Err(Fault::permanent(
                "imap-no-password",
                "the mail server takes no passwords; connect with OAuth",
            ));
        }
        Login::Password(password) => plain_login(session, user, password).await,
        Login::AccessToken(_) if !offers.has("AUTH=XOAUTH2") => {
            return Err(Fault::permanent("imap-no-oauth", "the mail server takes no OAuth tokens (XOAUTH2)"));
        }
        Login::AccessToken(token) => {
            let payload = Zeroizing::new(format!("user={user}\x01auth=Bearer {}\x01\x01", token.expose()));
            authenticate(session, "XOAUTH2", &payload, &offers).await
        }
    };
    match ended {
        Ok(_) => Ok(()),
        Err(Problem::Refused(status)) => Err(login_fault(&status, login.secret())),
        Err(problem) => Err(session.fault(problem)),
    }
}

async fn offers(session: &mut Session) -> Result<Offers, Problem> {
    let mut offers = Offers::default();
    let lines = |response: Response| {
        if let Response::Data { name, rest } = response
            && name == "CAPABILITY"
        {
            for piece in rest {
                let Piece::Text(text) = piece else { continue };
                let words = String::from_utf8_lossy(&text).to_ascii_uppercase();
                offers.0.extend(words.split_ascii_whitespace().take(500).map(str::to_owned));
            }
        }
        Ok(())
    };
    session.command("CAPABILITY", lines).await?;
    Ok(offers)
}

/// The payload goes along with the command where the server allows it, and after its `+` elsewhere. A second `+`
/// brings the reason of a refusal, and wants an empty line.
async fn authenticate(
    session: &mut Session,
    mechanism: &str,
    payload: &str,
    offers: &Offers,
) -> Result<Status, Problem> {
    let payload = Zeroizing::new(STANDARD.encode(payload));
    session.begin(bounds(session.command_time()));
    if offers.has("SASL-IR") {
        let command = Zeroizing::new(format!("AUTHENTICATE {mechanism} {}", *payload));
        let tag = session.send(&command).await?;
        return session.until(&tag, None, |_| Ok(())).await;
    }
    let tag = session.send(&format!("AUTHENTICATE {mechanism}")).await?;
    session.until(&tag, Some(payload.as_bytes()), |_| Ok(())).await
}

async fn plain_login(session: &mut Session, user: &str, password: &Secret) -> Result<Status, Problem> {
    let quoted = |text: &str| super::name::quote(text).map(Zeroizing::new);
    let (Some(user), Some(password)) = (quoted(user), quoted(password.expose())) else {
        return Err(Broken::Grammar("user or password hold a line break").into());
    };
    let command = Zeroizing::new(format!("LOGIN {} {}", *user, *password));
    session.command(&command, |_| Ok(())).await
}
