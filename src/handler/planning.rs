//! What a run would do now, for a caller of `IngestHttp`: it looks at the sources and changes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use super::envelope::HttpAnswer;
use super::resources::Ready;
use crate::run::planned::Planned;
use crate::run::{self, Plan};
use crate::transfer::progress::Silent;
use crate::transfer::settings::Source;

/// Files that a plan tells by name, for each source.
const NAMED: usize = 500;

/// Plans at once. A plan logs in at servers, and more of them would only wait for logins.
static PLACES: Semaphore = Semaphore::const_new(1);

/// Plans for `sources`, none of which a run of this process is busy with, as long as `most`.
pub async fn plan(ready: &Arc<Ready>, sources: Vec<Source>, most: Duration) -> HttpAnswer {
    let Ok(_place) = PLACES.try_acquire() else {
        return HttpAnswer::refusal(503, "another plan is being made; ask again in a moment")
            .with("Retry-After", "10");
    };
    let cancel = CancellationToken::new();
    let _stops_it = cancel.clone().drop_guard();
    let planned = match begin(ready, sources, cancel) {
        Ok(planned) => tokio::time::timeout(most, planned).await,
        Err(problem) => return HttpAnswer::refusal(500, ready.redactor.text(&problem)),
    };
    match planned {
        Ok(Ok(plans)) => {
            let plans: Vec<Value> = plans.iter().map(line).collect();
            HttpAnswer::new(
                200,
                ready.redactor.json(
                    json!({ "at": OffsetDateTime::now_utc().unix_timestamp(), "plan": plans }),
                ),
            )
        }
        Ok(Err(_)) => {
            HttpAnswer::refusal(500, "a defect of blobferry ended the plan; the log has its trace")
        }
        Err(_) => HttpAnswer::refusal(
            504,
            format!(
                "the sources were not listed within {most:?}; plan for one of them, or by \
                `blobferry plan`"
            ),
        ),
    }
}

/// On threads of its own, as a run: connections die with the threads that they were made on.
fn begin(
    ready: &Arc<Ready>,
    sources: Vec<Source>,
    cancel: CancellationToken,
) -> Result<oneshot::Receiver<Vec<Plan>>, String> {
    let given = (ready.open)()?;
    let id = run::run_id(OffsetDateTime::now_utc());
    let options = ready.options(&id, given, cancel.clone(), Arc::new(Silent));
    let (tell, planned) = oneshot::channel();
    let work = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("plan")
            .enable_all()
            .build();
        // Without a runtime the channel breaks, which the caller is told.
        let Ok(runtime) = runtime else { return };
        let plans = runtime.block_on(async {
            tokio::select! {
                plans = run::plan(sources, options) => Some(plans),
                () = cancel.cancelled() => None,
            }
        });
        runtime.shutdown_background();
        // A caller who has gone misses nothing.
        drop(plans.map(|plans| tell.send(plans)));
    };
    std::thread::Builder::new()
        .name("plan".into())
        .spawn(work)
        .map_err(|error| format!("no thread for the plan: {error}"))?;
    Ok(planned)
}

fn line(plan: &Plan) -> Value {
    let bytes = plan.files.sizes().flatten().fold(0, u64::saturating_add);
    let named: Vec<Planned> = plan.files.iter().take(NAMED).collect();
    json!({ "source": plan.report.source, "files": plan.files.len(), "bytes": bytes, "fetch": named,
        "decided": decided(plan) })
}

fn decided(plan: &Plan) -> Value {
    let mut decided = json!(plan.report);
    decided["status"] = json!(plan.report.status());
    if let Some(object) = decided.as_object_mut() {
        object.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.truncate(NAMED));
    }
    decided
}
