//! Users and groups of an image: names looked up in its `/etc/passwd` and `/etc/group`, as the image itself would.

use kiln_graph::{Owner, UserName};
use kiln_layer::{Tree, TreeError, resolve};
use std::io::{self, Read};
use std::path::Path;

/// No sensible user database is larger; an image must not make kiln read without end.
const MAX_DATABASE: u64 = 16 << 20;

/// Why a user or group is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error(
        "user `{0}` is not in `/etc/passwd` of the image\nhint: use a numeric id, or make the user before this step"
    )]
    UnknownUser(String),
    #[error(
        "group `{0}` is not in `/etc/group` of the image\nhint: use a numeric id, or make the group before this step"
    )]
    UnknownGroup(String),
    #[error("failed to read `{path}` of the image")]
    Read { path: &'static str, source: io::Error },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Numeric ids of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    /// The home directory, `/` where none is known.
    pub(crate) home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The owner of copied files. Without a group a numeric user stands for the group of the same number, a name for the user's own group.
///
/// As in BuildKit, a user that the image does not know is root, and a group that it does not know is as if it were not
/// given; only where there is no image at all (`FROM scratch`) is that an error.
pub(crate) fn owner(tree: &dyn Tree, owner: &Owner) -> Result<(u32, u32), UserError> {
    if let UserName::Id(uid) = owner.user {
        match &owner.group {
            None => return Ok((uid, uid)),
            Some(UserName::Id(gid)) => return Ok((uid, *gid)),
            Some(UserName::Name(_)) => {}
        }
    }
    let passwd = read(tree, "etc/passwd")?;
    let groups = read(tree, "etc/group")?;
    let scratch = tree.children(Path::new(""))?.is_empty();
    let (uid, own_group) = match &owner.user {
        UserName::Id(uid) => (*uid, *uid),
        UserName::Name(name) => match find_user(&passwd, name) {
            Some(user) => (user.uid, user.gid),
            None if scratch => return Err(UserError::UnknownUser(name.clone())),
            None => (0, 0),
        },
    };
    let gid = match &owner.group {
        None => own_group,
        Some(UserName::Id(gid)) => *gid,
        Some(UserName::Name(name)) => match find_group(&groups, name) {
            Some(group) => group.gid,
            None if scratch => return Err(UserError::UnknownGroup(name.clone())),
            None => own_group,
        },
    };
    Ok((uid, gid))
}

/// The ids of a process that runs as `[user][:group]`; root without a user.
pub(crate) fn process(tree: &dyn Tree, user: Option<&str>) -> Result<ProcessUser, UserError> {
    let text = user.unwrap_or_default();
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let passwd = read(tree, "etc/passwd")?;
    let groups = read(tree, "etc/group")?;
    // A number is an id, even where the database has a user or group of that name.
    let known = match user.parse::<u32>() {
        Ok(uid) => users(&passwd).find(|known| known.uid == uid),
        Err(_) => find_user(&passwd, user),
    };
    let (uid, own_group, home) = match (&known, user.parse()) {
        (Some(known), _) => (known.uid, known.gid, known.home.to_owned()),
        (None, Ok(uid)) => (uid, 0, "/".to_owned()),
        (None, Err(_)) => return Err(UserError::UnknownUser(user.to_owned())),
    };
    let gid = match group {
        None => own_group,
        Some(name) => match (name.parse(), find_group(&groups, name)) {
            (Ok(gid), _) => gid,
            (Err(_), Some(group)) => group.gid,
            (Err(_), None) => return Err(UserError::UnknownGroup(name.to_owned())),
        },
    };
    // The process's own group is always among the further ones: what is closed to that group must not open up when a process
    // changes its own group. A group that is asked for replaces the user's own ones, as in Docker.
    let mut additional_gids = vec![gid];
    if let (Some(known), None) = (&known, group) {
        let member = |group: &Group<'_>| group.members.split(',').any(|member| member == known.name);
        additional_gids.extend(all_groups(&groups).filter(member).map(|group| group.gid).filter(|&other| other != gid));
    }
    let home = if home.is_empty() { "/".to_owned() } else { home };
    Ok(ProcessUser { uid, gid, additional_gids, home })
}

fn read(tree: &dyn Tree, path: &'static str) -> Result<String, UserError> {
    let resolved = resolve(tree, Path::new(path), true)?;
    if !tree.entry(&resolved)?.is_some_and(|entry| entry.is_file()) {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    let read = tree.open(&resolved)?.take(MAX_DATABASE).read_to_end(&mut bytes);
    read.map_err(|source| UserError::Read { path, source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn users(passwd: &str) -> impl Iterator<Item = Passwd<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[name, _, uid, gid, ..] = &fields[..] else { return None };
        let home = fields.get(5).copied().unwrap_or_default();
        Some(Passwd { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

fn all_groups(groups: &str) -> impl Iterator<Item = Group<'_>> {
    groups.lines().filter_map(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let &[name, _, gid, ..] = &fields[..] else { return None };
        Some(Group { name, gid: gid.parse().ok()?, members: fields.get(3).copied().unwrap_or_default() })
    })
}

fn find_user<'a>(passwd: &'a str, name: &str) -> Option<Passwd<'a>> {
    users(passwd).find(|user| user.name == name)
}

fn find_group<'a>(groups: &'a str, name: &str) -> Option<Group<'a>> {
    all_groups(groups).find(|group| group.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_layer::Directory;

    fn image() -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let passwd = concat!(
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n1234:x:5:6::/:/bin/sh\nbroken\n",
            "short:x:2001:2002\n  blank:x:2003:2004::/blank:/bin/sh\r\n",
        );
        std::fs::write(etc.join("passwd"), passwd).unwrap();
        std::fs::write(etc.join("group"), "root:x:0:\nweb:x:34:\ndocker:x:99:root,web\n77:x:78:\n").unwrap();
        let tree = Directory::new(directory.path()).unwrap();
        (directory, tree)
    }

    #[test]
    fn processes_table() {
        let (_directory, tree) = image();
        for (user, uid, gid, groups, home) in [
            (None, 0, 0, &[0, 99][..], "/root"),
            (Some("web"), 33, 34, &[34, 99], "/var/www"),
            (Some("33"), 33, 34, &[34, 99], "/var/www"),
            (Some("web:docker"), 33, 99, &[99], "/var/www"),
            (Some("1000"), 1000, 0, &[0], "/"),
            (Some("1000:1001"), 1000, 1001, &[1001], "/"),
            (Some("1234"), 1234, 0, &[0], "/"),
            (Some("web:77"), 33, 77, &[77], "/var/www"),
            (Some(":99"), 0, 99, &[99], "/root"),
            (Some("short"), 2001, 2002, &[2002], "/"),
            (Some("blank"), 2003, 2004, &[2004], "/blank"),
        ] {
            let found = process(&tree, user).unwrap();
            let expected = ProcessUser { uid, gid, additional_gids: groups.to_vec(), home: home.to_owned() };
            assert_eq!(found, expected, "{user:?}");
        }
        assert!(matches!(process(&tree, Some("nobody")), Err(UserError::UnknownUser(_))));
        assert!(matches!(process(&tree, Some("web:nobody")), Err(UserError::UnknownGroup(_))));
    }

    #[test]
    fn owners_table() {
        let (_directory, tree) = image();
        let name = |name: &str| UserName::Name(name.to_owned());
        for (user, group, expected) in [
            (UserName::Id(5), None, (5, 5)),
            (UserName::Id(5), Some(UserName::Id(6)), (5, 6)),
            (UserName::Id(5), Some(name("docker")), (5, 99)),
            (name("web"), None, (33, 34)),
            (name("web"), Some(name("docker")), (33, 99)),
            (name("unknown"), None, (0, 0)),
            (name("short"), None, (2001, 2002)),
            (name("web"), Some(name("unknown")), (33, 34)),
        ] {
            assert_eq!(owner(&tree, &Owner { user, group }).unwrap(), expected);
        }
        let scratch = tempfile::tempdir().unwrap();
        let scratch = Directory::new(scratch.path()).unwrap();
        let unknown = Owner { user: name("web"), group: None };
        assert!(matches!(owner(&scratch, &unknown), Err(UserError::UnknownUser(_))));
    }
}
