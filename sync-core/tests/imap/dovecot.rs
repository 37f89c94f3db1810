//! A Dovecot of one's own: in a temporary folder, on free ports, as an ordinary user.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const REMEDY: &str = "dovecot is needed for this test (Debian: apt-get install dovecot-imapd)";
/// What tokens for XOAUTH2 are signed with, in base64.
pub const TOKEN_SECRET: &str = "YSBzZWNyZXQgdGhhdCBvbmx5IHRoaXMgc2VydmVyIGtub3dz";

pub struct Dovecot {
    folder: TempDir,
    process: Child,
    pub tls_port: u16,
    pub plain_port: u16,
    written: usize,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap().port()
}

/// Output of `id` for the user that the server runs as, and whether it has to become that user.
fn user() -> (String, String, bool) {
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, "-n"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    match id("-u").as_str() {
        "root" => ("nobody".into(), "nogroup".into(), true),
        user => (user.to_owned(), id("-g"), false),
    }
}

impl Dovecot {
    /// Every user has the password `secret`.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        super::certificates::make(folder.path());
        let (user, group, is_root) = user();
        let (plain_port, tls_port) = (free_port(), free_port());
        for name in ["run", "state", "log", "mail", "jwt/default/HS256"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let here = folder.path().display().to_string();
        write(folder.path(), "jwt/default/HS256/default", TOKEN_SECRET);
        write(folder.path(), "oauth2.conf.ext", &OAUTH.replace("$R", &here));
        let config = CONFIG.replace("$R", &here).replace("$USER", &user).replace("$GROUP", &group);
        let config = config.replace("$PLAIN", &plain_port.to_string()).replace("$TLS", &tls_port.to_string());
        write(folder.path(), "dovecot.conf", &config);
        let program =
            ["/usr/sbin/dovecot", "/usr/local/sbin/dovecot"].into_iter().find(|it| Path::new(it).exists());
        let program = program.expect(REMEDY);
        let mut command = if is_root {
            let owner = format!("{user}:{group}");
            let owned = Command::new("chown").args(["-R", &owner]).arg(folder.path()).status().unwrap();
            assert!(owned.success());
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user, "--regid", &group, "--clear-groups", program]);
            command
        } else {
            Command::new(program)
        };
        command.args(["-F", "-c"]).arg(folder.path().join("dovecot.conf"));
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect(REMEDY);
        let mut dovecot = Self { folder, process, tls_port, plain_port, written: 0 };
        dovecot.until_it_answers();
        dovecot
    }

    fn until_it_answers(&mut self) {
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.tls_port)).is_err() {
            let ended = self.process.try_wait().unwrap();
            let log = || fs::read_to_string(self.folder.path().join("log/dovecot.log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < until, "dovecot did not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub fn maildir(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user)
    }

    /// Into a folder of the Maildir: `` is the inbox, `.Archive` another.
    pub fn deliver(&mut self, user: &str, folder: &str, mail: &str) -> PathBuf {
        let place = self.maildir(user).join(folder);
        for name in ["cur", "new", "tmp"] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        self.written += 1;
        let file = place.join("new").join(format!("{}.M{}.test", 1_767_600_000 + self.written, self.written));
        fs::write(&file, mail).unwrap();
        file
    }

    /// What was written by this process belongs to the server's user, too.
    pub fn hand_over(&self) {
        let mut folders = vec![self.folder.path().join("mail")];
        while let Some(folder) = folders.pop() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
            for entry in fs::read_dir(&folder).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o666)).unwrap();
                }
            }
        }
    }

    /// Forgets all UIDs: the folders get new ones, and another UIDVALIDITY.
    pub fn forget_uids(&self, user: &str, validity: u32) {
        for entry in fs::read_dir(self.maildir(user)).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("dovecot") && entry.path().is_file() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        let list = format!("3 V{validity} N1 G1234567890abcdef1234567890abcdef\n");
        fs::write(self.maildir(user).join("dovecot-uidlist"), list).unwrap();
        self.hand_over();
    }
}

#[allow(clippy::print_stderr)]
impl Drop for Dovecot {
    fn drop(&mut self) {
        // The master takes its children with it.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.folder.path().join("log/dovecot.log")).unwrap_or_default()
            );
        }
    }
}

fn write(folder: &Path, name: &str, content: &str) {
    fs::write(folder.join(name), content).unwrap();
}

const CONFIG: &str = "
auth_failure_delay = 0
base_dir = $R/run
state_dir = $R/state
log_path = $R/log/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <$R/server.pem
ssl_key = <$R/server.key
default_login_user = $USER
default_internal_user = $USER
default_internal_group = $GROUP
first_valid_uid = 1
mail_location = maildir:$R/mail/%u
mail_max_userip_connections = 20
auth_mechanisms = plain xoauth2
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = $R/oauth2.conf.ext
}
passdb {
  driver = static
  mechanisms = plain
  args = password=secret
}
userdb {
  driver = static
  args = uid=$USER gid=$GROUP home=$R/mail/%u
}
namespace inbox {
  inbox = yes
  separator = .
  mailbox Archive {
    special_use = \\Archive
  }
}
service imap-login {
  chroot =
  inet_listener imap {
    port = $PLAIN
  }
  inet_listener imaps {
    port = $TLS
    ssl = yes
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
";

const OAUTH: &str = "
introspection_mode = local
local_validation_key_dict = fs:posix:prefix=$R/jwt/
username_attribute = sub
";
