//! Who this is, for people and for runtimes that look for it.

use netmode_model::cni::Version;
use std::ffi::OsString;
use std::path::Path;

/// Name of our own plugin.
pub const OWN: &str = "netmode";

/// Release of the reference plugins whose keys, defaults and results the reference's names have here. nerdctl and Nomad
/// read it, and leave out what an older one could not do.
const REFERENCE: &str = "1.9.1";

/// The name that the executable was called by.
pub fn name(program: Option<OsString>) -> String {
    let program = program.unwrap_or_default();
    let file = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if file.is_empty() || file == "netmode-cni" { OWN.into() } else { file }
}

/// Tells on standard error, as the reference does.
pub fn tell(name: &str) {
    let version = if name == OWN { env!("CARGO_PKG_VERSION") } else { REFERENCE };
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    eprintln!("CNI {name} plugin v{version}\nCNI protocol versions supported: {}", Version::list());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_file() {
        for (program, expected) in
            [("/opt/cni/bin/bridge", "bridge"), ("netmode-cni", OWN), ("./netmode", "netmode"), ("", OWN)]
        {
            assert_eq!(name(Some(program.into())), expected, "{program}");
        }
        assert_eq!(name(None), OWN);
    }
}
