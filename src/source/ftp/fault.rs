//! What a server's refusal or a broken connection means.

use std::io;

use super::tls_reasons;
use crate::model::failure::Class;
use crate::model::{RemotePath, printable};
use crate::source::contract::{Op, SourceError};
use crate::source::proxy;

/// The most characters of a server's reply that go into a message.
const REPLY_CHARS: usize = 300;

/// One reply of a server, with every line it had.
#[derive(Clone, Debug)]
pub(crate) struct FtpReply {
    /// The three digits that ended it.
    pub code: u32,
    /// All its lines as they came.
    pub body: Vec<u8>,
}

impl FtpReply {
    /// The path that a reply to PWD names, as RFC 959 quotes it.
    pub(super) fn named_path(&self) -> Option<&[u8]> {
        let quoted = self.body.split(|byte| *byte == b'"').nth(1);
        quoted.filter(|_| self.code == 257)
    }

    /// A reply of these lines.
    pub fn of(body: &[u8]) -> Self {
        let last = body
            .split(|b| *b == b'\n')
            .rev()
            .find(|line| !line.trim_ascii().is_empty())
            .unwrap_or_default();
        let code = last.get(..3).and_then(super::when::number).unwrap_or(0);
        Self { code, body: body.to_vec() }
    }

    /// The text on one safe line.
    pub fn text(&self) -> String {
        let lines = self
            .body
            .split(|b| *b == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty());
        let text = lines.map(printable).collect::<Vec<_>>().join(" / ");
        text.chars().take(REPLY_CHARS).collect()
    }

    /// Whether the text holds one of these words, whatever the case.
    pub fn says(&self, words: &[&str]) -> bool {
        let text = String::from_utf8_lossy(&self.body).to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    /// A 550 that is about rights, not about a missing file.
    pub(crate) fn denies(&self) -> bool {
        self.says(&[
            "permission",
            "denied",
            "not permitted",
            "not allowed",
            "forbidden",
            "unauthor",
            "privilege",
            "prohibited",
            "access is",
        ])
    }

    /// A 550 that says in words that there is no such file.
    pub(crate) fn says_missing(&self) -> bool {
        self.says(&[
            "no such",
            "not found",
            "not exist",
            "cannot find",
            "can't find",
            "unknown file",
            "does not exist",
        ])
    }

    /// A refusal of a file that another program has open, as IIS says it.
    pub(crate) fn says_in_use(&self) -> bool {
        self.says(&[
            "being used by another process",
            "sharing violation",
            "file is busy",
            "file in use",
            "file is locked",
        ])
    }

    /// A refused login that is about how many there are.
    fn says_full(&self) -> bool {
        self.says(&[
            "too many",
            "maxim",
            "limit",
            "try again later",
            "busy",
            "overload",
            "exceed",
            "number of connections",
            "already connected",
            "concurrent",
            "simultan",
            "is full",
        ])
    }

    /// A data connection that was refused because it did not take up the session of the control
    /// connection, as FileZilla Server says with 425 or 450.
    pub(super) fn wants_session_resumed(&self) -> bool {
        matches!(self.code, 425 | 450) && self.says(&["session"]) && self.says(&["resum", "reus"])
    }

    /// A refusal of a login in clear text.
    fn wants_tls(&self) -> bool {
        self.says(&["ssl", "tls", "encrypt", "secure connection"])
    }

    /// The server has no such command, or not with this argument.
    pub(crate) fn not_understood(&self) -> bool {
        matches!(self.code, 500..=504) && !self.dying()
    }

    /// What was asked for is done, in one of the words that servers have for it. 202 is none: the
    /// command was superfluous.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.code, 200 | 225 | 226 | 250 | 257)
    }

    /// It says that a command is done, and nothing else: it is the same whichever command that was.
    pub(super) fn says_done_alone(&self) -> bool {
        let is_one_line = self.body.iter().filter(|b| **b == b'\n').count() <= 1;
        matches!(self.code, 200 | 225 | 226 | 250) && is_one_line
    }

    /// The command failed, and the session goes on.
    pub fn is_error(&self) -> bool {
        matches!(self.code, 400..=420 | 422..=599) && !self.dying()
    }

    /// It is no answer for this path; another command may have one.
    pub(crate) fn is_about_the_path(&self) -> bool {
        matches!(self.code, 450..=452 | 550..=553) && !self.dying()
    }

    /// vsftpd's last words before it ends the connection.
    pub fn dying(&self) -> bool {
        self.says(&["oops"])
    }
}

