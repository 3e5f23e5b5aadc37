//! The command line of `contention`: list, refusals, exit codes, clean-up.

use std::{fs, process::Stdio, time::Duration};

use nix::sys::signal::Signal;
use rstest::rstest;
use tempfile::TempDir;
use test_support::{
    process::{descendants_of, is_alive, redis_servers_of, signal},
    wait::eventually,
};

use crate::support::runner::{program, run};

/// Long enough for a start and a stop on a slow machine.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn every_scenario_is_listed_with_its_question() {
    let listed = program().arg("--list").output().await.unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for scenario in [
        "single-unit",
        "limited",
        "depleted",
        "hyper",
        "bulk",
        "one-short",
        "all-or-nothing",
        "overbooking",
        "seats",
        "throughput",
        "browse",
        "mixed",
        "edge",
        "redis-down",
        "lock-refuses",
        "database-down",
        "read-only",
        "paused-holder",
        "rate-limit",
        "scalper",
        "expire",
        "pay-rush",
        "take-over",
        "stream-flood",
        "long-waitlist",
        "all",
    ] {
        let line = listed
            .lines()
            .find(|line| line.split_whitespace().next() == Some(scenario));
        assert!(
            line.is_some_and(|line| line.len() > 30),
            "{scenario}:\n{listed}"
        );
    }
}

const OWN: &str = "name = \"my-drop\"\nquestion = \"Mine?\"\nusers = 12\nstock = 3\n\n[[phase]]\narrival = \"all_at_once\"\n";

#[tokio::test]
async fn a_user_s_own_file_is_run() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my.toml");
    fs::write(&file, OWN).unwrap();
    let outcome = run(&[file.to_str().unwrap()]).await;
    let runs = outcome.held();
    assert_eq!(
        (&runs[0]["scenario"], &runs[0]["units"]["sold"]),
        (&"my-drop".into(), &3.into())
    );
}

#[rstest]
#[case::misspelt("stock", "stok", ":4: stok: ")]
#[case::out_of_bounds("users = 12", "users = 0", ":3: users: ")]
#[case::of_the_wrong_type("users = 12", "users = true", ":3: users: ")]
#[case::unknown("all_at_once", "some_day", ":7: phase[0].arrival: ")]
#[case::incomplete("all_at_once", "rate", ":6: phase[0].rate: ")]
#[tokio::test]
async fn a_bad_file_is_refused_with_line_and_field(
    #[case] good: &str,
    #[case] bad: &str,
    #[case] place: &str,
) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my.toml");
    fs::write(&file, OWN.replace(good, bad)).unwrap();
    let outcome = run(&[file.to_str().unwrap()]).await;
    assert_eq!(outcome.code, Some(2));
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains(&format!("my.toml{place}")),
        "{}",
        outcome.stderr
    );
}

#[rstest]
#[case::no_such_scenario(&["no-such-thing"], "no-such-thing")]
#[case::no_such_file(&["none.toml"], "none.toml")]
#[case::no_tokens(&["edge", "--target", "http://127.0.0.1:1"], "--auth-secret")]
#[case::nothing_to_compare(&["edge", "--baseline"], "--baseline")]
#[tokio::test]
async fn a_wrong_command_line_exits_with_2(#[case] arguments: &[&str], #[case] named: &str) {
    let outcome = run(arguments).await;
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(named), "{}", outcome.stderr);
}

#[rstest]
#[case::interrupted(Signal::SIGINT)]
#[case::killed(Signal::SIGKILL)]
#[tokio::test]
async fn no_process_outlives_the_runner(#[case] end: Signal) {
    let folder = TempDir::new().unwrap();
    let mut runner = program()
        .args([
            "throughput",
            "--seconds",
            "60",
            "--connections",
            "4",
            "--nodes",
            "2",
        ])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = runner.id().unwrap();
    eventually("both nodes sell", SOON, async || {
        let family = descendants_of(pid).unwrap().len();
        (redis_servers_of(pid).unwrap().len() == 3 && family >= 10).then_some(())
    })
    .await
    .unwrap();
    let family = descendants_of(pid).unwrap();

    signal(pid, end).unwrap();

    runner.wait().await.unwrap();
    eventually("all have ended", SOON, async || {
        let alive = family.iter().any(|pid| is_alive(*pid).unwrap());
        (!alive).then_some(())
    })
    .await
    .unwrap();
    if end == Signal::SIGINT {
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "its folder is removed"
        );
    }
}
