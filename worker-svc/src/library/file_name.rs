//! A name under which a download may be saved on any system.

use sync_core::text;

const NAME_MAX: usize = 120;
/// Names that Windows gives to devices, whatever follows their first point.
const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

/// The last part of `name`, without what a file system or a shell could take for more than a name; a name made of the
/// document's id and type where nothing of it is left.
pub fn safe(name: Option<&str>, document_id: &str, media_type: &str) -> String {
    let last = name.unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = text::clean(last, usize::MAX).chars().filter(|c| !r#"<>:"|?*"#.contains(*c)).collect();
    let kept = shorten(kept.trim_start_matches(['.', '-', '~', ' ']).trim_end_matches(['.', ' ']));
    let stem = kept.split('.').next().unwrap_or_default();
    if stem.is_empty() || is_device(stem) {
        return format!("document-{}{}", text::clean(document_id, 12), extension(media_type));
    }
    kept
}

/// Keeps the extension.
fn shorten(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME_MAX {
        return name.to_owned();
    }
    let extension = name.rsplit_once('.').map(|(_, end)| end).filter(|end| end.chars().count() <= 10);
    let extension = extension.map(|end| format!(".{end}")).unwrap_or_default();
    let stem: String = name.chars().take(NAME_MAX - extension.chars().count()).collect();
    stem + &extension
}

fn is_device(stem: &str) -> bool {
    let upper = stem.trim().to_ascii_uppercase();
    let is_port = |prefix: &str| {
        upper.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
    };
    DEVICES.contains(&upper.as_str()) || is_port("COM") || is_port("LPT")
}

fn extension(media_type: &str) -> &'static str {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "application/pdf" => ".pdf",
        "application/xml" | "text/xml" => ".xml",
        "text/html" => ".html",
        "text/plain" => ".txt",
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_harmless() {
        let pdf = |name| safe(Some(name), "0123456789abcdef", "application/pdf");
        assert_eq!(pdf("Rechnung Nr. 5.pdf"), "Rechnung Nr. 5.pdf");
        assert_eq!(pdf("../../etc/passwd"), "passwd");
        assert_eq!(pdf(r"C:\Windows\evil.exe"), "evil.exe");
        assert_eq!(pdf("a\r\nb\u{202e}fdp.exe"), "a  bfdp.exe");
        assert_eq!(pdf(".bashrc"), "bashrc");
        assert_eq!(pdf("-rf.pdf"), "rf.pdf");
        for nothing in ["", "..", "/", "...pdf/", "\0", "nul.pdf", "COM1", "<>"] {
            assert_eq!(pdf(nothing), "document-0123456789ab.pdf", "{nothing:?}");
        }
        let long = pdf(&("ä".repeat(300) + ".pdf"));
        assert!(long.chars().count() == NAME_MAX && long.ends_with("ä.pdf"));
        assert_eq!(safe(None, "x", "application/octet-stream"), "document-x");
    }
}
