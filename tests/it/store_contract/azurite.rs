//! What only a service can show: credentials, checksums on the wire, containers, lost replies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use blobferry::model::{Secret, chain};
use blobferry::store::azure::AzureConnection;
use blobferry::store::azure::{
    AzureSettings, AzureStore, ContainerCreation, Credential, parse_connection_string,
};
use blobferry::store::contract::{Condition, Store, StoreKind, Upload};
use blobferry::store::holder::Holder;
use bytes::Bytes;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{content, listed, name, properties, short_contract, store_contract, write};

fn connection() -> Option<AzureConnection> {
    crate::servers::Azurite::shared().map(|azurite| {
        parse_connection_string(&Secret::new(azurite.connection_string()))
            .expect("a connection string")
    })
}

/// Settings for a container of its own.
fn settings(connection: &AzureConnection) -> AzureSettings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
    let container = format!("contract-{nanos}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let settings =
        AzureSettings::new(connection.blob.clone(), container, connection.credential.clone());
    AzureSettings { creation: ContainerCreation::Allowed, ..settings }
}

fn open(settings: &AzureSettings) -> Arc<AzureStore> {
    Arc::new(AzureStore::new(settings.clone()).expect("a store"))
}

fn account_sas(connection: &AzureConnection, permissions: &str, expires: OffsetDateTime) -> Secret {
    let Credential::SharedKey { account, key } = &connection.credential else {
        panic!("the emulator has a key")
    };
    let until = expires
        .format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"))
        .expect("a time");
    let (version, services, types, protocols) = ("2021-06-08", "b", "sco", "https,http");
    let text = format!(
        "{account}\n{permissions}\n{services}\n{types}\n\n{until}\n\n{protocols}\n{version}\n\n"
    );
    let signature = azure_core::hmac::hmac_sha256(
        &text,
        &azure_core::credentials::Secret::new(key.reveal().to_owned()),
    )
    .expect("it signs");
    let mut url = connection.blob.clone();
    let pairs = [
        ("sv", version),
        ("ss", services),
        ("srt", types),
        ("sp", permissions),
        ("se", &until),
        ("spr", protocols),
        ("sig", &signature),
    ];
    url.query_pairs_mut().extend_pairs(pairs);
    Secret::new(url.query().expect("it has a query"))
}

fn in_an_hour() -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::HOUR
}

#[tokio::test]
async fn azurite_keeps_the_contract_with_a_key() {
    let Some(connection) = connection() else { return };
    store_contract(open(&AzureSettings { page: Some(7), ..settings(&connection) })).await;
}

#[tokio::test]
async fn azurite_keeps_the_contract_with_a_sas() {
    let Some(connection) = connection() else { return };
    let sas = account_sas(&connection, "rwdlac", in_an_hour());
    let store = open(&AzureSettings { credential: Credential::Sas(sas), ..settings(&connection) });
    store.prepare().await.expect("it is created");
    short_contract(store).await;
}

#[tokio::test]
async fn azurite_loses_leases_and_tells_them_apart() {
    let Some(connection) = connection() else { return };
    let store = open(&settings(&connection));
    store.prepare().await.expect("it is created");
    super::leases::can_be_lost(&*store).await;
}

#[tokio::test]
async fn a_sas_that_may_only_read_has_no_leases() {
    let Some(connection) = connection() else { return };
    let ours = settings(&connection);
    open(&ours).prepare().await.expect("it is created");
    let sas = account_sas(&connection, "rl", in_an_hour());
    let store = open(&AzureSettings { credential: Credential::Sas(sas), ..ours });
    let error = store
        .lease(&name("_blobferry/acme/lock"), &Holder::new("r"))
        .await
        .expect_err("it may not");
    assert_eq!(error.kind, StoreKind::Denied, "{}", chain(&error));
}

