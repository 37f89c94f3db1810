//! A small IMAP server that behaves, until a script says otherwise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the server does instead. `{tag}` stands for the command's tag.
#[derive(Clone)]
pub enum Act {
    Say(String),
    SayAndClose(String),
    /// This byte again and again.
    Drip,
    Nothing,
}

/// For a command, without its tag; `GREETING` and `TLS` come first.
pub type Script = Arc<dyn Fn(&str) -> Option<Act> + Send + Sync>;

#[derive(Clone, Default)]
pub struct Mail {
    pub validity: u32,
    pub messages: BTreeMap<u32, String>,
}

pub struct Server {
    pub address: SocketAddr,
    folder: TempDir,
    pub mail: Arc<Mutex<Mail>>,
    pub script: Arc<Mutex<Script>>,
    /// Commands so far, without tags.
    pub seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub async fn start(messages: impl IntoIterator<Item = String>) -> Self {
        Self::with(messages, "server.pem", false).await
    }

    /// With another certificate; `plain` begins without TLS.
    pub async fn with(messages: impl IntoIterator<Item = String>, certificate: &str, plain: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        super::certificates::make(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let messages = (1..).zip(messages).collect();
        let server = Self {
            address: listener.local_addr().unwrap(),
            mail: Arc::new(Mutex::new(Mail { validity: 7, messages })),
            script: Arc::new(Mutex::new(Arc::new(|_: &str| None))),
            seen: Arc::default(),
            folder,
        };
        let acceptor = acceptor(server.folder.path(), certificate);
        let shared =
            Shared { mail: server.mail.clone(), script: server.script.clone(), seen: server.seen.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), shared.clone(), plain));
            }
        });
        server
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn play(&self, script: impl Fn(&str) -> Option<Act> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    pub fn behave(&self) {
        self.play(|_| None);
    }

    /// Answers once, and then as it should.
    pub fn play_once(&self, script: impl Fn(&str) -> Option<Act> + Send + Sync + 'static) {
        let done = std::sync::atomic::AtomicBool::new(false);
        self.play(move |command| {
            let act = script(command)?;
            (!done.swap(true, std::sync::atomic::Ordering::SeqCst)).then_some(act)
        });
    }

    /// How many commands so far hold `part`.
    pub fn count(&self, part: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|command| command.contains(part)).count()
    }
}

fn acceptor(folder: &Path, certificate: &str) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_file(folder.join(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
}

#[derive(Clone)]
struct Shared {
    mail: Arc<Mutex<Mail>>,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Shared, plain: bool) {
    if plain {
        let mut plain = Connection { stream: BufReader::new(stream), shared: shared.clone() };
        if plain.converse(true).await != Some(End::StartTls) {
            return;
        }
        if let Ok(stream) = acceptor.accept(plain.stream.into_inner()).await {
            Connection { stream: BufReader::new(stream), shared }.commands().await;
        }
    } else if let Ok(stream) = acceptor.accept(stream).await {
        Connection { stream: BufReader::new(stream), shared }.converse(false).await;
    }
}

#[derive(PartialEq)]
enum End {
    StartTls,
    Closed,
}

struct Connection<S> {
    stream: BufReader<S>,
    shared: Shared,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn converse(&mut self, plain: bool) -> Option<End> {
        let greeting = if plain { "PLAIN GREETING" } else { "GREETING" };
        match self.scripted(greeting, "*").await {
            Some(true) => {}
            Some(false) => return Some(End::Closed),
            None => self.say("* OK ready\r\n").await?,
        }
        self.commands().await
    }

    async fn commands(&mut self) -> Option<End> {
        let mut last_tag = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.ok()? == 0 {
                return Some(End::Closed);
            }
            let Some((tag, command)) = line.trim_end().split_once(' ') else {
                // What a `+` has asked for.
                self.shared.seen.lock().unwrap().push(line.trim_end().to_owned());
                self.say(&format!("{last_tag} OK done\r\n")).await?;
                continue;
            };
            last_tag = tag.to_owned();
            self.shared.seen.lock().unwrap().push(command.to_owned());
            match self.scripted(command, tag).await {
                Some(true) => continue,
                Some(false) => return Some(End::Closed),
                None => {}
            }
            if command == "STARTTLS" {
                self.say(&format!("{tag} OK begin\r\n")).await?;
                return Some(End::StartTls);
            }
            let answer = self.shared.mail.lock().unwrap().answer(command);
            self.say(&answer.replace("{tag}", tag)).await?;
        }
    }

    /// Whether the script did something, and the connection goes on.
    async fn scripted(&mut self, command: &str, tag: &str) -> Option<bool> {
        let script = self.shared.script.lock().unwrap().clone();
        match script(command)? {
            Act::Say(text) => self.say(&text.replace("{tag}", tag)).await.map(|()| true).or(Some(false)),
            Act::SayAndClose(text) => {
                let _ = self.say(&text.replace("{tag}", tag)).await;
                let _ = self.stream.get_mut().shutdown().await;
                Some(false)
            }
            Act::Drip => {
                while self.say("x").await.is_some() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                Some(false)
            }
            Act::Nothing => std::future::pending().await,
        }
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.get_mut().write_all(text.as_bytes()).await.ok()?;
        self.stream.get_mut().flush().await.ok()
    }
}

