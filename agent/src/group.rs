//! Groups of the host, by name.

use std::path::Path;

/// Where they are (group(5)).
const FILE: &str = "/etc/group";

/// The number of a group, if `/etc/group` has it.
///
/// Not by getgrnam(3): the programs are linked statically, and a static C library loads the modules of nsswitch.conf
/// for that, of whatever build they are. `libnss_systemd`, which Debian has, makes the process die of SIGSEGV.
pub fn gid(name: &str) -> Option<u32> {
    within(&std::fs::read_to_string(Path::new(FILE)).ok()?, name)
}

/// `NAME:PASSWORD:GID:MEMBERS`, a line each.
fn within(text: &str, name: &str) -> Option<u32> {
    let number = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    };
    text.lines().find_map(number)
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\nnetmode-too:x:7:\nnetmode:x:998:a,b\nbroken:x:many:\n";
        assert_eq!(within(text, "netmode"), Some(998));
        assert_eq!((within(text, "net"), within(text, "broken"), within(text, "")), (None, None, None));
    }
}
