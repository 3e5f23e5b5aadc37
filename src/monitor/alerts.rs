//! The alerts that fire, as Alertmanager tells them (`ALERTMANAGER_URL`): asked every few seconds while somebody watches
//! this node, and kept apart from the snapshots, so that an Alertmanager that is slow or down delays none.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use parking_lot::Mutex;
use reqwest::{Body, Client, StatusCode, Url, header};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinError, time::timeout};

use crate::{
    config,
    domain::{in_one_line, now},
    http_client,
    tasks::Tasks,
};

const EVERY: Duration = Duration::from_secs(5);
/// Less than `EVERY`, so that two calls never overlap.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Thousands of alerts, which may well fire together: one with its labels and annotations has about
/// 1 KiB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Alerts that viewers get; the others are counted.
const SHOWN_MAX: usize = 10;
/// Characters of a label or an annotation.
const TEXT_MAX: usize = 300;
/// The values of the label `severity` that need action at once: those of our rules, and of others.
const SEVERE: [&str; 3] = ["page", "critical", "error"];

/// What is known of the alerts.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Alerts {
    /// Of the last answer; `None` before the first.
    answered_at: Option<DateTime<Utc>>,
    /// Why the last call has failed; the alerts are then those of the answer before.
    fault: Option<String>,
    /// All that fire, also those that are not shown.
    total: usize,
    /// The severe ones first, the newest first among equals.
    firing: Vec<Alert>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Alert {
    name: String,
    severity: String,
    severe: bool,
    summary: String,
    since: DateTime<Utc>,
    product: Option<String>,
    instance: Option<String>,
    /// As the rule has it: the page makes a link of an address only.
    runbook: Option<String>,
}

/// Asks Alertmanager.
#[derive(Debug)]
pub struct Alertmanager {
    call: Arc<Call>,
    known: Arc<Mutex<Alerts>>,
    asked: Option<Instant>,
}

struct Call {
    client: Client,
    url: Url,
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("ALERTMANAGER_URL: not a URL")]
    Url,
    #[error("ALERTMANAGER_URL: cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {} seconds", ANSWER_WITHIN.as_secs())]
    Timeout,
    #[error("the call failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer has the status {0}")]
    Status(StatusCode),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer broke off")]
    Broken,
    #[error("the answer is not a list of alerts")]
    Malformed(#[source] serde_json::Error),
    #[error("the answer cannot be read")]
    Read(#[source] JoinError),
}

/// An alert of Alertmanager's API, version 2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    labels: Labels,
    #[serde(default)]
    annotations: Annotations,
    starts_at: DateTime<Utc>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    alertname: String,
    severity: String,
    product: Option<String>,
    instance: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    summary: Option<String>,
    description: Option<String>,
    runbook_url: Option<String>,
}

impl Alertmanager {
    /// `None` where `ALERTMANAGER_URL` is not set.
    ///
    /// # Errors
    /// When the setting is no URL, or there is no HTTP client to be had.
    pub fn new(config: &config::Monitor) -> Result<Option<Self>, SetupError> {
        let Some(url) = &config.alertmanager_url else {
            return Ok(None);
        };
        let mut url = Url::parse(url.expose()).map_err(|_| SetupError::Url)?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v2", "alerts"]);
        }
        // Beside the filters that the setting may have.
        let wanted = [
            ("active", "true"),
            ("silenced", "false"),
            ("inhibited", "false"),
        ];
        url.query_pairs_mut().extend_pairs(wanted);
        let client = http_client::builder(ANSWER_WITHIN)
            .build()
            .map_err(SetupError::Client)?;
        Ok(Some(Self {
            call: Arc::new(Call { client, url }),
            known: Arc::default(),
            asked: None,
        }))
    }

    /// What is known now; asks again when that is old.
    pub(super) fn look(&mut self, now: Instant, tasks: &Tasks) -> Alerts {
        if self.asked.is_none_or(|asked| now - asked >= EVERY) {
            self.asked = Some(now);
            let (call, known) = (Arc::clone(&self.call), Arc::clone(&self.known));
            let stopping = tasks.clone();
            tasks.spawn("alerts", async move {
                tokio::select! {
                    () = stopping.stopped() => {}
                    answer = call.ask() => known.lock().take(answer),
                }
            });
        }
        self.known.lock().clone()
    }

    /// Forgets the alerts: nobody watched for a while.
    pub(super) fn pause(&mut self) {
        self.asked = None;
        // A call that is under way answers to nobody.
        self.known = Arc::default();
    }
}