impl Mail {
    pub fn answer(&self, command: &str) -> String {
        let upper = command.to_ascii_uppercase();
        let lines = match upper.split(' ').next().unwrap_or_default() {
            "CAPABILITY" => "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR IDLE CONDSTORE LITERAL+\r\n".into(),
            "LIST" => "* LIST (\\HasNoChildren) \"/\" INBOX\r\n".into(),
            "EXAMINE" => format!(
                "* {} EXISTS\r\n* OK [UIDVALIDITY {}] ok\r\n* OK [UIDNEXT {}] ok\r\n* OK [HIGHESTMODSEQ 0] ok\r\n",
                self.messages.len(),
                self.validity,
                self.messages.keys().next_back().unwrap_or(&0) + 1,
            ),
            "UID" if upper.starts_with("UID SEARCH") => {
                let found: Vec<String> = self.search(command).iter().map(u32::to_string).collect();
                format!("* SEARCH {}\r\n", found.join(" "))
            }
            "UID" => self.fetch(command),
            "LOGOUT" => "* BYE\r\n".into(),
            _ => String::new(),
        };
        lines + "{tag} OK done\r\n"
    }

    pub fn search(&self, command: &str) -> Vec<u32> {
        let words: Vec<&str> = command.split(' ').collect();
        if words[2] == "HEADER" {
            let wanted = format!("Message-ID: <{}>", words[4].trim_matches('"'));
            let matches = |(uid, text): (&u32, &String)| text.contains(&wanted).then_some(*uid);
            return self.messages.iter().filter_map(matches).collect();
        }
        let set = if words[2] == "UID" { words[3] } else { words[2] };
        self.uids(set)
    }

    fn uids(&self, set: &str) -> Vec<u32> {
        let last = self.messages.keys().next_back().copied().unwrap_or(0);
        let number = |text: &str| if text == "*" { last } else { text.parse().unwrap() };
        let mut found = Vec::new();
        for range in set.split(',') {
            let (low, high) = range.split_once(':').unwrap_or((range, range));
            let (low, high) = (number(low).min(number(high)), number(low).max(number(high)));
            found.extend(self.messages.keys().filter(|uid| (low..=high).contains(*uid)).copied());
        }
        found
    }

    /// `UID FETCH set (…)`
    pub fn fetch(&self, command: &str) -> String {
        let set = command.split(' ').nth(2).unwrap_or_default();
        let one = |uid: u32| {
            let (text, at) = (&self.messages[&uid], self.messages.range(..=uid).count());
            if command.contains("HEADER.FIELDS") { head(at, uid, text) } else { body(at, uid, text) }
        };
        self.uids(set).into_iter().map(one).collect()
    }
}

pub fn head(at: usize, uid: u32, text: &str) -> String {
    let header: String = text
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| ["Message-ID", "Date", "From", "Subject"].iter().any(|name| line.starts_with(name)))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let header = header + "\r\n";
    format!(
        "* {at} FETCH (UID {uid} INTERNALDATE \" 5-Jan-2026 10:00:00 +0000\" RFC822.SIZE {} \
         BODY[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]<0> {{{}}}\r\n{header})\r\n",
        text.len(),
        header.len()
    )
}

pub fn body(at: usize, uid: u32, text: &str) -> String {
    format!("* {at} FETCH (UID {uid} BODY[] {{{}}}\r\n{text})\r\n", text.len())
}