#[tokio::test]
async fn a_refused_credential_is_denied_and_never_told() {
    let Some(connection) = connection() else { return };
    let ours = settings(&connection);
    open(&ours).prepare().await.expect("it is created");
    let Credential::SharedKey { account, .. } = &connection.credential else {
        panic!("the emulator has a key")
    };
    let expired =
        account_sas(&connection, "rwdlac", OffsetDateTime::now_utc() - time::Duration::HOUR);
    let read_only = account_sas(&connection, "rl", in_an_hour());
    let signature =
        |sas: &Secret| sas.reveal().rsplit_once("sig=").expect("it is signed").1.to_owned();
    let key = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5";
    for (credential, secret) in [
        (Credential::SharedKey { account: account.clone(), key: Secret::new(key) }, key.to_owned()),
        (Credential::Sas(expired.clone()), signature(&expired)),
        (Credential::Sas(read_only.clone()), signature(&read_only)),
    ] {
        let store = open(&AzureSettings { credential, ..ours.clone() });
        let error = store
            .put(&name("a"), Bytes::new(), &properties(b""), &Condition::IfAbsent)
            .await
            .expect_err("it is refused");
        assert_eq!(error.kind, StoreKind::Denied, "{}", chain(&error));
        assert!(
            !format!("{} {error:?} {store:?}", chain(&error)).contains(&secret),
            "{}",
            chain(&error)
        );
    }
    // Where nobody listens the error holds no URL with a signature either.
    let nowhere = AzureSettings {
        service: "http://127.0.0.1:9/acme".parse().expect("a URL"),
        credential: Credential::Sas(read_only.clone()),
        ..ours
    };
    let error = open(&nowhere).head(&name("a")).await.expect_err("nobody listens");
    assert_eq!(error.kind, StoreKind::Unavailable);
    assert!(!format!("{} {error:?}", chain(&error)).contains("sig="), "{error:?}");
}

#[tokio::test]
async fn a_missing_container_is_created_only_if_allowed() {
    let Some(connection) = connection() else { return };
    let allowed = settings(&connection);
    let forbidden =
        open(&AzureSettings { creation: ContainerCreation::Forbidden, ..allowed.clone() });
    let error = forbidden.prepare().await.expect_err("it is missing");
    assert_eq!(
        (error.kind, chain(&error).contains("ContainerNotFound")),
        (StoreKind::NoContainer, true),
        "{}",
        chain(&error)
    );
    assert_eq!(
        forbidden.head(&name("a")).await.expect_err("it is missing").kind,
        StoreKind::NoContainer
    );
    assert_eq!(
        forbidden.list("", &mut |_| {}).await.expect_err("it is missing").kind,
        StoreKind::NoContainer
    );
    let made = futures_util::future::join_all(
        (0..8).map(|_| open(&allowed)).map(|store| async move { store.prepare().await }),
    )
    .await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    forbidden.prepare().await.expect("it is there");
    assert!(AzureStore::new(AzureSettings { container: "Not_Legal".into(), ..allowed }).is_err());
}

#[tokio::test]
async fn bytes_that_change_on_the_way_are_refused() {
    let Some(connection) = connection() else { return };
    let ours = settings(&connection);
    let store = open(&ours);
    store.prepare().await.expect("it is created");
    let relay = Relay::start(&connection, Mischief::FlipAByte).await;
    let flipped = open(&AzureSettings { service: relay.service(&connection), ..ours });
    let bytes = Bytes::from(vec![b'z'; 1000]);
    let block = flipped
        .stage(&Upload::new(name("b")), 0, bytes.clone())
        .await
        .expect_err("its CRC64 is another");
    assert_eq!(
        (block.kind, chain(&block).contains("Crc64Mismatch")),
        (StoreKind::Corrupted, true),
        "{}",
        chain(&block)
    );
    let whole = flipped
        .put(&name("b"), bytes.clone(), &properties(&bytes), &Condition::IfAbsent)
        .await
        .expect_err("its MD5 is another");
    assert_eq!(
        (whole.kind, chain(&whole).contains("Md5Mismatch")),
        (StoreKind::Corrupted, true),
        "{}",
        chain(&whole)
    );
    let appended = flipped.append(&name("j"), bytes, 0).await.expect_err("its CRC64 is another");
    assert_eq!(appended.kind, StoreKind::Corrupted, "{}", chain(&appended));
    assert_eq!(listed(&*store, "b").await, []);
}

