//! A headless browser that a test drives through Playwright: real tabs, clicks and keys, and a
//! network that can be switched off.
//!
//! Playwright is a library of Node.js, so a small program (`test-support/browser/bridge.mjs`)
//! carries out the commands of a test. What a page does wrong fails the test when its browser is
//! dropped: no test can forget to look.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStdin, ChildStdout},
    sync::Mutex,
    time::timeout,
};

use crate::process::Owned;

const BRIDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/bridge.mjs");
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Longer than the bridge waits for anything, whose error says more.
const ANSWERS_WITHIN: Duration = Duration::from_mins(2);

/// A running browser; it ends with its owner.
#[derive(Debug)]
pub struct Browser {
    bridge: Arc<Bridge>,
    process: Owned,
    /// Of the browser, which leaves its profile behind when it is killed.
    folder: TempDir,
}

/// A tab, which keeps its session of the page for itself.
///
/// A selector is one of Playwright's: CSS, with `:has-text()` and the like, or
/// `role=button[name=/^Buy/]`; `>>` chains them. An action waits until there is exactly one such
/// element, and a person could use it.
#[derive(Clone, Debug)]
pub struct Tab {
    bridge: Arc<Bridge>,
    number: u64,
}

/// What the system prefers, as a page is told.
#[derive(Clone, Copy, Debug)]
pub enum Theme {
    Light,
    Dark,
}

impl Browser {
    /// Starts it; a failure is that of the first command.
    pub fn start() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let mut process = Command::new("node")
            .arg(BRIDGE)
            .arg(modules()?)
            .arg(program()?)
            .arg(errors_file(&folder))
            .env("TMPDIR", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("node is not installed: run ./scripts/test")?;
        let bridge = Bridge::to(&mut process)?;
        Ok(Self {
            bridge: Arc::new(bridge),
            process: Owned::new(process),
            folder,
        })
    }

    /// Opens a page in a new tab and waits until it is loaded.
    pub async fn open(&self, url: &str) -> anyhow::Result<Tab> {
        let open = json!({ "call": "open", "with": { "url": url } });
        let number = self.bridge.call(open).await?;
        Ok(Tab {
            bridge: Arc::clone(&self.bridge),
            number: number.as_u64().context("the tab has no number")?,
        })
    }

    /// Cuts all tabs off from the network, or connects them again.
    pub async fn set_offline(&self, is_offline: bool) -> anyhow::Result<()> {
        let set = json!({ "call": "setOffline", "with": { "offline": is_offline } });
        self.bridge.call(set).await?;
        Ok(())
    }

    /// Exceptions, errors in the console and breaches of the content security policy in all tabs,
    /// since the last call. Answers that are refusals, which a browser lists too, are none.
    pub async fn errors(&self) -> anyhow::Result<Vec<String>> {
        self.bridge.texts("errors").await
    }

    /// All messages in the consoles of the tabs, with their kinds.
    pub async fn messages(&self) -> anyhow::Result<Vec<String>> {
        self.bridge.texts("messages").await
    }

    /// The addresses that the pages have requested over HTTP, without the browser's own requests.
    pub async fn requests(&self) -> anyhow::Result<Vec<String>> {
        self.bridge.texts("requests").await
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.bridge.hang_up() {
            // It ends with its input, and the browser with it. An error means that it has ended already.
            drop(self.process.child().wait());
        }
        let errors = fs::read_to_string(errors_file(&self.folder));
        let errors = errors.unwrap_or_else(|_| "unknown: the bridge ended early".to_owned());
        assert!(
            errors.is_empty() || thread::panicking(),
            "errors of the pages: {errors}"
        );
    }
}

