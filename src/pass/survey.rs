//! What a source holds and what is to be done about it: listing, ledger and rules joined into a
//! plan.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::failpoint::safeguard_off;
use crate::ledger::Ledger;
use crate::model::failure::{Class, Failure};
use crate::model::{Precision, RemoteFile, RemotePath, chain};
use crate::pass::deciding::{decide_held, how_told, left_out_by};
use crate::pass::found_work::{Again, Decided, Survey};
use crate::pass::found_work::{decided, stopped_while_listing};
use crate::pass::given_names;
use crate::pass::share::{self, ShareSeen};
use crate::pass::shared_names;
use crate::pass::slips::Slips;
use crate::pass::waiting_folders::StillShown;
use crate::pass::{look_back, order};
use crate::report::{Defer, Outcome, Problem, SourceReport, in_bytes};
use crate::rules::plan::markers::{MarkerTimes, marker_of};
use crate::rules::plan::rest::Clock;
use crate::rules::plan::{Decision, Rules, Skip, decide, settled};
use crate::rules::selection::{self, Newest, NewestFiles};
use crate::runtime::parallel::side_by_side;
use crate::source::contract::{Listed, SourceError};
use crate::source::walk::{Walk, WalkFound};
use crate::transfer::context::Pass;
use crate::transfer::download;
use crate::transfer::events::Call;
use crate::transfer::missing::Absent;
use crate::transfer::settings::After;

/// Lists the source and decides about each file. Reads only.
pub(crate) async fn survey(pass: &Arc<Pass>, again: &Again) -> Survey {
    let began = (OffsetDateTime::now_utc(), Instant::now());
    let report = SourceReport::new(&pass.source.name, pass.pool.address());
    let mut survey = Survey::new(report, began);
    match share::look(pass).await {
        Ok(seen) => survey.share = seen,
        Err(problem) => {
            survey.report.add_problem(problem);
            return survey;
        }
    }
    for folder in &pass.source.own_folders {
        survey.report.add_note(folder, "left out: this program itself writes there");
    }
    look_back::tell(pass, &mut survey.report);
    let call = Call::to_source("list", pass, &pass.source.root);
    let ranking = pass.source.selection.newest.map(|rule| (rule, NewestFiles::new(rule)));
    survey.still_shown = StillShown::watch(pass);
    let (held, newest, wanted) = (Vec::new(), None, 0);
    let slips = Slips::watch(pass, again);
    let survey_of = &mut survey;
    let mut sorting =
        Sorting { pass, again, survey: survey_of, held, newest, ranking, wanted, slips };
    match pass.source.patterns.exact() {
        Some(paths) => {
            let files = describe_all(pass, paths, &mut sorting.survey.report).await;
            files.into_iter().for_each(|file| sorting.take(file));
        }
        None => list(pass, &mut sorting).await,
    }
    sorting.rank_all();
    let Sorting { held, newest, wanted, slips, .. } = sorting;
    too_few(pass, wanted, &mut survey.report);
    tell_unmatched(pass, held.len(), &mut survey);
    survey.slips = slips.tell(pass, again, &mut survey.report);
    match survey.report.problems.first() {
        Some(problem) => call.has_problem(problem),
        None => call.went_well(0),
    }
    decide_held(pass, held, newest, again, &mut survey).await;
    if let Some(problem) = share::empty(pass, &survey.share, &survey.report) {
        survey.share = ShareSeen::default();
        survey.report.add_problem(problem);
    }
    survey.choose_rechecks(pass).await;
    survey.unmarked.tell(&pass.source, &mut survey.report, survey.began.0);
    if pass.source.order.is_some() {
        survey.transfers.reorder(|all| order::sort(&pass.source, all));
    }
    shared_names::mark(&pass.source, &mut survey);
    survey.relisted.sort_by_cached_key(|(file, _)| Ledger::order(&file.path));
    survey
}

/// Tells of a listing with fewer files than there must be.
fn too_few(pass: &Pass, wanted: u64, report: &mut SourceReport) {
    // A listing that broke off is told by itself.
    if wanted < pass.source.min_listed && report.problems.is_empty() {
        let text = format!(
            "{wanted} wanted files were listed, fewer than `min_listed` = {}",
            pass.source.min_listed
        );
        report.add_problem(Problem::new(Class::TooFew, text));
    }
}

