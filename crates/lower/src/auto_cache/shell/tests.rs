//! What is read of shell texts, and that any text is read without a panic.

use super::{Surroundings, Word, read};

/// The commands of a text, one a line: words in brackets where they are more than letters, `?` for what is not known.
fn commands(text: &str) -> String {
    let env = [("A", "1"), ("LIST", "a b"), ("HOME_DIR", "~/x"), ("EMPTY", "")];
    let env: Vec<(String, String)> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let around = Surroundings { env: &env, hidden: vec!["SECRET"], cwd: "/src" };
    let Ok(commands) = read(text, &around) else { return "unreadable".to_owned() };
    let word = |word: &Word| match (word.known, word.glob) {
        (true, false) => format!("[{}]", word.text),
        (true, true) => format!("<{}>", word.text),
        (false, _) => format!("[{}?]", word.text),
    };
    let lines = commands.iter().map(|command| {
        let mut line: String = command.words.iter().map(word).collect();
        line.extend(command.redirects.iter().map(|file| format!(" >{}", word(file))));
        if command.cwd.as_deref() != Some("/src") {
            line.push_str(&format!(" in {}", command.cwd.as_deref().unwrap_or("?")));
        }
        if !command.certain {
            line.push_str(" perhaps");
        }
        if command.elevated {
            line.push_str(" elevated");
        }
        line
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(commands(text), *expected, "{text}");
    }
}

#[test]
fn words() {
    check(&[
        ("a b  c", "[a][b][c]"),
        ("a 'b c' \"d e\"f", "[a][b c][d ef]"),
        ("a '' \"\"", "[a][][]"),
        ("a\\ b \\'", "[a b][']"),
        ("a \"\\$A \\x\"", "[a][$A \\x]"),
        ("a b\\\n c", "[a][b][c]"),
        ("a # b", "[a]"),
        ("a b#c", "[a][b#c]"),
        ("a $A ${A} \"$A\" '$A' $", "[a][1][1][1][$A][$]"),
        ("a $LIST \"$LIST\"", "[a][a][b][a b]"),
        ("a $UNSET \"$UNSET\" $EMPTY", "[a][]"),
        ("a $SECRET x$SECRET", "[a][?][x?]"),
        ("a ${A:-2} ${UNSET:-2 3} ${A:+4} ${UNSET+5}", "[a][1][2][3][4]"),
        ("a ${A%.*} ${#A} ${SECRET:-x}", "[a][?][?][?]"),
        ("a ~ ~/x $HOME/y \"$HOME\" '~/z' ~user", "[a][~][~/x][~/y][~][?][?]"),
        ("a $HOME_DIR", "[a][?]"),
        ("a *.go [a] b?", "[a]<*.go><[a]><b?>"),
        ("a '*' {} {x,y} {1..3}", "[a][*][{}][?][?]"),
        ("a $(b c) `d`", "[b][c] perhaps\n[d] perhaps\n[a][?][?]"),
        ("a $((1+2)) $? $1 \"$@\"", "[a][?][?][?][?]"),
        ("a $'b c' $\"d\"", "[a][b c][d]"),
        ("é \"ü\" ß", "[é][ü][ß]"),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("a; b & c\nd", "[a]\n[b]\n[c]\n[d]"),
        ("a && b && c", "[a]\n[b]\n[c]"),
        ("a && b; c", "[a]\n[b] perhaps\n[c]"),
        ("a || b", "[a]\n[b] perhaps"),
        ("a | b |& c", "[a]\n[b]\n[c]"),
        ("! a", "[a]"),
        ("(a; b) && { c; d; }", "[a]\n[b]\n[c]\n[d]"),
        ("{ a && b; }; c", "[a]\n[b] perhaps\n[c]"),
        ("if a; then b; elif c; then d; else e; fi; f", "[a]\n[b] perhaps\n[c] perhaps\n[d] perhaps\n[e] perhaps\n[f]"),
        ("for x in 1 $LIST; do a $x; done", "[a][?] perhaps"),
        ("while a; do b; done < f", "[a] perhaps\n[b] perhaps\n[:] >[f] perhaps"),
        ("case $A in 1|2) a ;; *) b;; esac; c", "[a] perhaps\n[b] perhaps\n[c]"),
        ("f() { a; }; f x; b", "[a] perhaps\n[b]"),
        ("[[ -f x && $A == 1 ]] && a", "[a]"),
        ("exit 1; a", "[a]"),
        ("if a; then exit; fi; b", "[a]\n[b] perhaps"),
        ("exec a; b", "[a]\n[b] perhaps"),
    ]);
}

#[test]
fn redirections() {
    check(&[
        ("a > x 2>&1 >>y <z", "[a] >[x] >[y] >[z]"),
        ("a 2>/dev/null &> b", "[a] >[/dev/null] >[b]"),
        ("a <<E > x\nb\nE\nc", "[a] >[x]\n[c]"),
        ("a <<-'E'\n\tb $(c)\n\tE\nc", "[a]\n[c]"),
        ("a <<< word", "[a]"),
        ("{ a; } > x", "[a]\n[:] >[x]"),
        ("> x", "[:] >[x]"),
    ]);
}

#[test]
fn programs_that_run_others() {
    check(&[
        ("env A=2 B=3 a", "[a]"),
        ("env -u A -- a", "[a]"),
        ("sudo -E -u root A=1 a b", "[a][b] elevated"),
        ("time nice -n 5 timeout -s KILL 10m a", "[a]"),
        ("nohup command a", "[a]"),
        ("sh -c 'a; b' x", "[a]\n[b]"),
        ("/bin/bash -o pipefail -ec 'a'", "[a]"),
        ("sh script", "[sh][script]"),
        ("sh -c \"$SECRET\"", "unreadable"),
        ("echo a | xargs -n 1 b c", "[echo][a]\n[b][c][?]"),
        ("cd /x && a; cd y; b; cd; c; cd -; d", "[cd][/x] in /x\n[a] in /x perhaps\n[cd][y] in /x/y\n[b] in /x/y\n[cd] in ~\n[c] in ~\n[cd][-] in ?\n[d] in ?"),
        ("(cd x); a", "[cd][x] in /src/x\n[a]"),
        ("cd x | b; a", "[cd][x] in /src/x\n[b]\n[a]"),
        ("B=2; a $B; B=3 c $B; a $B", "[a][2]\n[c][2]\n[a][2]"),
        ("if a; then B=2; fi; c $B", "[a]\n[c][?]"),
        ("for i in 1; do a $B; B=2; c $B; done; d $B", "[a][?] perhaps\n[c][2] perhaps\n[d][?]"),
        ("while a; do cd x; b; done", "[a] in ? perhaps\n[cd][x] in ? perhaps\n[b] in ? perhaps"),
        ("read B; a $B", "[a][?]"),
        ("unset A; a $A", "[a]"),
        (". ./x; a $A", "[.][./x] in ?\n[a][?] in ?"),
    ].map(|(text, expected)| (text, expected)));
}

#[test]
fn what_cannot_be_read() {
    for text in [
        "a 'b",
        "a \"b",
        "a $(b",
        "a `b",
        "a )",
        "( a",
        "{ a",
        "if a; then b",
        "fi",
        "done",
        "((i++))",
        "a=(b c)",
        "a <(b)",
        "${A",
        "a ${A:-$(b)}",
        "alias a=b",
        "sh <<E\na\nE",
        "a\\",
        "for ((;;)); do a; done",
        "a $'\\x41'",
        "f() a",
        "coproc a",
    ] {
        assert_eq!(commands(text), "unreadable", "{text}");
    }
}

#[test]
fn work_is_bounded() {
    let doubling = format!("a={}; {} b $a", "x".repeat(100), "a=$a$a;".repeat(60));
    assert_eq!(commands(&doubling).matches("[b]").count(), 1);
    assert_eq!(commands(&"(".repeat(100)), "unreadable");
    assert_eq!(commands(&"$(".repeat(100)), "unreadable");
    assert_eq!(commands(&"eval ".repeat(100)), "unreadable");
    assert_eq!(commands(&"a;".repeat(2_000)), "unreadable");
    let nested = format!("A='{}'; {}", "a;".repeat(400), "sh -c \"$A\";".repeat(400));
    assert_eq!(commands(&nested), "unreadable");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(pieces in proptest::collection::vec(proptest::sample::select(vec![
        "a", "go", " ", "\n", ";", "&&", "||", "|", "(", ")", "{", "}", "'", "\"", "\\", "$", "$(", "${", "`", "<<E", "<<-", "E", ">", "<", "&",
        "if", "then", "fi", "for", "in", "do", "done", "case", "esac", ";;", "=", "A=", "~", "/", "*", "é", "#", "[[", "]]", "sh -c ", "env ",
        "sudo ", "cd ", "eval ", "export ", "xargs ", "timeout ", "$((", "))", ":-", "()", "-c", "function ", "exec ", "!", "\t",
    ]), 0..40)) {
        commands(&pieces.concat());
    }
}
