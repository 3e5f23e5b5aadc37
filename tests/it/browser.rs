//! What the tests in a browser rely on: errors of a page fail them, and no process outlives them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::signal::Signal;
use test_support::{
    browser::Browser,
    process::{descendants_of, is_alive, signal},
};

use crate::support::{
    SOON, eventually,
    page::Page,
    shop::{Backend, Shop},
    when,
};

#[tokio::test]
async fn errors_of_a_page_are_found() {
    let shop = Shop::plan(Backend::Sqlite).flag("--demo").open().await;
    let browser = Browser::start().unwrap();
    let page = Page::open(&browser, &format!("{}/", shop.service().url)).await;

    let inline = "document.head.append(Object.assign(document.createElement('script'), { text: 'window.ran = 1' }))";
    for wrong in [
        inline,
        "console.error('by hand')",
        "setTimeout(() => { throw new Error('thrown') })",
        "alert('a question')",
        "new Promise(resolve => setTimeout(resolve))",
    ] {
        page.run(wrong).await;
    }

    assert_eq!(page.run("window.ran ?? 0").await, 0);
    let errors = browser.errors().await.unwrap();
    for expected in ["Content Security Policy", "by hand", "thrown", "a question"] {
        let found = errors.iter().any(|error| error.contains(expected));
        assert!(found, "{expected}: {errors:?}");
    }
    // No test has to ask for them.
    page.run("console.error('again')").await;
    let unasked = catch_unwind(AssertUnwindSafe(|| drop(browser)));
    let unasked = unasked.unwrap_err();
    let message = unasked.downcast_ref::<String>().unwrap();
    assert!(message.contains("again"), "{message}");
}

/// Whether the test breaks its promise, or the program between it and the browser is killed.
#[tokio::test]
async fn no_process_outlives_its_test() {
    let endings: [fn(Browser); 2] = [
        |_browser| panic!("as a test does whose promise is broken"),
        |browser| signal(browser.pid(), Signal::SIGKILL).unwrap(),
    ];
    for end in endings {
        let browser = Browser::start().unwrap();
        browser.open("about:blank").await.unwrap();
        let mut processes = descendants_of(browser.pid()).unwrap();
        assert!(processes.len() > 2, "{processes:?}");
        processes.push(browser.pid());

        catch_unwind(AssertUnwindSafe(|| end(browser))).unwrap_err();

        eventually("all have ended", SOON, async || {
            when(!processes.iter().any(|process| is_alive(*process).unwrap()))
        })
        .await;
    }
}