/// A pattern with a slip in it matches nothing, and all would seem well.
fn tell_unmatched(pass: &Pass, held: usize, survey: &mut Survey) {
    let report = &mut survey.report;
    let excluded = report.skipped_by_reason.get(Skip::Excluded.word()).copied().unwrap_or(0);
    let all = held == 0 && report.listed > 0 && excluded == report.listed;
    if all && survey.transfers.is_empty() && survey.unsettled.is_empty() {
        pass.source.patterns.none_matched().into_iter().for_each(|note| report.add_remark(note));
    }
}

/// Decides about files as they are listed: of what is unchanged nothing is kept but a count.
struct Sorting<'a> {
    pass: &'a Arc<Pass>,
    again: &'a Again,
    survey: &'a mut Survey,
    /// Files that can be decided about only when all of the listing is there.
    held: Vec<RemoteFile>,
    /// The newest time that the source has shown so far.
    newest: Option<OffsetDateTime>,
    /// Which files are the newest of their group, where only those are taken.
    ranking: Option<(Newest, NewestFiles)>,
    /// Files that the patterns want, where their number matters.
    wanted: u64,
    /// Which patterns match.
    slips: Slips,
}

impl Sorting<'_> {
    fn take(&mut self, file: RemoteFile) {
        if self.survey.held() < self.pass.run.limits.files
            && let Some(before) = given_names::before(self.pass, &file)
        {
            return self.survey.renamed.push((file, before));
        }
        self.slips.see(self.pass, &file.path);
        self.survey.still_shown.see(self.pass, &file.path);
        let file = self.pass.without_false_time(file);
        let exact = file.modified.filter(|modified| modified.precision <= Precision::Second);
        // A time in the future is nobody's clock.
        let shown = exact.map(|modified| modified.at).filter(|at| *at <= self.survey.began.0);
        self.newest = self.newest.max(shown);
        if self.pass.source.min_listed > 0 {
            self.wanted += u64::from(self.pass.source.patterns.wants(&file.path));
        }
        if let Some(file) = self.rank(file) {
            self.sort_in(file);
        }
    }

    fn sort_in(&mut self, file: RemoteFile) {
        // A marker may come after its file.
        if self.pass.source.marker.is_some() {
            return self.hold(file);
        }
        let none = MarkerTimes::new();
        let known = self.pass.ledger.known(&file.path);
        let seen = self.pass.ledger.seen(&file.path);
        self.survey.count_kept(self.pass, &file, known.as_ref(), seen.as_ref());
        let patterns = &self.pass.source.patterns;
        let rules = Rules {
            wanted: &|path| patterns.wants(path),
            in_progress: &|path| patterns.in_progress(path),
            again: &|path| self.again.as_ref().is_some_and(|again| again.wants(path)),
            skipped_by_time_or_size: &|file, seen| {
                left_out_by(self.pass, file, seen, self.survey.began.0)
            },
            marker: None,
            markers: &none,
            stable_for: self.pass.source.stable_for,
            clock: Clock { here: self.survey.began.0, newest: self.newest },
            times: self.pass.times(),
            removes: self.pass.source.after != After::Keep,
        };
        match decide(&file, known.as_ref(), seen.as_ref(), &rules) {
            // What is listed later may show that the server's clock is further on, or that its zone
            // moved.
            Decision::LookAgain(_) | Decision::AskTime | Decision::Wait => self.hold(file),
            decision => {
                let rests = settled(&file, seen.as_ref(), &rules, how_told(&file));
                if decision == Decision::Unchanged {
                    self.survey.stood_still.see(&file, rules.clock.here);
                }
                self.survey.take(self.pass, Decided { file, listed: None, known, rests }, decision);
            }
        }
    }
}

