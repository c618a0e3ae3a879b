//! A headless Chromium, driven over plain HTTP by its own driver (W3C WebDriver), to open pages and use them.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The browser, with one window. Both processes end when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one; `None`, with the reason on standard output, where this machine has none.
    pub(crate) fn start() -> Option<Self> {
        if !["chromium", "chromedriver"].iter().all(|program| super::has_program(program)) {
            return None;
        }
        let profile = tempfile::Builder::new().prefix("kiln-test-browser-").tempdir().expect("a temporary directory");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe"));
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(lines.read_line(&mut line).expect("what chromedriver says") > 0, "chromedriver ended");
            // `ChromeDriver was started successfully on port 40123.`
            if let Some((_, port)) = line.trim_end_matches(['.', '\n']).split_once("successfully on port ") {
                break port.parse().expect("a port");
            }
        };
        // Whatever it says later must not fill the pipe.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let mut browser = Self { driver, port, session: String::new(), _profile: profile };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let data = format!("--user-data-dir={}", browser._profile.path().join("profile").display());
        let options = json!({ "args": arguments.iter().copied().chain([&*data]).collect::<Vec<_>>() });
        let logs = json!({ "browser": "ALL", "performance": "ALL" });
        let wanted = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": logs });
        let made = browser.ask("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        // What the page for new windows says and asks for is not to be told.
        browser.command("POST", "/url", &json!({ "url": "about:blank" }));
        browser.logs();
        Some(browser)
    }

    /// Opens a file, and waits until it is loaded.
    pub(crate) fn open(&self, file: &Path) {
        self.command("POST", "/url", &json!({ "url": format!("file://{}", file.display()) }));
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&self, expression: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": format!("return {expression}"), "args": [] }))
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_for(&self, expression: &str) {
        let script = "const done = arguments[0]; const look = () => { if (EXPRESSION) done(true); else setTimeout(look, 10); }; look();";
        let script = script.replace("EXPRESSION", expression);
        let done = self.command("POST", "/execute/async", &json!({ "script": script, "args": [] }));
        assert_eq!(done, true, "{expression}");
    }

    /// Clicks the first element of a selector.
    pub(crate) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Presses keys, wherever the focus is. `\u{E007}` is Enter, `\u{E00C}` Escape, `\u{E004}` Tab.
    pub(crate) fn press(&self, keys: &str) {
        let press = |key: char| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let actions: Vec<Value> = keys.chars().flat_map(press).collect();
        self.command("POST", "/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// A command of the DevTools protocol.
    pub(crate) fn devtools(&self, name: &str, parameters: &Value) -> Value {
        self.command("POST", "/goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// Writes what the window shows to a file.
    pub(crate) fn screenshot(&self, file: &Path) {
        let picture = self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let decoded = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            picture["data"].as_str().expect("a picture"),
        );
        std::fs::write(file, decoded.expect("base64")).expect("a file");
    }

    /// What the console says, and the addresses that were asked for, since this was last asked.
    pub(crate) fn logs(&self) -> (Vec<String>, Vec<String>) {
        let log = |kind: &str| {
            let entries = self.command("POST", "/se/log", &json!({ "type": kind }));
            let entries = entries.as_array().expect("entries").clone();
            entries
                .into_iter()
                .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let requests = log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(&entry).ok()?;
            let message = &message["message"];
            let sent = message["method"] == "Network.requestWillBeSent";
            sent.then(|| message["params"]["request"]["url"].as_str().unwrap_or_default().to_owned())
        });
        (log("browser"), requests.collect())
    }

    fn find(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", &json!({ "using": "css selector", "value": selector }));
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.expect("an element").to_owned()
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("chromedriver listens");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("a request");
        // It may keep the connection open, so the length says where the answer ends.
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while stream.read_line(&mut line).expect("an answer") > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("a body");
        let mut answer: Value = serde_json::from_slice(&body).expect("JSON");
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{method} {path}: {value:#}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !thread::panicking() {
            self.command("DELETE", "", &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
