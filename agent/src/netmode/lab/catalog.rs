//! Finding the labs: directories `NN-name` with a `lab.toml`, texts and scripts.

use crate::failure::Failure;
use crate::lab::check::Check;
use netmode_model::Code;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The variable that names the directory of the labs.
const VARIABLE: &str = "NETMODE_LABS";

/// Debian's packages of programs that are called otherwise.
const PACKAGES: &[(&str, &str)] = &[("nginx", "nginx-light")];

/// A lab as its files say it.
#[derive(Debug)]
pub(crate) struct Lab {
    /// `03-bridge-by-hand`.
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) directory: PathBuf,
    pub(crate) card: Card,
}

/// `lab.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    /// What it is about, in one line.
    pub(crate) title: String,
    /// How long it takes.
    pub(crate) minutes: u32,
    /// Programs beyond those that every lab needs; `a|b`: one of the two.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// The ladder, from a question to the command.
    pub(crate) hints: Vec<String>,
    #[serde(rename = "check")]
    pub(crate) checks: Vec<Check>,
    #[serde(rename = "fault", default)]
    pub(crate) faults: Vec<Fault>,
}

/// Something that `break` breaks by `faults/NAME.sh`; `faults/NAME.fix.sh` repairs it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) name: String,
    /// What people complain about.
    pub(crate) tells: String,
    pub(crate) hints: Vec<String>,
}

/// The labs in the order of their numbers.
pub(crate) fn all() -> Result<Vec<Lab>, Failure> {
    let top = directory()?;
    let bad = |error: std::io::Error| Failure::new(Code::State, format!("cannot read {}: {error}", top.display()));
    let mut labs = Vec::new();
    for entry in std::fs::read_dir(&top).map_err(bad)? {
        let path = entry.map_err(bad)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.split('-').next().and_then(|n| n.parse().ok());
        if let Some(number) = number.filter(|_| path.join("lab.toml").exists()) {
            let card = card(&path.join("lab.toml"))?;
            labs.push(Lab { name, number, directory: path, card });
        }
    }
    labs.sort_by_key(|lab| lab.number);
    Ok(labs)
}

/// The lab of this number or name.
pub(crate) fn find(wanted: &str) -> Result<Lab, Failure> {
    let is = |lab: &Lab| {
        wanted.parse() == Ok(lab.number)
            || lab.name == wanted
            || lab.name.split_once('-').is_some_and(|(_, n)| n == wanted)
    };
    all()?.into_iter().find(is).ok_or_else(|| {
        Failure::new(
            Code::NotFound,
            format!("there is no lab {wanted:?}; \"netmode lab ls\" lists those that there are"),
        )
    })
}

/// Where labs and what they share lie: as the variable says, beside the program as it is installed, or in /usr.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    let given = std::env::var_os(VARIABLE).map(PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("share/netmode/labs")));
    let usual = ["/usr/local/share/netmode/labs", "/usr/share/netmode/labs"].map(|path| Some(PathBuf::from(path)));
    let places: Vec<_> = if given.is_some() { vec![given] } else { [beside].into_iter().chain(usual).collect() };
    let places: Vec<_> = places.into_iter().flatten().collect();
    let found = places.iter().find(|place| place.join("sandbox.sh").exists());
    // Absolute: the lab's own programs look from elsewhere.
    found.and_then(|place| place.canonicalize().ok()).ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        let text = format!("no labs in {}; set {VARIABLE} to the directory vagrant/labs", looked.join(", "));
        Failure::new(Code::NotFound, text)
    })
}

impl Lab {
    /// The text in the reader's language, else in English.
    pub(crate) fn text(&self) -> Result<String, Failure> {
        let language =
            ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|v| std::env::var(v).ok().filter(|t| !t.is_empty()));
        let language: String = language.unwrap_or_default().chars().take_while(char::is_ascii_lowercase).collect();
        let translated = self.directory.join(format!("lab.{language}.md"));
        read(&if translated.exists() { translated } else { self.directory.join("lab.md") })
    }

    /// What is needed and missing, in one sentence.
    pub(crate) fn missing(&self) -> Option<String> {
        let lacks = |need: &&String| !need.split('|').any(|program| find_program(program).is_some());
        let missing: Vec<_> = self.card.needs.iter().filter(lacks).map(|need| need.replace('|', " or ")).collect();
        let package = |need: &String| PACKAGES.iter().find(|(program, _)| program == need).map(|(_, package)| *package);
        let packages: Vec<_> = missing.iter().filter_map(package).collect();
        let install = if packages.is_empty() { String::new() } else { format!(": apt install {}", packages.join(" ")) };
        let text = format!("lab {} needs {}, which is not installed here{install}", self.number, missing.join(" and "));
        (!missing.is_empty()).then_some(text)
    }
}

/// Where a program is, in the directories that a lab's shell has.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    super::enter::PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// A file as text.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Code::State, format!("cannot read {}: {error}", path.display())))
}

fn card(path: &Path) -> Result<Card, Failure> {
    toml::from_str(&read(path)?).map_err(|error| {
        let text = error.to_string().lines().collect::<Vec<_>>().join(" ");
        Failure::new(Code::State, format!("{}: {text}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cards_name_is_there() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vagrant/labs");
        let mut seen = 0;
        for entry in std::fs::read_dir(top).unwrap() {
            let directory = entry.unwrap().path();
            if !directory.join("lab.toml").exists() {
                continue;
            }
            let card = card(&directory.join("lab.toml")).unwrap();
            seen += 1;
            assert!(directory.join("solution.sh").exists() && !card.hints.is_empty(), "{}", directory.display());
            for (n, check) in card.checks.iter().enumerate() {
                let before = |name: &String| card.checks[..n].iter().any(|other| other.name == *name);
                assert!(check.after.as_ref().is_none_or(before), "{}: {:?}", directory.display(), check.after);
            }
            for fault in &card.faults {
                for end in ["sh", "fix.sh"] {
                    let path = directory.join(format!("faults/{}.{end}", fault.name));
                    assert!(path.exists() && !fault.hints.is_empty(), "{}", path.display());
                }
            }
        }
        assert!(seen >= 12, "{seen}");
    }
}
