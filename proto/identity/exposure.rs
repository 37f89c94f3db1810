//! Files with secrets that more people may read or write than should.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

/// What is wrong with the mode of the file that the setting `key` names; nothing where it names none. A group may read
/// it, as that of a mounted Secret does.
pub fn of(key: &str, file: &Path) -> Option<String> {
    let mode = fs::metadata(file).ok()?.permissions().mode() & 0o777;
    let wrong = match (mode & 0o022 != 0, mode & 0o007 != 0) {
        (true, _) => "others than its owner may write it",
        (false, true) => "anybody on this host may read it",
        (false, false) => return None,
    };
    Some(format!("{key}: {} has mode {mode:03o}, so {wrong}: chmod 640 it", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_and_its_groups_to_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = |mode| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            of("tls.key_file", file.path())
        };
        for fine in [0o400, 0o440, 0o600, 0o640] {
            assert_eq!(told(fine), None);
        }
        let read = told(0o644).unwrap();
        assert!(read.starts_with("tls.key_file: /") && read.contains("644, so anybody"), "{read}");
        assert!(told(0o660).unwrap().contains("write"));
        assert_eq!(of("tls.key_file", Path::new("")), None);
    }
}
