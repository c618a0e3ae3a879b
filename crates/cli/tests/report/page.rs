//! The page in a browser: opened, clicked, read and searched, by day and by night, wide and narrow.

use super::project;
use crate::support::{Browser, Kiln};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Where pictures are left for people to look at.
fn pictures() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn resize(browser: &Browser, width: u32, height: u32) {
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
    browser.devtools("Emulation.setDeviceMetricsOverride", &metrics);
}

/// Nothing was said on the console, and nothing was asked for but the page.
fn quiet(browser: &Browser) {
    let (console, requests) = browser.logs();
    assert_eq!(console, Vec::<String>::new());
    assert!(
        requests.iter().all(|request| request.starts_with("file:///") && request.contains(".html")),
        "{requests:?}"
    );
}

#[test]
fn the_page_is_opened_clicked_read_and_searched() {
    let Some(kiln) = project() else { return };
    let Some(browser) = Browser::start() else { return };
    kiln.build(["-t", "app"]).succeeds();
    kiln.write("main.go", "two\n");
    let page = kiln.path("report.html");
    kiln.build(["-t", "app", "--report", page.to_str().unwrap()]).succeeds();

    resize(&browser, 1280, 1000);
    browser.open(&page);
    assert_eq!(browser.value("document.querySelector('h1').textContent"), "app:latest");
    assert_eq!(browser.value("document.querySelectorAll('.step').length"), 5);
    let day = browser.value("getComputedStyle(document.body).backgroundColor");
    browser.screenshot(&pictures().join("report-day.png"));

    // A bar of the timeline leads to its step, which opens, and has the focus.
    let open = "document.querySelectorAll('.step[open]').length";
    assert_eq!(browser.value(open), 0);
    browser.click(".lanes a rect.ran:last-child, .lanes a svg rect.ran");
    browser.wait_for("document.querySelectorAll('.step[open]').length === 1");
    browser.wait_for("document.activeElement.localName === 'summary'");
    // What the step printed is text, and nothing else.
    assert_eq!(browser.value("document.images.length + document.scripts.length"), 1);
    assert_eq!(browser.value("window.pwned ?? null"), Value::Null);

    // From the keyboard alone: search, go to what was found, and clear.
    browser.press("/");
    browser.press("NEEDLE");
    browser.wait_for("document.getElementById('found').textContent.endsWith('in 1 step')");
    assert_eq!(browser.value("[...document.querySelectorAll('.step')].filter(step => !step.hidden).length"), 1);
    browser.press("\u{E007}");
    browser.wait_for("document.querySelector('.step:not([hidden])').open");
    browser.wait_for("document.getElementById('found').textContent.startsWith('1 of ')");
    let log = browser.value("document.querySelector('.step:not([hidden]) .log').textContent");
    assert!(log.as_str().unwrap().starts_with("warning: needle </script><img src=x"), "{log}");
    browser.press("\u{E00C}");
    browser.wait_for("document.querySelectorAll('.step:not([hidden])').length === 5");
    browser.press("nothing has this");
    browser.wait_for("!document.getElementById('nothing').hidden");
    browser.press("\u{E00C}");

    // By how steps ended, and all at once.
    browser.click(".chip[data-look=cached]");
    browser.wait_for(
        "[...document.querySelectorAll('.step:not([hidden])')].every(step => step.classList.contains('cached'))",
    );
    browser.click(".chip[data-look=cached]");
    browser.click("#all");
    browser.wait_for("document.querySelectorAll('.step[open]').length === 5");
    quiet(&browser);

    let night = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.devtools("Emulation.setEmulatedMedia", &night);
    assert_ne!(browser.value("getComputedStyle(document.body).backgroundColor"), day);
    browser.screenshot(&pictures().join("report-night.png"));
    resize(&browser, 390, 844);
    browser.wait_for("innerWidth === 390");
    assert_eq!(browser.value("document.documentElement.scrollWidth"), 390, "nothing is wider than the screen");
    browser.screenshot(&pictures().join("report-narrow.png"));
    quiet(&browser);
}

#[test]
fn a_large_build_can_be_searched() {
    let Some(browser) = Browser::start() else { return };
    let kiln = Kiln::new();
    // What kiln writes after a build; the names of the fields are those of an older kiln's files as well.
    let line = "go: downloading example.com/some/module v1.2.3 and more\n";
    let steps: Vec<Value> = (1..=500)
        .map(|number| {
            json!({
                "number": number, "name": format!("[stage{} 1/9] RUN step {number}", number % 40), "instruction": "RUN x",
                "end": if number % 3 == 0 { "cached" } else { "ran" },
                "started": number * 20_000, "duration": 400_000 + number * 1000,
                "log": format!("{}only-in-{number}\n", line.repeat(180)),
            })
        })
        .collect();
    let build = json!({ "started": 1_790_000_000_000_u64, "duration": 11_000_000, "context": ".", "dockerfile": "Dockerfile", "steps": steps });
    fs::create_dir_all(kiln.root().join("history")).unwrap();
    fs::write(kiln.root().join("history/1a20000000000000"), build.to_string()).unwrap();
    let page = kiln.path("large.html");
    kiln.run(["report", "--output", page.to_str().unwrap()]).succeeds();
    assert!(fs::metadata(&page).unwrap().len() > 5_000_000);

    resize(&browser, 1280, 1000);
    browser.open(&page);
    assert_eq!(browser.value("document.querySelectorAll('.step').length"), 500);
    browser.screenshot(&pictures().join("report-large.png"));
    browser.click("#search");
    browser.press("only-in-499");
    browser.wait_for("document.getElementById('found').textContent === '1 match in 1 step'");
    browser.press("\u{E007}");
    browser.wait_for("document.querySelector('.step:not([hidden])').open");
    let timing = "Math.round(performance.getEntriesByType('navigation')[0].loadEventEnd)";
    println!("loaded after {} ms", browser.value(timing));
    quiet(&browser);
}
