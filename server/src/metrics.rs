//! Numbers for Prometheus, in its text format.
use crate::app::App;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

#[derive(Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

#[derive(Default)]
struct Requests {
    /// `(method, route, status)` to how many.
    counts: BTreeMap<(String, String, u16), u64>,
    /// By API: `device`, `management`, `other`.
    durations: BTreeMap<&'static str, Durations>,
}

/// What is counted.
#[derive(Default)]
pub struct Metrics(Mutex<Requests>);

impl Metrics {
    /// Notes an answered request. `route` is the pattern, not the path.
    pub fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        let api = match route {
            route if route.starts_with("/api/devices") => "device",
            route if route.starts_with("/api/management") => "management",
            _ => "other",
        };
        let seconds = took.as_secs_f64();
        let mut requests = self.0.lock().unwrap_or_else(|lock| lock.into_inner());
        *requests.counts.entry((method.to_owned(), route.to_owned(), status)).or_default() += 1;
        let durations = requests.durations.entry(api).or_default();
        for (bucket, bound) in durations.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
        durations.count += 1;
        durations.seconds += seconds;
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let requests = self.0.lock().unwrap_or_else(|lock| lock.into_inner());
        head(out, "rota_requests_total", "counter", "Requests answered.")?;
        for ((method, route, status), count) in &requests.counts {
            writeln!(
                out,
                "rota_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}} {count}"
            )?;
        }
        head(out, "rota_request_seconds", "histogram", "Time to answer.")?;
        for (api, durations) in &requests.durations {
            for (count, bound) in durations.buckets.iter().zip(BUCKETS) {
                writeln!(out, "rota_request_seconds_bucket{{api=\"{api}\",le=\"{bound}\"}} {count}")?;
            }
            let Durations { count, seconds, .. } = durations;
            writeln!(out, "rota_request_seconds_bucket{{api=\"{api}\",le=\"+Inf\"}} {count}")?;
            writeln!(out, "rota_request_seconds_sum{{api=\"{api}\"}} {seconds}")?;
            writeln!(out, "rota_request_seconds_count{{api=\"{api}\"}} {count}")?;
        }
        Ok(())
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> std::fmt::Result {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Everything that is measured.
pub async fn text(app: &App) -> crate::store::Result<String> {
    let mut out = String::new();
    let tenants = app.store.tenants().await?;
    let mut devices = Vec::new();
    let mut bytes = Vec::new();
    for tenant in &tenants {
        devices.push((tenant.id(), app.store.devices_by_status(tenant).await?));
        bytes.push((tenant.id(), app.store.storage_used(tenant).await?));
    }
    let mut write = || -> std::fmt::Result {
        head(&mut out, "rota_info", "gauge", "The version that runs.")?;
        writeln!(out, "rota_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
        head(&mut out, "rota_devices", "gauge", "Devices by status.")?;
        for (tenant, counts) in &devices {
            for (status, count) in counts {
                writeln!(out, "rota_devices{{tenant=\"{tenant}\",status=\"{status}\"}} {count}")?;
            }
        }
        head(&mut out, "rota_artifact_bytes", "gauge", "Bytes of all artifacts.")?;
        for (tenant, count) in &bytes {
            writeln!(out, "rota_artifact_bytes{{tenant=\"{tenant}\"}} {count}")?;
        }
        if let Some(resident) = resident() {
            head(&mut out, "process_resident_memory_bytes", "gauge", "Memory in use.")?;
            writeln!(out, "process_resident_memory_bytes {resident}")?;
        }
        app.metrics.write(&mut out)
    };
    // Writing to memory does not fail.
    let _ = write();
    Ok(out)
}

/// Resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}
