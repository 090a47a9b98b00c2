//! Text of others, made safe for a terminal.

/// Whether a character could steer a terminal or turn the reading direction.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line: white space becomes a blank, other control characters are left out.
///
/// Names, images and messages come from whoever made the task; an escape sequence in one must not
/// reach the terminal of whoever looks.
pub(crate) fn plain(text: &str) -> String {
    let blank = |c: char| if matches!(c, '\n' | '\t' | '\r') { ' ' } else { c };
    text.trim().chars().map(blank).filter(|c| !steers(*c)).collect()
}

/// Commands of several lines: as [`plain`], but lines and tabs stay.
pub(crate) fn plain_lines(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !steers(*c)).collect()
}

/// JSON whose strings cannot steer a terminal either: serde escapes C0 but neither DEL nor C1.
pub(crate) fn plain_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if c != '\n' && steers(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_never_reach_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{9b}2Jc\nd\te\u{202e}f\x7f"), "a[31mb2Jc d ef");
        assert_eq!(plain_lines("a\x1b\n\tb\r"), "a\n\tb");
        let json = serde_json::to_string(&"\u{9b}2J\x7f\x1b").unwrap();
        assert_eq!(plain_json(&json), r#""\u009b2J\u007f\u001b""#);
        assert_eq!(serde_json::from_str::<String>(&plain_json(&json)).unwrap(), "\u{9b}2J\x7f\x1b");
    }
}
