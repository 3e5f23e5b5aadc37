//! Settings of the access log and of traces. Those of traces have the names that OpenTelemetry
//! gives them, so that a platform that sets them for every service sets them for this one too.

use clap::Args;

use super::{Error, payments::is_base_url, value};

#[derive(Args, Clone, Debug)]
pub struct Telemetry {
    /// Share of the answers that the log shows in a line each (target `access`), from 0 to 1. Answers
    /// of 500 and above are shown with any share but 0, which turns the access log off
    #[arg(long, env, value_name = "ACCESS_LOG", default_value = "0", value_parser = value::share)]
    pub access_log: f64,

    /// Base URL of an OpenTelemetry collector (OTLP over HTTP, for example `http://collector:4318`),
    /// which gets the traces; without it no request is traced
    #[arg(long, env, value_name = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otel_exporter_otlp_endpoint: Option<String>,

    /// Share of the requests that are traced, from 0 to 1, of those whose caller sends no
    /// `traceparent`; a caller's own decision is kept, for 100 requests a second
    #[arg(long, env, value_name = "OTEL_TRACES_SAMPLER_ARG", default_value = "0.01",
          value_parser = value::share)]
    pub otel_traces_sampler_arg: f64,

    /// The name of this service in traces
    #[arg(
        long,
        env,
        value_name = "OTEL_SERVICE_NAME",
        default_value = "flash-sale"
    )]
    pub otel_service_name: String,
}

const ENDPOINT_FORM: &str = "http(s)://host[:port][/path], without a user, a query or a fragment";

impl Telemetry {
    pub fn check(&self) -> Result<(), Error> {
        let endpoint = self.otel_exporter_otlp_endpoint.as_deref();
        if endpoint.is_some_and(|endpoint| !is_base_url(endpoint)) {
            return Err(Error::Url("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT_FORM));
        }
        Ok(())
    }
}
