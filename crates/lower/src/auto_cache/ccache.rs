//! ccache and sccache: what was compiled, for whichever build runs the compiler through them.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Setup, Tool, Use, has_flag};
use kiln_graph::CacheDirectory;

/// `ccache`, `sccache`, and what runs compilers.
pub(crate) const CCACHE: Tool = Tool {
    name: "ccache",
    programs: &[
        "ccache",
        "sccache",
        "make",
        "cmake",
        "ninja",
        "meson",
        "cargo",
        "configure",
        "gcc",
        "cc",
        "clang",
        "scons",
        "bazel",
    ],
    variables: &["CCACHE_DIR", "SCCACHE_DIR", "XDG_CACHE_HOME"],
    directories: &[
        Documented {
            commands: "`ccache …`, and builds for which `$CC`, `$CXX`, `$PATH` or CMake's launchers name it",
            directory: "`$CCACHE_DIR`, else `ccache` below `$XDG_CACHE_HOME` or `~/.cache`",
            purpose: "pure",
            sharing: "shared",
            shared_by: "base image and its packages, platform",
        },
        Documented {
            commands: "`sccache …`, and builds for which `$RUSTC_WRAPPER` or the like names it",
            directory: "`$SCCACHE_DIR`, else `sccache` below `$XDG_CACHE_HOME` or `~/.cache`",
            purpose: "pure",
            sharing: "shared",
            shared_by: "base image and its packages, platform",
        },
    ],
    notes: "ccache is told to look at the compiler's content (`CCACHE_COMPILERCHECK=content`), since all files of an image may have the same time. \
            A remote storage that sccache is set to takes the place of its directory.",
    recognise,
};

/// Variables that say what runs the compiler.
const WRAPPERS: &[&str] = &[
    "CC",
    "CXX",
    "CMAKE_C_COMPILER_LAUNCHER",
    "CMAKE_CXX_COMPILER_LAUNCHER",
    "RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "PATH",
];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let name = command.name()?.rsplit('/').next()?;
    let (ccache, sccache) = match name {
        "ccache" | "sccache" => (name == "ccache", name == "sccache"),
        "make" | "cmake" | "ninja" | "meson" | "cargo" | "configure" | "gcc" | "g++" | "cc" | "c++" | "clang"
        | "clang++" | "scons" => {
            let says = |what: &str| {
                let last = |text: &str| text.split([' ', '/', ':', '=', ';']).any(|part| part == what);
                command.args().iter().any(|word| last(&word.text))
                    || WRAPPERS.iter().any(|variable| match command.variable(variable, place.around) {
                        Value::Known(text) => last(text),
                        Value::Unset | Value::Unknown => false,
                    })
            };
            (says("ccache"), says("sccache"))
        }
        _ => return None,
    };
    let first = command.args().first().and_then(|word| word.get()).unwrap_or_default();
    let own = matches!(name, "ccache" | "sccache");
    if own
        && has_flag(command.args(), &["-C", "--clear", "-c", "--cleanup", "--trim-dir", "--evict-older-than"])
        && first.starts_with('-')
    {
        return Use::clearing();
    }
    if !ccache && !sccache {
        return None;
    }
    let mut caches = Vec::new();
    if ccache && !place.may_be_true(command, "CCACHE_DISABLE") {
        let directory = if place.may_be_set(command, "CCACHE_DIR") {
            place.directory(command, &["CCACHE_DIR"], "")
        } else {
            place.xdg_cache(command, "ccache")
        };
        let set = place.may_be_set(command, "CCACHE_COMPILERCHECK");
        let setup: Option<fn(&CacheDirectory, bool) -> Setup> = if set { None } else { Some(setup) };
        caches.extend(
            directory.map(|directory| Cache { setup, ..Cache::pure(directory, place.on_system("ccache"), Kind::Made) }),
        );
    }
    let remote = [
        "SCCACHE_BUCKET",
        "SCCACHE_REDIS",
        "SCCACHE_REDIS_ENDPOINT",
        "SCCACHE_MEMCACHED",
        "SCCACHE_GCS_BUCKET",
        "SCCACHE_GHA_ENABLED",
        "SCCACHE_AZURE_CONNECTION_STRING",
        "SCCACHE_WEBDAV_ENDPOINT",
    ];
    if sccache && !remote.iter().any(|variable| place.may_be_set(command, variable)) {
        let directory = if place.may_be_set(command, "SCCACHE_DIR") {
            place.directory(command, &["SCCACHE_DIR"], "")
        } else {
            place.xdg_cache(command, "sccache")
        };
        caches.extend(directory.map(|directory| Cache::pure(directory, place.on_system("sccache"), Kind::Made)));
    }
    let label = if ccache { "ccache" } else { "sccache" };
    Some(Use { label: label.to_owned(), caches, ..Use::default() })
}

fn setup(_: &CacheDirectory, _: bool) -> Setup {
    Setup { env: vec![("CCACHE_COMPILERCHECK".to_owned(), "content".to_owned())], ..Setup::default() }
}

#[cfg(test)]
mod tests {
    use super::CCACHE;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        check(
            &CCACHE,
            &[
                ("ccache gcc -c x.c", "~/.cache/ccache"),
                ("make CC='ccache gcc'", "~/.cache/ccache"),
                ("ENV CC=ccache gcc\nmake -j4", "~/.cache/ccache"),
                ("CC=\"ccache cc\" ./configure && make", "~/.cache/ccache"),
                ("ENV PATH=/usr/lib/ccache:/usr/bin\nmake", "~/.cache/ccache"),
                ("cmake -DCMAKE_C_COMPILER_LAUNCHER=ccache ..", "~/.cache/ccache"),
                ("ENV CMAKE_CXX_COMPILER_LAUNCHER=/usr/bin/ccache\ncmake --build .", "~/.cache/ccache"),
                ("ENV CCACHE_DIR=/c\nccache gcc x.c", "/c"),
                ("ENV RUSTC_WRAPPER=sccache\ncargo build", "~/.cache/sccache"),
                ("ENV RUSTC_WRAPPER=/bin/sccache\nENV SCCACHE_DIR=/s\ncargo build", "/s"),
                ("ENV RUSTC_WRAPPER=sccache\nENV SCCACHE_BUCKET=b\ncargo build", "nothing"),
                ("ENV CCACHE_DISABLE=1\nccache gcc x.c", "nothing"),
                ("ccache -C", "clears"),
                ("make", ""),
                ("cargo build", ""),
                ("gcc -c ccache.c", ""),
                ("apt-get install ccache", ""),
            ],
        );
    }
}