impl Sorting<'_> {
    /// Where only the newest files are taken, a file that may be one waits for the end of the
    /// listing. Those that nothing is to be decided about, or that an earlier run left undone, come
    /// back.
    fn rank(&mut self, file: RemoteFile) -> Option<RemoteFile> {
        let Some((rule, ranking)) = &mut self.ranking else { return Some(file) };
        let (rule, patterns) = (*rule, &self.pass.source.patterns);
        let seen = self.pass.ledger.seen(&file.path);
        let asked_for = self.again.as_ref().is_some_and(|again| again.wants(&file.path));
        let ranks = patterns.wants(&file.path)
            && !patterns.in_progress(&file.path)
            && !asked_for
            && seen.is_none()
            && left_out_by(self.pass, &file, None, self.survey.began.0).is_none();
        if !ranks {
            return Some(file);
        }
        let waiting = ranking.held() + self.held.len() + self.survey.held();
        let (others, skip) = if waiting < self.pass.run.limits.files {
            let group = selection::group(rule, &file.path, patterns.pattern_of(&file.path));
            (ranking.take(group, file), Outcome::Skipped(Skip::NotNewest))
        } else {
            (vec![file], Outcome::Deferred(Defer::TooMany))
        };
        for other in others {
            decided(self.pass, &mut self.survey.report, &other, skip.clone());
        }
        None
    }

    /// All is listed: the newest files are known.
    fn rank_all(&mut self) {
        let Some((_, ranking)) = self.ranking.take() else { return };
        let (newest, others) = ranking.finish();
        for other in others {
            let skip = Outcome::Skipped(Skip::NotNewest);
            decided(self.pass, &mut self.survey.report, &other, skip);
        }
        newest.into_iter().for_each(|file| self.sort_in(file));
    }

    fn hold(&mut self, file: RemoteFile) {
        if self.held.len() + self.survey.held() < self.pass.run.limits.files
            && self.survey.has_room(self.pass)
        {
            self.survey.names += file.path.as_bytes().len() as u64;
            self.held.push(file);
        } else {
            decided(self.pass, &mut self.survey.report, &file, Outcome::Deferred(Defer::TooMany));
        }
    }
}

/// Exact paths need no listing.
async fn describe_all(
    pass: &Arc<Pass>,
    paths: &[RemotePath],
    report: &mut SourceReport,
) -> Vec<RemoteFile> {
    let marker =
        |path: &RemotePath| pass.source.marker.as_ref().map(|suffix| marker_of(path, suffix));
    let markers: Vec<RemotePath> = paths.iter().filter_map(marker).collect();
    let asked = [paths, &markers].concat();
    let ask = |path: RemotePath| {
        let pass = pass.clone();
        async move { download::stat(&pass, &RemoteFile { path, size: None, modified: None }).await }
    };
    let (mut files, mut unknown) = (Vec::new(), 0);
    side_by_side(asked, pass.parallel(), ask, |path, answer| match answer {
        Some(Ok(Some(file))) => files.push(file),
        Some(Ok(None)) if paths.contains(&path) => {
            report.notes.push(format!("{path}: is not there"))
        }
        Some(Ok(None)) => {}
        Some(Err(error)) => {
            unknown += usize::from(paths.contains(&path));
            unlisted(report, &path, &error, false);
        }
        None => {
            unknown += usize::from(paths.contains(&path));
            report.problems.push(Problem::new(
                Class::Internal,
                format!("describing `{path}` ended in a panic"),
            ));
        }
    })
    .await;
    report.unusable = unknown >= paths.len();
    files
}

async fn list(pass: &Pass, sorting: &mut Sorting<'_>) {
    let (sender, mut found) = mpsc::channel::<Vec<WalkFound>>(8);
    let patterns = Arc::new(pass.source.patterns.clone());
    let walk = Walk {
        pool: pass.pool.clone(),
        root: pass.source.root.clone(),
        enter: Arc::new(move |dir| patterns.enters(dir)),
        parallel: pass.source.connections * pass.source.endpoint.transfers_per_connection().min(8),
        depth: pass.source.depth,
        most: pass.run.limits.entries,
        room: pass.run.walks.clone(),
        policy: pass.source.policy,
        cancel: pass.run.cancel.clone(),
    };
    let collect = async {
        while let Some(batch) = found.recv().await {
            batch.into_iter().for_each(|found| sort(pass, found, sorting));
            pass.lines.make_room().await;
        }
    };
    // Of many sources few are walked at once: the others need no room for it.
    tokio::join!(Box::pin(walk.run(sender)), collect);
}

