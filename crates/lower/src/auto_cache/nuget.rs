//! NuGet, as `dotnet` uses it: answers of servers, and the packages that projects refer to where they lie.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, subcommand};

/// `dotnet`.
pub(crate) const NUGET: Tool = Tool {
    name: "nuget",
    programs: &["dotnet"],
    variables: &["NUGET_PACKAGES", "NUGET_HTTP_CACHE_PATH", "XDG_DATA_HOME"],
    directories: &[
        Documented {
            commands: "`dotnet restore`, and `build`, `publish`, `run`, `test`, `pack` without `--no-restore`",
            directory: "`$NUGET_HTTP_CACHE_PATH`, else `NuGet/http-cache` below `$XDG_DATA_HOME` or `~/.local/share`",
            purpose: "pure",
            sharing: "shared",
            shared_by: "all",
        },
        Documented {
            commands: "the same",
            directory: "`$NUGET_PACKAGES`, else `~/.nuget/packages`",
            purpose: "output",
            sharing: "–",
            shared_by: "runs of the same step",
        },
    ],
    notes: "Projects refer to packages where they lie, so that every later `dotnet` reads them there: they stay in the layer. Answers of registries are trusted \
            for 30 minutes: `--no-http-cache` asks again.",
    recognise,
};

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if command.name() != Some("dotnet") {
        return None;
    }
    let Some((name, args)) = subcommand(command.args(), &[]) else { return Use::nothing() };
    match name {
        "restore" | "build" | "publish" | "run" | "test" | "pack" | "msbuild" => {}
        "nuget" if has_flag(args, &["--clear", "-c"]) => return Use::clearing(),
        "nuget" if args.iter().any(|word| word.text == "locals") => return Use::asking(),
        _ => return Use::nothing(),
    }
    if has_flag(args, &["--no-restore", "--no-build"]) {
        return Use::nothing();
    }
    let mut caches = Vec::new();
    if !has_flag(args, &["--no-cache", "--no-http-cache"]) {
        let directory = match command.variable("XDG_DATA_HOME", place.around) {
            _ if place.may_be_set(command, "NUGET_HTTP_CACHE_PATH") => {
                place.directory(command, &["NUGET_HTTP_CACHE_PATH"], "")
            }
            Value::Known(data) if !data.is_empty() => command.directory(&format!("{data}/NuGet/http-cache")),
            Value::Known(_) | Value::Unset => place.home(command, ".local/share/NuGet/http-cache"),
            Value::Unknown => None,
        };
        caches.extend(directory.map(|directory| Cache::pure(directory, place.everywhere("nuget"), Kind::Downloaded)));
    }
    if !has_flag(args, &["--packages"]) {
        let directory = place.directory(command, &["NUGET_PACKAGES"], ".nuget/packages");
        caches.extend(directory.map(|directory| Cache::output(directory, "nuget/packages")));
    }
    Some(Use { label: format!("dotnet {name}"), caches, ..Use::default() })
}

#[cfg(test)]
mod tests {
    use super::NUGET;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let both = "~/.local/share/NuGet/http-cache (~/.nuget/packages)";
        check(
            &NUGET,
            &[
                ("dotnet restore", both),
                ("dotnet restore app/app.csproj -r linux-x64", both),
                ("dotnet publish -c Release -o /out", both),
                ("dotnet test && dotnet build", both),
                ("ENV NUGET_PACKAGES=/p\ndotnet restore", "~/.local/share/NuGet/http-cache (/p)"),
                ("ENV NUGET_HTTP_CACHE_PATH=/h\ndotnet restore", "/h (~/.nuget/packages)"),
                ("dotnet restore --no-cache", "(~/.nuget/packages)"),
                ("dotnet restore --packages /p", "~/.local/share/NuGet/http-cache"),
                ("dotnet publish --no-restore", "nothing"),
                ("dotnet app.dll", "nothing"),
                ("dotnet --info", "nothing"),
                ("dotnet nuget locals all --clear", "clears"),
                ("dotnet nuget locals all --list", "asks"),
                ("echo dotnet restore", ""),
                ("./dotnet restore", ""),
            ],
        );
    }
}
