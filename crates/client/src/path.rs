//! Request targets: user text inside a path or a query is percent-encoded (RFC 3986 §2.1).

/// Encodes everything but the unreserved characters of RFC 3986 §2.3.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
        out
    })
}

/// `/v1/tasks/{reference}{rest}`.
pub(crate) fn task(reference: &str, rest: &str) -> String {
    format!("/v1/tasks/{}{rest}", encode(reference))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_of_a_name_can_change_the_request() {
        assert_eq!(task("web-1.x_y", "/start"), "/v1/tasks/web-1.x_y/start");
        assert_eq!(encode("a/b?c#d e\r\n%é"), "a%2Fb%3Fc%23d%20e%0D%0A%25%C3%A9");
    }
}