fn sort(pass: &Pass, found: WalkFound, sorting: &mut Sorting<'_>) {
    let skip = |path: &RemotePath, skip: Skip| {
        let wanted = pass.source.patterns.wants(path);
        Outcome::Skipped(if wanted { skip } else { Skip::Excluded })
    };
    let found = match found {
        WalkFound::Entry(Listed::File(file)) => {
            if pass.source.patterns.wants(&file.path) {
                pass.alike_folders.see(&file);
            }
            return sorting.take(file);
        }
        WalkFound::AlikeFolders(one, other) => return pass.alike_folders.add(one, other),
        WalkFound::Alike(one, other) => {
            let patterns = &pass.source.patterns;
            if patterns.wants(&one) && patterns.wants(&other) {
                pass.alike.add(one, other);
            }
            return;
        }
        found => found,
    };
    // A listing that broke off has told something.
    let nothing =
        sorting.held.is_empty() && sorting.survey.held() == 0 && sorting.survey.report.listed == 0;
    let report = &mut sorting.survey.report;
    match found {
        WalkFound::Entry(Listed::Symlink(path)) => {
            decided(pass, report, &by_path(&path), skip(&path, Skip::Symlink))
        }
        WalkFound::Entry(Listed::Special(path)) => {
            decided(pass, report, &by_path(&path), skip(&path, Skip::Special))
        }
        WalkFound::Entry(Listed::Unreachable(..)) if safeguard_off!("unreachable-told") => {}
        WalkFound::Entry(Listed::Unreachable(path, why)) => {
            let text = format!("its name cannot be asked for: {why}");
            unreachable(pass, report, &path, Problem::new(Class::Protocol, text))
        }
        WalkFound::Entry(Listed::Undescribed(path, why)) => {
            unreachable(pass, report, &path, Problem::new(Class::ShareError, why))
        }
        WalkFound::Entry(Listed::Unparsed(_)) if safeguard_off!("unparsed-told") => {}
        WalkFound::Entry(Listed::Unparsed(line)) => report.add_unparsed(line),
        WalkFound::Entry(
            Listed::Directory(_) | Listed::File(_) | Listed::Untold(_) | Listed::Aside(_),
        ) => {}
        WalkFound::Alike(..) | WalkFound::AlikeFolders(..) => {}
        WalkFound::Note(note) => report.add_remark(note),
        WalkFound::Unlisted(dir, error) if dir == pass.source.root => {
            unlisted(report, &dir, &error, nothing)
        }
        WalkFound::Unlisted(dir, error) if error.class() == Class::NotFound => {
            pass.missing.add(Absent::Folder(dir, error))
        }
        WalkFound::Unlisted(dir, error) => unlisted(report, &dir, &error, false),
        WalkFound::Stopped => report.add_problem(stopped_while_listing()),
        WalkFound::TooMany => {
            let text = format!(
                "listing was ended after more than `limits.entries` = {} lines; the rest is \
                unknown",
                pass.run.limits.entries
            );
            report.add_problem(Problem::new(Class::LimitListing, text));
        }
        WalkFound::TooMuch(bytes) => {
            let text = format!(
                "listing was ended when the folders that wait to be listed took more than {}, \
                their limit as a part of `limits.memory`; the rest is unknown",
                in_bytes(bytes)
            );
            report.add_problem(Problem::new(Class::LimitListing, text));
        }
        WalkFound::TooDeep(_) if safeguard_off!("depth-told") => {}
        WalkFound::TooDeep(dir) => {
            let text =
                format!("listing `{dir}`: it lies deeper than `depth` = {}", pass.source.depth);
            report.add_problem(Problem::new(Class::ListingFailed, text));
        }
    }
}

/// A file of which nothing is known but where it is.
fn by_path(path: &RemotePath) -> RemoteFile {
    RemoteFile { path: path.clone(), size: None, modified: None }
}

/// A file that nobody can ask for is lost to us, and the report must not call that well.
fn unreachable(pass: &Pass, report: &mut SourceReport, path: &RemotePath, why: Problem) {
    if pass.source.patterns.wants(path) {
        decided(pass, report, &by_path(path), Outcome::Failed(why));
    } else {
        report.add(path, Outcome::Skipped(Skip::Excluded));
    }
}

fn unlisted(report: &mut SourceReport, dir: &RemotePath, error: &SourceError, all: bool) {
    if safeguard_off!("listing-told") {
        return;
    }
    report.unusable |= all;
    let text = chain(error);
    // The error names the folder itself where it got as far as asking for it.
    let text =
        if text.contains(&dir.to_string()) { text } else { format!("listing `{dir}`: {text}") };
    let class = if error.class() == Class::Protocol { Class::ListingFailed } else { error.class() };
    report.add_problem(Problem::new(class, text));
}
