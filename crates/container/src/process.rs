//! What runs: arguments, environment and working directory of the first process.

use crate::image::ImageConfig;
use netmode_model::api::ContainerSpec;

/// Docker's default search path.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Entry point and command, as Docker combines them: a new entry point drops the image's command.
pub(crate) fn arguments(spec: &ContainerSpec, image: &ImageConfig) -> Vec<String> {
    let from_image = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (mut all, tail) = match &spec.entrypoint {
        Some(own) => (own.clone(), spec.command.clone()),
        None if spec.command.is_empty() => (from_image(&image.entrypoint), from_image(&image.cmd)),
        None => (from_image(&image.entrypoint), spec.command.clone()),
    };
    all.extend(tail);
    all
}

/// `PATH`, `HOSTNAME`, `TERM` for a terminal, the image's, the user's, the agent's, and `HOME` unless one of them set it.
/// Of two entries of one name the later one wins.
pub(crate) fn environment(hostname: &str, tty: bool, layers: &[&[String]], home: &str) -> Vec<String> {
    let mut all = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if tty {
        all.push("TERM=xterm".into());
    }
    for entry in layers.iter().copied().flatten() {
        set(&mut all, entry);
    }
    if value(&all, "HOME").is_none() {
        all.push(format!("HOME={home}"));
    }
    all
}

/// Puts an entry in the place of one of the same name, or at the end.
pub(crate) fn set(all: &mut Vec<String>, entry: &str) {
    let name = entry.split('=').next().unwrap_or(entry);
    match all.iter_mut().find(|e| e.split('=').next() == Some(name)) {
        Some(old) => *old = entry.into(),
        None => all.push(entry.into()),
    }
}

/// Value of a variable.
pub(crate) fn value<'a>(all: &'a [String], name: &str) -> Option<&'a str> {
    all.iter().find_map(|e| e.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn entry_point_and_command_combine_as_in_docker() {
        let image = ImageConfig {
            entrypoint: Some(strings(&["/entry"])),
            cmd: Some(strings(&["serve"])),
            ..Default::default()
        };
        let run = |entrypoint: Option<&[&str]>, command: &[&str]| {
            let spec =
                ContainerSpec { entrypoint: entrypoint.map(strings), command: strings(command), ..Default::default() };
            arguments(&spec, &image).join(" ")
        };
        assert_eq!(run(None, &[]), "/entry serve");
        assert_eq!(run(None, &["check"]), "/entry check");
        assert_eq!(run(Some(&["/other"]), &[]), "/other");
        assert_eq!(run(Some(&["/other"]), &["x"]), "/other x");
        assert_eq!(run(Some(&[]), &["x"]), "x");
    }

    #[test]
    fn later_variables_win() {
        let env = environment("box", true, &[&strings(&["A=1", "PATH=/bin"]), &strings(&["A=2"])], "/root");
        assert_eq!(env, ["PATH=/bin", "HOSTNAME=box", "TERM=xterm", "A=2", "HOME=/root"]);
        assert_eq!(value(&env, "PATH"), Some("/bin"));
        assert_eq!(value(&env, "PAT"), None);
    }
}
