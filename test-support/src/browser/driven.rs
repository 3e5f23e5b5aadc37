//! A browser that a test drives: real tabs, keys and a network that can be switched off, over the
//! `DevTools` protocol. The protocol runs through pipes, so that no port is open.

use std::{collections::VecDeque, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{OPTIONS, program};

/// A condition of a page holds within this time, also on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// The browser reads commands from descriptor 3 and writes to 4: the shell connects them with the
/// pipes that a process can have.
const CONNECT: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A running browser; it ends with its owner.
#[derive(Debug)]
pub struct Browser {
    commands: ChildStdin,
    messages: BufReader<ChildStdout>,
    last_id: u64,
    events: VecDeque<Value>,
    _process: Child,
    _profile: TempDir,
}

/// A tab, which keeps its session of the page for itself.
#[derive(Clone, Debug)]
pub struct Tab {
    session: String,
}

/// What the system prefers, as a page is told.
#[derive(Clone, Copy, Debug)]
pub enum Theme {
    Light,
    Dark,
}

impl Browser {
    pub fn start() -> anyhow::Result<Self> {
        let profile = TempDir::new()?;
        let mut process = Command::new("sh")
            .args(["-c", CONNECT])
            .arg(program()?)
            .args(OPTIONS)
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let commands = process.stdin.take().context("the browser has no input")?;
        let messages = process.stdout.take().context("the browser has no output")?;
        Ok(Self {
            commands,
            messages: BufReader::new(messages),
            last_id: 0,
            events: VecDeque::new(),
            _process: process,
            _profile: profile,
        })
    }

    /// Opens a page in a new tab and waits until it is loaded.
    pub async fn open(&mut self, url: &str) -> anyhow::Result<Tab> {
        let about = json!({ "url": "about:blank" });
        let target = self.call(None, "Target.createTarget", about).await?;
        let attach = json!({ "targetId": at(&target, "/targetId"), "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach).await?;
        let session = at(&attached, "/sessionId").as_str();
        let session = session.context("the tab has no session")?.to_owned();
        let tab = Tab { session };
        for domain in [
            "Page.enable",
            "Runtime.enable",
            "Log.enable",
            "Network.enable",
        ] {
            self.call(Some(&tab), domain, json!({})).await?;
        }
        self.call(Some(&tab), "Page.navigate", json!({ "url": url }))
            .await?;
        self.until(
            &tab,
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        )
        .await?;
        Ok(tab)
    }

    /// Loads the page of a tab again.
    pub async fn reload(&mut self, tab: &Tab) -> anyhow::Result<()> {
        self.run(tab, "window.isOld = true").await?;
        self.call(Some(tab), "Page.reload", json!({})).await?;
        self.until(tab, "!window.isOld && document.readyState === 'complete'")
            .await
    }

    /// The value of an expression; a promise is awaited.
    pub async fn run(&mut self, tab: &Tab, expression: &str) -> anyhow::Result<Value> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let result = self.call(Some(tab), "Runtime.evaluate", parameters).await?;
        if let Some(thrown) = result.get("exceptionDetails") {
            bail!("{expression} threw {thrown}");
        }
        Ok(at(&result, "/result/value").clone())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// With the text of the page, when it is not within 30 seconds.
    pub async fn until(&mut self, tab: &Tab, condition: &str) -> anyhow::Result<()> {
        let poll = format!(
            "(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"
        );
        let wait = async {
            // A navigation drops what runs in a page: so each look is a call of its own.
            while self.run(tab, &poll).await.ok() != Some(Value::Bool(true)) {
                let frame = "new Promise(resolve => setTimeout(resolve, 25))";
                drop(self.run(tab, frame).await);
            }
        };
        if timeout(SOON, wait).await.is_ok() {
            return Ok(());
        }
        let page = self.run(tab, "document.body.innerText").await?;
        bail!(
            "not in time: {condition}\n{}",
            page.as_str().unwrap_or_default()
        )
    }

    /// Presses a key, as the keyboard does.
    pub async fn press(&mut self, tab: &Tab, key: &str) -> anyhow::Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => bail!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
            });
            self.call(Some(tab), "Input.dispatchKeyEvent", event)
                .await?;
        }
        Ok(())
    }

    /// Cuts a tab off from the network, or connects it again.
    pub async fn set_offline(&mut self, tab: &Tab, is_offline: bool) -> anyhow::Result<()> {
        let conditions = json!({
            "offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
        });
        self.call(Some(tab), "Network.emulateNetworkConditions", conditions)
            .await?;
        Ok(())
    }

    /// Changes the theme that the system prefers.
    pub async fn set_theme(&mut self, tab: &Tab, theme: Theme) -> anyhow::Result<()> {
        let value = match theme {
            Theme::Light => "light",
            Theme::Dark => "dark",
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call(
            Some(tab),
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        )
        .await?;
        Ok(())
    }

    /// Changes the width of the page, in CSS pixels.
    pub async fn set_width(&mut self, tab: &Tab, width: u32) -> anyhow::Result<()> {
        let size =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", size)
            .await?;
        Ok(())
    }

    /// Carries out `action`, and breaks the connection of the next request to the address after the
    /// service has answered it. `*` in the address stands for any text.
    pub async fn lose_answer(
        &mut self,
        tab: &Tab,
        address: &str,
        action: &str,
    ) -> anyhow::Result<()> {
        let patterns = json!([{ "urlPattern": address, "requestStage": "Response" }]);
        self.call(Some(tab), "Fetch.enable", json!({ "patterns": patterns }))
            .await?;
        self.run(tab, action).await?;
        let paused = timeout(SOON, self.paused_request(tab)).await;
        let paused = paused.with_context(|| format!("no request to {address}"))??;
        let fail = json!({ "requestId": paused, "errorReason": "ConnectionReset" });
        self.call(Some(tab), "Fetch.failRequest", fail).await?;
        self.call(Some(tab), "Fetch.disable", json!({})).await?;
        Ok(())
    }

    async fn paused_request(&mut self, tab: &Tab) -> anyhow::Result<Value> {
        loop {
            // An answer comes after the events before it.
            self.run(tab, "0").await?;
            let paused = |event: &Value| at(event, "/method") == "Fetch.requestPaused";
            if let Some(place) = self.events.iter().position(paused) {
                let event = self.events.remove(place).unwrap_or_default();
                return Ok(at(&event, "/params/requestId").clone());
            }
        }
    }

    /// Exceptions, errors in the console and breaches of the content security policy, so far, in all
    /// tabs. Answers that are refusals, which a browser lists too, are none.
    pub async fn errors(&mut self) -> anyhow::Result<Vec<String>> {
        // An answer comes after the events before it.
        self.call(None, "Target.getTargets", json!({})).await?;
        let is_error = |event: &&Value| match at(event, "/method").as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => at(event, "/params/type") == "error",
            Some("Log.entryAdded") => {
                let entry = at(event, "/params/entry");
                at(entry, "/level") == "error" && at(entry, "/source") != "network"
            }
            _ => false,
        };
        let errors = self.events.iter().filter(is_error);
        Ok(errors
            .map(|event| at(event, "/params").to_string())
            .collect())
    }

    async fn call(
        &mut self,
        tab: Option<&Tab>,
        method: &str,
        params: Value,
    ) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let command = match tab {
            Some(Tab { session }) => {
                json!({ "id": id, "method": method, "params": params, "sessionId": session })
            }
            None => json!({ "id": id, "method": method, "params": params }),
        };
        let mut bytes = serde_json::to_vec(&command)?;
        bytes.push(0);
        self.commands.write_all(&bytes).await?;
        let answer = timeout(SOON, self.answer(id)).await;
        let answer = answer.with_context(|| format!("no answer to {method}"))??;
        let error = at(&answer, "/error");
        ensure!(error.is_null(), "{method}: {error}");
        Ok(at(&answer, "/result").clone())
    }

    async fn answer(&mut self, id: u64) -> anyhow::Result<Value> {
        loop {
            let mut bytes = Vec::new();
            self.messages.read_until(0, &mut bytes).await?;
            ensure!(bytes.pop() == Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&bytes)?;
            if at(&message, "/id") == id {
                return Ok(message);
            }
            if at(&message, "/method").is_string() {
                self.events.push_back(message);
            }
        }
    }
}

/// A part of a message, by its JSON pointer; null where there is none.
fn at<'a>(message: &'a Value, pointer: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    message.pointer(pointer).unwrap_or(&NULL)
}
