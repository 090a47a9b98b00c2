//! What a request takes from its caller: directory, environment, files.
//!
//! The agent has another working directory and other variables, so everything is settled here.

use crate::failure::Failure;
use netmode_model::Code;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The caller's surroundings.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    /// Working directory.
    pub(crate) directory: PathBuf,
    /// Environment; variables that are not UTF-8 are left out.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Caller {
    /// This process's.
    pub(crate) fn this() -> Self {
        let text = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            variables: std::env::vars_os().filter_map(text).collect(),
        }
    }

    /// The path as the agent must have it.
    pub(crate) fn absolute(&self, path: &str) -> String {
        if Path::new(path).is_absolute() {
            return path.into();
        }
        let joined = self.directory.join(path);
        // "." and ".." at the beginning are the usual case; ".." behind a symlink is the kernel's business.
        let clean: PathBuf = joined.components().filter(|c| *c != std::path::Component::CurDir).collect();
        clean.to_string_lossy().into_owned()
    }

    /// An image: the path behind `docker-archive:` or `oci:`, or one that is plainly a path.
    pub(crate) fn image(&self, image: &str) -> String {
        for prefix in ["docker-archive:", "oci:", "oci-archive:"] {
            if let Some(path) = image.strip_prefix(prefix) {
                return format!("{prefix}{}", self.absolute(path));
            }
        }
        // A directory that merely has the name of an image is none: an OCI layout says that it is one.
        let here = self.directory.join(image);
        let archive = !image.is_empty() && (here.is_file() || here.join("oci-layout").is_file());
        let path = image.starts_with("./") || image.starts_with("../") || archive;
        if path { self.absolute(image) } else { image.into() }
    }

    /// The variables of `--env-file`s, then those of `--env`; KEY alone passes the caller's, if it is set.
    pub(crate) fn environment(&self, files: &[PathBuf], given: &[String]) -> Result<Vec<String>, Failure> {
        let mut out = Vec::new();
        for file in files {
            self.read_env_file(file, &mut out)?;
        }
        for text in given {
            out.extend(self.variable(text).map_err(|why| Failure::invalid(format!("--env {text:?}: {why}")))?);
        }
        Ok(out)
    }

    fn read_env_file(&self, file: &Path, out: &mut Vec<String>) -> Result<(), Failure> {
        let path = self.directory.join(file);
        let text = std::fs::read(&path).map_err(|error| {
            let error = error.to_string();
            let words = error.split(" (os error").next().unwrap_or(&error);
            Failure::new(Code::NoSuchPath, format!("cannot read the env-file {}: {words}", file.display()))
        })?;
        let bad = |line: usize, why: &str| Failure::invalid(format!("env-file {} line {line}: {why}", file.display()));
        let text = String::from_utf8(text).map_err(|_| bad(1, "the file is not UTF-8 text"))?;
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim_start();
            if !line.is_empty() && !line.starts_with('#') {
                out.extend(self.variable(line).map_err(|why| bad(number + 1, why))?);
            }
        }
        Ok(())
    }

    fn variable(&self, text: &str) -> Result<Option<String>, &'static str> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err("a variable needs a name: write KEY=VALUE");
        }
        if key.contains(char::is_whitespace) {
            return Err("the name of a variable has no blanks: write KEY=VALUE");
        }
        if text.contains('\0') {
            return Err("a variable cannot hold a zero byte");
        }
        Ok(match value {
            Some(_) => Some(text.into()),
            None => self.variables.get(key).map(|value| format!("{key}={value}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller { directory: "/home/me".into(), variables: [("TOKEN".to_string(), "x=y".to_string())].into() }
    }

    #[test]
    fn paths_are_the_callers() {
        assert_eq!(caller().absolute("root/./fs"), "/home/me/root/fs");
        assert_eq!(caller().absolute("/x"), "/x");
        assert_eq!(caller().image("docker-archive:app.tar"), "docker-archive:/home/me/app.tar");
        assert_eq!(caller().image("oci:layout:tag"), "oci:/home/me/layout:tag");
        assert_eq!(caller().image("./app.tar"), "/home/me/app.tar");
        assert_eq!(caller().image("nginx:latest"), "nginx:latest");
    }

    #[test]
    fn variables_come_from_files_flags_and_the_caller() {
        let file = std::env::temp_dir().join(format!("netmode-env-{}", std::process::id()));
        std::fs::write(&file, "# a comment\n\nA=1\n  B=two words # kept\nTOKEN\nUNSET\n").unwrap();
        let given = ["C=3".to_string(), "TOKEN".into(), "UNSET".into(), "E=".into()];
        let all = caller().environment(std::slice::from_ref(&file), &given).unwrap();
        assert_eq!(all, ["A=1", "B=two words # kept", "TOKEN=x=y", "C=3", "TOKEN=x=y", "E="]);
        std::fs::write(&file, "A=1\nB C=2\n").unwrap();
        let error = caller().environment(std::slice::from_ref(&file), &[]).unwrap_err();
        assert!(error.message.contains("line 2"), "{error}");
        std::fs::remove_file(&file).unwrap();
        let error = caller().environment(&[file], &[]).unwrap_err();
        assert_eq!(error.code, Code::NoSuchPath);
        assert!(error.message.ends_with("No such file or directory"), "{error}");
        assert!(caller().environment(&[], &["=x".into()]).is_err());
    }
}
