//! The clients' open streams: how many each has, which circuit carries which, and how they are cut.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tor_proto::client::stream::{ClientDataStreamCtrl, ClientStreamCtrl};
use tor_proto::{ClientTunnel, circuit::UniqId};

use crate::isolation::StreamKey;

/// Streams to which a client has a right, however many others have: as many as torvm lets each have connections.
const RIGHT: u32 = 16;

/// The clients' open streams. A stream counts from the client's connection to its end.
#[derive(Default)]
pub struct Streams {
    table: Mutex<Table>,
    most: u32,
    most_per_client: u32,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Open>,
    per_client: HashMap<Ipv4Addr, u32>,
}

struct Open {
    client: Ipv4Addr,
    /// Its task; a connection is cut by ending it.
    task: Option<AbortHandle>,
    /// Once there is a stream: its key and its way to the circuit.
    carried: Option<(StreamKey, Arc<ClientDataStreamCtrl>)>,
}

/// A circuit that carries streams of one key.
pub struct Carrier {
    /// What the streams have in common.
    pub key: StreamKey,
    /// The circuit.
    pub tunnel: Arc<ClientTunnel>,
    /// How many streams.
    pub streams: u32,
}

impl Streams {
    /// None yet; with these limits.
    #[must_use]
    pub fn new(most: u32, most_per_client: u32) -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), most, most_per_client })
    }

    /// Room for one more stream of `client`, unless it has too many, or everybody together has and it has its right. What
    /// the network does not take keeps a place for a while after its client is gone, so that clients may have more of
    /// them than connections.
    pub fn admit(self: &Arc<Self>, client: Ipv4Addr) -> Option<Slot> {
        let mut guard = self.lock();
        let table = &mut *guard;
        let total = u32::try_from(table.open.len()).unwrap_or(u32::MAX);
        let of_client = table.per_client.get(&client).copied().unwrap_or(0);
        if of_client >= self.most_per_client || total >= self.most && of_client >= RIGHT {
            return None;
        }
        let id = table.next;
        table.next += 1;
        table.per_client.insert(client, of_client + 1);
        table.open.insert(id, Open { client, task: None, carried: None });
        Some(Slot { streams: Arc::clone(self), id, client })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.lock().open.len()).unwrap_or(u32::MAX)
    }

    /// Cuts every stream of `client` (absent: of everybody) and says how many.
    pub fn cut(&self, client: Option<Ipv4Addr>) -> u32 {
        let guard = self.lock();
        let meant = guard.open.values().filter(|open| client.is_none_or(|client| client == open.client));
        let tasks: Vec<AbortHandle> = meant.filter_map(|open| open.task.clone()).collect();
        // A task that ends gives its slot back, and for that it needs the table.
        drop(guard);
        tasks.iter().for_each(AbortHandle::abort);
        u32::try_from(tasks.len()).unwrap_or(u32::MAX)
    }

    /// The circuits that carry streams, in the order of their clients.
    #[must_use]
    pub fn carriers(&self) -> Vec<Carrier> {
        let mut carriers: HashMap<(UniqId, StreamKey), Carrier> = HashMap::new();
        for (key, ctrl) in self.lock().open.values().filter_map(|open| open.carried.as_ref()) {
            let Some(tunnel) = ctrl.tunnel() else { continue };
            let place = carriers.entry((tunnel.unique_id(), key.clone()));
            place.or_insert_with(|| Carrier { key: key.clone(), tunnel, streams: 0 }).streams += 1;
        }
        let mut carriers: Vec<Carrier> = carriers.into_values().collect();
        carriers.sort_by_key(|c| (c.key.client(), c.key.identity(), c.tunnel.unique_id().to_string()));
        carriers
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's place; given back when it is dropped.
pub struct Slot {
    streams: Arc<Streams>,
    id: u64,
    client: Ipv4Addr,
}

impl Slot {
    /// Whose it is.
    #[must_use]
    pub fn client(&self) -> Ipv4Addr {
        self.client
    }

    /// Which stream of all, for [`Streams::run_by`].
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes what carries the stream.
    pub fn carried(&self, key: StreamKey, ctrl: Option<&Arc<ClientDataStreamCtrl>>) {
        if let (Some(open), Some(ctrl)) = (self.streams.lock().open.get_mut(&self.id), ctrl) {
            open.carried = Some((key, Arc::clone(ctrl)));
        }
    }
}

impl Streams {
    /// Notes the task that serves stream `id`.
    pub fn run_by(&self, id: u64, task: AbortHandle) {
        if let Some(open) = self.lock().open.get_mut(&id) {
            open.task = Some(task);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut guard = self.streams.lock();
        guard.open.remove(&self.id);
        if let Some(count) = guard.per_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                guard.per_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 2);
    const THREE: Ipv4Addr = Ipv4Addr::new(10, 137, 0, 3);

    #[test]
    fn a_client_can_fill_its_own_share_only() {
        let streams = Streams::new(5, 2);
        let mut held: Vec<Slot> = std::iter::from_fn(|| streams.admit(ONE)).collect();
        assert_eq!(held.len(), 2);
        held.extend(std::iter::from_fn(|| streams.admit(TWO)));
        assert!(streams.admit(TWO).is_none(), "has its share");
        held.remove(0);
        assert!(streams.admit(ONE).is_some(), "gave one back");
        held.clear();
        assert_eq!(streams.count(), 0);
        assert!(streams.lock().per_client.is_empty());
    }

    #[test]
    fn no_clients_take_what_another_has_a_right_to() {
        let streams = Streams::new(50, 25);
        let fill = |client| std::iter::from_fn(|| streams.admit(client)).collect::<Vec<Slot>>();
        let (first, second, third) = (fill(ONE), fill(TWO), fill(THREE));
        assert_eq!([first.len(), second.len(), third.len()], [25, 25, 16]);
        drop(first);
        assert_eq!(fill(THREE).len(), 9, "its share, with those it has");
    }

    #[tokio::test]
    async fn cutting_ends_the_tasks_of_the_client_that_is_meant() {
        let streams = Streams::new(10, 10);
        let serve = |client| {
            let slot = streams.admit(client).expect("room");
            let id = slot.id();
            let task = tokio::spawn(async move {
                let _slot = slot;
                std::future::pending::<()>().await;
            });
            streams.run_by(id, task.abort_handle());
            task
        };
        let (first, second, other) = (serve(ONE), serve(ONE), serve(TWO));
        tokio::task::yield_now().await;
        assert_eq!(streams.cut(Some(ONE)), 2);
        assert!(
            first.await.is_err_and(|e| e.is_cancelled()) && second.await.is_err_and(|e| e.is_cancelled())
        );
        assert_eq!(streams.count(), 1);
        assert!(!other.is_finished());
        assert_eq!(streams.cut(None), 1);
        assert!(other.await.is_err_and(|e| e.is_cancelled()));
        assert_eq!(streams.count(), 0);
    }
}
