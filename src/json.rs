//! How deep JSON is.

/// How many arrays and objects may lie in each other in what is read from a homeserver, and so in
/// what is written down, which has it a few deeper: `serde_json` reads back at most 127. What people
/// and clients write has five.
pub(crate) const DEEPEST_READ: usize = 64;

/// The same for a record.
pub(crate) const DEEPEST_STORED: usize = 120;

/// How many arrays and objects lie in each other at most in a JSON text.
pub(crate) fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_each_other_is_counted_and_what_is_said_is_not() {
        for (json, deep) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a": [], "b": {"c": [1]}}"#, 3),
            (r#"["[[[", "{\"{", "\\"]"#, 1),
        ] {
            assert_eq!(depth(json.as_bytes()), deep, "{json}");
        }
    }

    #[test]
    fn what_may_be_stored_can_be_read() {
        let nested = |deep: usize| ["[".repeat(deep), "]".repeat(deep)].concat();
        let read = |json: String| serde_json::from_str::<serde_json::Value>(&json);
        assert!(read(nested(DEEPEST_STORED)).is_ok());
        assert!(read(nested(128)).is_err(), "what is deeper cannot be");
    }
}
