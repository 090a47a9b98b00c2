//! Where a project comes from: its file, its directory, its variables, its name.

use super::args::ProjectArgs;
use super::dotenv;
use super::project::{Names, Project};
use crate::caller::Caller;
use crate::failure::Failure;
use netmode_model::Code;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Failure>;

/// Names of a compose file, in docker's order.
const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// Environment variable for the project's name.
const NAME_VARIABLE: &str = "COMPOSE_PROJECT_NAME";

/// Reads the project.
///
/// # Errors
/// No file, or one that cannot be served.
pub(crate) fn project(args: &ProjectArgs, caller: &Caller) -> Result<Project> {
    let file = find(args.file.as_deref(), caller)?;
    let shown = args.file.as_deref().unwrap_or(&file).display().to_string();
    let text = read(&file, &shown)?;
    let directory = file.parent().unwrap_or(Path::new("/")).to_path_buf();
    let caller = with_dotenv(&directory, caller)?;
    let given = args.project_name.as_deref().or_else(|| named(&caller));
    let base = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Project::read(&shown, &text, Names { given, directory: &base }, &caller)
}

/// The project's name; the file is not read where a flag or variable says it.
///
/// # Errors
/// As [`project`], and a name that is none.
pub(crate) fn name(args: &ProjectArgs, caller: &Caller) -> Result<String> {
    match args.project_name.as_deref().or_else(|| named(caller)) {
        Some(name) => checked_name(name),
        None => Ok(project(args, caller)?.name),
    }
}

fn named(caller: &Caller) -> Option<&str> {
    caller.variables.get(NAME_VARIABLE).map(String::as_str).filter(|name| !name.is_empty())
}

/// The file, as an absolute path without links.
fn find(given: Option<&Path>, caller: &Caller) -> Result<PathBuf> {
    let directory = &caller.directory;
    let found = match given {
        Some(file) => directory.join(file),
        None => FILES.iter().map(|name| directory.join(name)).find(|file| file.is_file()).ok_or_else(|| {
            let text = format!("there is no compose.yaml in {}; name the file with --file FILE", directory.display());
            Failure::new(Code::NoSuchPath, text)
        })?,
    };
    found.canonicalize().map_err(|error| unreadable(&given.unwrap_or(&found).display().to_string(), &error))
}

fn read(file: &Path, shown: &str) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| unreadable(shown, &error))
}

fn unreadable(shown: &str, error: &std::io::Error) -> Failure {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    Failure::new(Code::NoSuchPath, format!("cannot read {shown}: {words}; name the compose file with --file FILE"))
}

/// The caller as seen from the project's directory; the shell's variables override those of `.env`.
fn with_dotenv(directory: &Path, caller: &Caller) -> Result<Caller> {
    let file = directory.join(".env");
    let mut variables = caller.variables.clone();
    if file.is_file() {
        let text = read(&file, &file.display().to_string())?;
        let pairs = dotenv::parse(&text, &caller.variables);
        for (key, value) in pairs.map_err(|why| Failure::invalid(format!("{}, {why}", file.display())))? {
            if !caller.variables.contains_key(&key) {
                variables.insert(key, value);
            }
        }
    }
    Ok(Caller { directory: directory.to_path_buf(), variables })
}

/// A project's name as docker takes it.
///
/// # Errors
/// One that is none.
pub(crate) fn checked_name(name: &str) -> Result<String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let rest = |b: u8| fits(b) || matches!(b, b'-' | b'_');
    if name.bytes().next().is_some_and(fits) && name.bytes().all(rest) {
        return Ok(name.into());
    }
    Err(Failure::invalid(format!(
        "{name:?} is no name of a project: only lower-case letters, digits, \"-\" and \"_\", the first a letter or digit"
    )))
}

/// The directory's name, without what a project's name cannot have.
///
/// # Errors
/// A directory of whose name nothing is left.
pub(crate) fn name_of_directory(directory: &str) -> Result<String> {
    let lower = directory.to_lowercase();
    let kept: String = lower.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    let name = kept.trim_start_matches(['-', '_']);
    if name.is_empty() {
        let text = format!("the directory {directory:?} gives the project no name; give one with -p NAME");
        return Err(Failure::invalid(text));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_has_its_directorys_name() {
        for (directory, name) in [("shop", "shop"), ("My Shop.v2", "myshopv2"), ("_x-1", "x-1"), ("Übung", "bung")] {
            assert_eq!(name_of_directory(directory).unwrap(), name);
            assert_eq!(checked_name(name).unwrap(), name);
        }
        assert!(name_of_directory("---").unwrap_err().message.contains("-p NAME"));
        for bad in ["", "Shop", "-x", "a b", "a.b", "_x"] {
            assert!(checked_name(bad).is_err(), "{bad}");
        }
    }
}
