//! `contention chaos`: a short run of each kind of fault that tests can wait for, and a lying service.

use std::process::Stdio;

use rstest::rstest;

use crate::support::{
    liar::{Liar, Lie},
    runner::program,
    shop::{SECRET, Shop},
};

/// Runs chaos; its exit code, and what it printed.
async fn chaos(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program()
        .arg("chaos")
        .args(arguments)
        .stderr(Stdio::piped())
        .output()
        .await
        .unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap();
    text.push_str(&String::from_utf8(output.stderr).unwrap());
    (output.status.code(), text)
}

/// Two rounds on three nodes: whatever a client was answered is explained.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_its_word_while_its_parts_break() {
    let (code, text) = chaos(&[
        "--seed",
        "1",
        "--minutes",
        "0.1",
        "--faults",
        "kill,half-open",
    ])
    .await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("every round held"), "{text}");
    assert!(text.matches("calls explained").count() >= 3, "{text}");
}

#[rstest]
#[case::sound(Lie::None, None)]
#[case::kept_back(Lie::KeepBack { after: 10 }, Some("refused as sold out"))]
#[case::answer_denied(Lie::DenyWinner, Some("nothing was written, but something was"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lie_is_judged(#[case] lie: Lie, #[case] reason: Option<&str>) {
    let shop = Shop::open().await;
    let liar = Liar::before(&shop.url, lie).await;
    let target = ["--target", &liar.url, "--auth-secret", SECRET];
    let (code, text) = chaos(
        &[
            &["--seed", "1", "--minutes", "0", "--faults", "delay"],
            &target[..],
        ]
        .concat(),
    )
    .await;
    match reason {
        None => assert_eq!(code, Some(0), "{text}"),
        Some(reason) => {
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains(reason), "{text}");
        }
    }
}
