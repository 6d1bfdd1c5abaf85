//! The server spoken to by hand, byte by byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A client that sends what it is told.
struct Raw(TcpStream);

impl Raw {
    async fn login(server: &FtpServer) -> Self {
        let mut raw = Self(TcpStream::connect(server.address).await.unwrap());
        raw.reply().await;
        raw.say("USER demo").await;
        assert!(raw.say("PASS demo").await.starts_with("230"));
        raw
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let last = String::from_utf8_lossy(&text).lines().last().unwrap_or_default().to_owned();
            if text.ends_with(b"\n")
                && last.len() > 3
                && last.as_bytes()[3] == b' '
                && last.as_bytes()[0].is_ascii_digit()
            {
                return last;
            }
            text.push(self.0.read_u8().await.unwrap());
        }
    }

    async fn say(&mut self, line: &str) -> String {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    /// Sends a command that opens a data connection; what comes there.
    async fn data(&mut self, line: &str) -> Result<String, String> {
        let passive = self.say("EPSV").await;
        let port: u16 = passive.split('|').nth(3).unwrap().parse().unwrap();
        let mut data = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let first = self.say(line).await;
        if !first.starts_with("150") {
            return Err(first);
        }
        let mut text = Vec::new();
        data.read_to_end(&mut text).await.unwrap();
        assert!(self.reply().await.starts_with("226"));
        Ok(String::from_utf8(text).unwrap())
    }
}

async fn served() -> (tempfile::TempDir, FtpServer) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::write(root.join("a.txt"), b"hello").unwrap();
    let server = FtpServer::start(DemoFtpOptions::new(root)).await.unwrap();
    (outside, server)
}

#[cfg(unix)]
#[tokio::test]
async fn nothing_leads_out_of_the_folder() {
    let (outside, server) = served().await;
    let root = outside.path().join("root");
    std::os::unix::fs::symlink(outside.path(), root.join("up")).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("link")).unwrap();
    let mut raw = Raw::login(&server).await;
    for path in [
        "../secret",
        "/../secret",
        "sub/../../secret",
        "up/secret",
        "/up/secret",
        "link",
        "sub/../link",
        "..//../secret",
        "up/root/a.txt",
    ] {
        assert!(raw.data(&format!("RETR {path}")).await.unwrap_err().starts_with("550"), "{path}");
        assert!(raw.say(&format!("SIZE {path}")).await.starts_with("550"), "{path}");
        assert!(!raw.say(&format!("MDTM {path}")).await.starts_with("213"), "{path}");
    }
    for command in [
        "CWD up",
        "MKD up/x",
        "RMD up",
        "DELE up/secret",
        "MKD ../x/y",
        "RMD /",
        "RNFR up/secret",
        "DELE ../secret",
    ] {
        assert!(raw.say(command).await.starts_with('5'), "{command}");
    }
    assert!(raw.say("RNFR a.txt").await.starts_with("350"));
    assert!(raw.say("RNTO up/a.txt").await.starts_with("550"));
    assert!(raw.say("CWD ../..").await.starts_with("250"));
    assert_eq!(raw.say("PWD").await, "257 \"/\" is the current directory.");
    for command in ["LIST up", "LIST ..", "MLSD ../..", "NLST /up/.."] {
        let listed = raw.data(command).await.unwrap_or_default();
        assert!(
            !listed.contains("secret\r\n") || listed.contains("-> ../secret\r\n"),
            "{command}: {listed}"
        );
    }
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(raw.data("RETR sub/../a.txt").await.unwrap(), "hello");
}

#[tokio::test]
async fn nobody_does_anything_before_the_password() {
    let (_outside, server) = served().await;
    let mut raw = Raw(TcpStream::connect(server.address).await.unwrap());
    raw.reply().await;
    for command in ["LIST", "RETR a.txt", "EPSV", "CWD /", "DELE a.txt", "SIZE a.txt", "MKD x"] {
        assert!(raw.say(command).await.starts_with("530"), "{command}");
    }
    raw.say("USER demo").await;
    assert!(raw.say("PASS demO").await.starts_with("530"));
    assert!(raw.say("PASS demo").await.starts_with("503"));
    assert_eq!(server.counts.refused_logins.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_keeps_odd_manners() {
    let (_outside, server) = served().await;
    let mut raw = Raw::login(&server).await;
    assert!(raw.say("").await.starts_with("500"));
    assert!(raw.say("RETR a.txt").await.starts_with("425"));
    assert!(raw.say("type i").await.starts_with("200"));
    assert_eq!(raw.say("size a.txt").await, "213 5");
    assert!(raw.say("MKD q\"d").await.starts_with("257 \"/q\"\"d\""));
    assert!(raw.say("REST 3").await.starts_with("350"));
    assert_eq!(raw.data("RETR /a.txt").await.unwrap(), "lo");
    assert_eq!(raw.data("RETR /a.txt").await.unwrap(), "hello");
    assert!(raw.data("LIST -la sub").await.unwrap().ends_with(" ..\r\n"));
    assert_eq!(raw.data("NLST").await.unwrap(), "a.txt\r\nq\"d\r\nsub\r\n");
    assert!(raw.say("QUIT").await.starts_with("221"));
}

#[tokio::test]
async fn one_guest_too_many() {
    let (outside, _) = served().await;
    let server = FtpServer::start(DemoFtpOptions {
        max_connections: 1,
        ..DemoFtpOptions::new(outside.path())
    })
    .await
    .unwrap();
    let _first = Raw::login(&server).await;
    let mut second = Raw(TcpStream::connect(server.address).await.unwrap());
    assert!(second.reply().await.starts_with("421"));
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_connections() {
    let (_outside, server) = served().await;
    let mut raw = Raw::login(&server).await;
    drop(server);
    assert!(raw.0.read_u8().await.is_err());
}
