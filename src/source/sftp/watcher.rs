//! Watches a handshake: what the server presented, and why it was refused.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::{self, DisconnectReason};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{ChannelId, Disconnect};
use tokio::time::Instant;

use crate::model::failure::Class;
use crate::model::printable;
use crate::source::finding::Finding;
use crate::source::sftp::greeting::{FirstWords, LastSender};
use crate::source::sftp::handshake_reasons::{self, SshCause};
use crate::source::sftp::host_key::{Distrust, Presented, SftpTrust};
use crate::source::sftp::open_error::OpenError;
use crate::source::sftp::requests::LastWords;

/// What was seen of a connection from below and from within.
#[derive(Clone, Default)]
pub struct SftpWatch {
    pub notes: Arc<Mutex<SftpNotes>>,
    pub first_words: FirstWords,
    pub last_words: LastWords,
    pub last_sender: LastSender,
}

#[derive(Default)]
pub struct SftpNotes {
    pub presented: Option<Presented>,
    pub distrust: Option<Distrust>,
    pub about_login: bool,
    /// Whether the server said on leaving that there are too many.
    pub is_full: bool,
    /// Whether the connection ended over what the server sent.
    pub is_broken: bool,
    /// What the server showed last to those who log in.
    pub banner: Option<String>,
}

/// How much of a banner is told.
const MOST_BANNER: usize = 200;

/// Whether a server that left with these words has no room, rather than no liking for what it was
/// shown.
fn says_full(words: &str) -> bool {
    let any = |some: &[&str]| some.iter().any(|word| words.contains(word));
    any(&["too many", "maxim", "concurrent", "simultan", "limit", "exceed"])
        && !any(&["fail", "attempt", "tries", "password", "credential"])
}

impl SftpWatch {
    pub(crate) fn notes(&self) -> std::sync::MutexGuard<'_, SftpNotes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the server said on leaving, or else `otherwise`.
    pub fn ended(&self, otherwise: &str) -> String {
        self.last_words.heard().unwrap_or_else(|| otherwise.to_owned())
    }

    /// `text`, with what the server showed last to those who log in: some tell there why they
    /// refuse.
    pub(super) fn with_banner(&self, text: String) -> String {
        match &self.notes().banner {
            Some(banner) => format!("{text}; its banner says `{banner}`"),
            None => text,
        }
    }

    /// What the handshake that began at `start` showed of the server.
    pub fn findings(&self, start: Instant) -> Vec<Finding> {
        let notes = self.notes();
        let Some(presented) = &notes.presented else { return Vec::new() };
        let words = self.first_words.heard();
        let greeting = String::from_utf8_lossy(&words);
        let greeting: String = greeting
            .lines()
            .find(|line| line.starts_with("SSH-"))
            .unwrap_or_default()
            .chars()
            .take(80)
            .collect();
        let key = Finding::new("host key", presented.to_string()).took(start.elapsed());
        let key = key.setting(format!("host_key = \"{}\"", presented.fingerprint));
        let key = if notes.distrust.is_some() {
            key.paste(format!("host_key = \"{}\"", presented.fingerprint))
        } else {
            key
        };
        vec![Finding::new("server", printable(greeting.as_bytes())), key]
    }

    /// The failure that the first words tell, if the server does not speak SSH.
    pub(crate) fn no_ssh(&self) -> Option<OpenError> {
        let words = &self.first_words.heard();
        if words.starts_with(b"SSH-") || words.windows(5).any(|window| window == b"\nSSH-") {
            return None;
        }
        if words.is_empty() {
            let cause = "the server closed the connection before it said anything, as servers with \
                too many connections do";
            return Some(OpenError::connect(Class::Busy, cause));
        }
        let text = printable(String::from_utf8_lossy(words).trim().as_bytes());
        // FTP, SMTP and IMAP greet; HTTP and TLS answer. None of them will be SSH the next time.
        if words[0].is_ascii_digit()
            || words.starts_with(b"HTTP/")
            || words.starts_with(b"* OK")
            || words[0] == 0x15
        {
            return Some(OpenError::connect(
                Class::Protocol,
                format!("this is no SSH server; it says `{text}`"),
            ));
        }
        Some(OpenError::connect(Class::Busy, format!("the server turned us away: `{text}`")))
    }
}

/// russh's questions to us about one connection.
pub struct Watcher {
    pub trust: SftpTrust,
    pub host: String,
    pub port: u16,
    pub watch: SftpWatch,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watcher of {}:{}", self.host, self.port)
    }
}

impl Watcher {
    pub fn judge(&self, key: &PublicKey) -> bool {
        self.watch.notes().presented = Some(Presented::of(key));
        match self.trust.judge(&self.host, self.port, key) {
            Ok(()) => true,
            Err(distrust) => {
                self.watch.notes().distrust = Some(distrust);
                false
            }
        }
    }
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        presented: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(match presented {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge(key),
            // We offer no certificate algorithm, so a server has no business to present one.
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let banner = printable(banner.trim().as_bytes()).chars().take(MOST_BANNER).collect();
        self.watch.notes().banner = Some(banner).filter(|banner: &String| !banner.is_empty());
        self.watch.last_sender.settled();
        Ok(())
    }

    async fn extended_data(
        &mut self,
        _: ChannelId,
        _: u32,
        data: &[u8],
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.watch.last_words.say_aside(data);
        Ok(())
    }

    async fn exit_status(
        &mut self,
        _: ChannelId,
        status: u32,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.watch.last_words.exited(status);
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                let message =
                    printable(info.message.trim().as_bytes()).chars().take(300).collect::<String>();
                let lower = message.to_lowercase();
                let is_full =
                    matches!(info.reason_code, Disconnect::TooManyConnections) || says_full(&lower);
                let about_login =
                    matches!(
                        info.reason_code,
                        Disconnect::NoMoreAuthMethodsAvailable | Disconnect::IllegalUserName
                    ) || ["auth", "password", "login"].iter().any(|word| lower.contains(word));
                let mut notes = self.watch.notes();
                (notes.is_full, notes.about_login) = (is_full, about_login && !is_full);
                drop(notes);
                self.watch
                    .last_words
                    .say(format!("the server disconnected: {message} ({:?})", info.reason_code));
            }
            // russh gives up by itself when a refusal leaves no other method.
            DisconnectReason::Error(russh::Error::NoAuthMethod) => {
                self.watch.notes().about_login = true;
                self.watch
                    .last_words
                    .say("the server refuses the credential, and accepts nothing else");
            }
            DisconnectReason::Error(error) => {
                let told = handshake_reasons::of(&error);
                self.watch.notes().is_broken = told.cause == SshCause::Server;
                self.watch.last_words.say(match told.cause {
                    SshCause::Server => told.text,
                    SshCause::Ended | SshCause::Here => error.to_string(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_full_is_no_refused_credential() {
        for (words, is_full) in [
            ("too many logins for user u", true),
            ("maximum number of concurrent sessions reached", true),
            ("user limit exceeded, authentication is not possible now", true),
            ("too many authentication failures", false),
            ("maximum login attempts exceeded", false),
            ("password retries exceeded", false),
            ("user unknown", false),
        ] {
            assert_eq!(says_full(words), is_full, "{words}");
        }
    }
}
