//! `HAProxy` of a test, with the configuration that `deploy/` ships.

use std::process::{Command, Stdio};

use reqwest::Client;
use test_support::{free_port, process::Owned};

use super::{SOON, eventually, front::Front, repository, when};

/// Starts again on other ports, should another process have taken one.
const TRIES: usize = 5;

#[derive(Debug)]
pub(crate) struct Haproxy {
    pub(crate) front: Front,
    metrics: String,
    client: Client,
    process: Owned,
}

impl Haproxy {
    /// In front of two or three nodes, given by their URLs; returns when it has seen all of them.
    pub(crate) async fn start(nodes: &[&str]) -> Self {
        for _ in 0..TRIES {
            let mut haproxy = Self::spawn(nodes);
            let probe = async || match haproxy.process.exited().unwrap() {
                Some(_) => Some(false),
                None => haproxy.metrics().await.map(|_| true),
            };
            if eventually("HAProxy answers or ends", SOON, probe).await {
                for number in 1..=nodes.len() {
                    haproxy.sees(number, "UP").await;
                }
                return haproxy;
            }
        }
        panic!("HAProxy does not start");
    }

    fn spawn(nodes: &[&str]) -> Self {
        let [api, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port().unwrap()));
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(repository("deploy/haproxy/haproxy.cfg"))
            .env("API_BIND", &api)
            .env("METRICS_BIND", &metrics)
            .env("CONNECTIONS_MAX", "1000");
        for (number, node) in (1..).zip(nodes) {
            let address = node.strip_prefix("http://").unwrap_or(node);
            command.env(format!("NODE_{number}"), address);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed: run ./scripts/test");
        let client = test_support::http::client().unwrap();
        Self {
            front: Front::new(format!("http://{api}"), client.clone()),
            metrics: format!("http://{metrics}/metrics"),
            client,
            process: Owned::new(child),
        }
    }

    /// Waits until this node, counted from 1, has this state.
    pub(crate) async fn sees(&self, node: usize, state: &str) {
        let line = format!(
            "haproxy_server_status{{proxy=\"by_product\",server=\"node-{node}\",state=\"{state}\"}} 1"
        );
        let what = format!("HAProxy has node {node} {state}");
        eventually(&what, SOON, async || {
            when(self.metrics().await?.lines().any(|found| found == line))
        })
        .await;
    }

    async fn metrics(&self) -> Option<String> {
        let answer = self.client.get(&self.metrics).send().await.ok()?;
        answer.text().await.ok()
    }
}
