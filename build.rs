//! Compiles `proto/` without protoc: protox parses, tonic-prost-build generates.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let public = ["docket/schedule/v1", "docket/library/v1"];
    let descriptors = protox::compile(files(&public)?, ["proto"])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        // Theirs would show secrets; see proto/redacted.rs.
        .skip_debug([".docket.library.v1.Credential", ".docket.library.v1.OAuthCredential"])
        .compile_fds(descriptors)?;

    if env::var_os("CARGO_FEATURE_STORED").is_some() {
        let stored = protox::compile(files(&["docket/stored/v1"])?, ["proto"])?;
        tonic_prost_build::configure().btree_map(".").bytes(".").compile_fds(stored)?;
    }
    Ok(())
}

fn files(folders: &[&str]) -> Result<Vec<PathBuf>, std::io::Error> {
    let mut files = Vec::new();
    for folder in folders {
        for entry in fs::read_dir(PathBuf::from("proto").join(folder))? {
            files.push(entry?.path());
        }
    }
    files.sort();
    Ok(files)
}