impl Tab {
    /// Loads the page again.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.act("reload", json!({})).await
    }

    /// The value of an expression; a promise is awaited.
    pub async fn run(&self, expression: &str) -> anyhow::Result<Value> {
        self.call("run", json!({ "expression": expression })).await
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// With the text of the page, when it is not within 30 seconds; those below do likewise.
    pub async fn until(&self, expression: &str) -> anyhow::Result<()> {
        self.act("until", json!({ "expression": expression })).await
    }

    /// Waits until an element is visible.
    pub async fn sees(&self, selector: &str) -> anyhow::Result<()> {
        self.act("sees", json!({ "selector": selector })).await
    }

    /// Waits until no such element is visible.
    pub async fn misses(&self, selector: &str) -> anyhow::Result<()> {
        self.act("misses", json!({ "selector": selector })).await
    }

    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        self.act("click", json!({ "selector": selector })).await
    }

    /// Chooses an option of a list by its text.
    pub async fn choose(&self, selector: &str, option: &str) -> anyhow::Result<()> {
        self.act("choose", json!({ "selector": selector, "option": option }))
            .await
    }

    /// Presses a key, as the keyboard does.
    pub async fn press(&self, key: &str) -> anyhow::Result<()> {
        self.act("press", json!({ "key": key })).await
    }

    /// Clicks, and breaks the connection of the next request to an address after the service has
    /// answered it. In the address `**` stands for any text.
    pub async fn lose_answer(&self, selector: &str, address: &str) -> anyhow::Result<()> {
        self.act(
            "loseAnswer",
            json!({ "selector": selector, "address": address }),
        )
        .await
    }

    /// Changes the theme that the system prefers.
    pub async fn set_theme(&self, theme: Theme) -> anyhow::Result<()> {
        let theme = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        self.act("setTheme", json!({ "theme": theme })).await
    }

    /// Changes the width of the page, in CSS pixels.
    pub async fn set_width(&self, width: u32) -> anyhow::Result<()> {
        self.act("setWidth", json!({ "width": width })).await
    }

    /// The rules of axe-core that the page breaks in a way that keeps people from using it, with
    /// the elements.
    pub async fn violations(&self) -> anyhow::Result<Vec<String>> {
        let found = self.call("violations", json!({})).await?;
        Ok(serde_json::from_value(found)?)
    }

    /// A command that has no value.
    async fn act(&self, name: &str, parameters: Value) -> anyhow::Result<()> {
        self.call(name, parameters).await.map(drop)
    }

    async fn call(&self, name: &str, parameters: Value) -> anyhow::Result<Value> {
        let call = json!({ "call": name, "tab": self.number, "with": parameters });
        self.bridge.call(call).await
    }
}

/// The pipes of the bridge, which carries out one command after the other; none once the browser ends.
#[derive(Debug)]
struct Bridge(Mutex<Option<Pipes>>);

#[derive(Debug)]
struct Pipes {
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    last_id: u64,
}

impl Bridge {
    fn to(process: &mut Child) -> anyhow::Result<Self> {
        let commands = process.stdin.take().context("the bridge has no input")?;
        let answers = process.stdout.take().context("the bridge has no output")?;
        let answers = ChildStdout::from_std(answers)?;
        Ok(Self(Mutex::new(Some(Pipes {
            commands: ChildStdin::from_std(commands)?,
            answers: BufReader::new(answers).lines(),
            last_id: 0,
        }))))
    }

    async fn call(&self, command: Value) -> anyhow::Result<Value> {
        let mut pipes = self.0.lock().await;
        let pipes = pipes.as_mut().context("the browser has ended")?;
        pipes.last_id += 1;
        let line = format!("{}\n", json!([pipes.last_id, command]));
        pipes.commands.write_all(line.as_bytes()).await?;
        let answer = timeout(ANSWERS_WITHIN, pipes.answer()).await;
        let mut answer = answer.with_context(|| format!("no answer to {command}"))??;
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            bail!("{command}: {error}");
        }
        Ok(answer.get_mut("value").map(Value::take).unwrap_or_default())
    }

    async fn texts(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let texts = self.call(json!({ "call": name })).await?;
        Ok(serde_json::from_value(texts)?)
    }

    /// Closes the bridge's input, unless a command is under way.
    fn hang_up(&self) -> bool {
        let pipes = self.0.try_lock();
        pipes.is_ok_and(|mut pipes| pipes.take().is_some())
    }
}

impl Pipes {
    /// The answer to the last command; those before are of commands that nobody waits for any more.
    async fn answer(&mut self) -> anyhow::Result<Value> {
        loop {
            let line = self.answers.next_line().await?;
            let line = line.context("the bridge has ended: its reason is above")?;
            let answer: Value = serde_json::from_str(&line)?;
            if answer.get("id").and_then(Value::as_u64) == Some(self.last_id) {
                return Ok(answer);
            }
        }
    }
}

fn errors_file(folder: &TempDir) -> PathBuf {
    folder.path().join("errors")
}

/// The folder of Playwright, which `scripts/test` has installed beside the build.
fn modules() -> anyhow::Result<PathBuf> {
    let folder = match env::var_os("FLASH_SALE_TEST_NODE") {
        Some(folder) => PathBuf::from(folder),
        // This program is `target/debug/deps/it-…`.
        None => env::current_exe()?
            .ancestors()
            .nth(3)
            .context("the tests are not where cargo builds them")?
            .join("node"),
    };
    let folder = folder.join("browser");
    ensure!(
        folder.join("node_modules").is_dir(),
        "Playwright is missing in {}: run the tests with scripts/test, which installs it",
        folder.display()
    );
    Ok(folder)
}

fn program() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = env::split_paths(&path)
        .flat_map(|folder| PROGRAMS.map(|program| folder.join(program)))
        .chain([PathBuf::from(
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
        )])
        .filter(|program| Path::is_file(program));
    found
        .next()
        .context("chromium is not installed: run ./scripts/test")
}
