//! One source: locked, surveyed, transferred, looked at again, reported.

mod deciding;
pub mod destination;
pub mod expectations;
pub mod file_log;
pub mod found_work;
pub mod given_names;
pub mod gone;
pub mod judging;
pub mod late;
pub mod lease;
pub mod login_refusal;
pub mod look;
pub mod look_back;
pub mod order;
pub mod recovery;
pub mod renamed;
pub mod second_look;
pub mod share;
mod shared_names;
pub mod since;
pub mod slips;
pub mod source_lock;
pub mod steps;
pub mod stored_report;
pub mod survey;
pub mod waiting_folders;
