//! What is found out about a server on the way to it, step by step: for people who set a source up.

use std::time::Duration;

/// Something that was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The step, as `resolve`, `host key`.
    pub step: &'static str,
    /// What was found, safe for a line.
    pub text: String,
    /// How long it took, if it had to be waited for.
    pub took: Option<Duration>,
    /// What to mend, though it works.
    pub advice: Option<String>,
    /// The line of the source's settings that says the same, if the server's owner confirms it.
    pub paste: Option<String>,
    /// Lines of settings that belong into a table of this source, as it was found.
    pub setting: Option<String>,
}

impl Finding {
    /// Found in `step`. What a server said in `text` is made safe by a task that puts it there.
    pub fn new(step: &'static str, text: impl Into<String>) -> Self {
        Self { step, text: text.into(), took: None, advice: None, paste: None, setting: None }
    }

    /// It took this long.
    #[must_use]
    pub fn took(mut self, time: Duration) -> Self {
        self.took = Some(time);
        self
    }

    /// With something to mend.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// With lines for a table of this source.
    #[must_use]
    pub fn setting(mut self, lines: impl Into<String>) -> Self {
        self.setting = Some(lines.into());
        self
    }

    /// With a line for the settings.
    #[must_use]
    pub fn paste(mut self, line: impl Into<String>) -> Self {
        self.paste = Some(line.into());
        self
    }
}

/// A line of settings: `key = "value"`, whatever the value holds.
pub fn text_setting(key: &str, value: &str) -> String {
    let escaped: String = value
        .chars()
        .map(|c| {
            if c.is_control() || c == '"' || c == '\\' {
                format!("\\u{:04X}", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect();
    format!("{key} = \"{escaped}\"")
}

/// Who is told what was found, at once, in order.
pub(crate) type Tell<'a> = &'a mut (dyn FnMut(Finding) + Send);

/// The addresses of a host, in a line.
pub(crate) fn resolved(addresses: &[std::net::SocketAddr], took: Duration) -> Finding {
    let each: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    Finding::new("resolve", each.join(", ")).took(took)
}
