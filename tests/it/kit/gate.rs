//! A proxy at a company's gate: SOCKS 5 and HTTP CONNECT on one port, for one user.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A proxy that knows `guest` with this password. It ends when it is dropped.
pub struct Gate {
    pub address: SocketAddr,
    /// Where it was asked to connect to, as it was asked.
    pub asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gate {
    /// Opens it.
    pub async fn open(password: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let noted = noted.clone();
                // Whoever hangs up early is no concern of the gate.
                tokio::spawn(async move { drop(pass(client, password, &noted).await) });
            }
        });
        Self { address, asked, task }
    }

    /// How often it was asked to connect.
    pub fn passed(&self) -> usize {
        self.asked.lock().expect("nobody panics with this lock").len()
    }
}

async fn pass(
    mut client: TcpStream,
    password: &str,
    noted: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let first = client.read_u8().await?;
    let target = if first == 5 {
        socks(&mut client, password).await?
    } else {
        http(&mut client, first, password).await?
    };
    let Some(target) = target else { return Ok(()) };
    noted.lock().expect("nobody panics with this lock").push(target.clone());
    let yes: &[u8] = if first == 5 {
        &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    } else {
        b"HTTP/1.1 200 Connection established\r\nVia: gate\r\n\r\n"
    };
    let no: &[u8] = if first == 5 {
        &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]
    } else {
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n"
    };
    let Ok(mut server) = TcpStream::connect(&target).await else {
        return client.write_all(no).await;
    };
    client.write_all(yes).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

async fn socks(client: &mut TcpStream, password: &str) -> std::io::Result<Option<String>> {
    let methods = client.read_u8().await?;
    let mut offered = vec![0; methods.into()];
    client.read_exact(&mut offered).await?;
    if !offered.contains(&2) {
        client.write_all(&[5, 255]).await?;
        return Ok(None);
    }
    client.write_all(&[5, 2]).await?;
    client.read_u8().await?;
    let user = text(client).await?;
    let good = (user.as_str(), text(client).await?.as_str()) == ("guest", password);
    client.write_all(&[1, u8::from(!good)]).await?;
    if !good {
        return Ok(None);
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let host = match head[3] {
        3 => text(client).await?,
        _ => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
    };
    Ok(Some(format!("{host}:{}", client.read_u16().await?)))
}

async fn text(client: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn http(
    client: &mut TcpStream,
    first: u8,
    password: &str,
) -> std::io::Result<Option<String>> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let expected = format!(
        "Proxy-Authorization: Basic {}\r\n",
        base64::engine::general_purpose::STANDARD.encode(format!("guest:{password}"))
    );
    if !head.contains(&expected) {
        client
            .write_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
            )
            .await?;
        return Ok(None);
    }
    Ok(head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).map(str::to_owned))
}