/// Why a question was not answered as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// With another reply than was wanted.
    #[error("{}", .0.text())]
    Refused(FtpReply),
    /// The connection ended, or was never made.
    #[error(transparent)]
    Io(io::Error),
    /// What TLS itself says.
    #[error("{0}")]
    Tls(String),
    /// With this line, which is no reply.
    #[error("the server sent a reply that the protocol does not know: {0}")]
    Nonsense(String),
    /// With a reply that is longer than so many bytes.
    #[error("the server sent a reply larger than {0} bytes")]
    TooLong(usize),
}

/// vsftpd dies like this when it finds no port to listen on.
pub(super) const FEW_PORTS: &str = "the server may have run out of passive ports: lower \
    `connections`, or ask its owner for a wider passive port range";

/// What helps where another program has a file open.
const IN_USE: &str = "another program has the file open at the server: it is taken once that has \
    closed it; if it stays, ask the server's owner which program that is";

/// Where a fault happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    /// What was being done.
    pub op: Op,
    /// With which server.
    pub address: &'a str,
    /// To what, if it was about one path.
    pub path: Option<&'a RemotePath>,
}

impl Scene<'_> {
    /// An error of this class here.
    pub fn fault(self, class: Class, cause: impl Into<String>) -> SourceError {
        let error = SourceError::new(self.op, self.address, class, cause.into());
        match self.path {
            Some(path) => error.at(path),
            None => error,
        }
    }

    /// Fewer replies than questions, which a task that asks them rules out.
    pub(crate) fn unanswered(self) -> SourceError {
        self.fault(Class::Internal, "no reply was kept")
    }

    /// A reply other than the ones that were waited for.
    pub fn refused(self, reply: &FtpReply) -> SourceError {
        let text = reply.text();
        match reply.code {
            421 if reply.says(&["timeout", "timed out", "idle", "inactiv"]) => {
                self.fault(Class::Connect, format!("the server closed an idle session: {text}"))
            }
            421 | 120 => self.fault(Class::Busy, text),
            332 if self.op == Op::Login => self
                .fault(
                    Class::Protocol,
                    format!("{text}; the server wants an account: set `account`"),
                )
                .transient(false),
            // The user is one who may not come in clear text.
            500..=550 if self.op == Op::Login && reply.wants_tls() => {
                self.fault(Class::Tls, format!("{text}; the server wants encryption: set `tls`"))
            }
            550 if self.op == Op::Login => self.fault(Class::Auth, text),
            // vsftpd dies after the password when the user's folder does not suit it: waiting mends
            // nothing.
            _ if reply.dying()
                && reply.says(&[
                    "refusing to run",
                    "cannot change directory",
                    "cannot locate user",
                ]) =>
            {
                self.fault(Class::Permission, text)
            }
            _ if reply.dying() && self.op == Op::Login => self.fault(Class::Busy, text),
            _ if reply.dying() => self.fault(Class::Busy, format!("{text}; {FEW_PORTS}")),
            _ if reply.wants_session_resumed() => self.fault(
                Class::Tls,
                format!("{text}; the server wants each data connection to go on with a session"),
            ),
            425 => self.fault(Class::Busy, format!("{text}; {FEW_PORTS}")),
            426 => self.fault(Class::Truncated, text),
            450..=452 | 552 => self.fault(Class::Busy, text).transient(true).session_survives(),
            430 | 530 | 532 | 332 if self.op == Op::Login && reply.says_full() => {
                self.fault(Class::Busy, text)
            }
            // The password is right, and IIS has no folder for this user.
            530 if self.op == Op::Login && reply.says(&["home directory"]) => {
                self.fault(Class::Permission, text)
            }
            430 | 530 | 532 | 332 => self.fault(Class::Auth, text),
            521 | 522 | 533..=536 => self.fault(
                Class::Tls,
                format!(
                    "{text}; the server's rules on TLS refuse this: see `tls` and `tls_max_version`"
                ),
            ),
            550 if reply.says_in_use() => {
                self.fault(Class::Busy, text).session_survives().hinted(IN_USE)
            }
            550 if reply.denies() => self.fault(Class::Permission, text).session_survives(),
            550 => self.fault(Class::NotFound, text).session_survives(),
            553 => self.fault(Class::Permission, text).session_survives(),
            400..=499 => self.fault(Class::Busy, text),
            500..=599 => self.fault(Class::Protocol, text).session_survives(),
            // A reply that answers an earlier question: nothing on this connection can be trusted
            // any more.
            _ => self
                .fault(
                    Class::Protocol,
                    format!(
                        "the replies are out of step, as where a server answers a command twice: \
                        {text}"
                    ),
                )
                .transient(true),
        }
    }

    /// The connection is of no use any more.
    pub fn broken(self, error: Broken) -> SourceError {
        match error {
            Broken::Refused(reply) => self.refused(&reply),
            Broken::Io(error) => self.lost(&error),
            Broken::Tls(text) => self.fault(Class::Tls, printable(text.as_bytes())),
            error @ (Broken::Nonsense(_) | Broken::TooLong(_)) => {
                self.fault(Class::Protocol, error.to_string())
            }
        }
    }

    /// The connection broke, or was never made.
    pub fn lost(self, error: &io::Error) -> SourceError {
        let text = printable(error.to_string().as_bytes());
        if proxy::is_refusal(error) {
            return self.fault(Class::Auth, text);
        }
        match error.get_ref() {
            // An alert may come when the handshake is done on our side.
            Some(inner)
                if matches!(inner.downcast_ref(), Some(rustls::Error::AlertReceived(_))) =>
            {
                return self.fault(Class::Tls, error.get_ref().map_or(text, tls_reasons::of));
            }
            // vsftpd writes its last words in clear text on the encrypted connection.
            Some(inner)
                if matches!(
                    inner.downcast_ref(),
                    Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
                ) =>
            {
                let why = if self.op == Op::Login { "its own log says why" } else { FEW_PORTS };
                return self.fault(
                    Class::Busy,
                    format!(
                        "the server broke off with clear text on an encrypted connection; {why}"
                    ),
                );
            }
            _ => {}
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.fault(Class::Connect, "the server closed the connection")
            }
            _ => self.fault(Class::Connect, text),
        }
    }
}

