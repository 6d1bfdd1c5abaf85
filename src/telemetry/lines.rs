//! Lines on their way to the console, written by a thread of their own: one who does not read them
//! stops nobody who logs.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::time::{Duration, Instant};

use tracing::Level;

type Make = Arc<dyn Fn(Level, Vec<u8>) -> Vec<u8> + Send + Sync>;
type LogOut = Arc<dyn Fn(Level, &[u8]) + Send + Sync>;

/// How lines come to the console.
#[derive(Clone)]
pub struct LineOut {
    make: Make,
    write: LogOut,
}

impl LineOut {
    /// `write` writes a whole line of this level to the console.
    pub fn new(write: impl Fn(Level, &[u8]) + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(|_, line| line), write: Arc::new(write) }
    }

    /// With `make`, which the thread that logs makes each line with, before it goes on its way.
    #[must_use]
    pub fn made_by(self, make: impl Fn(Level, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), ..self }
    }
}

/// Lines that wait, at most. What comes on top of them is counted, and lost for the console.
const MOST_WAITING: usize = 4_096;
/// At the end, how long nothing may be taken before what waits is given up.
const PATIENCE: Duration = Duration::from_secs(1);

enum LogMessage {
    Line(Level, Vec<u8>),
    /// Answered when what came before it is written.
    Written(Sender<()>),
}

/// The way to the console. Clones share it.
#[derive(Clone)]
pub(crate) struct LogLines {
    make: Make,
    waiting: SyncSender<LogMessage>,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
}

impl LogLines {
    /// Begins a thread that hands lines to `out`, one after the other.
    pub fn begin(out: LineOut) -> Self {
        let (waiting, lines) = sync_channel(MOST_WAITING);
        let (written, lost) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (taken, missed, make) = (written.clone(), lost.clone(), out.make.clone());
        let thread = std::thread::Builder::new()
            .name("console".into())
            .spawn(move || write_all(&lines, &*out.write, &taken, &missed));
        // Without a thread nothing is shown; the log files are there all the same.
        drop(thread);
        Self { make, waiting, written, lost }
    }

    /// A writer of one line of `level`.
    pub fn line(&self, level: Level) -> LogLine {
        LogLine { to: self.clone(), level, text: Vec::new() }
    }

    /// Waits until what was logged by now is written, as long as somebody takes it.
    pub fn settle(&self) {
        let (answer, answered) = channel();
        let mut message = LogMessage::Written(answer);
        let (mut seen, mut since) = (self.written.load(Ordering::Relaxed), Instant::now());
        let mut go_on = || {
            let now = self.written.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            since.elapsed() < PATIENCE
        };
        loop {
            match self.waiting.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if go_on() => message = back,
                Err(_) => return,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        while matches!(
            answered.recv_timeout(Duration::from_millis(50)),
            Err(RecvTimeoutError::Timeout)
        ) && go_on()
        {}
    }

    fn send(&self, level: Level, text: Vec<u8>) {
        if self.waiting.try_send(LogMessage::Line(level, (self.make)(level, text))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(
    lines: &Receiver<LogMessage>,
    out: &dyn Fn(Level, &[u8]),
    written: &AtomicU64,
    lost: &AtomicU64,
) {
    while let Ok(message) = lines.recv() {
        match message {
            LogMessage::Line(level, text) => out(level, &text),
            LogMessage::Written(answer) => drop(answer.send(())),
        }
        written.fetch_add(1, Ordering::Relaxed);
        let missed = lost.swap(0, Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!(
                lines = missed,
                "Warning: lines of the log were not shown here, because nobody read for a while."
            );
        }
    }
}

/// One line; it goes on its way when it is dropped.
pub(crate) struct LogLine {
    to: LogLines,
    level: Level,
    text: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.to.send(self.level, std::mem::take(&mut self.text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    type Kept = Arc<Mutex<Vec<String>>>;

    fn log(lines: &LogLines, text: &str) {
        lines.line(Level::INFO).write_all(text.as_bytes()).expect("a line takes everything");
    }

    /// A console that takes nothing while the lock is held.
    fn console(gate: &Arc<Mutex<()>>) -> (LogLines, Kept) {
        let kept = Kept::default();
        let (gate, taken) = (gate.clone(), kept.clone());
        let out = move |_, line: &[u8]| {
            let _open = gate.lock().expect("no panic");
            taken.lock().expect("no panic").push(String::from_utf8_lossy(line).into_owned());
        };
        (LogLines::begin(LineOut::new(out)), kept)
    }

    #[test]
    fn lines_arrive_in_their_order_before_it_settles() {
        let (lines, kept) = console(&Arc::default());
        (0..10_000).for_each(|n| {
            log(&lines, &n.to_string());
            // As fast as they can be taken.
            if n % 1_000 == 0 {
                lines.settle();
            }
        });
        lines.settle();
        let kept = kept.lock().expect("no panic");
        assert_eq!(*kept, (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn one_who_does_not_read_stops_nobody_and_what_is_lost_is_counted() {
        let gate = Arc::new(Mutex::new(()));
        let (lines, kept) = console(&gate);
        let closed = gate.lock().expect("no panic");
        let begun = Instant::now();
        (0..MOST_WAITING + 100).for_each(|n| log(&lines, &n.to_string()));
        lines.settle();
        assert!(begun.elapsed() < PATIENCE * 5, "{:?}", begun.elapsed());
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((99..=100).contains(&lost), "{lost}");
        drop(closed);
        lines.settle();
        assert_eq!(kept.lock().expect("no panic").len() as u64, MOST_WAITING as u64 + 100 - lost);
        assert_eq!(lines.lost.load(Ordering::Relaxed), 0, "it was told");
    }
}
