//! The connection through a host on the way: it is always read, so that it can always be written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, poll_fn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Join, WriteHalf, join, split};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;

/// Room for what one read brings; as much as one SSH packet carries.
const READ: usize = 32 << 10;
/// Less room than this is not read into.
const LEAST_ROOM: usize = 4 << 10;
/// What a piece costs beside its bytes.
const PIECE: usize = 64;

/// Bytes that arrived, in the order of their arrival.
type Arrivals = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

/// A connection whose bytes are taken in as they come, whether anybody reads them or not.
///
/// An SSH session does all its work in one task: while a channel's queue is full, it waits until
/// the queue is read, and sends nothing meanwhile. A session over such a channel is one task as
/// well, and reads nothing while it waits until its own bytes are sent. Without this type each of
/// the two waits for the other for ever.
pub(crate) type JumpStream<S> = Join<Arrivals, WriteHalf<S>>;

/// Takes in what `stream` brings, up to `most` bytes that nobody has read; beyond them reading
/// fails.
pub(crate) fn always_read<S>(stream: S, most: usize) -> JumpStream<S>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = split(stream);
    let (inbox, mut arrived) = mpsc::unbounded_channel::<io::Result<Bytes>>();
    let unread = Arc::new(AtomicUsize::new(0));
    let pump = AbortOnDropHandle::new(tokio::spawn(take_in(read, inbox, unread.clone(), most)));
    let arrivals = poll_fn(move |context| {
        let _lives_as_long = &pump;
        arrived.poll_recv(context).map(|piece| {
            if let Some(Ok(piece)) = &piece {
                unread.fetch_sub(piece.len() + PIECE, Ordering::Relaxed);
            }
            piece
        })
    });
    join(StreamReader::new(arrivals.boxed()), write)
}

/// Puts what arrives into `inbox`, until the end, an error, or more than `most` are `unread`.
async fn take_in(
    mut read: impl AsyncRead + Unpin,
    inbox: mpsc::UnboundedSender<io::Result<Bytes>>,
    unread: Arc<AtomicUsize>,
    most: usize,
) {
    let mut buffer = BytesMut::new();
    loop {
        // A piece keeps the memory of its buffer, so small pieces share one.
        if buffer.capacity() < LEAST_ROOM {
            buffer.reserve(READ);
        }
        let piece = match read.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => Ok(buffer.split().freeze()),
            Err(error) => Err(error),
        };
        let cost = piece.as_ref().map_or(0, |piece| piece.len() + PIECE);
        let piece = match unread.fetch_add(cost, Ordering::Relaxed) + cost {
            now if now > most => Err(too_much(most)),
            _ => piece,
        };
        let is_last = piece.is_err();
        if inbox.send(piece).is_err() || is_last {
            return;
        }
    }
}

fn too_much(most: usize) -> io::Error {
    let text = format!(
        "the server behind the host on the way sent {} MiB more than were asked for",
        most >> 20
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn all_arrives_in_order_and_the_end_stays_the_end() {
        let (near, mut far) = duplex(100);
        let mut stream = always_read(near, 1 << 20);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        far.write_all(&sent).await.expect("it is taken in though nobody reads");
        drop(far);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.expect("it ends well");
        assert!(read == sent, "{} bytes", read.len());
        assert_eq!(stream.read(&mut [0]).await.expect("it has ended"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_sends_more_than_was_asked_for_is_left() {
        let (near, mut far) = duplex(2 << 20);
        let mut stream = always_read(near, 1 << 20);
        far.write_all(&vec![0; 2 << 20]).await.expect("there is room");
        // Time goes on once everything else waits.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut read = Vec::new();
        let error = stream.read_to_end(&mut read).await.expect_err("it is too much");
        assert!(error.to_string().contains("sent 1 MiB more than"), "{error}");
        assert!(read.len() < 1 << 20, "{}", read.len());
    }
}
