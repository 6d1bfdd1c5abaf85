//! Connections of a server: how many there may be, how long they may say nothing, which one gives
//! way to a new one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once. A new one takes the place of that which has been quiet for longest.
const MOST: usize = 256;
/// A connection's first request begins within this time.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Between two requests, and for the head of a later one. The client of the Functions host lets go
/// of an idle connection after a minute: it must be the first to do so, or a request meets a
/// connection that is just being closed.
const IDLE: Duration = Duration::from_secs(150);
/// After an error of the listener itself, as of too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `router` to a client that connects, until `closing`; requests that are under way then are
/// answered.
pub async fn serve(listener: TcpListener, router: Router, closing: CancellationToken) {
    let (seats, tasks) = (Seats::default(), TaskTracker::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match seats.take() {
                Some(seat) => {
                    drop(tasks.spawn(connection(stream, router.clone(), seat, closing.clone())))
                }
                None => {
                    tracing::debug!("A connection was refused: all others have requests under way.")
                }
            },
            Err(error) => {
                tracing::debug!(error = %error, "A connection could not be accepted.");
                seats.make_room();
                sleep(PAUSE).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(stream: TcpStream, router: Router, seat: Seat, closing: CancellationToken) {
    let state = seat.state.clone();
    let service = WatchedStream { inner: TowerToHyperService::new(router), state: state.clone() };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service);
    let (mut connection, mut first) =
        (std::pin::pin!(connection), std::pin::pin!(sleep(FIRST_REQUEST)));
    let (mut is_young, mut is_closing) = (true, false);
    loop {
        tokio::select! {
            // How it ended makes no difference to anybody here.
            _ = connection.as_mut() => return,
            () = state.gone.cancelled() => return,
            () = &mut first, if is_young => {
                if state.requests.load(Ordering::Relaxed) == 0 {
                    return;
                }
                is_young = false;
            }
            () = closing.cancelled(), if !is_closing => {
                connection.as_mut().graceful_shutdown();
                is_closing = true;
            }
        }
    }
}

/// What is known of a connection.
#[derive(Debug)]
struct ListenState {
    /// Requests so far.
    requests: AtomicUsize,
    /// Requests that are not answered yet.
    under_way: AtomicUsize,
    quiet_since: Mutex<Instant>,
    gone: CancellationToken,
}

/// The places for connections.
#[derive(Clone, Debug, Default)]
struct Seats(Arc<Mutex<TakenConnection>>);

/// Who has a place, by numbers that no other connection had.
#[derive(Debug, Default)]
struct TakenConnection {
    last: u64,
    states: BTreeMap<u64, Arc<ListenState>>,
}

/// A place that a connection has; it is free again when this is dropped.
struct Seat {
    seats: Seats,
    number: u64,
    state: Arc<ListenState>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().states.remove(&self.number);
    }
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, TakenConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection; `None` if every other one has a request under way.
    fn take(&self) -> Option<Seat> {
        if self.lock().states.len() >= MOST && !self.make_room() {
            return None;
        }
        let quiet_since = Mutex::new(Instant::now());
        let state = ListenState {
            requests: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            quiet_since,
            gone: CancellationToken::new(),
        };
        let state = Arc::new(state);
        let mut seats = self.lock();
        seats.last += 1;
        let number = seats.last;
        seats.states.insert(number, state.clone());
        Some(Seat { seats: self.clone(), number, state })
    }

    /// Ends the connection that has been quiet for longest, if there is one without a request under
    /// way.
    fn make_room(&self) -> bool {
        let mut seats = self.lock();
        let quiet =
            seats.states.iter().filter(|(_, state)| state.under_way.load(Ordering::Relaxed) == 0);
        let quietest = quiet
            .min_by_key(|(_, state)| {
                *state.quiet_since.lock().unwrap_or_else(PoisonError::into_inner)
            })
            .map(|(number, _)| *number);
        let Some(state) = quietest.and_then(|number| seats.states.remove(&number)) else {
            return false;
        };
        state.gone.cancel();
        true
    }
}

/// Notes which connections have requests under way.
struct WatchedStream {
    inner: TowerToHyperService<Router>,
    state: Arc<ListenState>,
}

/// A request that is under way, also if the client hangs up.
struct RequestUnderWay(Arc<ListenState>);

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        *self.0.quiet_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Request<Incoming>> for WatchedStream {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.state.under_way.fetch_add(1, Ordering::Relaxed);
        let under_way = RequestUnderWay(self.state.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(under_way);
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn started() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let slow = axum::routing::get(|| async {
            sleep(Duration::from_secs(300)).await;
            "slow"
        });
        let router =
            Router::new().route("/", axum::routing::get(|| async { "page" })).route("/slow", slow);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, closing) =
            (listener.local_addr().expect("an address"), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, router, closing.clone()));
        (address, closing, serving)
    }

    async fn asked(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it connects");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it is written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it is read");
        answer
    }

    #[tokio::test]
    async fn a_page_is_served_beside_a_thousand_half_open_connections() {
        let (address, _closing, _serving) = started().await;
        let mut open = Vec::new();
        for _ in 0..1_000 {
            let mut stream = TcpStream::connect(address).await.expect("it connects");
            // Some have begun a request that they never end; the server may have closed it already.
            drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await);
            open.push(stream);
        }
        let answer = tokio::time::timeout(Duration::from_secs(5), asked(address, "/"))
            .await
            .expect("an answer in time");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("page"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_connects_and_asks_nothing_is_left_soon_and_a_slow_answer_is_waited_for() {
        let (address, _closing, _serving) = started().await;
        let mut silent = TcpStream::connect(address).await.expect("it connects");
        let begun = Instant::now();
        let mut bytes = Vec::new();
        silent.read_to_end(&mut bytes).await.expect("it is closed");
        assert!(
            bytes.is_empty() && begun.elapsed() >= FIRST_REQUEST && begun.elapsed() < IDLE,
            "{:?}",
            begun.elapsed()
        );
        // Five minutes are longer than any pause, and no pause: a request is under way.
        assert!(asked(address, "/slow").await.ends_with("slow"));
    }

    #[tokio::test]
    async fn what_is_under_way_at_the_end_is_answered() {
        let (address, closing, serving) = started().await;
        // A connection that is kept and says nothing holds nothing up.
        let _idle = TcpStream::connect(address).await.expect("it connects");
        assert!(asked(address, "/").await.ends_with("page"));
        closing.cancel();
        tokio::time::timeout(Duration::from_secs(15), serving)
            .await
            .expect("it ends")
            .expect("no panic");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
