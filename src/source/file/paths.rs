//! Paths of a source as paths of this system, and back: no byte of a name is lost.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::model::RemotePath;

/// Where `path` is. Only Windows knows hosts: `file://server/share/x` is `\\server\share\x`.
#[cfg(unix)]
pub fn local(_host: &str, path: &RemotePath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

/// `/C:/share/x` names `C:/share/x`, as in every `file://` URL on Windows.
#[cfg(not(unix))]
pub fn local(host: &str, path: &RemotePath) -> PathBuf {
    let bytes = path.as_bytes();
    if host.is_empty() {
        return PathBuf::from(text(&bytes[1..]));
    }
    let mut whole = std::ffi::OsString::from(format!("\\\\{host}"));
    let slashes: Vec<u8> =
        bytes.iter().map(|byte| if *byte == b'/' { b'\\' } else { *byte }).collect();
    whole.push(text(&slashes));
    PathBuf::from(whole)
}

#[cfg(windows)]
fn text(bytes: &[u8]) -> std::ffi::OsString {
    use std::os::windows::ffi::OsStringExt;
    std::ffi::OsString::from_wide(&wide(bytes))
}

#[cfg(not(any(unix, windows)))]
fn text(bytes: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// The bytes of a name: on Windows UTF-8, in which a surrogate that stands alone is three bytes, as
/// if it were a character.
#[cfg(any(not(target_os = "linux"), test))]
pub fn name_bytes(name: &OsStr) -> Vec<u8> {
    name.as_encoded_bytes().to_vec()
}

/// UTF-16 of bytes that are UTF-8 but for lone surrogates; what is neither is replaced.
#[cfg(any(windows, test))]
fn wide(bytes: &[u8]) -> Vec<u16> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        match rest {
            // U+D800 to U+DFFF.
            [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, after @ ..] => {
                let low = (u16::from(*second & 0x3F) << 6) | u16::from(*third & 0x3F);
                units.push(0xD000 | low);
                rest = after;
            }
            _ => {
                let next = rest.windows(2).position(|pair| pair[0] == 0xED && pair[1] >= 0xA0);
                let end = match next {
                    Some(0) => 1,
                    Some(at) => at,
                    None => rest.len(),
                };
                units.extend(String::from_utf8_lossy(&rest[..end]).encode_utf16());
                rest = &rest[end..];
            }
        }
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrogate_that_stands_alone_comes_back() {
        let text = "a \u{10348} é \u{ED00}";
        assert_eq!(wide(text.as_bytes()), text.encode_utf16().collect::<Vec<_>>());
        // 0xD800 and 0xDFFF, as the standard library of Rust encodes them.
        let name = [b"x".as_slice(), &[0xED, 0xA0, 0x80], b"y", &[0xED, 0xBF, 0xBF]].concat();
        assert_eq!(wide(&name), [u16::from(b'x'), 0xD800, u16::from(b'y'), 0xDFFF]);
    }

    #[test]
    #[cfg(unix)]
    fn every_byte_of_a_name_is_kept() {
        use std::os::unix::ffi::OsStrExt;
        let path = RemotePath::new(b"/share/\xff\xfe x".to_vec());
        assert_eq!(local("", &path).as_os_str().as_bytes(), path.as_bytes());
        assert_eq!(name_bytes(OsStr::from_bytes(b"\xff")), b"\xff");
    }
}
