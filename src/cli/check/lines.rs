//! What was found so far, line by line, for people or for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::console;
use crate::model::chain;
use crate::model::failure::Failure;
use crate::model::redactor::Redactor;
use crate::source::finding::Finding;

/// Whom lines are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// People.
    Text,
    /// Programs: one JSON object a line.
    Json,
}

/// How a step came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckMark {
    Ok,
    Note,
    Failed,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct CheckLine {
    mark: CheckMark,
    step: &'static str,
    text: String,
    took: Option<Duration>,
    class: Option<&'static str>,
    hint: Option<String>,
}

impl CheckLine {
    fn new(mark: CheckMark, step: &'static str, text: impl Into<String>) -> Self {
        Self { mark, step, text: text.into(), took: None, class: None, hint: None }
    }

    /// It works.
    pub fn ok(step: &'static str, text: impl Into<String>) -> Self {
        Self::new(CheckMark::Ok, step, text)
    }

    /// It works, but a person should know this.
    pub fn note(step: &'static str, text: impl Into<String>) -> Self {
        Self::new(CheckMark::Note, step, text)
    }

    /// It does not work.
    pub fn failed(step: &'static str, error: &impl Failure) -> Self {
        let class = error.class();
        Self {
            class: Some(class.word()),
            hint: Some(error.hint().to_owned()),
            ..Self::new(CheckMark::Failed, step, chain(error))
        }
    }

    /// It does not work, for a reason that is no error of a room.
    pub fn wrong(
        step: &'static str,
        class: crate::model::failure::Class,
        text: impl Into<String>,
    ) -> Self {
        Self {
            class: Some(class.word()),
            hint: Some(class.hint().to_owned()),
            ..Self::new(CheckMark::Failed, step, text)
        }
    }

    /// More about it.
    pub fn and(mut self, text: &str) -> Self {
        self.text = format!("{}; {text}", self.text);
        self
    }

    /// It took this long.
    pub fn took(self, time: Duration) -> Self {
        Self { took: Some(time), ..self }
    }

    /// What to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Writes lines, and remembers what failed and what there is to paste.
pub(crate) struct CheckLines {
    form: Form,
    redactor: Redactor,
    source: Option<String>,
    failed: usize,
    pastes: Vec<(String, String)>,
    /// Lines of settings that were found of the source that is looked at.
    settings: Vec<String>,
    /// What was noted, by step and text.
    notes: Vec<(&'static str, String)>,
    /// What is not written yet, where lines of several sources come at once.
    held: Option<String>,
}

impl CheckLines {
    /// None so far.
    pub fn new(form: Form, redactor: Redactor) -> Self {
        Self {
            form,
            redactor,
            source: None,
            failed: 0,
            pastes: Vec::new(),
            settings: Vec::new(),
            notes: Vec::new(),
            held: None,
        }
    }

    /// None so far, for the same reader.
    pub fn apart(&self) -> Self {
        Self::new(self.form, self.redactor.clone())
    }

    /// Lines about `source` that are held until they are added to these.
    pub fn of(&self, source: &str) -> Self {
        let mut lines = Self::new(self.form, self.redactor.clone());
        lines.source = Some(source.to_owned());
        lines.held = Some(String::new());
        lines
    }

    /// Whether they are for programs.
    pub(crate) fn are_json(&self) -> bool {
        self.form == Form::Json
    }

