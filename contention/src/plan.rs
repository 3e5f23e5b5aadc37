//! Plans the runs of a command line, executes them one after another, and writes the report.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use flash_sale::domain::now;
use test_support::postgres::Postgres;

use crate::{
    args::Args,
    exporter::{Exporter, Meter},
    notes::{orders_per_second, reads_per_second},
    report::{self, FORMAT, Ratio, Report, Run, live::Screen, table::Style},
    run::{self, Job},
    scenario::{Arrival, Scenario, file},
    service::{self, Design, Service},
    tokens::Source,
};

#[derive(Debug)]
pub(crate) struct Plan {
    jobs: Vec<Job>,
    /// Given for an existing service.
    tokens: Option<Source>,
}

/// Every built-in scenario with the question that it answers.
pub(crate) fn list() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    for scenario in file::built_in()? {
        writeln!(out, "{:<16}{}", scenario.name, scenario.question)?;
    }
    writeln!(out, "{:<16}All scenarios, one after another.", "all")?;
    Ok(ExitCode::SUCCESS)
}

impl Plan {
    /// # Errors
    /// When the command line names an unknown scenario, or flags that do not go together.
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let mut jobs = Vec::new();
        for scenario in scenarios(&args.scenarios)? {
            let scenario = args.size().of(scenario);
            jobs.extend(jobs_of(&scenario, args));
        }
        anyhow::ensure!(
            !args.baseline || jobs.iter().any(|job| job.design == Design::Naive),
            "--baseline: needs a scenario with back-to-back orders, such as throughput"
        );
        let tokens = match (&args.tokens, &args.auth_secret) {
            _ if args.target.is_empty() => None,
            (Some(file), _) => Some(Source::file(file)?),
            (None, Some(secret)) => Some(Source::Secret(secret.clone())),
            (None, None) => anyhow::bail!("--target needs --auth-secret or --tokens"),
        };
        Ok(Self { jobs, tokens })
    }

    /// Executes all runs; true if every check held.
    pub(crate) async fn execute(&self, args: &Args) -> anyhow::Result<bool> {
        let exporter = match args.metrics_addr {
            Some(address) => Some(exporter(address, args).await?),
            None => None,
        };
        let began = Instant::now();
        let started_at = now().to_rfc3339();
        let postgres = self.postgres(args).await?;
        let mut runs = Vec::new();
        for job in &self.jobs {
            let needed = args.postgres || job.scenario.needs_postgres();
            let server = postgres.as_ref().filter(|_| needed);
            let run = Box::pin(self.one(job, args, server, exporter.as_ref())).await;
            runs.push(run.with_context(|| job.scenario.name.clone())?);
        }
        let report = Report {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: command(),
            started_at,
            machine: machine(),
            seconds: began.elapsed().as_secs_f64(),
            ratios: ratios(&runs),
            held: runs
                .iter()
                .flat_map(|run| &run.checks)
                .all(|check| check.held),
            runs,
        };
        let mut out = io::stdout();
        let style = Style::of(&out);
        report::table::write(&mut out, &report, style)?;
        if let Some(path) = &args.json {
            report::json::write(path, &report)?;
        }
        if let Some(path) = &args.html {
            report::html::write(path, &report)?;
        }
        if let Some(exporter) = exporter {
            exporter.close().await;
        }
        Ok(report.held)
    }

    /// The server of the runs that need one, unless another database is given.
    async fn postgres(&self, args: &Args) -> anyhow::Result<Option<Postgres>> {
        let given = args.database_url.is_some() || self.tokens.is_some();
        let mut jobs = self.jobs.iter();
        let needed = jobs.find(|job| !given && job.scenario.needs_postgres());
        match (args.postgres, needed) {
            (true, _) => Ok(Some(Postgres::open().await.context("--postgres")?)),
            (false, Some(job)) => {
                let server = Postgres::open().await;
                Ok(Some(server.with_context(|| job.scenario.name.clone())?))
            }
            (false, None) => Ok(None),
        }
    }

    async fn one(
        &self,
        job: &Job,
        args: &Args,
        postgres: Option<&Postgres>,
        exporter: Option<&Exporter>,
    ) -> anyhow::Result<Run> {
        let name = run::run_name(&job.scenario);
        let meter = exporter.map(|exporter| Meter::new(exporter, &job.scenario.name, &name));
        let service = if let Some(tokens) = &self.tokens {
            Service::existing(&args.target, tokens.clone()).await?
        } else {
            let plan = service::Setup {
                nodes: job.nodes,
                design: job.design,
                postgres,
                database_url: args.database_url.as_ref(),
                redis_lock_urls: &args.redis_lock_urls,
                gateway_takes: Duration::from_millis(job.scenario.gateway_ms.into()),
                connections_max: job.scenario.connections_max,
                run: &name,
            };
            Service::start(&plan).await?
        };
        if service.is_own() && !service.has_lock() && job.nodes > 1 {
            print_line(
                "no redis-server: each process has its own lock, only the version fence protects",
            )?;
        }
        print_line(&format!(
            "{}{}: {}",
            job.scenario.name,
            spaced(&job.variant),
            job.scenario.question
        ))?;
        let mut screen = if args.visual {
            Some(Screen::open()?)
        } else {
            None
        };
        if let Some(exporter) = exporter {
            exporter.scraped().await;
        }
        let meter = meter.unwrap_or_default();
        Box::pin(run::run(job, &name, service, &meter, screen.as_mut())).await
    }
}