/// vsftpd and pure-ftpd do not take back the doubling of 0xFF that the protocol's Telnet rules
/// demand, so that a file which is there seems to be missing. That must not look like "vanished".
pub(super) fn refused_path(scene: Scene<'_>, path: &RemotePath, reply: &FtpReply) -> SourceError {
    if reply.code == 550 && !reply.denies() && path.as_bytes().contains(&0xFF) {
        let why = format!(
            "the name holds a byte 0xFF, which this server cannot be asked for: {}",
            reply.text()
        );
        return scene.fault(Class::Protocol, why).session_survives();
    }
    scene.refused(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    fn check(op: Op, body: &str, class: Class, transient: bool, survives: bool) {
        let code = super::super::when::number(&body.as_bytes()[..3]).unwrap();
        let scene = Scene { op, address: "ftp://x:21", path: None };
        let error = scene.refused(&FtpReply { code, body: body.as_bytes().to_vec() });
        assert_eq!(
            (error.class(), error.is_transient(), error.keeps_session()),
            (class, transient, survives),
            "{body}"
        );
    }

    #[test]
    fn refusals_mean_what_people_meant() {
        check(Op::Login, "530 Login incorrect.", Class::Auth, false, false);
        check(
            Op::Login,
            "530 Sorry, the maximum number of clients (2) for this user are already connected.",
            Class::Busy,
            true,
            false,
        );
        check(Op::Login, "421 Too many connections", Class::Busy, true, false);
        check(Op::Stat, "421 Timeout.", Class::Connect, true, false);
        check(
            Op::Read,
            "550 Failed to open file: Permission denied",
            Class::Permission,
            false,
            true,
        );
        check(Op::Read, "550 No such file", Class::NotFound, false, true);
        check(Op::Read, "450 File busy", Class::Busy, true, true);
        let in_use = "550 The process cannot access the file because it is being used by another \
            process.";
        check(Op::Read, in_use, Class::Busy, true, true);
        for full in [
            "530 Sorry, you have exceeded the number of connections.",
            "530 This user is already connected.",
            "530 Server is full.",
        ] {
            check(Op::Login, full, Class::Busy, true, false);
        }
        let homeless = "530 User cannot log in, home directory inaccessible.";
        check(Op::Login, homeless, Class::Permission, false, false);
        for refused in [
            "425 Unable to build data connection: TLS session of data connection not resumed.",
            "450 TLS session of data connection has not resumed or the session does not match",
        ] {
            check(Op::Read, refused, Class::Tls, false, false);
        }
        check(Op::Read, "552 Quota", Class::Busy, true, true);
        check(Op::Read, "426 Aborted", Class::Truncated, true, false);
        check(Op::Read, "425 Failed to establish connection.", Class::Busy, true, false);
        check(Op::Read, "500 OOPS: vsf_sysutil_bind", Class::Busy, true, false);
        check(
            Op::Read,
            "522 SSL connection failed; session reuse required",
            Class::Tls,
            false,
            false,
        );
        check(Op::Read, "502 no", Class::Protocol, false, true);
        check(Op::Stat, "226 Transfer complete", Class::Protocol, true, false);
    }
}
