//! The desk at which runs are started and planned by hand, as pages. Pure.

use maud::{Markup, html};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::address::{self, carried, encoded};
use super::frame::{Dress, Frame};
use super::html::{page as whole, problems, with_headers};
use super::pass::{PagePass, PageProblem};
use crate::handler::envelope::{HttpAnswer, HttpCall};
use crate::report::in_bytes;

/// What the desk knows.
pub(crate) struct FormContext<'a> {
    /// The configured sources.
    pub sources: &'a [&'a str],
    /// Where blobs go.
    pub store: &'a str,
    /// What paths of our HTTP API begin with.
    pub prefix: &'a str,
    /// Who asks.
    pub call: &'a HttpCall,
    /// The key by which the caller sees the status page; that of this desk does not open it.
    pub view: Option<&'a String>,
}

impl FormContext<'_> {
    fn show(&self, status: u16, title: &str, live: &Markup) -> HttpAnswer {
        let query = self.view.map_or_else(String::new, |view| format!("?code={}", encoded(view)));
        let frame = Frame {
            store: self.store,
            prefix: self.prefix,
            query: &query,
            view: "",
            starts: None,
            sources: self.sources,
            off: &[],
            next: std::collections::BTreeMap::new(),
            last_but_one: std::collections::BTreeMap::new(),
            here: "",
            part: None,
            dress: Dress::Html,
            now: OffsetDateTime::now_utc(),
        };
        with_headers(status, whole(&frame, title, false, live, &self.form()))
    }

    /// The form. It posts to where it came from, so that the host finds the key where it found it
    /// before.
    fn form(&self) -> Markup {
        html! {
            form.form method="post" action={ (self.prefix) "/ingest" (carried(self.call)) } {
                div {
                    label for="source" { "Source" }
                    select #source name="source" {
                        option value="" { "all" }
                        @for name in self.sources { option value=(name) { (name) } }
                    }
                }
                @if let Some(view) = self.view { input type="hidden" name="view" value=(view); }
                button.second type="submit" name="do" value="plan" { "Plan: what would a run do?" }
                button type="submit" name="do" value="start" { "Start a run" }
            }
            p.quiet.small { "The address of this page holds the key of IngestHttp: close it when \
                you are done, and do not pass it on." }
        }
    }

    /// The desk itself.
    pub fn open(&self) -> HttpAnswer {
        self.show(200, "blobferry: by hand", &html! { h1 { "Start or plan a run" } })
    }

    /// What a run would do now.
    pub fn planned(&self, answer: &HttpAnswer) -> HttpAnswer {
        let Some(plans) = answer.body["plan"].as_array() else {
            return self.refused("Not planned", answer.status, &answer.body);
        };
        let live = html! {
            h1 { "What a run would do now" }
            p.quiet.small { "Nothing was changed, neither at the sources nor in the store." }
            @for plan in plans { section.card { (planned(plan)) } }
        };
        self.show(200, "blobferry: plan", &live)
    }

    /// What came of the wish for a run, `res` being the answer of the API.
    pub fn started(&self, res: &Value) -> HttpAnswer {
        let status =
            res["statusCode"].as_str().and_then(|status| status.parse().ok()).unwrap_or(500);
        let body: Value = res["body"]
            .as_str()
            .and_then(|body| serde_json::from_str(body).ok())
            .unwrap_or_default();
        let Some(id) = body["id"].as_str() else {
            return self.refused("Not started", status, &body);
        };
        let query = self.view.map_or_else(String::new, |view| format!("?code={}", encoded(view)));
        let words = if body["joined"] == true { "is at it already" } else { "was started" };
        let live = html! {
            h1 { "A run " (words) }
            p {
                "Run "
                a href=(address::below(self.prefix, &query, &address::run_path(id), &[])) { (id) }
                ": " (body["status"].as_str().unwrap_or("on its way"))
            }
            p { a href=(address::below(self.prefix, &query, "", &[])) { "Overview" } }
        };
        self.show(if status < 400 { 200 } else { status }, "blobferry: a run", &live)
    }

    fn refused(&self, what: &str, status: u16, body: &Value) -> HttpAnswer {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let live = html! {
            h1 { (what) " (" (status) ")" }
            p { bdi { (text("error")) } }
            @if !text("hint").is_empty() { p { bdi { (text("hint")) } } }
        };
        self.show(status, "blobferry: that did not work", &live)
    }
}

/// Where a planned file goes: its blob, what its members' names begin with, or why it gets no name.
fn destination_of(file: &Value) -> String {
    let told = [&file["blob"], &file["members"]["below"], &file["nameless"]];
    let told: Vec<&str> = told.iter().filter_map(|value| value.as_str()).collect();
    told.join(", ")
}

fn planned(plan: &Value) -> Markup {
    let decided = PagePass::read(&plan["decided"]);
    let files = plan["fetch"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = plan["files"].as_u64().unwrap_or(0);
    let more = count.saturating_sub(u64::try_from(files.len()).unwrap_or(u64::MAX));
    let text = |file: &Value, name: &str| file[name].as_str().unwrap_or_default().to_owned();
    let problems_told: Vec<PageProblem> =
        decided.problems.iter().chain(&decided.failures).cloned().collect();
    html! {
        div.head { h3 { bdi { (plan["source"].as_str().unwrap_or("?")) } } span { (count) " to \
            fetch, " (in_bytes(plan["bytes"].as_u64().unwrap_or(0))) } }
        p.small {
            "decided already: unchanged " (decided.unchanged)
            ", skipped " (decided.skipped)
            ", gone " (decided.gone)
            ", deferred " (decided.deferred)
            ", failed " (decided.failed)
        }
        @if !problems_told.is_empty() { (problems(&problems_told)) }
        @if !files.is_empty() {
            div.wide role="region" tabindex="0"
                aria-label={ "Files to fetch from " (plan["source"].as_str().unwrap_or("?")) }
            {
                table.stack {
                    thead {
                        tr {
                            th scope="col" { "file" }
                            th scope="col" { "why" }
                            th.number scope="col" { "size" }
                            th scope="col" { "blob" }
                        }
                    }
                    tbody {
                        @for file in files {
                            tr {
                                td.name {
                                    bdi { (text(file, "path")) }
                                    @if file["unsettled"] == json!(true) {
                                        div.quiet.small {
                                            "may still be written: is looked at again first"
                                        }
                                    }
                                }
                                td { (text(file, "why")) }
                                td.number data-label="size" {
                                    @match file["size"].as_u64() {
                                        Some(size) => (in_bytes(size)),
                                        None => "unknown",
                                    }
                                }
                                td.name { bdi { (destination_of(file)) } }
                            }
                        }
                    }
                }
            }
        }
        @if more > 0 { p.small { "and " (more) " more: " code { "blobferry plan" } " tells all of \
            them" } }
    }
}