#[tokio::test]
async fn a_lost_reply_is_unavailable_once_and_then_found_done() {
    let Some(connection) = connection() else { return };
    let ours = settings(&connection);
    let store = open(&ours);
    store.prepare().await.expect("it is created");
    let relay = Relay::start(&connection, Mischief::DropReply).await;
    let cut = open(&AzureSettings { service: relay.service(&connection), ..ours });
    let put = || async {
        cut.put(&name("a"), Bytes::from_static(b"x"), &properties(b"x"), &Condition::IfAbsent).await
    };
    let error = put().await.expect_err("its reply is lost");
    assert_eq!((error.kind, relay.requests()), (StoreKind::Unavailable, 1), "{}", chain(&error));
    let again = store
        .put(&name("a"), Bytes::from_static(b"x"), &properties(b"x"), &Condition::IfAbsent)
        .await
        .expect_err("it is there");
    assert_eq!(again.kind, StoreKind::Condition);
    let info = store.head(&name("a")).await.expect("it looks").expect("it is there");
    assert_eq!((info.metadata, info.md5), (properties(b"x").metadata, Some(properties(b"x").md5)));
}

#[tokio::test]
async fn a_wide_upload_arrives_whole() {
    let Some(connection) = connection() else { return };
    let store = open(&settings(&connection));
    store.prepare().await.expect("it is created");
    let upload = Upload::new(name("wide"));
    let block = |index: u32| Bytes::from(vec![u8::try_from(index).unwrap_or(0); 1 << 20]);
    let staged = futures_util::future::join_all(
        (0..12).map(|index| store.stage(&upload, index, block(index))),
    )
    .await;
    assert!(staged.iter().all(Result::is_ok), "{staged:?}");
    let whole: Vec<u8> = (0..12).flat_map(|index| block(index).to_vec()).collect();
    store.commit(&upload, 12, &properties(&whole), &Condition::IfAbsent).await.expect("it commits");
    assert!(content(&*store, "wide").await.as_deref() == Some(&whole[..]));
    write(&*store, "wide/next to it", b"x").await;
}

#[derive(Clone, Copy)]
enum Mischief {
    /// Changes a byte of each body of `z`s.
    FlipAByte,
    /// Passes the request on, waits for the reply and closes instead of passing it back.
    DropReply,
}

/// A relay between us and the emulator that does one bad thing.
struct Relay {
    port: u16,
    requests: Arc<AtomicU32>,
}

impl Relay {
    async fn start(connection: &AzureConnection, mischief: Mischief) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let target = format!(
            "{}:{}",
            connection.blob.host_str().expect("a host"),
            connection.blob.port_or_known_default().expect("a port")
        );
        let requests = Arc::new(AtomicU32::new(0));
        let counted = requests.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, target.clone(), mischief, counted.clone()));
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    fn service(&self, connection: &AzureConnection) -> url::Url {
        let mut url = connection.blob.clone();
        url.set_port(Some(self.port)).expect("it has a host");
        url
    }
}

async fn relay(
    client: tokio::net::TcpStream,
    target: String,
    mischief: Mischief,
    requests: Arc<AtomicU32>,
) {
    let Ok(server) = tokio::net::TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forward = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            if buffer[..length].windows(9).any(|window| window == b" HTTP/1.1") {
                requests.fetch_add(1, Ordering::SeqCst);
            }
            if let (Mischief::FlipAByte, Some(at)) =
                (mischief, buffer[..length].windows(8).position(|window| window == b"zzzzzzzz"))
            {
                buffer[at] = b'y';
            }
            if to_server.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    let back = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if matches!(mischief, Mischief::DropReply)
                || to_client.write_all(&buffer[..length]).await.is_err()
            {
                break;
            }
        }
    };
    // Whoever ends first ends both: both connections are closed.
    tokio::select! {
        () = forward => {}
        () = back => {}
    }
}
