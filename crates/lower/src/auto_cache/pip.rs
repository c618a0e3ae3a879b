//! pip: its cache of downloads and of the wheels that it built.

use super::shell::{Command, Word};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand, without_version};
use kiln_graph::{CacheDirectory, Unseen};

/// `pip`.
pub(crate) const PIP: Tool = Tool {
    name: "pip",
    programs: &["pip", "python"],
    variables: &["PIP_CACHE_DIR", "XDG_CACHE_HOME"],
    directories: &[Documented {
        commands: "`pip install`, `download`, `wheel`, also as `python -m pip`",
        directory: "`--cache-dir`, `$PIP_CACHE_DIR`, else `pip` below `$XDG_CACHE_HOME` or `~/.cache`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "base image and its packages, platform, settings and files of C",
    }],
    notes: "`--no-cache-dir` and `$PIP_NO_CACHE_DIR`, whatever its value, mean that pip keeps nothing. Wheels that pip built from source are \
            in the cache too, so that only steps share it which have the same base image and the same `apt`, `apk` or `dnf` commands before, the same \
            `$CFLAGS` and what else builds read, and the same files of C and archives in their own layers.",
    recognise,
};

/// Options before the subcommand that take a value.
const VALUED: &[&str] =
    &["--cache-dir", "--python", "--proxy", "--timeout", "--retries", "--log", "--trusted-host", "--cert"];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let args = match without_version(command.name()?) {
        "pip" => command.args(),
        "python" => module(command.args(), "pip")?,
        _ => return None,
    };
    let Some((name, rest)) = subcommand(args, VALUED) else { return Use::nothing() };
    match (name, rest.first().and_then(Word::get)) {
        ("install" | "download" | "wheel", _) => {}
        ("cache", Some("purge" | "remove")) => return Use::clearing(),
        ("cache", _) => return Use::asking(),
        _ => return Use::nothing(),
    }
    let keeps_none = has_flag(args, &["--no-cache-dir", "--no-cache"]) || place.may_be_set(command, "PIP_NO_CACHE_DIR");
    let takes_none = has_flag(args, &["--no-index"]) || place.may_be_true(command, "PIP_NO_INDEX");
    if keeps_none || takes_none {
        return Use::nothing();
    }
    let caches = directory(command, args, place)
        .zip(place.on_settings("pip", command))
        .map(|(directory, id)| Cache { unseen: Unseen::CAndArchives, ..Cache::pure(directory, id, Kind::Downloaded) });
    Some(Use { label: format!("pip {name}"), caches: caches.into_iter().collect(), ..Use::default() })
}

/// The arguments of `python -m MODULE`.
pub(crate) fn module<'c>(args: &'c [Word], module: &str) -> Option<&'c [Word]> {
    let at =
        args.iter().position(|word| !matches!(word.get(), Some("-u" | "-B" | "-E" | "-s" | "-I" | "-O" | "-OO")))?;
    match &args[at..] {
        [flag, name, rest @ ..] if flag.get() == Some("-m") && name.get() == Some(module) => Some(rest),
        _ => None,
    }
}

fn directory(command: &Command, args: &[Word], place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = option(args, &["--cache-dir"]).ok()? {
        return command.directory(path);
    }
    if place.may_be_set(command, "PIP_CACHE_DIR") {
        return place.directory(command, &["PIP_CACHE_DIR"], "");
    }
    place.xdg_cache(command, "pip")
}

#[cfg(test)]
mod tests {
    use super::PIP;
    use crate::auto_cache::testing::check;

    const CACHE: &str = "~/.cache/pip";

    #[test]
    fn commands_that_download() {
        check(
            &PIP,
            &[
                ("pip install -r requirements.txt", CACHE),
                ("pip install .", CACHE),
                ("pip3 install flask==3.0", CACHE),
                ("pip3.12 install --upgrade pip", CACHE),
                ("python -m pip install x", CACHE),
                ("python3 -m pip install x", CACHE),
                ("python3.11 -u -m pip install x", CACHE),
                ("/usr/local/bin/pip install x", CACHE),
                ("/venv/bin/pip install x", CACHE),
                ("/opt/venv/bin/python -m pip install -e .", CACHE),
                ("python -m venv /venv && /venv/bin/pip install x", CACHE),
                (". /venv/bin/activate && pip install x", CACHE),
                ("pip download -d /wheels x", CACHE),
                ("pip wheel --wheel-dir /wheels -r requirements.txt", CACHE),
                ("pip --disable-pip-version-check install x", CACHE),
                ("pip install --user x", CACHE),
                ("PIP_ROOT_USER_ACTION=ignore pip install x", CACHE),
                ("apt-get update && pip install x", CACHE),
                ("pip install x $SECRET", "nothing"),
                ("xargs -n 1 pip install < requirements.txt", "nothing"),
            ],
        );
    }

    #[test]
    fn directories() {
        check(
            &PIP,
            &[
                ("pip install --cache-dir /c x", "/c"),
                ("pip --cache-dir=/c install x", "/c"),
                ("pip install --cache-dir=.c x", "/src/.c"),
                ("ENV PIP_CACHE_DIR=/c\npip install x", "/c"),
                ("ENV XDG_CACHE_HOME=/x\npip install x", "/x/pip"),
                ("ENV HOME=/h\npip install x", "/h/.cache/pip"),
                ("HOME=/tmp pip install x", "/tmp/.cache/pip"),
                ("PIP_CACHE_DIR=$SECRET pip install x", "nothing"),
                ("PIP_CACHE_DIR=~/p pip install x", "~/p"),
            ],
        );
    }

    #[test]
    fn commands_that_keep_nothing() {
        check(
            &PIP,
            &[
                ("pip install --no-cache-dir -r requirements.txt", "nothing"),
                ("pip --no-cache-dir install x", "nothing"),
                ("pip install --no-cache x", "nothing"),
                ("ENV PIP_NO_CACHE_DIR=1\npip install x", "nothing"),
                ("ENV PIP_NO_CACHE_DIR=off\npip install x", "nothing"),
                ("PIP_NO_CACHE_DIR=1 pip install x", "nothing"),
                ("pip install --no-index --find-links=/wheels x", "nothing"),
                ("pip freeze", "nothing"),
                ("pip list", "nothing"),
                ("pip uninstall -y x", "nothing"),
                ("pip", "nothing"),
                ("pip cache dir", "asks"),
                ("pip install x && pip cache purge", "~/.cache/pip clears"),
                ("sudo pip install x", "nothing"),
            ],
        );
    }

    #[test]
    fn what_is_not_pip() {
        check(
            &PIP,
            &[
                ("echo pip install", ""),
                ("apt-get install -y python3-pip pip", ""),
                ("./pip install x", ""),
                ("python setup.py install", ""),
                ("python -m build", ""),
                ("python -c 'pip install'", ""),
                ("uv pip install x", ""),
                ("pipx install x", ""),
                ("pipenv install", ""),
                ("curl https://bootstrap.pypa.io/get-pip.py | python", ""),
            ],
        );
    }
}
