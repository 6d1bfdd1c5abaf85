//! Log lines as the Functions host reads them: which stream, which words, whose line.
//!
//! The host takes every line of standard output for information, and every line of standard error
//! for an error, unless it contains "warn" in any case: then it is a warning. So records are one
//! line each, information goes to standard output, warnings and errors to standard error, a
//! warning's line contains "warn", and an error's line never does: where a file's name or a text
//! brings the word along, its first letter is written as `\x77` (`\x57` for a capital), in JSON
//! lines as `\u0077`, which reads the same. The host ties no line to an invocation, so each line
//! ends in the ids of its run and of its invocation, unless it names them itself.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;

use tracing::Level;

/// Whose line it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The run, as our HTTP API calls it.
    pub run: String,
    /// The host's invocation that started it.
    pub invocation: String,
}

thread_local! {
    static IDS: RefCell<Option<Arc<Ids>>> = const { RefCell::new(None) };
}

tokio::task_local! {
    static INVOCATION: String;
}

/// `work`, whose lines are those of the invocation `id` as long as it stays in its task.
pub(crate) async fn in_invocation<T>(id: &str, work: impl Future<Output = T>) -> T {
    INVOCATION.scope(id.to_owned(), work).await
}

/// From now on, lines of this thread are `ids`'. Each run has threads of its own.
pub(crate) fn this_thread_is_of(ids: &Arc<Ids>) {
    IDS.with_borrow_mut(|mine| *mine = Some(ids.clone()));
}

/// Where the host reads a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleStream {
    /// Standard output: information.
    Out,
    /// Standard error: warnings and errors.
    Error,
}

/// `text`, a record of `level` with `ids`, as the host shall read it; it ends in a line feed.
pub(crate) fn line(level: Level, text: &str, ids: &[(&str, &str)]) -> (ConsoleStream, String) {
    let text = text.trim_end();
    let is_json = text.starts_with('{') && text.ends_with('}');
    let mut line = text.replace('\r', "\\r").replace('\n', "\\n");
    for (name, id) in ids {
        // A quote inside of a text is escaped, so this is a key or nothing.
        if is_json && !line.contains(&format!("\"{name}\":")) {
            line.truncate(line.len() - 1);
            line += &format!(",\"{name}\":\"{id}\"}}");
        } else if !is_json && !line.contains(&format!(" {name}=")) {
            line += &format!(" {name}={id}");
        }
    }
    match level {
        Level::ERROR => line = without_warn(&line, is_json),
        Level::WARN if !has_warn(&line) => line.insert_str(0, "warning: "),
        _ => {}
    }
    line.push('\n');
    (stream(level), line)
}

fn has_warn(line: &str) -> bool {
    line.as_bytes().windows(4).any(|word| word.eq_ignore_ascii_case(b"warn"))
}

fn without_warn(line: &str, is_json: bool) -> String {
    let mut clean = String::with_capacity(line.len());
    let bytes = line.as_bytes();
    for (at, c) in line.char_indices() {
        let here = bytes.get(at..at + 4).is_some_and(|word| word.eq_ignore_ascii_case(b"warn"));
        match (here, is_json) {
            (true, true) => clean += &format!("\\u{:04x}", u32::from(c)),
            (true, false) => clean += &format!("\\x{:02x}", u32::from(c)),
            (false, _) => clean.push(c),
        }
    }
    clean
}

/// `text`, a record of `level` of this thread's run or of this task's invocation, as the host shall
/// read it.
pub fn made(level: Level, text: &str) -> String {
    let made = |ids: &[(&str, &str)]| line(level, text, ids).1;
    IDS.with_borrow(|ids| match ids {
        Some(ids) => made(&[("run_id", &ids.run), ("invocation", &ids.invocation)]),
        None => INVOCATION
            .try_with(|invocation| made(&[("invocation", invocation)]))
            .unwrap_or_else(|_| made(&[])),
    })
}

