//! `worker-svc keys`: the key file and what is sealed with it.

use std::{future::Future, path::Path};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use sync_core::{
    archive::Catalog,
    credential::{Credentials, Vault, key_file, keyring::Version},
    sync::Clock,
};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Makes a key file with one version.
    Create,
    /// Adds a version, which becomes the active one: new credentials are sealed with it.
    Add {
        /// Leave the active version as it is, until every worker has the new file.
        #[arg(long)]
        inactive: bool,
    },
    /// Makes a version the active one.
    Activate { version: Version },
    /// Wraps all data keys anew with the active version. Workers may go on; it may be repeated.
    Rotate,
    /// Removes a version that nothing in the archive is sealed with.
    Remove { version: Version },
    /// Says which versions there are and how many credentials each of them wraps.
    Status,
}

/// `catalog` is opened only if the command needs it.
///
/// # Errors
/// Says what to do.
#[allow(clippy::print_stdout)]
pub async fn run(
    command: Command,
    path: &Path,
    catalog: impl Future<Output = anyhow::Result<Catalog>>,
    clock: Clock,
) -> anyhow::Result<()> {
    if path.as_os_str().is_empty() {
        bail!("no key file is named: set DOCKET_CREDENTIALS__KEY_FILE or credentials.key_file");
    }
    match command {
        Command::Create => {
            key_file::create(path)?;
            println!(
                "created {} with version 1; keep a copy apart from backups of the database",
                path.display()
            );
        }
        Command::Add { inactive } => {
            let version = key_file::add(path, !inactive)?;
            let next = if inactive { "activate it when every worker has the file" } else { "it is active" };
            println!("added version {version}; {next}");
        }
        Command::Activate { version } => {
            key_file::activate(path, version)?;
            println!("version {version} is active; `keys rotate` wraps what is sealed with other versions");
        }
        Command::Rotate => rotate(path, catalog.await?, clock).await?,
        Command::Remove { version } => {
            let used = catalog.await?.key_versions().await?;
            if let Some((_, count)) = used.iter().find(|(used, _)| *used == version) {
                bail!("{count} credentials are sealed with version {version}; `keys rotate` first");
            }
            key_file::remove(path, version)?;
            println!(
                "removed version {version}; backups of the database that need it cannot be opened any more"
            );
        }
        Command::Status => status(path, &catalog.await?).await?,
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
async fn rotate(path: &Path, catalog: Catalog, clock: Clock) -> anyhow::Result<()> {
    let vault = Vault::open(path)?;
    let active = vault.keyring().active();
    let counts = catalog.key_versions().await?;
    let total: u64 = counts.iter().filter(|(version, _)| *version != active).map(|(_, count)| count).sum();
    let credentials = Credentials::new(catalog, Some(vault.into()), clock);
    let progress = |done: sync_core::credential::rotation::Rotated| {
        println!("{} of {total}", done.rewrapped + done.changed_meanwhile + done.unreadable);
    };
    let (done, active) = credentials.rotate(progress).await.context("rotate")?;
    println!("{} credentials are sealed with version {active} now", done.rewrapped);
    if done.changed_meanwhile > 0 {
        println!("{} were changed by somebody else meanwhile", done.changed_meanwhile);
    }
    if done.unreadable > 0 {
        bail!("{} do not open with this key file; the log names them", done.unreadable);
    }
    Ok(())
}

#[allow(clippy::print_stdout)]
async fn status(path: &Path, catalog: &Catalog) -> anyhow::Result<()> {
    let (ring, _) = key_file::read(path)?;
    let used = catalog.key_versions().await?;
    for version in ring.versions() {
        let count = used.iter().find(|(used, _)| *used == version).map_or(0, |(_, count)| *count);
        let active = if version == ring.active() { " (active)" } else { "" };
        println!("version {version}{active}: {count} credentials");
    }
    for (version, count) in used.iter().filter(|(version, _)| ring.key(*version).is_none()) {
        println!("version {version} is not in the key file: {count} credentials cannot be opened");
    }
    Ok(())
}
