//! The roles: opened, kept running until a signal, drained.
//!
//! Signals are listened for from the beginning, so one ends a process that still waits for its database. A role that ends by itself takes the process with it: half a process is worse than none.

use crate::{helper, migrate, operator};
use anyhow::Context;
use futures_util::future::BoxFuture;
use mediamill_api::MetricsPage;
use mediamill_shared::{
    clock::{Clock, Entropy},
    config::Config,
    retry::RetryPolicy,
    services::Services,
    shutdown::{Ended, Shutdown},
    telemetry::prometheus::Metrics,
};
use mediamill_workers::Settings;
use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::net::TcpListener;

/// How often recorded durations are compacted where nobody asks for the metrics page.
const UPKEEP: Duration = Duration::from_secs(30);

/// A part of the program that runs until it is told to stop.
#[derive(Debug)]
pub(crate) enum Role {
    /// The HTTP API.
    Api,
    /// The job handlers.
    Worker(Settings),
    /// The timers.
    Scheduler,
}

impl Role {
    const fn name(&self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker(_) => "worker",
            Self::Scheduler => "scheduler",
        }
    }
}

/// Why a process ends early; the first reason counts.
#[derive(Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<anyhow::Error>>>);

impl Failure {
    /// Tells it and asks the process to stop.
    pub(crate) fn tell(&self, shutdown: &Shutdown, error: anyhow::Error) {
        // Later reasons follow from the first.
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        shutdown.stop();
    }

    /// The reason, if there is one.
    pub(crate) fn take(&self) -> Option<anyhow::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Runs what works in the background, for all tenants, until a signal.
pub(crate) async fn background(config: Config) -> anyhow::Result<ExitCode> {
    let worker = helper::worker(&config)?;
    run(config, vec![Role::Worker(worker), Role::Scheduler]).await
}

/// Runs `roles` in this process until a signal.
pub(crate) async fn run(config: Config, roles: Vec<Role>) -> anyhow::Result<ExitCode> {
    mediamill_scheduler::check(&config)?;
    operator::install_logs(&config)?;
    let metrics = Metrics::install()
        .map_err(anyhow::Error::from_boxed)
        .context("metrics cannot be recorded")?;
    let (clock, shutdown, failure) = (Clock::system(), Shutdown::new(), Failure::default());
    let grace = config.grace_period;
    let services = Services::open(config, clock.clone(), Entropy::system(), shutdown.clone()).await?;
    let page: Option<MetricsPage> = services.config.metrics.then(|| {
        let metrics = metrics.clone();
        Arc::new(move || metrics.page()) as MetricsPage
    });
    keep_up(&services, metrics);
    let starting = async {
        let started = tokio::select! {
            started = start(services, roles, page, &failure) => started,
            () = shutdown.soft() => Ok(()),
        };
        if let Err(error) = started {
            failure.tell(&shutdown, error);
        }
    };
    let (ended, ()) = tokio::join!(shutdown.run(&clock, grace), starting);
    let ended = ended.context("signals cannot be caught")?;
    if let Some(error) = failure.take() {
        return Err(error);
    }
    Ok(match ended {
        Ended::Clean => ExitCode::SUCCESS,
        Ended::Cut => ExitCode::FAILURE,
    })
}

async fn start(
    services: Services,
    roles: Vec<Role>,
    page: Option<MetricsPage>,
    failure: &Failure,
) -> anyhow::Result<()> {
    database_answers(&services).await;
    migrate::ensure(&services).await?;
    operator::master_keys(&services).await?;
    if let Some(address) = services.config.operations_listen {
        let (own, router) = (services.clone(), mediamill_api::operations(&services, page.clone()));
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("operations cannot be answered on {address}"))?;
        supervise(&services.shutdown, "operations", failure, async move {
            Ok(mediamill_api::serve(&own, "operations", listener, router).await?)
        });
    }
    for role in roles {
        tracing::info!(role = role.name(), version = env!("CARGO_PKG_VERSION"), "starting");
        start_role(&services, role, page.clone(), failure).await?;
    }
    Ok(())
}

async fn start_role(
    services: &Services,
    role: Role,
    page: Option<MetricsPage>,
    failure: &Failure,
) -> anyhow::Result<()> {
    let (name, own) = (role.name(), services.clone());
    let work: BoxFuture<'static, anyhow::Result<()>> = match role {
        Role::Api => {
            let address = services.config.listen;
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("the api cannot listen on {address}"))?;
            let router = mediamill_api::router(services, page);
            Box::pin(async move { Ok(mediamill_api::serve(&own, "api", listener, router).await?) })
        }
        Role::Worker(settings) => Box::pin(async move {
            mediamill_workers::run(own, settings).await;
            Ok(())
        }),
        Role::Scheduler => Box::pin(async move {
            mediamill_scheduler::run(own).await?;
            Ok(())
        }),
    };
    supervise(&services.shutdown, name, failure, work);
    Ok(())
}

/// Runs `work` as a task; its end before everybody's is the end of the process.
pub(crate) fn supervise(
    shutdown: &Shutdown,
    name: &'static str,
    failure: &Failure,
    work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let (own, failure) = (shutdown.clone(), failure.clone());
    shutdown.spawn(async move {
        let result = work.await;
        match result {
            Err(error) => failure.tell(&own, error),
            Ok(()) if !own.stopping() => failure.tell(&own, anyhow::anyhow!("the {name} ended by itself")),
            Ok(()) => {}
        }
    });
}

/// Waits until the database answers; says so when it has to.
pub(crate) async fn database_answers(services: &Services) {
    let mut attempt = 0_u32;
    loop {
        let Err(error) = services.control.ping().await else {
            if attempt > 0 {
                tracing::info!("the database answers");
            }
            return;
        };
        if attempt == 0 {
            tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the database");
        }
        attempt = attempt.saturating_add(1);
        let delay = RetryPolicy::RECONNECT.delay_after(attempt, services.entropy.fraction());
        services.clock.sleep(delay.unwrap_or(RetryPolicy::RECONNECT.max)).await;
    }
}

fn keep_up(services: &Services, metrics: Metrics) {
    let (clock, shutdown) = (services.clock.clone(), services.shutdown.clone());
    services.shutdown.spawn(async move {
        loop {
            tokio::select! { () = shutdown.soft() => return, () = clock.sleep(UPKEEP) => metrics.upkeep() }
        }
    });
}
