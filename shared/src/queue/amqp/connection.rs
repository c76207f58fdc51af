//! One connection, watched over: made, lost, made again.

use super::{QueueContext, QueueError, topology};
use crate::{BoxError, clock::Clock, retry::RetryPolicy};
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties, Event, options::ConfirmSelectOptions, tcp::OwnedTLSConfig, uri::AMQPUri,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};
use url::Url;

/// Making a connection and declaring the topology takes no longer.
const CONNECT: Duration = Duration::from_secs(15);
/// Seconds between heartbeats: a silent server is noticed after two.
const HEARTBEAT: u16 = 10;

/// A connection that stands, or stood when it was handed out.
pub(super) struct Live {
    pub(super) connection: Connection,
    /// For publishing, with confirms.
    pub(super) channel: Channel,
    /// The last message and its confirm must not be another publisher's: sending is one at a time, confirming is not.
    pub(super) sending: tokio::sync::Mutex<()>,
    suspected: Notify,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// Asks for a new connection: this one failed somebody.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }
}

/// The connection of this process, whenever there is one. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Supervised {
    live: watch::Receiver<Option<Arc<Live>>>,
}

impl Supervised {
    pub(super) fn start(url: &Url, context: &QueueContext) -> Result<Self, QueueError> {
        let refuse = |problem: String| QueueError::Url {
            url: crate::config::redacted(url),
            problem,
        };
        let mut server = url.clone();
        let mut ca = None;
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "ca" => ca = Some(value.into_owned()),
                other => return Err(refuse(format!("unknown parameter {other:?}; known: ca"))),
            }
        }
        server.set_query(Some(&format!("heartbeat={HEARTBEAT}")));
        let uri: AMQPUri = server.as_str().parse().map_err(refuse)?;
        let roots = match ca {
            Some(path) => Some(
                std::fs::read_to_string(&path).map_err(|error| refuse(format!("{path} cannot be read: {error}")))?,
            ),
            None => None,
        };
        let (tell, live) = watch::channel(None);
        let (clock, shown) = (context.clock.clone(), crate::config::redacted(url));
        let (entropy, hard) = (context.entropy.clone(), context.shutdown.clone());
        // Ends when nobody holds the queue any more, or at once when the process is cut off.
        context.shutdown.spawn(async move {
            let watch_over = async {
                let mut failures = 0_u32;
                loop {
                    match connect(&uri, roots.as_deref()).await {
                        Ok(live) => {
                            if failures > 0 {
                                tracing::info!(queue = shown, "the queue is back");
                            }
                            failures = 0;
                            let live = Arc::new(live);
                            tell.send_replace(Some(Arc::clone(&live)));
                            let cause = lost(&live, &clock, &tell).await;
                            tell.send_replace(None);
                            let Some(cause) = cause else { return };
                            tracing::warn!(queue = shown, cause, "the queue is lost");
                        }
                        Err(error) => {
                            failures = failures.saturating_add(1);
                            if failures == 1 {
                                tracing::warn!(queue = shown, error = error.as_ref(), "waiting for the queue");
                            }
                        }
                    }
                    let delay = RetryPolicy::RECONNECT.delay_after(failures.max(1), entropy.fraction());
                    tokio::select! {
                        () = tell.closed() => return,
                        () = clock.sleep(delay.unwrap_or(RetryPolicy::RECONNECT.max)) => {}
                    }
                }
            };
            tokio::select! { () = watch_over => {}, () = hard.hard() => {} }
        });
        Ok(Self { live })
    }

    /// Waits for a connection. Cancel-safe.
    pub(super) async fn up(&self) -> Arc<Live> {
        let mut live = self.live.clone();
        loop {
            if let Some(live) = live.borrow_and_update().clone()
                && live.connection.status().connected()
            {
                return live;
            }
            if live.changed().await.is_err() {
                // The process ends: nothing will ever come.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The connection, if there is one.
    pub(super) fn present(&self) -> Option<Arc<Live>> {
        self.live.borrow().clone()
    }
}

async fn connect(uri: &AMQPUri, roots: Option<&str>) -> Result<Live, BoxError> {
    let all = async {
        let properties = ConnectionProperties::default().with_connection_name("mediamill".into());
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: roots.map(str::to_owned),
        };
        let runtime = lapin::runtime::default_runtime()?;
        let connection = Connection::connect_uri_with_config(uri.clone(), properties, tls, runtime).await?;
        topology::declare(&connection.create_channel().await?).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok::<_, BoxError>(Live {
            connection,
            channel,
            sending: tokio::sync::Mutex::default(),
            suspected: Notify::new(),
        })
    };
    tokio::time::timeout(CONNECT, all).await?
}

/// Waits until the connection is lost; says why. `None`: nobody needs it any more.
async fn lost(live: &Live, clock: &Clock, tell: &watch::Sender<Option<Arc<Live>>>) -> Option<String> {
    let mut events = live.connection.events_listener();
    loop {
        tokio::select! {
            () = tell.closed() => {
                // An error says that it was closed already.
                let _ = live.connection.close(200, "done".into()).await;
                return None;
            }
            event = events.next() => match event {
                Some(Event::Error(error)) if !live.connection.status().connected() => return Some(error.to_string()),
                Some(Event::ConnectionBlocked(reason)) => tracing::warn!(reason, "the queue takes no messages: an alarm of the broker"),
                Some(Event::ConnectionUnblocked) => tracing::info!("the queue takes messages again"),
                Some(_) => {}
                None => return Some("the connection ended".into()),
            },
            () = live.suspected.notified() => {
                if live.connection.status().blocked() {
                    // Blocked is not broken: a new connection would be blocked too.
                    continue;
                }
                if !live.connection.status().connected() || !live.channel.status().connected() || !answers(live).await {
                    return Some("it does not answer".into());
                }
            }
            () = clock.sleep(Duration::from_secs(1)) => {
                if !live.connection.status().connected() {
                    return Some("the connection ended".into());
                }
            }
        }
    }
}

/// Whether a round trip works.
async fn answers(live: &Live) -> bool {
    matches!(
        tokio::time::timeout(Duration::from_secs(2), live.connection.create_channel()).await,
        Ok(Ok(_))
    )
}
