//! The scripts of a lab: run in it, quietly or with each command shown as it stands in the file.

use crate::failure::Failure;
use crate::lab::catalog::{self, Lab};
use crate::lab::enter;
use netmode_model::Code;
use std::path::PathBuf;
use std::process::Command;

/// Ends what is shown of a command; no line of a script.
const END: &str = "NETMODE_LAB_SHOWN";

/// Runs a script without a word; what it said is told if it fails.
pub(crate) fn quietly(lab: &Lab, name: &str) -> Result<(), Failure> {
    let path = path(lab, name)?;
    enter::run_quietly(shell(lab).arg(path))
}

/// Runs a script and shows each command before it is run, as somebody would type it. Gives the exit status.
pub(crate) fn aloud(lab: &Lab, name: &str) -> Result<u8, Failure> {
    let text = catalog::read(&path(lab, name)?)?;
    let aloud: String = commands(&text).iter().map(|command| shown_first(command)).collect();
    enter::run(shell(lab).args(["-c", &aloud]))
}

/// A script as somebody would type it; nothing of it is run.
pub(crate) fn shown(lab: &Lab, name: &str) -> Result<String, Failure> {
    let text = catalog::read(&path(lab, name)?)?;
    let typed = |command: &String| if command.starts_with('#') { command.clone() } else { format!("$ {command}") };
    Ok(commands(&text).iter().map(typed).collect())
}

fn path(lab: &Lab, name: &str) -> Result<PathBuf, Failure> {
    let path = lab.directory.join(name);
    let missing = || Failure::new(Code::NotFound, format!("{} is missing", path.display()));
    path.exists().then(|| path.clone()).ok_or_else(missing)
}

fn shell(lab: &Lab) -> Command {
    let mut command = enter::command("sh");
    command.arg("-eu").env("LAB", &lab.directory).current_dir("/run/home");
    command
}

/// A command behind what prints it. A comment is printed alone.
fn shown_first(command: &str) -> String {
    if command.starts_with('#') {
        return format!("cat <<'{END}'\n{command}{END}\n");
    }
    format!("cat <<'{END}'\n$ {command}{END}\n{command}")
}

/// The commands of a script: each begins at the left edge, and goes on in lines that are indented, that continue one
/// (`\\`), or that end a loop.
pub(crate) fn commands(script: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in script.lines() {
        let ends = ["done", "fi", "esac", "}"].iter().any(|word| line.starts_with(word));
        let before = commands.last().is_some_and(|command| command.ends_with("\\\n"));
        match commands.last_mut() {
            Some(command) if ends || before || line.starts_with(' ') || line.is_empty() => *command += line,
            _ => commands.push(line.to_owned()),
        }
        if let Some(command) = commands.last_mut() {
            command.push('\n');
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_one_command() {
        let script = "ip a\n# why\nfor n in 1; do\n    echo $n\ndone >list\nnetmode run \\\n    sh -c 'a; b'\nid\n";
        let expected = [
            "ip a\n",
            "# why\n",
            "for n in 1; do\n    echo $n\ndone >list\n",
            "netmode run \\\n    sh -c 'a; b'\n",
            "id\n",
        ];
        assert_eq!(commands(script), expected);
        assert_eq!(commands(script).concat(), script);
        assert_eq!(shown_first("echo 'a'\n"), format!("cat <<'{END}'\n$ echo 'a'\n{END}\necho 'a'\n"));
    }
}