/// Writes a record of `level` to where the host reads it.
pub fn say(level: Level, text: &str) {
    write(level, made(level, text).as_bytes());
}

/// Writes a line that was [`made`] for `level`.
pub fn write(level: Level, line: &[u8]) {
    // Each line in one call: lines of many threads never mix. A console that is gone must not stop
    // the work.
    match stream(level) {
        ConsoleStream::Out => {
            let mut out = std::io::stdout().lock();
            drop(out.write_all(line).and_then(|()| out.flush()));
        }
        ConsoleStream::Error => drop(std::io::stderr().lock().write_all(line)),
    }
}

fn stream(level: Level) -> ConsoleStream {
    if level <= Level::WARN { ConsoleStream::Error } else { ConsoleStream::Out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDS_OF_A_RUN: &[(&str, &str)] = &[("run_id", "r"), ("invocation", "i")];

    proptest! {
        #[test]
        fn whatever_a_text_holds_its_level_arrives(text in "[wWaArRnN\\\\\"{}\n\r ü]{0,40}",
            error in any::<bool>()) {
            let level = if error { Level::ERROR } else { Level::WARN };
            let (stream, line) = line(level, &text, &[]);
            prop_assert_eq!(stream, ConsoleStream::Error);
            prop_assert_eq!(has_warn(&line), !error);
            prop_assert!(line.ends_with('\n') && line.trim_end_matches('\n').lines().count() <= 1);
        }
    }

    #[test]
    fn each_level_arrives_as_what_it_is() {
        assert_eq!(
            line(Level::INFO, "A run begins.\n", &[]),
            (ConsoleStream::Out, "A run begins.\n".into())
        );
        assert_eq!(line(Level::DEBUG, "warned", &[]), (ConsoleStream::Out, "warned\n".into()));
        assert_eq!(
            line(Level::WARN, "2026  WARN Tried again.", &[]),
            (ConsoleStream::Error, "2026  WARN Tried again.\n".into())
        );
        assert_eq!(
            line(Level::WARN, "Tried again.", &[]),
            (ConsoleStream::Error, "warning: Tried again.\n".into())
        );
        assert_eq!(
            line(Level::ERROR, "/warnings.zip and WaRn", &[]),
            (ConsoleStream::Error, "/\\x77arnings.zip and \\x57aRn\n".into())
        );
    }

    #[test]
    fn json_stays_json_and_says_the_same() {
        let (_, text) =
            line(Level::ERROR, r#"{"level":"ERROR","path":"/WARN\\warnings ü"}"#, IDS_OF_A_RUN);
        assert!(!text.to_ascii_lowercase().contains("warn"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"level": "ERROR", "path": "/WARN\\warnings ü", "run_id": "r",
                "invocation": "i"})
        );
    }

    #[test]
    fn a_record_is_one_line_with_its_ids() {
        assert_eq!(line(Level::INFO, "a\nb\r\n", IDS_OF_A_RUN).1, "a\\nb run_id=r invocation=i\n");
    }

    #[test]
    fn an_id_that_a_line_names_itself_is_not_said_twice() {
        let json = r#"{"message":"\"invocation\":","run_id":"own"}"#;
        assert_eq!(
            line(Level::INFO, json, IDS_OF_A_RUN).1,
            "{\"message\":\"\\\"invocation\\\":\",\"run_id\":\"own\",\"invocation\":\"i\"}\n"
        );
        let text = "A run is asked for. run_id=own";
        assert_eq!(line(Level::INFO, text, IDS_OF_A_RUN).1, format!("{text} invocation=i\n"));
    }

    #[tokio::test]
    async fn a_line_of_a_task_is_its_invocation_s() {
        let said = in_invocation("i-1", async { made(Level::INFO, "A request came.") }).await;
        assert_eq!(said, "A request came. invocation=i-1\n");
        assert_eq!(made(Level::INFO, "Ready."), "Ready.\n");
    }
}
