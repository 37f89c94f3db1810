//! The demo's world: three people's mailboxes below one folder, and mails that arrive later.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use docket::library::v1::FolderFormat;

pub struct Person {
    pub owner: &'static str,
    pub mailbox: &'static str,
    pub format: FolderFormat,
    /// Seconds between two syncs; different, so that they do not march in step.
    pub every: i64,
}

pub const PEOPLE: [Person; 3] = [
    Person { owner: "anna", mailbox: "anna-maildir", format: FolderFormat::Maildir, every: 3 },
    Person { owner: "bruno", mailbox: "bruno-mbox", format: FolderFormat::Mbox, every: 4 },
    Person { owner: "carla", mailbox: "carla-eml", format: FolderFormat::Eml, every: 5 },
];

impl Person {
    pub fn format_name(&self) -> &'static str {
        match self.format {
            FolderFormat::Maildir => "Maildir",
            FolderFormat::Mbox => "mbox",
            FolderFormat::Eml | FolderFormat::Unspecified => ".eml files",
        }
    }
}

pub struct Stage {
    root: PathBuf,
    later: Vec<PathBuf>,
}

impl Stage {
    /// Lays the sample mails out in each person's own format.
    pub fn build(root: &Path) -> anyhow::Result<Self> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mails");
        let stage = Self { root: root.to_owned(), later: mails(&fixtures.join("later"))? };
        for person in &PEOPLE {
            let folder = root.join(person.mailbox);
            match person.format {
                FolderFormat::Maildir => {
                    for sub in ["cur", "new", "tmp"] {
                        fs::create_dir_all(folder.join(sub))?;
                    }
                }
                FolderFormat::Mbox => fs::write(&folder, "")?,
                FolderFormat::Eml | FolderFormat::Unspecified => fs::create_dir_all(&folder)?,
            }
            for mail in mails(&fixtures.join(person.owner))? {
                stage.deliver(person, &fs::read(mail)?)?;
            }
        }
        Ok(stage)
    }

    /// The next of the later mails arrives. False when all have.
    pub fn arrive(&mut self, person: &Person) -> anyhow::Result<bool> {
        let Some(mail) = self.later.pop() else { return Ok(false) };
        self.deliver(person, &fs::read(mail)?)?;
        Ok(true)
    }

    fn deliver(&self, person: &Person, mail: &[u8]) -> anyhow::Result<()> {
        let folder = self.root.join(person.mailbox);
        let name = format!("{}.{}", mails_in(&folder, person)?, std::process::id());
        match person.format {
            // As Maildir asks: written in tmp, then moved.
            FolderFormat::Maildir => {
                let unfinished = folder.join("tmp").join(&name);
                fs::write(&unfinished, mail)?;
                fs::rename(unfinished, folder.join("new").join(&name))?;
            }
            FolderFormat::Mbox => {
                let mut file = fs::read(&folder)?;
                append_mbox(&mut file, mail);
                let unfinished = folder.with_extension("unfinished");
                fs::write(&unfinished, file)?;
                fs::rename(unfinished, &folder)?;
            }
            FolderFormat::Eml | FolderFormat::Unspecified => {
                let unfinished = folder.join(format!("{name}.tmp"));
                fs::write(&unfinished, mail)?;
                fs::rename(unfinished, folder.join(format!("{name}.eml")))?;
            }
        }
        Ok(())
    }

    /// Mails that a person has, as the file system tells it.
    pub fn mails(&self, person: &Person) -> anyhow::Result<usize> {
        mails_in(&self.root.join(person.mailbox), person)
    }
}

fn mails_in(folder: &Path, person: &Person) -> anyhow::Result<usize> {
    Ok(match person.format {
        FolderFormat::Maildir => {
            fs::read_dir(folder.join("new"))?.count() + fs::read_dir(folder.join("cur"))?.count()
        }
        FolderFormat::Mbox => {
            let file = fs::read(folder)?;
            file.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"From docket ")).count()
        }
        FolderFormat::Eml | FolderFormat::Unspecified => fs::read_dir(folder)?.count(),
    })
}

/// mboxrd: lines that begin with any number of `>` and `From ` get one more.
fn append_mbox(file: &mut Vec<u8>, mail: &[u8]) {
    file.extend_from_slice(b"From docket Thu Jan  1 00:00:00 2026\n");
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        if line[quotes..].starts_with(b"From ") {
            file.push(b'>');
        }
        file.extend_from_slice(line);
    }
    file.extend_from_slice(b"\n\n");
}

fn mails(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut mails: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    mails.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    mails.sort();
    Ok(mails)
}