impl Call {
    async fn ask(&self) -> Result<Vec<Alert>, Failure> {
        let answer = async {
            let call = self.client.get(self.url.clone());
            let call = call.header(header::ACCEPT, "application/json");
            let response = call.send().await.map_err(transport)?;
            if response.status() != StatusCode::OK {
                return Err(Failure::Status(response.status()));
            }
            let body = Limited::new(Body::from(response), ANSWER_BYTES_MAX);
            let body = body.collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return Failure::TooLong;
                }
                Failure::Broken
            })?;
            // Megabytes take milliseconds: beside the workers of a runtime, which serve requests.
            let read = tokio::task::spawn_blocking(move || read(&body.to_bytes()));
            read.await.map_err(Failure::Read)?
        };
        let answered = timeout(ANSWER_WITHIN, answer).await;
        answered.unwrap_or(Err(Failure::Timeout))
    }
}

impl Alerts {
    fn take(&mut self, answer: Result<Vec<Alert>, Failure>) {
        let mut firing = match answer {
            Ok(firing) => firing,
            Err(failure) => {
                let first: &(dyn std::error::Error + 'static) = &failure;
                let chain = std::iter::successors(Some(first), |error| error.source());
                self.fault = Some(shortened(&in_one_line(chain)));
                return;
            }
        };
        firing.sort_by_key(|alert| (!alert.severe, std::cmp::Reverse(alert.since)));
        let total = firing.len();
        firing.truncate(SHOWN_MAX);
        *self = Self {
            answered_at: Some(now()),
            fault: None,
            total,
            firing,
        };
    }
}

fn read(answer: &[u8]) -> Result<Vec<Alert>, Failure> {
    let told: Vec<Told> = serde_json::from_slice(answer).map_err(Failure::Malformed)?;
    Ok(told.into_iter().map(Alert::from).collect())
}

impl From<Told> for Alert {
    fn from(told: Told) -> Self {
        let Told {
            labels,
            annotations,
            starts_at,
        } = told;
        let short = |text: Option<String>| text.map(|text| shortened(&text));
        // Some rules have only one of the two.
        let summary = annotations.summary.or(annotations.description);
        Self {
            name: shortened(&labels.alertname),
            severe: SEVERE.contains(&&*labels.severity),
            severity: shortened(&labels.severity),
            summary: short(summary).unwrap_or_default(),
            since: starts_at,
            product: short(labels.product),
            instance: short(labels.instance),
            runbook: short(annotations.runbook_url),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// Without the URL, which may hold a password.
fn transport(error: reqwest::Error) -> Failure {
    Failure::Transport(error.without_url())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    fn told(name: &str, severity: &str, minute: u32) -> Alert {
        let labels = json!({ "alertname": name, "severity": severity });
        let since = format!("2026-01-01T00:{minute:02}:00Z");
        let alert = json!({ "labels": labels, "startsAt": since, "status": {} });
        Alert::from(serde_json::from_value::<Told>(alert).unwrap())
    }

    fn names(alerts: &Alerts) -> Vec<&str> {
        alerts.firing.iter().map(|alert| &*alert.name).collect()
    }

    #[test]
    fn severe_alerts_come_first_and_a_bounded_number_is_shown() {
        let mut alerts = Alerts::default();
        let mut all = vec![
            told("old", "page", 1),
            told("new", "page", 2),
            told("late", "ticket", 3),
        ];
        all.extend((0..30).map(|_| told("more", "ticket", 0)));
        alerts.take(Ok(all));

        assert_eq!(&names(&alerts)[..4], ["new", "old", "late", "more"]);
        assert_eq!((alerts.firing.len(), alerts.total), (SHOWN_MAX, 33));
    }

    #[test]
    fn a_failed_call_keeps_the_alerts_and_says_so() {
        let mut alerts = Alerts::default();
        alerts.take(Ok(vec![told("fires", "page", 1)]));
        alerts.take(Err(Failure::Status(StatusCode::FOUND)));
        assert_eq!(names(&alerts), ["fires"]);
        let fault = alerts.fault.as_deref();
        assert_eq!(fault, Some("the answer has the status 302 Found"));

        alerts.take(Ok(Vec::new()));
        assert_eq!((alerts.total, alerts.fault), (0, None));
    }
    /// An answer that was under way when nobody watched any more is old when somebody watches again.
    #[tokio::test]
    async fn an_answer_that_comes_after_a_pause_is_not_shown() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = Url::parse(&format!("http://{address}/")).unwrap();
        let client = http_client::builder(ANSWER_WITHIN).build().unwrap();
        let mut alertmanager = Alertmanager {
            call: Arc::new(Call { client, url }),
            known: Arc::default(),
            asked: None,
        };
        let tasks = Tasks::default();
        alertmanager.look(Instant::now(), &tasks);
        let (mut connection, _) = listener.accept().await.unwrap();

        alertmanager.pause();
        let body = r#"[{"labels":{},"startsAt":"2026-01-01T00:00:00Z"}]"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let answer = head + body;
        connection.write_all(answer.as_bytes()).await.unwrap();
        assert!(tasks.drained(2 * ANSWER_WITHIN).await);

        assert!(alertmanager.known.lock().answered_at.is_none());
    }
}