async fn exporter(address: SocketAddr, args: &Args) -> anyhow::Result<Exporter> {
    let linger = Duration::from_secs(args.metrics_linger.into());
    let exporter = Exporter::open(address, linger).await;
    let exporter = exporter.with_context(|| format!("--metrics-addr {address}"))?;
    print_line(&format!("metrics on http://{}/metrics", exporter.address))?;
    Ok(exporter)
}

/// The scenarios with these names, in the given order.
fn scenarios(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let built_in = file::built_in()?;
    let mut found = Vec::new();
    for name in names {
        if name == "all" {
            found.extend(built_in.iter().cloned());
        } else if let Some(scenario) = built_in.iter().find(|scenario| scenario.name == *name) {
            found.push(scenario.clone());
        } else if name.contains(['/', '.']) {
            found.push(file::read(Path::new(name))?);
        } else {
            anyhow::bail!("{name}: no such scenario; --list shows them");
        }
    }
    Ok(found)
}

/// A run for each number of nodes and each compared design.
fn jobs_of(scenario: &Scenario, args: &Args) -> Vec<Job> {
    let nodes = if args.nodes.is_empty() {
        vec![scenario.nodes]
    } else {
        args.nodes.clone()
    };
    let is_back_to_back = scenario.has_arrival(Arrival::BackToBack);
    let designs: &[(Design, &str)] =
        if is_back_to_back && !scenario.sells() && args.target.is_empty() {
            &[
                (Design::Uncached, "without Redis"),
                (Design::Lanes, "with Redis"),
            ]
        } else if args.baseline && is_back_to_back && scenario.sells() {
            &[
                (Design::Naive, "naive"),
                (Design::Unbatched, "no batches"),
                (Design::Lanes, ""),
            ]
        } else {
            &[(Design::Lanes, "")]
        };
    let several = nodes.len() > 1;
    let mut jobs = Vec::new();
    for nodes in nodes {
        for (design, name) in designs {
            let of_nodes = match nodes {
                _ if !several => String::new(),
                1 => "1 node".to_owned(),
                nodes => format!("{nodes} nodes"),
            };
            let parts = [of_nodes.as_str(), name];
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            jobs.push(Job {
                scenario: scenario.clone(),
                nodes,
                design: *design,
                variant: parts.join(", "),
                seed: args.seed,
            });
        }
    }
    jobs
}

/// Each run of a scenario compared with every earlier one.
fn ratios(runs: &[Run]) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let earlier = runs.get(..index).unwrap_or_default();
        for base in earlier.iter().filter(|base| base.scenario == run.scenario) {
            let names = format!("{} to {}", variant(run), variant(base));
            let mut compare = |what: &str, base: f64, rate: f64| {
                if base > 0.0 && rate > 0.0 {
                    let what = format!("{what}, {names}");
                    let value = rate / base;
                    ratios.push(Ratio { what, value });
                }
            };
            compare("orders/s", orders_per_second(base), orders_per_second(run));
            compare("reads/s", reads_per_second(base), reads_per_second(run));
        }
    }
    ratios
}

fn variant(run: &Run) -> &str {
    if run.variant.is_empty() {
        "flash-sale"
    } else {
        &run.variant
    }
}

fn spaced(variant: &str) -> String {
    if variant.is_empty() {
        String::new()
    } else {
        format!(" ({variant})")
    }
}

/// The command line without secrets.
fn command() -> String {
    let mut words = Vec::new();
    let mut hide_next = false;
    for word in std::env::args().skip(1) {
        let secret = ["--auth-secret", "--database-url", "--redis-lock-urls"];
        let named = secret.iter().find(|name| word.starts_with(**name));
        words.push(match named {
            _ if hide_next => "…".to_owned(),
            Some(name) if word.len() > name.len() => format!("{name}=…"),
            Some(_) | None => word.clone(),
        });
        hide_next = !hide_next && secret.contains(&word.as_str());
    }
    format!("contention {}", words.join(" "))
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kilobytes.parse::<u64>().ok()
    });
    let memory = total.map_or(String::new(), |kb| {
        format!(", {} GiB", kb.div_ceil(1 << 20))
    });
    format!(
        "{cores} cores{memory}, {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn print_line(line: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{line}")
}
