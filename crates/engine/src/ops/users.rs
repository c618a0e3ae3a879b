//! Users and groups of an image: names looked up in its `/etc/passwd` and `/etc/group`, as the image itself would.

use kiln_graph::{Owner, UserName};
use kiln_layer::{Tree, TreeError, resolve};
use std::io::{self, Read};
use std::num::{IntErrorKind, ParseIntError};
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
    /// The home directory: `/` for an unknown user, empty where the database says so.
    pub(crate) home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: i64,
    gid: i64,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: i64,
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
            Some(user) => (owning_id(user.uid), owning_id(user.gid)),
            None if scratch => return Err(UserError::UnknownUser(name.clone())),
            None => (0, 0),
        },
    };
    let gid = match &owner.group {
        None => own_group,
        Some(UserName::Id(gid)) => *gid,
        Some(UserName::Name(name)) => match find_group(&groups, name) {
            Some(group) => owning_id(group.gid),
            None if scratch => return Err(UserError::UnknownGroup(name.clone())),
            None => own_group,
        },
    };
    Ok((uid, gid))
}

/// The id as the kernel takes it. All ones means that the owner stays, which of a new file is root.
fn owning_id(id: i64) -> u32 {
    let id = id as u32;
    if id == u32::MAX { 0 } else { id }
}

/// The ids of a process that runs as `[user][:group]`; root without a user.
pub(crate) fn process(tree: &dyn Tree, user: Option<&str>) -> Result<ProcessUser, UserError> {
    let mut parts = user.unwrap_or_default().split(':');
    let user = parts.next().filter(|user| !user.is_empty()).unwrap_or("0");
    let group = parts.next().filter(|group| !group.is_empty());
    let passwd = read(tree, "etc/passwd")?;
    let groups = read(tree, "etc/group")?;
    // A number is an id, even where the database has a user or group of that name.
    let known = match user.parse::<u32>() {
        Ok(uid) => users(&passwd).find(|known| known.uid == i64::from(uid)),
        Err(_) => find_user(&passwd, user),
    };
    let (uid, own_group) = match (&known, user.parse()) {
        (Some(known), _) => (known.uid as u32, known.gid as u32),
        (None, Ok(uid)) => (uid, 0),
        (None, Err(_)) => return Err(UserError::UnknownUser(user.to_owned())),
    };
    let gid = match group {
        None => own_group,
        Some(name) => match (name.parse(), find_group(&groups, name)) {
            (Ok(gid), _) => gid,
            (Err(_), Some(group)) => group.gid as u32,
            (Err(_), None) => return Err(UserError::UnknownGroup(name.to_owned())),
        },
    };
    // The process's own group is always among the further ones: what is closed to that group must not open up when a process
    // changes its own group. A group that is asked for replaces the user's own ones, as in Docker.
    let mut additional_gids = vec![gid];
    if let (Some(known), None) = (&known, group) {
        let member = |group: &Group<'_>| group.members.split(',').any(|member| member == known.name);
        let further = all_groups(&groups).filter(member).map(|group| group.gid as u32);
        additional_gids.extend(further.filter(|&other| other != gid));
    }
    // As in Docker the id decides, whichever of its names was asked for.
    let home = users(&passwd).find(|known| known.uid == i64::from(uid)).map_or("/", |known| known.home).to_owned();
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

/// As Docker reads it, every line is a user: what is missing is empty, or 0.
fn users(passwd: &str) -> impl Iterator<Item = Passwd<'_>> {
    lines(passwd).map(|fields| Passwd {
        name: field(&fields, 0),
        uid: number(field(&fields, 2)),
        gid: number(field(&fields, 3)),
        home: field(&fields, 5),
    })
}

fn all_groups(groups: &str) -> impl Iterator<Item = Group<'_>> {
    lines(groups).map(|fields| Group {
        name: field(&fields, 0),
        gid: number(field(&fields, 2)),
        members: field(&fields, 3),
    })
}

fn lines(database: &str) -> impl Iterator<Item = Vec<&str>> {
    database.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.split(':').collect())
}

fn field<'a>(fields: &[&'a str], number: usize) -> &'a str {
    fields.get(number).copied().unwrap_or_default()
}

/// What is no number is 0; one that is too large is the largest.
fn number(text: &str) -> i64 {
    text.parse().unwrap_or_else(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => i64::MAX,
        IntErrorKind::NegOverflow => i64::MIN,
        _ => 0,
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
            "short:x:2001:2002\n  blank:x:2003:2004::/blank:/bin/sh\r\nsecond:x:33:35::/second:/bin/sh\n",
            "below:x:-2:-1::/below:/bin/sh\nabove:x:99999999999999999999:many::/above:/bin/sh\n",
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
            (Some("web:docker:more"), 33, 99, &[99], "/var/www"),
            (Some("short"), 2001, 2002, &[2002], ""),
            (Some("second"), 33, 35, &[35], "/var/www"),
            (Some("broken"), 0, 0, &[0], "/root"),
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
            (name("broken"), None, (0, 0)),
            (name("below"), None, (u32::MAX - 1, 0)),
            (name("above"), None, (0, 0)),
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
