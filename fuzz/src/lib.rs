//! What the targets share.

/// Parsers of PDF that panic on damaged files. The reader expects it and loses the file only, so it is no find; a panic
/// anywhere else is.
const EXPECTED: [&str; 9] = [
    "/pdf-extract-",
    "/lopdf-",
    "/adobe-cmap-parser-",
    "/type1-encoding-parser-",
    "/cff-parser-",
    "/postscript-",
    "/euclid-",
    "/pom-",
    "/weezl-",
];

/// Ends the process at every panic but the expected ones, which are left to whoever guards against them.
pub fn expect_panics_of_pdf_parsers() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |place| place.file());
        if !EXPECTED.iter().any(|name| file.contains(name)) {
            end(panic);
            std::process::abort();
        }
    }));
}
