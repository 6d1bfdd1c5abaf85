//! `blobferry completions` and `blobferry man`: what shells and readers of manuals want to know of
//! the command line.

use std::path::PathBuf;

use clap::Command;

use super::console;
use super::exit::{NOTHING, WELL};

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell that will read them.
    shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Write a page for each command into this folder, instead of the main page to standard output.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub fn completions(arguments: &Completions, mut command: Command) -> u8 {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut text);
    console::data(&String::from_utf8_lossy(&text))
}

pub fn man(arguments: &Man, command: Command) -> u8 {
    let Some(folder) = &arguments.folder else {
        let mut text = Vec::new();
        return match clap_mangen::Man::new(command).render(&mut text) {
            Ok(()) => console::data(&String::from_utf8_lossy(&text)),
            Err(error) => failed(&format!("making the manual page: {error}")),
        };
    };
    match std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder)) {
        Ok(()) => WELL,
        Err(error) => failed(&format!("writing manual pages to `{}`: {error}", folder.display())),
    }
}

fn failed(problem: &str) -> u8 {
    console::say(&format!("error: {problem}"));
    NOTHING
}
