//! The fake Gmail as a process, as a developer runs it.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use docket::library::v1 as lib;

use super::{Library, Plan, Service};

/// What it takes as its only OAuth client.
pub const CLIENT_ID: &str = "fake-client";
pub const CLIENT_SECRET: &str = "fake-secret";

/// A server that runs. Dropping it kills it.
pub struct FakeGmail {
    child: Child,
    pub address: SocketAddr,
}

impl FakeGmail {
    pub fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(super::binary("examples/fake_gmail")?);
        command.arg("127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("stdout")?;
        let mut lines = BufReader::new(out).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("serving http=")?.parse().ok());
        Ok(Self { child, address: address.context("it serves")? })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A worker that knows it as Google, and has keys to seal credentials with.
    pub fn worker(&self, folder: &Path, scheduler: &Service) -> anyhow::Result<Plan> {
        let keys = folder.join("keys");
        let mut command = super::command("worker-svc", &["keys", "create"])?;
        let created = command.env("DOCKET_CREDENTIALS__KEY_FILE", &keys).output()?;
        ensure!(created.status.success(), "{created:?}");
        Ok(Plan::new("worker-svc", folder)
            .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler.grpc))
            .set("DOCKET_WORKER__ID", "w1")
            .set("DOCKET_CREDENTIALS__KEY_FILE", keys.display())
            .set("DOCKET_OAUTH__GOOGLE__CLIENT_ID", CLIENT_ID)
            .set("DOCKET_OAUTH__GOOGLE__CLIENT_SECRET", CLIENT_SECRET)
            .set("DOCKET_OAUTH__GOOGLE__TOKEN_URL", self.url("/token"))
            .set("DOCKET_OAUTH__GOOGLE__API_URL", self.url("")))
    }

    pub fn account(&self, address: &str, refresh_token: &str) -> anyhow::Result<()> {
        let body = format!(r#"{{"address":"{address}","refresh_token":"{refresh_token}"}}"#);
        self.post("/admin/accounts", body.as_bytes()).map(drop)
    }

    pub fn deliver(&self, address: &str, mail: &[u8]) -> anyhow::Result<()> {
        self.post(&format!("/admin/messages?address={address}"), mail).map(drop)
    }

    /// What it answers.
    pub fn post(&self, path: &str, body: &[u8]) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(answer)
    }
}

impl Drop for FakeGmail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn connect(
    library: &Library,
    mailbox_id: &str,
    address: &str,
    refresh_token: &str,
) -> anyhow::Result<()> {
    let mailbox = lib::Mailbox {
        mailbox_id: mailbox_id.into(),
        owner: "carla".into(),
        address: address.into(),
        source: Some(lib::mailbox::Source::Gmail(lib::GmailSource { oauth_client: "google".into() })),
        ..Default::default()
    };
    let oauth = lib::OAuthCredential { refresh_token: refresh_token.into(), ..Default::default() };
    let credential = lib::Credential { credential: Some(lib::credential::Credential::Oauth(oauth)) };
    let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential: Some(credential) };
    library.mailboxes.clone().connect_mailbox(request).await?;
    Ok(())
}
