//! The thread that starts helpers.
//!
//! A helper asks the kernel to be ended with its parent, and a parent is the thread that started it, not the process. The
//! runtime's threads come and go; this one lives as long as its pool.

use std::{
    io,
    sync::{Mutex, PoisonError, mpsc},
};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// Starts processes that end when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Starter {
    orders: Mutex<Option<mpsc::Sender<Order>>>,
}

impl Starter {
    /// Starts a process.
    pub(super) async fn start(&self, command: Command) -> io::Result<Child> {
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.orders()?.send(Order { command, reply }).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }

    /// The way to the thread, which the first start makes.
    fn orders(&self) -> io::Result<mpsc::Sender<Order>> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = &*orders {
            return Ok(orders.clone());
        }
        let (way, taken) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        std::thread::Builder::new().name("helpers".to_owned()).spawn(move || {
            let _within = runtime.enter();
            for mut order in taken {
                // Nobody may wait any more: the child is dropped then, and killed.
                let _ = order.reply.send(order.command.spawn());
            }
        })?;
        Ok(orders.insert(way).clone())
    }
}
