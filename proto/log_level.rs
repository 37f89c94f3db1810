//! `log.level` of both services.

/// A bare word is a level. Filters take any other for a module's name, and then nothing else is logged.
///
/// # Errors
/// Names the word.
pub fn check(level: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_bare = |word: &str| word.chars().all(|char| char.is_alphanumeric() || "_:-.".contains(char));
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let words = level.split(',').map(str::trim).filter(|word| !word.is_empty());
    match words.clone().find(|word| is_bare(word) && !is_level(word)) {
        Some(word) => Err(format!(
            "log.level: `{word}` is no level; write error, warn, info, debug or trace, or MODULE=LEVEL as in \
             \"info,{word}=debug\""
        )),
        None if words.count() == 0 => {
            Err("log.level is empty; write error, warn, info, debug or trace".into())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_word_that_is_no_level_is_named() {
        for level in
            ["info", "INFO", "info,scheduler_svc=debug", "warn, h2=trace", "info,[call{method=x}]=debug"]
        {
            check(level).expect(level);
        }
        for (level, word) in [("loud", "`loud`"), ("info,scheduler_svc", "`scheduler_svc`"), ("", "empty")] {
            let why = check(level).expect_err(level);
            assert!(why.starts_with("log.level") && why.contains(word), "{why}");
        }
    }
}
