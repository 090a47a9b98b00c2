//! `USER[:GROUP]` as the container's own files have it (passwd(5), group(5)).

use crate::rooted::Rooted;
use crate::spec::BadSpec;
use std::path::Path;

/// Highest number that runc takes.
const MOST: u32 = i32::MAX as u32;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Other groups, from `/etc/group`.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Finds who is meant; nothing said is root.
pub(crate) fn resolve(given: Option<&str>, root: &Rooted) -> Result<Account, BadSpec> {
    let read = |file: &str| root.read(Path::new(file)).unwrap_or_default();
    choose(given.unwrap_or(""), &read("/etc/passwd"), &read("/etc/group"))
}

fn choose(given: &str, passwd: &str, group: &str) -> Result<Account, BadSpec> {
    let (user, wanted_group) = match given.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (given, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = parse_number(user, given)?;
    let line = fields(passwd).find(|f| match number {
        Some(uid) => f.get(2).and_then(|n| n.parse().ok()) == Some(uid),
        None => f.first() == Some(&user),
    });
    let uid = number.or_else(|| line.as_ref().and_then(|f| f.get(2)?.parse().ok()));
    let uid = uid.ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
    let own_gid = line.as_ref().and_then(|f| f.get(3)?.parse().ok()).unwrap_or(0);
    let gid = match wanted_group {
        Some(name) => group_id(name, given, group)?,
        None => own_gid,
    };
    // As Docker: a group that is named replaces the other ones.
    let name = line.as_ref().and_then(|f| f.first()).filter(|_| wanted_group.is_none());
    let groups = name.map(|n| memberships(n, gid, group)).unwrap_or_default();
    let home = line.and_then(|f| f.get(5).map(|h| (*h).to_owned())).filter(|h| h.starts_with('/'));
    let fallback = if uid == 0 { "/root" } else { "/" };
    Ok(Account { uid, gid, groups, home: home.unwrap_or_else(|| fallback.into()) })
}

fn fields(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().filter(|l| !l.starts_with('#')).map(|l| l.trim_end().split(':').collect())
}

fn unknown(what: &'static str, name: &str, file: &'static str) -> BadSpec {
    BadSpec::UnknownUser { what, name: name.chars().take(64).collect(), file }
}

/// A number in range, or `None` for a name.
fn parse_number(text: &str, given: &str) -> Result<Option<u32>, BadSpec> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(n) if n <= MOST => Ok(Some(n)),
        _ => Err(BadSpec::User(given.chars().take(64).collect())),
    }
}

fn group_id(name: &str, given: &str, group: &str) -> Result<u32, BadSpec> {
    if let Some(gid) = parse_number(name, given)? {
        return Ok(gid);
    }
    let line = fields(group).find(|f| f.first() == Some(&name));
    line.and_then(|f| f.get(2)?.parse().ok()).ok_or_else(|| unknown("group", name, "/etc/group"))
}

fn memberships(name: &str, own: u32, group: &str) -> Vec<u32> {
    let is_member = |f: &Vec<&str>| f.get(3).is_some_and(|list| list.split(',').any(|m| m == name));
    let mut gids: Vec<u32> =
        fields(group).filter(is_member).filter_map(|f| f.get(2)?.parse().ok()).filter(|g| *g != own).collect();
    gids.sort_unstable();
    gids.dedup();
    gids
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# no\nweb:x:33:34::/srv/web:/bin/sh\nbad:x\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nadm:x:4:web,other\nssl:x:101:web\n";

    fn who(given: &str) -> Result<(u32, u32, Vec<u32>, String), BadSpec> {
        choose(given, PASSWD, GROUP).map(|a| (a.uid, a.gid, a.groups, a.home))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(who(""), Ok((0, 0, vec![], "/root".into())));
        assert_eq!(who("web"), Ok((33, 34, vec![4, 101], "/srv/web".into())));
        assert_eq!(who("33"), Ok((33, 34, vec![4, 101], "/srv/web".into())));
        assert_eq!(who("web:adm"), Ok((33, 4, vec![], "/srv/web".into())));
        assert_eq!(who("1000:1001"), Ok((1000, 1001, vec![], "/".into())));
        assert_eq!(who("1000"), Ok((1000, 0, vec![], "/".into())));
        assert_eq!(choose("0", "", ""), Ok(Account { uid: 0, gid: 0, groups: vec![], home: "/root".into() }));
    }

    #[test]
    fn unknown_ones_are_named() {
        assert_eq!(who("nobody"), Err(unknown("user", "nobody", "/etc/passwd")));
        assert_eq!(who("web:none"), Err(unknown("group", "none", "/etc/group")));
        assert_eq!(who("bad"), Err(unknown("user", "bad", "/etc/passwd")));
        assert!(matches!(who("4294967295"), Err(BadSpec::User(_))));
        assert!(matches!(who("0:99999999999"), Err(BadSpec::User(_))));
    }
}