    /// What was noted.
    pub fn notes(&self) -> &[(&'static str, String)] {
        &self.notes
    }

    /// Writes the lines of a source.
    pub fn add(&mut self, other: Self) {
        self.put(other.held.as_deref().unwrap_or_default());
        self.count(other);
    }

    /// Counts the lines of a source without writing them.
    pub fn count(&mut self, other: Self) {
        self.failed += other.failed;
        self.pastes.extend(other.pastes);
    }

    /// The next lines are about this source.
    pub fn about(&mut self, source: Option<&str>) {
        self.source = source.map(str::to_owned);
        self.settings.clear();
    }

    /// How many steps failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Writes a line.
    pub fn tell(&mut self, line: CheckLine) {
        self.failed += usize::from(line.mark == CheckMark::Failed);
        if line.mark == CheckMark::Note {
            self.notes.push((line.step, line.text.clone()));
        }
        match self.form {
            Form::Json => self.write_json(&line, None),
            Form::Text => self.write_text(&line),
        }
    }

    /// Writes what a driver found on the way to its server.
    pub fn found(&mut self, finding: Finding) {
        let mark = if finding.advice.is_some() { CheckMark::Note } else { CheckMark::Ok };
        let line = CheckLine {
            took: finding.took,
            hint: finding.advice,
            ..CheckLine::new(mark, finding.step, finding.text)
        };
        if let (Some(paste), Some(source)) = (&finding.paste, &self.source) {
            self.pastes.push((source.clone(), paste.clone()));
        }
        self.settings.extend(finding.setting);
        if line.mark == CheckMark::Note {
            self.notes.push((line.step, line.text.clone()));
        }
        match self.form {
            Form::Json => self.write_json(&line, finding.paste.as_deref()),
            Form::Text => self.write_text(&line),
        }
    }

    /// An entry of a listing.
    pub fn entry(&mut self, text: &str) {
        match self.form {
            Form::Json => self.write_json(&CheckLine::ok("entry", text), None),
            Form::Text => self.write(&format!("        {text}")),
        }
    }

    /// A whole table of the source as it was found, to be pasted; `head` and what was found on the
    /// way.
    pub fn table(&mut self, head: Option<String>) {
        let Some(head) = head else { return };
        let table = format!(
            "{head}{}",
            self.settings.iter().map(|line| format!("{line}\n")).collect::<String>()
        );
        match self.form {
            Form::Json => {
                self.write_json(&CheckLine::ok("table", "the source as it was found"), Some(&table))
            }
            Form::Text => self.write(&format!(
                "the source as it was found, for any configuration:\n{}",
                table.trim_end()
            )),
        }
    }

    /// The last lines: what to paste, and whether all is well.
    pub fn end(&mut self) {
        if self.form == Form::Json {
            let status = if self.failed == 0 { "ok" } else { "failed" };
            let line = json!({ "step": "end", "status": status, "failed": self.failed });
            return self.write(&line.to_string());
        }
        for (source, line) in std::mem::take(&mut self.pastes) {
            self.write(&format!(
                "to paste below `name = \"{source}\"`, if the server's owner confirms it:\n{line}"
            ));
        }
        match self.failed {
            0 => self.write("all is well: `blobferry plan` shows what a run would do"),
            failed => self.write(&format!("{failed} failed, see above")),
        }
    }

    fn write_text(&mut self, line: &CheckLine) {
        let mark = match line.mark {
            CheckMark::Ok => "ok    ",
            CheckMark::Note => "note  ",
            CheckMark::Failed => "FAIL  ",
        };
        let source = self.source.as_ref().map_or(String::new(), |source| format!("{source}: "));
        let class = line.class.map_or(String::new(), |class| format!("[{class}] "));
        let took = line.took.map_or(String::new(), |took| format!(" ({} ms)", took.as_millis()));
        self.write(&format!("{mark}{source}{}: {class}{}{took}", line.step, line.text));
        if let Some(hint) = &line.hint {
            self.write(&format!("      hint: {hint}"));
        }
    }

    fn write_json(&mut self, line: &CheckLine, paste: Option<&str>) {
        let status = match line.mark {
            CheckMark::Ok => "ok",
            CheckMark::Note => "note",
            CheckMark::Failed => "failed",
        };
        let mut value = json!({ "step": line.step, "status": status, "text": line.text });
        let parts = [
            ("source", self.source.clone().map(Value::from)),
            (
                "ms",
                line.took
                    .map(|took| Value::from(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))),
            ),
            ("class", line.class.map(Value::from)),
            ("hint", line.hint.clone().map(Value::from)),
            ("paste", paste.map(Value::from)),
        ];
        if let Some(object) = value.as_object_mut() {
            object.extend(
                parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))),
            );
        }
        let text = self.redactor.json(value).to_string() + "\n";
        self.put(&text);
    }

    fn write(&mut self, text: &str) {
        let text = self.redactor.text(text) + "\n";
        self.put(&text);
    }

    fn put(&mut self, text: &str) {
        match &mut self.held {
            Some(held) => held.push_str(text),
            None => {
                console::data(text);
            }
        }
    }
}
