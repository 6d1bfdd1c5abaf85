//! Bytes from outside as text that is safe to show.

/// Bytes from outside as text that is safe on one line: control characters, invisible
/// direction marks and invalid UTF-8 are shown as `\xNN` or `\u{NNNN}`.
pub fn printable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                _ if !hostile_on_a_line(c) => out.push(c),
                '\0'..='\x7f' => out.push_str(&format!("\\x{:02X}", u32::from(c))),
                _ => out.push_str(&format!("\\u{{{:04X}}}", u32::from(c))),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02X}"));
        }
    }
    out
}

/// Control characters, line and paragraph separators, bidirectional overrides, zero-width marks.
fn hostile_on_a_line(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(c, '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
